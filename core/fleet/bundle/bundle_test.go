package bundle

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/idp"
	"gatehouse/core/coretest"
	"gatehouse/core/permission"
	"gatehouse/core/permission/live"
)

// site is a web server with files. Each has an entity tag.
type site struct {
	*coretest.Server
	mu    sync.Mutex
	files map[string]string
}

func newSite(t *testing.T, files ...string) *site {
	s := &site{files: map[string]string{}}
	s.put(files...)
	s.Server = coretest.NewServer(t, http.HandlerFunc(s.serve))
	return s
}

// put replaces files: a path, what is there, and so on.
func (s *site) put(files ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(files); i += 2 {
		s.files[files[i]] = files[i+1]
	}
}

func (s *site) remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, path)
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	text, found := s.files[r.URL.Path]
	s.mu.Unlock()
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(text)))
	switch {
	case !found:
		http.NotFound(w, r)
	case r.Header.Get("If-None-Match") == tag:
		w.WriteHeader(http.StatusNotModified)
	default:
		w.Header().Set("ETag", tag)
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		fmt.Fprint(w, text)
	}
}

const (
	tableA = "public: [GET /a]\n"
	tableB = "public: [GET /b]\n"
)

// followed is a table in force by a source.
type followed struct {
	*live.Live
	source  *Source
	reloads chan live.Reload
	log     *coretest.Log
	stop    func()
}

func follow(t *testing.T, o Options) *followed {
	t.Helper()
	f := &followed{reloads: make(chan live.Reload, 1000), log: &coretest.Log{}}
	if o.Client == nil {
		o.Client = client(t, idp.Options{Timeout: 20 * time.Second})
	}
	if o.Interval == 0 {
		o.Interval = 20 * time.Millisecond
	}
	if o.Settle == 0 {
		o.Settle = 10 * time.Millisecond
	}
	o.Log = slog.New(slog.NewTextHandler(f.log, nil))
	source, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	f.source = source
	first, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	f.Live, _ = live.Open(first, live.Options{
		Options: permission.Options{Now: o.Now}, Source: source, Retry: time.Millisecond, Log: o.Log,
		OnReload: func(r live.Reload) { f.reloads <- r },
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	f.stop = func() { stop(); <-done }
	t.Cleanup(f.stop)
	return f
}

// open lists which of the paths /a, /b and /c are public.
func (f *followed) open() string {
	open := ""
	for _, path := range []string{"/a", "/b", "/c"} {
		call := &core.Call{Request: &core.Request{Method: "GET", Target: path, Host: "a.test"}, Path: path}
		if access := f.Match(context.Background(), call); access != nil && access.Public() {
			open += path
		}
	}
	return open
}

// loads waits for a table that loads.
func (f *followed) loads(t *testing.T) {
	t.Helper()
	for r := range f.within(t) {
		if r.Err == nil {
			return
		}
	}
}

// fails waits for a failure whose error has a text.
func (f *followed) fails(t *testing.T, text string) {
	t.Helper()
	for r := range f.within(t) {
		if r.Err != nil && strings.Contains(r.Err.Error(), text) {
			return
		}
		if r.Err != nil {
			t.Logf("also: %v", r.Err)
		}
	}
}

func (f *followed) within(t *testing.T) func(func(live.Reload) bool) {
	return func(yield func(live.Reload) bool) {
		for {
			select {
			case r := <-f.reloads:
				if !yield(r) {
					return
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it does not happen")
			}
		}
	}
}

// polled waits until a server has been asked a few times more.
func polled(t *testing.T, s *coretest.Server, times int) {
	t.Helper()
	before := s.Calls()
	for deadline := time.Now().Add(20 * time.Second); s.Calls() < before+times; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server is not asked")
		}
	}
}

func TestTableOfAServerIsFollowedAndTransferredOnce(t *testing.T) {
	s := newSite(t, "/t.yaml", tableA)
	f := follow(t, Options{URLs: []string{s.URL + "/t.yaml"}})
	f.loads(t)
	if got := f.open(); got != "/a" {
		t.Errorf("open: %s", got)
	}
	polled(t, s.Server, 3)
	if r := s.LastRequest(t); r.Header.Get("If-None-Match") == "" {
		t.Error("a table that has not changed is transferred again")
	}
	s.put("/t.yaml", tableB)
	f.loads(t)
	if got := f.open(); got != "/b" {
		t.Errorf("open: %s", got)
	}
	if n := len(f.reloads); n != 0 {
		t.Errorf("%d further reloads", n)
	}
}

func TestServersWithoutEntityTagsAreFollowedByDate(t *testing.T) {
	var mu sync.Mutex
	text, modified, now := tableA, time.Now().Add(-time.Hour), time.Now()
	conditional := 0
	s := coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		w.Header().Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
		if since := r.Header.Get("If-Modified-Since"); since != "" {
			conditional++
			if since == modified.UTC().Format(http.TimeFormat) {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
		fmt.Fprint(w, text)
	}))
	f := follow(t, Options{URLs: []string{s.URL}})
	f.loads(t)
	polled(t, s, 3)
	mu.Lock()
	if conditional == 0 {
		t.Error("the date is not used")
	}
	// Written within the second in which it is read, a date stands for two contents.
	text, modified = tableB, now
	mu.Unlock()
	f.loads(t)
	mu.Lock()
	text = "public: [GET /c]\n"
	mu.Unlock()
	f.loads(t)
	if got := f.open(); got != "/c" {
		t.Errorf("open: %s", got)
	}
}

// Each fault leaves the table in force, is said precisely, and heals.
func TestFaultyServerKeepsTheLastGoodTable(t *testing.T) {
	elsewhere := newSite(t, "/t.yaml", tableB)
	for name, c := range map[string]struct {
		fault http.HandlerFunc
		want  string
	}{
		"not found":          {status(404), "status 404"},
		"gone":               {status(410), "status 410"},
		"forbidden":          {status(403), "check the token"},
		"wrong token":        {status(401), "check the token"},
		"error":              {status(500), "status 500"},
		"busy":               {status(503), "status 503"},
		"no content":         {status(204), "status 204"},
		"redirect":           {redirect(302, elsewhere.URL+"/t.yaml"), "redirects are not followed"},
		"moved permanently":  {redirect(308, elsewhere.URL+"/t.yaml"), "redirects are not followed"},
		"see other":          {redirect(303, "/other.yaml"), "redirects are not followed"},
		"redirect to itself": {redirect(307, "/t.yaml"), "redirects are not followed"},
		"choices": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", elsewhere.URL+"/t.yaml")
			body(300, "", tableB)(w, r)
		}, "status 300"},
		"partial content": {body(206, "", tableB), "status 206"},
		"not modified": {func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-None-Match")
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}, "empty body"},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"+tableB)
		}, "EOF"},
		"cut short in a chunk": {func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n"+tableB)
		}, "EOF"},
		"without a length":       {func(w http.ResponseWriter, _ *http.Request) { hijack(w, "HTTP/1.0 200 OK\r\n\r\n"+tableB) }, "without a length"},
		"empty":                  {body(200, "", ""), "empty body"},
		"blank":                  {body(200, "", " \n\n"), "empty body"},
		"captive portal":         {body(200, "text/html; charset=utf-8", "<html><form>Sign in</form></html>"), "a web page"},
		"portal in disguise":     {body(200, "application/yaml", "\n<!doctype html>"), "a web page"},
		"page without markup":    {body(200, "text/html", "Sign in first"), "a web page"},
		"compressed":             {encoded("gzip", []byte(tableB)), "encoding \"gzip\""},
		"compressed bomb":        {encoded("gzip", bomb(t)), "encoding \"gzip\""},
		"compressed twice":       {encoded("identity, gzip", bomb(t)), "encoding \"identity, gzip\""},
		"compressed by brotli":   {encoded("br", []byte(tableB)), "encoding \"br\""},
		"bomb in disguise":       {encoded("", bomb(t)), "t.yaml:"},
		"compressed on the way":  {raw("Transfer-Encoding: gzip, chunked", "5\r\nhello\r\n0\r\n\r\n"), "transfer encoding"},
		"two lengths":            {raw("Content-Length: 17\r\nContent-Length: 2", tableB), "Content-Length"},
		"length below zero":      {raw("Content-Length: -1", tableB), "Content-Length"},
		"length beyond the file": {raw("Content-Length: 9000000000000000", tableB), "EOF"},
		"garbage for a chunk":    {raw("Transfer-Encoding: chunked", "zz\r\n"+tableB), "invalid byte in chunk length"},
		"no last chunk":          {raw("Transfer-Encoding: chunked", "11\r\n"+tableB+"\r\n"), "EOF"},
		"endless headers":        {raw("Content-Length: 17\r\nX: "+strings.Repeat("x", 2<<20), tableB), "t.yaml"},
		"no http":                {func(w http.ResponseWriter, _ *http.Request) { hijack(w, "SSH-2.0-OpenSSH_9.2\r\n") }, "malformed HTTP"},
		"picture":                {body(200, "image/png", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"), "t.yaml:"},
		"garbage":                {body(200, "", "\x00\x01\x02\xff"), "t.yaml:"},
		"json error":             {body(200, "application/json", `{"error": "no such bucket"}`), "t.yaml:1:2"},
		"no table":               {body(200, "", "hello\n"), "t.yaml:1:1"},
		"does not compile":       {body(200, "", "public: [GET /b(]\n"), "t.yaml:1:14"},
		"unknown permission":     {body(200, "", "roles: {a: [b]}\npublic: [GET /b]\n"), "t.yaml:1:13"},
		"yaml bomb":              {body(200, "", "a: &a [x,x]\nb: &b [*a,*a]\npublic: [GET /b]\n"), "t.yaml:1:4"},
		"endless":                {flood, "longer than 16777216 bytes"},
		"closed":                 {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "/t.yaml", tableA)
			f := follow(t, Options{URLs: []string{s.URL + "/t.yaml?sig=secret"}})
			f.loads(t)
			s.Instead(c.fault)
			f.fails(t, c.want)
			if got := f.open(); got != "/a" {
				t.Errorf("open: %s", got)
			}
			if strings.Contains(f.log.String(), "secret") {
				t.Errorf("the log has the query: %s", f.log)
			}
			s.Heal()
			s.put("/t.yaml", "public: [GET /c]\n")
			f.loads(t)
			for f.open() != "/c" {
				f.loads(t)
			}
		})
	}
	if elsewhere.Calls() != 0 {
		t.Error("a redirect was followed")
	}
}

func redirect(code int, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, code) }
}

func encoded(encoding string, text []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if encoding != "" {
			w.Header().Set("Content-Encoding", encoding)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.Write(text)
	}
}

// bomb is a table of 64 MiB in 64 KiB.
func bomb(t *testing.T) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write([]byte(tableB))
	for range 64 {
		w.Write(make([]byte, 1<<20))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// raw responds with status 200, headers and a body as they stand, and closes.
func raw(headers, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		hijack(w, "HTTP/1.1 200 OK\r\n"+headers+"\r\n\r\n"+body)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func body(code int, kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if kind != "" {
			w.Header().Set("Content-Type", kind)
		} else {
			w.Header()["Content-Type"] = nil
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		w.WriteHeader(code)
		fmt.Fprint(w, text)
	}
}

func hijack(w http.ResponseWriter, raw string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	fmt.Fprint(conn, raw)
	conn.Close()
}

func flood(w http.ResponseWriter, r *http.Request) {
	chunk := []byte(strings.Repeat("# filler\n", 8<<10))
	for r.Context().Err() == nil {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func TestServerThatSaysNotModifiedToWhoHasNothing(t *testing.T) {
	s := newSite(t)
	s.Instead(status(304))
	f := follow(t, Options{URLs: []string{s.URL + "/t.yaml"}})
	f.fails(t, "status 304 to a request without a condition")
	if f.Table() != nil {
		t.Error("there is a table")
	}
}

func TestSlowServerIsCutOffAndKeepsTheTable(t *testing.T) {
	for name, slow := range map[string]http.HandlerFunc{
		"each byte is in time": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			drip(r, func() { fmt.Fprint(w, "#"); w.(http.Flusher).Flush() })
		},
		"each header is in time": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n")
			for i := 0; err == nil; i++ {
				_, err = fmt.Fprintf(conn, "X-%d: 1\r\n", i)
				time.Sleep(5 * time.Millisecond)
			}
		},
		"no end of status 100": func(w http.ResponseWriter, r *http.Request) {
			drip(r, func() { w.WriteHeader(http.StatusEarlyHints) })
		},
		"nothing at all": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"all but the last byte": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(tableB)+1))
			fmt.Fprint(w, tableB)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "/t.yaml", tableA)
			f := follow(t, Options{URLs: []string{s.URL + "/t.yaml"}, Client: client(t, idp.Options{Timeout: 500 * time.Millisecond})})
			f.loads(t)
			s.Instead(slow)
			f.fails(t, "no answer in time")
			if got := f.open(); got != "/a" {
				t.Errorf("open: %s", got)
			}
			s.Heal()
			s.put("/t.yaml", tableB)
			f.loads(t)
		})
	}
}

func drip(r *http.Request, one func()) {
	for r.Context().Err() == nil {
		one()
		time.Sleep(5 * time.Millisecond)
	}
}

func client(t *testing.T, o idp.Options) *idp.Client {
	t.Helper()
	c, err := idp.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestServerThatFailsIsAskedLessAndLess(t *testing.T) {
	s := &Source{options: Options{Interval: time.Minute}}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		s.schedule(context.Canceled)
		if got := s.wait.Seconds() / want.Seconds() * 1e-9; got < 0.9 || got > 1.1 {
			t.Errorf("waits %s instead of %d s", s.wait, want)
		}
	}
	s.schedule(nil)
	first := s.wait
	if s.schedule(nil); s.wait == first {
		t.Error("all nodes ask at the same time")
	}
}

func TestFilesOfSeveralURLsAreTakenOverWholeOrNotAtAll(t *testing.T) {
	const permissions, other = "permissions: {read: {activities: [GET /a]}}\n", "permissions: {write: {activities: [GET /a]}}\n"
	s := newSite(t, "/p.yaml", permissions, "/r.yaml", "roles: {clerk: [read]}\npublic: [GET /a]\n")
	f := follow(t, Options{URLs: []string{s.URL + "/p.yaml", s.URL + "/r.yaml"}, Settle: 200 * time.Millisecond})
	f.loads(t)
	before := f.Loaded()[0].Version
	// One file is replaced, the other is not there for a moment.
	s.remove("/r.yaml")
	s.put("/p.yaml", other)
	f.fails(t, "r.yaml responds with status 404")
	if f.Loaded()[0].Version != before {
		t.Error("half of a change is in force")
	}
	// The second file follows while the first one is read already.
	asked := s.CallsTo("/p.yaml")
	s.put("/r.yaml", "public: [GET /b]\n")
	for s.CallsTo("/p.yaml") == asked {
		time.Sleep(time.Millisecond)
	}
	s.put("/r.yaml", "roles: {clerk: [write]}\npublic: [GET /c]\n")
	f.loads(t)
	if got := f.open(); got != "/c" {
		t.Errorf("open: %s, a table in between", got)
	}
}

func TestLastGoodTableServesAStartWhileTheServerIsAway(t *testing.T) {
	s := newSite(t, "/t.yaml", tableA)
	o := Options{URLs: []string{s.URL + "/t.yaml"}, Dir: t.TempDir()}
	f := follow(t, o)
	f.loads(t)
	s.put("/t.yaml", "public: [GET /b(]\n")
	f.fails(t, "t.yaml:1:14")
	f.stop()
	s.Fail(500, "")
	again := follow(t, o)
	again.loads(t)
	if got := again.open(); got != "/a" {
		t.Errorf("open: %s", got)
	}
	if !strings.Contains(again.log.String(), "the last good copy is used") {
		t.Errorf("log: %s", again.log)
	}
	again.fails(t, "status 500")
	s.Heal()
	s.put("/t.yaml", tableB)
	again.loads(t)
	if got := again.open(); got != "/b" {
		t.Errorf("open: %s", got)
	}
	again.stop()
	info, err := os.Stat(again.source.copies.Path())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(o.Dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left behind: %s", left)
	}
}

func TestCopyThatDoesNotHoldIsAsNone(t *testing.T) {
	s := newSite(t, "/t.yaml", tableA)
	o := Options{URLs: []string{s.URL + "/t.yaml"}, Dir: t.TempDir()}
	f := follow(t, o)
	f.loads(t)
	f.stop()
	path := f.source.copies.Path()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Fail(500, "")
	for name, text := range map[string]string{
		"cut short":       string(good[:len(good)/2]),
		"empty":           "",
		"of a newer form": strings.Replace(string(good), `"format":1`, `"format":2`, 1),
		"without files":   `{"format":1}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f := follow(t, o)
		f.fails(t, "status 500")
		if f.Table() != nil {
			t.Errorf("%s: a table is in force", name)
		}
		want := "is not used"
		if strings.Contains(name, "newer") {
			want = "was written by a newer version of Gatehouse (format 2, this one reads 1): update this node"
		}
		if !strings.Contains(f.log.String(), want) {
			t.Errorf("%s: log: %s", name, f.log)
		}
		f.stop()
		if kept, err := os.ReadFile(path); err != nil || string(kept) != text {
			t.Errorf("%s: the copy was changed to %s: %v", name, kept, err)
		}
	}
	// Another source has another copy.
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	o.URLs = []string{s.URL + "/other.yaml"}
	if f := follow(t, o); f.Table() != nil {
		t.Error("the copy of another URL is used")
	}
}

func TestFolderThatCannotBeWrittenIsSaidAndHarmsNothing(t *testing.T) {
	s := newSite(t, "/t.yaml", tableA)
	f := follow(t, Options{URLs: []string{s.URL + "/t.yaml"}, Dir: filepath.Join(t.TempDir(), "absent", "absent")})
	f.loads(t)
	if f.open() != "/a" || !strings.Contains(f.log.String(), "is not kept for another start") {
		t.Errorf("open %s, log %s", f.open(), f.log)
	}
}
