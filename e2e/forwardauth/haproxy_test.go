package forwardauth

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTruncatedAuthRequestIsDenied: a client that closes its side of the
// connection ends the action under abortonclose, and HAProxy goes on without it.
func TestTruncatedAuthRequestIsDenied(t *testing.T) {
	b := newBench(t, changed(t, "haproxy", change{"haproxy.cfg", "defaults\n", "defaults\n    option abortonclose\n"}), benchTable)
	if err := b.service.hang(); err != nil {
		t.Fatal(err)
	}
	defer b.service.cmd.Process.Signal(syscall.SIGCONT)
	for _, request := range []string{
		"GET /private HTTP/1.1\r\nHost: a.test\r\nX-Auth-User: root\r\n\r\n",
		"POST /private HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\na=b",
		"DELETE /else HTTP/1.0\r\nHost: a.test\r\n\r\n",
	} {
		b.foo.Forget()
		c, err := net.Dial("tcp", b.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, request)
		c.(*net.TCPConn).CloseWrite()
		c.SetDeadline(time.Now().Add(startLimit))
		response, err := io.ReadAll(c)
		if received := b.foo.Received(); err != nil || len(received) > 0 || !strings.HasPrefix(string(response), "HTTP/1.1 503 ") {
			t.Errorf("%.20q: %.30q, %v, arrived %v", request, response, err, received)
		}
	}
}

// TestFailedActionOfHAProxyDenies: HAProxy logs what goes wrong in Lua, and goes on.
func TestFailedActionOfHAProxyDenies(t *testing.T) {
	for what, lua := range map[string]string{
		"before the auth request": "local function auth_headers(txn)\n  error('x')",
		"endless":                 "local function auth_headers(txn)\n  while true do end",
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t, changed(t, "haproxy", change{"gatehouse.lua", "local function auth_headers(txn)", lua},
				change{"haproxy.cfg", "global\n", "global\n    tune.lua.session-timeout 100ms\n"}), benchTable)
			for _, target := range []string{"/private", "/public"} {
				if response, got := b.send(t, "GET", target, b.bearer(nil)); response.Status != 503 || got != nil {
					t.Errorf("%s: status %d, arrived %v", target, response.Status, got)
				}
			}
		})
	}
}

// TestMoreHeaderLinesThanHAProxysClientHoldsAreRefused: they overran its stack, which
// ended HAProxy, or were left out of the auth request, whose response then was about
// another request.
func TestMoreHeaderLinesThanHAProxysClientHoldsAreRefused(t *testing.T) {
	b := newBench(t, named(t, "haproxy"), benchTable)
	statuses := map[int]int{}
	for n := 80; n < 110; n++ {
		for _, override := range []string{"X-HTTP-Method-Override: DELETE", "X-Original-URL: /private"} {
			headers := []string{override}
			for i := range n {
				headers = append(headers, fmt.Sprintf("X-%d: a", i))
			}
			response, got := b.send(t, "GET", "/public", headers...)
			if got != nil || response.Status != 400 && response.Status != 431 {
				t.Errorf("%d lines and %s: status %d, arrived %v", n, override, response.Status, got)
			}
			if response, got = b.send(t, "GET", "/public", headers[1:]...); (got != nil) != (response.Status == 200) {
				t.Errorf("%d lines: status %d, arrived %v", n, response.Status, got)
			}
			statuses[response.Status]++
		}
	}
	// What there is room for is let through, and HAProxy itself refuses what is
	// too much for it.
	if len(statuses) != 3 || statuses[200] < 20 || statuses[431] == 0 || statuses[400] == 0 {
		t.Errorf("responses by status: %v", statuses)
	}
}

// TestDefaultsInModeTCPOpenNothing: the example's frontend in a configuration that
// says nothing about the mode, or tcp, in which http-request is ignored.
func TestDefaultsInModeTCPOpenNothing(t *testing.T) {
	for _, mode := range []string{"", "    mode tcp\n"} {
		b := newBench(t, changed(t, "haproxy", change{"haproxy.cfg", "defaults\n    mode http\n", "defaults\n" + mode}), benchTable)
		for target, want := range map[string]int{"/private": 401, "/public": 200} {
			if response, got := b.send(t, "GET", target); response.Status != want || (got != nil) != (want == 200) {
				t.Errorf("defaults with %q, %s: status %d, arrived %v", mode, target, response.Status, got)
			}
		}
	}
}

// TestLongRequestDoesNotShedIdentityHeaders: HAProxy writes a header only if there is
// room in its buffer, which a client can fill to lose the one that restricts it.
func TestLongRequestDoesNotShedIdentityHeaders(t *testing.T) {
	b := newBench(t, changed(t, "haproxy", change{"haproxy.cfg", "    tune.bufsize 65536\n    tune.maxrewrite 16384\n", ""}), benchTable)
	want := map[string]string{"X-Auth-User": strings.Repeat("n", 700), "X-User-Id": "user-1", "X-User-Email": strings.Repeat("e", 700)}
	bearer := b.bearer(map[string]any{"name": want["X-Auth-User"], "email": want["X-User-Email"]})
	statuses := map[int]int{}
	for size := 11000; size < 15000; size += 100 {
		response, got := b.send(t, "GET", "/private", bearer, "X-Filler: "+strings.Repeat("a", size))
		if (got != nil) != (response.Status == 200) {
			t.Errorf("%d bytes: status %d, arrived %v", size, response.Status, got)
		}
		if got != nil {
			wantIdentity(t, fmt.Sprintf("%d bytes", size), got, want)
		}
		statuses[response.Status]++
	}
	if statuses[200] == 0 || statuses[431] == 0 {
		t.Errorf("responses by status: %v", statuses)
	}
}

// TestOlderHAProxyDoesNotStart: without an HTTP client for Lua nothing would
// decide.
func TestOlderHAProxyDoesNotStart(t *testing.T) {
	program, err := named(t, "haproxy").find()
	if err != nil {
		t.Fatal(err)
	}
	s := site{dir: t.TempDir()}
	lua, err := shipped("haproxy/gatehouse.lua")
	config, err2 := shipped("haproxy/haproxy.cfg", "version_atleast(2.6)", "version_atleast(99.0)")
	if err := errors.Join(err, err2, s.write("gatehouse.lua", lua), s.write("haproxy.cfg", config)); err != nil {
		t.Fatal(err)
	}
	check := exec.Command(program, "-c", "-f", "haproxy.cfg")
	check.Dir = s.dir
	if out, err := check.CombinedOutput(); err == nil || !strings.Contains(string(out), "Gatehouse needs HAProxy 2.6 or newer") {
		t.Errorf("%v\n%s", err, out)
	}
}
