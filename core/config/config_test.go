package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse/core/setting"
)

// smallest is a configuration with nothing but what must be there.
const smallest = `
session: {kratos_url: "http://127.0.0.1:4433"}
permission_table: "public: [GET /healthz]"
`

func TestDefaultsAreFilledInEverySection(t *testing.T) {
	c, err := Load([]byte(smallest + `
jwt: {issuers: [{issuer: "https://id.test", audience: [api]}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Realm != "gatehouse" || c.Session.CookieName != "ory_kratos_session" || !c.Session.SessionToken || !c.Session.Outbound.SSLVerify {
		t.Errorf("%+v %+v", c, c.Session)
	}
	if got := c.Session.Outbound.Timeout.Duration(); got != 3*time.Second {
		t.Errorf("timeout %v", got)
	}
	if got := c.JWT.Issuers[0].Algorithms; !reflect.DeepEqual(got, []string{"RS256", "PS256", "ES256", "EdDSA"}) {
		t.Errorf("algorithms %v", got)
	}
	if !reflect.DeepEqual(c.UpstreamHeaders, map[string]string{"X-User-Id": "sub", "X-Actor": "actor"}) || c.Introspection != nil || c.Cache.MaxEntries != 10000 {
		t.Errorf("%+v", c)
	}
}

func TestNullCountsAsUnset(t *testing.T) {
	c, err := Load([]byte(`{"file":null,"realm":null,"jwt":null,"login":null,"scopes_required":null,"session":{"kratos_url":"http:\/\/k\/whoami","cookie_name":null},"permission_table":"x"}`))
	if err != nil || c.Realm != "gatehouse" || c.Session.CookieName != "ory_kratos_session" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestEveryProblemIsReportedAtItsPath(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing set": {`{}`, `configuration has 2 mistake(s)
  no way to authenticate: set session, jwt, introspection, api_token, mtls, spiffe or oidc
  permission_table: is needed, or permission_table_files: without a table every request is denied`},
		"unknown settings and wrong types": {`
relm: x
session: {kratos_url: 5, cookie: x, http: {ssl_verify: "no", timeout: soon}}
jwt: {issuers: {issuer: x}}
`, `configuration has 7 mistake(s)
  jwt.issuers: must be a list, not a map
  permission_table: is needed, or permission_table_files: without a table every request is denied
  relm: is not a setting; did you mean realm?
  session.cookie: is not a setting; did you mean session.cookie_name? token_cookie holds a token, session.cookie_name a Kratos session.
  session.http.ssl_verify: must be true or false, not a string
  session.http.timeout: must be a number, not a string
  session.kratos_url: must be a string, not a number`},
		"values out of range": {`
realm: x
permission_table: x
token_cookie: ory_kratos_session
upstream_headers: {Host: sub, X-A: "a..b"}
authenticated_groups_claim: roles, c..d
session: {kratos_url: "ftp://x", required_aal: aal9, cache_ttl: -1, http: {timeout: 90}}
jwt: {issuers: [{issuer: "https://a", algorithms: [HS256, none]}, {issuer: "https://a", audience: [x], insecure_any_audience: true, jwks_uri: "http://u:p@h/", jwks_file: f}]}
introspection: {introspection_endpoint_auth_method: client_secret_basic, insecure_any_audience: true}
`, `configuration has 18 mistake(s)
  authenticated_groups_claim: claim path "c..d" has an empty step
  introspection.client_id: is needed for client_secret_basic
  introspection.client_secret: is needed for client_secret_basic
  introspection.introspection_endpoint: is required: URL of the introspection endpoint (RFC 7662 section 2).
  jwt.issuers[0].algorithms[0]: must be one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519
  jwt.issuers[0].algorithms[1]: must be one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519
  jwt.issuers[0].audience: is needed, so that a token for another service does not pass; of an issuer that puts no aud into its tokens, audience_claim names the claim that tells, such as client_id; only insecure_any_audience does without
  jwt.issuers[1].insecure_any_audience: contradicts audience; remove one of them
  jwt.issuers[1].issuer: is already configured at jwt.issuers[0]
  jwt.issuers[1].jwks_file: cannot be set beside jwks_uri
  jwt.issuers[1].jwks_uri: must not hold a user name or password
  session.cache_ttl: must be between 0 and 3600
  session.http.timeout: must be between 0.05 and 30
  session.kratos_url: must be a complete http or https URL
  session.required_aal: must be one of aal1, aal2
  token_cookie: is the session cookie's name; use two names
  upstream_headers.Host: Host frames or routes the request and cannot carry an identity
  upstream_headers.X-A: X-A: claim path "a..b" has an empty step`},
		"twice the same key": {"realm: a\nrealm: b\n", `configuration has 1 mistake(s)
  line 2: mapping key "realm" already defined at line 1`},
		"not a map": {"[]", `configuration has 1 mistake(s)
  must be a map of settings`},
		"a value that is no text": {"realm: *x", `configuration has 1 mistake(s)
  is not YAML or JSON: unknown anchor referenced; a value that begins with * needs quotes`},
		"no YAML": {"realm: 'x", `configuration has 1 mistake(s)
  is not YAML or JSON: found unexpected end of stream`},
	} {
		_, err := Load([]byte(c.text))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\n%v\nwant\n%s", name, err, c.want)
		}
	}
}

func TestSecretIsInNoErrorAndNoPrint(t *testing.T) {
	const secret = "s3cr3t"
	for _, text := range []string{
		`introspection: {client_secret: [` + secret + `]}`,
		`introspection: {client_secret: {x: ` + secret + `}}`,
		"introspection:\n  client_secret: `" + secret + "`",
		`introspection: {client_secret: "` + secret,
		`introspection: {client_secret: ` + secret + `, jwt_tokens: ` + secret + `}`,
		secret,
		// The space behind the colon is missing, so all of it is a key.
		`introspection: {client_secret:` + secret + `, jwt_tokens: never}`,
		`{"introspection": {"client_secret=` + secret + `": "x"}}`,
		`{"introspection": {"client_secret ` + secret + `": 1, "client_secret ` + secret + `": 1}}`,
		`introspection: {client_secret:` + secret + `, client_secret:` + secret + `}`,
		// What begins with these is no text to YAML.
		`introspection: {client_secret: *` + secret + `}`,
		`introspection: &` + secret + ` {client_secret: *` + secret + `}`,
		`introspection: {client_secret: !` + secret + ` {}}`,
		`introspection: {client_secret: !!` + secret + ` x}`,
		`introspection: {client_secret: !!int ` + secret + `}`,
		"%" + secret + "\n---\nrealm: x",
		"%YAML " + secret + "\n---\nrealm: x",
		"--- !!" + secret + "\n[]",
		"--- !" + secret + "\nrealm",
	} {
		if _, err := Load([]byte(text)); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if s := setting.Secret(secret); strings.Contains(s.String()+s.GoString(), secret) {
		t.Error("a secret prints itself")
	}
}

func TestFileHoldsTheWholeConfiguration(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "gatehouse.yaml")
	if err := os.WriteFile(path, []byte("realm: from-file\n"+smallest), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load([]byte(`{"file":"` + path + `","realm":"gatehouse","scopes_required":[],"path":{"allow_semicolon":false}}`))
	if err != nil || c.Realm != "from-file" {
		t.Fatalf("%+v, %v", c, err)
	}
	_, err = Load([]byte("file: " + path + "\nrealm: other\nlogin: {url: 'https://x'}"))
	if want := "configuration has 2 mistake(s)\n  login: cannot be set beside file; move it to " + path + "\n  realm: cannot be set beside file; move it to " + path; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if _, err := Load([]byte("file: " + dir + "/absent.yaml")); err == nil || !strings.Contains(err.Error(), "file: open "+dir+"/absent.yaml: no such file") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(path, []byte("file: other.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load([]byte("file: " + path)); err == nil || !strings.Contains(err.Error(), "cannot name another one") {
		t.Errorf("%v", err)
	}
}

func TestEveryFieldIsDocumented(t *testing.T) {
	eachField(reflect.TypeFor[Config](), "", func(path string, f reflect.StructField) {
		if doc := f.Tag.Get("doc"); len(doc) < 10 || !strings.HasSuffix(doc, ".") {
			t.Errorf("%s: doc %q is no sentence", path, doc)
		}
		if setting.Key(f) == "" {
			t.Errorf("%s has no config tag", path)
		}
		if text, ok := f.Tag.Lookup("default"); ok {
			setting.Default(f.Type, text) // panics on a default that is none
		}
	})
}

func eachField(t reflect.Type, path string, visit func(string, reflect.StructField)) {
	for i := range t.NumField() {
		f := t.Field(i)
		visit(setting.Join(path, setting.Key(f)), f)
		elem := f.Type
		for elem.Kind() == reflect.Pointer || elem.Kind() == reflect.Slice {
			elem = elem.Elem()
		}
		if elem.Kind() == reflect.Struct {
			eachField(elem, setting.Join(path, setting.Key(f)), visit)
		}
	}
}

func TestErrorIsTyped(t *testing.T) {
	_, err := Load([]byte(`{}`))
	var e *setting.Error
	if !errors.As(err, &e) || len(e.Problems) != 2 {
		t.Errorf("%v", err)
	}
}

// Nothing is said twice of a setting whose value cannot be read, and everything
// of the others.
func TestUnreadableSettingHidesNoOther(t *testing.T) {
	for text, want := range map[string]string{
		"realm: [x]\nsession: {kratos_url: 'ftp://x', cache_ttl: soon}": `configuration has 4 mistake(s)
  permission_table: is needed, or permission_table_files: without a table every request is denied
  realm: must be a string, not a list
  session.cache_ttl: must be a number, not a string
  session.kratos_url: must be a complete http or https URL`,
		"jwt: true\npermission_table: x\nintrospection: {introspection_endpoint: 'http://x', audience: api}": `configuration has 2 mistake(s)
  introspection.audience: must be a list, not a string
  jwt: must be a map, not true or false`,
	} {
		if _, err := Load([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s\n%v\nwant\n%s", text, err, want)
		}
	}
}

// A list or a map is named with the item that is wrong.
func TestProblemsNameTheItem(t *testing.T) {
	for text, want := range map[string]string{
		"strip_headers: [X-A, Host]":                 "strip_headers[1]: ",
		"strip_headers: [X-A, 'X B']":                "strip_headers[1]: ",
		"upstream_headers: {X-A: sub, X-B: 'a..b'}":  "upstream_headers.X-B: ",
		"token_headers: [{name: X-T}, {name: Host}]": "token_headers[1].name: ",
		"scopes_required: [a, '']":                   "scopes_required[1]: ",
		"resource_metadata: [{resource: 'https://a.test/'}, {resource: 'https://a.test/'}]": "resource_metadata[1].resource: ",
	} {
		_, problems := Inspect([]byte("jwt: {issuers: [{issuer: 'https://id.test/', audience: [a]}]}\npermission_table: 'public: [GET /a]'\n" + text))
		if len(problems) != 1 || !strings.HasPrefix(problems[0].String(), want) {
			t.Errorf("%s: %v, want %s", text, problems, want)
		}
	}
}
