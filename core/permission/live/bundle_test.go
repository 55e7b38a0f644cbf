package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/extract"
	"gatehouse/core/identity"
	"gatehouse/core/permission"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/tablefile"
)

// bundle is a second Source: a table of several files that a server hands out
// whole, under an entity tag. The server keeps a request until it has another
// version (RFC 9110 section 13.1.2), or a moment has gone by.
type bundle struct {
	url string
	// client has no timeout of its own: the context ends a request.
	client http.Client
}

var _ Source = (*bundle)(nil)

func (b *bundle) Names() []string { return []string{b.url} }

func (b *bundle) Next(ctx context.Context, version string) (Content, error) {
	for {
		content, changed, err := b.fetch(ctx, version)
		if changed || err != nil {
			return content, err
		}
	}
}

const maxBundle = 1 << 20

func (b *bundle) fetch(ctx context.Context, version string) (c Content, changed bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url, nil)
	if err != nil {
		return Content{}, false, err
	}
	r.Header.Set("If-None-Match", `"`+version+`"`)
	response, err := b.client.Do(r)
	if err != nil {
		return Content{}, false, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusNotModified:
		return Content{}, false, nil
	case http.StatusOK:
	default:
		return Content{}, false, fmt.Errorf("%s: status %d", b.url, response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBundle))
	if err != nil {
		return Content{}, false, fmt.Errorf("%s: %w", b.url, err) // a part is no version
	}
	c.Version = strings.Trim(response.Header.Get("ETag"), `"`)
	var files map[string]string
	if err := json.Unmarshal(body, &files); err != nil {
		return c, true, fmt.Errorf("%s: %w", b.url, err)
	}
	var problems report.Problems
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file, err := tablefile.Parse(name, []byte(files[name]))
		var found report.Problems
		if errors.As(err, &found) {
			problems = append(problems, found...)
		}
		c.Files = append(c.Files, file)
	}
	if len(problems) > 0 {
		return c, true, problems
	}
	return c, true, nil
}

// bundleServer publishes versions of a bundle.
type bundleServer struct {
	*coretest.Server
	mu      sync.Mutex
	version int
	files   map[string]string
	changed chan struct{}
	cut     bool // the body ends too early
}

func newBundleServer(t *testing.T) *bundleServer {
	s := &bundleServer{changed: make(chan struct{})}
	s.Server = coretest.NewServer(t, http.HandlerFunc(s.serve))
	return s
}

// publish makes a version of file names and texts.
func (s *bundleServer) publish(files ...string) { s.set(false, files...) }

// cutShort makes a version whose body breaks off.
func (s *bundleServer) cutShort(files ...string) { s.set(true, files...) }

func (s *bundleServer) set(cut bool, files ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.cut, s.files = cut, map[string]string{}
	for i := 0; i < len(files); i += 2 {
		s.files[files[i]] = files[i+1]
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *bundleServer) serve(w http.ResponseWriter, r *http.Request) {
	for {
		s.mu.Lock()
		tag, files, changed, cut := fmt.Sprintf(`"v%d"`, s.version), s.files, s.changed, s.cut
		s.mu.Unlock()
		if files != nil && r.Header.Get("If-None-Match") != tag {
			body, _ := json.Marshal(files)
			w.Header().Set("ETag", tag)
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			if cut {
				body = body[:len(body)/2]
			}
			w.Write(body)
			return
		}
		if files == nil {
			http.Error(w, "nothing is published", http.StatusServiceUnavailable)
			return
		}
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond):
			w.WriteHeader(http.StatusNotModified)
			return
		case <-r.Context().Done():
			return
		}
	}
}

// running is a Live that follows sources, behind a gate whose clients are
// authenticated by their token's text.
type running struct {
	*Live
	*core.Gate
	reloads     chan Reload
	differences chan Difference
	log         *coretest.Log
}

type anyToken struct{}

func (anyToken) Authenticate(_ context.Context, _ *core.Call, c core.Credential) (core.Authentication, error) {
	return core.Authentication{Principal: &core.Principal{Subject: "x", Kind: core.KindJWT, Roles: []string{c.Value}, Expiry: time.Now().Add(time.Hour)}}, nil
}

func run(t *testing.T, source, shadow Source) *running {
	t.Helper()
	r := &running{reloads: make(chan Reload, 100), differences: make(chan Difference, 100), log: &coretest.Log{}}
	first, cancel := context.WithTimeout(t.Context(), time.Second/2)
	defer cancel()
	r.Live, _ = Open(first, Options{
		Source: source, Shadow: shadow, Retry: time.Millisecond, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		OnReload:     func(reload Reload) { r.reloads <- reload },
		OnDifference: func(d Difference) { r.differences <- d },
	})
	extractor, err := extract.New()
	if err != nil {
		t.Fatal(err)
	}
	headers, err := identity.New(identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.Gate, err = core.New(core.Options{Extractor: extractor, Authenticator: anyToken{}, Policy: r.Live, Identity: headers, Realm: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	t.Cleanup(func() {
		stop()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("Run does not end with its context")
		}
	})
	return r
}

// status is what a caller with a role gets.
func (r *running) status(method, target, role string) int {
	request := &core.Request{Method: method, Target: target, Host: "a.test"}
	if role != "" {
		request.Header = []core.Header{{Name: "Authorization", Value: "Bearer " + role}}
	}
	d := r.Check(context.Background(), request)
	if d.Outcome == core.Allow {
		return http.StatusOK
	}
	return d.Status
}

// await waits for the attempt to load a version, or for a failure without one.
func (r *running) await(t *testing.T, version string) Reload {
	t.Helper()
	for {
		select {
		case reload := <-r.reloads:
			if reload.Version == version {
				return reload
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("version %q is not loaded", version)
		}
	}
}

const (
	bundleRoles  = "roles: {clerk: [read], boss: [write]}\n"
	readForAll   = "permissions: {read: {activities: [GET /x]}, write: {activities: [POST /x]}}\n"
	readForBoss  = "permissions: {write: {activities: ['GET,POST /x']}, read: {activities: []}}\n"
	brokenBundle = "permissions:\n  read: {activities: [GET /x(]}\n"
)

func TestTableOfABundleThatHasNotLoadedDeniesEverything(t *testing.T) {
	s := newBundleServer(t)
	r := run(t, &bundle{url: s.URL}, nil)
	if reload := r.await(t, ""); reload.Err == nil {
		t.Error("the failure is not reported")
	}
	for _, role := range []string{"", "clerk", "boss"} {
		if got := r.status("GET", "/x", role); role != "" && got != http.StatusServiceUnavailable {
			t.Errorf("%q: status %d while nothing is loaded, want 503", role, got)
		} else if got < 400 {
			t.Errorf("%q: status %d while nothing is loaded", role, got)
		}
	}
	if r.Table() != nil || len(r.Loaded()) != 0 {
		t.Error("a table is called loaded")
	}
	s.publish("permissions.yaml", readForAll, "roles.yaml", bundleRoles)
	if reload := r.await(t, "v1"); reload.Err != nil || reload.Activities != 2 || reload.Shadow {
		t.Errorf("got %+v", reload)
	}
	if got := r.status("GET", "/x", "clerk"); got != http.StatusOK {
		t.Errorf("status %d with the table", got)
	}
	if loaded := r.Loaded(); len(loaded) != 1 || loaded[0].Version != "v1" || loaded[0].Names[0] != s.URL {
		t.Errorf("loaded %+v", loaded)
	}
}

func TestBundleIsTakenOverWholeOrNotAtAll(t *testing.T) {
	s := newBundleServer(t)
	s.publish("permissions.yaml", readForAll, "roles.yaml", bundleRoles)
	r := run(t, &bundle{url: s.URL}, nil)
	r.await(t, "v1")
	unchanged := func(when string) {
		t.Helper()
		if clerk, boss := r.status("GET", "/x", "clerk"), r.status("POST", "/x", "boss"); clerk != http.StatusOK || boss != http.StatusOK {
			t.Errorf("%s: clerk %d, boss %d", when, clerk, boss)
		}
		if loaded := r.Loaded(); loaded[0].Version != "v1" {
			t.Errorf("%s: version %s is called loaded", when, loaded[0].Version)
		}
	}
	// One of two files is good, and would deny the clerk by itself.
	s.publish("permissions.yaml", brokenBundle, "roles.yaml", "roles: {clerk: []}")
	reload := r.await(t, "v2")
	if reload.Err == nil || !strings.HasPrefix(reload.Err.Error(), "permissions.yaml:2:27: permission \"read\": path \"/x(\"") {
		t.Errorf("got %v", reload.Err)
	}
	unchanged("a broken file")
	// Each file is good, and both together are not.
	s.publish("permissions.yaml", readForAll, "roles.yaml", "roles: {clerk: [reed]}")
	if reload := r.await(t, "v3"); reload.Err == nil || !strings.HasPrefix(reload.Err.Error(), `roles.yaml:1:17: role "clerk": there is no permission "reed"; did you mean "read"?`) {
		t.Errorf("got %v", reload.Err)
	}
	unchanged("files that contradict each other")
	s.cutShort("permissions.yaml", readForBoss, "roles.yaml", bundleRoles)
	if reload := r.await(t, ""); !errors.Is(reload.Err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", reload.Err)
	}
	unchanged("a body that is cut short")
	s.publish("permissions.yaml", readForBoss, "roles.yaml", bundleRoles)
	if reload := r.await(t, "v5"); reload.Err != nil {
		t.Error(reload.Err)
	}
	if clerk, boss := r.status("GET", "/x", "clerk"), r.status("GET", "/x", "boss"); clerk != http.StatusForbidden || boss != http.StatusOK {
		t.Errorf("after the change: clerk %d, boss %d", clerk, boss)
	}
}

func TestServerThatFailsKeepsTheLastGoodTable(t *testing.T) {
	s := newBundleServer(t)
	s.publish("permissions.yaml", readForAll, "roles.yaml", bundleRoles)
	r := run(t, &bundle{url: s.URL}, nil)
	r.await(t, "v1")
	s.Fail(http.StatusInternalServerError, "")
	if reload := r.await(t, ""); reload.Err == nil {
		t.Error("the failure is not reported")
	}
	before := s.Calls()
	for deadline := time.Now().Add(20 * time.Second); s.Calls() < before+5; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the source is not asked again")
		}
	}
	if got := r.status("GET", "/x", "clerk"); got != http.StatusOK {
		t.Errorf("status %d while the server fails", got)
	}
	if n := strings.Count(r.log.String(), "the last good one stays in force"); n != 1 {
		t.Errorf("%d lines about one failure:\n%s", n, r.log)
	}
	// The server comes back with what it had: that the failure is over is news.
	s.Heal()
	if reload := r.await(t, "v1"); reload.Err != nil {
		t.Error(reload.Err)
	}
	s.publish("permissions.yaml", readForBoss, "roles.yaml", bundleRoles)
	r.await(t, "v2")
	if got := r.status("GET", "/x", "clerk"); got != http.StatusForbidden {
		t.Errorf("status %d after the change", got)
	}
}

func TestServerThatHangsHoldsUpNeitherOpenNorRequests(t *testing.T) {
	s := newBundleServer(t)
	s.Hang()
	start := time.Now()
	r := run(t, &bundle{url: s.URL}, nil)
	if waited := time.Since(start); waited > 10*time.Second {
		t.Errorf("Open took %s", waited)
	}
	if got := r.status("GET", "/x", "clerk"); got != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", got)
	}
}

func TestShadowTableOfABundleIsComparedAndNeverEnforced(t *testing.T) {
	enforced, shadow := newBundleServer(t), newBundleServer(t)
	enforced.publish("t.yaml", readForAll+bundleRoles)
	r := run(t, &bundle{url: enforced.URL}, &bundle{url: shadow.URL})
	r.await(t, "v1")
	if got := r.status("GET", "/x", "clerk"); got != http.StatusOK {
		t.Errorf("status %d while the shadow table cannot be read", got)
	}
	shadow.publish("t.yaml", readForBoss+bundleRoles)
	for reload := r.await(t, "v1"); !reload.Shadow; {
		reload = r.await(t, "v1")
	}
	if got := r.status("GET", "/x", "clerk"); got != http.StatusOK {
		t.Errorf("status %d with a shadow table", got)
	}
	select {
	case d := <-r.differences:
		if d.Enforced != Allowed || d.Shadow != Denied {
			t.Errorf("got %+v", d)
		}
	case <-time.After(20 * time.Second):
		t.Error("the difference is not reported")
	}
}

// rows is a Source without text, as a database would be: the model is built by
// code, and a change is announced on a channel.
type rows struct {
	announced chan struct{}
	mu        sync.Mutex
	number    int
	paths     []string
}

func (s *rows) Names() []string { return []string{"rows"} }

func (s *rows) Next(ctx context.Context, version string) (Content, error) {
	for {
		if c := s.read(); c.Version != version {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return Content{}, ctx.Err()
		case <-s.announced:
		}
	}
}

func (s *rows) read() Content {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := &permission.File{Name: "rows"}
	for _, path := range s.paths {
		file.Public = append(file.Public, permission.Activity{Methods: []string{"GET"}, Path: path})
	}
	return Content{fmt.Sprint(s.number), []*permission.File{file}}
}

func (s *rows) write(paths ...string) {
	s.mu.Lock()
	s.number++
	s.paths = paths
	s.mu.Unlock()
	s.announced <- struct{}{}
}

func TestModelOfASourceIsCheckedLikeText(t *testing.T) {
	s := &rows{announced: make(chan struct{}), paths: []string{"/a"}}
	r := run(t, s, nil)
	r.await(t, "0")
	s.write("/b", "/(")
	if reload := r.await(t, "1"); reload.Err == nil || reload.Err.Error() != `rows: public[1].path: path "/(" is not a regular expression: missing closing ); see https://github.com/google/re2/wiki/Syntax` {
		t.Errorf("got %v", reload.Err)
	}
	if a, b := r.status("GET", "/a", ""), r.status("GET", "/b", ""); a != http.StatusOK || b == http.StatusOK {
		t.Errorf("/a %d, /b %d after a change that is no table", a, b)
	}
	s.write("/b")
	r.await(t, "2")
	if a, b := r.status("GET", "/a", ""), r.status("GET", "/b", ""); a == http.StatusOK || b != http.StatusOK {
		t.Errorf("/a %d, /b %d after a good change", a, b)
	}
}

// faulty breaks the contract of Source in some way.
type faulty struct {
	next  func(version string) (Content, error)
	calls atomic.Int64
}

func (*faulty) Names() []string { return []string{"faulty"} }
func (s *faulty) Next(_ context.Context, version string) (Content, error) {
	s.calls.Add(1)
	return s.next(version)
}

func TestFaultySourceNeitherStopsTheGateNorSpins(t *testing.T) {
	good := []*permission.File{{Public: []permission.Activity{{Methods: []string{"GET"}, Path: "/a"}}}}
	for name, next := range map[string]func(string) (Content, error){
		"panics":               func(string) (Content, error) { panic("boom") },
		"has no version":       func(string) (Content, error) { return Content{"", nil}, nil },
		"does not wait":        func(string) (Content, error) { return Content{"1", good}, nil },
		"fails without a word": func(string) (Content, error) { return Content{}, errors.New("") },
		"fails at once again":  func(string) (Content, error) { return Content{"2", nil}, errors.New("no table") },
	} {
		t.Run(name, func(t *testing.T) {
			first := true
			s := &faulty{next: func(version string) (Content, error) {
				if first {
					first = false
					return Content{"1", good}, nil
				}
				return next(version)
			}}
			live, err := Open(t.Context(), Options{Source: s, Retry: 20 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer stop()
			live.Run(ctx)
			if n := s.calls.Load(); n > 15 {
				t.Errorf("the source was called %d times in 10 intervals", n)
			}
			if got := decideBy(live, call("GET", "/a"), nil); got != "public" {
				t.Errorf("got %s", got)
			}
		})
	}
}
