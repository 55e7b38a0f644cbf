package apisix

import (
	"strings"
	"testing"
)

// TestProxyCacheKeepsByItsKeyAlone: it knows of no caller unless the key names the
// header that says who it is.
func TestProxyCacheKeepsByItsKeyAlone(t *testing.T) {
	for _, strategy := range []string{"memory", "disk"} {
		r := start(t, "probe", `
routes:
  - uri: /leaks
    plugins: {proxy-cache: {cache_set_cookie: true, cache_strategy: `+strategy+`, cache_key: [$host, $request_uri, $http_authorization]}}
    upstream: {nodes: {UPSTREAM: 1}}
  - uri: /user/*
    plugins: {proxy-cache: {cache_set_cookie: true, cache_strategy: `+strategy+`, cache_key: [$http_x_user_id], cache_method: [GET]}}
    upstream: {nodes: {UPSTREAM: 1}}
  - uri: /keyed
    plugins: {proxy-cache: {cache_set_cookie: true, cache_strategy: `+strategy+`, cache_key: [$http_x_user_id, "||", $host, $request_uri]}}
    upstream: {nodes: {UPSTREAM: 1}}
#END`)
		for _, c := range []struct{ path, user, want string }{
			{"/leaks", "ada", "MISS"}, {"/leaks", "bob", "HIT"}, // as in APISIX, bob gets what ada got
			{"/keyed", "ada", "MISS"}, {"/keyed", "bob", "MISS"}, {"/keyed", "ada", "HIT"}, {"/keyed", "bob", "HIT"},
			{"/keyed?a=1", "ada", "MISS"},
			{"/user/1", "ada", "MISS"}, {"/user/2", "ada", "HIT"}, // the key that is written is the whole key
		} {
			got := get(t, r.Gateway, c.path, "X-User-Id: "+c.user)
			wantStatus(t, got, 200)
			if cache := strings.Join(got.header("Apisix-Cache-Status"), ","); cache != c.want {
				t.Errorf("%s, %s of %s: %q, want %s", strategy, c.path, c.user, cache, c.want)
			}
		}
	}
}
