package kong

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func loadSkipping(t *testing.T, text string) (*snapshot, error) {
	t.Helper()
	plugin := scriptSchema(t)
	t.Chdir(t.TempDir())
	writeConfig(t, "kong.yml", nil, text)
	return loadFile("kong.yml", plugin, noVault, true)
}

// realistic has what files of real gateways have beside the plugin.
const realistic = `
_format_version: "3.0"
_info: {select_tags: [api]}
consumers: [{username: bob, keyauth_credentials: [{key: k}]}]
upstreams:
  - name: u
    algorithm: least-connections
    healthchecks: {active: {http_path: /}}
    targets: [{target: "h:80"}]
services:
  - name: s
    host: u
    client_certificate: {id: x}
    routes: [{name: r, paths: [/r], request_buffering: false, plugins: [{name: key-auth}]}]
    plugins:
      - name: script
      - {name: cors, config: {origins: ["*"]}}
      - {name: correlation-id, config: {header_name: X-Request-Id}}
      - {name: request-transformer, config: {add: {headers: ["x:y"]}}}
      - {name: ip-restriction, enabled: false}
plugins:
  - {name: prometheus}
  - {name: rate-limiting, consumer: bob, config: {minute: 5, policy: local}}
  - {name: acl, consumer_group: gold, config: {allow: [a]}}
`

func TestSkippedPartsOfAFileAreNamed(t *testing.T) {
	if _, err := loadText(t, realistic); err == nil {
		t.Error("without the option, the file loads")
	}
	s, err := loadSkipping(t, realistic)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range s.skipped {
		got = append(got, fmt.Sprintf("%s %s %s opens=%t", o.where, o.path, o.what, o.opens))
	}
	want := []string{
		"kong.yml:3:8 _info _info opens=false",
		"kong.yml:4:12 consumers consumers opens=true",
		"kong.yml:8:19 upstreams[0].healthchecks healthchecks opens=false",
		"kong.yml:7:16 upstreams[0].algorithm algorithm opens=false",
		"kong.yml:13:25 services[0].client_certificate client_certificate opens=false",
		"kong.yml:14:56 services[0].routes[0].request_buffering request_buffering opens=false",
		"kong.yml:14:73 services[0].routes[0].plugins[0] key-auth opens=true",
		"kong.yml:17:9 services[0].plugins[1] cors opens=false",
		"kong.yml:18:9 services[0].plugins[2] correlation-id opens=false",
		"kong.yml:19:9 services[0].plugins[3] request-transformer opens=false",
		"kong.yml:20:9 services[0].plugins[4] ip-restriction opens=false",
		"kong.yml:22:5 plugins[0] prometheus opens=false",
		"kong.yml:23:5 plugins[1] rate-limiting opens=true",
		"kong.yml:24:5 plugins[2] acl opens=true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(s.plugins) != 1 || s.plugins[0].name != "script" {
		t.Errorf("plugins are %v", s.plugins)
	}
}

// TestSkippingWidensNoRoute: what narrows a route, or belongs to the plugin under
// development, stays an error.
func TestSkippingWidensNoRoute(t *testing.T) {
	for _, service := range []string{
		`{name: s, host: h, routes: [{name: r, paths: [/r], snis: [a.test]}]}`,
		`{name: s, host: h, routes: [{name: r, paths: [/r], sources: [{ip: 10.0.0.1}]}]}`,
		`{name: s, host: h, routes: [{name: r, paths: [/r], protocols: [tls]}]}`,
		`{name: s, host: h, plugins: [{name: script, config: {nonsense: 1}}]}`,
		`{name: s, host: h, plugins: [{name: script, consumer: bob}]}`,
		`{name: s, host: h, plugins: [{name: script, consumer_group: gold}]}`,
	} {
		if _, err := loadSkipping(t, "_format_version: \"3.0\"\nservices: ["+service+"]\n"); err == nil {
			t.Errorf("%s loads", service)
		}
	}
}

func TestLogWarnsOfWhatIsSkipped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kong.yml")
	writeConfig(t, file, nil, realistic)
	log := newLogBuffer()
	g, err := Start(Options{
		Config: file, PluginBinary: buildPlugin(t, "script"), Listen: "127.0.0.1:0", Log: log, SkipUnsupported: true,
		PluginArgs: []string{"-kong-prefix", "overridden"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	log.await(t, `level=WARN msg="left out, so that requests pass here which Kong might refuse" what=key-auth path=services[0].routes[0].plugins[0] at=`, 1)
	log.await(t, `level=INFO msg="left out" what=prometheus path=plugins[0] at=`, 1)
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", g.PluginPID()))
	if err == nil && !strings.Contains(string(command), "\x00-kong-prefix\x00overridden\x00-kong-prefix\x00") {
		t.Errorf("the plugin was started as %q", command)
	}
}
