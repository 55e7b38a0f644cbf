package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/config"
	"gatehouse/internal/check/finding"
)

// errorsOf are the errors of a file, and whether all of it could be checked.
func errorsOf(r *Report) (errors []string, whole bool) {
	whole = true
	for _, f := range r.Findings {
		switch f.Severity {
		case finding.Error:
			errors = append(errors, f.Place.String()+": "+f.Rule+": "+f.Text)
		case finding.Note:
			whole = false
		}
	}
	return errors, whole
}

// TestCleanConfigurationBuilds makes random configurations: what check calls
// clean has to build, and what it calls an error must not.
func TestCleanConfigurationBuilds(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"good.json":   `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "alg": "EdDSA", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		"bad.json":    `{"keys": []}`,
		"other.json":  `{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}`,
		"empty.pem":   "",
		"public.yaml": "public: [GET /healthz]\n",
		"gate.yaml":   "session: {kratos_url: 'http://127.0.0.1:1'}\npermission_table: 'public: [GET /x]'\n",
		"wrong.yaml":  "session: {kratos_url: 'http://127.0.0.1:1'}\npermission_table: 'public: [get /x]'\n",
		"nested.yaml": "file: gate.yaml\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	built, refused := 0, 0
	for range 4000 {
		text, err := yaml.Marshal(randomGate(r, dir))
		if err != nil {
			t.Fatal(err)
		}
		errors, whole := errorsOf(Files([]File{{"gatehouse.yaml", text}}, Options{As: GateConfig}))
		_, err = config.NewBuilder(config.BuilderOptions{}).Gate(text)
		switch {
		case err != nil && len(errors) == 0 && whole:
			t.Fatalf("%s\ncheck finds no error, but it does not build: %v", text, err)
		case err == nil && len(errors) > 0:
			t.Fatalf("%s\nit builds, but check finds %s", text, strings.Join(errors, "\n"))
		case err == nil:
			built++
		default:
			refused++
		}
	}
	if built < 500 || refused < 500 {
		t.Errorf("%d configurations were built and %d refused: the generator makes too few of a sort", built, refused)
	}
}

// pick sets a key to one of the values, mostly the first; nil leaves it out.
func pick(r *rand.Rand, to map[string]any, key string, values ...any) {
	if value := values[max(0, r.IntN(3*len(values))-2*len(values))]; value != nil {
		to[key] = value
	}
}

func randomGate(r *rand.Rand, dir string) map[string]any {
	in := func(name string) string { return filepath.Join(dir, name) }
	g := map[string]any{}
	if r.IntN(6) == 0 {
		pick(r, g, "file", in("gate.yaml"), in("wrong.yaml"), in("nested.yaml"), in("none.yaml"))
		pick(r, g, "realm", nil, nil, "gatehouse", "other")
		return g
	}
	pick(r, g, "realm", nil, nil, nil, nil, nil, "x", "", 5, "a\"b", "é")
	pick(r, g, "session", randomSession(r, in), nil)
	pick(r, g, "jwt", nil, map[string]any{"issuers": randomIssuers(r, in)})
	pick(r, g, "introspection", nil, nil, randomIntrospection(r))
	pick(r, g, "token_cookie", nil, nil, nil, nil, "token", "a b", "ory_kratos_session")
	pick(r, g, "permission_table", "public: [GET /x]", "public: [GET /x]", "public: [get /x]", "roles: {a: [b]}", "{}", nil)
	pick(r, g, "permission_table_files", nil, nil, nil, nil, []any{in("public.yaml")})
	pick(r, g, "shadow_table_files", nil, nil, nil, nil, nil, []any{in("public.yaml")})
	pick(r, g, "upstream_headers", nil, nil, nil, map[string]any{"X-A": "sub"}, map[string]any{"X-A": ""}, map[string]any{"X A": "sub"}, map[string]any{"X-A": "sub", "x_a": "iss"}, map[string]any{"Cookie": "sub"})
	pick(r, g, "strip_headers", nil, nil, nil, []any{"X-B"}, []any{"Host"}, []any{""}, []any{"X-A"})
	pick(r, g, "authenticated_groups_claim", nil, nil, nil, "roles", "a..b", "/a~2")
	pick(r, g, "login", nil, nil, nil, map[string]any{"url": "https://login.test/x", "return_to_parameter": "a b"}, map[string]any{"url": "login"}, map[string]any{})
	pick(r, g, "cache", nil, nil, nil, map[string]any{"max_entries": []any{100, 99, 1000.5, "100"}[r.IntN(4)]})
	pick(r, g, "resource_metadata", nil, nil, []any{map[string]any{"resource": "https://api.test/mcp"}}, []any{map[string]any{"resource": "https://api.test/a//b"}},
		[]any{map[string]any{"resource": "https://a.test/x", "authorization_servers": []any{"https://b.test"}}, map[string]any{"resource": "https://a.test/x"}}, []any{map[string]any{"resource": "ftp://x"}})
	pick(r, g, "scopes_required", nil, nil, nil, []any{"a"}, []any{"a b"}, []any{""})
	return g
}

func randomSession(r *rand.Rand, in func(string) string) map[string]any {
	s := map[string]any{}
	pick(r, s, "kratos_url", "http://127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1/?a", "http://u:p@k", "http://", nil)
	pick(r, s, "cookie_name", nil, nil, nil, "x", "a b", "", "a=b")
	pick(r, s, "roles_claim", nil, nil, nil, "", "identity.traits", "a.", "/a/~0")
	pick(r, s, "required_aal", nil, nil, nil, "aal2", "aal3")
	pick(r, s, "http", nil, nil, nil, map[string]any{"timeout": 0.05}, map[string]any{"timeout": 31}, map[string]any{"ca_file": in("empty.pem")}, map[string]any{"max_concurrent": 0}, map[string]any{"ssl_verify": false})
	return s
}

func randomIssuers(r *rand.Rand, in func(string) string) []any {
	issuers := []any{}
	for range r.IntN(3) {
		i := map[string]any{}
		pick(r, i, "issuer", "https://127.0.0.1:1", "https://127.0.0.1:1/", "b", "http://127.0.0.1:1?x", "")
		pick(r, i, "jwks_uri", nil, nil, "https://127.0.0.1:1/k", "http://127.0.0.1:1/k", "ftp://a")
		pick(r, i, "jwks_file", nil, nil, nil, in("good.json"), in("bad.json"), in("other.json"), in("empty.pem"))
		pick(r, i, "audience", []any{"api"}, nil, nil, []any{}, []any{""})
		pick(r, i, "insecure_any_audience", nil, nil, nil, true, false)
		pick(r, i, "algorithms", nil, nil, nil, []any{"EdDSA"}, []any{"ES256"}, []any{}, []any{"HS256"})
		pick(r, i, "token_types", nil, nil, nil, []any{"JWT"}, []any{""}, []any{})
		pick(r, i, "scopes_claim", nil, nil, nil, "", "a,b", "a,,b", ".")
		issuers = append(issuers, i)
	}
	return issuers
}

func randomIntrospection(r *rand.Rand) map[string]any {
	i := map[string]any{}
	pick(r, i, "introspection_endpoint", "http://127.0.0.1:1", "http://127.0.0.1:1/a?b", "http://127.0.0.1:1/#a", nil)
	pick(r, i, "introspection_endpoint_auth_method", nil, "none", "client_secret_basic", "client_secret_post", "other")
	pick(r, i, "client_id", nil, "c", "é")
	pick(r, i, "client_secret", nil, "s", "s", 5)
	pick(r, i, "audience", []any{"api"}, nil)
	pick(r, i, "insecure_any_audience", nil, nil, true)
	pick(r, i, "jwt_tokens", nil, "always", "never", "some")
	pick(r, i, "cache_ttl", nil, 0, 3600, 3601, -1)
	return i
}

// TestEveryErrorIsInOneRun repairs a file by what check says of it: one run has
// to be enough to know all of it.
func TestEveryErrorIsInOneRun(t *testing.T) {
	lines := []string{
		"realm: [x]", "session: {kratos_url: x}", "jwt: {issuers: [{audience: []}]}", "cache: {max_entries: 1}", "token_cookie: 7",
		"colour: blue", "permission_table: 'public: [get /x]'",
	}
	alone := map[string]bool{}
	for _, f := range Files([]File{{"f", []byte(strings.Join(lines, "\n"))}}, Options{As: GateConfig}).Findings {
		alone[fmt.Sprint(f.Line)] = true
	}
	if len(alone) != len(lines) {
		t.Errorf("errors in lines %v of %d", alone, len(lines))
	}
}

func TestRulesAreComplete(t *testing.T) {
	var sources []string
	for _, pattern := range []string{"*.go", "*/*.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, found...)
	}
	text := ""
	for _, name := range sources {
		if !strings.HasSuffix(name, "_test.go") && !strings.HasSuffix(name, "rule.go") {
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			text += string(source)
		}
	}
	for _, r := range finding.Rules {
		if !strings.Contains(text, `"`+r.Name+`"`) {
			t.Errorf("nothing finds %s", r.Name)
		}
	}
	for _, part := range strings.Split(text, `.Add("`)[1:] {
		if name, _, _ := strings.Cut(part, `"`); !slices.ContainsFunc(finding.Rules, func(r finding.Rule) bool { return r.Name == name }) {
			t.Errorf("there is no rule %s", name)
		}
	}
}

// TestRulesNameSectionsThatExist looks up the heading of each section.
func TestRulesNameSectionsThatExist(t *testing.T) {
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, r := range finding.Rules {
		page, anchor, _ := strings.Cut(cmp.Or(r.Page, "cli.md#check"), "#")
		text, err := os.ReadFile(filepath.Join("../../docs", page))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for line := range strings.SplitSeq(string(text), "\n") {
			title, isHeading := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
			found = found || isHeading && strings.HasPrefix(line, "#") && strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(title), ""), " ", "-") == anchor
		}
		if !found {
			t.Errorf("%s: docs/%s has no section %s", r.Name, page, anchor)
		}
	}
}

// TestSARIFHasTheRequiredMembers looks for what the schema of SARIF 2.1.0 asks
// for, and for what refers from one part to another.
func TestSARIFHasTheRequiredMembers(t *testing.T) {
	report := Files([]File{{"a b.yaml", []byte("session: {kratos_url: 'http://k'}\npath: {allow_semicolon: true} # lint:ignore relaxed-path: ours\nrealm: [é, 1]\n")}}, Options{})
	text, err := json.Marshal(finding.SARIF(report.Findings, report.Silenced, "https://docs.test/x/"))
	if err != nil {
		t.Fatal(err)
	}
	var log struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct{ ID, HelpURI string }
				}
			}
			ColumnKind string
			Results    []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn int }
					}
				}
				Suppressions []struct{ Kind, Justification string }
			}
		}
	}
	if err := json.Unmarshal(text, &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || !strings.HasPrefix(log.Schema, "https://") || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name == "" || log.Runs[0].ColumnKind != "unicodeCodePoints" {
		t.Fatalf("%s", text)
	}
	for _, r := range log.Runs[0].Tool.Driver.Rules {
		if !strings.HasPrefix(r.HelpURI, "https://docs.test/x/") {
			t.Errorf("%s: helpUri %q", r.ID, r.HelpURI)
		}
	}
	suppressed := 0
	for _, r := range log.Runs[0].Results {
		suppressed += len(r.Suppressions)
		at := r.Locations[0].PhysicalLocation
		if log.Runs[0].Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID || r.Message.Text == "" || at.ArtifactLocation.URI != "a%20b.yaml" || at.Region.StartLine < 1 || at.Region.StartColumn < 1 ||
			!slices.Contains([]string{"error", "warning", "note"}, r.Level) {
			t.Errorf("%+v", r)
		}
	}
	if suppressed != 1 || len(log.Runs[0].Results) != 3 {
		t.Errorf("%d of %d results are suppressed", suppressed, len(log.Runs[0].Results))
	}
}

// TestSecretsAreInNoFinding writes a secret where values are, and in places
// where it does not belong.
func TestSecretsAreInNoFinding(t *testing.T) {
	const secret = "s3cr3t-client-secret"
	for _, text := range []string{
		"introspection: {client_secret: " + secret + ", introspection_endpoint: 5}",
		"introspection: {client_secret: [" + secret + "]}",
		"introspection: {client_secret:" + secret + "}",
		"introspection:\n  client_secret: '" + secret,
		"introspection: {client_secret: *" + secret + "}",
		"introspection: {client_secret: {" + secret + ": 1, " + secret + ": 2}}",
		`{"introspection": {"client_secret": "` + secret + `", "client_secret": "` + secret + `"}}`,
		"routes:\n- {id: a, uri: /a, plugins: {ext-plugin-pre-req: {conf: [{name: gatehouse, value: '{\"introspection\": {\"client_secret\": \"" + secret + "\"'}]}}}\n#END",
		"_format_version: '3.0'\nplugins:\n- name: gatehouse\n  config: {introspection: {client_secret: " + secret + ", client_sekret: " + secret + "}}",
		"gates: {main: {introspection: {client_secret: " + secret + "}}, other: " + secret + "}",
	} {
		for _, as := range []Kind{"", GateConfig} {
			for _, f := range Files([]File{{"f", []byte(text)}}, Options{As: as}).Findings {
				if strings.Contains(f.Text, secret) {
					t.Errorf("%s: %s", text, f.Text)
				}
			}
		}
	}
}

func FuzzNoFileBreaksCheck(f *testing.F) {
	f.Add("_format_version: '3.0'\nplugins: [{name: gatehouse, config: {jwt: {issuers: [{}]}}}]")
	f.Add("routes: [{id: a, plugins: {ext-plugin-pre-req: {conf: [{name: gatehouse, value: '{}'}]}}}]\n#END")
	f.Add("apiVersion: v1\nkind: ConfigMap\ndata: {gatehouse.yaml: 'a: 1'}")
	f.Add("a: &a [*a]")
	f.Add("gates: {a: {file: x}}\nlisten: [1]\nendpoints: {}")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "/dev/") || strings.Contains(text, "/proc/") {
			return
		}
		for _, kind := range Kinds {
			r := Files([]File{{"f", []byte(text)}}, Options{As: kind.Kind})
			for _, found := range r.Findings {
				if found.Line < 1 || found.Column < 1 || found.Text == "" {
					t.Errorf("%s: %+v", kind.Kind, found)
				}
			}
		}
	})
}

// Versions of Kong Enterprise have four numbers.
func TestVersionOfKongThatFailsOpen(t *testing.T) {
	for version, old := range map[string]bool{
		"3.7.1": true, "2.8": true, "3.8": false, "3.9.3": false, "3.13.0": false, "4": false,
		"3.4.3.5": true, "3.10.0.1": true, "3.13.0.4": true, "3.14.0.0": false, "4.0.0.0": false, "": false, "nightly": false,
	} {
		report := Files([]File{{Name: "kong.yml", Content: []byte("_format_version: \"3.0\"\n")}}, Options{KongVersion: version})
		if got := len(report.Findings) > 0 && report.Findings[0].Rule == "kong-too-old"; got != old {
			t.Errorf("%q: %v, want %v: %v", version, got, old, report.Findings)
		}
	}
}
