package oidc

import (
	"context"
	"net/url"

	"gatehouse/core/authn/jwt"
	"gatehouse/core/signin/session"
)

// LogoutURL is where the browser goes to end its session at the provider, too (OpenID
// Connect RP-Initiated Logout 1.0), and from there to the page of returnTo. It is empty
// where the provider has no such place.
func (p *Provider) LogoutURL(ctx context.Context, s *session.Session, returnTo string) (string, error) {
	m, err := p.metadata(ctx)
	if err != nil || m.endSession == "" {
		return "", err
	}
	u, err := url.Parse(m.endSession)
	if err != nil {
		return "", err
	}
	query := u.Query()
	query.Set("client_id", p.options.ClientID)
	if s.IDToken != "" {
		query.Set("id_token_hint", s.IDToken)
	}
	if returnTo != "" {
		query.Set("post_logout_redirect_uri", returnTo)
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// LogoutVerifier verifies logout tokens (OpenID Connect Back-Channel Logout 1.0).
func (p *Provider) LogoutVerifier(ctx context.Context) (*jwt.Verifier, error) {
	m, err := p.metadata(ctx)
	if err != nil {
		return nil, err
	}
	return m.logouts, nil
}

// Issuer is that of the provider; empty while its metadata are not known.
func (p *Provider) Issuer() string {
	if m, ok := p.kept.Usable(); ok {
		return m.issuer
	}
	return p.options.Issuer
}
