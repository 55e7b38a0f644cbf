package kong

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const scriptConfig = `
_format_version: "3.0"
services:
  - name: up
    url: http://127.0.0.1:$UPSTREAM/base
    routes:
      - name: route
        paths: [/r]
plugins:
  - name: script
    config: {label: global}
`

// do sends one order to the script plugin and returns the response and what the
// plugin reported to the upstream.
func do(t *testing.T, g *testGateway, up *echo, order, lines string) (reply, string) {
	t.Helper()
	r := g.get(t, "/r/x", "X-Do: "+order+"\r\n"+lines)
	return r, headerLine(up.received(t), "X-Report")
}

func headerLine(lines []string, name string) string {
	for _, line := range lines {
		if n, value, _ := strings.Cut(line, ": "); strings.EqualFold(n, name) {
			return value
		}
	}
	return ""
}

func wantReport(t *testing.T, g *testGateway, up *echo, order, lines, want string) {
	t.Helper()
	r, report := do(t, g, up, order, lines)
	if r.code() != "200" || report != want {
		t.Errorf("%s: %s, reported %q, want %q\n%s", order, r.status, report, want, g.log)
	}
}

// wantDenied wants a status from the gateway and an upstream that got nothing.
func wantDenied(t *testing.T, g *testGateway, up *echo, order, lines, code string) reply {
	t.Helper()
	r := g.get(t, "/r/x", "X-Do: "+order+"\r\n"+lines)
	if got := up.received(t); r.code() != code || got != nil {
		t.Errorf("%s: %s, want %s; the upstream got %q", order, r.status, code, got)
	}
	return r
}

func TestDumpWithoutProtocolIsRefused(t *testing.T) {
	_, err := Start(Options{Config: "kong.yml", PluginBinary: buildPlugin(t, "noprotocol"), Log: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "fails open") {
		t.Errorf("err = %v", err)
	}
}

func TestDumpWithAnythingButJSONIsRefused(t *testing.T) {
	_, err := Start(Options{Config: "kong.yml", PluginBinary: buildPlugin(t, "noisy"), Log: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "nothing else") {
		t.Errorf("err = %v", err)
	}
}

func TestDumpWithAVersionThatKongRefusesIsRefused(t *testing.T) {
	for version, refused := range map[string]bool{"": true, "devel": true, "1.2.3": false, "d2011f2": false} {
		_, err := readDump(fmt.Appendf(nil, `{"Protocol": "ProtoBuf:1", "Plugins": [{"Name": "probe", "Version": %q}]}`, version))
		if got := err != nil && strings.Contains(err.Error(), "has no number in it"); got != refused {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

func TestHeadersBeyondTheLimitAreHiddenFromThePlugin(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	fillers := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "X-F%d: 1\r\n", i)
		}
		return b.String()
	}
	// Host, X-Do and Connection are three more.
	wantReport(t, g, up, "count-headers 1000", fillers(997), "1000")
	wantReport(t, g, up, "count-headers 100", fillers(200), "100")
	wantReport(t, g, up, "count-headers -1", fillers(200), "100") // go-pdk's way to ask for the default
	wantDenied(t, g, up, "count-headers 1000", fillers(998), "400")
	wantDenied(t, g, up, "count-headers 1001", "", "500")
	wantDenied(t, g, up, "count-headers 0", "", "500")
}

func TestInvalidUTF8MakesGetHeadersFail(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	_, report := do(t, g, up, "count-headers 1000", "X-Bad: \xff\r\n")
	if !strings.HasPrefix(report, "error: ") || !strings.Contains(report, "UTF-8") {
		t.Errorf("reported %q", report)
	}
}

func TestGetHeaderCannotTellDashFromUnderscoreNorAbsentFromEmpty(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	wantReport(t, g, up, "header x-token", "X_Token: a\r\n", "<a>")
	wantReport(t, g, up, "header x-token", "X-Token: a\r\nX-Token: b\r\n", "<a>")
	wantReport(t, g, up, "header x-token", "X-Token:\r\n", "<>")
	wantReport(t, g, up, "header x-token", "", "<>")
}

func TestNginxVariables(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	for name, want := range map[string]string{
		"request": "GET /r/%2F/../a%2fb//c?q=1 HTTP/1.1", "request_uri": "/r/%2F/../a%2fb//c?q=1", "uri": "/a/b/c",
		"args": "q=1", "is_args": "?", "scheme": "http", "host": "gw.test", "request_method": "GET", "https": "",
		"ssl_client_raw_cert": "", "remote_addr": "127.0.0.1", "http_x_two": "a, b", "http_cookie": "a=1; b=2", "http_absent": "",
	} {
		r := g.get(t, "/r/%2F/../a%2fb//c?q=1", "X-Do: var "+name+"\r\nX-Two: a\r\nX-Two: b\r\nCookie: a=1\r\nCookie: b=2\r\n")
		if report := headerLine(up.received(t), "X-Report"); r.code() != "200" || report != "<"+want+">" {
			t.Errorf("$%s: %s %s, want <%s>", name, r.status, report, want)
		}
	}
	wantDenied(t, g, up, "var upstream_addr", "", "500")
}

// The plugin gets the body, and so does the upstream.
func TestBodyForThePlugin(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	r := g.send(t, "POST /r HTTP/1.1\r\nHost: gw.test\r\nX-Do: body\r\nContent-Length: 3\r\nConnection: close\r\n\r\na=1")
	if lines := up.received(t); r.code() != "200" || headerLine(lines, "X-Report") != "<a=1>" || headerLine(lines, "Content-Length") != "3" {
		t.Errorf("%s, the upstream got %q", r.status, lines)
	}
}

// TestRequestIDsOfKong: the id of Kong's logs is $kong_request_id, and no other.
func TestRequestIDsOfKong(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	ids := map[string]string{}
	for _, name := range []string{"kong_request_id", "request_id"} {
		g.get(t, "/r", "X-Do: var "+name+"\r\nX-Kong-Request-Id: forged\r\nX-Request-Id: forged\r\n")
		request := up.received(t)
		ids[name] = strings.Trim(headerLine(request, "X-Report"), "<>")
		if kongs := headerLine(request, "X-Kong-Request-Id"); (ids[name] == kongs) != (name == "kong_request_id") || len(kongs) != 32 {
			t.Errorf("$%s is %q, the upstream got X-Kong-Request-Id %q", name, ids[name], kongs)
		}
	}
	g.log.await(t, "request_id="+ids["kong_request_id"], 1)
}

func TestUnimplementedPDKMethodFailsClosed(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	wantDenied(t, g, up, "ask kong.nope", "", "500")
	wantDenied(t, g, up, "ask kong.service.set_upstream", "", "500")
	g.log.await(t, `kong.service.set_upstream`, 1)
	wantReport(t, g, up, "ask kong.log.notice", "", "answered")
}

func TestSharedContextAndClientAddress(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	wantReport(t, g, up, "shared admin", "", "[admin true 1.5 <nil>]")
	wantReport(t, g, up, "client", "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n", "127.0.0.1 127.0.0.1")
}

func TestPluginResponds(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	r := wantDenied(t, g, up, "exit 403", "", "403")
	if r.status != "HTTP/1.1 403 Forbidden" || r.body != "bye" || headerLine(r.header, "x-evil") != "a%0D%0Ab" || headerLine(r.header, "x-a") != "1" {
		t.Errorf("%+v", r)
	}
	wantDenied(t, g, up, "exit 99", "", "500")
	wantDenied(t, g, up, "exit 600", "", "500")
}

func TestPluginChangesTheResponse(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	r, _ := do(t, g, up, "response-header 2", "")
	if headerLine(r.header, "X-Up") != "2" || headerLine(r.header, "Cache-Control") != "no-store" || strings.Count(strings.Join(r.header, "\n"), "X-Up") != 1 {
		t.Errorf("%q", r.header)
	}
}

func TestPluginSetsTheUpstreamHost(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	g.get(t, "/r/x", "X-Do: set Host=other.test\r\n")
	if lines := up.received(t); headerLine(lines, "Host") != "other.test" || strings.Count(strings.Join(lines, "\n"), "Host: ") != 2 {
		t.Errorf("%q", lines) // Host and X-Forwarded-Host
	}
}

func TestClearHeaderLeavesTheUnderscoreTwin(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	g.get(t, "/r/x", "X-Do: clear x-user\r\nX-User: a\r\nx-uSER: b\r\nX_User: c\r\n")
	lines := up.received(t)
	if headerLine(lines, "X-User") != "" || headerLine(lines, "X_User") != "c" {
		t.Errorf("%q", lines)
	}
}

func TestConnectionHeaderTakesAwayWhatThePluginSet(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	g.send(t, "GET /r HTTP/1.1\r\nHost: h\r\nX-Do: set X-User-Id=u1\r\nConnection: close, x-user-ID\r\n\r\n")
	if lines := up.received(t); lines == nil || headerLine(lines, "X-User-Id") != "" {
		t.Errorf("%q", lines)
	}
}

func TestLogOfThePluginIsPassedOn(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	do(t, g, up, "log hello", "")
	g.log.await(t, "[script] hello", 1)
	g.log.await(t, fmt.Sprintf("process=script:%d", g.PluginPID()), 1)
	g.log.await(t, "stderr says hello", 1)
}

func TestDroppedConnectionRunsTheHandlerAgain(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	wantReport(t, g, up, "hang-up-once", "", "second time")
	wantDenied(t, g, up, "hang-up", "", "500")
	wantReport(t, g, up, "count-headers 100", "", "3")
}

func TestPanickingPluginFailsClosedAndComesBack(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	wantDenied(t, g, up, "panic", "", "500")
	g.log.await(t, "terminated", 1)
	awaitPlugin(t, g, up)
}

// awaitPlugin asks until the plugin responds again.
func awaitPlugin(t *testing.T, g *testGateway, up *echo) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if r, report := do(t, g, up, "pid", ""); r.code() == "200" && report != "" {
			return
		}
	}
	t.Fatalf("the plugin did not come back\n%s", g.log)
}

// TestKilledPluginPassesNoUnauthenticatedRequest kills the plugin again and
// again while it serves. Every response is right or 5xx.
func TestKilledPluginPassesNoUnauthenticatedRequest(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	const clients, kills, served = 6, 4, 60
	var mu sync.Mutex
	responses := map[string]int{}
	right := make(chan struct{}, 1000)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := 0; ; i++ {
				token := []string{"good", "bad"}[i%2]
				r := g.get(t, "/r/"+token, "X-Do: auth\r\nAuthorization: Bearer "+token+"\r\n")
				mu.Lock()
				responses[token+" "+r.code()]++
				mu.Unlock()
				if r.code() != "500" {
					right <- struct{}{}
				} else {
					time.Sleep(5 * time.Millisecond) // leave the machine to the new process
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for round := range kills + 1 {
		for range served {
			<-right
		}
		if round < kills {
			_ = syscall.Kill(g.PluginPID(), syscall.SIGKILL)
		}
	}
	close(stop)
	wg.Wait()

	t.Logf("%d kills, responses %v", kills, responses)
	for response := range responses {
		if response != "good 200" && response != "good 500" && response != "bad 401" && response != "bad 500" {
			t.Errorf("response %s", response)
		}
	}
	if strings.Count(g.log.String(), "pluginserver terminated") < kills {
		t.Errorf("the test killed nothing:\n%s", g.log)
	}
	for len(up.requests) > 0 {
		if lines := <-up.requests; headerLine(lines, "X-Authenticated") != "yes" || !strings.HasPrefix(lines[0], "GET /base/good ") {
			t.Errorf("the upstream got %q", lines)
		}
	}
}

func TestConfigArrivesAsKongSendsIt(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), `
_format_version: "3.0"
services:
  - name: up
    url: http://127.0.0.1:$UPSTREAM
    routes:
      - name: route
        paths: [/r]
        plugins:
          - name: script
            instance_name: mine
            config:
              secret: "{vault://env/test-secret}"
              limits: {names: [a, b, a]}
              clients:
                - {id: one, key: "{vault://env/unset-secret}"}
                - {id: two, key: plain}
`, "TEST_SECRET=s3cret")
	_, report := do(t, g, up, "config", "")
	var config map[string]any
	if err := json.Unmarshal([]byte(report), &config); err != nil {
		t.Fatalf("%v: %s", err, report)
	}
	for key := range config {
		if strings.HasPrefix(key, "__") || key == "route_id" {
			delete(config, key)
		}
	}
	got, _ := json.Marshal(config)
	want := `{"$refs":{"secret":"{vault://env/test-secret}"},` +
		`"clients":[{"$refs":{"key":"{vault://env/unset-secret}"},"id":"one","key":""},{"id":"two","key":"plain"}],` +
		`"label":"none","limits":{"burst":5,"names":["a","b"]},"mode":"soft","plugin_instance_name":"mine","secret":"s3cret"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if log := g.log.String(); strings.Contains(log, "s3cret") || !strings.Contains(log, "UNSET_SECRET is not set") {
		t.Errorf("log:\n%s", log)
	}
}

func TestNearestPluginConfigCounts(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), `
_format_version: "3.0"
services:
  - name: one
    url: http://127.0.0.1:$UPSTREAM
    routes:
      - {name: a, paths: [/a]}
      - {name: b, paths: [/b], plugins: [{name: script, config: {label: route}}]}
      - {name: c, paths: [/c], plugins: [{name: script, enabled: false, config: {label: "off"}}]}
    plugins:
      - {name: script, config: {label: service}}
  - name: two
    url: http://127.0.0.1:$UPSTREAM
    routes:
      - {name: d, paths: [/d]}
      - {name: e, paths: [/e]}
plugins:
  - {name: script, config: {label: global}}
  - {name: script, route: e, service: two, config: {label: both}}
  - {name: script, route: {name: e}, config: {label: lesser}}
`)
	for path, want := range map[string]string{"/a": "service", "/b": "route", "/c": "service", "/d": "global", "/e": "both"} {
		g.get(t, path, "X-Do: config\r\n")
		report := headerLine(up.received(t), "X-Report")
		if !strings.Contains(report, `"label":"`+want+`"`) {
			t.Errorf("%s: %s, want label %s", path, report, want)
		}
	}
}

func TestReload(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	_, before := do(t, g, up, "config", "")

	writeConfig(t, g.config, up, strings.ReplaceAll(scriptConfig, "label: global", "label: changed"))
	g.log.await(t, "config reloaded", 1)
	_, after := do(t, g, up, "config", "")
	if !strings.Contains(after, `"label":"changed"`) || !strings.Contains(before, `"label":"global"`) {
		t.Errorf("before %s\nafter %s", before, after)
	}
	g.log.await(t, "closed instance", 1) // the old instance is closed

	writeConfig(t, g.config, up, strings.ReplaceAll(scriptConfig, "label: global", "lable: typo"))
	g.log.await(t, "the old one stays", 1)
	g.log.await(t, "plugins[0].config.lable: unknown field", 1)
	if _, still := do(t, g, up, "config", ""); still != after {
		t.Errorf("after a bad file: %s", still)
	}

	writeConfig(t, g.config, up, scriptConfig)
	g.log.await(t, "config reloaded", 2)
	if _, last := do(t, g, up, "config", ""); !strings.Contains(last, `"label":"global"`) {
		t.Errorf("last %s", last)
	}
}

func TestReloadUnderLoadNeverMixesConfigs(t *testing.T) {
	up := startEcho(t)
	config := func(label string) string {
		return strings.ReplaceAll(strings.ReplaceAll(scriptConfig, "label: global", "label: "+label), "/base", "/"+label)
	}
	g := startGateway(t, up, buildPlugin(t, "script"), config("v0"))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r := g.get(t, "/r/x", "X-Do: config\r\n"); r.code() != "200" {
					t.Errorf("%s %s", r.status, r.body)
					return
				}
			}
		})
	}
	for i := 1; i <= 5; i++ {
		writeConfig(t, g.config, up, config(fmt.Sprintf("v%d", i)))
		g.log.await(t, "config reloaded", i)
	}
	close(stop)
	wg.Wait()
	for len(up.requests) > 0 {
		lines := <-up.requests
		label, _, _ := strings.Cut(strings.TrimPrefix(lines[0], "GET /"), "/")
		if !strings.Contains(headerLine(lines, "X-Report"), `"label":"`+label+`"`) {
			t.Errorf("routed by %s with plugin config %s", label, headerLine(lines, "X-Report"))
		}
	}
}

func TestUpstreamGone(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	_ = up.ln.Close()
	r := g.get(t, "/r/x", "")
	if r.status != "HTTP/1.1 502 Bad Gateway" || !strings.Contains(r.body, "An invalid response was received from the upstream server") {
		t.Errorf("%+v", r)
	}
}

func TestUpstreamEntitySpreadsByWeightAndRetries(t *testing.T) {
	one, two := startEcho(t), startEcho(t)
	g := startGateway(t, one, buildPlugin(t, "script"), strings.ReplaceAll(`
_format_version: "3.0"
upstreams:
  - name: pool
    targets:
      - {target: "127.0.0.1:$UPSTREAM", weight: 3}
      - {target: "127.0.0.1:$TWO", weight: 1}
      - {target: "127.0.0.1:1", weight: 0}
services:
  - {name: up, host: pool, routes: [{name: r, paths: [/]}]}
`, "$TWO", two.port()))
	for range 8 {
		g.get(t, "/", "")
	}
	if a, b := len(one.requests), len(two.requests); a != 6 || b != 2 {
		t.Errorf("spread %d and %d, want 6 and 2", a, b)
	}
	_ = two.ln.Close()
	for range 8 {
		if r := g.get(t, "/", ""); r.code() != "200" {
			t.Errorf("with one target gone: %s", r.status)
		}
	}
}

func TestWebSocketPassesThrough(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		in := bufio.NewReader(conn)
		lines, _ := readHeadLines(in)
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Saw: %s\r\n\r\n", headerLine(lines, "Connection"))
		_, _ = io.Copy(conn, in)
		_ = conn.Close()
	}()
	up := &echo{ln: ln}
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	conn, err := net.Dial("tcp", g.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /r HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
	in := bufio.NewReader(conn)
	lines, err := readHeadLines(in)
	if err != nil || lines[0] != "HTTP/1.1 101 Switching Protocols" || headerLine(lines, "Upgrade") != "websocket" || headerLine(lines, "X-Saw") != "keep-alive, Upgrade" {
		t.Fatalf("%q %v", lines, err)
	}
	echoed := make([]byte, 5)
	if _, err := io.ReadFull(in, echoed); err != nil || string(echoed) != "first" {
		t.Fatalf("%q %v", echoed, err)
	}
	fmt.Fprint(conn, "again")
	if _, err := io.ReadFull(in, echoed); err != nil || string(echoed) != "again" {
		t.Fatalf("%q %v", echoed, err)
	}
}

func TestRouteThatWantsHTTPS(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), `
_format_version: "3.0"
services:
  - url: http://127.0.0.1:$UPSTREAM
    routes:
      - {paths: [/a], protocols: [https]}
      - {paths: [/b], protocols: [https], https_redirect_status_code: 301}
`)
	if r := g.get(t, "/a", ""); r.code() != "426" || !strings.Contains(r.body, "Please use HTTPS protocol") {
		t.Errorf("%+v", r)
	}
	if r := g.get(t, "/b?x", "X-Forwarded-Proto: https\r\n"); r.code() != "301" || headerLine(r.header, "Location") != "https://gw.test/b?x" {
		t.Errorf("%+v", r)
	}
	if got := up.received(t); got != nil {
		t.Errorf("the upstream got %q", got)
	}
}

func TestRouteWithoutService(t *testing.T) {
	g := startGateway(t, nil, buildPlugin(t, "script"), `
_format_version: "3.0"
routes:
  - {paths: [/a]}
plugins:
  - {name: script}
`)
	if r := g.get(t, "/a", ""); r.code() != "503" || !strings.Contains(r.body, "no Service found with those values") {
		t.Errorf("%+v", r)
	}
	if r := g.get(t, "/a", "X-Do: exit 204\r\n"); r.code() != "204" || r.body != "" {
		t.Errorf("%+v", r)
	}
}

func TestErrorBodyFollowsAccept(t *testing.T) {
	g := startGateway(t, nil, buildPlugin(t, "script"), `
_format_version: "3.0"
routes:
  - {paths: [/a]}
`)
	for accept, want := range map[string]string{
		"text/html": "text/html", "text/plain;q=0.1, application/xml": "application/xml", "text/*": "text/plain",
		"*/*": "application/json", "": "application/json", "image/png": "application/json",
	} {
		r := g.get(t, "/none", "Accept: "+accept+"\r\n")
		if got := headerLine(r.header, "Content-Type"); r.code() != "404" || got != want+"; charset=utf-8" {
			t.Errorf("Accept %q: %s %s", accept, r.status, got)
		}
	}
}

func TestQueryStaysOutOfTheLog(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	g.get(t, "/r/x?access_token=s3cret", "Authorization: Bearer s3cret\r\nCookie: s=s3cret\r\n")
	g.log.await(t, "path=/r/x", 1)
	if strings.Contains(g.log.String(), "s3cret") {
		t.Error(g.log)
	}
}

func TestListenBeyondLoopbackIsLogged(t *testing.T) {
	file := t.TempDir() + "/kong.yml"
	writeConfig(t, file, nil, "_format_version: \"3.0\"\n")
	log := newLogBuffer()
	g, err := Start(Options{Config: file, PluginBinary: buildPlugin(t, "script"), Listen: "0.0.0.0:0", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	if text := log.String(); !strings.Contains(text, "can be reached from other machines") || !strings.Contains(text, "not for production") {
		t.Error(text)
	}
}

func TestStopLeavesNothingBehind(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	pid, socket := g.PluginPID(), g.client.socket
	g.Stop()
	if syscall.Kill(pid, 0) == nil {
		t.Error("the plugin still runs")
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the prefix folder is still there")
	}
}

func TestHTTPSUpstreamIsVerifiedByDefault(t *testing.T) {
	up := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) }))
	defer up.Close()
	up.Config.ErrorLog = log.New(io.Discard, "", 0)
	g := startGateway(t, nil, buildPlugin(t, "script"), strings.ReplaceAll(`
_format_version: "3.0"
services:
  - {url: "$URL", routes: [{paths: [/verified]}]}
  - {url: "$URL", tls_verify: false, routes: [{paths: [/any]}]}
`, "$URL", up.URL))
	if r := g.get(t, "/verified", ""); r.code() != "502" {
		t.Errorf("%+v", r)
	}
	if r := g.get(t, "/any", ""); r.code() != "200" || "https://"+r.body != up.URL {
		t.Errorf("%+v", r)
	}
}

func TestRequestWithoutHost(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "script"), scriptConfig)
	g.send(t, "GET /r HTTP/1.0\r\nX-Do: var host\r\n\r\n")
	lines := up.received(t)
	if headerLine(lines, "X-Report") != "<kong>" || headerLine(lines, "X-Forwarded-Host") != "kong" || headerLine(lines, "Via") != "1 "+serverName {
		t.Errorf("%q", lines)
	}
}
