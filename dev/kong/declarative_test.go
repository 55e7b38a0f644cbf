package kong

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"gatehouse/dev/kong/schema"
)

var scriptOnce struct {
	sync.Mutex
	plugin *schema.Plugin
}

// scriptSchema is the schema of the script plugin, from its real dump.
func scriptSchema(t *testing.T) *schema.Plugin {
	t.Helper()
	scriptOnce.Lock()
	defer scriptOnce.Unlock()
	if scriptOnce.plugin == nil {
		plugin, err := queryPlugin(context.Background(), buildPlugin(t, "script"), os.Environ())
		if err != nil {
			t.Fatal(err)
		}
		scriptOnce.plugin = plugin
	}
	return scriptOnce.plugin
}

var noVault = schema.Resolver{LookupEnv: func(string) (string, bool) { return "", false }, Warn: func(string) {}}

func loadText(t *testing.T, text string) (*snapshot, error) {
	t.Helper()
	plugin := scriptSchema(t)
	t.Chdir(t.TempDir())
	writeConfig(t, "kong.yml", nil, text)
	return loadFile("kong.yml", plugin, noVault, false)
}

// TestProblemsAreNamedByLineAndPath: nothing that the gateway cannot do is
// passed over, and all problems come at once.
func TestProblemsAreNamedByLineAndPath(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no version", "services: []", `kong.yml:1:1: _format_version: required, and must be "3.0" (in quotes)`},
		{"version as number", "_format_version: 3.0", `kong.yml:1:18: _format_version: required, and must be "3.0" (in quotes)`},
		{"unknown kind", `
_format_version: "3.0"
consumers: [{username: bob}]
vaults: []`, `kong.yml:3:12: consumers: not supported by the local gateway
kong.yml:4:9: vaults: not supported by the local gateway`},
		{"unsupported fields", `
_format_version: "3.0"
services:
  - name: s
    host: h
    client_certificate: {id: x}
    port: "80"
    protocol: grpc
    routes:
      - name: r
        paths: [a, /b//c, /c/../d, "~/(", /ok]
        snis: [x]
        path_handling: v1
        request_buffering: false
        hosts: ["a*b.test"]
        methods: [get]
      - name: r2
`, `kong.yml:6:25: services[0].client_certificate: not supported by the local gateway
kong.yml:7:11: services[0].port: expected an integer
kong.yml:8:15: services[0].protocol: the local gateway knows http and https only
kong.yml:15:17: services[0].routes[0].hosts[0]: invalid wildcard: must be placed at leftmost or rightmost label
kong.yml:16:19: services[0].routes[0].methods[0]: invalid value: get
kong.yml:13:24: services[0].routes[0].path_handling: the local gateway knows path_handling v0 only
kong.yml:11:17: services[0].routes[0].paths[0]: should start with: / (fixed path) or ~/ (regex path)
kong.yml:11:20: services[0].routes[0].paths[1]: must not have empty segments
kong.yml:14:28: services[0].routes[0].request_buffering: the local gateway always buffers requests
kong.yml:12:15: services[0].routes[0].snis: not supported by the local gateway
kong.yml:11:27: services[0].routes[0].paths[2]: non-normalized path, consider use '/d' instead
kong.yml:11:36: services[0].routes[0].paths[3]: invalid regex: error parsing regexp: missing closing ): ` + "`^/(`" + `
kong.yml:17:9: services[0].routes[1]: at least one of these fields must be non-empty: 'methods', 'hosts', 'headers', 'paths'`},
		{"plugins", `
_format_version: "3.0"
plugins:
  - name: cors
  - name: script
    config: {mode: medium, limits: {burst: 11, names: [UP]}, typo: 1, label: ""}
  - name: script
    consumer: bob
    route: nowhere
    protocols: [tcp]
`, `kong.yml:4:11: plugins[0].name: plugin 'cors' not enabled; the local gateway runs the plugin 'script', and of Kong's own acl, proxy-cache, rate-limiting
kong.yml:6:78: plugins[1].config.label: length must be at least 1
kong.yml:6:44: plugins[1].config.limits.burst: value should be between 1 and 10
kong.yml:6:56: plugins[1].config.limits.names[0]: invalid value: UP
kong.yml:6:20: plugins[1].config.mode: expected one of: soft, hard
kong.yml:6:68: plugins[1].config.typo: unknown field
kong.yml:9:12: plugins[2].route: no such entry in routes: nowhere
kong.yml:8:15: plugins[2].consumer: value must be null
kong.yml:10:17: plugins[2].protocols[0]: expected one of: http, https`},
		{"twice", `
_format_version: "3.0"
services:
  - {name: s, host: h}
  - {name: s, host: h}
plugins:
  - name: script
  - name: script
`, `kong.yml:5:5: services[1]: uniqueness violation: 'services' entity with 's' already declared
kong.yml:8:5: plugins[1]: uniqueness violation: 'plugins' entity with the same name, route and service already declared`},
		{"url", `
_format_version: "3.0"
services:
  - url: "http://u:p@h/?q"
  - url: "ftp://h/x"
`, `kong.yml:4:10: services[0].url: expected a URL of scheme, host and perhaps port and path
kong.yml:4:5: services[0].host: required field missing
kong.yml:5:5: services[1].protocol: the local gateway knows http and https only`},
		{"targets", `
_format_version: "3.0"
upstreams:
  - name: u
    algorithm: least-connections
    healthchecks: {}
    targets: [{target: "h:99999"}, {target: h}]
targets:
  - {target: "h:1", upstream: other}
`, `kong.yml:5:16: upstreams[0].algorithm: the local gateway knows round-robin only
kong.yml:6:19: upstreams[0].healthchecks: not supported by the local gateway
kong.yml:7:24: upstreams[0].targets[0].target: invalid target ('h:99999'); not a valid hostname or ip address
kong.yml:9:31: targets[0].upstream: no such entry in upstreams: other`},
	} {
		_, err := loadText(t, c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
		}
	}
}

// TestYAMLThatTwoReadersUnderstandDifferentlyIsRefused: Kong's YAML reader is
// of version 1.1.
func TestYAMLThatTwoReadersUnderstandDifferentlyIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"a: yes":        "kong.yml:1:4: a: yes is a boolean to Kong's YAML reader and a string to others: write true, false, or quotes",
		"a: [b, Off]":   "kong.yml:1:8: a[1]: Off is a boolean to Kong's YAML reader and a string to others: write true, false, or quotes",
		"a: 010":        "kong.yml:1:4: a: write the number in decimal, without a leading zero",
		"a: 0x10":       "kong.yml:1:4: a: write the number in decimal, without a leading zero",
		"a: 1\na: 2":    "kong.yml:2:1: a: given twice",
		"<<: {a: 1}":    "kong.yml:1:1: <<: keys must be plain strings",
		"a: !!binary x": "kong.yml:1:4: a: the YAML tag !!binary is not supported",
		"":              "kong.yml: the file is empty",
		"- a":           "kong.yml:1: expected an object",
		"a: {":          "kong.yml: yaml:",
	} {
		_, err := loadText(t, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := loadText(t, "_format_version: '3.0'\n_comment: 'yes'\n"); err != nil {
		t.Errorf("quoted: %v", err)
	}
}

func TestAliasesDoNotBlowUp(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("_format_version: '3.0'\n_ignore:\n- &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		bomb.WriteString("- &a" + string(rune('1'+i)) + " [" + strings.TrimSuffix(strings.Repeat("*a"+string(rune('0'+i))+", ", 10), ", ") + "]\n")
	}
	if _, err := loadText(t, bomb.String()); err == nil || !strings.Contains(err.Error(), "too many values") {
		t.Errorf("err = %v", err)
	}
}

func TestJSONConfigLoads(t *testing.T) {
	snap, err := loadText(t, `{"_format_version": "3.0", "routes": [{"name": "r", "paths": ["/a"]}], "plugins": [{"name": "script", "route": {"name": "r"}}]}`)
	if err != nil || len(snap.router.entries) != 1 || len(snap.plugins) != 1 {
		t.Errorf("%+v %v", snap, err)
	}
}

func TestServiceURLSetsItsParts(t *testing.T) {
	snap, err := loadText(t, `
_format_version: "3.0"
services:
  - {url: "https://h/x%2Fy", routes: [{name: a, paths: [/a]}]}
  - {url: "http://h:8080", routes: [{name: b, paths: [/b]}]}
`)
	if err != nil {
		t.Fatal(err)
	}
	a, b := snap.router.entries[0].route.service, snap.router.entries[1].route.service
	if a.protocol != "https" || a.port != 443 || a.path != "/x%2Fy" || b.protocol != "http" || b.port != 8080 || b.path != "" {
		t.Errorf("%+v\n%+v", a, b)
	}
	if got := a.peers()[0].hostHeader("https") + " " + b.peers()[0].hostHeader("http"); got != "h h:8080" {
		t.Error(got)
	}
}
