package hosts

import (
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"testing"

	"gatehouse/dev/demo/browsertest"
	"gatehouse/dev/oidcprovider"
)

// TestChromiumKeepsTheAttemptOfAPostedResponse has a real browser post the response of a
// provider from another site to the gate: cookies that are not SameSite=None do not go with
// it. The page of an app on another host has it sign in on the one of the callback.
func TestChromiumKeepsTheAttemptOfAPostedResponse(t *testing.T) {
	provider := oidcprovider.Start(t, oidcprovider.Options{Clients: []any{map[string]any{
		"client_id": "gate", "client_secret": tokenSecret, "redirect_uris": []any{site + "/callback"}, "response_types": []any{"code"}, "grant_types": []any{"authorization_code"},
		"post_logout_redirect_uris": []any{site + "/orders"},
	}}})
	config := map[string]any{
		"permission_table": `authenticated: ["GET /orders"]`,
		"login": map[string]any{"oidc": map[string]any{
			"providers": []any{map[string]any{
				"discovery": provider.Discovery(), "client_id": "gate", "client_secret": tokenSecret, "response_mode": "form_post", "scope": "openid email", "userinfo": true,
			}},
			"redirect_uri": site + "/callback", "return_origins": []any{"https://*.app.test"}, "post_logout_redirect_uri": site + "/orders",
			"session": map[string]any{"secret": []any{tokenSecret}, "cookie": map[string]any{"domain": "app.test"}},
		}},
		"upstream_headers": map[string]any{"X-User-Email": "email"},
	}
	onHost(t, "kong", config, filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) {
		to, err := url.Parse(h.base)
		if err != nil {
			t.Fatal(err)
		}
		front := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		}})
		t.Cleanup(front.Close)
		address := front.Listener.Addr().String()
		b := browsertest.NewAt(t, "MAP app.test:443 "+address+", MAP shop.app.test:443 "+address)
		b.RunScripts()
		b.Open("https://shop.app.test/orders")
		b.Fill("login", "ada")
		b.Fill("password", "any")
		b.Click("button[type=submit]")
		b.WaitHeading("Authorize")
		b.Click("button[type=submit]")
		b.WaitText("GET /orders of ada@example.test")
		b.Open(site + "/orders")
		b.WaitText("GET /orders of ada@example.test")
		b.Open(site + "/logout")
		b.Click("button[name=logout]")
		b.WaitHeading("Sign-in")
	})
}
