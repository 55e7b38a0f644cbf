package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/core/coretest"
	"gatehouse/internal/host"
)

// rig is the service on real sockets, with a gate for the tokens of an issuer.
type rig struct {
	issuer *coretest.Issuer
	log    *coretest.Log
	// addresses of the listeners in their order.
	addresses []net.Addr
	stop      func() error
}

const everyDialect = `
endpoints:
  - {path: /auth/traefik, dialect: traefik, gate: main}
  - {path: /auth/nginx, dialect: nginx, gate: main}
  - {path: /auth/caddy, dialect: caddy, gate: main}
  - {path: /auth/haproxy, dialect: haproxy, gate: main}
  - {path: /auth/apisix, dialect: apisix, gate: main}
  - {path: /auth/envoy, dialect: envoy, gate: main}
  - {dialect: envoy-grpc, gate: main}
  - {path: /auth/other, dialect: traefik, gate: other}
`

const onLoopback = "listen: [{address: '127.0.0.1:0'}]\ntrusted_proxies: [127.0.0.1]\n"

// gates are main, and other, whose sessions the issuer's server knows.
func gates(issuer *coretest.Issuer, more string) string {
	return fmt.Sprintf(`
gates:
  main:
    realm: rig
    jwt: {issuers: [{issuer: %q, jwks_uri: %q, audience: [%q]}]}
    upstream_headers: {X-Auth-User: sub, X-Auth-Roles: roles, X-Auth-Name: name}
    strip_headers: [X-Internal]
    token_cookie: token
    login: {url: "https://login.test/start"}
    permission_table: |
      public: ["GET /public"]
      authenticated: ["GET,POST /private", "GET /items/[^/]+"]
%s
  other:
    session: {kratos_url: %[1]q}
    permission_table: |
      public: ["GET /other"]
      authenticated: ["GET /session"]
`, issuer.URL, issuer.URL+coretest.JWKSPath, coretest.Audience, more)
}

// newRig starts the service with settings for listeners and endpoints. The
// optional text goes into the gate main.
func newRig(t testing.TB, settings string, gate ...string) *rig {
	t.Helper()
	return startRig(t, settings, func(*service) {}, gate...)
}

// startRig is newRig with a change of the service before it starts.
func startRig(t testing.TB, settings string, change func(*service), gate ...string) *rig {
	t.Helper()
	r := &rig{issuer: coretest.NewIssuer(t, coretest.NewClock()), log: &coretest.Log{}}
	path := filepath.Join(t.TempDir(), "forwardauth.yaml")
	text := settings + gates(r.issuer, strings.Join(gate, "\n"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := newService(path, host.New(slog.New(slog.NewTextHandler(r.log, nil))).Gates)
	if err != nil {
		t.Fatal(err)
	}
	change(s)
	listeners, err := s.listen()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		r.addresses = append(r.addresses, l.Addr())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, listeners) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = r.stop() })
	return r
}

func (r *rig) dial(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial(r.addresses[0].Network(), r.addresses[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// send sends an auth request byte for byte, as no client library would.
func (r *rig) send(t testing.TB, method, target string, headers ...string) *http.Response {
	t.Helper()
	return exchange(t, r.dial(t), method, target, headers...)
}

func exchange(t testing.TB, conn net.Conn, method, target string, headers ...string) *http.Response {
	t.Helper()
	head := method + " " + target + " HTTP/1.1\r\nHost: gatehouse.test\r\n" + strings.Join(headers, "\r\n")
	if _, err := conn.Write([]byte(strings.TrimSuffix(head, "\r\n") + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// forwarded are the headers by which a dialect describes a request.
func forwarded(d *dialect, method, target string) []string {
	if d.own {
		return []string{"X-Forwarded-Proto: https"}
	}
	lines := []string{d.method + ": " + method, d.target + ": " + target, d.host + ": app.test", d.scheme + ": https", d.peer + ": 203.0.113.9"}
	if d.routed != "" {
		lines = append(lines, d.routed+": app.test")
	}
	return lines
}

// authRequest sends the auth request for a request in a dialect.
func (r *rig) authRequest(t testing.TB, d *dialect, method, target string, headers ...string) *http.Response {
	t.Helper()
	at := "/auth/" + d.name
	if d.own {
		return r.send(t, method, at+target, append(forwarded(d, method, target), headers...)...)
	}
	return r.send(t, "GET", at, append(forwarded(d, method, target), headers...)...)
}

func (r *rig) bearer() string { return "Authorization: Bearer " + r.issuer.Token(nil) }

// clientStatus is the status that a proxy of a dialect makes of a response.
func clientStatus(response *http.Response) string {
	if status := response.Header.Get(statusHeader); status != "" {
		return status
	}
	return fmt.Sprint(response.StatusCode)
}

func without(lines []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.HasPrefix(l, name+":") })
}
