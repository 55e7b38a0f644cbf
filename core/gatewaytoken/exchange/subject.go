package exchange

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jwt"
)

// Issuer is one whose tokens can be exchanged.
type Issuer struct {
	// Issuer has the name, the keys, the algorithms and the claims of roles, permissions
	// and scopes.
	jwt.Issuer
	// Clients are the apps whose tokens count. A provider issues tokens to others, too,
	// and each of those could act for its users otherwise.
	Clients []string
	// IDTokens and AccessTokens say which of its tokens count.
	IDTokens, AccessTokens bool
}

// Verifier judges the tokens of issuers: ID tokens, or access tokens that are JWTs. It is
// a core.TokenAuthenticator.
type Verifier struct {
	*jwt.Verifier
	issuers  map[string]Issuer
	idTokens bool
}

var _ core.TokenAuthenticator = (*Verifier)(nil)

// NewVerifier makes a verifier of one kind of token. The options' issuers are not looked
// at. It is nil where no issuer has such tokens.
func NewVerifier(idTokens bool, issuers []Issuer, o jwt.Options) (*Verifier, error) {
	v := &Verifier{issuers: map[string]Issuer{}, idTokens: idTokens}
	o.Issuers = nil
	for _, i := range issuers {
		if idTokens && !i.IDTokens || !idTokens && !i.AccessTokens {
			continue
		}
		v.issuers[i.Issuer.Issuer] = i
		of := i.Issuer
		if idTokens { // whose audience is an app, see checkIDToken
			of.InsecureIDTokens, of.InsecureSkipAudience, of.Audiences, of.Types = true, true, nil, []string{"JWT", ""}
		} else {
			of.InsecureSkipAudience, of.Types = len(of.Audiences) == 0, []string{"JWT", "at+jwt"}
		}
		o.Issuers = append(o.Issuers, of)
	}
	if len(o.Issuers) == 0 {
		return nil, nil
	}
	var err error
	v.Verifier, err = jwt.New(o)
	return v, err
}

// AuthenticateToken verifies a token of an app on the list.
func (v *Verifier) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	p, err := v.Verifier.AuthenticateToken(ctx, c)
	if err != nil {
		return nil, err
	}
	check := checkAccessToken
	if v.idTokens {
		check = checkIDToken
	}
	if err := check(p, v.issuers[p.Issuer].Clients); err != nil {
		return nil, fmt.Errorf("%w: JWT %w", core.ErrInvalid, err)
	}
	return p, nil
}

// checkAccessToken wants one that was issued to an app on the list.
func checkAccessToken(p *core.Principal, clients []string) error {
	if p.ClientID == "" || !slices.Contains(clients, p.ClientID) {
		return fmt.Errorf("was issued to another app: client_id or azp is %.80q, which is not one of clients", p.ClientID)
	}
	if p.Subject == "" || p.Subject == p.ClientID {
		return errors.New("is of an app that acts for itself")
	}
	return nil
}

// checkIDToken wants one (OpenID Connect Core 1.0 section 2) that was issued to an app on
// the list: every audience is one, and so is azp.
func checkIDToken(p *core.Principal, clients []string) error {
	set := claims.Set(p.Claims)
	if err := set.CheckIDToken(); err != nil {
		return err
	}
	if names, err := isAccessToken(set); err != nil || names != "" {
		return errors.Join(err, fmt.Errorf("is no ID token (%s)", names))
	}
	audience, err := set.Audience()
	if err != nil {
		return err
	}
	azp, err := set.Text("azp")
	if err != nil {
		return err
	}
	foreign := func(name string) bool { return !slices.Contains(clients, name) }
	switch {
	case len(audience) == 0 || slices.ContainsFunc(audience, foreign):
		return fmt.Errorf("was issued to another app: aud is %.200q, and not all of it is in clients", audience)
	case azp != "" && foreign(azp):
		return fmt.Errorf("was issued to another app: azp is %.80q, which is not one of clients", azp)
	case azp == "" && len(audience) > 1:
		return errors.New("names several apps in aud and does not say which one has it (azp)")
	case p.Subject == "" || p.IssuedAt.IsZero():
		return errors.New("lacks sub or iat, which an ID token has")
	}
	if p.ClientID = azp; azp == "" {
		p.ClientID = audience[0]
	}
	return nil
}

// isAccessToken names the claim that shows that a token is one. An issuer signs ID tokens
// and access tokens with the same keys.
func isAccessToken(set claims.Set) (claim string, err error) {
	if named, err := set.Text("token_use"); err != nil || named == "id" {
		return "", err
	}
	for _, name := range []string{"scope", "scp", "client_id"} {
		if set[name] != nil {
			return name, nil
		}
	}
	return "", nil
}

// Introspected judges opaque tokens that were issued to an app on a list.
type Introspected struct {
	core.TokenAuthenticator
	Clients []string
}

// AuthenticateToken introspects a token.
func (i Introspected) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	p, err := i.TokenAuthenticator.AuthenticateToken(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := checkAccessToken(p, i.Clients); err != nil {
		return nil, fmt.Errorf("%w: the token %w", core.ErrInvalid, err)
	}
	return p, nil
}
