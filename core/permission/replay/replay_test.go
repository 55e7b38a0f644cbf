package replay

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/tablefile"
)

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
	o.Log.UserField, o.Users = "remote_user", map[string][]string{"ann": {"clerk"}}
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
	report, err := Run(strings.NewReader(line("GET /new?"+strings.Repeat("x", 300<<10))+line("GET /new")), o)
	if err != nil || report.Requests != 1 || report.Different != 1 || report.Skipped[0].Reason != "the line is longer than 256 KiB" {
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

// No log holds what a decision point answered. Where another question is asked of a caller
// of whom everything else is on record, nobody knows whether the answer is another one.
func TestAnotherQuestionToADecisionPointIsUnsure(t *testing.T) {
	const table = "permissions: {p: {activities: [{methods: [GET], path: /a, require: {ask: {action: {name: NAME}, resource: {type: t, id: a}}}}]}}\nroles: {r: [p]}\n"
	for name, unsure := range map[string]int{"view": 0, "edit": 1} {
		o := options(t, strings.Replace(table, "NAME", "view", 1), strings.Replace(table, "NAME", name, 1))
		o.Callers = []Caller{{Name: "a caller on record", Principal: &core.Principal{Subject: "ada", Roles: []string{"r"}}, Described: true}}
		report, err := Run(strings.NewReader(line("GET /a")), o)
		if err != nil || report.Different != 0 || report.Unsure != unsure {
			t.Errorf("view, then %s: %d different, %d unsure, %v", name, report.Different, report.Unsure, err)
		}
	}
}

// A decision point may have said yes to all who asked, or no.
func TestQuestionThatIsNoLongerAskedIsUnsure(t *testing.T) {
	const asking = "permissions: {p: {activities: [{methods: [GET], path: /a, require: {ask: {action: {name: view}, resource: {type: t, id: a}}}}]}}\nroles: {r: [p]}\n"
	free := strings.Replace(asking, ", require: {ask: {action: {name: view}, resource: {type: t, id: a}}}", "", 1)
	for _, c := range []struct {
		name, was, is     string
		different, unsure int
	}{{"no longer", asking, free, 0, 1}, {"from now on", free, asking, 0, 1}, {"as before", asking, asking, 0, 0}, {"for nobody", asking, strings.Replace(free, "[p]", "[]", 1), 0, 1}} {
		o := options(t, c.was, c.is)
		o.Callers = []Caller{{Name: "a caller on record", Principal: &core.Principal{Subject: "ada", Roles: []string{"r"}}, Described: true}}
		report, err := Run(strings.NewReader(line("GET /a")), o)
		if err != nil || report.Different != c.different || report.Unsure != c.unsure || report.LetIn+report.ShutOut != c.different {
			t.Errorf("asked %s: %d different, %d let in, %d shut out, %d unsure, %v", c.name, report.Different, report.LetIn, report.ShutOut, report.Unsure, err)
		}
	}
}

// Loggers that send several entries at once write them as a list; rotated logs are
// packed; a mark of the byte order is no part of the first line.
func TestBatchedAndPackedLogsAreRead(t *testing.T) {
	const one, two = `{"request":{"method":"GET","uri":"/a","headers":{"host":"a.test"}}}`, `{"request":{"method":"GET","uri":"/b","headers":{"host":"a.test"}}}`
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(one + "\n" + two + "\n"))
	_ = z.Close()
	for name, log := range map[string]string{
		"a list": "[" + one + "," + two + "]\n", "lines": one + "\r\n" + two, "a byte order mark": "\ufeff" + one + "\n" + two, "gzip": packed.String(), "gzip, twice": packed.String() + packed.String(),
	} {
		o := options(t, "public: [GET /a]\n", "public: [GET /b]\n")
		r, err := Run(strings.NewReader(log), o)
		want := 2
		if name == "gzip, twice" {
			want = 4
		}
		if err != nil || r.Requests != want || r.LetIn != want/2 || r.ShutOut != want/2 || !r.Complete() {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for name, log := range map[string]string{"a list with a number": "[" + one + ",7]\n", "a list that is cut": "[" + one + "," + two, "no list": "[]\n"} {
		r, err := Run(strings.NewReader(log), options(t, "public: [GET /a]\n", "public: [GET /a]\n"))
		if err != nil || r.Requests != 0 || r.Complete() {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := Run(strings.NewReader(packed.String()[:packed.Len()-9]), options(t, "public: [GET /a]\n", "public: [GET /a]\n")); err == nil {
		t.Error("a packed log that is cut is read to its end")
	}
	if _, err := core.Canonical("http://api.test/a", core.PathOptions{}); err == nil {
		t.Error("an absolute target has a path; its log line should be read as that")
	}
}
