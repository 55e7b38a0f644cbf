package trail

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse/core/audit"
)

const plain = `{"time":"2026-11-22T08:00:00Z","request_id":"a","decision":"allow"}`

func TestRecordIsFoundBehindTheHeaderOfSyslogAndNowhereElse(t *testing.T) {
	for _, line := range []string{
		plain,
		`<110>1 2026-11-22T08:00:00.1Z host gatehouse 12 audit - ` + plain,
		`<110>1 2026-11-22T08:00:00.1Z host gatehouse 12 audit [a b="c"] ` + plain,
		`2026-11-22T08:00:00.123+00:00 host gatehouse[12]: ` + plain,
		`Nov  2 08:00:00 host gatehouse[12]: ` + plain,
	} {
		if e, err := Parse([]byte(line)); err != nil || e.RequestID != "a" || string(e.Line) != plain {
			t.Errorf("%s: %v, %+v", line, err, e)
		}
	}
	for _, line := range []string{
		``, `{}`, `[]`, `null`, `{"time":"2026-11-22T08:00:00Z","decision":"maybe"}`, `{"decision":"allow"}`, plain[:40], plain + "x",
		`Nov  2 08:00:00 host nginx[12]: gatehouse: ` + plain,
		`2026-11-22T08:00:00Z host nginx: GET /gatehouse[1]: ` + plain,
		`time=x level=INFO msg=denied path=/gatehouse:` + plain,
	} {
		if e, err := Parse([]byte(line)); err == nil {
			t.Errorf("%s: read as %+v", line, e)
		}
	}
}

// TestTextOfAClientEndsNoLineAndActsOnNoTerminal reads lines that were not written by a gate,
// too: their JSON may hold anything.
func TestTextOfAClientEndsNoLineAndActsOnNoTerminal(t *testing.T) {
	for _, text := range []string{"\u009b31m", "\u202e", "\u2028", "\x9b31m", "\xff", `\u001b[2J`, `\n`, `\r`, "\u200f", "\ufeff"} {
		line := strings.Replace(plain, `"a"`, `"`+text+`"`, 1)
		e, err := Parse([]byte(" \t" + line)[2:])
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if !json.Valid(e.Line) || !utf8.Valid(e.Line) {
			t.Errorf("%q: %q", text, e.Line)
		}
		for _, r := range string(e.Line) {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\ufeff' {
				t.Errorf("%q: %q holds %U", text, e.Line, r)
			}
		}
	}
	if e, err := Parse([]byte("{\r\t \"time\": \"2026-11-22T08:00:00Z\", \"decision\": \"allow\", \"later\": {\"x\": 1}}")); err != nil || string(e.Line) != `{"time":"2026-11-22T08:00:00Z","decision":"allow","later":{"x":1}}` {
		t.Errorf("%v: %s", err, e.Line)
	}
}

func TestFilesThatWerePutAsideAreReadFirstAndOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	aside := filepath.Join(dir, "audit-20261122T080000.000000001Z.jsonl")
	older := filepath.Join(dir, "audit-20261121T080000.000000001Z.jsonl")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(recordOf("1"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	appendTo(t, older, packed.String())
	appendTo(t, aside, string(recordOf("2")))
	appendTo(t, path, string(recordOf("3")))
	appendTo(t, filepath.Join(dir, "audit-other.jsonl"), string(recordOf("4")))
	for _, tt := range []struct {
		named []string
		want  string
	}{{[]string{path}, "1 2 3"}, {[]string{aside, path}, "2 1 3"}} {
		s := &seen{}
		for _, name := range tt.named {
			if err := ReadFile(name, tt.named, s.visit); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(s.ids, " "); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
	if err := ReadFile(dir, nil, (&seen{}).visit); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Error(err)
	}
	if err := ReadFile(path+"x", nil, (&seen{}).visit); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// TestEveryFieldFilters asks for each field of a record with all of them, and of one with none.
func TestEveryFieldFilters(t *testing.T) {
	full := audit.Record{
		Time: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC), RequestID: "id", Decision: "deny", Reason: "reason", Status: 403, Method: "GET", Host: "host", Path: "/a/b", MCP: &audit.MCP{Method: "tools/call", Name: "get_weather"},
		Gateway: "kong", Route: "route", ClientIP: "203.0.113.7", Rule: "p: GET /a/.*", Permission: "p", Grant: "role r", Table: &audit.Table{Version: "v"},
		Caller: &audit.Caller{Subject: "ada", Issuer: "iss", ClientID: "client", Kind: "jwt", Roles: []string{"x", "r"}, Scopes: []string{"s"}, Actor: &audit.Actor{Subject: "agent", ClientID: "runner"}},
	}
	wants := map[string]string{
		"decision": "deny", "reason": "re*", "status": "4*", "method": "GET", "host": "h*t", "path": "/a/*", "mcp-method": "tools/*", "mcp-name": "get_weather", "rule": "p: GET /a/.*", "permission": "p", "grant": "role *", "subject": "ada",
		"issuer": "iss", "client": "client", "actor": "runner", "kind": "jwt", "role": "r", "scope": "s", "gateway": "kong", "route": "route", "client-ip": "203.0.113.0/24", "request-id": "id", "table-version": "v",
	}
	for _, field := range Fields() {
		pattern, known := wants[field.Name]
		if !known {
			t.Fatalf("the test knows nothing of %s", field.Name)
		}
		takes := func(r *audit.Record, patterns ...string) bool {
			f := &Filter{}
			if err := f.Want(field, patterns); err != nil {
				t.Fatal(err)
			}
			return f.Takes(r)
		}
		if !takes(&full, pattern) || !takes(&full, "*") && field.Name != "client-ip" || !takes(&full) {
			t.Errorf("%s: %q does not take the record", field.Name, pattern)
		}
		if pattern == "deny" {
			pattern = "allow"
		}
		other := strings.Replace(pattern, "203.0.113", "198.51.100", 1)
		if other == wants[field.Name] {
			other = "x" + pattern
		}
		if takes(&full, other) || takes(&audit.Record{}, wants[field.Name]) || takes(&audit.Record{}, "*") {
			t.Errorf("%s takes what it should not", field.Name)
		}
	}
	f := &Filter{Since: full.Time, Until: full.Time.Add(time.Second)}
	late, early := full, full
	late.Time, early.Time = f.Until, full.Time.Add(-1)
	if !f.Takes(&full) || f.Takes(&late) || f.Takes(&early) {
		t.Error("the bounds of time are wrong")
	}
}

func TestMomentsAreReadAsPeopleWriteThem(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"2026-11-21": "2026-11-21T00:00:00Z", "2026-11-21 08:30": "2026-11-21T08:30:00Z", "2026-11-21T08:30:00+01:00": "2026-11-21T07:30:00Z", "90m": "2026-11-22T10:30:00Z", "7d": "2026-11-15T12:00:00Z",
		"yesterday": "", "-2h": "", "2026-13-01": "", "": "", "1e9d": "",
	} {
		at, err := Moment(text, now)
		if want == "" {
			if err == nil {
				t.Errorf("%q: %v", text, at)
			}
			continue
		}
		if got := at.UTC().Format(time.RFC3339); err != nil || got != want {
			t.Errorf("%q: %s, want %s (%v)", text, got, want, err)
		}
	}
}
