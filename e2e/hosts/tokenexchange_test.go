package hosts

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core/upstreamtoken/signing"
	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

const tokenType = "urn:ietf:params:oauth:token-type:"

// post sends a form to the endpoint of a host, and returns what a client reads.
func (h *running) post(t *testing.T, kind, token string, headers ...string) (*http.Response, map[string]any) {
	t.Helper()
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {token}, "subject_token_type": {tokenType + kind}}
	return h.send(t, "POST", form.Encode(), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
}

func (h *running) send(t *testing.T, method, body string, headers ...string) (*http.Response, map[string]any) {
	t.Helper()
	r, err := http.NewRequest(method, h.base+"/oauth2/token", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	document := map[string]any{}
	if len(text) > 0 && json.Unmarshal(text, &document) != nil {
		t.Logf("%d: %s", response.StatusCode, text)
	}
	return response, document
}

// TestAppsExchangeTokensOfHydraOnEveryHost has a mobile app exchange what Hydra has given
// it, and use the token of the gate; and another app of the same provider try the same.
func TestAppsExchangeTokensOfHydraOnEveryHost(t *testing.T) {
	hydra := orytest.Hydra(t, ory.HydraConfig{})
	tokens := map[string]ory.Token{}
	for _, id := range []string{"orders-app", "another-app"} {
		client, err := hydra.CreateClient(t.Context(), ory.Client{
			ID: id, Secret: "a secret of a client of a test", Grants: []string{"authorization_code"}, Scopes: []string{"openid", "orders:read"}, RedirectURIs: []string{site + "/callback"},
		})
		if err != nil {
			t.Fatal(err)
		}
		client.Secret = "a secret of a client of a test"
		token, err := hydra.AuthorizationCode(t.Context(), client, ory.Grant{Subject: "ada", Scopes: []string{"openid", "orders:read"}, IDToken: map[string]any{"roles": []string{"clerk"}}})
		if err != nil || token.IDToken == "" {
			t.Fatalf("%+v, %v", token, err)
		}
		tokens[id] = token
	}
	key, err := signing.Generate("ES256", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	set, err := signing.NewSet(key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := set.Private()
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]any{
		"permission_table": `{permissions: {read: {activities: [GET /orders]}}, roles: {clerk: [read]}}`,
		"introspection":    map[string]any{"introspection_endpoint": hydra.IntrospectionURL(), "insecure_any_audience": true},
		"cors":             map[string]any{"origins": []any{"https://app.test"}},
		"gateway_token": map[string]any{
			"issuer": site + "/gatehouse", "audience": []any{site}, "keys": []any{string(private)},
			"exchange": map[string]any{
				"path": "/oauth2/token", "introspection_clients": []any{"orders-app"},
				"issuers": []any{map[string]any{"issuer": hydra.Issuer(), "clients": []any{"orders-app"}}},
			},
		},
	}
	for name := range maps.Keys(starts) {
		t.Run(name, func(t *testing.T) {
			onHost(t, name, config, filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) { checkExchange(t, h, tokens) })
		})
	}
}

func checkExchange(t *testing.T, h *running, tokens map[string]ory.Token) {
	app, another := tokens["orders-app"], tokens["another-app"]
	for kind, token := range map[string]string{"id_token": app.IDToken, "access_token": app.AccessToken} {
		response, document := h.post(t, kind, token, "Origin", "https://app.test")
		issued, _ := document["access_token"].(string)
		if response.StatusCode != 200 || issued == "" || response.Header.Get("Cache-Control") != "no-store" || response.Header.Get("Access-Control-Allow-Origin") != "https://app.test" {
			t.Fatalf("%s: %d, %v, %v", kind, response.StatusCode, document, response.Header)
		}
		want := map[string]int{"id_token": 200, "access_token": 403}[kind] // Hydra says no role of an access token
		if got := h.status(t, http.DefaultClient, "/orders", "Authorization", "Bearer "+issued); got != want {
			t.Errorf("%s: its token gets %d, want %d", kind, got, want)
		}
	}
	for what, c := range map[string]struct{ kind, token string }{
		"the ID token of another app":                {"id_token", another.IDToken},
		"the opaque token of another app":            {"access_token", another.AccessToken},
		"an opaque token as an ID token":             {"id_token", app.AccessToken},
		"an ID token as an access token":             {"access_token", app.IDToken},
		"an ID token as an access token that is JWT": {"jwt", app.IDToken},
	} {
		if response, document := h.post(t, c.kind, c.token); response.StatusCode != 400 || document["error"] != "invalid_request" || document["access_token"] != nil {
			t.Errorf("%s: %d, %v", what, response.StatusCode, document)
		}
	}
	for what, c := range map[string]struct {
		method, body, contentType string
		want                      int
	}{
		"JSON":   {"POST", fmt.Sprintf(`{"subject_token": %q}`, app.IDToken), "application/json", 400},
		"GET":    {"GET", "", "application/x-www-form-urlencoded", 405},
		"64 KiB": {"POST", strings.Repeat("a", 64<<10), "application/x-www-form-urlencoded", 413},
	} {
		if response, _ := h.send(t, c.method, c.body, "Content-Type", c.contentType); response.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", what, response.StatusCode, c.want)
		}
	}
	for origin, want := range map[string]string{"https://app.test": "https://app.test", "https://evil.test": ""} {
		response, _ := h.send(t, "OPTIONS", "", "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
		if got := response.Header.Get("Access-Control-Allow-Origin"); got != want || (response.StatusCode == 204) != (want != "") {
			t.Errorf("a preflight of %s: %d, %q", origin, response.StatusCode, got)
		}
	}
}
