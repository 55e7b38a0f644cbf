package config

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/account"
	"gatehouse/core/audit"
	"gatehouse/core/audit/kept"
	settings "gatehouse/core/config/audit"
	"gatehouse/core/coretest"
)

// audited is a gate whose records go to a file.
type audited struct {
	*core.Gate
	builder *Builder
	file    string
}

func newAudited(t testing.TB, issuer *coretest.Issuer, table, more string) audited {
	t.Helper()
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	b := NewBuilder(BuilderOptions{})
	gate, err := b.Gate(fmt.Appendf(nil, "jwt: {issuers: [{issuer: %q, insecure_any_audience: true, roles_claim: roles}]}\npermission_table: %q\naudit: {file: {path: %q}%s}\n", issuer.URL, table, file, more))
	if err != nil {
		t.Fatal(err)
	}
	return audited{gate, b, file}
}

// records are those of the file, as far as the queue has come.
func (a audited) records(t testing.TB) (all []audit.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a.builder.FlushAudit(ctx)
	text, err := os.ReadFile(a.file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var r audit.Record
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		matchesSchema(t, line)
		all = append(all, r)
	}
	return all
}

// matchesSchema holds a record to what the published schema says of members and types.
func matchesSchema(t testing.TB, line string) {
	t.Helper()
	var schema, record map[string]any
	if err := json.Unmarshal(settings.JSONSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(line), &record); err != nil {
		t.Fatal(err)
	}
	if problem := mismatch(schema, record); problem != "" {
		t.Fatalf("%s: %s", line, problem)
	}
}

func mismatch(schema map[string]any, value any) string {
	switch v := value.(type) {
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, found := v[name.(string)]; !found {
				return fmt.Sprintf("%s is missing", name)
			}
		}
		for name, member := range v {
			of, known := properties[name].(map[string]any)
			if !known {
				return name + " is not in the schema"
			}
			if problem := mismatch(of, member); problem != "" {
				return name + ": " + problem
			}
		}
		return wants(schema, "object")
	case []any:
		for _, item := range v {
			if problem := mismatch(schema["items"].(map[string]any), item); problem != "" {
				return problem
			}
		}
		return wants(schema, "array")
	case string:
		if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, value) {
			return fmt.Sprintf("%q is none of %v", v, enum)
		}
		return wants(schema, "string")
	case bool:
		return wants(schema, "boolean")
	}
	if schema["type"] == "integer" {
		return ""
	}
	return wants(schema, "number")
}

func wants(schema map[string]any, is string) string {
	if schema["type"] != is {
		return fmt.Sprintf("is of type %s, and the schema wants %v", is, schema["type"])
	}
	return ""
}

// randomTable is a small table over few names, so that every sort of decision occurs.
func randomTable() string {
	var b strings.Builder
	paths := []string{"/a", "/b", "/c/[^/]+", "/[ab]", "/.*"}
	activity := func() string {
		a := fmt.Sprintf("{methods: [%s], path: '%s'", []string{"GET", "POST"}[rand.IntN(2)], paths[rand.IntN(len(paths))])
		switch rand.IntN(5) {
		case 0:
			a += ", require: {aal: aal2}"
		case 1:
			a += ", require: {all_scopes: [s1]}"
		case 2:
			a += ", require: {when: \"claims.tenant == 'x'\"}"
		}
		return a + "}"
	}
	b.WriteString("permissions:\n")
	for _, name := range []string{"p1", "p2", "p3"} {
		fmt.Fprintf(&b, "  %s: {activities: [%s]}\n", name, activity())
	}
	b.WriteString("roles: {r1: [p1], r2: [role:r1, p2]}\nscopes: {s2: [p3]}\n")
	for _, section := range []string{"authenticated", "optional"} {
		if rand.IntN(3) == 0 {
			plain, _, _ := strings.Cut(activity(), ", require")
			fmt.Fprintf(&b, "%s: [%s}]\n", section, strings.TrimSuffix(plain, "}"))
		}
	}
	if rand.IntN(3) == 0 {
		b.WriteString("public: [GET /a]\n")
	}
	if rand.IntN(4) == 0 {
		b.WriteString("anonymous: {permissions: [p2]}\n")
	}
	return b.String()
}

// Whatever the table and the caller, there is one record for each decision, and it says what
// the gate has decided. What it calls the grant is enough by itself: a caller with nothing
// else may make the same call, as far as the permission goes.
func TestRecordsAgreeWithTheGateOnRandomTables(t *testing.T) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	pick := func(names ...string) (some []string) {
		for _, name := range names {
			if rand.IntN(3) == 0 {
				some = append(some, name)
			}
		}
		return some
	}
	seen := map[string]int{}
	for range 150 {
		a := newAudited(t, issuer, randomTable(), "")
		var decisions []core.Decision
		for range 20 {
			r := &core.Request{ID: fmt.Sprintf("%032x", len(decisions)), Method: []string{"GET", "POST"}[rand.IntN(2)], Target: []string{"/a", "/b", "/c/1", "/d", "/a/..", "/a?secret=s3cr3t"}[rand.IntN(6)], Host: "api.test", Gateway: "test", Route: "one"}
			if rand.IntN(4) > 0 {
				claims := map[string]any{"roles": pick("r1", "r2"), "scope": strings.Join(pick("s1", "s2", "p1"), " "), "acr": []string{"aal1", "aal2"}[rand.IntN(2)], "tenant": "x"}
				r.Header = []core.Header{{Name: "Authorization", Value: "Bearer " + issuer.Token(claims)}}
			}
			decisions = append(decisions, a.Check(t.Context(), r))
		}
		records := a.records(t)
		if len(records) != len(decisions) {
			t.Fatalf("%d records of %d decisions", len(records), len(decisions))
		}
		for i, d := range decisions {
			r := records[i]
			seen[r.Decision+" "+r.Reason]++
			if r.RequestID != fmt.Sprintf("%032x", i) || r.Decision != d.Outcome.String() || r.Reason != d.Reason || r.Rule != d.Rule || (d.Principal != nil) != (r.Caller != nil) {
				t.Fatalf("%+v of %+v", r, d)
			}
			if d.Outcome == core.Deny && r.Status != d.Status || r.Gateway != "test" || r.Route != "one" || r.Table == nil || r.Table.Version == "" {
				t.Fatalf("%+v of %+v", r, d)
			}
			if d.Outcome == core.Allow && r.Permission != "" && r.Grant == "" {
				t.Fatalf("allowed by %s without a grant: %+v", r.Permission, r)
			}
			if d.Reason == "insufficient_scope" && (r.Expected == "" || r.Got == "") {
				t.Fatalf("%+v", r)
			}
		}
	}
	for _, want := range []string{"allow allowed", "allow public", "allow anonymous", "deny no_credential", "deny insufficient_scope", "deny step_up", "deny forbidden", "deny bad_request"} {
		if seen[want] == 0 {
			t.Errorf("no %s among %v", want, slices.Sorted(maps.Keys(seen)))
		}
	}
}

func TestSecretsOfARequestAreInNoRecord(t *testing.T) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	a := newAudited(t, issuer, "permissions: {p: {activities: ['GET /reset/[^/]+']}}", `, redact_paths: ["^/reset/([^/]+)"]`)
	token := issuer.Token(map[string]any{"scope": "p"})
	for _, target := range []string{"/reset/s3cr3t?x=s3cr3t", "/reset/" + token, "/other/" + token + "?access_token=" + token, "http://s3cr3t@api.test/"} {
		a.Check(t.Context(), &core.Request{Method: "GET", Target: target, Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}, {Name: "Cookie", Value: "a=s3cr3t"}}})
	}
	if got := len(a.records(t)); got != 4 {
		t.Errorf("%d records", got)
	}
	text, err := os.ReadFile(a.file)
	if err != nil || strings.Contains(string(text), "s3cr3t") || strings.Contains(string(text), token) || strings.Contains(string(text), token[:20]) {
		t.Errorf("%s, %v", text, err)
	}
}

// A disk that fails, or a syslog that nobody reads, is no reason to refuse anybody.
func TestPlaceOfRecordsThatFailsRefusesNobody(t *testing.T) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	log := &coretest.Log{}
	dir := t.TempDir()
	file := filepath.Join(dir, "gone", "audit.jsonl")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(BuilderOptions{Log: slog.New(slog.NewTextHandler(log, nil))})
	gate, err := b.Gate(fmt.Appendf(nil, "jwt: {issuers: [{issuer: %q, insecure_any_audience: true}]}\npermission_table: 'public: [GET /]'\naudit: {queue: {max_entries: 10}, file: {path: %q}, syslog: {path: %q}}\n", issuer.URL, file, filepath.Join(dir, "nobody")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(file)); err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		if d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/"}); d.Outcome != core.Allow {
			t.Fatalf("%+v", d)
		}
	}
	for b.AuditStats()["file"].Dropped == 0 || b.AuditStats()["syslog"].Dropped == 0 || !strings.Contains(log.String(), "audit records were dropped") {
		if t.Context().Err() != nil {
			t.Fatal(b.AuditStats())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestTableOfARecordIsKept(t *testing.T) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	dir := filepath.Join(t.TempDir(), "tables")
	a := newAudited(t, issuer, "public: [GET /]", fmt.Sprintf(", tables: {path: %q}", dir))
	for _, target := range []string{"/", "/uncovered"} {
		a.Check(t.Context(), &core.Request{Method: "GET", Target: target})
	}
	for _, r := range a.records(t) {
		texts, err := kept.Read(dir, account.Table{Source: r.Table.Source, Version: r.Table.Version})
		if err != nil || len(texts) != 1 || !strings.Contains(string(texts[0].Content), "GET /") {
			t.Errorf("%+v: %v, %v", r.Table, texts, err)
		}
	}
}

func TestMistakesOfTheAuditSectionAreReported(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                                     "audit: says nowhere where records go: set file, stdout, syslog or otlp",
		"{file: {path: audit.jsonl}}":            "audit.file.path: is not absolute: gateways choose the folder that their plugins run in",
		"{stdout: true, redact_paths: ['(']}":    "audit.redact_paths[0]: error parsing regexp: missing closing ): `(`",
		"{stdout: true, sampling_rate: 2}":       "audit.sampling_rate: must be between 0 and 1",
		"{syslog: {}}":                           "audit.syslog: needs either path or host",
		"{syslog: {host: h, tls: true}}":         "audit.syslog.tls: needs sock_type: tcp",
		"{otlp: {endpoint: 'http://collector'}}": "audit.otlp.endpoint: begins with http: whoever is on the way reads who calls what; use https, or set insecure_http in a network that you trust",
		"{otlp: {endpoint: 'https://c/?k=s'}}":   "audit.otlp.endpoint: has a query or a fragment; a secret belongs into token",
		"{stdout: true, tables: {path: t}}":      "audit.tables.path: is not absolute: gateways choose the folder that their plugins run in",
	} {
		_, err := Load([]byte("session: {kratos_url: 'http://k'}\npermission_table: 'public: [GET /]'\naudit: " + text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	_, err := NewBuilder(BuilderOptions{}).Gate([]byte("session: {kratos_url: 'http://k'}\npermission_table: 'public: [GET /]'\naudit: {file: {path: " + link + "}}"))
	if err == nil || !strings.Contains(err.Error(), "audit.file.path: "+link+" is a symbolic link") {
		t.Error(err)
	}
}

// BenchmarkAudit is a whole decision, with the credential remembered, without records, with
// records that nobody takes, and with a file.
func BenchmarkAudit(b *testing.B) {
	issuer := coretest.NewIssuer(b, coretest.NewClock())
	for name, section := range map[string]string{
		"off":  "",
		"none": fmt.Sprintf("audit: {sampling_rate: 0, file: {path: %q}}", filepath.Join(b.TempDir(), "a")),
		"file": fmt.Sprintf("audit: {file: {path: %q, max_kept: 0}, queue: {max_entries: 1000000, max_bytes: 1073741824}}", filepath.Join(b.TempDir(), "a")),
	} {
		builder := NewBuilder(BuilderOptions{})
		gate, err := builder.Gate(fmt.Appendf(nil, "jwt: {issuers: [{issuer: %q, insecure_any_audience: true}], cache_ttl: 3600}\npermission_table: \"permissions: {read: {activities: ['GET /users/[^/]+']}}\"\n%s\n", issuer.URL, section))
		if err != nil {
			b.Fatal(err)
		}
		r := &core.Request{Method: "GET", Target: "/users/123", Host: "api.example.test", ID: strings.Repeat("a", 32), Header: []core.Header{{Name: "authorization", Value: "Bearer " + issuer.Token(map[string]any{"scope": "read"})}}}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := gate.Check(b.Context(), r); d.Outcome != core.Allow {
					b.Fatalf("%+v", d)
				}
			}
			builder.FlushAudit(context.Background())
		})
	}
}
