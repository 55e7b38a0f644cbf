package services

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/dev/npm"
	"gatehouse/dev/ports"
)

// server starts the authorization server.
func server(t *testing.T, environment ...string) (issuer string) {
	t.Helper()
	modules, node := npm.Modules(t)
	script, err := os.ReadFile("../../dev/npm/exchange.mjs")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(modules, "exchange.mjs") // beside its libraries
	if err := os.WriteFile(path, script, 0o600); err != nil {
		t.Fatal(err)
	}
	addresses, err := ports.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	issuer = "http://" + addresses[0]
	c := exec.Command(node, path)
	c.Env = append(append(os.Environ(), "ISSUER="+issuer), environment...)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if response, err := http.Get(issuer + "/jwks"); err == nil {
			response.Body.Close()
			return issuer
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// issue gets the token of a client from the server.
func issue(t *testing.T, issuer, client string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {"https://api.test"}, "scope": {"read"}}
	r, err := http.NewRequest("POST", issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(client, client+"-secret")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil || body.AccessToken == "" {
		t.Fatalf("status %d, %v", response.StatusCode, err)
	}
	return body.AccessToken
}

func TestTokenIsExchangedAtARealServer(t *testing.T) {
	issuer := server(t)
	gate := func(secret, audience string) *core.Gate {
		g, err := config.NewBuilder(config.BuilderOptions{}).Gate([]byte(coretest.JSON(t, map[string]any{
			"permission_table": "authenticated: [GET /private]",
			"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": issuer, "audience": []any{"https://api.test"}}}},
			"upstream_token": map[string]any{"audience": []any{audience}, "exchange": map[string]any{
				"token_endpoint": issuer + "/token", "client_id": "gateway", "client_secret": secret, "http": map[string]any{"timeout": 20},
			}},
		})))
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	const secret = "gate:way%secret"
	call := func(g *core.Gate, token string) (status int, exchanged string) {
		d := g.Check(t.Context(), &core.Request{Method: "GET", Target: "/private", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}})
		for _, h := range d.Upstream.Set {
			if h.Name == "Authorization" {
				exchanged = strings.TrimPrefix(h.Value, "Bearer ")
			}
		}
		if d.Outcome == core.Allow {
			return http.StatusOK, exchanged
		}
		t.Log(d.Cause)
		return d.Status, exchanged
	}
	own := issue(t, issuer, "app")
	good := gate(secret, "orders")
	status, exchanged := call(good, own)
	keys, err := jwk.Fetch(context.Background(), issuer+"/jwks")
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.ParseString(exchanged, jwt.WithKeySet(keys), jwt.WithIssuer(issuer), jwt.WithAudience("orders"))
	if status != http.StatusOK || err != nil || token.Subject() != "app" {
		t.Fatalf("status %d, %v, %v", status, token, err)
	}
	if _, again := call(good, own); again != exchanged {
		t.Error("the second request has another token: it was exchanged again")
	}
	for what, c := range map[string]struct {
		gate  *core.Gate
		token string
		want  int
	}{
		"a client that the server does not exchange for": {good, issue(t, issuer, "banned"), http.StatusForbidden},
		"a service that the server does not know":        {gate(secret, "users"), own, http.StatusForbidden},
		"a gateway with the wrong secret":                {gate("wrong", "orders"), own, http.StatusServiceUnavailable},
	} {
		if status, exchanged := call(c.gate, c.token); status != c.want || exchanged != "" {
			t.Errorf("%s: status %d, token %q, want %d", what, status, exchanged, c.want)
		}
	}
}

// The gate proves itself to a real server by a key, for whichever audience the server takes.
func TestTokenIsExchangedByAClientWithAKey(t *testing.T) {
	own, foreign := coretest.NewKey(t, "gate-1", "ES256"), coretest.NewKey(t, "gate-1", "ES256")
	issuer := server(t, "CLIENT_JWKS="+coretest.JSON(t, map[string]any{"keys": []any{own.JWK(t)}}))
	token := issue(t, issuer, "app")
	for name, c := range map[string]struct {
		key      *coretest.Key
		settings map[string]any
		want     int
	}{
		"for the issuer":                {own, nil, http.StatusOK},
		"for the token endpoint":        {own, map[string]any{"assertion_audience": "token_endpoint"}, http.StatusOK},
		"for a URL that is written out": {own, map[string]any{"assertion_audience": issuer + "/token"}, http.StatusOK},
		"for another server":            {own, map[string]any{"assertion_audience": "https://other.test"}, http.StatusServiceUnavailable},
		"by the key of somebody else":   {foreign, nil, http.StatusServiceUnavailable},
		"in the name of another client": {own, map[string]any{"client_id": "gateway"}, http.StatusServiceUnavailable},
	} {
		der, err := x509.MarshalPKCS8PrivateKey(c.key.Private)
		if err != nil {
			t.Fatal(err)
		}
		g, err := config.NewBuilder(config.BuilderOptions{}).Gate([]byte(coretest.JSON(t, map[string]any{
			"permission_table": "authenticated: [GET /private]",
			"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": issuer, "audience": []any{"https://api.test"}}}},
			"upstream_token": map[string]any{"audience": []any{"orders"}, "exchange": coretest.Merged(map[string]any{
				"token_endpoint": issuer + "/token", "issuer": issuer, "client_id": "keyed", "token_endpoint_auth_method": "private_key_jwt", "client_private_key_id": "gate-1",
				"client_private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "http": map[string]any{"timeout": 20},
			}, c.settings)},
		})))
		if err != nil {
			t.Fatal(err)
		}
		d := g.Check(t.Context(), &core.Request{Method: "GET", Target: "/private", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}})
		if passed := d.Outcome == core.Allow; passed != (c.want == http.StatusOK) || !passed && d.Status != c.want {
			t.Errorf("an assertion %s: %d, %v", name, d.Status, d.Cause)
		}
	}
}
