package offline

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestFilesOfTheGatewaysMachineAreFoundBelowTheRoots(t *testing.T) {
	roots, err := ParseRoots([]string{"all", "/etc=etc", "/etc/gatehouse=deploy/kong"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/etc/gatehouse/permissions.yaml": "deploy/kong/permissions.yaml",
		"/etc/gatehouse-b/x.yaml":         "etc/gatehouse-b/x.yaml",
		"/etc/hosts":                      "etc/hosts",
		"/srv/x.yaml":                     "all/srv/x.yaml",
		"/etc/gatehouse/../passwd":        "etc/passwd",
		"tables/x.yaml":                   "conf/tables/x.yaml",
	} {
		if got := roots.Locate(path, "conf/kong.yml"); got != filepath.FromSlash(want) {
			t.Errorf("%s is looked for at %s, want %s", path, got, want)
		}
	}
	if got := Roots(nil).Locate("/etc/x.yaml", "kong.yml"); got != "/etc/x.yaml" {
		t.Errorf("without a root: %s", got)
	}
	for _, text := range []string{"etc=here", "/etc=", "="} {
		if _, err := ParseRoots([]string{text}); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

// TestKongRunsThePluginThatIsBoundToMost holds the choice to Kong's order of
// precedence (Kong's documentation, "Plugin precedence").
func TestKongRunsThePluginThatIsBoundToMost(t *testing.T) {
	document := map[string]any{
		"services": []any{map[string]any{
			"name":    "users",
			"plugins": []any{map[string]any{"name": "other"}, map[string]any{"name": "gatehouse", "config": "nested in the service"}},
			"routes": []any{
				map[string]any{"name": "all", "plugins": []any{map[string]any{"name": "gatehouse", "config": "nested in the route"}}},
				map[string]any{"name": "top"}, map[string]any{"name": "inherits"}, map[string]any{"id": "by-id", "plugins": []any{map[string]any{"name": "gatehouse", "enabled": false}, map[string]any{"name": "gatehouse", "enabled": "Off"}}},
			},
		}},
		"routes": []any{
			map[string]any{"name": "apart", "service": map[string]any{"name": "users"}}, map[string]any{"name": "alone"},
			map[string]any{"name": "consumers"},
		},
		"plugins": []any{
			map[string]any{"name": "gatehouse", "config": "bound to both", "route": "all", "service": "users"},
			map[string]any{"name": "gatehouse", "config": "bound to the route", "route": map[string]any{"name": "top"}},
			map[string]any{"name": "gatehouse", "config": "bound to a consumer", "route": "consumers", "consumer": "bob"},
			map[string]any{"name": "gatehouse", "config": "global"},
		},
	}
	want := map[string]string{
		"all": "bound to both", "top": "bound to the route", "inherits": "nested in the service", "by-id": "nested in the service",
		"apart": "nested in the service", "alone": "global", "consumers": "global", "global": "global",
	}
	for _, c := range kongChoices(document) {
		if got := c.value; got != want[c.names[0]] {
			t.Errorf("route %s: %v, want %s", c.names[0], got, want[c.names[0]])
		}
		delete(want, c.names[0])
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}

func TestPluginOfDeckTakesTheSharedConfiguration(t *testing.T) {
	choices := kongChoices(map[string]any{
		"_plugin_configs": map[string]any{"common": map[string]any{"realm": "shared", "token_cookie": "t"}},
		"routes": []any{map[string]any{"name": "a", "plugins": []any{
			map[string]any{"name": "gatehouse", "_config": "common", "config": map[string]any{"realm": "own"}},
		}}},
	})
	if got := fmt.Sprint(choices[0].value); got != "map[realm:own token_cookie:t]" {
		t.Errorf("got %s", got)
	}
}

// TestLuaPluginOfAPISIXIsFoundWhereverItStands reads routes whose settings are a plain
// object, beside those in a string.
func TestLuaPluginOfAPISIXIsFoundWhereverItStands(t *testing.T) {
	var document map[string]any
	if err := yaml.Unmarshal([]byte(`
services:
- {id: s, plugins: {gatehouse: {realm: service}}}
- {id: adc, plugins: {gatehouse: {realm: adc}}, routes: [{name: in-service}, {name: in-service-own, plugins: {gatehouse: {realm: own}}}]}
plugin_configs:
- {id: p, plugins: {gatehouse: {realm: config}}}
routes:
- {id: own, service_id: s, plugin_config_id: p, plugins: {gatehouse: {realm: own, _meta: {priority: 3000}}}}
- {id: by-config, service_id: s, plugin_config_id: p}
- {id: by-service, service_id: s}
- {id: disabled, service_id: s, plugins: {gatehouse: {realm: own, _meta: {disable: yes}}}}
- {id: both, plugins: {gatehouse: {realm: lua}, ext-plugin-pre-req: {conf: [{name: gatehouse, value: "realm: runner"}]}}}
- {id: after, plugins: {gatehouse: {realm: lua}, ext-plugin-post-req: {conf: [{name: gatehouse, value: "realm: runner"}]}}}
- {id: another, plugins: {gatehouse: {realm: lua}, ext-plugin-pre-req: {conf: [{name: mine, value: x}]}}}
- {id: off, status: 0, plugins: {gatehouse: {realm: own}}}
global_rules:
- {id: g, plugins: {gatehouse: {realm: global}}}
`), &document); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"own": "map[realm:own]", "by-config": "map[realm:config]", "by-service": "map[realm:service]", "disabled": "map[realm:global]", "in-service": "map[realm:adc]", "in-service-own": "map[realm:own]",
		"both": "realm: runner", "after": "map[realm:lua]", "another": "map[realm:lua]", "off": "map[realm:global]", "g": "map[realm:global]",
	}
	for _, c := range apisixChoices(document) {
		if got := fmt.Sprint(c.value); got != want[c.names[0]] {
			t.Errorf("route %s: %s, want %s", c.names[0], got, want[c.names[0]])
		}
		if twice := slices.ContainsFunc(c.notes, func(note string) bool { return strings.HasPrefix(note, "route ") }); twice != (c.names[0] == "both" || c.names[0] == "after") {
			t.Errorf("route %s: notes %q", c.names[0], c.notes)
		}
		delete(want, c.names[0])
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}

// TestTheConfigurationOfEveryExampleIsFound reads the examples of each gateway as
// an operator does: the file of the gateway, with the files of its machine beside.
func TestTheConfigurationOfEveryExampleIsFound(t *testing.T) {
	found := 0
	for _, pattern := range []string{"kong/examples/*/kong.yml", "apisix/examples/*/apisix.yaml"} {
		files, err := filepath.Glob("../../deploy/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			roots, err := ParseRoots([]string{"/etc/gatehouse=" + filepath.Dir(file)})
			if err != nil {
				t.Fatal(err)
			}
			for _, route := range routesOf(t, file) {
				if _, err := (Source{File: file, Route: route, Roots: roots}).Find(); err != nil {
					t.Errorf("route %s: %v", route, err)
				}
				found++
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d routes are looked at", found)
	}
}

// routesOf lists what there is to choose from in a file.
func routesOf(t *testing.T, file string) []string {
	t.Helper()
	text, err := readFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	choices := kongChoices(document)
	if document["_format_version"] == nil {
		choices = apisixChoices(document)
	}
	return offered(choices)
}
