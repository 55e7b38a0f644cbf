package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const demanding = `{session: {kratos_url: "http://127.0.0.1:1", bearer_token: true}, permission_table: "public: [GET /]", upstream_header_lists: repeat, token_query_parameter: t}`

// What a gateway or proxy cannot do must be found before every request gets 503.
func TestSettingsThatAHostCannotMeetAreErrors(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate.yaml")
	if err := os.WriteFile(gate, []byte(demanding), 0o600); err != nil {
		t.Fatal(err)
	}
	apisix := func(value string) string {
		return "routes:\n  - {id: r, uri: /*, upstream: {nodes: {'127.0.0.1:1': 1}}, plugins: {ext-plugin-pre-req: {conf: [{name: gatehouse, value: '" + value + "'}]}}}\n#END\n"
	}
	forwardAuth := func(endpoints string) string {
		return "listen: [{address: '127.0.0.1:0'}]\ntrusted_proxies: [127.0.0.1]\nendpoints: [" + endpoints + "]\ngates: {main: " + demanding + ", file: {file: " + gate + "}}\n"
	}
	lists := func(host string) string { return "upstream_header_lists: repeat does not work with " + host + "," }
	parameter := func(host string) string { return "token_query_parameter: does not work with " + host + "," }
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"APISIX":        {apisix(demanding), []string{lists("APISIX"), parameter("APISIX")}},
		"APISIX, files": {apisix(`{"file": "` + gate + `"}`), []string{lists("APISIX"), parameter("APISIX")}},
		"nginx":         {forwardAuth("{path: /a, dialect: nginx, gate: main}"), []string{lists("a proxy of the dialect nginx"), parameter("a proxy of the dialect nginx")}},
		"Traefik":       {forwardAuth("{path: /a, dialect: traefik, gate: file}"), []string{parameter("a proxy of the dialect traefik")}},
		"Envoy by gRPC": {forwardAuth("{dialect: envoy-grpc, gate: main}"), nil},
		"two proxies":   {forwardAuth("{dialect: envoy-grpc, gate: main}, {path: /c, dialect: caddy, gate: main}"), []string{lists("a proxy of the dialect caddy"), parameter("a proxy of the dialect caddy")}},
		"any host":      {demanding, nil},
	} {
		errors, _ := errorsOf(Files([]File{{"x.yaml", []byte(c.text)}}, Options{}))
		for i, want := range c.want {
			if i >= len(errors) || !strings.Contains(errors[i], want) {
				t.Errorf("%s: no %q in %q", name, want, errors)
			}
		}
		if len(errors) > len(c.want) {
			t.Errorf("%s: %q", name, errors)
		}
	}
}
