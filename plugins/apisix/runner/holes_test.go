package runner

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"github.com/api7/ext-plugin-proto/go/A6"
)

// Each test here is named after a way past a plugin that runs in the stock
// library's runner. It plays the same scenario against both runners, so that
// the stock one shows that the scenario does get past, and ours that it does
// not.

// APISIX keeps key -> token in shared memory across a reload, while runners
// come and go.
func TestHoleStaleConfTokenMeansAnotherRoute(t *testing.T) {
	scenario := func(t *testing.T, kind string) outcome {
		socket := socketPath(t)
		before := startChild(t, kind, socket)
		stale := dial(t, socket).prepare(t, "route#guarded", conf{"deny", "{}"})
		before.stop(t)

		startChild(t, kind, socket)
		g := dial(t, socket)
		g.prepare(t, "route#public", conf{"allow", "{}"})
		got := g.call(t, call{token: stale})
		if !got.unknownToken {
			return got
		}
		// What APISIX does when told so: flush, hand the config over, retry.
		g = dial(t, socket)
		return g.call(t, call{token: g.prepare(t, "route#guarded", conf{"deny", "{}"})})
	}
	stock, ours := contrast(t, scenario)
	if !stock.passed() {
		t.Errorf("stock: %v; the test does not show the hole", stock)
	}
	if !ours.stop || ours.status != 401 {
		t.Errorf("ours: %v, want the guarded route's own answer", ours)
	}
}

func TestHoleConfigThatDoesNotLoadIsSkipped(t *testing.T) {
	broken := conf{"broken", `{"client_secret":"` + secret + `"}`}
	for name, entries := range map[string][]conf{
		"ParseConf error":                    {broken},
		"ParseConf error beside a good one":  {{"allow", "{}"}, broken},
		"misspelt plugin name":               {{"gatehuose", "{}"}},
		"misspelt plugin name, good one too": {{"allow", "{}"}, {"dney", "{}"}},
		"missing conf":                       nil,
	} {
		t.Run(name, func(t *testing.T) {
			var logs = map[string]string{}
			stock, ours := contrast(t, func(t *testing.T, kind string) outcome {
				socket := socketPath(t)
				child := startChild(t, kind, socket)
				g := dial(t, socket)
				got := g.call(t, call{token: g.prepare(t, "route#1", entries...)})
				child.stop(t)
				logs[kind] = child.log.String()
				return got
			})
			if !stock.passed() {
				t.Errorf("stock: %v; the test does not show the hole", stock)
			}
			if !ours.stop || ours.status != 503 {
				t.Errorf("ours: %v, want 503", ours)
			}
			checkProblem(t, ours)
			if !strings.Contains(logs[oursChild], "does not load") || !strings.Contains(logs[oursChild], "route#1") {
				t.Errorf("the log does not say which config and that it does not load:\n%s", logs[oursChild])
			}
			if strings.Contains(logs[oursChild], secret) {
				t.Errorf("the log holds a secret:\n%s", logs[oursChild])
			}
			if strings.HasPrefix(name, "ParseConf") && !strings.Contains(logs[stockChild], secret) {
				t.Error("stock: no secret in the log; the test does not show the hole")
			}
		})
	}
}

// checkProblem holds a denial to RFC 9457.
func checkProblem(t *testing.T, o outcome) {
	t.Helper()
	var body struct {
		Type, Title string
		Status      int
	}
	if err := json.Unmarshal([]byte(o.body), &body); err != nil || body.Status != o.status || body.Type != "about:blank" {
		t.Errorf("body %q of status %d is not a problem: %v", o.body, o.status, err)
	}
	types := 0
	for _, h := range o.headers {
		if strings.EqualFold(h.name, "content-type") {
			types++
			if h.value != "application/problem+json" {
				t.Errorf("content type %q", h.value)
			}
		}
	}
	if types != 1 {
		t.Errorf("%d content types", types)
	}
}

// The plugin sets X-User-Id, sets X-User-Note to nothing and removes
// X-User-Role. shown is what APISIX tells the runner of what was sent.
func TestHoleForgedIdentityHeaders(t *testing.T) {
	for name, sent := range map[string][]HeaderLine{
		"right value first, forged one behind": {{"x-user-id", "alice"}, {"x-user-id", "admin"}},
		"empty value set, empty first":         {{"x-user-note", ""}, {"x-user-note", "admin"}},
		"removed header beyond the 100th":      append(numbered(100, "x-filler-"), HeaderLine{"x-user-role", "admin"}),
		"set header beyond the 100th":          append(numbered(100, "x-filler-"), HeaderLine{"x-user-id", "admin"}),
	} {
		t.Run(name, func(t *testing.T) {
			shown := sent[:min(len(sent), shownHeaderLines)]
			stock, ours := contrast(t, func(t *testing.T, kind string) outcome {
				socket := socketPath(t)
				startChild(t, kind, socket)
				g := dial(t, socket)
				return g.call(t, call{token: g.prepare(t, "route#1", conf{"identity", "{}"}), headers: shown})
			})
			if forged := forgedIn(upstreamHeaders(sent, stock.headers)); name != "set header beyond the 100th" && (!stock.passed() || forged == "") {
				t.Errorf("stock: %v, upstream gets %q; the test does not show the hole", stock, forged)
			}
			if len(sent) > shownHeaderLines {
				if !ours.stop || ours.status != 431 {
					t.Errorf("ours: %v, want 431: the list is cut off", ours)
				}
				return
			}
			if forged := forgedIn(upstreamHeaders(sent, ours.headers)); !ours.passed() || forged != "" {
				t.Errorf("ours: %v, upstream gets %q", ours, forged)
			}
		})
	}
}

func forgedIn(upstream []HeaderLine) string {
	for _, l := range upstream {
		if strings.Contains(l.Value, "admin") {
			return fmt.Sprint(l.Name, ": ", l.Value)
		}
	}
	return ""
}

// What a plugin sets and removes holds for the header lines too that APISIX did not
// show. That the runner refuses such a request is a second defence.
func TestForgedIdentityHeaderBeyondWhatIsShown(t *testing.T) {
	sent := append(numbered(100, "x-filler-"), HeaderLine{"x-user-role", "admin"}, HeaderLine{"x-user-id", "admin"}, HeaderLine{"x-user-note", "admin"})
	r := newRequest(nil, httpReqCall{head: sent[:100]}, time.Time{})
	for _, p := range testPlugins() {
		if p.Name() == "identity" {
			p.RequestFilter(nil, &r.writer, r)
		}
	}
	changes, err := r.changes()
	if err != nil || r.writer.replied {
		t.Fatal(err)
	}
	upstream := upstreamHeaders(sent, changes.headers)
	if forged := forgedIn(upstream); forged != "" {
		t.Errorf("upstream gets %q", forged)
	}
	if got := valuesFor("X-User-Id", upstream); len(got) != 1 || got[0] != "alice" {
		t.Errorf("upstream gets X-User-Id %q", got)
	}
}

// APISIX's zipkin reads the header lines, of which it gets the first 100, and
// takes b3 out of the list that the runner then gets. The upstream receives all
// others, among them those that no plugin has seen.
func TestHiddenHeadersBehindOneThatAPluginTookOut(t *testing.T) {
	sent := append(numbered(99, "x-filler-"), HeaderLine{"x_user_id", "admin"}, HeaderLine{"x-http-method-override", "DELETE"})
	g := startRunner(t, options{plugins: testPlugins()}).dial(t)
	token := g.prepare(t, "route#1", conf{"identity", "{}"})

	if got := g.call(t, call{token: token, headers: sent[:99]}); !got.stop || got.status != 431 {
		t.Errorf("%v, want 431: there may be more lines", got)
	}
	if got := g.call(t, call{token: token, headers: sent[:98]}); !got.passed() {
		t.Errorf("%v, want it to pass: the list is whole", got)
	}
}

// With allow_degradation: true APISIX lets the request pass when a runner hangs
// up. A runner that replies itself gives it no cause.
func TestHoleDegradationOpensOnPanic(t *testing.T) {
	var log string
	stock, ours := contrast(t, func(t *testing.T, kind string) outcome {
		socket := socketPath(t)
		child := startChild(t, kind, socket)
		g := dial(t, socket)
		got := g.call(t, call{token: g.prepare(t, "route#1", conf{"panic", "{}"})})
		child.stop(t)
		log = child.log.String()
		return got
	})
	if !stock.hungUp {
		t.Errorf("stock: %v; the test does not show the hole", stock)
	}
	if !ours.stop || ours.status != 503 {
		t.Errorf("ours: %v, want 503", ours)
	}
	checkProblem(t, ours)
	if !strings.Contains(log, "plugin=panic") || !strings.Contains(log, "process_test.go") && !strings.Contains(log, "testPlugins") {
		t.Errorf("the log does not say which plugin panicked and where:\n%s", log)
	}
	if strings.Contains(log, secret) {
		t.Errorf("the log holds what was thrown:\n%s", log)
	}
}

// A plugin that hangs: the stock runner leaves APISIX waiting for its own 60 s.
func TestHoleDegradationOpensOnHang(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	hang := &probe{name: "hang", request: func(any, http.ResponseWriter, pkgHTTP.Request) { <-release }}
	r := startRunner(t, options{plugins: []Plugin{hang}, filterTimeout: 50 * time.Millisecond})
	g := r.dial(t)
	token := g.prepare(t, "route#1", conf{"hang", "{}"})
	got := g.call(t, call{id: 9, token: token})
	if !got.stop || got.status != 503 || got.id != 9 {
		t.Errorf("%v for id %d, want 503 for id 9", got, got.id)
	}
	checkProblem(t, got)
	if again := g.call(t, call{token: token}); !again.hungUp {
		t.Errorf("%v on a connection on which a plugin may still be at work", again)
	}
}

// The path that the stock library shows is decoded and normalised, and the
// upstream gets another one. The captures of a real APISIX say what it got.
func TestHoleDecodedPathIsNotWhatTheUpstreamGets(t *testing.T) {
	stock, ours := startEcho(t, stockChild), startEcho(t, oursChild)
	differ := 0
	for _, c := range loadCaptures(t) {
		// The echo behind the captures could not write one target down.
		if c.Base != "/svc" || len(c.Frames) == 0 || len(c.Upstream) == 0 || c.Name == "path bad utf8 raw" {
			continue
		}
		req, raw := c.request(t)
		req.headers = nil
		upstream := strings.Fields(c.Upstream[0])[1]
		if seen := asLatin1(ours.path(t, req, raw)); seen != upstream {
			t.Errorf("%s: the plugin sees %q, the upstream gets %q", c.Name, seen, upstream)
		}
		if path, _, _ := strings.Cut(upstream, "?"); stock.path(t, req, raw) != path {
			differ++
		}
	}
	if differ < 20 {
		t.Errorf("stock: the path differs in %d captures; the test does not show the hole", differ)
	}
}

// asLatin1 writes each byte as one character, as the captures do.
func asLatin1(s string) string {
	var chars []rune
	for i := range len(s) {
		chars = append(chars, rune(s[i]))
	}
	return string(chars)
}

// echo is a runner with the plugin "echo path".
type echo struct {
	*gateway
	token uint32
}

func startEcho(t *testing.T, kind string) *echo {
	socket := socketPath(t)
	startChild(t, kind, socket)
	g := dial(t, socket)
	return &echo{g, g.prepare(t, "route#1", conf{"echo path", "{}"})}
}

// path is what the plugin sees of a request.
func (e *echo) path(t *testing.T, req call, raw string) string {
	t.Helper()
	e.vars = map[string]string{requestLineVar: raw}
	req.token = e.token
	got := e.call(t, req)
	values := valuesFor("X-Seen", upstreamHeaders(nil, got.headers))
	if len(values) != 1 {
		t.Fatalf("%v, X-Seen %q", got, values)
	}
	return values[0]
}

// A plugin in front that rewrites the path changes what the upstream gets, so
// what the request line says is not it any more.
func TestRequestLineIsRefusedAfterSetPath(t *testing.T) {
	rewriter := &probe{name: "rewriter", request: rewritePath}
	r := startRunner(t, options{plugins: append(testPlugins(), rewriter, &probe{name: "guard", request: guardByTarget})})
	g := r.dial(t)
	g.vars = map[string]string{requestLineVar: "GET /public HTTP/1.1"}
	first := g.call(t, call{token: g.prepare(t, "a", conf{"guard", ""}, conf{"rewriter", ""})})
	if !first.passed() || first.path != "/admin" {
		t.Errorf("guard in front: %v, path %q", first, first.path)
	}
	second := g.call(t, call{token: g.prepare(t, "b", conf{"rewriter", ""}, conf{"guard", ""})})
	if !second.stop || second.status != 403 {
		t.Errorf("guard behind: %v, want 403", second)
	}
}

func TestUnknownMethodIsNotGET(t *testing.T) {
	r := startRunner(t, options{plugins: testPlugins()})
	g := r.dial(t)
	token := g.prepare(t, "route#1", conf{"allow", "{}"})
	for method := range 256 {
		got := g.call(t, call{token: token, method: A6.Method(method)})
		if known := method <= int(A6.MethodTRACE); got.passed() != known {
			t.Errorf("method %d: %v", method, got)
		} else if !known && (!got.stop || got.status != 501) {
			t.Errorf("method %d: %v, want 501", method, got)
		}
	}
}
