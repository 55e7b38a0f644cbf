package forwardauth

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/dev/demo/upstream"
	"gatehouse/e2e/vector"
)

// wire is an upstream that keeps what upstream.Server has no use for: trailer
// fields. It takes every offer of a WebSocket, and then sends back what it gets.
type wire struct {
	net.Listener
	received chan wired
}

type wired struct {
	upstream.Request
	trailers []string
}

func newWire(t *testing.T) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l, make(chan wired, 100)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.serve(c)
		}
	}()
	return w
}

func (w *wire) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	if err != nil {
		return
	}
	words := strings.Fields(line)
	got := wired{Request: upstream.Request{Method: words[0], Target: words[1]}}
	if got.Headers, err = lines(in); err != nil {
		return
	}
	if len(got.Values("Transfer-Encoding")) > 0 {
		body, _ := io.ReadAll(httputil.NewChunkedReader(in))
		got.Body = string(body)
		got.trailers, _ = lines(in)
	}
	w.received <- got
	if len(got.Values("Upgrade")) == 0 {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	io.Copy(c, in)
}

// lines are those up to an empty one.
func lines(in *bufio.Reader) (all []string, err error) {
	for {
		line, err := in.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if err != nil || line == "" {
			return all, err
		}
		all = append(all, line)
	}
}

// exchange sends a request and reads the head of the response.
func (b *bench) exchange(t *testing.T, request string) (*http.Response, net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return response, c, in
}

// last is the last request that arrived since it was asked before.
func (w *wire) last() *wired {
	var last *wired
	for {
		select {
		case got := <-w.received:
			last = &got
		default:
			return last
		}
	}
}

// forwardsTrailers reports whether the proxy cannot be told to drop trailer
// fields: Caddy, and HAProxy before 3.2, whose auth requests at least say what is
// announced.
func forwardsTrailers(t *testing.T, p proxy, announced bool) bool {
	t.Helper()
	if p.name != "haproxy" || announced {
		return p.name == "caddy"
	}
	binary, err := p.find()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, "-v").Output()
	version := regexp.MustCompile(`version (\d+)\.(\d+)`).FindSubmatch(out)
	if err != nil || version == nil {
		t.Fatalf("%s -v: %s %v", binary, out, err)
	}
	major, _ := strconv.Atoi(string(version[1]))
	minor, _ := strconv.Atoi(string(version[2]))
	return major < 3 || major == 3 && minor < 2
}

// TestForgedIdentityInTrailersBehindRealProxies: fields behind a chunked body,
// which some upstreams merge into the headers (RFC 9110 section 6.5.1).
func TestForgedIdentityInTrailersBehindRealProxies(t *testing.T) {
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) {
			w := newWire(t)
			b := newBenchBefore(t, p, benchTable, w.Addr().String())
			w.last()
			for what, announced := range map[string]string{
				"not announced": "", "announced": "Trailer: X-User-Email\r\n", "another announced": "TE: trailers\r\nTrailer: X-Harmless\r\n",
			} {
				response, _, _ := b.exchange(t, "POST /private HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n"+b.bearer(nil)+"\r\n"+announced+
					"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-User-Email: root\r\nX_User_Email: root\r\nX-Auth-User: root\r\n\r\n")
				got := w.last()
				if got != nil {
					wantIdentity(t, what, &got.Request, map[string]string{"X-Auth-User": "user-1", "X-User-Id": "user-1"})
				}
				switch {
				case got == nil && response.StatusCode != 400:
					t.Errorf("%s: status %d", what, response.StatusCode)
				case got == nil:
				case len(got.trailers) > 0 && !forwardsTrailers(t, p, announced != ""):
					t.Errorf("%s: the upstream received the trailer fields %q", what, got.trailers)
				case response.StatusCode != 200:
					t.Errorf("%s: status %d", what, response.StatusCode)
				}
			}
		})
	}
}

// withWebSocket has nginx pass on WebSocket, as deploy/nginx says.
func withWebSocket(p proxy) proxy {
	if p.name != "nginx" {
		return p
	}
	configure := p.configure
	p.configure = func(s site) ([]string, error) {
		args, err := configure(s)
		return args, errors.Join(err,
			edit(filepath.Join(s.dir, "nginx.conf"), "http {", "http {\nmap $http_upgrade $to_websocket { default \"\"; ~*^websocket$ websocket; }\nmap $to_websocket $to_connection { default close; websocket upgrade; }"),
			edit(filepath.Join(s.dir, "protect_nginx.conf"), "proxy_set_header Host $http_host;",
				"proxy_set_header Host $http_host; proxy_http_version 1.1;\nproxy_set_header Upgrade $to_websocket; proxy_set_header Connection $to_connection;"))
	}
	return p
}

// TestWebSocketThroughRealProxies: the handshake is decided on like any other
// request, and what Connection names beside it does not matter.
func TestWebSocketThroughRealProxies(t *testing.T) {
	for _, p := range proxies() {
		p = withWebSocket(p)
		t.Run(p.name, func(t *testing.T) {
			w := newWire(t)
			b := newBenchBefore(t, p, benchTable, w.Addr().String())
			w.last()
			handshake := func(connection string, lines ...string) string {
				return "GET /private HTTP/1.1\r\nHost: a.test\r\nConnection: " + connection + "\r\nUpgrade: websocket\r\n" +
					"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + strings.Join(append(lines, "", ""), "\r\n")
			}
			response, _, _ := b.exchange(t, handshake("Upgrade"))
			if got := w.last(); response.StatusCode != 401 || got != nil {
				t.Errorf("without a credential: status %d, arrived %v", response.StatusCode, got)
			}
			for _, connection := range []string{"Upgrade", "keep-alive, Upgrade", "Upgrade, X-User-Id, X-Auth-User"} {
				response, c, in := b.exchange(t, handshake(connection, b.bearer(nil), "X-User-Email: root"))
				got := w.last()
				if got == nil {
					if response.StatusCode != 400 {
						t.Errorf("%s: status %d", connection, response.StatusCode)
					}
					continue
				}
				wantIdentity(t, connection, &got.Request, map[string]string{"X-Auth-User": "user-1", "X-User-Id": "user-1"})
				for _, value := range got.Values("Connection") {
					if strings.Contains(strings.ToLower(value), "x-") {
						t.Errorf("%s: the upstream is told Connection: %s, and whoever is behind it may do so", connection, value)
					}
				}
				if response.StatusCode != http.StatusSwitchingProtocols {
					if !strings.Contains(connection, "X-") { // a proxy may drop such an offer
						t.Errorf("%s: status %d", connection, response.StatusCode)
					}
					continue
				}
				echo := make([]byte, 5)
				io.WriteString(c, "hello")
				if _, err := io.ReadFull(in, echo); err != nil || string(echo) != "hello" {
					t.Errorf("%s: %q, %v", connection, echo, err)
				}
				c.Close()
			}
		})
	}
}

// awaitLog waits until the log holds a text: it comes through a pipe.
func (b *bench) awaitLog(text string) bool {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if strings.Contains(b.service.log.String(), text) {
			return true
		}
	}
	return false
}

// TestHostWithTwoReadings: conditions on the host are decided on the one that
// the upstream receives.
func TestHostWithTwoReadings(t *testing.T) {
	eachProxy(t, func(t *testing.T, b *bench) {
		for i, host := range []string{
			"evil.test, app.test", "evil.test,app.test", "app.test evil.test", "APP.test", "app.test.", "app.test:80", "app.test:80@evil.test", "evil.test/app.test", "",
			"app.test\r\nHost: evil.test", "app.test\r\nHost:", `app.test"`, "[::1]:80", "app.test\t", "app.test\\evil.test", "xn--app.test", "app.test,",
		} {
			b.foo.Forget()
			target := fmt.Sprintf("/public?%d", i)
			response, _, _ := b.exchange(t, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
			received := b.foo.Received()
			if len(received) == 0 {
				if response.StatusCode != 400 {
					t.Errorf("%q: status %d", host, response.StatusCode)
				}
				continue
			}
			served := received[0].Values("Host")
			if len(served) != 1 || !b.awaitLog("msg=allowed reason=public method=GET path=/public host="+logged(served[0])+" took") {
				t.Errorf("%q: the upstream is asked for %q, and nothing was decided for that", host, served)
			}
		}
	})
}

// TestAuthResponseWithLongHeadersIsNoOutage: identity headers have at most 4 KiB each
// and a way back at most three times a target.
func TestAuthResponseWithLongHeadersIsNoOutage(t *testing.T) {
	eachProxy(t, func(t *testing.T, b *bench) {
		long := strings.Repeat("x", 4000)
		response, got := b.send(t, "GET", "/private", b.bearer(map[string]any{"name": long, "email": long}))
		if got == nil {
			t.Errorf("long identity: status %d", response.Status)
		} else {
			wantIdentity(t, "long identity", got, map[string]string{"X-Auth-User": long, "X-User-Email": long, "X-User-Id": "user-1"})
		}
		target := "/private?" + strings.Repeat("%2f", 2500)
		response, _ = b.send(t, "GET", target, "Accept: text/html")
		if location := response.Header.Get("Location"); response.Status != 302 || !strings.Contains(location, strings.Repeat("%252f", 2500)) {
			t.Errorf("long way back: status %d, %d bytes", response.Status, len(location))
		}
	})
}

// TestLongCredentialBesideLongCookies: Gatehouse takes credentials of up to 16 KiB,
// and the examples let one through beside what a browser has of cookies.
func TestLongCredentialBesideLongCookies(t *testing.T) {
	eachProxy(t, func(t *testing.T, b *bench) {
		long := b.bearer(map[string]any{"pad": strings.Repeat("x", 11<<10)})
		response, got := b.send(t, "GET", "/private", long, "Cookie: a="+strings.Repeat("y", 14<<10))
		if got == nil {
			t.Fatalf("%d bytes: status %d", len(long), response.Status)
		}
		wantIdentity(t, "long", got, map[string]string{"X-Auth-User": "user-1", "X-User-Id": "user-1"})
	})
}

// TestRequestIDOfAClient: a line of the log is not found under a name that a
// client has chosen.
func TestRequestIDOfAClient(t *testing.T) {
	eachProxy(t, func(t *testing.T, b *bench) {
		for _, lines := range [][]string{{"X-Request-Id: forged-1"}, {"X-Request-Id: forged-1", "X-Request-ID: forged-2"}, {"X_Request_Id: forged-1"}} {
			if response, got := b.send(t, "GET", "/private", lines...); got != nil || response.Status != 401 {
				t.Errorf("%q: status %d", lines, response.Status)
			}
		}
		if !b.awaitLog("request_id=") || strings.Contains(b.service.log.String(), "forged") {
			t.Errorf("the log is %s", b.service.log.String())
		}
	})
}

// TestPreflightIsARequestLikeAnother: browsers send it without a credential, and
// whoever wants a response to it has the proxy send one, or makes it public.
func TestPreflightIsARequestLikeAnother(t *testing.T) {
	eachProxyWith(t, "public: ['OPTIONS /cors']\nauthenticated: ['GET,POST,OPTIONS /private', 'POST /cors']\n", func(t *testing.T, b *bench) {
		for target, want := range map[string]int{"/private": 401, "/cors": 200, "/else": 403, "*": 0} {
			response, got := b.send(t, "OPTIONS", target, "Origin: https://app.test", "Access-Control-Request-Method: POST", "X-Auth-User: root")
			if want != 0 && response.Status != want || (got != nil) != (want == 200) {
				t.Errorf("%s: status %d, arrived %v", target, response.Status, got)
			}
			if got != nil {
				wantIdentity(t, target, got, nil)
			}
		}
	})
}

// TestBodyOfTheRequestGoesToTheUpstreamAlone: whole, and not to the service.
func TestBodyOfTheRequestGoesToTheUpstreamAlone(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 4<<10) // what upstream.Server shows of one
	eachProxy(t, func(t *testing.T, b *bench) {
		head := "POST /private HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n"
		chunked := "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		counted := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
		for what, rest := range map[string]string{"chunked": chunked, "counted": counted} {
			b.foo.Forget()
			response, err := vector.Send(context.Background(), b.address, []byte(head+b.bearer(nil)+"\r\n"+rest))
			received := b.foo.Received()
			if err != nil || len(received) != 1 || received[0].Body != string(body) {
				t.Errorf("%s: status %d, %d requests arrived, %v", what, response.Status, len(received), err)
			}
			response, err = vector.Send(context.Background(), b.address, []byte(head+rest))
			if err != nil || response.Status != 401 || len(b.foo.Received()) != 1 {
				t.Errorf("%s, without a credential: status %d, %v", what, response.Status, err)
			}
		}
	})
}

// stalling returns a proxy whose patience with the service is short, and
// whether it can be told to.
func stalling(p proxy) (proxy, bool) {
	short, known := map[string]struct{ file, old, replacement string }{
		"nginx":   {"ask_nginx.conf", "proxy_read_timeout 35s;", "proxy_read_timeout 300ms;"},
		"haproxy": {"gatehouse.lua", "timeout = 35000", "timeout = 300"},
		"caddy":   {"gatehouse.caddy", "response_header_timeout 35s", "response_header_timeout 300ms"},
	}[p.name]
	configure := p.configure
	p.configure = func(s site) ([]string, error) {
		args, err := configure(s)
		return args, errors.Join(err, edit(filepath.Join(s.dir, short.file), short.old, short.replacement))
	}
	return p, known
}

// TestServiceThatHangsOpensNothing: it takes the auth request and sends nothing.
func TestServiceThatHangsOpensNothing(t *testing.T) {
	documented := map[string]int{"nginx": 503, "haproxy": 504, "caddy": 504}
	for _, p := range proxies() {
		p, known := stalling(p)
		if !known {
			continue // Traefik waits for 30 s, which is not a setting
		}
		t.Run(p.name, func(t *testing.T) {
			b := newBench(t, p, benchTable)
			if err := b.service.hang(); err != nil {
				t.Fatal(err)
			}
			defer b.service.cmd.Process.Signal(syscall.SIGCONT)
			for _, target := range []string{"/private", "/public"} {
				response, got := b.send(t, "GET", target, b.bearer(nil), "X-Auth-User: root")
				if got != nil || response.Status != documented[p.name] {
					t.Errorf("%s: status %d, arrived %v", target, response.Status, got)
				}
			}
		})
	}
}

// TestConnectionNamesAHeaderWithoutX: the names of identity headers are the
// operator's choice.
func TestConnectionNamesAHeaderWithoutX(t *testing.T) {
	files := map[string]string{"nginx": "gatehouse_headers.conf", "haproxy": "haproxy.cfg", "caddy": "gatehouse_headers.caddy", "traefik": "dynamic.yml"}
	times := map[string]int{"nginx": 1, "haproxy": 1, "caddy": 5, "traefik": 1}
	for _, p := range proxies() {
		configure := p.configure
		p.configure = func(s site) ([]string, error) {
			args, err := configure(s)
			for range times[p.name] {
				err = errors.Join(err, edit(filepath.Join(s.dir, files[p.name]), "X-User-Tenant", "Remote-User"))
			}
			if p.name == "nginx" {
				err = errors.Join(err, edit(filepath.Join(s.dir, files[p.name]), "upstream_http_x_user_tenant", "upstream_http_remote_user"))
			}
			return args, err
		}
		t.Run(p.name, func(t *testing.T) {
			b := newBench(t, p, benchTable)
			for _, lines := range [][]string{nil, {"Connection: Remote-User"}, {"Connection: close, remote-user"}, {"Connection: close", "Connection: Remote-User"}} {
				response, got := b.send(t, "GET", "/private", slices.Concat(lines, []string{b.bearer(nil), "Remote-User: root"})...)
				if got == nil && (lines == nil || response.Status != 400) {
					t.Errorf("%q: status %d", lines, response.Status)
				} else if got != nil && !slices.Equal(got.Values("Remote-User"), []string{"user-1"}) {
					t.Errorf("%q: the upstream received %q", lines, got.Headers)
				}
			}
		})
	}
}

// TestUpgradeToATunnelForMoreRequests: an upstream that agrees to h2c (RFC 7540
// section 3.2) takes requests from the client itself from then on.
func TestUpgradeToATunnelForMoreRequests(t *testing.T) {
	for _, p := range proxies() {
		p = withWebSocket(p)
		t.Run(p.name, func(t *testing.T) {
			w := newWire(t)
			b := newBenchBefore(t, p, benchTable, w.Addr().String())
			w.last()
			for _, offer := range []string{"h2c", "H2C", "websocket, h2c", "h2c, websocket", "websocket\r\nUpgrade: h2c", "h2c\r\nUpgrade: websocket", "TLS/1.0", "something-else"} {
				response, _, _ := b.exchange(t, "GET /public HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "+offer+"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
				got := w.last()
				switch {
				case got == nil && response.StatusCode != 400:
					t.Errorf("%q: status %d", offer, response.StatusCode)
				case got != nil && strings.Contains(strings.ToLower(strings.Join(got.Values("Upgrade"), ",")), "h2c"):
					t.Errorf("%q: the upstream received %q and responded with %d", offer, got.Headers, response.StatusCode)
				}
			}
		})
	}
}
