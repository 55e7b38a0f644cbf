package audit

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/request"
)

// fill gives every member of a record a value, or leaves it empty.
func fill(v reflect.Value, text func() string) {
	switch v.Kind() {
	case reflect.Pointer:
		if rand.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), text)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(rand.Int64N(1<<32), rand.Int64N(1e9)).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	case reflect.Slice:
		for range rand.IntN(3) {
			v.Set(reflect.Append(v, reflect.ValueOf(text())))
		}
	case reflect.String:
		if rand.IntN(3) > 0 {
			v.SetString(text())
		}
	case reflect.Bool:
		v.SetBool(rand.IntN(2) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt(rand.Int64N(600))
	case reflect.Float64:
		v.SetFloat(rand.Float64())
	}
}

func TestRecordReadsBackAsItWasWritten(t *testing.T) {
	letters := []rune("ab/ \"\\<>&\n\x1b\x00\x7f\u009b\u2028\u202eé漢😀")
	text := func() string {
		runes := make([]rune, 1+rand.IntN(12))
		for i := range runes {
			runes[i] = letters[rand.IntN(len(letters))]
		}
		return string(runes)
	}
	for range 2000 {
		var want, got Record
		fill(reflect.ValueOf(&want).Elem(), text)
		line := want.Append(nil)
		if err := json.Unmarshal(line, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %v\ngot  %+v\nwant %+v", line, err, got, want)
		}
	}
}

func TestNoTextOfAClientEndsALineOrActsOnATerminal(t *testing.T) {
	for r := rune(0); r < 0x3000; r++ {
		checkLine(t, string(r))
	}
	for _, text := range []string{"\x1b[2J\x1b]0;owned\x07", "a\r\n{\"decision\":\"allow\"}", "\xff\xfe", "a\x00b", "\u202egnp.exe", "\ufeff", "\xc2"} {
		checkLine(t, text)
	}
}

func checkLine(t *testing.T, text string) {
	t.Helper()
	e := core.Event{
		Request:  &core.Request{ID: strings.Repeat("a", 32), Method: text, Target: "/" + text, Host: text, Route: text, MCP: request.MCP{Method: text, Name: text}},
		Decision: &core.Decision{Status: 400, Rule: text, Cause: core.ErrBadRequest, Principal: &core.Principal{Subject: text, Roles: []string{text}}},
	}
	record := New(Options{Now: time.Now}).record(e)
	line := record.Append(nil)
	if strings.Count(string(line), "\n") != 1 || line[len(line)-1] != '\n' || !utf8.Valid(line) || !json.Valid(line) {
		t.Fatalf("%q: %q", text, line)
	}
	for _, r := range string(line[:len(line)-1]) {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			t.Fatalf("%q: %q holds %U", text, line, r)
		}
	}
}

func TestTokenInAPathOrAQueryIsNotRecorded(t *testing.T) {
	const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2VjcmV0"
	if !strings.HasPrefix(apitoken.Prefix, apiToken) {
		t.Fatalf("API tokens begin with %s", apitoken.Prefix)
	}
	for _, target := range []string{
		"/a?access_token=s3cr3t", "/a?s3cr3t", "/a?x=1&" + jwt, "/a?" + jwt + "=1", "/a#s3cr3t", "/a/" + jwt, "/a/" + jwt + "/b", "/a/x" + jwt, "/" + apitoken.Prefix + "s3cr3t", "http://u:s3cr3t@h/a",
		"/reset/s3cr3t", "/share/s3cr3t/file/s3cr3t",
	} {
		r := New(Options{Now: time.Now, Redact: []*regexp.Regexp{regexp.MustCompile(`^/reset/([^/]+)`), regexp.MustCompile(`^/share/([^/]+)/file/([^/]+)`), regexp.MustCompile(`/(share)/(s3(c)r3t)`)}})
		for _, path := range []string{"", strings.FieldsFunc(target, func(c rune) bool { return c == '?' || c == '#' })[0]} {
			if path != "" && path[0] != '/' {
				continue
			}
			record := r.record(core.Event{Request: &core.Request{Target: target}, Path: path, Decision: &core.Decision{}})
			line := string(record.Append(nil))
			if strings.Contains(line, "s3cr3t") || strings.Contains(line, "eyJhbG") || strings.Contains(line, "c2VjcmV0") {
				t.Errorf("%s: %s", target, line)
			}
		}
	}
	record := New(Options{Now: time.Now}).record(core.Event{Request: &core.Request{Target: "/users?page=2&sort=name"}, Path: "/users", Decision: &core.Decision{}})
	if record.Path != "/users" || strings.Join(record.Query, " ") != "page sort" {
		t.Errorf("%+v", record)
	}
}

func TestSecretInTheNameOfACallIsNotRecorded(t *testing.T) {
	for name, want := range map[string]string{
		"https://h/a?token=s3cr3t": "https://h/a?[redacted]", "https://h/a#s3cr3t": "https://h/a#[redacted]", "https://u:s3cr3t@h/a@b": "https://[redacted]@h/a@b", "https://s3cr3t@h": "https://[redacted]@h/",
		"file:///a/eyJhbGciOiJzM2NyM3QifQ.e30.e30/b": "file:///a/[redacted]/b", "file:///" + apitoken.Prefix + "s3cr3t": "file:///[redacted]", "file:///reset/s3cr3t": "file:///reset/[redacted]", "file:///maps/berlin": "file:///maps/berlin",
	} {
		r := New(Options{Now: time.Now, Redact: []*regexp.Regexp{regexp.MustCompile(`/reset/([^/]+)`)}})
		record := r.record(core.Event{Request: &core.Request{Method: "POST", MCP: request.MCP{Method: "resources/read", Name: name}}, Path: "/mcp", Decision: &core.Decision{}})
		if record.MCP.Name != want {
			t.Errorf("%s: %s, want %s", name, record.MCP.Name, want)
		}
		if _, err := record.Request(); (err == nil) != (name == want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	record := New(Options{Now: time.Now}).record(core.Event{Request: &core.Request{Method: "POST", MCP: request.MCP{Method: "tools/call", Name: "c#?"}}, Path: "/mcp", Decision: &core.Decision{}})
	if record.MCP.Name != "c#?" || record.Asked() != "/mcp#tools/call#c#?" {
		t.Errorf("%+v", record.MCP)
	}
}

func TestGroupsOfAPatternAreRedactedWhateverTheirOrder(t *testing.T) {
	for pattern, want := range map[string]string{
		`^/a/([^/]+)`: "/a/[redacted]/c", `b`: "/a/[redacted]/c", `^/((a)/b)/c`: "/[redacted]/c", `(x)?/c`: "/a/b/c", `nothing`: "/a/b/c", `(c)$`: "/a/b/[redacted]", `(.*)`: "[redacted]",
	} {
		if got := redact("/a/b/c", []*regexp.Regexp{regexp.MustCompile(pattern)}); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
}

func TestRecordIsBoundedWhateverACallerStates(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	names := make([]string, 5000)
	for i := range names {
		names[i] = long[:i%200]
	}
	p := &core.Principal{Subject: long, Issuer: long, ClientID: long, AAL: long, ID: long, Roles: names, Scopes: names, Permissions: names, Actor: &core.Actor{Subject: long}}
	record := New(Options{Now: time.Now}).record(core.Event{Request: &core.Request{Method: long, Host: long, Target: "/" + long + "?" + strings.Repeat("a=&", 5000), MCP: request.MCP{Method: long, Name: long}}, Path: long, Decision: &core.Decision{Rule: long, Principal: p}})
	if line := record.Append(nil); len(line) > 24<<10 || !record.Caller.Cut {
		t.Errorf("%d bytes, cut: %t", len(line), record.Caller.Cut)
	}
}

func TestShareOfDecisionsIsRecordedAndSaysSo(t *testing.T) {
	sink := &memory{}
	q := newQueue(t, sink, 1<<20)
	r := New(Options{Admissions: 0.25, Refusals: 1, Queues: []*Queue{q}, Now: time.Now})
	for range 4000 {
		r.End(t.Context(), core.Event{Request: &core.Request{}, Decision: &core.Decision{Outcome: core.Allow}})
		r.End(t.Context(), core.Event{Request: &core.Request{}, Decision: &core.Decision{Status: 403}})
		r.End(t.Context(), core.Event{Request: &core.Request{}, Decision: &core.Decision{Outcome: core.Respond, Status: 500}})
	}
	q.Flush(t.Context())
	counts := map[string]int{}
	for _, line := range sink.lines() {
		var r Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		counts[r.Decision]++
		if want := map[string]float64{"allow": 0.25}[r.Decision]; r.SamplingRate != want {
			t.Fatalf("%s", line)
		}
	}
	if counts["deny"] != 4000 || counts["respond"] != 4000 || counts["allow"] < 800 || counts["allow"] > 1200 {
		t.Errorf("%v", counts)
	}
}

func BenchmarkRecord(b *testing.B) {
	r := New(Options{Now: time.Now})
	e := core.Event{
		Request: &core.Request{ID: strings.Repeat("a", 32), Method: "GET", Target: "/users/7?page=2", Host: "api.example.com"}, Path: "/users/7",
		Decision: &core.Decision{Outcome: core.Allow, Reason: "allowed", Rule: "users:read: GET /users/[^/]+", Principal: &core.Principal{Subject: "ada", Issuer: "https://id.example.com/", Kind: core.KindJWT, Roles: []string{"editor"}}},
	}
	b.ReportAllocs()
	for b.Loop() {
		record := r.record(e)
		record.Append(make([]byte, 0, usualSize))
	}
}
