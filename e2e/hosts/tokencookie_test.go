package hosts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/core/coretest"
)

// TestOneSignInForAppsBehindEveryHost has somebody sign in at one host, and use the token
// in the cookie at the others, which have the same keys, as a cookie and as a bearer token.
// The OpenID provider is a fake.
func TestOneSignInForAppsBehindEveryHost(t *testing.T) {
	provider := coretest.NewFakeProvider(t, coretest.NewClock())
	key := filepath.Join(t.TempDir(), "key.pem")
	writeKey(t, key)
	config := func(t *testing.T) map[string]any {
		return map[string]any{
			"permission_table": `authenticated: ["GET,POST /orders"]`,
			"state_dir":        t.TempDir(), "revocation": map[string]any{"without_list": "accept"},
			"cross_site_writes": map[string]any{"trusted_origins": []string{"https://*.app.test"}},
			"gateway_token":     map[string]any{"issuer": "https://login.app.test", "audience": []string{"https://app.test"}, "keys": []string{"$file://" + key}},
			"login": map[string]any{"oidc": map[string]any{
				"providers":    []any{map[string]any{"discovery": provider.DiscoveryURL(), "client_id": "web", "client_secret": "hunter2"}},
				"redirect_uri": site + "/callback",
				"session":      map[string]any{"storage": "jwt", "secret": []any{tokenSecret}, "cookie": map[string]any{"name": "jwt-token", "domain": "app.test"}},
			}},
		}
	}
	apps := map[string]*running{}
	var start func(names []string, then func())
	start = func(names []string, then func()) {
		if len(names) == 0 {
			then()
			return
		}
		onHost(t, names[0], config(t), filepath.Join(t.TempDir(), "log"), func(_ *testing.T, h *running) {
			apps[names[0]] = h
			start(names[1:], then)
		})
	}
	start([]string{"kong", "apisix", "forwardauth"}, func() {
		for at, app := range apps {
			ada := newVisitor(t, app)
			response := ada.wants(http.StatusSeeOther, "the sign-in at "+at, ada.atCallback())
			lines := slices.DeleteFunc(response.Header["Set-Cookie"], func(line string) bool { return !strings.HasPrefix(line, "jwt-token=") })
			if len(lines) != 1 || !strings.Contains(lines[0], "Domain=app.test; HttpOnly; Secure; SameSite=Lax") {
				t.Fatalf("%s sets %q", at, lines)
			}
			token := ada.tokenInCookie()
			for other, app := range apps {
				user, mobile := newVisitor(t, app), newVisitor(t, app)
				user.jar.SetCookies(user.url("/"), []*http.Cookie{{Name: "jwt-token", Value: token, Secure: true}})
				user.wants(http.StatusOK, "the cookie of "+at+" at "+other, "/orders")
				mobile.wants(http.StatusOK, "the bearer token of "+at+" at "+other, "/orders", "Authorization", "Bearer "+token)
				for origin, want := range map[string]int{"https://shop.app.test": http.StatusOK, "https://evil.test": http.StatusForbidden} {
					if response := user.send(http.MethodPost, "/orders", "Origin", origin, "Sec-Fetch-Site", "same-site"); response.StatusCode != want {
						t.Errorf("a write of %s at %s: %d, want %d", origin, other, response.StatusCode, want)
					}
				}
				user.jar.SetCookies(user.url("/"), []*http.Cookie{{Name: "jwt-token", Value: token[:len(token)-4] + "AAAA", Secure: true}})
				user.wants(http.StatusUnauthorized, "a forged token for a script at "+other, "/orders", "Accept", "application/json")
				newVisitor(t, app).wants(http.StatusUnauthorized, "no cookie, for a script at "+other, "/orders", "Accept", "application/json")
				newVisitor(t, app).wants(http.StatusFound, "no cookie, for a page at "+other, "/orders")
			}
			ada.wants(http.StatusSeeOther, "the logout at "+at, "/logout")
			if ada.tokenInCookie() != "" {
				t.Errorf("%s leaves the cookie after the logout", at)
			}
			newVisitor(t, app).wants(http.StatusUnauthorized, "the token after the logout at "+at, "/orders", "Accept", "application/json", "Authorization", "Bearer "+token)
		}
	})
}

func (v *visitor) tokenInCookie() string {
	for _, c := range v.jar.Cookies(v.url("/")) {
		if c.Name == "jwt-token" {
			return c.Value
		}
	}
	return ""
}

func writeKey(t *testing.T, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}), 0o600); err != nil {
		t.Fatal(err)
	}
}
