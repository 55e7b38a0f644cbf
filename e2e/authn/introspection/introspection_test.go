package introspection_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authn/introspection"
	"gatehouse/core/coretest"
	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

// hydraBench is an authenticator in front of a real Hydra.
type hydraBench struct {
	*ory.Hydra
	t    *testing.T
	auth *introspection.Authenticator
}

func hydra(t *testing.T) *hydraBench {
	t.Helper()
	b := &hydraBench{Hydra: orytest.Hydra(t, ory.HydraConfig{}), t: t}
	b.auth = b.authenticator(b.Issuer())
	return b
}

func (b *hydraBench) authenticator(issuer string) *introspection.Authenticator {
	b.t.Helper()
	auth, err := introspection.New(introspection.Options{
		URL: b.IntrospectionURL(), Client: coretest.Client(b.t), Issuer: issuer, Audiences: []string{coretest.Audience},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return auth
}

func (b *hydraBench) ask(token string) (*core.Principal, error) {
	b.t.Helper()
	p, err := b.auth.AuthenticateToken(b.t.Context(), core.Credential{Place: core.BearerToken, Value: token})
	if err != nil && strings.Contains(err.Error(), token) {
		b.t.Errorf("the error holds the token: %v", err)
	}
	return p, err
}

func (b *hydraBench) accepts(name, token string) *core.Principal {
	b.t.Helper()
	p, err := b.ask(token)
	if err != nil {
		b.t.Fatalf("%s: %v", name, err)
	}
	return p
}

func (b *hydraBench) refuses(name, token string) {
	b.t.Helper()
	if p, err := b.ask(token); !errors.Is(err, core.ErrInvalid) {
		b.t.Errorf("%s: %+v, %v", name, p, err)
	}
}

// userTokens signs user-1 in at a client.
func (b *hydraBench) userTokens(jwt bool) (ory.Client, ory.Token) {
	b.t.Helper()
	scopes := strings.Fields("openid offline users:read orders:read")
	client, err := b.CreateClient(b.t.Context(), ory.Client{
		Grants: []string{"authorization_code", "refresh_token"}, Scopes: scopes, Audience: []string{coretest.Audience},
		RedirectURIs: []string{"http://127.0.0.1:5555/callback"}, JWT: jwt,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	token, err := b.AuthorizationCode(b.t.Context(), client, ory.Grant{
		Subject: "user-1", Scopes: scopes, Audience: []string{coretest.Audience},
		AccessToken: map[string]any{"roles": []string{"editor"}, "uid": int64(9223372036854775807)},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if token.AccessToken == "" || token.RefreshToken == "" || token.IDToken == "" {
		b.t.Fatal("not all three tokens were issued")
	}
	return client, token
}

func (b *hydraBench) machineToken(audience []string) string {
	b.t.Helper()
	client, err := b.CreateClient(b.t.Context(), ory.Client{
		Grants: []string{"client_credentials"}, Scopes: []string{"orders:read"}, Audience: []string{coretest.Audience},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	token, err := b.ClientCredentials(b.t.Context(), client, []string{"orders:read"}, audience)
	if err != nil {
		b.t.Fatal(err)
	}
	return token.AccessToken
}

func TestAgainstHydra(t *testing.T) {
	b := hydra(t)
	run := func(name string, f func(b *hydraBench)) {
		t.Run(name, func(t *testing.T) { f(&hydraBench{b.Hydra, t, b.auth}) })
	}
	run("opaque token", func(b *hydraBench) { b.testUserToken(false) })
	run("JWT", func(b *hydraBench) { b.testUserToken(true) })
	run("machine", (*hydraBench).testMachine)
	run("garbage", (*hydraBench).testGarbage)
	run("another issuer", (*hydraBench).testIssuer)
}

func (b *hydraBench) testUserToken(jwt bool) {
	client, token := b.userTokens(jwt)
	p := b.accepts("access token", token.AccessToken)
	if p.Subject != "user-1" || p.ClientID != client.ID || p.Issuer != b.Issuer() || p.Kind != core.KindIntrospection {
		b.t.Errorf("got %+v", p)
	}
	if !slices.Contains(p.Scopes, "orders:read") || !slices.Equal(p.Roles, []string{"editor"}) {
		b.t.Errorf("scopes %q, roles %q", p.Scopes, p.Roles)
	}
	b.refuses("refresh token", token.RefreshToken)
	b.refuses("ID token", token.IDToken)

	if err := b.Revoke(b.t.Context(), client, token.AccessToken); err != nil {
		b.t.Fatal(err)
	}
	b.refuses("revoked access token", token.AccessToken)
}

func (b *hydraBench) testMachine() {
	p := b.accepts("a token of a client for itself", b.machineToken([]string{coretest.Audience}))
	if p.ClientID == "" || p.Subject != p.ClientID {
		b.t.Errorf("subject %q, client %q", p.Subject, p.ClientID)
	}
	b.refuses("a token for no audience", b.machineToken(nil))
}

func (b *hydraBench) testGarbage() {
	for _, token := range []string{"x", "ory_at_" + strings.Repeat("a", 43) + "." + strings.Repeat("b", 43), "eyJhbGciOiJub25lIn0.e30.", "a&token=b", "%00", strings.Repeat("a", 16000)} {
		b.refuses(token[:1], token)
	}
}

func (b *hydraBench) testIssuer() {
	token := b.machineToken([]string{coretest.Audience})
	b.accepts("control", token)
	strict := b.authenticator(strings.TrimSuffix(b.Issuer(), "/")) // one character off
	if _, err := strict.AuthenticateToken(b.t.Context(), core.Credential{Place: core.BearerToken, Value: token}); !errors.Is(err, core.ErrInvalid) {
		b.t.Errorf("got %v", err)
	}
}
