package runner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	stockplugins "github.com/apache/apisix-go-plugin-runner/cmd/go-runner/plugins"
	"github.com/apache/apisix-go-plugin-runner/pkg/common"
	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"

	"gatehouse/core/form"
)

// filterCall runs one request through one RequestFilter.
func filterCall(t *testing.T, c call, vars map[string]string, filter func(w http.ResponseWriter, r RawRequest)) (outcome, *gateway) {
	t.Helper()
	p := &probe{name: "p", request: func(_ any, w http.ResponseWriter, r pkgHTTP.Request) { filter(w, r.(RawRequest)) }}
	r := startRunner(t, options{plugins: []Plugin{p}})
	g := r.dial(t)
	g.vars, g.body = vars, "the body"
	c.token = g.prepare(t, "route#1", conf{"p", "{}"})
	return g.call(t, c), g
}

// The example plugins of the stock library, unchanged.
func TestStockPluginsRun(t *testing.T) {
	r := startRunner(t, options{plugins: []Plugin{
		&stockplugins.Say{}, &stockplugins.FaultInjection{}, &stockplugins.LimitReq{}, &stockplugins.ResponseRewrite{},
	}})
	g := r.dial(t)
	said := g.call(t, call{token: g.prepare(t, "say", conf{"limit-req", `{"rate":1000,"burst":1000}`}, conf{"say", `{"body":"hello"}`})})
	if !said.stop || said.status != 200 || said.body != "hello" || !slices.Contains(said.headers, textEntry{name: "X-Resp-A6-Runner", value: "Go"}) {
		t.Errorf("say: %+v", said)
	}
	fault := g.call(t, call{token: g.prepare(t, "fault", conf{"fault-injection", `{"http_status":418,"body":"teapot"}`})})
	if !fault.stop || fault.status != 418 || fault.body != "teapot" {
		t.Errorf("fault-injection: %+v", fault)
	}
	bad := g.call(t, call{token: g.prepare(t, "bad", conf{"fault-injection", `{"http_status":1}`})})
	if !bad.stop || bad.status != 503 {
		t.Errorf("fault-injection with a bad config: %+v", bad)
	}
	g.body = "hello world"
	rewritten := g.respCall(t, g.prepare(t, "rewrite", conf{"response-rewrite", `{"headers":{"X-A":"1"},"filters":[{"regex":"world","scope":"global","replace":"golang"}]}`}), 200, nil)
	if rewritten.body != "hello golang" || !slices.Contains(rewritten.headers, textEntry{name: "X-A", value: "1"}) {
		t.Errorf("response-rewrite: %+v", rewritten)
	}
}

func TestPluginsRunInOrderUntilOneResponds(t *testing.T) {
	var ran []string
	step := func(name string, answers bool) Plugin {
		return &probe{name: name, request: func(conf any, w http.ResponseWriter, r pkgHTTP.Request) {
			ran = append(ran, name+conf.(string))
			w.Header().Set("X-"+name, "seen")
			r.Header().Set("X-Order", name)
			if answers {
				w.WriteHeader(http.StatusTeapot)
			}
		}}
	}
	r := startRunner(t, options{plugins: []Plugin{step("A", false), step("B", true), step("C", false)}})
	g := r.dial(t)
	got := g.call(t, call{id: 77, token: g.prepare(t, "k", conf{"C", "1"}, conf{"A", "2"}, conf{"B", "3"}, conf{"A", "4"})})
	if !slices.Equal(ran, []string{"C1", "A2", "B3"}) {
		t.Errorf("ran %q", ran)
	}
	if !got.stop || got.status != 418 || got.id != 77 || len(got.headers) != 4 {
		t.Errorf("%+v", got)
	}
}

func TestResponsesOfPlugins(t *testing.T) {
	header := func(name, value string) textEntry { return textEntry{name: name, value: value} }
	for name, test := range map[string]struct {
		write   func(w http.ResponseWriter)
		status  int
		body    string // "problem" for a problem document
		headers []textEntry
	}{
		"status zero":          {func(w http.ResponseWriter) { w.WriteHeader(0) }, 500, "problem", problemHeaders},
		"status zero and body": {func(w http.ResponseWriter) { w.WriteHeader(0); w.Write([]byte("x")) }, 500, "problem", problemHeaders},
		"status wraps to 200":  {func(w http.ResponseWriter) { w.WriteHeader(1<<16 + 200) }, 500, "problem", problemHeaders},
		"negative status":      {func(w http.ResponseWriter) { w.WriteHeader(-1) }, 500, "problem", problemHeaders},
		"informational status": {func(w http.ResponseWriter) { w.WriteHeader(100) }, 500, "problem", problemHeaders},
		"nothing written":      {func(w http.ResponseWriter) { w.Write(nil) }, 500, "problem", problemHeaders},
		"body alone":           {func(w http.ResponseWriter) { w.Write([]byte("a")); w.Write([]byte("b")) }, 200, "ab", nil},
		"status alone":         {func(w http.ResponseWriter) { w.WriteHeader(401) }, 401, "problem", []textEntry{header("Content-Type", form.ProblemType)}},
		"first status counts":  {func(w http.ResponseWriter) { w.WriteHeader(403); w.WriteHeader(200) }, 403, "problem", []textEntry{header("Content-Type", form.ProblemType)}},
		"no content":           {func(w http.ResponseWriter) { w.WriteHeader(204) }, 204, "", nil},
		"redirect": {func(w http.ResponseWriter) { w.Header().Set("Location", "/login"); w.WriteHeader(302) }, 302, "Found\n",
			[]textEntry{header("Location", "/login"), header("Content-Type", "text/plain; charset=utf-8")}},
		"several values": {func(w http.ResponseWriter) {
			w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
			w.Header()["Www-Authenticate"] = []string{"Bearer", "Basic"}
			w.WriteHeader(401)
			w.Write([]byte("x"))
		}, 401, "x", []textEntry{header("Set-Cookie", "a=1"), header("Set-Cookie", "b=2"), header("Www-Authenticate", "Bearer"), header("Www-Authenticate", "Basic")}},
		"content length that truncates": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1")
			w.Header()["transfer-encoding"] = []string{"chunked"}
			w.WriteHeader(403)
			w.Write([]byte("forbidden"))
		}, 403, "forbidden", nil},
		"response splitting": {func(w http.ResponseWriter) { w.Header().Set("X", "a\r\nSet-Cookie: b"); w.WriteHeader(403) }, 500, "problem", problemHeaders},
		"content type without a body": {func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/html"); w.WriteHeader(403) }, 403, "problem",
			[]textEntry{header("Content-Type", form.ProblemType)}},
		"longer than a frame": {func(w http.ResponseWriter) { w.WriteHeader(200); w.Write(make([]byte, maxFrame)) }, 503, "problem", laterHeaders},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := filterCall(t, call{}, nil, func(w http.ResponseWriter, _ RawRequest) { test.write(w) })
			if !got.stop || got.status != test.status || !reflect.DeepEqual(got.headers, test.headers) {
				t.Errorf("%d %+v", got.status, got.headers)
			}
			if test.body == "problem" {
				checkProblem(t, got)
			} else if got.body != test.body {
				t.Errorf("body %q", got.body)
			}
		})
	}
}

func TestRequestChanges(t *testing.T) {
	c := call{
		path:    "/a",
		headers: []HeaderLine{{"x-a", "1"}, {"x-a", "2"}, {"cookie", "c"}, {"x-b", ""}},
		args:    []HeaderLine{{"keep", "1"}, {"drop", "1"}, {"change", "1"}, {"change", "2"}, {"empty", "1"}},
	}
	got, _ := filterCall(t, c, nil, func(w http.ResponseWriter, r RawRequest) {
		h := r.Header()
		h.Set("X-A", "1") // equal to the first of two
		h.Set("x-c", "first")
		h.Del("X-B")
		h.Del("X-Unseen")
		h.Set("X-C", "last")
		h.Set("Content-Length", "1")
		h.Del("transfer-encoding")
		view := h.View()
		view.Set("X-View", "written to")
		r.Args().Del("drop")
		r.Args()["change"] = []string{"3", "4"}
		r.Args()["empty"] = nil
		r.Args().Set("new", "n")
		r.SetPath([]byte("/b"))
		r.RespHeader().Add("X-R", "1")
		r.RespHeader().Add("X-R", "2")
	})
	want := outcome{
		path:        "/b",
		headers:     []textEntry{{name: "X-A", value: "1"}, {name: "X-B", absent: true}, {name: "X-Unseen", absent: true}, {name: "X-C", value: "last"}},
		args:        []textEntry{{name: "drop", absent: true}, {name: "empty", absent: true}, {name: "change", value: "3"}, {name: "change", value: "4"}, {name: "new", value: "n"}},
		respHeaders: []textEntry{{name: "X-R", value: "1"}, {name: "X-R", value: "2"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestNothingChanged(t *testing.T) {
	got, _ := filterCall(t, call{headers: []HeaderLine{{"a", "1"}}, args: []HeaderLine{{"flag", ""}}}, nil, func(w http.ResponseWriter, r RawRequest) {
		r.Header().View().Del("A")
		r.Args()
		r.RespHeader()
		w.Header().Set("X-Kept", "for an answer that never comes")
	})
	if !got.passed() || !reflect.DeepEqual(got, outcome{}) {
		t.Errorf("%+v", got)
	}
}

func TestImpossibleChangesDeny(t *testing.T) {
	for name, change := range map[string]func(r RawRequest){
		"line break in a value": func(r RawRequest) { r.Header().Set("X-User", "a\r\nX-Admin: 1") },
		"NUL in a value":        func(r RawRequest) { r.Header().Set("X-User", "a\x00") },
		"colon in a name":       func(r RawRequest) { r.Header().Set("X-User:", "a") },
		"empty name removed":    func(r RawRequest) { r.Header().Del("") },
		"relative path":         func(r RawRequest) { r.SetPath([]byte("a")) },
		"response header":       func(r RawRequest) { r.RespHeader().Set("X", "a\nb") },
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := filterCall(t, call{}, nil, func(_ http.ResponseWriter, r RawRequest) { change(r) })
			if !got.stop || got.status != 503 {
				t.Errorf("%v, want 503", got)
			}
		})
	}
}

func TestHeaderReads(t *testing.T) {
	sent := []HeaderLine{{"cookie", "a=1"}, {"x-user", "first"}, {"cookie", "b=2"}, {"x_user", "folded"}, {"x-user", ""}}
	var wrong []string
	check := func(what string, got, want any) {
		if !reflect.DeepEqual(got, want) {
			wrong = append(wrong, fmt.Sprintf("%s: %v, want %v", what, got, want))
		}
	}
	_, _ = filterCall(t, call{id: 12, path: "/p", headers: sent, args: []HeaderLine{{"a", "1"}, {"a", "2"}}}, nil, func(_ http.ResponseWriter, r RawRequest) {
		h := r.Header()
		check("lines", r.HeaderLines(), sent)
		check("first value", h.Get("X-User"), "first")
		check("absent", h.Get("X-None"), "")
		check("view", h.View(), http.Header{"Cookie": {"a=1", "b=2"}, "X-User": {"first", ""}, "X_user": {"folded"}})
		h.Set("X-USER", "new")
		h.Del("cookie")
		check("set", h.Get("x-user"), "new")
		check("deleted", h.Get("Cookie"), "")
		check("lines after edits", r.HeaderLines(), []HeaderLine{{"x_user", "folded"}, {"x-user", "new"}})
		check("view after edits", h.View(), http.Header{"X-User": {"new"}, "X_user": {"folded"}})
		check("id", r.ID(), uint32(12))
		check("method", r.Method(), "GET")
		check("path", string(r.Path()), "/p")
		check("ip", r.SrcIP().String(), "127.0.0.1")
		check("args", r.Args()["a"], []string{"1", "2"})
		check("cut", r.HeaderCut(), false)
	})
	for _, w := range wrong {
		t.Error(w)
	}
}

// One thing is requested once, and what a plugin does to the bytes it gets is
// not seen by the next one.
func TestExtraInfoIsRequestedOnce(t *testing.T) {
	var target, again, unknown, body []byte
	var raw string
	_, g := filterCall(t, call{}, map[string]string{requestLineVar: "/raw"}, func(_ http.ResponseWriter, r RawRequest) {
		target, _ = r.Var(requestLineVar)
		copy(target, "/adm")
		raw, _ = r.RequestLine()
		again, _ = r.Var(requestLineVar)
		unknown, _ = r.Var("no_such_thing")
		r.Var("no_such_thing")
		body, _ = r.Body()
		r.Body()
	})
	if raw != "/raw" || string(again) != "/raw" || unknown != nil || string(body) != "the body" {
		t.Errorf("target %q, again %q, unknown %q, body %q", raw, again, unknown, body)
	}
	if want := []string{requestLineVar, "no_such_thing", "ReqBody"}; !slices.Equal(g.asked, want) {
		t.Errorf("asked for %q", g.asked)
	}
}

// An APISIX that does not know the raw target must not read as an empty one.
func TestUnknownRequestLineIsAnError(t *testing.T) {
	for name, vars := range map[string]map[string]string{"unknown": nil, "empty": {requestLineVar: ""}} {
		var err error
		filterCall(t, call{}, vars, func(_ http.ResponseWriter, r RawRequest) { _, err = r.RequestLine() })
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A plugin may leave its request to a goroutine. It must not read the next
// client's request there, nor send an ExtraInfo in the middle of its exchange.
func TestLeakedRequestSeesNothingOfTheNext(t *testing.T) {
	var leaked RawRequest
	p := &probe{name: "leak", request: func(_ any, _ http.ResponseWriter, r pkgHTTP.Request) {
		if leaked == nil {
			leaked = r.(RawRequest)
			leaked.Context()
		}
	}}
	r := startRunner(t, options{plugins: []Plugin{p}})
	g := r.dial(t)
	token := g.prepare(t, "k", conf{"leak", ""})
	g.call(t, call{token: token, path: "/first", headers: []HeaderLine{{"authorization", "one"}}})
	g.call(t, call{token: token, path: "/other", headers: []HeaderLine{{"authorization", "two"}}})
	if got := leaked.Header().Get("Authorization"); got != "one" || string(leaked.Path()) != "/first" {
		t.Errorf("sees %q on %q", got, leaked.Path())
	}
	if _, err := leaked.Var("uri"); !errors.Is(err, common.ErrConnClosed) || len(g.asked) != 0 {
		t.Errorf("error %v, asked %q", err, g.asked)
	}
	if leaked.Context().Err() == nil {
		t.Error("the context goes on")
	}
}

func TestContextEndsWithTheTimeLimit(t *testing.T) {
	cause := make(chan error, 1)
	p := &probe{name: "waits", request: func(_ any, _ http.ResponseWriter, r pkgHTTP.Request) {
		<-r.Context().Done()
		cause <- r.Context().Err()
	}}
	r := startRunner(t, options{plugins: []Plugin{p}, filterTimeout: 50 * time.Millisecond})
	g := r.dial(t)
	got := g.call(t, call{token: g.prepare(t, "k", conf{"waits", ""})})
	if err := <-cause; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("context ended with %v", err)
	}
	if got.passed() {
		t.Errorf("%v after the time limit", got)
	}
}

// A gateway that does not reply to an ExtraInfo keeps no plugin for ever.
func TestUnansweredExtraInfoDenies(t *testing.T) {
	failed := make(chan error, 1)
	p := &probe{name: "asks", request: func(_ any, _ http.ResponseWriter, r pkgHTTP.Request) {
		_, err := r.(RawRequest).RequestLine()
		failed <- err
	}}
	r := startRunner(t, options{plugins: []Plugin{p}, filterTimeout: 50 * time.Millisecond})
	g := r.dial(t)
	g.send(t, typeHTTPReqCall, callMessage(call{id: 3, token: g.prepare(t, "k", conf{"asks", ""})}))
	if kind, _, _ := g.receive(t); kind != typeExtraInfo {
		t.Fatalf("frame of type %d", kind)
	}
	kind, message, ok := g.receive(t)
	if !ok || kind != typeHTTPReqCall || requestOutcome(t, message).status != 503 {
		t.Errorf("frame of type %d, %v", kind, ok)
	}
	if err := <-failed; !errors.Is(err, common.ErrConnClosed) {
		t.Errorf("the plugin sees %v", err)
	}
}

func TestSlowParseConfIsNotLoaded(t *testing.T) {
	release := make(chan struct{})
	p := &probe{name: "slow", parse: func([]byte) (any, error) { <-release; return nil, nil }}
	r := startRunner(t, options{plugins: []Plugin{p}, filterTimeout: 50 * time.Millisecond})
	g := r.dial(t)
	if got := g.exchange(t, typePrepareConf, prepareMessage("k", []conf{{"slow", ""}})); !got.failed {
		t.Errorf("%v, want an error", got)
	}
	close(release)
	g = r.dial(t)
	if got := g.call(t, call{token: g.prepare(t, "k", conf{"slow", ""})}); !got.passed() {
		t.Errorf("%v once it has loaded", got)
	}
}

func TestResponseFilter(t *testing.T) {
	upstream := []HeaderLine{{"content-type", "text/plain"}, {"content-length", "3"}, {"set-cookie", "a"}, {"set-cookie", "b"}}
	respond := func(t *testing.T, filter func(w pkgHTTP.Response)) (outcome, *gateway) {
		second := &probe{name: "second", response: func(_ any, w pkgHTTP.Response) { w.Header().Set("X-Second", "1") }}
		p := &probe{name: "p", response: func(_ any, w pkgHTTP.Response) { filter(w) }}
		r := startRunner(t, options{plugins: []Plugin{p, second}})
		g := r.dial(t)
		g.body, g.vars = "old", map[string]string{"uri": "/u", requestIDVar: testRequestID}
		return g.respCall(t, g.prepare(t, "k", conf{"p", ""}, conf{"second", ""}), 404, upstream), g
	}
	secondRan := outcome{id: 7, headers: []textEntry{{name: "X-Second", value: "1"}}}
	for name, test := range map[string]struct {
		filter func(w pkgHTTP.Response)
		want   outcome
	}{
		"reads only": {func(w pkgHTTP.Response) { w.Header().Get("Content-Type"); w.ReadBody() }, secondRan},
		"status":     {func(w pkgHTTP.Response) { w.WriteHeader(502); w.WriteHeader(200) }, outcome{id: 7, status: 502}},
		"body":       {func(w pkgHTTP.Response) { w.Write([]byte("new")) }, outcome{id: 7, body: "new"}},
		"headers": {func(w pkgHTTP.Response) {
			w.Header().Set("Content-Length", "1")
			w.Header().Del("Set-Cookie")
		}, outcome{id: 7, headers: []textEntry{{name: "Set-Cookie", absent: true}}}},
		"status zero":    {func(w pkgHTTP.Response) { w.WriteHeader(0) }, outcome{id: 7, status: 503, body: problemOf(unavailable), headers: laterHeaders}},
		"panic":          {func(w pkgHTTP.Response) { panic("x") }, outcome{id: 7, status: 503, body: problemOf(unavailable), headers: laterHeaders}},
		"invalid header": {func(w pkgHTTP.Response) { w.Header().Set("X", "a\nb") }, outcome{id: 7, status: 503, body: problemOf(unavailable), headers: laterHeaders}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, _ := respond(t, test.filter); !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v\nwant %+v", got, test.want)
			}
		})
	}
	t.Run("sees", func(t *testing.T) {
		var seen []string
		_, g := respond(t, func(w pkgHTTP.Response) {
			body, _ := w.ReadBody()
			uri, _ := w.Var("uri")
			seen = append(seen, fmt.Sprint(w.StatusCode(), w.ID(), string(body), string(uri), w.Header().View()["Set-Cookie"]))
		})
		if want := []string{"404 7old/u[a b]"}; !slices.Equal(seen, want) || len(g.asked) != 2 {
			t.Errorf("%q, asked %q", seen, g.asked)
		}
	})
}

func TestConfigThatDoesNotLoadDeniesResponses(t *testing.T) {
	r := startRunner(t, options{plugins: []Plugin{&probe{name: "p"}}})
	g := r.dial(t)
	if got := g.respCall(t, g.prepare(t, "k", conf{"q", ""}), 200, nil); got.status != 503 {
		t.Errorf("%+v, want 503", got)
	}
	if got := g.respCall(t, 12345, 200, nil); !got.unknownToken {
		t.Errorf("%+v for an unknown token", got)
	}
}

// Nothing is logged for a request, and what a client can cause at will is
// logged once in a while.
func TestLogDoesNotGrowWithRequests(t *testing.T) {
	r := startRunner(t, options{plugins: []Plugin{
		&probe{name: "fine", request: fullDecision},
		&probe{name: "panics", request: func(_ any, _ http.ResponseWriter, r pkgHTTP.Request) {
			_ = strings.Split(r.Header().Get("authorization"), "-")[7]
		}},
	}})
	g := r.dial(t)
	g.vars = map[string]string{requestLineVar: "/"}
	fine, panics := g.prepare(t, "a", conf{"fine", ""}), g.prepare(t, "b", conf{"panics", ""})
	before := strings.Count(r.log.String(), "\n")
	for range 200 {
		if got := g.call(t, call{token: fine}); !got.passed() {
			t.Fatal(got)
		}
	}
	if lines := strings.Count(r.log.String(), "\n") - before; lines != 0 {
		t.Errorf("%d lines for 200 requests", lines)
	}
	for range 200 {
		g.call(t, call{token: panics, headers: []HeaderLine{{"authorization", secret}}})
		g.call(t, call{token: fine, method: 99})
		g.call(t, call{token: fine, headers: numbered(100, "x-")})
	}
	log := r.log.String()
	if lines := strings.Count(log, "\n") - before; lines != 3 {
		t.Errorf("%d lines for 600 refusals of three kinds\n%s", lines, log)
	}
	if !strings.Contains(log, "index out of range [7]") || strings.Contains(log, secret) {
		t.Errorf("the log must name the fault and not the client's data:\n%s", log)
	}
}

func TestManyConnections(t *testing.T) {
	r := startRunner(t, options{plugins: testPlugins()})
	token := r.dial(t).prepare(t, "k", conf{"full decision", ""})
	var group sync.WaitGroup
	for i := range 200 {
		g := r.dial(t)
		g.vars = map[string]string{requestLineVar: fmt.Sprint("/", i)}
		group.Go(func() {
			for id := range uint32(20) {
				if got := g.call(t, call{id: id, token: token}); !got.passed() || got.id != id || len(got.headers) != 5 {
					t.Errorf("%v with id %d", got, got.id)
				}
			}
		})
	}
	group.Wait()
}
