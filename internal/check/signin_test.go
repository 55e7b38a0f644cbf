package check

import (
	"fmt"
	"strings"
	"testing"
)

// A gate signs nobody in whose callback goes to the upstream, or nowhere.
func TestSignInWhoseEndpointsNoRouteLeadsToIsFound(t *testing.T) {
	gate := func(mode string) string {
		return `login: {oidc: {providers: [{discovery: "https://id.test/.well-known/openid-configuration", client_id: web, response_mode: ` + mode + `}], redirect_uri: "https://App.test:8443/oidc/callback", back_channel_logout_path: /hooks/logout, ` +
			`session: {secret: [0123456789abcdef0123456789abcdef]}}}, permission_table: "authenticated: [GET /orders]"`
	}
	kong := func(mode, routes string) string {
		return `{_format_version: "3.0", services: [{name: s, url: "http://s.test", routes: [` + routes + `], plugins: [{name: gatehouse, config: {` + gate(mode) + `}}]}]}`
	}
	apisix := func(mode, routes string) string {
		text := "routes:\n"
		for i, route := range strings.Split(routes, ";") {
			text += fmt.Sprintf("- {id: r%d, %s, upstream: {nodes: {'s.test:80': 1}, type: roundrobin}, plugin_config_id: gate}\n", i, strings.TrimSpace(route))
		}
		return text + "plugin_configs:\n- {id: gate, plugins: {ext-plugin-pre-req: {conf: [{name: gatehouse, value: '{" + gate(mode) + "}'}]}}}\n#END\n"
	}
	const none, elsewhere = "serves %s, but no route leads there", "serves %s, and the routes for this path are for other methods or hosts"
	missing := func(text string, paths ...string) []string {
		for i, path := range paths {
			by := map[string]string{"/oidc/callback": "GET on app.test", "/signin": "GET on app.test", "/logout": "GET or POST on app.test", "/hooks/logout": "POST"}[path]
			if strings.Contains(text, "other methods") {
				paths[i] = fmt.Sprintf("serves %s by %s, and the routes for this path are for other methods or hosts", path, by)
			} else {
				paths[i] = fmt.Sprintf(text, path)
			}
		}
		return paths
	}
	for name, c := range map[string]struct {
		mode, kong, apisix string
		want               []string
	}{
		"all paths":                    {"query", "{name: r, paths: [/]}", "uri: /*", nil},
		"no paths but one":             {"query", "{name: r, paths: [/orders]}", "uri: /orders", missing(none, "/oidc/callback", "/signin", "/logout", "/hooks/logout")},
		"the callback is not":          {"query", "{name: r, paths: [/orders, /signin, /logout, /hooks]}", "uris: [/orders, /signin, /logout, /hooks/*]", missing(none, "/oidc/callback")},
		"the start is not":             {"query", "{name: r, paths: [/orders, /oidc/callback, /logout, /hooks]}", "uris: [/orders, /oidc/callback, /logout, /hooks/*]", missing(none, "/signin")},
		"the logout is not":            {"query", "{name: r, paths: [/orders, /oidc/callback, /signin, /hooks]}", "uris: [/orders, /oidc/callback, /signin, /hooks/*]", missing(none, "/logout")},
		"the providers' logout is not": {"query", "{name: r, paths: [/orders, /oidc/callback, /signin, /logout]}", "uris: [/orders, /oidc/callback, /signin, /logout]", missing(none, "/hooks/logout")},
		"several routes":               {"query", "{name: a, paths: [/orders]}, {name: b, paths: [/oidc]}, {name: c, paths: ['~/(signin|logout|hooks/logout)$']}", "uri: /orders; uri: /oidc/*; uris: [/signin, /logout, /hooks/logout]", nil},
		"reading methods alone":        {"query", "{name: r, paths: [/], methods: [GET]}", "uri: /*, methods: [GET]", missing(elsewhere, "/hooks/logout")},
		"a form by a route that reads alone": {"form_post", "{name: r, paths: [/], methods: [GET]}, {name: p, paths: [/hooks], methods: [POST]}", "uri: /*, methods: [GET]; uri: /hooks/*, methods: [POST]",
			[]string{"serves /oidc/callback by POST on app.test, and"}},
		"a form by both":           {"form_post", "{name: r, paths: [/], methods: [GET, POST]}", "uri: /*, methods: [GET, POST]", nil},
		"the host":                 {"query", "{name: r, paths: [/], hosts: [APP.test]}", "uri: /*, hosts: [app.test]", nil},
		"the host by a pattern":    {"query", "{name: r, paths: [/], hosts: ['*.test']}", "uri: /*, host: '*.test'", nil},
		"another host":             {"query", "{name: r, paths: [/], hosts: [api.test]}", "uri: /*, host: api.test", missing(elsewhere, "/oidc/callback", "/signin", "/logout")},
		"a host that ends so":      {"query", "{name: r, paths: [/], hosts: [myapp.test]}", "uri: /*, hosts: [myapp.test]", missing(elsewhere, "/oidc/callback", "/signin", "/logout")},
		"a pattern of other hosts": {"query", "{name: r, paths: [/], hosts: ['*.app.test']}", "uri: /*, hosts: ['*.app.test']", missing(elsewhere, "/oidc/callback", "/signin", "/logout")},
	} {
		for file, text := range map[string]string{"kong.yml": kong(c.mode, c.kong), "apisix.yaml": apisix(c.mode, c.apisix)} {
			found := findingsIn(file, text)
			lines := strings.FieldsFunc(found, func(r rune) bool { return r == '\n' })
			for _, want := range c.want {
				if !strings.Contains(found, "missing-endpoint-route: the gate itself "+want) {
					t.Errorf("%s, %s: want %q: %q", name, file, want, lines)
				}
			}
			if len(lines) != len(c.want) {
				t.Errorf("%s, %s: %d findings, want %d: %q", name, file, len(lines), len(c.want), lines)
			}
		}
	}
}
