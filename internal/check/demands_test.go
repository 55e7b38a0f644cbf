package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const demanding = `{session: {kratos_url: "http://127.0.0.1:1", bearer_token: true}, permission_table: "public: [GET /]", upstream_header_lists: repeat, token_query_parameter: t}`

const bound = `{"session": {"kratos_url": "http://127.0.0.1:1", "bearer_token": true}, "permission_table": "public: [GET /]", "resource_metadata": [{"resource": "https://a.test/", "authorization_servers": ["https://op.test"], "tls_client_certificate_bound_access_tokens": true}]}`

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
		more := ""
		if strings.Contains(endpoints, "bound") {
			endpoints, more = endpoints+", {dialect: direct, gate: bound}", ", bound: "+bound
		}
		return "listen: [{address: '127.0.0.1:0'}]\ntrusted_proxies: [127.0.0.1]\nendpoints: [" + endpoints + "]\ngates: {main: " + demanding + ", file: {file: " + gate + "}" + more + "}\n"
	}
	const consumers = `consumers: [{issuer: "http://127.0.0.1:1", consumer_claim: sub}]`
	lua := "routes:\n  - {id: r, uri: /*, plugins: {gatehouse: " + demanding + "}}\n#END\n"
	lists := func(host string) string { return "upstream_header_lists: repeat does not work with " + host + "," }
	parameter := func(host string) string { return "token_query_parameter: does not work with " + host + "," }
	certificates := func(host string) string {
		return "resource_metadata[0].tls_client_certificate_bound_access_tokens: does not work with " + host + ","
	}
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"APISIX":               {apisix(demanding), []string{lists("APISIX"), parameter("APISIX")}},
		"APISIX, files":        {apisix(`{"file": "` + gate + `"}`), []string{lists("APISIX"), parameter("APISIX")}},
		"nginx":                {forwardAuth("{path: /a, dialect: nginx, gate: main}"), []string{lists("a proxy of the dialect nginx"), parameter("a proxy of the dialect nginx")}},
		"Traefik":              {forwardAuth("{path: /a, dialect: traefik, gate: file}"), []string{parameter("a proxy of the dialect traefik")}},
		"Envoy by gRPC":        {forwardAuth("{dialect: envoy-grpc, gate: main}"), nil},
		"two proxies":          {forwardAuth("{dialect: envoy-grpc, gate: main}, {path: /c, dialect: caddy, gate: main}"), []string{lists("a proxy of the dialect caddy"), parameter("a proxy of the dialect caddy")}},
		"certificates, nginx":  {forwardAuth("{path: /a, dialect: nginx, gate: bound}"), []string{certificates("a proxy of the dialect nginx")}},
		"certificates, passed": {forwardAuth("{path: /a, dialect: nginx, gate: bound, client_certificate: verified}"), nil},
		"certificates, APISIX": {apisix(bound), nil},
		"any host":             {demanding, nil},
		"Lua plugin":           {strings.Replace(lua, "session", "_meta: {priority: 3000}, session", 1), []string{parameter("APISIX's Lua plugin")}},
		"Lua, files":           {strings.Replace(lua, demanding, "{file: "+gate+"}", 1), []string{parameter("APISIX's Lua plugin")}},
		"consumers":            {strings.Replace(lua, "upstream_header_lists: repeat, token_query_parameter: t", consumers, 1), nil},
		"the runner":           {apisix(strings.Replace(demanding, "upstream_header_lists: repeat, token_query_parameter: t", consumers, 1)), []string{"consumers: does not work with APISIX,"}},
		"certificates, Lua":    {"routes:\n  - {id: r, uri: /*, plugins: {gatehouse: " + bound + "}}\n#END\n", nil},
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

func TestGatewayThatAsksNobodyForTheCertificate(t *testing.T) {
	kong := func(plugin string) string {
		return "_format_version: '3.0'\nservices: [{name: s, url: 'http://u', routes: [{name: r, paths: [/], strip_path: false}, {name: m, paths: [/.well-known/oauth-protected-resource]}]}]\nplugins: [{name: gatehouse, config: " + plugin + "}]\n"
	}
	apisix := func(plugins, more string) string {
		return "routes:\n  - {id: r, uri: /*, upstream: {nodes: {'127.0.0.1:1': 1}}, plugins: {" + plugins + "}}\n" + more + "#END\n"
	}
	plain := strings.Replace(bound, `"tls_client_certificate_bound_access_tokens": true`, `"resource_name": "a"`, 1)
	header := strings.Replace(bound, "{", `{"client_certificate_header": {"trusted_ips": ["10.0.0.1"]}, `, 1)
	runner := func(value string) string {
		return "ext-plugin-pre-req: {conf: [{name: gatehouse, value: '" + value + "'}]}"
	}
	const asks, asksNobody = "ssls: [{id: a, sni: a.test, cert: x, key: y, client: {ca: z}}]\n", "ssls: [{id: a, sni: a.test, cert: x, key: y}]\n"
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"Kong":                    {kong(bound), true},
		"Kong, no need":           {kong(plain), false},
		"Kong, a load balancer":   {kong(header), false},
		"APISIX":                  {apisix(runner(bound), ""), true},
		"APISIX, ssls":            {apisix(runner(bound), asksNobody), true},
		"APISIX, client.ca":       {apisix(runner(bound), asks), false},
		"APISIX, Lua":             {apisix("gatehouse: "+bound, asksNobody), true},
		"APISIX, Lua, client.ca":  {apisix("gatehouse: "+bound, asks), false},
		"APISIX, no need":         {apisix(runner(plain), ""), false},
		"APISIX, a load balancer": {apisix(runner(header), ""), false},
	} {
		found := 0
		for _, f := range Files([]File{{"x.yaml", []byte(c.text)}}, Options{}).Findings {
			if f.Rule == certificateNotAsked {
				found++
			} else {
				t.Logf("%s: %s %s", name, f.Rule, f.Text)
			}
		}
		if (found == 1) != c.want || found > 1 {
			t.Errorf("%s: %d findings", name, found)
		}
	}
}

// A header whose claim is misspelt is not sent, and nothing else says so.
func TestClaimsThatNoCredentialHas(t *testing.T) {
	tokens, sessions := `jwt: {issuers: [{issuer: "https://id.test", audience: [a]}]}`, `session: {kratos_url: "http://127.0.0.1:1"}`
	for claim, c := range map[string]struct{ section, want string }{
		"subject":                    {tokens, "did you mean sub?"},
		"mail":                       {tokens, "did you mean email?"},
		"'user-id'":                  {tokens, "did you mean sub?"},
		"prefered_username":          {tokens, "did you mean preferred_username?"},
		"first_name":                 {tokens, "did you mean given_name?"},
		"scopes":                     {tokens, "did you mean scope?"},
		"issuer, audience":           {tokens, "did you mean aud?"},
		"mail, email":                {tokens, ""},
		"email":                      {tokens, ""},
		"username":                   {tokens, ""},
		"oid":                        {tokens, ""},
		"custom.deep[].name":         {tokens, ""},
		"/https:~1~1a.test~1subject": {tokens, ""},
		"name":                       {tokens, ""},
		"email ":                     {sessions, "traits are at identity.traits.email"},
		"traits.email":               {sessions, "traits are at identity.traits.email"},
		"identity.traits.email":      {sessions, ""},
		"identity.id":                {sessions, ""},
		"roles":                      {sessions, ""},
		"subject ":                   {sessions, "did you mean sub?"},
		"authentication_methods[].m": {sessions, ""},
		"subject  ":                  {sessions + "\n" + tokens, "did you mean sub?"},
		"email  ":                    {sessions + "\n" + tokens, ""},
	} {
		text := c.section + "\npermission_table: 'public: [GET /]'\nupstream_headers: {X-User: " + `"` + strings.Trim(claim, "'") + `"` + "}\n"
		var found []string
		for _, f := range Files([]File{{"gatehouse.yaml", []byte(text)}}, Options{As: GateConfig}).Findings {
			found = append(found, f.Rule+": "+f.Text)
		}
		if got := strings.Join(found, "\n"); (got == "") != (c.want == "") || !strings.Contains(got, c.want) || got != "" && !strings.HasPrefix(got, "unlikely-claim: X-User: ") {
			t.Errorf("%s: %q, want %q", claim, got, c.want)
		}
	}
}
