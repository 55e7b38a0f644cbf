package apisix

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
)

// decided runs one request against a runner that sends d.
func decided(t *testing.T, d probeDecision, raw string) (*response, []received) {
	t.Helper()
	r := start(t, "probe", probeRoute(t, probeConf{Decision: &d}, ""))
	got := send(t, r.Gateway, raw)
	return got, r.up.take()
}

func pointer(s string) *string { return &s }

func TestStop(t *testing.T) {
	chunked := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(s), s) }
	for _, c := range []struct {
		name   string
		stop   probeDecision
		status int
		lines  []string // header lines, Date left out
		body   string
	}{
		{"status 0 is 200", probeDecision{Body: "hi"}, 200,
			[]string{"Content-Type: text/plain; charset=utf-8", "Transfer-Encoding: chunked", "Connection: close", "Server: APISIX/3.18.0"}, chunked("hi")},
		{"an empty body is a page", probeDecision{Status: 403, Headers: [][]string{{"X-Why", "no"}, {"Content-Type", "application/json"}}}, 403,
			[]string{"Content-Type: text/html; charset=utf-8", "Content-Length: 225", "Connection: close", "x-why: no", "Server: APISIX/3.18.0"}, string(errorPage(403))},
		{"a redirect keeps Location and cookies", probeDecision{Status: 302, Headers: [][]string{{"Location", "/login?return_to=%2Fx"}, {"Set-Cookie", "a=1"}, {"Set-Cookie", "b=2"}}}, 302,
			[]string{"Content-Type: text/html; charset=utf-8", "Content-Length: 217", "Connection: close", "location: /login?return_to=%2Fx", "set-cookie: a=1", "set-cookie: b=2", "Server: APISIX/3.18.0"}, string(errorPage(302))},
		{"a Content-Length of the plugin truncates", probeDecision{Status: 401, Body: "denied", Headers: [][]string{{"Content-Length", "3"}}}, 401,
			[]string{"Content-Type: text/plain; charset=utf-8", "Content-Length: 3", "Connection: close", "Server: APISIX/3.18.0"}, "den"},
		{"control bytes cannot end a line", probeDecision{Status: 401, Body: "x", Headers: [][]string{{"X-A", "a\r\nX-B: b"}, {"X_C", "c"}}}, 401,
			[]string{"Content-Type: text/plain; charset=utf-8", "Transfer-Encoding: chunked", "Connection: close", "x-a: a%0D%0AX-B: b", "x-c: c", "Server: APISIX/3.18.0"}, chunked("x")},
		{"the plugin cannot frame or name the server", probeDecision{Status: 401, Body: "x", Headers: [][]string{{"Transfer-Encoding", "gzip"}, {"Connection", "keep-alive"}, {"Server", "mine"}}}, 401,
			[]string{"Content-Type: text/plain; charset=utf-8", "Transfer-Encoding: chunked", "Connection: close", "server: APISIX/3.18.0"}, chunked("x")},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.stop.Stop = true
			got, upstream := decided(t, c.stop, request("GET", "/x"))
			wantStatus(t, got, c.status)
			if lines := comparable(got.lines); !slices.Equal(lines, c.lines) {
				t.Errorf("headers\n  %q, want\n  %q", lines, c.lines)
			}
			if got.body != c.body {
				t.Errorf("body %q, want %q", got.body, c.body)
			}
			if len(upstream) != 0 {
				t.Errorf("the upstream got %q", upstream)
			}
		})
	}
}

func TestStopWithAnImpossibleStatusIs500(t *testing.T) {
	for _, status := range []uint16{1, 101, 1000} {
		got, upstream := decided(t, probeDecision{Stop: true, Status: status, Body: "x"}, request("GET", "/"))
		wantStatus(t, got, 500)
		if len(upstream) != 0 {
			t.Errorf("status %d: the upstream got %q", status, upstream)
		}
	}
}

// forwarding are the lines that the gateway itself puts around the client's.
func forwarding(requestLine string, lines ...string) []string {
	return slices.Concat([]string{requestLine, "Host: gw.test", "X-Real-IP: 127.0.0.1", "X-Forwarded-For: 127.0.0.1"}, lines)
}

// withoutForwarded drops the lines that differ from run to run.
func withoutForwarded(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return strings.HasPrefix(line, "X-Forwarded-Proto:") || strings.HasPrefix(line, "X-Forwarded-Host:") || strings.HasPrefix(line, "X-Forwarded-Port:")
	})
}

func TestRewrite(t *testing.T) {
	for _, c := range []struct {
		name    string
		rewrite probeDecision
		request string
		want    []string
	}{
		{"an entry without value deletes all copies, one with value replaces them",
			probeDecision{Headers: [][]string{{"X-Gone"}, {"X-User", "u1"}, {"X-Empty", ""}}},
			request("GET", "/x", "X-Gone:", "x-gone: evil", "X-User: a", "X_User: keeps", "X-USER: b"),
			forwarding("GET /x HTTP/1.1", "X-User: u1", "X_User: keeps", "X-Empty: ")},
		{"the last entry of a name wins",
			probeDecision{Headers: [][]string{{"X-User", "a"}, {"X-User", "b"}}},
			request("GET", "/x"), forwarding("GET /x HTTP/1.1", "X-User: b")},
		{"control bytes cannot end a line",
			probeDecision{Headers: [][]string{{"X-User", "a\r\nX-Admin: 1"}, {"X: y", "z"}}},
			request("GET", "/x"), forwarding("GET /x HTTP/1.1", "X-User: a%0D%0AX-Admin: 1", "X%3A%20y: z")},
		{"Host is the upstream's",
			probeDecision{Headers: [][]string{{"Host", "inner.test"}}}, request("GET", "/x"),
			append([]string{"GET /x HTTP/1.1", "Host: inner.test"}, forwarding("")[2:]...)},
		{"the gateway's own lines cannot be set",
			probeDecision{Headers: [][]string{{"X-Real-IP", "6.6.6.6"}, {"Connection", "upgrade"}, {"X-Forwarded-For", "6.6.6.6"}}},
			request("GET", "/x"), []string{"GET /x HTTP/1.1", "Host: gw.test", "X-Real-IP: 127.0.0.1", "X-Forwarded-For: 6.6.6.6, 127.0.0.1"}},
		{"a path is decoded text and keeps the query",
			probeDecision{Path: pointer("/new path/a?b")}, request("GET", "/x?q=1&q=%20"), forwarding("GET /new%20path/a%3Fb?q=1&q=%20 HTTP/1.1")},
		{"arguments are set, added and deleted",
			probeDecision{Args: [][]string{{"a"}, {"b", "2"}, {"b", "3&"}, {"c", "new"}}},
			request("GET", "/x?a=1&b=1&b=9&d"), forwarding("GET /x?b=2&b=3%26&d&c=new HTTP/1.1")},
		{"new arguments make the upstream get the decoded path, escaped again",
			probeDecision{Args: [][]string{{"c", "1"}}}, request("GET", "/a%2fb/%61%20c"), forwarding("GET /a/b/a%20c?c=1 HTTP/1.1")},
		{"nothing changed", probeDecision{}, request("GET", "/a%2fb/%61?x#y"), forwarding("GET /a%2fb/%61?x#y HTTP/1.1")},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, upstream := decided(t, c.rewrite, c.request)
			wantStatus(t, got, 200)
			if len(upstream) != 1 || !slices.Equal(withoutForwarded(upstream[0].lines), c.want) {
				t.Errorf("upstream got\n  %q, want\n  %q", upstream, c.want)
			}
		})
	}
}

func TestRewriteOfTheBody(t *testing.T) {
	for _, body := range []string{"", "hello", strings.Repeat("x", 200_000)} {
		raw := fmt.Sprintf("POST / HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		got, upstream := decided(t, probeDecision{Body: "new"}, raw)
		wantStatus(t, got, 200)
		if len(upstream) != 1 || upstream[0].body != "new" || !slices.Contains(upstream[0].lines, "Content-Length: 3") {
			t.Errorf("body of %d bytes: the upstream got %.200q", len(body), upstream)
		}
	}
}

func TestResponseHeadersOfAPassedRequest(t *testing.T) {
	got, _ := decided(t, probeDecision{RespHeaders: [][]string{
		{"X-Extra", "1"}, {"X-Extra", "2"}, {"WWW-Authenticate", "Bearer"}, {"Location", "/x"}, {"Content-Type", "text/x"},
		{"Content-Length", "1"}, {"Set-Cookie", "mine=1"}, {"Server", "mine"},
	}}, request("GET", "/"))
	wantStatus(t, got, 200)
	want := []string{
		"Content-Type: application/json", "Connection: close", "x-extra: 1", "x-extra: 2", "set-cookie: mine=1",
		"X-Up: 1", "Set-Cookie: up=1", "Server: APISIX/3.18.0",
	}
	if lines := comparable(got.lines); !slices.Equal(lines, want) {
		t.Errorf("headers\n  %q, want\n  %q", lines, want)
	}
}

func TestExtraInfo(t *testing.T) {
	cases := []struct{ name, want string }{
		{"real_request_uri", "/a/../b%2fc?x=1&y=%20#f"},
		{"request_uri", "/b/c?x=1&y=%20"},
		{"request", "POST /a/../b%2fc?x=1&y=%20#f HTTP/1.1"},
		{"uri", "/b/c"}, {"args", "x=1&y=%20"}, {"is_args", "?"}, {"query_string", "x=1&y=%20"},
		{"request_method", "POST"}, {"method", "POST"}, {"scheme", "http"}, {"host", "gw.test"}, {"server_protocol", "HTTP/1.1"},
		{"remote_addr", "127.0.0.1"}, {"realip_remote_addr", "127.0.0.1"},
		{"http_x_two", "1, 2"}, {"http_x_none", "<none>"}, {"http_cookie", "a=1; b=2"}, {"cookie_b", "2"}, {"cookie_c", "<none>"},
		{"arg_x", "1"}, {"arg_y", " "}, {"arg_z", "<none>"}, {"content_length", "4"}, {"content_type", "<none>"},
		{"route_id", "all"}, {"service_id", "<none>"}, {"upstream_uri", ""}, {"no_such_variable", "<none>"}, {"", "<none>"},
	}
	conf := probeConf{Decision: &probeDecision{}}
	for _, c := range cases {
		conf.Vars = append(conf.Vars, c.name)
	}
	r := start(t, "probe", probeRoute(t, conf, ""))
	raw := "POST /a/../b%2fc?x=1&y=%20#f HTTP/1.1\r\nHost: GW.test:80\r\nConnection: close\r\nX-Two: 1\r\nx_two: 2\r\n" +
		"Cookie: a=1\r\nCookie: b=2\r\nContent-Length: 4\r\n\r\nbody"
	wantStatus(t, send(t, r.Gateway, raw), 200)
	seen := r.up.take()
	if len(seen) != 1 {
		t.Fatalf("the upstream got %d requests", len(seen))
	}
	for i, c := range cases {
		if want := fmt.Sprintf("X-Var-%d: %s", i, c.want); !slices.Contains(seen[0].lines, want) {
			t.Errorf("variable %q: the upstream got no %q in %q", c.name, want, seen[0].lines)
		}
	}
}

// TestRequestIDsOfAPISIX: nginx's own id is never the client's; the one of the
// plugin request-id is, if the client sends one.
func TestRequestIDsOfAPISIX(t *testing.T) {
	conf := probeConf{Decision: &probeDecision{}, Vars: []string{"request_id", "apisix_request_id"}}
	for plugins, clients := range map[string]bool{"": false, "request-id: {}": true} {
		if plugins != "" {
			plugins = "\n      " + plugins
		}
		r := start(t, "probe", probeRoute(t, conf, plugins))
		for _, sent := range []string{"client-chosen", ""} {
			got := send(t, r.Gateway, request("GET", "/", "X-Request-Id: "+sent))
			up := r.up.take()
			wantStatus(t, got, 200)
			ids := map[string]string{}
			for _, line := range up[0].lines {
				name, value, _ := strings.Cut(line, ": ")
				ids[name] = value
			}
			nginx, apisix := ids["X-Var-0"], ids["X-Var-1"]
			if len(nginx) != 32 || strings.Contains(nginx, "-") {
				t.Errorf("%q: $request_id is %q", plugins, nginx)
			}
			switch {
			case !clients && apisix != nginx, clients && sent != "" && apisix != sent, clients && sent == "" && (len(apisix) != 36 || ids["X-Request-Id"] != apisix):
				t.Errorf("%q, client sends %q: $apisix_request_id is %q, $request_id %q", plugins, sent, apisix, nginx)
			}
			if responded := got.header("X-Request-Id"); clients && !slices.Equal(responded, []string{apisix}) || !clients && len(responded) != 0 {
				t.Errorf("%q: the client reads %q", plugins, responded)
			}
		}
	}
}

func TestExtraInfoBody(t *testing.T) {
	for body, want := range map[string]string{"": "<none>", "a=1": "a=1", strings.Repeat("y", 100_000): strings.Repeat("y", 100_000)} {
		r := start(t, "probe", probeRoute(t, probeConf{Decision: &probeDecision{}, Body: true}, ""))
		raw := fmt.Sprintf("POST / HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		if body == "" {
			raw = request("POST", "/")
		}
		wantStatus(t, send(t, r.Gateway, raw), 200)
		seen := r.up.take()
		if len(seen) != 1 || !slices.Contains(seen[0].lines, "X-Body: "+want) || seen[0].body != body {
			t.Errorf("upstream got %.300q, want the body %.20q seen by the plugin and passed on", seen, want)
		}
	}
}

// TestHeadersBeyondTheHundredthAreHiddenButReplaced counts lines as APISIX
// does: Host and Connection are among them, X-Forwarded-* come after the
// client's.
func TestHeadersBeyondTheHundredthAreHiddenButReplaced(t *testing.T) {
	record := filepath.Join(t.TempDir(), "frames")
	conf := probeConf{Decision: &probeDecision{Headers: [][]string{{"X-User", "u1"}, {"X-Gone"}}}}
	r := start(t, "probe", probeRoute(t, conf, ""), withRecord(record))
	var lines []string
	for i := range 150 {
		lines = append(lines, fmt.Sprintf("X-F%d: %[1]d", i))
	}
	lines = append(lines, "Authorization: Bearer t", "X-User: evil", "X-Gone: evil", "X-User: evil2")
	wantStatus(t, get(t, r.Gateway, "/", lines...), 200)

	var shown []entry
	for _, f := range (&frameRecord{path: record}).take(t) {
		if f.From == "gateway" && f.Type == rpcHTTPReqCall {
			req := HTTPReqCall.GetRootAsReq(f.Data, 0)
			shown = entries(req.HeadersLength(), req.Headers)
		}
	}
	if len(shown) != 100 || shown[0].name != "host" || shown[1].name != "connection" || shown[99].name != "x-f97" {
		t.Errorf("the runner saw %d headers: %s", len(shown), entriesText(shown))
	}
	upstream := strings.Join(r.up.take()[0].lines, "\n")
	for _, want := range []string{"X-F149: 149", "Authorization: Bearer t", "X-User: u1"} {
		if !strings.Contains(upstream, want) {
			t.Errorf("the upstream did not get %q", want)
		}
	}
	if strings.Contains(upstream, "evil") {
		t.Errorf("a forged header got through:\n%s", upstream)
	}
}

func TestEveryMethodWithANumberReachesTheRunner(t *testing.T) {
	record := filepath.Join(t.TempDir(), "frames")
	r := start(t, "probe", probeRoute(t, probeConf{}, ""), withRecord(record))
	frames := &frameRecord{path: record}
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "OPTIONS", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK", "PATCH"} {
		wantStatus(t, send(t, r.Gateway, request(method, "/")), 200)
		for _, f := range frames.take(t) {
			if f.From == "gateway" && f.Type == rpcHTTPReqCall && HTTPReqCall.GetRootAsReq(f.Data, 0).Method().String() != method {
				t.Errorf("the runner saw %s for %s", HTTPReqCall.GetRootAsReq(f.Data, 0).Method(), method)
			}
		}
	}
	for _, method := range []string{"QUERY", "SEARCH", "REPORT", "PURGE"} {
		wantStatus(t, send(t, r.Gateway, request(method, "/")), 500)
		if frames := frames.take(t); len(frames) != 0 {
			t.Errorf("%s reached the runner", method)
		}
	}
}

func TestMalformedFramesAreErrors(t *testing.T) {
	for _, data := range [][]byte{nil, {1}, {255, 255, 255, 255}} {
		if _, err := decodeCall(data); err == nil {
			t.Errorf("%v decoded as a response", data)
		}
		if _, err := decodePrepareConf(data); err == nil {
			t.Errorf("%v decoded as a token", data)
		}
		if _, err := decodeInfoRequest(data); err == nil {
			t.Errorf("%v decoded as a request for information", data)
		}
	}
}

func TestMalformedResponseIs500EvenWithAllowDegradation(t *testing.T) {
	r := start(t, "junk", probeRoute(t, probeConf{}, "allow_degradation: true"))
	wantStatus(t, get(t, r.Gateway, "/"), 500)
	if n := len(r.up.take()); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
}
