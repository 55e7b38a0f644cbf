package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/account"
	"gatehouse/core/permission"
)

const (
	openTable   = "public:\n  - GET /open\n"
	closedTable = "authenticated:\n  - GET /open\n"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func call(method, path string) *core.Call {
	return &core.Call{Request: &core.Request{Method: method, Target: path, Host: "api.example.com"}, Path: path}
}

// decideBy returns "uncovered", "public", "allowed" or the text of the refusal.
func decideBy(policy core.Policy, c *core.Call, p *core.Principal) string {
	access := policy.Match(context.Background(), c)
	switch {
	case access == nil:
		return "uncovered"
	case access.Public():
		return "public"
	}
	if err := access.Allows(context.Background(), c, p); err != nil {
		if !errors.Is(err, core.ErrForbidden) && !errors.Is(err, core.ErrInvalid) {
			return "not a refusal: " + err.Error()
		}
		return err.Error()
	}
	return "allowed"
}

// followed is a Live over one file, with everything it reported. The test decides
// when the file is looked at.
type followed struct {
	*Live
	files   *Files
	content Content
	failed  error
	file    string
	err     error
	reloads []Reload
	log     bytes.Buffer
}

func followFile(t *testing.T, content string) *followed {
	t.Helper()
	f := &followed{file: filepath.Join(t.TempDir(), "table.yaml")}
	if content != "" {
		f.write(t, content)
	}
	f.open()
	return f
}

func (f *followed) open() {
	f.files = NewFiles(time.Hour, f.file)
	f.content, _, f.failed = f.files.look("")
	f.Live, f.err = Open(context.Background(), Options{
		Source:   f,
		Log:      slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{ReplaceAttr: withoutTime})),
		OnReload: func(r Reload) { f.reloads = append(f.reloads, r) },
	})
}

// Next and Names make a source of what the last look found.
func (f *followed) Next(context.Context, string) (Content, error) { return f.content, f.failed }
func (f *followed) Names() []string                               { return f.files.Names() }

// poll looks at the file once.
func (f *followed) poll() {
	var news bool
	if f.content, news, f.failed = f.files.look(f.enforced.version); news {
		f.next(context.Background(), &f.enforced)
	}
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func (f *followed) write(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(f.file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// settle polls as often as a change needs to be taken over.
func (f *followed) settle() {
	f.poll()
	f.poll()
}

func (f *followed) decide(path string) string {
	return decideBy(f.Live, call("GET", path), &core.Principal{})
}

func TestAChangeIsTakenOver(t *testing.T) {
	f := followFile(t, openTable)
	if got := f.decide("/open"); got != "public" {
		t.Fatalf("before: %s", got)
	}
	f.write(t, closedTable)
	f.settle()
	if got := f.decide("/open"); got != "allowed" {
		t.Errorf("after: %s", got)
	}
	if len(f.reloads) != 2 || f.reloads[1].Err != nil || f.reloads[1].Activities != 1 {
		t.Errorf("reported %+v", f.reloads)
	}
}

func TestABadChangeKeepsTheLastGoodTable(t *testing.T) {
	f := followFile(t, closedTable)
	f.log.Reset()
	f.write(t, "public:\n  - GET /open(\n")
	f.settle()
	f.settle()
	if got := f.decide("/open"); got != "allowed" {
		t.Errorf("the bad table changed the decision to %s", got)
	}
	want := fmt.Sprintf(`level=ERROR msg="permission table did not load; the last good one stays in force" files=[%s] version=%s `+
		`error="%s:2:9: public: path \"/open(\" is not a regular expression: missing closing ); see https://github.com/google/re2/wiki/Syntax"`+"\n", f.file, f.reloads[len(f.reloads)-1].Version, f.file)
	if got := f.log.String(); got != want {
		t.Errorf("logged %s\nwant   %s", got, want)
	}
	if len(f.reloads) != 2 || f.reloads[1].Err == nil {
		t.Errorf("reported %+v", f.reloads)
	}
	f.write(t, openTable)
	f.settle()
	if got := f.decide("/open"); got != "public" {
		t.Errorf("after the error is mended: %s", got)
	}
}

func TestAFirstLoadThatFailsDeniesEverything(t *testing.T) {
	f := followFile(t, "public: [")
	if f.err == nil {
		t.Error("Open does not say that the table did not load")
	}
	for _, path := range []string{"/open", "/", "/anything"} {
		if got := f.decide(path); !strings.HasPrefix(got, "not a refusal: the permission table has not loaded: ") {
			t.Errorf("%s: %s", path, got)
		}
	}
	f.write(t, openTable)
	f.settle()
	if got := f.decide("/open"); got != "public" {
		t.Errorf("after the error is mended: %s", got)
	}
}

func TestATableThatPanicsKeepsTheLastGoodOne(t *testing.T) {
	f := followFile(t, openTable)
	f.compile = func(account.Table, ...*permission.File) (*permission.Table, error) { panic("boom") }
	f.write(t, closedTable)
	f.settle()
	if got := f.decide("/open"); got != "public" {
		t.Errorf("got %s", got)
	}
	if last := f.reloads[len(f.reloads)-1]; last.Err == nil || last.Err.Error() != "panic while compiling the table: a value of type string" {
		t.Errorf("reported %+v", last)
	}
}

func TestAFileThatIsGoneKeepsTheLastGoodTable(t *testing.T) {
	f := followFile(t, openTable)
	if err := os.Remove(f.file); err != nil {
		t.Fatal(err)
	}
	f.settle()
	if got := f.decide("/open"); got != "public" {
		t.Errorf("got %s", got)
	}
	if last := f.reloads[len(f.reloads)-1]; !errors.Is(last.Err, os.ErrNotExist) {
		t.Errorf("reported %+v", last)
	}
}

func TestAHalfWrittenFileIsNotTakenOver(t *testing.T) {
	f := followFile(t, closedTable)
	f.write(t, "public:\n  - GET /.*\n") // the guarded part is yet to come
	f.poll()
	f.write(t, "public:\n  - GET /.*\nauthenticated:\n  - GET /open\n")
	f.poll()
	if got := f.decide("/open"); got != "allowed" || len(f.reloads) != 1 {
		t.Fatalf("a file that was still changing was read: %s, %+v", got, f.reloads)
	}
	f.poll()
	if got := f.decide("/other"); got != "public" {
		t.Errorf("the finished file was not read: %s", got)
	}
}

func TestATouchedFileIsNotLoadedAgain(t *testing.T) {
	f := followFile(t, openTable)
	table := f.Table()
	if err := os.Chtimes(f.file, time.Time{}, time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	f.settle()
	if f.Table() != table || len(f.reloads) != 1 {
		t.Errorf("loaded again: %+v", f.reloads)
	}
}

// TestAConfigMapSwapIsTakenOver does what the kubelet does: the files are
// links into a folder that is itself a link, which is pointed elsewhere.
func TestAConfigMapSwapIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"..1": openTable, "..2": closedTable} {
		if err := errors.Join(os.Mkdir(filepath.Join(dir, name), 0o700),
			os.WriteFile(filepath.Join(dir, name, "table.yaml"), []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("..1", filepath.Join(dir, "..data")),
		os.Symlink("..data/table.yaml", filepath.Join(dir, "table.yaml"))); err != nil {
		t.Fatal(err)
	}
	f := &followed{file: filepath.Join(dir, "table.yaml")}
	f.open()
	if err := errors.Join(os.Symlink("..2", filepath.Join(dir, "..data_tmp")),
		os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))); err != nil {
		t.Fatal(err)
	}
	f.settle()
	if got := f.decide("/open"); got != "allowed" {
		t.Errorf("after the swap: %s", got)
	}
}

func TestRunFollowsUntilTheContextEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "table.yaml")
	if err := os.WriteFile(file, []byte(openTable), 0o600); err != nil {
		t.Fatal(err)
	}
	reloaded := make(chan Reload, 2)
	live, err := Open(t.Context(), Options{Source: NewFiles(time.Millisecond, file), OnReload: func(r Reload) { reloaded <- r }})
	if err != nil {
		t.Fatal(err)
	}
	<-reloaded
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { live.Run(ctx); close(done) }()
	if err := os.WriteFile(file, []byte(closedTable), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := <-reloaded; r.Err != nil {
		t.Error(r.Err)
	}
	stop()
	<-done
}

// withShadow is a Live with a shadow table.
func withShadow(t *testing.T, enforced, shadow string) (*Live, *[]Difference, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	var differences []Difference
	var log bytes.Buffer
	for name, content := range map[string]string{"enforced.yaml": enforced, "shadow.yaml": shadow} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	live, err := Open(t.Context(), Options{
		Options:      permission.Options{Now: func() time.Time { return noon }},
		Source:       NewFiles(time.Hour, filepath.Join(dir, "enforced.yaml")),
		Shadow:       NewFiles(time.Hour, filepath.Join(dir, "shadow.yaml")),
		Log:          slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: withoutTime})),
		OnDifference: func(d Difference) { differences = append(differences, d) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return live, &differences, &log
}

func TestTheShadowTableIsNeverEnforced(t *testing.T) {
	const enforced = `
permissions:
  a: {activities: [GET /a, GET /both]}
public: [GET /public, GET /open]
authenticated: [GET /in]
`
	const shadow = `
permissions:
  a: {activities: [GET /both, GET /public, GET /in]}
  b: {activities: [GET /a]}
public: [GET /new, GET /open, GET /shut]
authenticated: [GET /covered]
`
	live, differences, _ := withShadow(t, enforced, shadow)
	holder := &core.Principal{Permissions: []string{"a"}}
	for _, tt := range []struct {
		path     string
		p        *core.Principal
		want     string
		reported Difference
	}{
		{"/both", holder, "allowed", Difference{}},
		{"/both", &core.Principal{}, "insufficient scope: permission a is not granted (enough: a)", Difference{}},
		{"/open", nil, "public", Difference{}},
		{"/nowhere", nil, "uncovered", Difference{}},
		{"/a", holder, "allowed", Difference{"GET", "/a", Allowed, Denied, "a: GET /a", "b: GET /a"}},
		{"/public", nil, "public", Difference{"GET", "/public", Public, NeedsCredential, "public: GET /public", "a: GET /public"}},
		{"/new", nil, "uncovered", Difference{"GET", "/new", Uncovered, Public, "", "public: GET /new"}},
		{"/covered", nil, "uncovered", Difference{"GET", "/covered", Uncovered, NeedsCredential, "", "authenticated: GET /covered"}},
		{"/in", &core.Principal{}, "allowed", Difference{"GET", "/in", Allowed, Denied, "authenticated: GET /in", "a: GET /in"}},
	} {
		*differences = nil
		if got := decideBy(live, call("GET", tt.path), tt.p); got != tt.want {
			t.Errorf("%s: decided %s, want %s", tt.path, got, tt.want)
		}
		var reported Difference
		if len(*differences) > 0 {
			reported = (*differences)[0]
		}
		if reported != tt.reported || len(*differences) > 1 {
			t.Errorf("%s: reported %+v\nwant %+v", tt.path, *differences, tt.reported)
		}
	}
}

// What callers without a credential may do is compared, too.
func TestShadowTableIsComparedForCallersWithoutACredential(t *testing.T) {
	const enforced = `
permissions:
  a: {activities: [GET /granted, GET /taken, GET /same, GET /ignored]}
optional: [GET /optional, GET /named, GET /gone]
public: [GET /public]
anonymous: {permissions: [a], invalid_credential: ignore}
`
	const shadow = `
permissions:
  a: {activities: [GET /same, GET /named, GET /new, GET /ignored]}
  b: {activities: [GET /taken]}
optional: [GET /public]
public: [GET /optional]
anonymous: {permissions: [a]}
`
	live, differences, _ := withShadow(t, enforced, shadow)
	for _, tt := range []struct {
		path    string
		ignored bool
		want    error
		was     Outcome
		would   Outcome
	}{
		{"/same", false, nil, "", ""},
		{"/named", false, nil, "", ""},
		{"/taken", false, nil, Anonymous, NeedsCredential},
		{"/granted", false, nil, Anonymous, Uncovered},
		{"/gone", false, nil, Anonymous, Uncovered},
		{"/optional", false, nil, Anonymous, Public},
		{"/public", false, nil, Public, Anonymous},
		{"/new", false, core.ErrForbidden, Uncovered, Anonymous},
		{"/ignored", true, nil, Anonymous, Denied},
	} {
		*differences = nil
		c := call("GET", tt.path)
		access := live.Match(context.Background(), c)
		err := core.ErrForbidden
		if access != nil {
			err = nil
		}
		if open, ok := access.(core.AnonymousAccess); ok && !access.Public() {
			if tt.ignored && !open.IgnoresInvalid(c, true) {
				t.Errorf("%s: not ignored", tt.path)
			}
			err = open.AllowsAnonymous(context.Background(), c)
		}
		if err != tt.want {
			t.Errorf("%s: %v", tt.path, err)
		}
		if len(*differences) > 1 || (tt.was == "") != (len(*differences) == 0) || len(*differences) == 1 && ((*differences)[0].Enforced != tt.was || (*differences)[0].Shadow != tt.would) {
			t.Errorf("%s: reported %+v", tt.path, *differences)
		}
	}
	live, differences, _ = withShadow(t, "authenticated: [GET /a, GET /b]\n", "optional: [GET /a]\n")
	for path, would := range map[string]Outcome{"/a": Anonymous, "/b": ""} {
		*differences = nil
		c := call("GET", path)
		if err := live.Match(context.Background(), c).(core.AnonymousAccess).AllowsAnonymous(context.Background(), c); err != core.ErrMissing {
			t.Errorf("%s: the shadow table let nobody in: %v", path, err)
		}
		if (len(*differences) == 1) != (would != "") || len(*differences) == 1 && ((*differences)[0].Enforced != NeedsCredential || (*differences)[0].Shadow != would) {
			t.Errorf("%s: reported %+v", path, *differences)
		}
	}
}

func TestRequestsCannotFloodTheLogThroughTheShadowTable(t *testing.T) {
	live, differences, log := withShadow(t, "public: [GET /x]\n", "public: [GET /x, 'GET /[0-9]+']\n")
	for i := range 500 {
		live.Match(context.Background(), call("GET", fmt.Sprint("/", i)))
	}
	if len(*differences) != 500 {
		t.Errorf("%d differences are counted", len(*differences))
	}
	want := `level=WARN msg="the shadow permission table decides otherwise" method=GET path=/0 enforced=uncovered enforced_rule="" shadow=public shadow_rule="public: GET /[0-9]+"` + "\n"
	if log.String() != want {
		t.Errorf("logged %s\nwant   %s", log.String(), want)
	}
}

func TestBrokenShadowTableChangesNoDecision(t *testing.T) {
	live, _, log := withShadow(t, openTable, "public: [GET (]\n")
	if got := decideBy(live, call("GET", "/open"), nil); got != "public" {
		t.Errorf("got %s", got)
	}
	if !strings.Contains(log.String(), `msg="shadow permission table did not load; `) {
		t.Errorf("logged %s", log.String())
	}
}
