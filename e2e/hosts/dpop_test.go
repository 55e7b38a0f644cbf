package hosts

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/dev/oidcprovider"
)

const (
	jwtResource    = "https://api.example.test"
	opaqueResource = "https://opaque.example.test"
)

// boundToken gets a token of a real provider that is bound to the key of a client, which
// proves there, too, that it holds it.
func boundToken(t *testing.T, provider oidcprovider.Provider, holder *coretest.Holder, resource string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {resource}, "scope": {"orders:read"}}
	r, err := http.NewRequest("POST", provider.Issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("machine", "secret")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("DPoP", holder.Proof("POST", provider.Issuer+"/token", "", map[string]any{"ath": nil}))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	var answer struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Type != "DPoP" || answer.Token == "" {
		t.Fatalf("the provider responds %d: %s", response.StatusCode, text)
	}
	return answer.Token
}

// A machine with tokens of a real provider, JWT and opaque ones, calls through every host.
func TestTokensThatARealProviderBindsToAKeyNeedProofsOnEveryHost(t *testing.T) {
	provider := oidcprovider.Start(t, oidcprovider.Options{BoundTo: []string{jwtResource, opaqueResource}, Clients: []any{
		map[string]any{
			"client_id": "machine", "client_secret": "secret", "grant_types": []string{"client_credentials"}, "redirect_uris": []string{}, "response_types": []string{},
			"dpop_bound_access_tokens": true,
		},
		map[string]any{"client_id": "gate", "client_secret": "gate-secret", "grant_types": []string{}, "redirect_uris": []string{}, "response_types": []string{}},
	}})
	holder := coretest.NewHolder(t, "ES256", time.Now)
	tokens := map[string]string{"JWT": boundToken(t, provider, holder, jwtResource), "opaque": boundToken(t, provider, holder, opaqueResource)}
	config := map[string]any{
		"permission_table": "authenticated: [GET /orders]",
		"upstream_headers": map[string]any{"X-User-Id": "client_id"},
		"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": provider.Issuer, "audience": []string{jwtResource}, "dpop_bound_access_tokens_required": true}}},
		"introspection": map[string]any{
			"introspection_endpoint": provider.Issuer + "/token/introspection", "introspection_endpoint_auth_method": "client_secret_basic", "client_id": "gate", "client_secret": "gate-secret",
			"audience": []string{opaqueResource},
		},
		"dpop": map[string]any{"use_nonce": true},
	}
	eachHost(t, config, filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) {
		ask := func(token, scheme string, proofs ...string) (status int, challenge, nonce string) {
			t.Helper()
			r, err := http.NewRequest("GET", "http://app.test/orders?page=2", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", scheme+" "+token)
			r.Header["Dpop"] = proofs
			response, err := http.DefaultClient.Do(h.call(r))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			io.Copy(io.Discard, response.Body)
			return response.StatusCode, response.Header.Get("WWW-Authenticate"), response.Header.Get("DPoP-Nonce")
		}
		const uri = "https://app.test/orders"
		for kind, token := range tokens {
			status, challenge, nonce := ask(token, "DPoP", holder.Proof("GET", uri, token, nil))
			if status != 401 || !strings.Contains(challenge, `error="use_dpop_nonce"`) || nonce == "" {
				t.Fatalf("%s without a nonce: %d, %s, nonce %q", kind, status, challenge, nonce)
			}
			with := map[string]any{"nonce": nonce}
			good := holder.Proof("GET", uri, token, with)
			if status, challenge, _ := ask(token, "DPoP", good); status != 200 {
				t.Fatalf("%s with the nonce: %d, %s", kind, status, challenge)
			}
			thief := coretest.NewHolder(t, "ES256", time.Now)
			fresh := func() string { return holder.Proof("GET", uri, token, with) }
			for attack, try := range map[string]struct {
				scheme string
				proofs []string
				error  string
			}{
				"replay":                  {"DPoP", []string{good}, "invalid_dpop_proof"},
				"no proof":                {"DPoP", nil, "invalid_dpop_proof"},
				"two proofs":              {"DPoP", []string{fresh(), fresh()}, "invalid_dpop_proof"},
				"empty line beside it":    {"DPoP", []string{fresh(), ""}, "invalid_dpop_proof"},
				"key of a thief":          {"DPoP", []string{thief.Proof("GET", uri, token, with)}, "invalid_token"},
				"another method":          {"DPoP", []string{holder.Proof("POST", uri, token, with)}, "invalid_dpop_proof"},
				"another path":            {"DPoP", []string{holder.Proof("GET", uri+"/1", token, with)}, "invalid_dpop_proof"},
				"another host":            {"DPoP", []string{holder.Proof("GET", "https://other.test/orders", token, with)}, "invalid_dpop_proof"},
				"plain HTTP":              {"DPoP", []string{holder.Proof("GET", "http://app.test/orders", token, with)}, "invalid_dpop_proof"},
				"another token":           {"DPoP", []string{holder.Proof("GET", uri, "other", with)}, "invalid_dpop_proof"},
				"as a bearer token":       {"Bearer", []string{fresh()}, "invalid_token"},
				"as a bearer token alone": {"Bearer", nil, "invalid_token"},
			} {
				if status, challenge, _ := ask(token, try.scheme, try.proofs...); status != 401 || !strings.Contains(challenge, `error="`+try.error+`"`) {
					t.Errorf("%s, %s: %d, %s", kind, attack, status, challenge)
				}
			}
			if status, challenge, _ := ask(token, "DPoP", fresh()); status != 200 {
				t.Errorf("%s, remembered, with a new proof: %d, %s", kind, status, challenge)
			}
		}
	})
}
