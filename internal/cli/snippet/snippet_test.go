package snippet

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/offline"
)

const deploy = "../../../deploy"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// written is what the command writes for a configuration.
func written(t *testing.T, name, config string) string {
	t.Helper()
	p, err := choose([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	text, err := write(p, offline.Source{File: config})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// indent puts spaces in front of every line.
func indent(text string, by int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.Repeat(" ", by) + line)
	}
	return b.String()
}

// TestExamplesHaveTheHeadersOfTheirConfiguration compares the files of deploy/ and
// the documentation with what the command writes.
func TestExamplesHaveTheHeadersOfTheirConfiguration(t *testing.T) {
	const gate = "forwardauth/gatehouse.yaml"
	for _, c := range []struct {
		proxy, config, file string
		indented            int // -1: the whole file
	}{
		{"nginx", gate, "nginx/gatehouse_headers.conf", -1},
		{"nginx-fastcgi", gate, "nginx/gatehouse_fastcgi.conf", -1},
		{"caddy", gate, "caddy/gatehouse_headers.caddy", -1},
		{"haproxy", gate, "haproxy/haproxy.cfg", 4},
		{"traefik", gate, "traefik/dynamic.yml", 8},
		{"traefik-labels", "traefik/gatehouse.yaml", "traefik/compose.yaml", 0},
		{"envoy", gate, "envoy/envoy-http.yaml", 26},
		{"apisix", gate, "../docs/forward-auth.md", 0},
	} {
		t.Run(c.proxy, func(t *testing.T) {
			want := written(t, c.proxy, filepath.Join(deploy, c.config))
			got := read(t, filepath.Join(deploy, c.file))
			if c.indented < 0 && got != want || !strings.Contains(got, indent(want, max(c.indented, 0))) {
				t.Errorf("deploy/%s does not have what gatehouse snippet %s --config deploy/%s writes:\n%s", c.file, c.proxy, c.config, want)
			}
		})
	}
}

func gateConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatehouse.yaml")
	if err := os.WriteFile(path, []byte("permission_table: 'public: [GET /]'\nsession: {kratos_url: 'http://kratos:4433'}\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestForgedHeaderIsInEveryList: a header that a proxy's list lacks reaches the
// upstream as the client sent it.
func TestForgedHeaderIsInEveryList(t *testing.T) {
	gate := gateConfig(t, `
upstream_headers: {X-Made: sub}
strip_headers: [X-Stripped]
authenticated_groups_claim: groups
hide_credentials: true
`)
	for _, name := range names() {
		text := strings.ToLower(strings.ReplaceAll(written(t, name, gate), "_", "-"))
		for _, header := range []string{"x-made", "x-stripped", "x-authenticated-groups", "x-session-token", "authorization", "cookie"} {
			if !strings.Contains(text, header) {
				t.Errorf("%s does not name %s:\n%s", name, header, text)
			}
		}
	}
}

// TestCredentialsReachTheAuthRequest: with hide_credentials they are replaced after
// it, never removed before.
func TestCredentialsReachTheAuthRequest(t *testing.T) {
	for gate, header := range map[string]string{
		"hide_credentials: true\n":           "-Cookie\n",
		"strip_headers: [x-session-token]\n": "-x-session-token\n",
		"jwt: {issuers: [{issuer: 'https://a.test/', audience: [b]}]}\ntoken_headers: [{name: X-Assertion}]\n": "-X-Assertion\n",
	} {
		text := written(t, "caddy", gateConfig(t, gate))
		before, after, _ := strings.Cut(text, "(gatehouse_copy)")
		if strings.Contains(before, header) || strings.Count(after, header) != 1 {
			t.Errorf("%s%s", gate, text)
		}
	}
}

func TestHeaderCalledLikeAVariableOfTheExample(t *testing.T) {
	text := written(t, "nginx", gateConfig(t, "upstream_headers: {Status: sub}\n"))
	if !strings.Contains(text, "auth_request_set $gatehouse_header_status $upstream_http_status;\n") || !strings.Contains(text, "proxy_set_header Status $gatehouse_header_status;\n") {
		t.Error(text)
	}
	for _, file := range []string{"gatehouse.conf", "gatehouse_protect.conf"} {
		for _, word := range strings.FieldsFunc(read(t, filepath.Join(deploy, "nginx", file)), func(r rune) bool { return !strings.ContainsRune("$_abcdefghijklmnopqrstuvwxyz", r) }) {
			if name, ok := strings.CutPrefix(word, "$gatehouse_"); ok && !slices.Contains(ownVariables, name) {
				t.Errorf("%s uses $gatehouse_%s, which a header can take", file, name)
			}
		}
	}
}

func TestAPISIXPluginIsJSON(t *testing.T) {
	if text := written(t, "apisix", gateConfig(t, "")); !json.Valid([]byte(text)) {
		t.Errorf("not JSON:\n%s", text)
	}
}
