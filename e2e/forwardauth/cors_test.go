package forwardauth

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// corsLines are what the READMEs of deploy/ have operators add for scripts of
// other origins, and before which line of which file.
var corsLines = map[string][]struct{ file, before, lines string }{
	"nginx": {
		{"ask_nginx.conf", "    add_header Cache-Control no-store always;", "    add_header Access-Control-Allow-Origin https://app.test always;\n"},
		{"nginx.conf", "proxy_pass", "add_header Access-Control-Allow-Origin https://app.test always;\n" +
			"add_header Access-Control-Allow-Headers Authorization always;\nif ($request_method = OPTIONS) { return 204; }\n"},
	},
	"haproxy": {{"haproxy.cfg", "    http-request lua.gatehouse", "    http-request return status 204 hdr Access-Control-Allow-Headers Authorization if METH_OPTIONS\n" +
		"    http-after-response set-header Access-Control-Allow-Origin https://app.test\n"}},
	"caddy": {{"Caddyfile", "\t\timport ask_caddy", "\t\theader Access-Control-Allow-Origin https://app.test\n\t\t@preflight method OPTIONS\n" +
		"\t\theader @preflight Access-Control-Allow-Headers Authorization\n\t\trespond @preflight 204\n"}},
	"traefik": {
		{"dynamic.yml", "        no-upgrade:\n", "        cors:\n            headers: {accessControlAllowOriginList: [https://app.test], accessControlAllowHeaders: [Authorization], accessControlAllowMethods: [GET, POST]}\n"},
		{"dynamic.yml", "                - no-upgrade\n", "                - cors\n"},
	},
}

func withCORS(t *testing.T, p proxy) proxy {
	t.Helper()
	readme, err := shipped(p.name + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	configure := p.configure
	p.configure = func(s site) ([]string, error) {
		args, err := configure(s)
		for _, more := range corsLines[p.name] {
			for line := range strings.Lines(more.lines) {
				if line = strings.TrimSpace(line); line != "- cors" && !strings.Contains(readme, line) {
					t.Errorf("deploy/%s/README.md does not say %s", p.name, line)
				}
			}
			err = errors.Join(err, edit(filepath.Join(s.dir, more.file), more.before, more.lines+more.before))
		}
		return args, err
	}
	return p
}

// TestScriptOfAnotherOrigin: the proxy responds to preflights, which come without a
// credential, and a script may read a refusal.
func TestScriptOfAnotherOrigin(t *testing.T) {
	for _, p := range proxies() {
		p = withCORS(t, p)
		t.Run(p.name, func(t *testing.T) {
			b := newBench(t, p, benchTable)
			for what, c := range map[string]struct {
				method string
				lines  []string
				status []int
				served bool
			}{
				"preflight":  {"OPTIONS", []string{"Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization"}, []int{200, 204}, false},
				"refused":    {"GET", nil, []int{401}, false},
				"let pass":   {"GET", []string{b.bearer(nil)}, []int{200}, true},
				"not a rule": {"DELETE", []string{b.bearer(nil)}, []int{403}, false},
			} {
				response, got := b.send(t, c.method, "/private", append(c.lines, "Origin: https://app.test")...)
				if response.Status != c.status[0] && response.Status != c.status[len(c.status)-1] || (got != nil) != c.served {
					t.Errorf("%s: status %d, arrived %v", what, response.Status, got)
				}
				if origins := response.Header.Values("Access-Control-Allow-Origin"); len(origins) != 1 || origins[0] != "https://app.test" {
					t.Errorf("%s: Access-Control-Allow-Origin %q", what, origins)
				}
				if what == "preflight" && response.Header.Get("Access-Control-Allow-Headers") != "Authorization" {
					t.Errorf("%s: Access-Control-Allow-Headers %q", what, response.Header.Values("Access-Control-Allow-Headers"))
				}
			}
		})
	}
}
