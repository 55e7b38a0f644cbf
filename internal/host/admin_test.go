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
	"time"

	"gatehouse/core/config/token"
	"gatehouse/core/permission/live"
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
		done <- serveAdmin(ctx, l, adminHandler(http.NotFoundHandler(), atGates{}), http.NotFoundHandler())
	}()
	return l.Addr(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// atGates are gates with what they say.
type atGates struct {
	waiting []string
	tables  []live.Loaded
	keys    map[string]token.Published
}

func (g atGates) PublishedKeys() map[string]token.Published { return g.keys }

func (g atGates) Waiting() []string     { return g.waiting }
func (g atGates) Tables() []live.Loaded { return g.tables }

func TestReadyOnlyWhenNothingIsWaitedFor(t *testing.T) {
	g := atGates{waiting: []string{"jwks of https://id.test"}}
	h := adminHandler(http.NotFoundHandler(), &g)
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
	g.waiting, g.tables = nil, []live.Loaded{
		{Names: []string{"main"}, Version: "7-0123456789ab"},
		{Names: []string{"main.shadow"}, Version: "8-0123456789ab", Shadow: true, State: live.State{Copy: time.Unix(1, 0).UTC()}},
	}
	const want = `{"status":"OK","tables":[{"name":"main","version":"7-0123456789ab"},{"name":"main.shadow","version":"8-0123456789ab","shadow":true,"copy_of":"1970-01-01T00:00:01Z"}]}` + "\n"
	if status, body := get("/readyz"); status != 200 || body != want {
		t.Errorf("ready %d\n%s", status, body)
	}
}

func TestKeysOfMintedTokensAreServedByIssuer(t *testing.T) {
	one := map[string]token.Published{"https://a.test": {JWKS: []byte("keys a"), Metadata: []byte("about a")}}
	two := map[string]token.Published{"https://a.test": one["https://a.test"], "https://b.test/x": {JWKS: []byte("keys b")}}
	for _, c := range []struct {
		keys   map[string]token.Published
		path   string
		status int
		body   string
	}{
		{nil, "/.well-known/jwks.json", 404, "no configuration in use mints tokens"},
		{one, "/.well-known/jwks.json", 200, "keys a"},
		{one, "/.well-known/openid-configuration", 200, "about a"},
		{two, "/.well-known/jwks.json", 404, "name one with ?issuer=: https://a.test, https://b.test/x"},
		{two, "/.well-known/jwks.json?issuer=https%3A%2F%2Fb.test%2Fx", 200, "keys b"},
		{two, "/.well-known/jwks.json?issuer=https://c.test", 404, "name one"},
	} {
		w := httptest.NewRecorder()
		adminHandler(http.NotFoundHandler(), atGates{keys: c.keys}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, c.path, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
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
