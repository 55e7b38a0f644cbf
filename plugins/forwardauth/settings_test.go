package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/core/coretest"
)

// check runs the program with -check on settings in a file.
func check(t *testing.T, settings string) (code int, stdout, stderr string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "forwardauth.yaml")
	if err := os.WriteFile(path, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	code = run(context.Background(), []string{"-config", path, "-check"}, &out, &errOut)
	return code, strings.ReplaceAll(out.String(), path, "FILE"), strings.ReplaceAll(errOut.String(), path, "FILE")
}

const gateMain = `
gates:
  main:
    session: {kratos_url: "http://127.0.0.1:4433"}
    permission_table: "public: [GET /public]"
`

func TestEveryErrorOfTheSettingsIsReported(t *testing.T) {
	for name, c := range map[string]struct{ settings, want string }{
		"nothing": {"{}", `FILE: configuration has 3 mistake(s)
  endpoints: is required: The path and dialect of each proxy's auth requests, and the gate that decides.
  gates: is required: Gates by name. Each is a configuration as on every other host: all settings, or a file.
  listen: is required: Where to listen.
`},
		"misspelt": {"listen: [{adress: x}]\ntrusted_proxy: []\n" + gateMain, `FILE: configuration has 4 mistake(s)
  endpoints: is required: The path and dialect of each proxy's auth requests, and the gate that decides.
  listen[0].address: is required: host:port, or unix: and the path of a socket. HTTP/1.1 and HTTP/2 are spoken on each, HTTP/2 without TLS with prior knowledge (RFC 9113 section 3.3).
  listen[0].adress: is not a setting; did you mean listen[0].address?
  trusted_proxy: is not a setting; did you mean trusted_proxies? It lists the addresses of the proxies; what other peers send is refused.
`},
		"all kinds": {`
listen:
  - {address: "4180"}
  - {address: "127.0.0.1:4180", trusted: true}
  - {address: "unix:/run/x", mode: "0999"}
  - {address: "127.0.0.1:65536"}
  - {address: "unix:", trusted: true}
  - {address: "unix:@gatehouse", trusted: true}
trusted_proxies: [10.0.0.1/8, proxy.internal, 10.0.0.0/8]
endpoints:
  - {path: auth, dialect: traefik, gate: main}
  - {path: /auth/traefik/, dialect: traefik, gate: none}
  - {path: "/auth/%2e", dialect: nginx, gate: main}
  - {path: /auth/envoy, dialect: envoy, gate: main}
  - {path: /auth/envoy/other, dialect: caddy, gate: main}
  - {path: /auth/grpc, dialect: envoy-grpc, gate: main}
  - {dialect: envoy-grpc, gate: main}
gates:
  main: {sesion: {}, permission_table: "public: [GET /public]"}
  empty: {}
  text: yes
  elsewhere: {file: /nonexistent/gatehouse.yaml}
`, `FILE: configuration has 21 mistake(s)
  listen[0].address: is neither host:port nor unix:/path
  listen[1].trusted: is for unix sockets; name the proxies in trusted_proxies
  listen[2].mode: is no mode such as 0660, in quotes
  listen[3].address: is neither host:port nor unix:/path
  listen[4].address: must be the whole path of a socket, such as unix:/run/gatehouse/forwardauth.sock
  listen[5].address: must be the whole path of a socket, such as unix:/run/gatehouse/forwardauth.sock
  trusted_proxies[0]: has bits beyond its length; did you mean 10.0.0.0/8?
  trusted_proxies[1]: is neither an address nor a network such as 10.0.0.0/8
  endpoints[0].path: must be a path such as /auth/traefik, of letters, digits, '-', '_', '.' and inner slashes
  endpoints[1].gate: names no gate; there are elsewhere, empty, main, text
  endpoints[1].path: must be a path such as /auth/traefik, of letters, digits, '-', '_', '.' and inner slashes
  endpoints[2].path: must be a path such as /auth/nginx, of letters, digits, '-', '_', '.' and inner slashes
  endpoints[4].path: is the same as, above or below that of another endpoint, /auth/envoy
  endpoints[5].path: does not go with envoy-grpc, whose path is fixed
  endpoints[6]: is the second with envoy-grpc; choose the gate by context_extensions.gatehouse_gate
  gates.elsewhere.file: open /nonexistent/gatehouse.yaml: no such file or directory
  gates.empty: no way to authenticate: set session, jwt, introspection, api_token, mtls, spiffe or oidc
  gates.empty.permission_table: is needed, or permission_table_files: without a table every request is denied
  gates.main: no way to authenticate: set session, jwt, introspection, api_token, mtls, spiffe or oidc
  gates.main.sesion: is not a setting; did you mean gates.main.session?
  gates.text: must be a map of settings
`},
		"no peer is trusted": {"listen: [{address: '127.0.0.1:0'}]\nendpoints: [{path: /a, dialect: caddy, gate: main}]" + gateMain, `FILE: configuration has 1 mistake(s)
  trusted_proxies: is empty and no listener is trusted: every question would be refused
`},
		"unknown dialect": {"listen: [{address: '127.0.0.1:0'}]\ntrusted_proxies: ['::1']\nendpoints: [{path: /a, dialect: squid, gate: main}]" + gateMain, `FILE: configuration has 1 mistake(s)
  endpoints[0].dialect: must be one of traefik, nginx, caddy, haproxy, apisix, envoy, envoy-grpc, direct
`},
	} {
		code, _, stderr := check(t, c.settings)
		if code != 1 || stderr != c.want {
			t.Errorf("%s: exit %d\n%s\nwant\n%s", name, code, stderr, c.want)
		}
	}
}

func TestGoodSettingsLoad(t *testing.T) {
	code, stdout, stderr := check(t, onLoopback+strings.ReplaceAll(everyDialect, "gate: other", "gate: main")+gateMain)
	if code != 0 || stdout != "FILE loads\n" || stderr != "" {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
}

func TestSecretOfAGateIsNotInTheErrors(t *testing.T) {
	const secret = "s3cr3t-client-secret"
	code, stdout, stderr := check(t, onLoopback+everyDialect+`
gates:
  main: {introspection: {client_secret: `+secret+`, client_sekret: `+secret+`, introspection_endpoint: 5}}
`)
	if code != 1 || strings.Contains(stdout+stderr, secret) {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
}

func TestWrongCommandLine(t *testing.T) {
	for _, args := range [][]string{{"-what"}, {"stray"}, {"-config"}} {
		var out, errOut bytes.Buffer
		if code := run(context.Background(), args, &out, &errOut); code != 2 || !strings.Contains(errOut.String(), "usage: gatehouse-forwardauth") {
			t.Errorf("%v: exit %d, %s", args, code, errOut.String())
		}
	}
	for flag, want := range map[string]string{"-version": "gatehouse-forwardauth ", "-help": "Usage of gatehouse-forwardauth"} {
		var out bytes.Buffer
		if code := run(context.Background(), []string{flag}, &out, &out); code != 0 || !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s: exit %d, %s", flag, code, out.String())
		}
	}
}

// The admin listener is a socket of its own, that no auth request reaches.
func TestAdminListenerIsNotForProxies(t *testing.T) {
	dir := t.TempDir()
	path, admin, proxies := filepath.Join(dir, "forwardauth.yaml"), filepath.Join(dir, "admin"), filepath.Join(dir, "proxies")
	text := "listen: [{address: 'unix:" + proxies + "', trusted: true}]\n" + strings.ReplaceAll(everyDialect, "gate: other", "gate: main") + gateMain
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"-config", path, "-admin", "unix:" + admin}, io.Discard, io.Discard) }()
	for socket, want := range map[string]int{admin: 200, proxies: 503} {
		var conn net.Conn
		for err := error(os.ErrNotExist); err != nil; {
			conn, err = net.Dial("unix", socket)
		}
		if response := exchange(t, conn, "GET", "/healthz"); response.StatusCode != want {
			t.Errorf("%s: status %d, want %d", filepath.Base(socket), response.StatusCode, want)
		}
		conn.Close()
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}
}

// TestHangupDoesNotEndTheService: "systemctl reload" and the hooks of certificate
// tools send SIGHUP, by which a process that does not know it ends at once, and
// every request is refused until it is back.
func TestHangupDoesNotEndTheService(t *testing.T) {
	dir := t.TempDir()
	path, proxies := filepath.Join(dir, "forwardauth.yaml"), filepath.Join(dir, "proxies")
	text := "listen: [{address: 'unix:" + proxies + "', trusted: true}]\nendpoints: [{path: /auth/caddy, dialect: caddy, gate: main}]" + gateMain
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	log, done := &coretest.Log{}, make(chan int, 1)
	go func() { done <- run(ctx, []string{"-config", path}, io.Discard, log) }()
	dial := func() (conn net.Conn) {
		for err := error(os.ErrNotExist); err != nil; {
			conn, err = net.Dial("unix", proxies)
		}
		return conn
	}
	dial().Close() // from here on it listens to signals
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(log.String(), "SIGHUP changes nothing") {
		time.Sleep(time.Millisecond)
	}
	conn := dial()
	defer conn.Close()
	if response := exchange(t, conn, "GET", "/auth/caddy", forwarded(dialectNamed("caddy"), "GET", "/public")...); response.StatusCode != 200 {
		t.Errorf("status %d", response.StatusCode)
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}
}
