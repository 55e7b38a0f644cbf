package idp_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core/authn/idp"
	"gatehouse/core/coretest"
)

func client(t testing.TB, o idp.Options) *idp.Client {
	t.Helper()
	c, err := idp.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func get(t testing.TB, c *idp.Client, url string, limit int64) (*idp.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Do(req, limit)
}

func hello(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) }

func TestRefusalIsComplete(t *testing.T) {
	server := coretest.NewServer(t, http.HandlerFunc(hello))
	response, err := get(t, client(t, idp.Options{}), server.URL, 5)
	if err != nil {
		t.Fatal(err)
	}
	if response.Status != 200 || string(response.Body) != "hello" {
		t.Errorf("got %d %q", response.Status, response.Body)
	}
	if agent := server.LastRequest(t).Header.Get("User-Agent"); agent != "gatehouse" {
		t.Errorf("User-Agent %q", agent)
	}
}

func TestOversizedProviderResponse(t *testing.T) {
	server := coretest.NewServer(t, http.HandlerFunc(hello))
	if _, err := get(t, client(t, idp.Options{}), server.URL, 4); err == nil {
		t.Error("5 bytes were read with a limit of 4")
	}
	server.Flood()
	if _, err := get(t, client(t, idp.Options{}), server.URL, 1<<20); err == nil {
		t.Error("an endless answer was read")
	}
}

func TestHangingProvider(t *testing.T) {
	server := coretest.NewServer(t, http.HandlerFunc(hello))
	server.Hang()
	_, err := get(t, client(t, idp.Options{Timeout: 50 * time.Millisecond}), server.URL, 10)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A body that trickles is within the timeout at every single read.
func TestSlowProviderResponseIsCutOff(t *testing.T) {
	server := coretest.NewServer(t, http.HandlerFunc(hello))
	server.Instead(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			time.Sleep(time.Millisecond)
		}
	})
	if _, err := get(t, client(t, idp.Options{Timeout: 100 * time.Millisecond}), server.URL, 1<<20); err == nil {
		t.Error("the answer never ended and was accepted")
	}
}

func TestCallsBeyondTheLimitAreNotQueuedForEver(t *testing.T) {
	server := coretest.NewServer(t, http.HandlerFunc(hello))
	arrived, release := make(chan struct{}), make(chan struct{})
	server.Instead(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		hello(w, r)
	})
	const limit = 3
	c := client(t, idp.Options{Timeout: time.Minute, MaxConcurrent: limit})
	var holders sync.WaitGroup
	for range limit {
		holders.Go(func() {
			if _, err := get(t, c, server.URL, 10); err != nil {
				t.Error(err)
			}
		})
		<-arrived
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(req, 10); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call beyond the limit: %v", err)
	}
	if n := server.Calls(); n != limit {
		t.Errorf("%d calls at once with a limit of %d", n, limit)
	}
	close(release)
	holders.Wait()
	server.Heal()
	if _, err := get(t, c, server.URL, 10); err != nil {
		t.Errorf("a slot was lost: %v", err)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	other := coretest.NewServer(t, http.HandlerFunc(hello))
	server := coretest.NewServer(t, http.HandlerFunc(hello))
	server.Redirect(other.URL)
	response, err := get(t, client(t, idp.Options{}), server.URL, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if response.Status != http.StatusTemporaryRedirect || other.Calls() != 0 {
		t.Errorf("status %d, %d calls to the other server", response.Status, other.Calls())
	}
}

// A provider that closes idle connections must not turn into errors.
func TestConnectionThatDiedIdle(t *testing.T) {
	server := coretest.NewServer(t, http.HandlerFunc(hello))
	c := client(t, idp.Options{})
	for range 20 {
		server.Instead(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")) // keep-alive, then gone
			conn.Close()
		})
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("a=b"))
		req.Header["Idempotency-Key"] = nil
		if _, err := c.Do(req, 10); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUntrustedProviderCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(hello))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of the refused handshake
	server.StartTLS()
	t.Cleanup(server.Close)

	if _, err := get(t, client(t, idp.Options{}), server.URL, 10); err == nil {
		t.Error("an unknown certificate was accepted")
	}
	if _, err := get(t, client(t, idp.Options{InsecureSkipVerify: true}), server.URL, 10); err != nil {
		t.Error(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, client(t, idp.Options{CAFile: ca}), server.URL, 10); err != nil {
		t.Error(err)
	}
}

func TestBadOptions(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []idp.Options{
		{Timeout: -1}, {MaxConcurrent: -1}, {CAFile: empty}, {CAFile: empty + ".absent"},
	} {
		if _, err := idp.New(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

// An environment variable reroutes nothing unless that was asked for.
func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	server := coretest.NewServer(t, http.HandlerFunc(hello))
	// The environment's proxy never serves loopback, so another name is used
	// for it.
	host := strings.Replace(server.URL, "127.0.0.1", "proxied.localhost", 1)
	if _, err := net.LookupHost("proxied.localhost"); err != nil {
		t.Skip("this resolver does not know names under localhost")
	}
	if _, err := get(t, client(t, idp.Options{}), host, 10); err != nil {
		t.Error(err)
	}
}

func TestSecretsInErrors(t *testing.T) {
	const secret = "hunter2hunter2"
	server := coretest.NewServer(t, http.HandlerFunc(hello))
	server.Drop()
	c := client(t, idp.Options{Timeout: time.Second})
	for _, url := range []string{
		server.URL + "/path?token=" + secret,
		strings.Replace(server.URL, "http://", "http://user:"+secret+"@", 1),
		"http://127.0.0.1:1/?token=" + secret,
	} {
		_, err := get(t, c, url, 10)
		if err == nil {
			t.Fatalf("%s answered", url)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error holds the secret: %v", err)
		}
	}
}

func TestParseURL(t *testing.T) {
	for text, good := range map[string]bool{
		"http://kratos:4433":                   true,
		"https://id.example.test/a/b?tenant=1": true,
		"":                                     false,
		"kratos:4433":                          false,
		"/sessions":                            false,
		"//kratos":                             false,
		"ftp://kratos":                         false,
		"http://":                              false,
		"http://:4433":                         false,
		"http://user:hunter2@kratos":           false,
		"http://kratos/#x":                     false,
		"http://kra tos":                       false,
		"http://user:hunter2@kra tos":          false,
	} {
		_, err := idp.ParseURL(text)
		if (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}
