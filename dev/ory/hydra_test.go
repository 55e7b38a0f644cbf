package ory_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

const audience = "https://api.example.test"

func webClient() ory.Client {
	return ory.Client{
		Name:         "Web client",
		Grants:       []string{"authorization_code", "refresh_token"},
		Scopes:       strings.Fields("openid offline users:read products:read orders:read"),
		Audience:     []string{audience},
		RedirectURIs: []string{"http://127.0.0.1:5555/callback"},
	}
}

func machineClient() ory.Client {
	return ory.Client{
		Name:     "Machine",
		Grants:   []string{"client_credentials"},
		Scopes:   strings.Fields("users:read orders:read"),
		Audience: []string{audience},
	}
}

func create(t *testing.T, h *ory.Hydra, c ory.Client) ory.Client {
	t.Helper()
	c, err := h.CreateClient(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func introspect(t *testing.T, h *ory.Hydra, token string) map[string]any {
	t.Helper()
	response, err := h.Introspect(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func adaGrant() ory.Grant {
	return ory.Grant{
		Subject:     "user-1",
		Scopes:      strings.Fields("openid offline users:read products:read orders:read"),
		Audience:    []string{audience},
		AccessToken: map[string]any{"roles": []string{"editor"}, "tenant": "acme"},
		IDToken:     map[string]any{"name": "Ada"},
	}
}

func TestHydra(t *testing.T) {
	h := orytest.Hydra(t, ory.HydraConfig{})

	t.Run("a machine gets an opaque token", func(t *testing.T) {
		c := create(t, h, machineClient())
		token, err := h.ClientCredentials(t.Context(), c, []string{"users:read"}, []string{audience})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(token.AccessToken, "ory_at_") || token.ExpiresIn < 3500 {
			t.Errorf("token of %d s, type %s", token.ExpiresIn, token.TokenType)
		}
		got := introspect(t, h, token.AccessToken)
		if got["active"] != true || got["scope"] != "users:read" || got["client_id"] != c.ID || got["iss"] != h.Issuer() ||
			got["token_use"] != "access_token" || !reflect.DeepEqual(got["aud"], []any{audience}) {
			t.Errorf("introspection %v", got)
		}
	})

	t.Run("a machine gets a JWT", func(t *testing.T) {
		c := machineClient()
		c.JWT = true
		c = create(t, h, c)
		token, err := h.ClientCredentials(t.Context(), c, c.Scopes, c.Audience)
		if err != nil {
			t.Fatal(err)
		}
		claims := jwtClaims(t, token.AccessToken)
		if claims["iss"] != h.Issuer() || claims["scope"] != "users:read orders:read" || !reflect.DeepEqual(claims["aud"], []any{audience}) ||
			!reflect.DeepEqual(claims["scp"], []any{"users:read", "orders:read"}) {
			t.Errorf("claims %v", claims)
		}
	})

	t.Run("a scope the client does not have is refused", func(t *testing.T) {
		c := create(t, h, machineClient())
		_, err := h.ClientCredentials(t.Context(), c, []string{"products:read"}, nil)
		if response := wantStatus(t, err, http.StatusBadRequest); response.ID != "invalid_scope" {
			t.Errorf("error %q", response.ID)
		}
	})

	t.Run("a wrong client secret is refused", func(t *testing.T) {
		c := create(t, h, machineClient())
		c.Secret = "wrong"
		_, err := h.ClientCredentials(t.Context(), c, nil, nil)
		wantStatus(t, err, http.StatusUnauthorized)
	})

	t.Run("an ID and a secret with reserved characters work", func(t *testing.T) {
		c := machineClient()
		c.ID, c.Secret = "a:b%2f/+ ", "p%3As s+&="
		c = create(t, h, c)
		if _, err := h.ClientCredentials(t.Context(), c, []string{"users:read"}, nil); err != nil {
			t.Error(err)
		}
	})

	t.Run("the classic scopes work by authorization code and refresh", func(t *testing.T) {
		c := create(t, h, webClient())
		token, err := h.AuthorizationCode(t.Context(), c, adaGrant())
		if err != nil {
			t.Fatal(err)
		}
		checkUserToken(t, h, c, token)
		if token.IDToken == "" || jwtClaims(t, token.IDToken)["name"] != "Ada" {
			t.Error("no ID token of Ada")
		}

		fresh, err := h.Refresh(t.Context(), c, token.RefreshToken)
		if err != nil {
			t.Fatal(err)
		}
		checkUserToken(t, h, c, fresh)
		if fresh.AccessToken == token.AccessToken || fresh.RefreshToken == token.RefreshToken {
			t.Error("refreshing gave the same tokens")
		}

		if _, err := h.Refresh(t.Context(), c, token.RefreshToken); err == nil {
			t.Error("a refresh token was taken twice")
		}
		if introspect(t, h, fresh.AccessToken)["active"] != false {
			t.Error("the grant survives the reuse of its refresh token")
		}
	})

	t.Run("a public client works with PKCE alone", func(t *testing.T) {
		c := webClient()
		c.Public = true
		c = create(t, h, c)
		token, err := h.AuthorizationCode(t.Context(), c, adaGrant())
		if err != nil {
			t.Fatal(err)
		}
		checkUserToken(t, h, c, token)
	})

	t.Run("a user's JWT carries roles and tenant", func(t *testing.T) {
		c := webClient()
		c.JWT = true
		c = create(t, h, c)
		token, err := h.AuthorizationCode(t.Context(), c, adaGrant())
		if err != nil {
			t.Fatal(err)
		}
		claims := jwtClaims(t, token.AccessToken)
		if claims["sub"] != "user-1" || claims["tenant"] != "acme" || !reflect.DeepEqual(claims["roles"], []any{"editor"}) {
			t.Errorf("claims %v", claims)
		}
	})

	t.Run("a revoked token is inactive", func(t *testing.T) {
		c := create(t, h, webClient())
		token, err := h.AuthorizationCode(t.Context(), c, adaGrant())
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Revoke(t.Context(), c, token.AccessToken); err != nil {
			t.Fatal(err)
		}
		if introspect(t, h, token.AccessToken)["active"] != false {
			t.Error("revoked and active")
		}
	})

	t.Run("a deleted client's tokens are inactive", func(t *testing.T) {
		c := create(t, h, machineClient())
		token, err := h.ClientCredentials(t.Context(), c, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.DeleteClient(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		if introspect(t, h, token.AccessToken)["active"] != false {
			t.Error("active without its client")
		}
	})

	t.Run("a client may have short-lived tokens", func(t *testing.T) {
		c := machineClient()
		c.AccessTokenLifespan = 7 * time.Second
		c = create(t, h, c)
		token, err := h.ClientCredentials(t.Context(), c, nil, nil)
		if err != nil || token.ExpiresIn > 7 || token.ExpiresIn < 5 {
			t.Errorf("expires in %d s, %v", token.ExpiresIn, err)
		}
	})

	t.Run("a scope that was not granted is not in the token", func(t *testing.T) {
		c := create(t, h, webClient())
		request, err := ory.NewAuthRequest(c, c.Scopes, c.Audience)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(h.AuthCodeURL(c, request), "code_challenge_method=S256") {
			t.Error("no PKCE")
		}
		g := adaGrant()
		g.Scopes = []string{"users:read"}
		token, err := h.AuthorizationCode(t.Context(), c, g)
		if err != nil {
			t.Fatal(err)
		}
		if token.Scope != "users:read" || token.RefreshToken != "" || token.IDToken != "" {
			t.Errorf("scope %q", token.Scope)
		}
	})
}

func checkUserToken(t *testing.T, h *ory.Hydra, c ory.Client, token ory.Token) {
	t.Helper()
	got := introspect(t, h, token.AccessToken)
	if got["active"] != true || got["sub"] != "user-1" || got["client_id"] != c.ID || got["scope"] != "openid offline users:read products:read orders:read" {
		t.Errorf("introspection %v", got)
	}
	ext, _ := got["ext"].(map[string]any)
	if ext["tenant"] != "acme" || !reflect.DeepEqual(ext["roles"], []any{"editor"}) {
		t.Errorf("session claims %v", ext)
	}
	if token.RefreshToken == "" {
		t.Error("no refresh token in spite of the scope offline")
	}
}

// jwtClaims reads claims without verifying anything, which a test may.
func jwtClaims(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %d parts", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestCallbackOfAnotherRequestIsRefused(t *testing.T) {
	for name, query := range map[string]map[string][]string{
		"another state": {"state": {"theirs"}, "code": {"c"}},
		"no state":      {"code": {"c"}},
		"an error":      {"state": {"ours"}, "error": {"access_denied"}},
		"no code":       {"state": {"ours"}},
	} {
		if _, err := ory.CallbackCode(query, "ours"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ory.CallbackCode(map[string][]string{"code": {"c"}}, ""); err == nil {
		t.Error("an empty state was accepted")
	}
}
