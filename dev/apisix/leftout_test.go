package apisix

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// realistic has what files of real gateways have beside the plugin.
const realistic = `
routes:
  - uri: /r
    plugins:
      ext-plugin-pre-req: {conf: [{name: x, value: y}]}
      limit-count: {count: 1, time_window: 1, policy: redis, redis_host: h}
      prometheus: {prefer_name: true}
      ip-restriction: {_meta: {disable: true}, whitelist: [10.0.0.1]}
    upstream: {retries: 2, checks: {active: {http_path: /}}, nodes: {"h:80": 1}}
upstreams:
  - {id: 1, type: chash, key: remote_addr, nodes: {"h:80": 1}}
consumers: [{username: bob, plugins: {key-auth: {key: k}}}]
global_rules:
  - {id: 1, plugins: {key-auth: {}}}
plugin_metadata: [{id: file-logger}]
#END`

func TestSkippedPartsOfAFileAreNamed(t *testing.T) {
	file := write(t, "apisix.yaml", realistic)
	if _, err := loadConfig(file, 1, nil, environment(nil), false); err == nil {
		t.Error("without the option, the file loads")
	}
	c, err := loadConfig(file, 1, nil, environment(nil), true)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range c.skipped {
		got = append(got, fmt.Sprintf("%s %s %s opens=%t", strings.TrimPrefix(o.where, file), o.path, o.what, o.opens))
	}
	want := []string{
		":6:20 routes[0].plugins.limit-count limit-count opens=true",
		":7:19 routes[0].plugins.prometheus prometheus opens=false",
		":8:23 routes[0].plugins.ip-restriction ip-restriction opens=false",
		":9:25 routes[0].upstream.retries retries opens=false",
		":9:36 routes[0].upstream.checks checks opens=false",
		":11:19 upstreams[0].type type opens=false",
		":11:31 upstreams[0].key key opens=false",
		":12:12 consumers consumers opens=true",
		":14:33 global_rules[0].plugins.key-auth key-auth opens=true",
		":15:18 plugin_metadata plugin_metadata opens=false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestSkippingWidensNoRoute: what narrows a route, or belongs to a plugin that runs
// here, stays an error.
func TestSkippingWidensNoRoute(t *testing.T) {
	for _, route := range []string{
		`{uri: /r, vars: [[http_x, ==, y]]}`,
		`{uri: /r, remote_addrs: [10.0.0.1]}`,
		`{uri: /r, filter_func: "function(vars) return false end"}`,
		`{uri: /r, plugins: {ext-plugin-pre-req: {conf: [{name: x, value: y}], retries: 1}}}`,
		`{uri: /r, script: "return false"}`,
		`{uri: /r, plugins: {cors: {nonsense: 1}}}`,
	} {
		if _, err := loadConfig(write(t, "apisix.yaml", "routes: ["+route+"]\n#END"), 1, nil, environment(nil), true); err == nil {
			t.Errorf("%s loads", route)
		}
	}
}

func TestLogWarnsOfWhatIsSkipped(t *testing.T) {
	r := start(t, "", realistic, func(o *Options) { o.SkipUnsupported, o.RunnerArgs = true, []string{"-admin", "127.0.0.1:0"} })
	for _, want := range []string{
		`level=WARN msg="left out, so that requests pass here which APISIX might refuse" what=limit-count path=routes[0].plugins.limit-count at=`,
		`level=INFO msg="left out" what=prometheus path=routes[0].plugins.prometheus at=`,
	} {
		if !strings.Contains(fmt.Sprint(r.log), want) {
			t.Errorf("the log lacks %s:\n%s", want, r.log)
		}
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", r.process.PID()))
	if err == nil && !strings.Contains(string(command), "\x00-admin\x00127.0.0.1:0\x00") {
		t.Errorf("the runner was started as %q", command)
	}
}
