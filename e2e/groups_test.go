package e2e

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/kong"

	"go.yaml.in/yaml/v3"
)

// kongWith is the local Kong with the plugin on routes of the service users,
// each with plugins of Kong's own behind it.
func kongWith(t *testing.T, s *environment, own map[string]map[string]any) string {
	t.Helper()
	config := s.Configs()["standard"]
	config["authenticated_groups_claim"] = "roles"
	config["permission_table"] = `
authenticated: ["GET /.*"]
public: [{methods: [GET], path: '/[^/]+/public', override: true}]
`
	plugins := []any{map[string]any{"name": "gatehouse", "config": config}}
	var routes []any
	for _, name := range slices.Sorted(maps.Keys(own)) {
		routes = append(routes, map[string]any{"name": name, "paths": []any{"/" + name}, "strip_path": false, "plugins": []any{own[name]}})
	}
	text, err := yaml.Marshal(map[string]any{"_format_version": "3.0", "services": []any{map[string]any{
		"name": "users", "url": s.UpstreamURL("users"), "routes": routes, "plugins": plugins,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kong.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(file + ".log")
	if err != nil {
		t.Fatal(err)
	}
	g, err := kong.Start(kong.Options{Config: file, PluginBinary: pluginBinaries(t).Kong, Listen: "127.0.0.1:0", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Stop()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s", text)
		}
		log.Close()
	})
	return g.URL()
}

// ask returns the status, and what arrived at the service if anything did.
func ask(t *testing.T, s *environment, url string, header http.Header) (int, *upstream.Request) {
	t.Helper()
	before := s.Upstreams["users"].Hits()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if s.Upstreams["users"].Hits() == before {
		return response.StatusCode, nil
	}
	return response.StatusCode, last(s.Upstreams["users"])
}

// TestGroupsForKongsACLAreThoseOfTheCaller: Ada is an editor, Bob a
// viewer, and both say that they are everything.
func TestGroupsForKongsACLAreThoseOfTheCaller(t *testing.T) {
	s := shared.get(t)
	url := kongWith(t, s, map[string]map[string]any{
		"editors": {"name": "acl", "config": map[string]any{"allow": []any{"editor"}}},
		"others":  {"name": "acl", "config": map[string]any{"deny": []any{"viewer"}}},
		"hidden":  {"name": "acl", "config": map[string]any{"allow": []any{"editor"}, "hide_groups_header": true}},
	})
	ada, bob := "ory_kratos_session="+s.Credentials.Session.Cookie, "ory_kratos_session="+s.Credentials.BobSession.Cookie
	for range 2 { // over the same connections, to the same instance
		for _, c := range []struct {
			path, cookie string
			status       int
			groups       []string
		}{
			{"/editors", ada, 200, []string{"editor"}},
			{"/editors", bob, 403, nil},
			{"/editors", "", 401, nil},
			{"/editors/public", "", 401, nil}, // admitted, and in no group
			{"/editors/public", ada, 401, nil},
			{"/others", ada, 200, nil},
			{"/others", bob, 403, nil},
			{"/hidden", ada, 200, nil},
			{"/hidden", bob, 403, nil},
		} {
			header := http.Header{"X-Authenticated-Groups": {"editor", "root"}, "X_authenticated_groups": {"root"}, "X-Consumer-Groups": {"editor"}}
			if c.cookie != "" {
				header.Set("Cookie", c.cookie)
			}
			status, received := ask(t, s, url+c.path, header)
			if status != c.status || (received != nil) != (status == 200) {
				t.Errorf("%s: status %d, want %d; arrived: %v", c.path, status, c.status, received)
				continue
			}
			if received == nil {
				continue
			}
			if got := received.Values("X-Authenticated-Groups"); !slices.Equal(got, c.groups) || len(received.Values("X_authenticated_groups")) > 0 {
				t.Errorf("%s: the upstream received the groups %q, want %q", c.path, got, c.groups)
			}
		}
	}
}

// TestRateLimitPerCallerIsNotEscapedByAForgedHeader: Kong counts by the header
// that Gatehouse sets.
func TestRateLimitPerCallerIsNotEscapedByAForgedHeader(t *testing.T) {
	s := shared.get(t)
	url := kongWith(t, s, map[string]map[string]any{"limited": {"name": "rate-limiting", "config": map[string]any{
		"year": 2, "policy": "local", "limit_by": "header", "header_name": "X-User-Id",
	}}})
	for _, who := range []string{s.Credentials.Session.Cookie, s.Credentials.BobSession.Cookie} {
		for n, want := range []int{200, 200, 429, 429} {
			header := http.Header{"Cookie": {"ory_kratos_session=" + who}, "X-User-Id": {string(rune('a' + n))}, "X_user_id": {string(rune('a' + n))}}
			if status, _ := ask(t, s, url+"/limited", header); status != want {
				t.Errorf("call %d: status %d, want %d", n, status, want)
			}
		}
	}
	// Refused requests are not counted.
	if status, _ := ask(t, s, url+"/limited", http.Header{}); status != 401 {
		t.Errorf("status %d", status)
	}
}
