package idp

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Every error names the address, without its query, and what to do.
func TestFailedCallSaysWhatToDo(t *testing.T) {
	c, err := New(Options{Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	stuck := make(chan struct{})
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck }))
	defer plain.Close()
	defer close(stuck)
	closing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closing.Close()
	go func() {
		for {
			conn, err := closing.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 1024)) // the request, so that it is not the connection that fails
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(secure.Listener.Addr().String())
	quick, err := New(Options{Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string][]string{
		secure.URL + "/a":                                    {"certificate signed by unknown authority", "http.ca_file"},
		"https://localhost:" + port + "/a":                   {"not localhost", "use a host name of its certificate"},
		"https" + plain.URL[len("http"):] + "/a":             {"HTTP response to HTTPS client", "write http"},
		"http" + secure.URL[len("https"):] + "/a":            {"status 400", "it expects TLS there; write https"},
		"http://127.0.0.1:1/a":                               {"connection refused", "nothing listens there"},
		"http://no-such-host.invalid/a":                      {"no-such-host.invalid"},
		"http://" + closing.Addr().String() + "/a":           {"closed the connection without a response"},
		"http://" + plain.Listener.Addr().String() + "/slow": {"no answer in time (http.timeout is 50ms)"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"?token=secret", nil)
		if err != nil {
			t.Fatal(err)
		}
		by := c
		if strings.HasSuffix(address, "/slow") {
			by = quick
		}
		response, err := by.Do(req, 1000)
		if err == nil {
			err = response.Unexpected()
		}
		for _, part := range append(want, address) {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v; want %q", address, err, part)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the query is in the error: %v", address, err)
		}
	}
}
