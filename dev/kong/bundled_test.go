package kong

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const aclConfig = `
_format_version: "3.0"
services:
  - name: up
    url: http://127.0.0.1:$UPSTREAM
    routes:
      - {name: allow, paths: [/allow], plugins: [{name: acl, config: {allow: [admin, staff]}}]}
      - {name: deny, paths: [/deny], plugins: [{name: acl, config: {deny: [banned]}}]}
      - {name: hide, paths: [/hide], plugins: [{name: acl, config: {allow: [admin], hide_groups_header: true}}]}
plugins:
  - {name: script}
`

func TestACL(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), aclConfig)
	for _, c := range []struct{ path, do, code, groups string }{
		{"/allow", "", "401", ""}, // nobody has set groups
		{"/allow", "groups", "403", ""},
		{"/allow", "groups guest", "403", ""},
		{"/allow", "groups guest admin", "200", "guest, admin"},
		{"/allow", "groups ADMIN", "403", ""},
		{"/allow", "shared admin", "500", ""}, // not only strings
		{"/allow", "exit 418", "418", ""},     // the plugin's response comes first
		{"/deny", "", "401", ""},
		{"/deny", "groups", "200", "forged"}, // as in Kong: no header is set
		{"/deny", "groups admin", "200", "forged"},
		{"/deny", "groups admin banned", "403", ""},
		{"/hide", "groups admin", "200", "forged"},
	} {
		r := g.get(t, c.path, "X-Do: "+c.do+"\r\nX-Authenticated-Groups: forged\r\n")
		got := up.received(t)
		if r.code() != c.code || (got != nil) != (c.code == "200") || headerLine(got, "X-Authenticated-Groups") != c.groups {
			t.Errorf("%s, %q: %s, the upstream got %q; want %s and groups %q", c.path, c.do, r.status, got, c.code, c.groups)
		}
		if c.code == "403" && !strings.Contains(r.body, "You cannot consume this service") {
			t.Errorf("%s, %q: %s", c.path, c.do, r.body)
		}
	}
}

func TestGroupsOfARequestAreGoneWithIt(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), aclConfig)
	for _, c := range [][2]string{{"groups admin", "200"}, {"", "401"}, {"groups admin", "200"}, {"groups guest", "403"}} {
		if r := g.get(t, "/allow", "X-Do: "+c[0]+"\r\n"); r.code() != c[1] {
			t.Errorf("%q: %s, want %s", c[0], r.status, c[1])
		}
	}
}

const limitConfig = `
_format_version: "3.0"
services:
  - name: up
    url: http://127.0.0.1:$UPSTREAM
    routes:
      - {name: by-header, paths: [/by-header], plugins: [{name: rate-limiting, config: {year: 2, hour: 100, limit_by: header, header_name: X-User-Id}}]}
      - {name: by-address, paths: [/by-address], plugins: [{name: rate-limiting, config: {year: 2, limit_by: consumer}}]}
      - {name: quiet, paths: [/quiet], plugins: [{name: rate-limiting, config: {year: 1, limit_by: service, hide_client_headers: true, error_code: 503, error_message: wait}}]}
plugins:
  - {name: script}
`

// TestRateLimitingCountsByWhatThePluginSet: it runs after the plugin, so a
// client's own header does not count.
func TestRateLimitingCountsByWhatThePluginSet(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), limitConfig)
	ask := func(path, user string, n int) reply {
		t.Helper()
		return g.get(t, path, fmt.Sprintf("X-Do: set X-User-Id=%s\r\nX-User-Id: forged-%d\r\n", user, n))
	}
	for _, user := range []string{"ada", "bob"} {
		for n, want := range []string{"200", "200", "429", "429"} {
			r := ask("/by-header", user, n)
			if r.code() != want {
				t.Errorf("call %d of %s: %s, want %s", n, user, r.status, want)
			}
			lines := strings.Join(r.header, "\n")
			if left := fmt.Sprintf("X-RateLimit-Remaining-Year: %d", max(0, 1-n)); !strings.Contains(lines, left) || !strings.Contains(lines, "RateLimit-Limit: 2") {
				t.Errorf("call %d of %s: no %s in %s", n, user, left, lines)
			}
			if (want == "429") != strings.Contains(lines, "Retry-After: ") {
				t.Errorf("call %d of %s: %s", n, user, lines)
			}
		}
	}
	for n, want := range []string{"200", "200", "429"} {
		if r := ask("/by-address", fmt.Sprint("user", n), n); r.code() != want {
			t.Errorf("by address, call %d: %s, want %s", n, r.status, want)
		}
	}
	ask("/quiet", "ada", 0)
	if r := ask("/quiet", "bob", 1); r.code() != "503" || strings.Contains(strings.Join(r.header, "\n"), "RateLimit") || !strings.Contains(r.body, "wait") {
		t.Errorf("%s %q %s", r.status, r.header, r.body)
	}
}

// TestProxyCacheKeepsByWhatThePluginSet: it runs after the plugin, and knows of no
// caller unless vary_headers names the header that says who it is.
func TestProxyCacheKeepsByWhatThePluginSet(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), `
_format_version: "3.0"
services:
  - name: up
    url: http://127.0.0.1:$UPSTREAM
    routes:
      - {name: leaks, paths: [/leaks], plugins: [{name: proxy-cache, config: {strategy: memory, vary_headers: [Authorization, Cookie]}}]}
      - {name: keyed, paths: [/keyed], plugins: [{name: proxy-cache, config: {strategy: memory, vary_headers: [X-User-Id]}}]}
plugins:
  - {name: script}
`)
	ask := func(path, user string) (body, cache string) {
		t.Helper()
		r := g.get(t, path, fmt.Sprintf("X-Do: set X-User-Id=%s\r\nX-User-Id: forged\r\n", user))
		if r.code() != "200" {
			t.Fatalf("%s: %s", path, r.status)
		}
		return r.body, headerLine(r.header, "X-Cache-Status")
	}
	if _, cache := ask("/leaks", "ada"); cache != "Miss" {
		t.Errorf("the first: %q", cache)
	}
	if body, cache := ask("/leaks", "bob"); cache != "Hit" || !strings.Contains(body, "ada") {
		t.Errorf("as in Kong, bob gets what ada got: %q %s", cache, body)
	}
	for _, c := range [][2]string{{"ada", "Miss"}, {"bob", "Miss"}, {"ada", "Hit"}, {"bob", "Hit"}} {
		if body, cache := ask("/keyed", c[0]); cache != c[1] || !strings.Contains(body, c[0]) {
			t.Errorf("%s: %q %s", c[0], cache, body)
		}
	}
	if _, cache := ask("/keyed?a=1", "ada"); cache != "Miss" {
		t.Errorf("another query: %q", cache)
	}
}

func TestCountersOfPastPeriodsAreDropped(t *testing.T) {
	c := &counters{}
	limits := map[string]float64{"minute": 1}
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for n := range maxCounters {
		c.take(limits, fmt.Sprint(n), noon)
	}
	if u := c.take(limits, "0", noon.Add(59*time.Second)); u.exceeded != "minute" {
		t.Errorf("%+v within the minute", u)
	}
	if u := c.take(limits, "0", noon.Add(time.Minute)); u.exceeded != "" || len(c.count) != 1 {
		t.Errorf("%+v in the next minute, %d counters", u, len(c.count))
	}
}
