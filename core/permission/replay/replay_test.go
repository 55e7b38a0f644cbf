package replay

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/tablefile"
)

// Lines that nginx 1.22 wrote, in its combined format and in APISIX's.
const nginxLog = `127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "GET /users/7?x=1 HTTP/1.1" 204 0 "-" "a\x22 [x] \x22GET /forged HTTP/1.1\x22 200"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "GET /a\x5Cb\x22c\xC3\xA9\xFF HTTP/1.1" 204 0 "-" "-"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "\x16\x03\x01\x02\x00" 400 157 "-" "-"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "GET http://evil.example/x HTTP/1.1" 204 0 "-" "-"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "foo" 400 157 "-" "-"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "GET /old" 204 0 "-" "-"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "GET /a b HTTP/1.1" 400 157 "-" "-"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] [::1]:8080 "GET / HTTP/1.1" 204 0 0.000 "-" "-" - - - "http://[::1]/"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] a.example "GET /users/7?x=1 HTTP/1.1" 204 0 0.000 "-" "a\x22 [x] \x22GET /forged HTTP/1.1\x22 200" - - - "http://a.example/users/7"
`

func TestLogLinesGiveTheRequestTheClientSent(t *testing.T) {
	want := []string{
		`GET "/users/7?x=1" on ""`,
		`GET "/a\\b\"cé\xff" on ""`,
		errNoCall.Error(),
		`GET "http://evil.example/x" on ""`,
		errNoCall.Error(),
		`GET "/old" on ""`,
		`GET "/a b" on ""`,
		`GET "/" on "[::1]:8080"`,
		`GET "/users/7?x=1" on "a.example"`,
	}
	var got []string
	err := lines(strings.NewReader(nginxLog), func(line []byte) { got = append(got, read(line, "")) })
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q (%v)", got, want, err)
	}
}

func read(line []byte, field string) string {
	e, err := parse(line, field)
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%s %q on %q", e.Method, e.Target, e.Host)
	if e.User != nil {
		text += fmt.Sprintf(" by %q", e.User)
	}
	return text
}

func TestForgedLogValuesDoNotMoveTheRequest(t *testing.T) {
	for line, want := range map[string]string{
		// A name for HTTP Basic authentication is any text.
		`1.2.3.4 - x [y] \x22GET /forged HTTP/1.1\x22 200 [22/Nov/2026:07:43:43 +0000] "GET /real HTTP/1.1" 200 5 "-" "-"`: `GET "/real" on "" by ["x [y] \"GET /forged HTTP/1.1\" 200"]`,
		`1.2.3.4 - - [22/Nov/2026:07:43:43 +0000] "GET /real HTTP/1.1" 200 5 "- [z] " "GET /forged HTTP/1.1" 200 `:         `GET "/real" on ""`,
		// escape=json
		`1.2.3.4 - a\"b [22/Nov/2026:07:43:43 +0000] "GET /real\\x41\u0001 HTTP/1.1" 200 5 "-" "-"`: `GET "/real\\x41\x01" on "" by ["a\"b"]`,
	} {
		if got := read([]byte(line), "remote_user"); got != want {
			t.Errorf("%s\n got  %s\n want %s", line, got, want)
		}
	}
}

func TestJSONLinesOfKong(t *testing.T) {
	for line, want := range map[string]string{
		`{"request":{"method":"GET","uri":"\/users\/7?x=1","url":"http:\/\/a:8000\/users\/7","headers":{"host":"a.example","x-tenant":["t1","t2"]}},"client_ip":"10.0.0.1","consumer":{"username":"ann","tags":["clerk","auditor"]}}`: `GET "/users/7?x=1" on "a.example" by ["clerk" "auditor"]`,
		`{"request":"GET /x HTTP/1.1","host":"b"}`:                        `GET "/x" on "b"`,
		`{"request_method":"GET","request_uri":"/x"}`:                     `GET "/x" on ""`,
		"{\"request\":{\"method\":\"GET\",\"uri\":\"/a\xffb\"}}":          `GET "/a\xffb" on ""`,
		`{"request":{"method":"GE T","uri":"/x"}}`:                        errNoCall.Error(),
		`{"request":{"method":7}}`:                                        errNoTarget.Error(),
		`{"session":{"status":200}}`:                                      errNoTarget.Error(),
		`{`:                                                               errNoLog.Error(),
		`2026/11/22 07:43:43 [error] 1#1: *3 open() "/x" failed`:          errNoLog.Error(),
		`{"request":{"method":"GET","uri":"/x","headers":{"host":[]}}}`:   `GET "/x" on ""`,
		`{"request":{"method":"GET","uri":"/x","headers":"not a table"}}`: `GET "/x" on ""`,
	} {
		if got := read([]byte(line), "consumer.tags"); got != want {
			t.Errorf("%s\n got  %s\n want %s", line, got, want)
		}
	}
}

// FuzzLines: whatever the log holds, what nginx escapes comes back unchanged.
func FuzzUnescape(f *testing.F) {
	for _, seed := range []string{"/a", "/\\x41", "\"\\\xff\x00é", "\\", "\\\\"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		var b strings.Builder
		for _, c := range []byte(target) {
			if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
				fmt.Fprintf(&b, `\x%02X`, c)
			} else {
				b.WriteByte(c)
			}
		}
		if got := unescape(b.String()); got != target {
			t.Errorf("%q came back as %q", target, got)
		}
	})
}

func inspectorOf(t *testing.T, name, text string) *inspect.Inspector {
	t.Helper()
	file, err := tablefile.Parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return inspect.New(table, file)
}

func line(request string) string {
	return `1.2.3.4 - - [22/Nov/2026:07:43:43 +0000] "` + request + ` HTTP/1.1" 200 5 "-" "-"` + "\n"
}

func options(t *testing.T, older, newer string) Options {
	now := time.Now()
	o := Options{Old: inspectorOf(t, "old.yaml", older), New: inspectorOf(t, "new.yaml", newer), Host: "any.invalid"}
	o.Callers = Callers(o.Old.Table, o.New.Table, now)
	return o
}

func TestRunNamesWhoIsLetInAndShutOut(t *testing.T) {
	o := options(t, `
permissions:
  users: {activities: ["GET /users/[^/]+"]}
  admin: {activities: ["GET /admin"]}
roles: {clerk: [users], boss: [users, admin]}
implicit_scopes: false
`, `
permissions:
  users: {activities: ["GET /users/[0-9]+", {methods: [GET], path: /admin, require: {aal: aal2}}]}
  admin: {activities: ["GET /admin"]}
roles: {clerk: [users], boss: [admin]}
implicit_scopes: false
public: [GET /docs]
`)
	report, err := Run(strings.NewReader(line("GET /users/7")+line("GET /users/x")+line("GET /admin")+line("GET /docs")+
		line("GET /nowhere")+line("GET /users/..")+"nonsense\n"), o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range report.Groups {
		got = append(got, fmt.Sprint(g.Samples, g.Changes))
	}
	want := []string{
		"[GET /admin] [{denied allowed for a strong sign-in only [role clerk permission users]}]",
		"[GET /docs] [{denied allowed [anonymous any valid credential role boss role clerk permission admin permission users]}]",
		"[GET /users/7] [{allowed denied [role boss]}]",
		"[GET /users/x] [{allowed denied [role boss role clerk permission users]}]",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	counts := []int{report.Lines, report.Requests, report.Different, report.LetIn, report.ShutOut, len(report.Refused), len(report.Skipped)}
	if want := []int{7, 6, 4, 2, 2, 1, 1}; !reflect.DeepEqual(counts, want) {
		t.Errorf("counts %v, want %v", counts, want)
	}
}

// What anonymous holds is open to everybody; public and optional let the same in.
func TestRunKnowsCallersWithoutACredential(t *testing.T) {
	o := options(t, `
permissions:
  shop: {activities: [GET /shop, {methods: [GET], path: /strong, require: {aal: aal1}}]}
roles: {guest: [shop]}
public: [GET /a]
`, `
permissions:
  shop: {activities: [GET /shop, {methods: [GET], path: /strong, require: {aal: aal1}}]}
roles: {guest: [shop]}
optional: [GET /a, GET /b]
anonymous: {roles: [guest]}
`)
	report, err := Run(strings.NewReader(line("GET /shop")+line("GET /strong")+line("GET /a")+line("GET /b")), o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range report.Groups {
		got = append(got, fmt.Sprint(g.Samples, g.Changes))
	}
	want := []string{
		"[GET /b] [{denied allowed [anonymous any valid credential role guest scope shop permission shop]}]",
		"[GET /shop] [{denied allowed [anonymous any valid credential]}]",
		"[GET /strong] [{denied allowed for a strong sign-in only [any valid credential]}]",
	}
	slices.Sort(got)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestRunTakesRolesFromTheLog(t *testing.T) {
	o := options(t, "permissions: {p: {activities: [GET /a]}}\nroles: {clerk: [p]}", "permissions: {p: {activities: [GET /b]}}\nroles: {clerk: [p]}")
	o.UserField, o.Users = "remote_user", map[string][]string{"ann": {"clerk"}}
	log := strings.Replace(line("GET /a"), " - - ", " - ann ", 1) + strings.Replace(line("GET /a"), " - - ", " - bob ", 1) + line("GET /a")
	report, err := Run(strings.NewReader(log), o)
	if err != nil || report.Different != 1 || report.Groups[0].Changes[0].Callers[0] != "role clerk" {
		t.Errorf("%+v %v", report, err)
	}
}

// endless is a log of one kind of content, made while it is read.
type endless struct {
	next func(i int) string
	i, n int
	rest string
}

func (e *endless) Read(p []byte) (int, error) {
	if e.rest == "" {
		if e.i == e.n {
			return 0, errEnd
		}
		e.rest = e.next(e.i)
		e.i++
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

var errEnd = fmt.Errorf("the reader failed")

func TestHostileLogsDoNotFillTheMemory(t *testing.T) {
	o := options(t, "public: [GET /old]", "public: [ANY /new.*]")
	filler := strings.Repeat("x", 1<<16)
	for name, log := range map[string]*endless{
		"one endless line":     {n: 1 << 9, next: func(int) string { return filler }},
		"ever new methods":     {n: 1 << 14, next: func(i int) string { return line(fmt.Sprintf("M%d /new", i)) }},
		"ever new targets":     {n: 1 << 14, next: func(i int) string { return line(fmt.Sprintf("GET /new%d", i)) }},
		"ever new bad paths":   {n: 1 << 14, next: func(i int) string { return line(fmt.Sprintf("GET /%d//", i)) }},
		"ever new no-requests": {n: 1 << 14, next: func(i int) string { return line(fmt.Sprintf("%d", i)) }},
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		report, err := Run(log, o)
		runtime.GC()
		runtime.ReadMemStats(&after)
		if err != errEnd {
			t.Errorf("%s: error %v", name, err)
		}
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
			t.Errorf("%s: %d bytes are held", name, grown)
		}
		if name == "ever new methods" && (len(report.Groups) != 1000 || report.Ungrouped != 1<<14-1000) {
			t.Errorf("%s: %d groups, %d requests not shown", name, len(report.Groups), report.Ungrouped)
		}
		runtime.KeepAlive(report)
	}
}

func TestLongLineIsSkippedAndTheNextIsRead(t *testing.T) {
	o := options(t, "public: [GET /old]", "public: [GET /new]")
	report, err := Run(strings.NewReader(line("GET /new?"+strings.Repeat("x", maxLine))+line("GET /new")), o)
	if err != nil || report.Requests != 1 || report.Different != 1 || report.Skipped[0].Reason != errLong.Error() {
		t.Errorf("%+v %v", report, err)
	}
}

// A log does not say how callers signed in, nor all their scopes. Where only such a
// requirement changes, no assumed caller shows it, and "no request is decided
// otherwise" would be wrong.
func TestChangedRequirementThatNoAssumedCallerShowsIsUnsure(t *testing.T) {
	const table = "permissions: {p: {activities: [{methods: [GET], path: /a, require: REQUIRE}]}}\nroles: {r: [p]}\nscopes: {s: []}\n"
	for _, tt := range []struct {
		was, is string
		unsure  int
	}{
		{"{aal: aal2}", "{aal: aal3}", 1}, {"{max_age: 5m}", "{max_age: 15m}", 1}, {"{credentials: [jwt]}", "{credentials: [jwt, session]}", 1},
		{"{all_scopes: [s, t]}", "{all_scopes: [s]}", 1}, {"{any_scope: [s, t]}", "{any_scope: [t, s]}", 0}, {"{aal: aal2, max_age: 5m}", "{max_age: 5m, aal: aal2}", 0},
	} {
		o := options(t, strings.Replace(table, "REQUIRE", tt.was, 1), strings.Replace(table, "REQUIRE", tt.is, 1))
		report, err := Run(strings.NewReader(line("GET /a")), o)
		if err != nil || report.Different != 0 || report.Unsure != tt.unsure || report.Complete() != (tt.unsure == 0) {
			t.Errorf("%s, then %s: %d different, %d unsure, %v", tt.was, tt.is, report.Different, report.Unsure, err)
		}
	}
	// Another role is let in to those who have the scope beside.
	o := options(t, strings.Replace(table, "REQUIRE", "{all_scopes: [s]}", 1), strings.Replace(strings.Replace(table, "REQUIRE", "{all_scopes: [s]}", 1), "{r: [p]}", "{r: [p], x: [p]}", 1))
	if report, err := Run(strings.NewReader(line("GET /a")), o); err != nil || report.Complete() {
		t.Errorf("a role more: complete, %v", err)
	}
}
