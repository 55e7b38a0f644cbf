package apisix

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/dev/ports"
)

func TestRouteNotFound(t *testing.T) {
	r := start(t, "probe", "routes: [{uri: /x, upstream: {nodes: {UPSTREAM: 1}}}]\n#END")
	got := get(t, r.Gateway, "/y")
	wantStatus(t, got, 404)
	if want := "24\r\n{\"error_msg\":\"404 Route Not Found\"}\n\r\n0\r\n\r\n"; got.body != want {
		t.Errorf("body %q, want %q", got.body, want)
	}
	if kind := got.header("Content-Type"); !slices.Equal(kind, []string{"text/plain; charset=utf-8"}) {
		t.Errorf("Content-Type %q", kind)
	}
}

func TestChangedFileIsAppliedWithoutReload(t *testing.T) {
	r := start(t, "probe", "routes: [{uri: /old, upstream: {nodes: {UPSTREAM: 1}}}]\n#END")
	wantStatus(t, get(t, r.Gateway, "/old"), 200)
	pid := r.RunnerPID()
	r.write(t, "routes: [{uri: /new, upstream: {nodes: {UPSTREAM: 1}}}]\n#END")
	eventually(t, "the new route", func() bool { return get(t, r.Gateway, "/new").status == statusLine(200) })
	wantStatus(t, get(t, r.Gateway, "/old"), 404)
	if r.RunnerPID() != pid {
		t.Error("a changed apisix.yaml restarted the runner")
	}
}

func TestFileWithoutEndIsNotApplied(t *testing.T) {
	r := start(t, "probe", "routes: [{uri: /old, upstream: {nodes: {UPSTREAM: 1}}}]\n#END")
	r.write(t, "routes: [{uri: /new, upstream: {nodes: {UPSTREAM: 1}}}]\n")
	await(t, r.log, `does not end in \"#END\"`, 1)
	wantStatus(t, get(t, r.Gateway, "/old"), 200)
	wantStatus(t, get(t, r.Gateway, "/new"), 404)
	if err := r.Reload(); err == nil || !strings.Contains(err.Error(), "#END") {
		t.Errorf("Reload: %v", err)
	}
	wantStatus(t, get(t, r.Gateway, "/old"), 200)

	file := write(t, "apisix.yaml", "routes: []\n")
	if _, err := Start(Options{Config: file, Listen: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "#END") {
		t.Errorf("Start: %v", err)
	}
}

func TestBrokenFileLeavesTheLastGoodOne(t *testing.T) {
	r := start(t, "probe", "routes: [{uri: /old, upstream: {nodes: {UPSTREAM: 1}}}]\n#END")
	r.write(t, "routes: [{uri: /new, upstream: {nodes: {UPSTREAM: 1}}}, {uri: /x, vars: []}]\n#END")
	await(t, r.log, "routes[1].vars: not supported", 1)
	wantStatus(t, get(t, r.Gateway, "/old"), 200)
	wantStatus(t, get(t, r.Gateway, "/new"), 404)
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	good := write(t, "apisix.yaml", "routes: []\n#END")
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for name, c := range map[string]struct {
		opts Options
		want string
	}{
		"no file":     {Options{Config: "/no/such/apisix.yaml"}, "/no/such/apisix.yaml: no such file"},
		"no settings": {Options{Config: good, Settings: "/no/such/config.yaml"}, "/no/such/config.yaml: no such file"},
		"no runner":   {Options{Config: good, RunnerBinary: "/no/such/runner"}, "the plugin runner: start /no/such/runner"},
		"long socket": {Options{Config: good, Dir: filepath.Join(t.TempDir(), strings.Repeat("x", 100))}, "longer than the 107 bytes"},
		"busy port":   {Options{Config: good, Listen: busy.Addr().String()}, "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := Start(c.opts)
			if err == nil {
				_ = g.Stop()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestRunServesUntilTheContextEnds(t *testing.T) {
	file := write(t, "apisix.yaml", "routes: []\n#END")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Run(ctx, Options{Config: file, Listen: "127.0.0.1:0"}) }()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Run did not end")
	}
	if err := Run(context.Background(), Options{Config: "/no/such/file"}); err == nil {
		t.Error("no error for a missing file")
	}
}

func TestOnlyLoopbackIsQuiet(t *testing.T) {
	const warning = "reachable from the network"
	config := "routes: []\n#END"
	if r := start(t, "probe", config); strings.Contains(r.log.String(), warning) {
		t.Error("a warning for a loopback address")
	}
	if r := start(t, "probe", config, func(o *Options) { o.Listen = "0.0.0.0:0" }); !strings.Contains(r.log.String(), warning) {
		t.Error("no warning for all addresses")
	}
	if got := (Options{}).withDefaults().Listen; got != "127.0.0.1:9080" {
		t.Errorf("default address %s", got)
	}
}

func TestRunnerCommandOfConfigYAML(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	settings := write(t, "config.yaml", fmt.Sprintf("ext-plugin: {cmd: [%s, one, two]}\nnginx_config: {envs: ['%s=env']}\n", binary, roleVar))
	r := start(t, "", "routes: []\n#END", func(o *Options) { o.RunnerBinary, o.Env, o.Settings = "", nil, settings })
	await(t, r.log, "args:one,two", 1)
}

func TestUpstreamThatCannotBeReached(t *testing.T) {
	dead, err := ports.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	config := strings.ReplaceAll(`
routes:
  - {uri: /dead, upstream: {nodes: {"DEAD": 1}}}
  - {uri: /next, upstream: {nodes: {"DEAD": 1, "UPSTREAM": 1}}}
  - {uri: /none, upstream: {nodes: {}}}
  - {uri: /missing}
#END`, "DEAD", dead[0])
	r := start(t, "probe", config)
	got := get(t, r.Gateway, "/dead")
	wantStatus(t, got, 502)
	if status := got.header("X-APISIX-Upstream-Status"); !slices.Equal(status, []string{"502"}) {
		t.Errorf("X-APISIX-Upstream-Status %q", status)
	}
	for range 4 { // whichever node's turn it is
		wantStatus(t, get(t, r.Gateway, "/next"), 200)
	}
	wantStatus(t, get(t, r.Gateway, "/none"), 503)
	wantStatus(t, get(t, r.Gateway, "/missing"), 503)
}

func TestGlobalRulesRunFirstAndOnUnknownRoutes(t *testing.T) {
	record := filepath.Join(t.TempDir(), "frames")
	r := start(t, "probe", `
global_rules:
  - id: g
    plugins:
      ext-plugin-pre-req: {conf: [{name: probe, value: '{}'}]}
      response-rewrite: {headers: {set: {X-Rule: "on $uri"}}}
routes:
  - {uri: /x, upstream: {nodes: {"UPSTREAM": 1}}, plugins: {redirect: {uri: /moved}}}
#END`, withRecord(record))
	got := get(t, r.Gateway, "/x")
	wantStatus(t, got, 302)
	if !slices.Equal(got.header("X-Rule"), []string{"on /x"}) {
		t.Errorf("headers %q", got.lines)
	}
	wantStatus(t, get(t, r.Gateway, "/unknown", "X-Deny: 1"), 401)
	wantStatus(t, get(t, r.Gateway, "/unknown"), 404)
	frames := (&frameRecord{path: record}).take(t)
	if text := describe(t, "gateway", rpcPrepareConf, frames[0].Data, ""); !strings.Contains(text, `"global_rule#1#ext-plugin-pre-req#`) {
		t.Errorf("first frame %s", text)
	}
	if n := prepared(frames); n != 1 {
		t.Errorf("prepared %d times", n)
	}
}

func TestProxyRewrite(t *testing.T) {
	r := start(t, "probe", `
routes:
  - {id: r, uri: /uri/*, upstream: {nodes: {"UPSTREAM": 1}}, plugins: {proxy-rewrite: {uri: "/new/$arg_a?x=1", host: h.test, method: POST}}}
  - {uri: /regex/*, upstream: {nodes: {"UPSTREAM": 1}}, plugins: {proxy-rewrite: {regex_uri: ["^/nope", "/", "^/regex/(\\w+)/(.*)$", "/${2}/$1?q=$1"], headers: {set: {X-One: "$1-$route_id", X-Two: "${1}x$$"}, add: {X-Kept: more}, remove: [X-Gone]}}}}
  - {uri: /headers, upstream: {nodes: {"UPSTREAM": 1}}, plugins: {proxy-rewrite: {headers: {X-Api: 1, Host: inner.test}}}}
  - {uri: /raw/*, upstream: {nodes: {"UPSTREAM": 1}}, plugins: {proxy-rewrite: {use_real_request_uri_unsafe: true}}}
#END`)
	for _, c := range []struct {
		path string
		want []string
	}{
		{"/uri/x?a=%3f%0a&b", []string{"POST /new/%253F%0A?x=1&a=%3f%0a&b HTTP/1.1", "Host: h.test"}},
		{"/regex/ab/c%20d?z", []string{"GET /c%20d/ab?q=ab&z HTTP/1.1", "Host: gw.test", "X-Kept: more", "X-One: ab-arr_2", "X-Two: abx$$"}},
		{"/regex/nothing", []string{"GET /regex/nothing HTTP/1.1", "Host: gw.test", "X-Kept: more", "X-One: -arr_2", "X-Two: x$$"}},
		{"/headers", []string{"GET /headers HTTP/1.1", "Host: inner.test", "X-Api: 1"}},
		{"/raw/a%2fb/%2e", []string{"GET /raw/a%2fb/%2e HTTP/1.1", "Host: gw.test"}},
	} {
		wantStatus(t, get(t, r.Gateway, c.path), 200)
		lines := withoutForwarded(r.up.take()[0].lines)
		lines = slices.DeleteFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, "X-Real-IP") || strings.HasPrefix(l, "X-Forwarded-For")
		})
		if !slices.Equal(lines, c.want) {
			t.Errorf("%s: upstream got\n  %q, want\n  %q", c.path, lines, c.want)
		}
	}
}

func TestPostReqSeesTheRewrittenPath(t *testing.T) {
	r := start(t, "probe", `
routes:
  - uri: /strip/*
    upstream: {nodes: {"UPSTREAM": 1}}
    plugins:
      proxy-rewrite: {regex_uri: ["^/strip(.*)$", "$1"]}
      ext-plugin-post-req: {conf: [{name: probe, value: '{}'}]}
#END`)
	wantStatus(t, get(t, r.Gateway, "/strip/a%20b?q=1"), 200)
	if lines := r.up.take()[0].lines; lines[0] != "GET /a%20b?q=1 HTTP/1.1" || !slices.Contains(lines, "X-Seen-Path: /a%20b") {
		t.Errorf("upstream got %q", lines)
	}
}

func TestCORSAfterOrBeforeAuthentication(t *testing.T) {
	config := func(meta string) string {
		return `
routes:
  - uri: /*
    upstream: {nodes: {"UPSTREAM": 1}}
    plugins:
      cors: {allow_origins: "https://a.test,https://b.test", allow_credential: true, allow_methods: "**", allow_headers: "**", ` + meta + `}
      ext-plugin-pre-req: {conf: [{name: probe, value: '{}'}]}
#END`
	}
	preflight := request("OPTIONS", "/x", "Origin: https://b.test", "Access-Control-Request-Headers: authorization", "X-Deny: 1")
	denied := request("GET", "/x", "Origin: https://b.test", "X-Deny: 1")

	r := start(t, "probe", config(""))
	wantStatus(t, send(t, r.Gateway, preflight), 401)
	if got := send(t, r.Gateway, denied); got.header("Access-Control-Allow-Origin") != nil {
		t.Errorf("a 401 from before cors carries %q", got.lines)
	}

	r = start(t, "probe", config("_meta: {priority: 13000}"))
	got := send(t, r.Gateway, preflight)
	wantStatus(t, got, 200)
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "https://b.test", "Access-Control-Allow-Credentials": "true", "Access-Control-Max-Age": "5",
		"Access-Control-Allow-Headers": "authorization", "Access-Control-Allow-Methods": "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE", "Vary": "Origin",
	} {
		if values := got.header(name); !slices.Equal(values, []string{want}) {
			t.Errorf("%s: %q, want %q", name, values, want)
		}
	}
	got = send(t, r.Gateway, denied)
	wantStatus(t, got, 401)
	if values := got.header("Access-Control-Allow-Origin"); !slices.Equal(values, []string{"https://b.test"}) {
		t.Errorf("a 401 after cors carries %q", values)
	}
	got = send(t, r.Gateway, request("GET", "/x", "Origin: https://evil.test"))
	if got.header("Access-Control-Allow-Origin") != nil {
		t.Errorf("an origin that is not listed got %q", got.lines)
	}
}

func TestRedirectAndResponseRewrite(t *testing.T) {
	r := start(t, "probe", `
routes:
  - {uri: /a, plugins: {redirect: {uri: "https://$host/b c", encode_uri: true, append_query_string: true, ret_code: 301}}}
  - {uri: /r/*, upstream: {nodes: {"UPSTREAM": 1}}, plugins: {redirect: {regex_uri: ["^/r/old/(.*)", "/r/new/$1"]}}}
  - {uri: /w, upstream: {nodes: {"UPSTREAM": 1}}, plugins: {response-rewrite: {status_code: 201, headers: {set: {X-Up: "$uri"}, add: ["X-Added: 1"], remove: [Set-Cookie]}}}}
#END`)
	got := get(t, r.Gateway, "/a?x=1")
	wantStatus(t, got, 301)
	if at := got.header("Location"); !slices.Equal(at, []string{"https://gw.test/b%20c?x=1"}) {
		t.Errorf("Location %q", at)
	}
	if at := get(t, r.Gateway, "/r/old/x").header("Location"); !slices.Equal(at, []string{"/r/new/x"}) {
		t.Errorf("Location %q", at)
	}
	wantStatus(t, get(t, r.Gateway, "/r/other"), 200)
	got = get(t, r.Gateway, "/w")
	wantStatus(t, got, 201)
	want := []string{"Content-Type: application/json", "Content-Length: 2", "Connection: close", "X-Up: /w", "Server: APISIX/3.18.0", "X-Added: 1"}
	if lines := comparable(got.lines); !slices.Equal(lines, want) {
		t.Errorf("headers %q, want %q", lines, want)
	}
}

func TestUpgradeOnlyWhereItIsEnabled(t *testing.T) {
	r := start(t, "probe", `
routes:
  - {uri: /on, enable_websocket: true, upstream: {nodes: {"UPSTREAM": 1}}}
  - {uri: /off, upstream: {nodes: {"UPSTREAM": 1}}}
#END`)
	for path, want := range map[string]bool{"/on": true, "/off": false} {
		raw := "GET " + path + " HTTP/1.1\r\nHost: gw.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
		wantStatus(t, send(t, r.Gateway, raw), 200)
		lines := r.up.take()[0].lines
		if slices.Contains(lines, "Upgrade: websocket") != want || slices.Contains(lines, "Connection: Upgrade") != want {
			t.Errorf("%s: upstream got %q", path, lines)
		}
	}
}

func TestRequestWithoutHost(t *testing.T) {
	r := start(t, "probe", `routes: [{uri: /, host: _, upstream: {nodes: {UPSTREAM: 1}}}]
#END`)
	wantStatus(t, send(t, r.Gateway, "GET / HTTP/1.0\r\n\r\n"), 200)
	lines := r.up.take()[0].lines
	if slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Host:") }) || !slices.Contains(lines, "X-Forwarded-Host: _") {
		t.Errorf("upstream got %q", lines)
	}
}
