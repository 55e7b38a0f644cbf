package host

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// serveAt serves the admin pages at an address until the test ends or stop is called.
func serveAt(t *testing.T, address string) (at net.Addr, stop func()) {
	t.Helper()
	l, err := listenAdmin(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serveAdmin(ctx, l, adminHandler(http.NotFoundHandler(), func() []string { return nil }))
	}()
	return l.Addr(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestReadyOnlyWhenNothingIsWaitedFor(t *testing.T) {
	waiting := []string{"jwks of https://id.test"}
	h := adminHandler(http.NotFoundHandler(), func() []string { return waiting })
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if status, body := get("/readyz"); status != 503 || !strings.Contains(body, "jwks of https://id.test") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := get("/healthz"); status != 200 {
		t.Errorf("health %d", status)
	}
	waiting = nil
	if status, _ := get("/readyz"); status != 200 {
		t.Errorf("ready %d", status)
	}
}

func TestAdminListenerIsNotOpenToTheNetwork(t *testing.T) {
	for _, address := range []string{"0.0.0.0:9180", ":9180", "192.0.2.1:9180", "[::]:9180", "localhost:9180", ""} {
		_, err := listenAdmin(address)
		if err == nil || !strings.Contains(err.Error(), "want an IP address and port on loopback") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// A page in a browser on this machine can have a name of its own point at
// loopback, and then read what it fetches from there.
func TestDNSRebindingOfTheAdminListener(t *testing.T) {
	at, stop := serveAt(t, "127.0.0.1:0")
	defer stop()
	address := at.String()
	port := address[strings.LastIndexByte(address, ':'):]
	for host, want := range map[string]int{
		address: 200, "localhost" + port: 200, "LOCALHOST": 200, "127.0.0.1": 200, "[::1]" + port: 200,
		"evil.test": 421, "evil.test" + port: 421, "127.0.0.1.evil.test": 421, "localhost.evil.test" + port: 421, "192.0.2.1" + port: 421, "[::2]": 421, "": 421,
	} {
		if got := statusFor(t, address, host); got != want {
			t.Errorf("%q: status %d, want %d", host, got, want)
		}
	}
}

// statusFor requests the health of an address under another name.
func statusFor(t *testing.T, address, host string) int {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// Two processes run for a moment while a gateway reloads; the older one must
// not take the newer one's socket away as it ends.
func TestAdminSocketOutlivesTheProcessBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	_, stopOlder := serveAt(t, "unix:"+path)
	_, stopNewer := serveAt(t, "unix:"+path)
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	stopOlder()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the newer one cannot be reached any more: %v", err)
	}
	conn.Close()
	stopNewer()
	if _, err := os.Lstat(path); err == nil {
		t.Error("a socket is left behind")
	}
}
