package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/core/coretest"
	"gatehouse/dev/apisix"
	"gatehouse/dev/kong"
	"gatehouse/e2e/upstreamtokentest"
	"gatehouse/e2e/vector"
)

// tokenGateways are both gateways in front of one upstream, by the address at which
// clients reach each.
func tokenGateways(t *testing.T, config map[string]any, upstream string) map[string]string {
	t.Helper()
	dir, at := t.TempDir(), map[string]string{}
	write := func(name string, document any, end string) string {
		text, err := json.Marshal(document)
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.WriteFile(path, append(text, end...), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	k, err := kong.Start(kong.Options{Config: write("kong.yml", map[string]any{"_format_version": "3.0", "services": []any{map[string]any{
		"name": "app", "url": "http://" + upstream, "routes": []any{map[string]any{"name": "all", "paths": []string{"/"}}},
		"plugins": []any{map[string]any{"name": "gatehouse", "config": config}},
	}}}, ""), PluginBinary: pluginBinaries(t).Kong, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Stop() })
	value, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	a, err := apisix.Start(apisix.Options{Config: write("apisix.yaml", map[string]any{"routes": []any{map[string]any{
		"uri": "/*", "upstream": map[string]any{"nodes": map[string]any{upstream: 1}},
		"plugins": map[string]any{"ext-plugin-pre-req": map[string]any{"conf": []any{map[string]any{"name": "gatehouse", "value": string(value)}}}},
	}}}, "\n#END\n"), RunnerBinary: pluginBinaries(t).APISIX, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Stop() })
	at["kong"], at["apisix"] = address(k.URL()), address(a.URL())
	return at
}

// The minted token is in the place of the client's credential on both gateways, and what
// a client sends under its name arrives nowhere.
func TestServiceBehindAGatewayGetsItsToken(t *testing.T) {
	seen := make(chan *http.Request, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r }))
	defer upstream.Close()
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	keys, section := upstreamtokentest.Section(t, filepath.Join(t.TempDir(), "keys.json"))
	token, long := issuer.Token(nil), issuer.Token(map[string]any{"note": strings.Repeat("n", 2300)})
	for _, header := range []string{"Authorization", "X-Access-Token"} {
		section["header"] = header
		config := map[string]any{
			"jwt":            map[string]any{"issuers": []any{map[string]any{"issuer": issuer.URL, "audience": []any{coretest.Audience}}}},
			"token_cookie":   "jwt-token",
			"upstream_token": section, "permission_table": "authenticated: [GET /private]\npublic: [GET /public]",
		}
		for gateway, at := range tokenGateways(t, config, upstream.Listener.Addr().String()) {
			for what, c := range map[string]struct{ target, lines, subject string }{
				"public, forged":           {"/public", header + ": Bearer forged\r\n" + strings.ToLower(header) + "s: x\r\n", ""},
				"public, the client's own": {"/public", "Authorization: Bearer " + token + "\r\nCookie: jwt-token=" + token + "\r\n", ""},
				"in a header":              {"/private", "Authorization: Bearer " + token + "\r\n", "user-1"},
				"in a cookie":              {"/private", "Cookie: theme=dark; jwt-token=" + token + "\r\n", "user-1"},
				"a token of 4 KiB":         {"/private", "Authorization: Bearer " + long + "\r\n", "user-1"},
			} {
				request := "GET " + c.target + " HTTP/1.1\r\nHost: gateway.test\r\n" + c.lines + "\r\n"
				response, err := vector.Send(t.Context(), at, []byte(request))
				if err != nil || response.Status != http.StatusOK {
					t.Errorf("%s, %s, %s: %v, %v", gateway, header, what, response, err)
					continue
				}
				r := <-seen
				var all []string
				for _, values := range r.Header {
					all = append(all, values...)
				}
				if text := strings.Join(all, "\n"); strings.Contains(text, token) || strings.Contains(text, long) || strings.Contains(text, "forged") {
					t.Errorf("%s, %s, %s: what the client sent reaches the upstream: %s", gateway, header, what, text)
				}
				lines := slices.Clone(r.Header.Values(header))
				for i := range lines {
					if header != "Authorization" {
						lines[i] = "Bearer " + lines[i]
					}
				}
				upstreamtokentest.Check(t, gateway+", "+header+", "+what, keys, lines, c.subject)
			}
			for _, path := range []string{"/.well-known/jwks.json", "/gatehouse/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/gatehouse"} {
				response, err := vector.Send(t.Context(), at, []byte("GET "+path+" HTTP/1.1\r\nHost: gateway.test\r\n\r\n"))
				if err != nil || response.Status != http.StatusOK || !json.Valid(response.Body) {
					t.Errorf("%s: %s: %v, %v", gateway, path, response, err)
				}
			}
		}
	}
}
