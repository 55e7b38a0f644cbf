package deploytest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"go.yaml.in/yaml/v3"

	"gatehouse/dev/apisix"
)

// denyByDefault is the function of the global rule in gateway.yaml.
func denyByDefault(t *testing.T) string {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(readText("../apisix/gateway.yaml")))
	for {
		var rule struct {
			Metadata struct{ Name string }
			Spec     struct {
				Plugins []struct {
					Config struct{ Functions []string }
				}
			}
		}
		if err := decoder.Decode(&rule); errors.Is(err, io.EOF) {
			t.Fatal("gateway.yaml has no rule deny-by-default")
		}
		if rule.Metadata.Name == "deny-by-default" {
			return rule.Spec.Plugins[0].Config.Functions[0]
		}
	}
}

// TestGlobalRuleClosesRoutesWithoutGatehouse runs the function in the local APISIX.
func TestGlobalRuleClosesRoutesWithoutGatehouse(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") }))
	defer upstream.Close()
	const gate = `conf: [{name: gatehouse, value: '{"session": {"kratos_url": "http://127.0.0.1:1"}, "permission_table": "public: [GET /guarded, GET /service]"}'}]`
	config := `
services:
  - {id: guarded, plugins: {ext-plugin-pre-req: {` + gate + `}}}
routes:
  - {uri: /guarded, plugins: {ext-plugin-pre-req: {` + gate + `}}, upstream: U}
  - {uri: /service, service_id: guarded, upstream: U}
  - {uri: /open, upstream: U}
  - {uri: /disabled, plugins: {ext-plugin-pre-req: {_meta: {disable: true}, ` + gate + `}}, upstream: U}
  - {uri: /degraded, plugins: {ext-plugin-pre-req: {allow_degradation: true, ` + gate + `}}, upstream: U}
  - {uri: /other, plugins: {ext-plugin-pre-req: {conf: [{name: mine, value: ''}]}}, upstream: U}
global_rules:
  - id: deny-by-default
    plugins:
      serverless-pre-function:
        phase: rewrite
        functions:
          - |
` + indent(denyByDefault(t), 12) + "#END\n"
	path := t.TempDir() + "/apisix.yaml"
	must(os.WriteFile(path, []byte(strings.ReplaceAll(config, "upstream: U", "upstream: {nodes: {'"+strings.TrimPrefix(upstream.URL, "http://")+"': 1}}")), 0o600))
	var log bytes.Buffer
	a, err := apisix.Start(apisix.Options{Config: path, RunnerBinary: built(t).APISIX, Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Stop()
	for request, want := range map[string]int{
		"/guarded": 200, "/service": 200, "/open": 403, "/disabled": 403, "/degraded": 403, "/other": 403, "/nowhere": 404,
		"/guarded 99": 431, // header lines, of which the runner may not see all
	} {
		target, headers, _ := strings.Cut(request, " ")
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL()+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if headers != "" {
			for i := range 99 {
				r.Header.Set(fmt.Sprint("X-", i), "v")
			}
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %d, want %d", request, response.StatusCode, want)
		}
	}
}

// TestGlobalRuleLetsTheLuaPluginDecide runs the function with the routes that APISIX would
// hand it: those with the Lua plugin are open to its decision, whatever the number of
// header lines, and closed where APISIX may skip it.
func TestGlobalRuleLetsTheLuaPluginDecide(t *testing.T) {
	const gate = `["gatehouse"] = {}`
	const runner = `["ext-plugin-pre-req"] = {conf = {{name = "gatehouse"}}}`
	for name, c := range map[string]struct {
		route, enabled string
		many           bool
		want           int
	}{
		"the Lua plugin":                        {"{plugins = {" + gate + "}}", "gatehouse", false, 0},
		"the Lua plugin, 99 header lines":       {"{plugins = {" + gate + "}}", "gatehouse", true, 0},
		"the Lua plugin, not in the list":       {"{plugins = {" + gate + "}}", "ext-plugin-pre-req", false, 403},
		"the Lua plugin, disabled":              {`{plugins = {["gatehouse"] = {_meta = {disable = true}}}}`, "gatehouse", false, 403},
		"the Lua plugin, not disabled":          {`{plugins = {["gatehouse"] = {_meta = {disable = false, priority = 3000}}}}`, "gatehouse", false, 0},
		"the Lua plugin, with a filter":         {`{plugins = {["gatehouse"] = {_meta = {filter = {}}}}}`, "gatehouse", false, 403},
		"the Lua plugin, and a script":          {"{script = 'x', plugins = {" + gate + "}}", "gatehouse", false, 403},
		"the Lua plugin filtered, the runner's": {`{plugins = {["gatehouse"] = {_meta = {filter = {}}}, ` + runner + "}}", "gatehouse ext-plugin-pre-req", false, 0},
		"the same, 99 header lines":             {`{plugins = {["gatehouse"] = {_meta = {filter = {}}}, ` + runner + "}}", "gatehouse ext-plugin-pre-req", true, 431},
		"the runner's, and not the Lua plugin":  {"{plugins = {" + runner + "}}", "gatehouse ext-plugin-pre-req", false, 0},
		"the runner's, not in the list":         {"{plugins = {" + runner + "}}", "gatehouse", false, 403},
		"neither":                               {"{plugins = {cors = {}}}", "gatehouse ext-plugin-pre-req cors", false, 403},
		"no plugins":                            {"{}", "gatehouse ext-plugin-pre-req", false, 403},
	} {
		state := lua.NewState()
		defer state.Close()
		head := "ngx = {req = {get_headers = function() return {}, " + map[bool]string{true: "'truncated'", false: "nil"}[c.many] + " end}}\n"
		head += fmt.Sprintf("package.loaded['apisix.plugin'] = {get = function(name) return (' %s '):find(' ' .. name .. ' ', 1, true) and {} end}\n", c.enabled)
		must(state.DoString(head + "deny = (function() " + denyByDefault(t) + " end)()\nanswer = deny({}, {matched_route = {value = " + c.route + "}}) or 0"))
		if got := int(lua.LVAsNumber(state.GetGlobal("answer"))); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
