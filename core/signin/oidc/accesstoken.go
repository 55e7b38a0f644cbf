package oidc

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"gatehouse/core/authn/claims"
	"gatehouse/core/signin/session"
)

// AccessTokenClaim is the claim of a session under which those of the access token are.
// They have a name of their own, so that they replace none of the ID token and are
// replaced as a whole when the token is renewed.
const AccessTokenClaim = "access_token"

// addAccessToken adds the claims of the access token where they are wanted. It came from the token endpoint
// itself and is for some service, so any audience does; it has to be signed by the
// provider, for the gate and about the same person, and may not have ended.
func (p *Provider) addAccessToken(ctx context.Context, m *metadata, s *session.Session) error {
	if !p.options.AccessTokenClaims {
		return nil
	}
	set, err := m.access.Statement(ctx, s.AccessToken)
	if err != nil {
		return fmt.Errorf("the access token, whose claims access_token_claims adds: %w", err)
	}
	for _, check := range []func() error{
		func() error { _, err := set.Expiry(p.options.Now()); return err },
		func() error { return checkSubject(set, s) },
		func() error { return p.checkMadeFor(set, "client_id", "azp") },
	} {
		if err := check(); err != nil {
			return invalid("the access token", err)
		}
	}
	s.Claims = maps.Clone(s.Claims)
	if s.Claims == nil {
		s.Claims = map[string]any{}
	}
	s.Claims[AccessTokenClaim] = map[string]any(set)
	return nil
}

func checkSubject(set claims.Set, s *session.Session) error {
	if subject, err := set.Text("sub"); err != nil || subject != s.Subject {
		return errors.Join(errors.New("is about another subject than the ID token"), err)
	}
	return nil
}

// checkMadeFor wants a token that was made for the gate, where a claim says for whom
// (RFC 9068 section 2.2, OpenID Connect Core 1.0 section 2).
func (p *Provider) checkMadeFor(set claims.Set, names ...string) error {
	for _, name := range names {
		client, err := set.Text(name)
		if err != nil {
			return err
		}
		if set[name] != nil && client != p.options.ClientID {
			return fmt.Errorf("was made for another client: %s is %.80q", name, client)
		}
	}
	return nil
}
