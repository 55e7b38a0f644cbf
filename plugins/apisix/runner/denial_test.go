package runner

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"

	"gatehouse/core"
	"gatehouse/core/form"
)

const testRequestID = "0fda4d1a2d7e7b9c0fda4d1a2d7e7b9c"

// recorder is a plugin that keeps what the runner tells it.
type recorder struct {
	probe
	mu     sync.Mutex
	events []core.Event
}

func (*recorder) Begin(ctx context.Context, _ *core.Request) context.Context { return ctx }

func (r *recorder) End(_ context.Context, e core.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) only(t *testing.T) core.Event {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) != 1 {
		t.Fatalf("%d events, want 1", len(r.events))
	}
	return r.events[0]
}

var _ Recorder = (*recorder)(nil)

func idIn(t *testing.T, o outcome) string {
	t.Helper()
	var body struct {
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(o.body), &body); err != nil {
		t.Errorf("%q: %v", o.body, err)
	}
	return body.RequestID
}

func TestDenialByTheRunnerNamesTheRequest(t *testing.T) {
	slow := func(_ any, _ http.ResponseWriter, r pkgHTTP.Request) { <-r.Context().Done() }
	for name, test := range map[string]struct {
		request func(any, http.ResponseWriter, pkgHTTP.Request)
		conf    string
		call    call
		status  int
		random  bool
	}{
		"configuration that does not load": {nil, "misspelt", call{}, 503, false},
		"unknown method":                   {nil, "p", call{method: 99}, 501, true},
		"cut headers":                      {nil, "p", call{headers: numbered(100, "x-")}, 431, true},
		"panic":                            {func(any, http.ResponseWriter, pkgHTTP.Request) { panic("x") }, "p", call{}, 503, false},
		"impossible answer":                {func(_ any, w http.ResponseWriter, _ pkgHTTP.Request) { w.WriteHeader(0) }, "p", call{}, 500, false},
		"impossible change":                {func(_ any, _ http.ResponseWriter, r pkgHTTP.Request) { r.SetPath([]byte("x")) }, "p", call{}, 503, false},
		"no answer in time":                {slow, "p", call{}, 503, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := &recorder{probe: probe{name: "p", request: test.request}}
			r := startRunner(t, options{plugins: []Plugin{p}, filterTimeout: 50 * time.Millisecond})
			g := r.dial(t)
			g.vars = map[string]string{requestIDVar: testRequestID}
			test.call.token = g.prepare(t, "k", conf{test.conf, ""})
			test.call.headers = append(test.call.headers, HeaderLine{"x-request-id", "the client's"}, HeaderLine{"host", "app.test"})
			got := g.call(t, test.call)
			e, id := p.only(t), idIn(t, got)
			if got.status != test.status || e.Decision.Status != test.status || e.Decision.Reason == "" {
				t.Errorf("answered %d, recorded %+v; want %d", got.status, e.Decision, test.status)
			}
			if e.Request.ID != id || test.random != (id != testRequestID) || len(id) != 32 {
				t.Errorf("the client reads the id %q, the log has %q", id, e.Request.ID)
			}
		})
	}
}

// What a stranger can cause as often as it likes costs APISIX no exchange.
func TestRequestWithTooManyHeadersIsDeniedWithoutAnExchange(t *testing.T) {
	r := startRunner(t, options{plugins: testPlugins()})
	g := r.dial(t)
	token := g.prepare(t, "k", conf{"allow", ""})
	for name, c := range map[string]call{"headers": {token: token, headers: numbered(100, "x-")}, "method": {token: token, method: 99}} {
		if got := g.call(t, c); !got.stop || len(g.asked) != 0 {
			t.Errorf("%s: %v after %q was asked for", name, got, g.asked)
		}
	}
}

func TestDeniedResponseNamesTheRequest(t *testing.T) {
	p := &recorder{probe: probe{name: "p", response: func(any, pkgHTTP.Response) { panic("x") }}}
	g := startRunner(t, options{plugins: []Plugin{p}}).dial(t)
	g.vars = map[string]string{requestIDVar: testRequestID}
	got := g.respCall(t, g.prepare(t, "k", conf{"p", ""}), 200, nil)
	if e := p.only(t); got.status != 503 || idIn(t, got) != testRequestID || e.Request.ID != testRequestID {
		t.Errorf("%+v, recorded %+v", got, e.Request)
	}
}

// A denial must not depend on whether APISIX tells the request's id.
func TestUnknownRequestIDStillDenies(t *testing.T) {
	g := startRunner(t, options{plugins: []Plugin{&probe{name: "p"}}}).dial(t)
	token := g.prepare(t, "k", conf{"misspelt", ""})
	for _, vars := range []map[string]string{nil, {requestIDVar: "x level=INFO"}} {
		g.vars = vars
		if got := g.call(t, call{token: token}); got.status != 503 || len(idIn(t, got)) != 32 {
			t.Errorf("%v: %+v", vars, got)
		}
	}
}

// problemHeaders are those of a refusal, laterHeaders of one that says when to try
// again.
var (
	problemHeaders = []textEntry{{name: "Content-Type", value: form.ProblemType}, {name: "Cache-Control", value: "no-store"}}
	laterHeaders   = append(slices.Clip(problemHeaders), textEntry{name: "Retry-After", value: "5"})
)

func problemOf(d denial) string {
	return string(core.RefusalWith(&core.Request{ID: testRequestID}, d.status, d.reason, d.detail, nil).Body)
}

// Where APISIX asks about responses it sends the upstream another path than the one
// that was decided on. Nothing in a call says so beforehand.
func TestPluginOnResponsesIsLoggedOnce(t *testing.T) {
	r := startRunner(t, options{plugins: testPlugins()})
	g := r.dial(t)
	token := g.prepare(t, "k", conf{"allow", ""})
	for range 3 {
		g.respCall(t, token, 200, nil)
	}
	if n := strings.Count(r.log.String(), "ext-plugin-post-resp is in use"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, r.log)
	}
}
