package check

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// findingsIn are those of one file, as lines.
func findingsIn(name, text string) string {
	var lines []string
	for _, f := range Files([]File{{name, []byte(text)}}, Options{}).Findings {
		lines = append(lines, f.Rule+": "+f.Text)
	}
	return strings.Join(lines, "\n")
}

// Headers of the gateway's own cors take the place of those of the gate.
func TestTwoCORSBesideEachOtherAreFound(t *testing.T) {
	const own = `cors: {origins: ["https://app.example.com"]}, `
	kong := func(gate, top, service, route string) string {
		return `{_format_version: "3.0", plugins: [` + top + `], services: [{name: s, url: "http://s.test", plugins: [` + service + `], routes: [{name: r, paths: [/], plugins: [` + route +
			`{name: gatehouse, config: {` + gate + `session: {kratos_url: "http://k.test"}, permission_table: "public: [GET /]"}}]}]}]}`
	}
	apisix := func(gate, cors string) string {
		return "routes:\n- uri: /*\n  upstream: {nodes: {'s.test:80': 1}, type: roundrobin}\n  plugins:\n" + cors +
			"    ext-plugin-pre-req: {conf: [{name: gatehouse, value: '{" + gate + "session: {kratos_url: \"http://k.test\"}, permission_table: \"public: [GET /]\"}'}]}\n#END\n"
	}
	for name, c := range map[string]struct {
		file, text string
		two        bool
	}{
		"Kong, on the route":           {"kong.yml", kong(own, "", "", "{name: cors}, "), true},
		"Kong, on the service":         {"kong.yml", kong(own, "", "{name: cors}", ""), true},
		"Kong, everywhere":             {"kong.yml", kong(own, "{name: cors}", "", ""), true},
		"Kong, on another route":       {"kong.yml", kong(own, "{name: cors, route: other}", "", ""), false},
		"Kong, switched off":           {"kong.yml", kong(own, "", "", "{name: cors, enabled: false}, "), false},
		"Kong, the gate has none":      {"kong.yml", kong("", "", "", "{name: cors}, "), false},
		"Kong, only the gate":          {"kong.yml", kong(own, "", "", ""), false},
		"APISIX, behind":               {"apisix.yaml", apisix(own, "    cors: {}\n"), true},
		"APISIX, before":               {"apisix.yaml", apisix(own, "    cors: {_meta: {priority: 13000}}\n"), true},
		"APISIX, switched off":         {"apisix.yaml", apisix(own, "    cors: {_meta: {disable: true}}\n"), false},
		"APISIX, the gate has none":    {"apisix.yaml", apisix("", "    cors: {_meta: {priority: 13000}}\n"), false},
		"APISIX, only the gate's cors": {"apisix.yaml", apisix(own, ""), false},
	} {
		found := findingsIn(c.file, c.text)
		if (found != "") != c.two || c.two && !strings.HasPrefix(found, "two-cors: the gate has cors, too") || strings.Contains(found, "\n") {
			t.Errorf("%s: %q", name, found)
		}
	}
	if found := findingsIn("apisix.yaml", apisix("", "    cors: {}\n")); !strings.HasPrefix(found, "late-cors: ") {
		t.Errorf("%q", found)
	}
}

// The page is a file of the gateway's machine: it is looked at where it is here.
func TestTemplateOfThePageIsChecked(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page.html")
	text := "session: {kratos_url: \"https://k.test\"}\nerror_pages: {template_file: " + page + "}\npermission_table: 'public: [GET /]'\n"
	for content, want := range map[string]string{
		"":                  "not-here: " + page + " is not on this machine",
		"<h1>{{.Title}}":    "",
		"<h1>{{.Titel}}":    "unreadable-file: for status 400: ",
		"<h1>{{if .Title}}": "unreadable-file: template: ",
	} {
		if content != "" {
			if err := os.WriteFile(page, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		found := findingsIn("gatehouse.yaml", text)
		if (found == "") != (want == "") || !strings.HasPrefix(found, want) {
			t.Errorf("%q: %q, want %q", content, found, want)
		}
		os.Remove(page)
	}
}

// What is meant is a path of the file that is read, not of a part of it.
func TestHintsInAGateNameTheGate(t *testing.T) {
	const service = "listen: [{address: '127.0.0.1:4180'}]\ntrusted_proxies: [10.0.0.0/8]\nendpoints: [{path: /auth, dialect: traefik, gate: shop}]\n"
	finding := func(setting string) string {
		return findingsIn("forwardauth.yaml", service+"gates:\n  shop:\n    session: {kratos_url: 'https://k.test'}\n    permission_table: 'public: [GET /]'\n    "+setting+"\n")
	}
	for setting, want := range map[string]string{
		"kratos_url: a":      "gates.shop.kratos_url: is not a setting; did you mean gates.shop.session.kratos_url?",
		"required_scopes: a": "gates.shop.required_scopes: is not a setting; did you mean gates.shop.scopes_required? It holds for every call that is not public; scopes for some calls stand in the permission table.",
		"bearer_only: true":  "gates.shop.bearer_only: is not a setting. Without login nobody is redirected: leave out login. Bearer tokens are accepted by jwt and introspection.",
		"quite_another: a":   "gates.shop.quite_another: is not a setting",
		"realm: 3":           "gates.shop.realm: must be a string, not a number",
	} {
		if found := finding(setting); found != "config: "+want {
			t.Errorf("%s: %q, want %q", setting, found, want)
		}
	}

	several, _ := strings.CutPrefix(finding("cache_ttl: 1"), "config: gates.shop.cache_ttl: is not a setting; did you mean ")
	hints := strings.Split(strings.ReplaceAll(strings.TrimSuffix(several, "?"), " or ", ", "), ", ")
	if !slices.Contains(hints, "gates.shop.jwt.cache_ttl") || !slices.Contains(hints, "gates.shop.session.cache_ttl") {
		t.Errorf("cache_ttl: %q", several)
	}
	for _, hint := range hints {
		if !strings.HasPrefix(hint, "gates.shop.") {
			t.Errorf("the hint %q names no setting of the gate", hint)
		}
	}
}
