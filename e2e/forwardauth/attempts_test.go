package forwardauth

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"gatehouse/dev/demo/upstream"
)

// from is a client of the proxy with an address of this machine.
func (b *bench) from(t *testing.T, address, token string) *http.Response {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	client := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+b.address+"/private", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("X-Forwarded-For", "203.0.113.7")
	request.Header.Set("X-Real-IP", "203.0.113.7")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// TestFailedAttemptsBehindRealProxies: the client of every proxy gets 429 with
// Retry-After, and other clients are let in.
func TestFailedAttemptsBehindRealProxies(t *testing.T) {
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) {
			foo, err := upstream.Start("foo", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(foo.Close)
			b := &bench{foo: foo, gate: map[string]any{"failed_attempts": map[string]any{"count": 5, "time_window": 300}}}
			b.start(t, p, benchTable, foo.Addr().String())
			good := b.issuer.Token(nil)
			if response := b.from(t, "127.0.0.2", good); response.StatusCode != 200 {
				t.Fatalf("a good token: %d", response.StatusCode)
			}
			for i := range 5 {
				if response := b.from(t, "127.0.0.2", fmt.Sprint("bad", i)); response.StatusCode != 401 {
					t.Errorf("attempt %d: %d", i, response.StatusCode)
				}
			}
			response := b.from(t, "127.0.0.2", "bad5")
			if h := response.Header; response.StatusCode != 429 || len(h.Get("Retry-After")) != 2 || h.Get("WWW-Authenticate") != "" || h.Get("Content-Type") != "application/problem+json" {
				t.Errorf("attempt 6: %d %v", response.StatusCode, h)
			}
			if response := b.from(t, "127.0.0.2", good); response.StatusCode != 200 {
				t.Errorf("a remembered good token: %d", response.StatusCode)
			}
			if response := b.from(t, "127.0.0.3", b.issuer.Token(map[string]any{"jti": "other"})); response.StatusCode != 200 {
				t.Errorf("another client: %d", response.StatusCode)
			}
		})
	}
}
