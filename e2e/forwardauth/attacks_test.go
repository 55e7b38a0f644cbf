package forwardauth

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/ports"
	"gatehouse/e2e/vector"
)

// bench is the service, one upstream, and a proxy in front with the example of
// deploy/: what an attack needs, without identity servers. Tokens are those of
// an issuer of the test's own.
type bench struct {
	proxy   string
	issuer  *coretest.Issuer
	service *process
	foo     *upstream.Server
	address string // empty: a free one
	dir     string
	// gate has further settings of the gate.
	gate map[string]any
	// direct are the paths that the gate itself serves.
	direct []string
	// scheme is that of the endpoints.
	scheme string
	// certificate is client_certificate of the proxy's endpoint, and body its request_body.
	certificate string
	body        bool
}

// identityHeaders are those that the files of deploy/ name.
var identityHeaders = []string{"X-Actor", "X-Auth-User", "X-Auth-Kind", "X-User-Id", "X-User-Email", "X-User-Roles", "X-User-Permissions", "X-User-Tenant"}

// benchTable is what the attacks are about: one public page, and one for
// those who are known.
const benchTable = "public: ['GET /public']\nauthenticated: ['GET,POST /private']\n"

func newBench(t *testing.T, p proxy, table string) *bench {
	t.Helper()
	foo, err := upstream.Start("foo", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(foo.Close)
	b := newBenchBefore(t, p, table, foo.Addr().String())
	b.foo = foo
	return b
}

// newBenchBefore is a bench with an upstream of the test's own.
func newBenchBefore(t *testing.T, p proxy, table, upstream string) *bench {
	t.Helper()
	b := &bench{}
	b.start(t, p, table, upstream)
	return b
}

// start starts the service and the proxy.
func (b *bench) start(t *testing.T, p proxy, table, upstream string) {
	t.Helper()
	b.proxy, b.issuer, b.dir = p.name, coretest.NewIssuer(t, coretest.NewClock()), t.TempDir()
	addresses, err := ports.Addresses(2)
	if err != nil {
		t.Fatal(err)
	}
	b.address = cmp.Or(b.address, addresses[1])
	socket := filepath.Join(b.dir, "gatehouse.sock")
	b.startService(t, p.name, table, addresses[0], socket)
	at := site{dir: filepath.Join(b.dir, p.name), listen: b.address, ask: addresses[0], socket: socket,
		direct: b.direct, routes: []route{{"foo", "/", upstream, p.name}}}
	if err := os.Mkdir(at.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	running, err := runProxy(p, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(running.stop)
}

func (b *bench) startService(t *testing.T, dialect, table, address, socket string) {
	t.Helper()
	headers := map[string]any{}
	for _, name := range identityHeaders {
		headers[name] = "absent"
	}
	headers["X-Auth-User"], headers["X-User-Id"], headers["X-User-Email"] = "name,sub", "sub", "email"
	headers["Remote-User"] = "sub" // for the proxies that are told of it
	gate := map[string]any{
		"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": b.issuer.URL, "audience": []any{coretest.Audience}}}},
		"upstream_headers": headers,
		"login":            map[string]any{"url": "https://login.test/"},
		"permission_table": table,
	}
	maps.Copy(gate, b.gate)
	if gate["permission_table_files"] != nil {
		delete(gate, "permission_table")
	}
	text, err := yaml.Marshal(map[string]any{
		"listen":          []any{map[string]any{"address": address}, map[string]any{"address": "unix:" + socket, "trusted": true}},
		"trusted_proxies": []any{"127.0.0.1"},
		"endpoints":       b.endpoints(dialect),
		"gates":           map[string]any{"main": gate},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(b.dir, "forwardauth.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	binary, err := binaryFor()
	if err != nil {
		t.Fatal(err)
	}
	if b.service, err = startProcess("gatehouse-forwardauth", b.dir, address, binary, "-verbose", "-config", path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.service.stop)
}

func (b *bench) endpoints(dialect string) []any {
	endpoints := []any{map[string]any{"path": "/auth/" + dialect, "dialect": dialect, "gate": "main"}}
	if dialect == "envoy-grpc" {
		delete(endpoints[0].(map[string]any), "path")
	}
	if len(b.direct) > 0 {
		endpoints = append(endpoints, map[string]any{"dialect": "direct", "gate": "main"})
	}
	if b.certificate != "" {
		endpoints[0].(map[string]any)["client_certificate"] = b.certificate
	}
	if b.body {
		endpoints[0].(map[string]any)["request_body"] = true
	}
	if b.scheme != "" {
		for _, e := range endpoints {
			e.(map[string]any)["scheme"] = b.scheme
		}
	}
	return endpoints
}

// send sends a request with header lines as they are given. What an upstream
// received is nil when it received nothing.
func (b *bench) send(t *testing.T, method, target string, lines ...string) (vector.Response, *upstream.Request) {
	t.Helper()
	b.foo.Forget()
	host := "Host: " + b.address
	request := method + " " + target + " HTTP/1.1\r\n" + strings.Join(append([]string{host}, lines...), "\r\n") + "\r\n\r\n"
	response, err := vector.Send(context.Background(), b.address, []byte(request))
	if err != nil {
		t.Fatal(err)
	}
	received := b.foo.Received()
	switch len(received) {
	case 0:
		return response, nil
	case 1:
		return response, &received[0]
	}
	t.Fatalf("%d requests arrived for one", len(received))
	return response, nil
}

func (b *bench) bearer(claims map[string]any) string {
	return "Authorization: Bearer " + b.issuer.Token(claims)
}

// alike are the lines that a forgiving upstream reads as the header.
func alike(r *upstream.Request, header string) []string {
	fold := func(name string) string {
		return strings.Map(func(c rune) rune {
			if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
				return c
			}
			return '-'
		}, strings.ToLower(strings.TrimSpace(name)))
	}
	var lines []string
	for _, line := range r.Headers {
		if name, _, _ := strings.Cut(line, ":"); fold(name) == fold(header) {
			lines = append(lines, line)
		}
	}
	return lines
}

// wantIdentity insists on exactly these identity headers.
func wantIdentity(t *testing.T, what string, r *upstream.Request, want map[string]string) {
	t.Helper()
	for _, name := range identityHeaders {
		lines := alike(r, name)
		value, expected := want[name]
		if !expected && len(lines) > 0 {
			t.Errorf("%s: the upstream received %q", what, lines)
		}
		if expected && (len(lines) != 1 || !slices.Equal(r.Values(name), []string{value})) {
			t.Errorf("%s: the upstream received %q, want exactly %s: %s", what, lines, name, value)
		}
	}
}

func eachProxy(t *testing.T, run func(t *testing.T, b *bench)) {
	eachProxyWith(t, benchTable, run)
}

func eachProxyWith(t *testing.T, table string, run func(t *testing.T, b *bench)) {
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) { run(t, newBench(t, p, table)) })
	}
}

// spellings of a header that some upstream reads as the header itself.
func spellings(name string) []string {
	return []string{
		name, strings.ToUpper(name), strings.ToLower(name),
		strings.ReplaceAll(name, "-", "_"), strings.Replace(name, "-", "_", 1), strings.ToLower(strings.ReplaceAll(name, "-", "_")),
		strings.ReplaceAll(name, "-", "."), strings.ReplaceAll(name, "-", "~"), strings.ReplaceAll(name, "-", "'"), strings.ReplaceAll(name, "-", "|"),
	}
}

// TestForgedIdentityHeaderInEverySpellingBehindRealProxies: what a client sends
// arrives nowhere, whether Gatehouse has a value for the header or not.
func TestForgedIdentityHeaderInEverySpellingBehindRealProxies(t *testing.T) {
	eachProxy(t, func(t *testing.T, b *bench) {
		bearer := b.bearer(nil)
		for _, header := range identityHeaders {
			for _, name := range spellings(header) {
				for what, lines := range map[string][]string{
					"once":            {name + ": root"},
					"twice":           {name + ": root", name + ": admin"},
					"behind an empty": {name + ":", name + ": root"},
					"beside the true": {header + ": user-1", name + ": root"},
				} {
					what = fmt.Sprintf("%s %s", name, what)
					response, got := b.send(t, "GET", "/public", lines...)
					b.refusedOrClean(t, what+", public", response, got, nil)
					response, got = b.send(t, "GET", "/private", append(lines, bearer)...)
					b.refusedOrClean(t, what+", private", response, got, map[string]string{"X-Auth-User": "user-1", "X-User-Id": "user-1"})
				}
			}
		}
	})
}

// refusedOrClean accepts that a proxy or the service refuses an odd name, and
// otherwise insists on the true identity alone.
func (b *bench) refusedOrClean(t *testing.T, what string, response vector.Response, got *upstream.Request, want map[string]string) {
	t.Helper()
	if got == nil {
		if response.Status != http.StatusBadRequest {
			t.Errorf("%s: status %d", what, response.Status)
		}
		return
	}
	wantIdentity(t, what, got, want)
}

// A plain spelling is no reason to refuse: services pass on what they received.
func TestForgedIdentityHeaderInItsPlainSpellingIsReplaced(t *testing.T) {
	eachProxy(t, func(t *testing.T, b *bench) {
		var forged []string
		for _, name := range identityHeaders {
			forged = append(forged, name+": root")
		}
		if _, got := b.send(t, "GET", "/public", forged...); got == nil {
			t.Error("a public page is refused")
		}
		_, got := b.send(t, "GET", "/private", append(forged, b.bearer(map[string]any{"email": "ada@example.test", "name": "Ada"}))...)
		if got == nil {
			t.Fatal("a good token is refused")
		}
		wantIdentity(t, "forged", got, map[string]string{"X-Auth-User": "Ada", "X-User-Id": "user-1", "X-User-Email": "ada@example.test"})
	})
}

// TestIdentityTakenOffByConnection: proxies remove what Connection names, and
// must not do so with what Gatehouse has said or needs to be told.
func TestIdentityTakenOffByConnection(t *testing.T) {
	eachProxy(t, func(t *testing.T, b *bench) {
		bearer := b.bearer(nil)
		for _, list := range []string{
			"X-User-Id, X-Auth-User", "close, x-user-id, x-auth-user", "x-auth-user,keep-alive,x-user-id", "x_user_id", "X-User-Id\r\nConnection: X-Auth-User",
			"close\r\nConnection: X-User-Id", "keep-alive, upgrade, X-User-Id\r\nUpgrade: websocket",
			"X-Forwarded-Uri, X-Forwarded-Method, X-Forwarded-Host, X-Forwarded-Proto, X-Forwarded-For", "X-Original-Uri, X-Original-Method", "Host",
		} {
			response, got := b.send(t, "GET", "/private", bearer, "Connection: "+list)
			b.refusedOrClean(t, "Connection: "+list, response, got, map[string]string{"X-Auth-User": "user-1", "X-User-Id": "user-1"})
		}
		response, got := b.send(t, "GET", "/private", bearer, "Connection: Authorization")
		if got != nil {
			wantIdentity(t, "Connection: Authorization", got, map[string]string{"X-Auth-User": "user-1", "X-User-Id": "user-1"})
		} else if response.Status != 401 && response.Status != 400 {
			t.Errorf("Connection: Authorization: status %d", response.Status)
		}
	})
}

// TestForwardedHeadersOfAClientBehindRealProxies: only the proxy says where a
// request came from.
func TestForwardedHeadersOfAClientBehindRealProxies(t *testing.T) {
	var forged []string
	for _, name := range []string{
		"X-Forwarded-Uri", "X-Forwarded-URI", "X-Original-Uri", "X-Original-URL", "X-Rewrite-URL", "X-Envoy-Original-Path", "X-Auth-Request-Redirect",
		"X_Forwarded_Uri", "X_Original_Uri", "X-Forwarded-Path", "X-Forwarded-Prefix",
	} {
		forged = append(forged, name+": /public")
	}
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method", "X-HTTP-Method-Override", "X_Forwarded_Method"} {
		forged = append(forged, name+": GET")
	}
	for _, name := range []string{"X-Forwarded-Host", "X-Original-Host", "X-Forwarded-Server", "X_Forwarded_Host"} {
		forged = append(forged, name+": evil.test")
	}
	forged = append(forged, "X-Forwarded-Proto: https", "X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1;host=evil.test;proto=https", "X-Forwarded-Port: 1")
	eachProxy(t, func(t *testing.T, b *bench) {
		for what, c := range map[string]struct {
			method, target string
			status         int
		}{
			"path":   {"GET", "/private", 401},
			"method": {"DELETE", "/public", 403},
			"post":   {"POST", "/public", 403},
		} {
			response, got := b.send(t, c.method, c.target, append(forged, "Content-Length: 0")...)
			if got != nil || response.Status != c.status {
				t.Errorf("%s, all at once: status %d, arrived %v", what, response.Status, got)
			}
			for _, line := range forged {
				for _, lines := range [][]string{{line}, {line, line}, {line, "Connection: close, " + line[:strings.IndexByte(line, ':')]}} {
					response, got := b.send(t, c.method, c.target, append(slices.Clone(lines), "Content-Length: 0")...)
					if got != nil || response.Status != c.status {
						t.Errorf("%s, %q: status %d, arrived %v", what, lines, response.Status, got)
					}
				}
			}
		}
		response, _ := b.send(t, "GET", "/private?x=1", append(forged, "Accept: text/html")...)
		host := strings.Replace(b.address, ":", "%3A", 1)
		if want := "https://login.test/?return_to=http%3A%2F%2F" + host + "%2Fprivate%3Fx%3D1"; response.Status != 302 || response.Header.Get("Location") != want {
			t.Errorf("status %d, sent to %s, want %s", response.Status, response.Header.Get("Location"), want)
		}
	})
}

// TestIdentityValueIsNoTemplate: proxies have languages in their settings, and
// a name that was chosen must not be read as one.
func TestIdentityValueIsNoTemplate(t *testing.T) {
	eachProxy(t, func(t *testing.T, b *bench) {
		for _, name := range []string{
			"{env.HOME}", "{http.request.host}", "{{.Host}}", "$host", "${host}", "$http_authorization", "%[src]", "%{+Q}o", "%REQ(HOST)%", `a"b`, `a\b`, "a;b", "Jürgen", "a, b", "100%", "a'b",
		} {
			_, got := b.send(t, "GET", "/private", b.bearer(map[string]any{"name": name}))
			if got == nil {
				t.Errorf("%s: refused", name)
				continue
			}
			wantIdentity(t, name, got, map[string]string{"X-Auth-User": name, "X-User-Id": "user-1"})
		}
	})
}

// TestServiceThatIsGoneOpensNothing: killed, and started with the proxy in the
// middle of its work.
func TestServiceThatIsGoneOpensNothing(t *testing.T) {
	documented := map[string]int{"nginx": 503, "haproxy": 503, "caddy": 502, "traefik": 500}
	eachProxy(t, func(t *testing.T, b *bench) {
		bearer := b.bearer(nil)
		if _, got := b.send(t, "GET", "/private", bearer); got == nil {
			t.Fatal("a good token is refused")
		}
		if err := b.service.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-b.service.exited
		for _, target := range []string{"/private", "/public"} {
			response, got := b.send(t, "GET", target, bearer, "X-Auth-User: root")
			if got != nil || response.Status != documented[b.proxy] {
				t.Errorf("%s: status %d, arrived %v", target, response.Status, got)
			}
		}
	})
}

// TestTargetArrivesAsItWasDecidedOn: what is admitted is served under the path
// that Gatehouse has seen.
func TestTargetArrivesAsItWasDecidedOn(t *testing.T) {
	eachProxy(t, func(t *testing.T, b *bench) {
		bearer := b.bearer(nil)
		for _, target := range []string{"/private", "/private?a=b%20c&d=%2F..%2F&e=/../", "/%70rivate", "/private?", "/private?x=%ff", "/private?//a;b"} {
			response, got := b.send(t, "GET", target, bearer)
			if got == nil {
				t.Errorf("%s: status %d", target, response.Status)
				continue
			}
			path, err := core.Canonical(got.Target, core.PathOptions{})
			if err != nil || path != "/private" {
				t.Errorf("%s arrives as %s: %v", target, got.Target, err)
			}
		}
		for _, target := range []string{
			"/public/../private", "/public/%2e%2e/private", "/public%2f..%2fprivate", "//public", "/public//", "/public;/../private", "/public;x=/private",
			`/public\..\private`, "/public/..%2fprivate", "/public/.", "/./public", "/public%00", "/%2570ublic", "/public%5c..%5cprivate", "/public%23/../private",
		} {
			response, got := b.send(t, "GET", target)
			if got == nil {
				if response.Status != 400 && response.Status != 401 && response.Status != 403 && response.Status != 404 {
					t.Errorf("%s: status %d", target, response.Status)
				}
				continue
			}
			// A proxy that resolves what has two readings serves what it asked about.
			if path, _, _ := strings.Cut(got.Target, "?"); path != "/public" {
				t.Errorf("%s is served as %s without a caller", target, got.Target)
			}
		}
	})
}
