package authn_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/introspection"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/coretest"
	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

// mode says which JWTs are introspected, as the setting jwt_tokens.
type mode string

const (
	never         mode = "never"
	unknownIssuer mode = "unknown_issuer"
	always        mode = "always"
)

// hydraBench is a real Hydra with a router in each mode in front of it.
type hydraBench struct {
	*ory.Hydra
	client  *idp.Client
	routers map[mode]*authn.Router
}

func hydra(t *testing.T) *hydraBench {
	t.Helper()
	b := &hydraBench{
		Hydra: orytest.Hydra(t, ory.HydraConfig{}), client: coretest.Client(t), routers: map[mode]*authn.Router{},
	}
	verifier := b.verifier(t, nil)
	asker, err := introspection.New(introspection.Options{URL: b.IntrospectionURL(), Client: b.client, Audiences: []string{coretest.Audience}})
	if err != nil {
		t.Fatal(err)
	}
	bearer := func(c core.Credential) (any, bool) { return nil, authn.IsBearer(c) }
	local := authn.Route{Title: "JWTs", Judges: verifier.Judges, By: verifier}
	for mode, routes := range map[mode][]authn.Route{
		never:         {local, {Title: "opaque tokens", Judges: func(c core.Credential) (any, bool) { return nil, !jwt.IsJWT(c) }, By: asker}},
		unknownIssuer: {local, {Title: "opaque tokens", Judges: bearer, By: asker}},
		always:        {{Title: "tokens", Judges: bearer, By: asker}, local},
	} {
		if b.routers[mode], err = authn.New(routes...); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// verifier finds Hydra's keys by discovery.
func (b *hydraBench) verifier(t *testing.T, change func(*jwt.Issuer)) *jwt.Verifier {
	t.Helper()
	issuer := jwt.Issuer{Issuer: b.Issuer(), Audiences: []string{coretest.Audience}}
	if change != nil {
		change(&issuer)
	}
	v, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{issuer}, Client: b.client})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (b *hydraBench) tokens(t *testing.T, asJWT bool) (ory.Client, ory.Token) {
	t.Helper()
	scopes := strings.Fields("openid offline users:read orders:read")
	client, err := b.CreateClient(t.Context(), ory.Client{
		Grants: []string{"authorization_code", "refresh_token"}, Scopes: scopes, Audience: []string{coretest.Audience},
		RedirectURIs: []string{"http://127.0.0.1:5555/callback"}, JWT: asJWT,
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := b.AuthorizationCode(t.Context(), client, ory.Grant{
		Subject: "user-1", Scopes: scopes, Audience: []string{coretest.Audience},
		AccessToken: map[string]any{"roles": []string{"editor"}, "uid": int64(9223372036854775807)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client, token
}

func ask(t *testing.T, a core.Authenticator, token string) (*core.Principal, error) {
	t.Helper()
	result, err := a.Authenticate(t.Context(), nil, core.Credential{Place: core.BearerToken, Value: token})
	if err != nil && strings.Contains(err.Error(), token) {
		t.Errorf("the error holds the token: %v", err)
	}
	return result.Principal, err
}

func refuses(t *testing.T, name string, a core.Authenticator, token string) {
	t.Helper()
	if p, err := ask(t, a, token); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("%s: %+v, %v", name, p, err)
	}
}

func TestAgainstHydra(t *testing.T) {
	b := hydra(t)
	t.Run("JWT", func(t *testing.T) { testJWT(t, b) })
	t.Run("opaque", func(t *testing.T) { testOpaque(t, b) })
	t.Run("ID token", func(t *testing.T) { testIDToken(t, b) })
	t.Run("revoked JWT", func(t *testing.T) { testRevokedJWT(t, b) })
	t.Run("other audience", func(t *testing.T) { testOtherAudience(t, b) })
}

func testJWT(t *testing.T, b *hydraBench) {
	client, token := b.tokens(t, true)
	p, err := ask(t, b.routers[unknownIssuer], token.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	if p.Kind != core.KindJWT || p.Subject != "user-1" || p.ClientID != client.ID || p.Issuer != b.Issuer() {
		t.Errorf("got %+v", p)
	}
	if !slices.Contains(p.Scopes, "orders:read") || !slices.Equal(p.Roles, []string{"editor"}) {
		t.Errorf("scopes %q, roles %q", p.Scopes, p.Roles)
	}
	ext, _ := p.Claims["ext"].(map[string]any)
	if _, isNumber := ext["uid"].(json.Number); !isNumber {
		t.Errorf("uid is %T", ext["uid"])
	}
	last := len(token.AccessToken) - 10
	refuses(t, "a byte of the signature changed", b.routers[never],
		token.AccessToken[:last]+string('A'+(token.AccessToken[last]+1)%20)+token.AccessToken[last+1:])
}

func testOpaque(t *testing.T, b *hydraBench) {
	_, token := b.tokens(t, false)
	for mode, router := range b.routers {
		p, err := ask(t, router, token.AccessToken)
		if err != nil {
			t.Errorf("mode %s: %v", mode, err)
			continue
		}
		if p.Kind != core.KindIntrospection {
			t.Errorf("mode %s: kind %s", mode, p.Kind)
		}
		refuses(t, "refresh token", router, token.RefreshToken)
	}
}

// The ID token is signed with a key of the same JWKS. With the client as an
// accepted audience, nothing but what it holds tells it apart.
func testIDToken(t *testing.T, b *hydraBench) {
	client, token := b.tokens(t, true)
	for mode, router := range b.routers {
		refuses(t, "ID token in mode "+string(mode), router, token.IDToken)
	}
	for name, change := range map[string]func(*jwt.Issuer){
		"an audience that is the client":  func(i *jwt.Issuer) { i.Audiences = []string{client.ID} },
		"no check of the audience at all": func(i *jwt.Issuer) { i.Audiences, i.InsecureSkipAudience = nil, true },
	} {
		_, err := b.verifier(t, change).AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: token.IDToken})
		if !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "ID token") {
			t.Errorf("ID token with %s: %v", name, err)
		}
	}
}

// A revoked JWT passes locally, which is why the mode exists.
func testRevokedJWT(t *testing.T, b *hydraBench) {
	client, token := b.tokens(t, true)
	for mode, router := range b.routers {
		if _, err := ask(t, router, token.AccessToken); err != nil {
			t.Errorf("mode %s: %v", mode, err)
		}
	}
	if err := b.Revoke(t.Context(), client, token.AccessToken); err != nil {
		t.Fatal(err)
	}
	refuses(t, "introspected", b.routers[always], token.AccessToken)
	if _, err := ask(t, b.routers[unknownIssuer], token.AccessToken); err != nil {
		t.Errorf("verified locally: %v", err)
	}
}

func testOtherAudience(t *testing.T, b *hydraBench) {
	_, token := b.tokens(t, true)
	other := b.verifier(t, func(i *jwt.Issuer) { i.Audiences = []string{"https://other.example.test"} })
	_, err := other.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: token.AccessToken})
	if !errors.Is(err, core.ErrInvalid) {
		t.Errorf("JWT for us at another: %v", err)
	}
}

// Hydra stops: tokens are still verified with the keys at hand, unknown keys
// cannot be judged, and introspection cannot tell.
func TestHydraThatDied(t *testing.T) {
	b := hydra(t)
	_, jwtToken := b.tokens(t, true)
	_, opaque := b.tokens(t, false)
	router := b.routers[unknownIssuer]
	for _, token := range []string{jwtToken.AccessToken, opaque.AccessToken} {
		if _, err := ask(t, router, token); err != nil {
			t.Fatal(err)
		}
	}
	b.Stop()
	if _, err := ask(t, router, jwtToken.AccessToken); err != nil {
		t.Errorf("the keys at hand: %v", err)
	}
	if p, err := ask(t, router, opaque.AccessToken); err == nil || errors.Is(err, core.ErrInvalid) {
		t.Errorf("introspection: %+v, %v", p, err)
	}
	late := core.Credential{Place: core.BearerToken, Value: jwtToken.AccessToken}
	if p, err := b.verifier(t, nil).AuthenticateToken(t.Context(), late); err == nil || errors.Is(err, core.ErrInvalid) {
		t.Errorf("keys that were never had: %+v, %v", p, err)
	}
}
