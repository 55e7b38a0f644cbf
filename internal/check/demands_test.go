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
