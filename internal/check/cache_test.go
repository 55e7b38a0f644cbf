package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/check/finding"
)

// A credential in the key of a cache keeps nobody apart: with hide_credentials it is
// gone before the key is made, and X-Session-Token is a place of one, too.
func TestCacheThatGivesOneCallerTheResponseOfAnother(t *testing.T) {
	const kong = `_format_version: "3.0"
services:
  - name: s
    url: http://s
    routes:
      - name: r
        paths: [/x]
        plugins:
          - {name: gatehouse, config: {session: {kratos_url: "http://k"}, permission_table: "public: [GET /x]", upstream_headers: %s}}
          - {name: %s, config: {strategy: memory, vary_headers: %s}}
`
	const apisix = `routes:
  - id: r
    uri: /x
    upstream: {nodes: {"s:80": 1}}
    plugins:
      ext-plugin-pre-req: {conf: [{name: gatehouse, value: '{"session": {"kratos_url": "http://k"}, "permission_table": "public: [GET /x]", "upstream_headers": %s}'}]}
      %s: {cache_key: %s}
#END
`
	const sub, subAndRoles, rolesOnly = `{"X-User-Id": "sub"}`, `{"X-User-Id": "sub", "X-Roles": "roles"}`, `{"X-Roles": "metadata_public.roles"}`
	for _, c := range []struct {
		file, headers, cache, key string
		bad                       bool
	}{
		{kong, sub, "proxy-cache", "[]", true},
		{kong, sub, "proxy-cache", "[Authorization, Cookie]", true},
		{kong, sub, "proxy-cache", "[Authorization, Cookie, X-Session-Token]", true},
		{kong, sub, "proxy-cache", "[X-User-Name]", true},
		{kong, sub, "proxy-cache", "[X-User-Id]", false},
		{kong, sub, "proxy-cache", "[Accept, x_user_id]", false},
		{kong, subAndRoles, "proxy-cache", "[X-Roles]", true},
		{kong, subAndRoles, "proxy-cache", "[X-Roles, X-User-Id]", false},
		{kong, rolesOnly, "proxy-cache", "[X-Roles]", true},
		{kong, sub, "proxy-cache-advanced", "[Accept]", true},
		{kong, sub, "graphql-proxy-cache-advanced", "[]", true},
		{kong, sub, "proxy-cache-advanced", "[X-User-Id]", false},
		{apisix, sub, "proxy-cache", "[$host, $request_uri]", true},
		{apisix, sub, "proxy-cache", "[$uri, $http_authorization, $http_cookie]", true},
		{apisix, sub, "proxy-cache", "[$consumer_name, $uri]", true},
		{apisix, sub, "proxy-cache", "[X-User-Id, $uri]", true},
		{apisix, sub, "proxy-cache", "[$http_x_user_id, $uri]", false},
		{apisix, rolesOnly, "proxy-cache", "[$http_x_roles, $uri]", true},
		{apisix, sub, "graphql-proxy-cache", "[$uri]", true},
	} {
		text := fmt.Sprintf(c.file, c.headers, c.cache, c.key)
		report := Files([]File{{Name: "file.yaml", Content: []byte(text)}}, Options{})
		found := false
		for _, f := range report.Findings {
			if f.Rule == "shared-cache" {
				found = true
			} else if f.Severity == finding.Error {
				t.Errorf("%s", f.Text)
			}
		}
		if found != c.bad {
			t.Errorf("%s %s of a gate with %s: found %v, want %v\n%v", c.cache, c.key, c.headers, found, c.bad, report.Findings)
		}
	}
}

// Kong's cache keeps the headers of a response as plugins have made them: with them a
// session that was renewed on its way to one browser. APISIX's leaves out a response that
// sets a cookie, unless it is told otherwise.
func TestCacheThatGivesOneBrowserTheSessionOfAnother(t *testing.T) {
	const login = `{"oidc": {"providers": [{"discovery": "https://op.test/.well-known/openid-configuration", "client_id": "web"}], "redirect_uri": "https://app.test/callback", "session": {"secret": ["$env://SECRET"], "storage": "%s"}}}`
	const gate = `"permission_table": "public: [GET /x]", "upstream_headers": {"X-User-Id": "sub"}, "redis": {"host": "redis", "secret": "$env://SECRET"}`
	const kong = `_format_version: "3.0"
services:
  - name: s
    url: http://s
    routes:
      - name: r
        paths: [/]
        plugins:
          - {name: gatehouse, config: {%s, "login": %s}}
          - {name: proxy-cache, config: {strategy: memory, vary_headers: [X-User-Id]}}
`
	const apisix = `routes:
  - id: r
    uri: /*
    upstream: {nodes: {"s:80": 1}}
    plugins:
      ext-plugin-pre-req: {conf: [{name: gatehouse, value: '{%s, "login": %s}'}]}
      proxy-cache: {cache_key: [$http_x_user_id, $uri], cache_set_cookie: %t}
#END
`
	for _, storage := range []string{"cookie", "redis"} {
		said := fmt.Sprintf(login, storage)
		if storage == "cookie" {
			said = strings.Replace(said, `"redirect_uri"`, `"renew_access_token_on_expiry": false, "redirect_uri"`, 1)
		}
		for text, keeps := range map[string]bool{
			fmt.Sprintf(kong, gate, said): true, fmt.Sprintf(apisix, gate, said, true): true, fmt.Sprintf(apisix, gate, said, false): false,
		} {
			report := Files([]File{{Name: "file.yaml", Content: []byte(text)}}, Options{})
			found := false
			for _, f := range report.Findings {
				if f.Rule == "shared-cache" {
					found = true
				} else if f.Severity == finding.Error {
					t.Errorf("%s", f.Text)
				}
			}
			if want := keeps && storage == "cookie"; found != want {
				t.Errorf("%s: found %v, want %v: %v\n%s", storage, found, want, report.Findings, text)
			}
		}
	}
}

// A cache may stand elsewhere than the gate: on the service, for all routes, or for
// one consumer.
func TestCacheOfAnotherScopeThanTheGate(t *testing.T) {
	const gate = `{name: gatehouse, config: {session: {kratos_url: "http://k"}, permission_table: "public: [GET /x]"}}`
	for _, cache := range []struct{ of, key string }{{"global", ""}, {"service", ""}, {"consumer", ""}, {"by reference", ""}, {"global", "X-User-Id"}, {"consumer", "X-User-Id"}} {
		plugin := fmt.Sprintf(`{name: proxy-cache, config: {strategy: memory, vary_headers: [%s]}}`, cache.key)
		at := func(place string) string {
			if place == cache.of {
				return plugin
			}
			return `{name: cors}`
		}
		text := fmt.Sprintf(`_format_version: "3.0"
services:
  - name: s
    url: http://s
    plugins: [%s]
    routes: [{name: r, paths: [/x], plugins: [%s]}]
consumers: [{username: ada, plugins: [%s]}]
plugins: [%s, %s]
`, at("service"), gate, at("consumer"), at("global"), strings.Replace(at("by reference"), "{name:", "{route: r, name:", 1))
		report := Files([]File{{Name: "kong.yml", Content: []byte(text)}}, Options{})
		found := 0
		for _, f := range report.Findings {
			if f.Rule == "shared-cache" {
				found++
			}
		}
		if want := map[bool]int{true: 1, false: 0}[cache.key == ""]; found != want {
			t.Errorf("%s with %q: %d findings, want %d: %v", cache.of, cache.key, found, want, report.Findings)
		}
	}
}

// A function that tells APISIX who calls is enough: the plugin then keeps consumers
// apart.
func TestCacheBehindAFunctionThatNamesTheConsumer(t *testing.T) {
	const file = `routes:
  - id: r
    uri: /x
    upstream: {nodes: {"s:80": 1}}
    plugins:
      ext-plugin-pre-req: {conf: [{name: gatehouse, value: '{"session": {"kratos_url": "http://k"}, "permission_table": "public: [GET /x]"}'}]}
      serverless-pre-function: {phase: rewrite, functions: ["return function(conf, ctx) ctx.consumer_name = ngx.var.http_x_user_id end"]}
      proxy-cache: %s
#END
`
	for cache, bad := range map[string]bool{"{}": false, "{consumer_isolation: false}": true, "{cache_key: [$http_authorization, $uri]}": true, "{cache_key: [$consumer_name, $uri], consumer_isolation: false}": false} {
		report := Files([]File{{Name: "apisix.yaml", Content: fmt.Appendf(nil, file, cache)}}, Options{})
		found := slices.ContainsFunc(report.Findings, func(f finding.Finding) bool { return f.Rule == "shared-cache" })
		if found != bad {
			t.Errorf("%s: found %v, want %v: %v", cache, found, bad, report.Findings)
		}
	}
}
