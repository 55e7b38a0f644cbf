package kong

import (
	"strings"
	"testing"

	"gatehouse/dev/front"
)

// routesOf loads routes, one flow-style record a line.
func routesOf(t *testing.T, lines ...string) *router {
	t.Helper()
	file := t.TempDir() + "/kong.yml"
	writeConfig(t, file, nil, "_format_version: \"3.0\"\nservices:\n- {name: s, host: h}\n- {name: disabled, host: h, enabled: false}\nroutes:\n- "+strings.Join(lines, "\n- ")+"\n")
	snap, err := loadFile(file, scriptSchema(t), noVault, false)
	if err != nil {
		t.Fatal(err)
	}
	return snap.router
}

// find routes "METHOD host path" with header lines.
func find(r *router, request string, headers ...front.Field) string {
	parts := strings.SplitN(request, " ", 3)
	m, ok := r.find(routed{method: parts[0], host: parts[1], path: parts[2], port: 8000,
		header: func(name string) []string { return valuesByVariable(headers, name) }})
	if !ok {
		return "none"
	}
	if m.matched {
		return m.route.name + " " + m.prefix
	}
	return m.route.name
}

func TestRouterOrder(t *testing.T) {
	r := routesOf(t,
		`{name: short, paths: [/a]}`,
		`{name: long, paths: [/a/b]}`,
		`{name: regex, paths: ['~/a/b/\d+$']}`,
		`{name: urgent, paths: ['~/a/b/9'], regex_priority: 5}`,
		`{name: posts, paths: [/a/b], methods: [POST]}`,
		`{name: hosted, paths: [/a], hosts: [x.test]}`,
		`{name: wild, paths: [/a], hosts: ['*.test']}`,
		`{name: versioned, paths: [/a], headers: {X-Version: ["2", "~*^beta"]}}`,
		`{name: disabled, paths: [/a/b/c/d], service: disabled}`,
		`{name: tail, hosts: ['x.*']}`,
		`{name: ported, hosts: ['y.test:9000']}`,
	)
	for request, want := range map[string]string{
		"GET h /a":           "short /a",
		"GET h /ab":          "short /a",
		"GET h /a/b":         "long /a/b",
		"GET h /a/b/12":      "regex /a/b/12",
		"GET h /a/b/12/c":    "long /a/b",
		"GET h /a/b/9":       "urgent /a/b/9",
		"POST h /a/b/9":      "posts /a/b",
		"GET x.test /a":      "hosted /a",
		"GET x.test:8000 /a": "hosted /a",
		"GET z.test /a":      "wild /a",
		"GET X.test /a":      "wild /a", // hosts are compared as sent
		"GET h /a/b/c/d":     "long /a/b",
		"GET h /A":           "none",
		"GET x.org /none":    "tail",
		"GET y.test:9000 /":  "ported",
		"GET y.test:9001 /":  "none",
		"GET h /a/\xff":      "none",
		"GET \xff /a":        "none",
	} {
		if got := find(r, request); got != want {
			t.Errorf("%q: %s, want %s", request, got, want)
		}
	}
	for value, want := range map[string]string{"2": "versioned /a", "BETA-1": "versioned /a", "1": "short /a", "\xff": "none"} {
		if got := find(r, "GET h /a", front.Field{Name: "x_version", Value: value}); got != want {
			t.Errorf("X-Version %q: %s, want %s", value, got, want)
		}
	}
}

func TestRouterTakesTheFirstPathThatMatches(t *testing.T) {
	r := routesOf(t, `{name: r, paths: ['~/(?<kind>a|ab)', '~/ab', /ab]}`)
	if got := find(r, "GET h /abc"); got != "r /a" {
		t.Errorf("got %s", got)
	}
}
