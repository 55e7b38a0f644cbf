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
			has := strings.Contains(got, indent(want, max(c.indented, 0)))
			if c.proxy == "traefik-labels" { // between others
				has = !slices.ContainsFunc(slices.Collect(strings.Lines(want)), func(line string) bool { return !strings.Contains(got, "- "+line) })
			}
			if c.indented < 0 && got != want || !has {
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
		if strings.HasSuffix(name, "-direct") || strings.HasSuffix(name, "-certificate") {
			continue // has no list of headers
		}
		text := strings.ToLower(strings.ReplaceAll(written(t, name, gate), "_", "-"))
		for _, header := range []string{"x-made", "x-stripped", "x-authenticated-groups", "x-session-token", "authorization", "cookie"} {
			if !strings.Contains(text, header) {
				t.Errorf("%s does not name %s:\n%s", name, header, text)
			}
		}
	}
}

// A proxy of APISIX's dialect passes the certificate on if the gate needs it, and the
// client's own header never.
func TestCertificateForTheGateThatNeedsIt(t *testing.T) {
	const needs = "resource_metadata: [{resource: 'https://a.test/', authorization_servers: ['https://op.test'], tls_client_certificate_bound_access_tokens: true}]\n"
	for more, want := range map[string]bool{"": false, needs: true} {
		text := written(t, "apisix", gateConfig(t, "upstream_headers: {X-Made: sub}\n"+more))
		var plugin map[string]struct {
			Extra map[string]string `json:"extra_headers"`
		}
		if err := json.Unmarshal([]byte(text), &plugin); err != nil {
			t.Fatal(err)
		}
		if got := plugin["forward-auth"].Extra["X-SSL-Client-Cert"]; (got == "$ssl_client_escaped_cert") != want || got != "" && !want {
			t.Errorf("%q in\n%s", got, text)
		}
	}
	for _, name := range names() {
		if strings.HasSuffix(name, "-certificate") && written(t, name, gateConfig(t, "upstream_headers: {X-Made: sub}\n")) != written(t, name, gateConfig(t, needs)) {
			t.Errorf("%s depends on more than the proxy", name)
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
	for header, v := range map[string]string{"Status": "status", "Cookie-1": "cookie_1"} {
		text := written(t, "nginx", gateConfig(t, "upstream_headers: {"+header+": sub}\n"))
		if !strings.Contains(text, "auth_request_set $gatehouse_header_"+v+" $upstream_http_"+v+";\n") || !strings.Contains(text, "proxy_set_header "+header+" $gatehouse_header_"+v+";\n") {
			t.Error(text)
		}
	}
	for _, file := range []string{"gatehouse.conf", "gatehouse_protect.conf", "gatehouse_cookies.conf"} {
		for _, word := range strings.FieldsFunc(read(t, filepath.Join(deploy, "nginx", file)), func(r rune) bool { return !strings.ContainsRune("$_abcdefghijklmnopqrstuvwxyz", r) }) {
			if name, ok := strings.CutPrefix(word, "$gatehouse_"); ok && !slices.Contains(ownVariables, name) && name != ownCookies {
				t.Errorf("%s uses $gatehouse_%s, which a header can take", file, name)
			}
		}
	}
}

// TestCookiesOfTheSignInAreInTheLists: a cookie that a list lacks does not reach the
// browser, whose session then ends with the tokens of its provider.
func TestCookiesOfTheSignInAreInTheLists(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.yaml")
	for cookie, name := range map[string]string{"": "__Host-gatehouse", ", cookie: {name: site}": "site", ", cookie: {domain: example.com}": "__Secure-gatehouse"} {
		config := `
permission_table: 'public: [GET /]'
upstream_headers: {X-Auth-User: sub}
login:
  oidc:
    providers: [{discovery: 'https://op.test/.well-known/openid-configuration', client_id: web}]
    redirect_uri: https://app.test/callback
    session: {secret: [$env://SECRET]` + cookie + `}
`
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		text := written(t, "traefik", path)
		_, list, _ := strings.Cut(text, "addAuthCookiesToResponse:\n")
		if want := "  - " + name + "\n  - " + name + ".0\n"; !strings.HasPrefix(list, want) || !strings.HasSuffix(list, "  - "+name+".9\n") {
			t.Errorf("%s", text)
		}
		if text := written(t, "traefik-labels", path); !strings.Contains(text, ".forwardauth.addAuthCookiesToResponse="+name+","+name+".0,") {
			t.Errorf("%s", text)
		}
		if text := written(t, "envoy", path); !strings.Contains(text, "allowed_client_headers_on_success:\n  patterns:\n    - {exact: set-cookie, ignore_case: true}\n") {
			t.Errorf("%s", text)
		}
	}
}

// TestPathsOfTheGateAreRoutedAsThePagesSay compares what the pages of deploy/ show, and the
// tests with the proxies use, with what the command writes.
func TestPathsOfTheGateAreRoutedAsThePagesSay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.yaml")
	write := func(more string) {
		config := `
permission_table: 'public: [GET /]'
login:
  oidc:
    providers: [{discovery: 'https://op.test/.well-known/openid-configuration', client_id: web}]
    redirect_uri: https://app.test/callback
    session: {secret: [$env://SECRET]}
` + more
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	for _, proxy := range []string{"nginx", "caddy", "haproxy"} {
		page := read(t, filepath.Join(deploy, proxy, "README.md"))
		_, lines, _ := strings.Cut(written(t, proxy+"-direct", path), "\n")
		for line := range strings.Lines(lines) {
			order := strings.Replace(line, "/callback /signin", "/signin /callback", 1)
			if !strings.Contains(page, line) && !strings.Contains(page, order) {
				t.Errorf("deploy/%s/README.md does not say %s", proxy, line)
			}
		}
	}
	rule := written(t, "traefik-direct", filepath.Join(deploy, "traefik", "gatehouse.yaml"))
	_, label, _ := strings.Cut(read(t, filepath.Join(deploy, "traefik", "compose.yaml")), ".routers.gatehouse.rule=")
	label, _, _ = strings.Cut(label, "\n")
	for _, part := range strings.Split(label, " || ") {
		if !strings.Contains(rule, part) || strings.Count(rule, "Path(") != strings.Count(label, "Path(") {
			t.Errorf("the label has %s, the command writes %s", label, rule)
		}
	}

	write("    logout_path: '/log out`)'\n")
	p, err := choose([]string{"nginx-direct"})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := p.written(path); err == nil {
		t.Errorf("a path that ends the pattern: %s", text)
	}
	if text, err := p.written(gateConfig(t, "upstream_headers: {X-User-Id: sub}\n")); err == nil || !strings.Contains(err.Error(), "there is no path to list") {
		t.Errorf("%v, %s", err, text)
	}
}

func (p *proxy) written(config string) (string, error) { return write(p, offline.Source{File: config}) }

func TestAPISIXPluginIsJSON(t *testing.T) {
	if text := written(t, "apisix", gateConfig(t, "")); !json.Valid([]byte(text)) {
		t.Errorf("not JSON:\n%s", text)
	}
}
