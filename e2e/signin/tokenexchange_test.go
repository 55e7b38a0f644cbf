package signin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/core/signin/oidc"
	"gatehouse/core/upstreamtoken/signing"
	"gatehouse/dev/oidcprovider"
)

// exchange has a gate exchange a token of a client of an issuer.
func exchange(t *testing.T, gate *core.Gate, kind, token string) (issued, fault string) {
	t.Helper()
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:" + kind}}
	d := gate.Check(t.Context(), &core.Request{
		Method: http.MethodPost, Target: "/oauth2/token", Header: []core.Header{{Name: "Content-Type", Value: "application/x-www-form-urlencoded"}},
		AskBody: func(int) ([]byte, error) { return []byte(form.Encode()), nil },
	})
	var document struct {
		Token string `json:"access_token"`
		Error string
	}
	if err := json.Unmarshal(d.Body, &document); err != nil {
		t.Fatalf("%d: %s: %v", d.Status, d.Body, err)
	}
	return document.Token, document.Error
}

// TestAppsExchangeIDTokensOfTheCertifiedProvider has apps of oidc-provider exchange their ID
// tokens: one that is on the list, and one that is not.
func TestAppsExchangeIDTokensOfTheCertifiedProvider(t *testing.T) {
	const secret = "a secret of a test client, long enough"
	n := oidcprovider.Start(t, oidcprovider.Options{Clients: []any{npmClient("app", clientauth.SecretBasic, nil), npmClient("another", clientauth.SecretBasic, nil)}})
	key, err := signing.Generate("EdDSA", time.Now())
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
	gate, err := config.NewBuilder(config.BuilderOptions{}).Gate([]byte(coretest.JSON(t, map[string]any{
		"permission_table": "authenticated: [GET /orders]",
		"gateway_token": map[string]any{
			"issuer": "https://gate.test", "audience": []any{"https://gate.test/api"}, "keys": []any{string(private)},
			"exchange": map[string]any{"path": "/oauth2/token", "issuers": []any{map[string]any{"issuer": n.Issuer, "clients": []any{"app"}}}},
		},
	})))
	if err != nil {
		t.Fatal(err)
	}
	for client, accepted := range map[string]bool{"app": true, "another": false} {
		p := provider(t, oidc.Options{Name: "npm", Discovery: n.Discovery(), ClientID: client, Authentication: clientauth.Options{Method: clientauth.SecretBasic, Secret: secret}, Scopes: []string{"openid"}})
		ada := oidcprovider.NewPerson(t, "ada")
		s, err := signIn(t, p, oidc.Demand{}, func(address string) (string, *url.URL, url.Values) { return ada.Visit(address, callback) })
		if err != nil {
			t.Fatal(err)
		}
		issued, fault := exchange(t, gate, "id_token", s.IDToken)
		if accepted != (issued != "") || !accepted && fault != "invalid_request" {
			t.Errorf("%s: %q, %q", client, issued, fault)
		}
		if _, fault := exchange(t, gate, "id_token", s.AccessToken); fault != "invalid_request" {
			t.Errorf("%s: the opaque access token as an ID token: %q", client, fault)
		}
		if !accepted {
			continue
		}
		d := gate.Check(t.Context(), &core.Request{Method: http.MethodGet, Target: "/orders", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + issued}}})
		if d.Outcome != core.Allow || d.Principal.Subject != "ada" || d.Principal.Issuer != n.Issuer {
			t.Errorf("its token: %d, %v", d.Status, d.Cause)
		}
	}
}
