package idp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/idp"
	"gatehouse/core/coretest"
	"gatehouse/core/fair"
)

// hostile is a header with which a client has a request fail or hang, whatever the state
// of the server.
const hostile = "X-Hostile"

// ask sends a request on behalf of a client.
func ask(t *testing.T, c *idp.Client, url, how string) error {
	t.Helper()
	ctx := fair.WithCaller(t.Context(), fair.Caller{Peer: fair.PeerOf(netip.MustParseAddr("192.0.2.1"))})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if how != "" {
		req.Header.Set(hostile, how)
	}
	_, err = c.Do(req, 1000)
	return err
}

func isOpen(c *idp.Client) bool {
	_, down := c.Hosts()
	return down > 0
}

func isHeldUp(err error) bool {
	var later *core.Later
	return errors.As(err, &later) && strings.Contains(err.Error(), "is tried again each second")
}

// until waits for what happens beside the calls.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 500 {
		if is() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal(what)
}

func TestProviderThatDoesNotRespondIsLeftAloneAndTriedAgain(t *testing.T) {
	for name, fail := range map[string]func(*coretest.Server){
		"hangs": (*coretest.Server).Hang,
		"drops": (*coretest.Server).Drop,
		"500":   status(500),
		"502":   status(502),
		"503":   status(503),
		"504":   status(504),
	} {
		t.Run(name, func(t *testing.T) {
			var log coretest.Log
			server := coretest.NewServer(t, http.HandlerFunc(hello))
			c := client(t, idp.Options{Timeout: 100 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if err := ask(t, c, server.URL, ""); err != nil {
				t.Fatal(err)
			}
			fail(server)
			until(t, "the breaker does not open", func() bool { _ = ask(t, c, server.URL, ""); return isOpen(c) })
			calls := server.Calls()
			heldUp := 0
			for range 200 {
				if isHeldUp(ask(t, c, server.URL, "")) {
					heldUp++
				}
			}
			if extra := server.Calls() - calls; heldUp != 200 || extra > 5 {
				t.Errorf("%d of 200 calls failed at once, %d were made", heldUp, extra)
			}
			server.Heal()
			until(t, "the breaker does not close", func() bool { return ask(t, c, server.URL, "") == nil })
			text := log.String()
			if strings.Count(text, "does not respond") != 1 || strings.Count(text, "responds again") != 1 || !strings.Contains(text, "host="+server.URL[len("http://"):]) {
				t.Errorf("the log says\n%s", text)
			}
		})
	}
}

func status(code int) func(*coretest.Server) {
	return func(s *coretest.Server) {
		s.Instead(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
}

// A stranger may know a credential at which the provider fails, hangs or hangs up.
func TestClientThatMakesTheProviderFailShutsOutNobodyElse(t *testing.T) {
	server := coretest.NewServer(t, http.HandlerFunc(hello))
	server.Instead(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get(hostile) {
		case "hang":
			<-r.Context().Done()
		case "drop":
			panic(http.ErrAbortHandler)
		case "":
			hello(w, r)
		default:
			w.WriteHeader(map[string]int{"400": 400, "401": 401, "429": 429, "500": 500, "501": 501, "503": 503}[r.Header.Get(hostile)])
		}
	})
	for _, how := range []string{"hang", "drop", "400", "401", "500", "501", "503"} {
		c := client(t, idp.Options{Timeout: 100 * time.Millisecond})
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for range 20 {
					if err := ask(t, c, server.URL, how); isHeldUp(err) {
						t.Errorf("%s: %v", how, err)
						return
					}
				}
			})
		}
		clients.Wait()
		if err := ask(t, c, server.URL, ""); err != nil || isOpen(c) {
			t.Errorf("%s: another client: %v", how, err)
		}
	}
}

func TestCallsThatAreGivenUpSayNothingOfTheProvider(t *testing.T) {
	server := coretest.NewServer(t, http.HandlerFunc(hello))
	server.Hang()
	c := client(t, idp.Options{Timeout: time.Minute})
	for i := range 30 {
		ctx, cancel := context.WithCancel(fair.WithCaller(t.Context(), fair.Caller{}))
		if i%2 == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Millisecond)
		} else {
			time.AfterFunc(time.Millisecond, cancel)
		}
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if _, err := c.Do(req, 10); err == nil {
			t.Error("it responds")
		}
		cancel()
	}
	if isOpen(c) {
		t.Error("the breaker is open because callers went away")
	}
}

// Keys are fetched with pauses of their own; the first fetch after an outage must not be
// lost.
func TestFetchOfKeysIsNotHeldUp(t *testing.T) {
	server := coretest.NewServer(t, http.HandlerFunc(hello))
	c := client(t, idp.Options{Timeout: 100 * time.Millisecond})
	server.Drop()
	for range 10 {
		_, _ = get(t, c, server.URL, 10)
	}
	if !isOpen(c) {
		t.Error("the breaker is not open")
	}
	server.Heal()
	if _, err := get(t, c, server.URL, 10); err != nil {
		t.Errorf("a call on nobody's behalf: %v", err)
	}
}

func TestEachHostHasABreakerOfItsOwn(t *testing.T) {
	good := coretest.NewServer(t, http.HandlerFunc(hello))
	c := client(t, idp.Options{Timeout: 100 * time.Millisecond})
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	until(t, "the breaker does not open", func() bool {
		_ = ask(t, c, fmt.Sprint("http://", gone.Addr()), "")
		return isOpen(c)
	})
	if err := ask(t, c, good.URL, ""); err != nil {
		t.Errorf("another host: %v", err)
	}
	if up, down := c.Hosts(); up != 1 || down != 1 {
		t.Errorf("%d up, %d down", up, down)
	}
}

// The error of a breaker names the host and the last failure, and no query.
func TestOpenBreakerTellsNoSecret(t *testing.T) {
	c := client(t, idp.Options{Timeout: 100 * time.Millisecond})
	var err error
	until(t, "the breaker does not open", func() bool {
		err = ask(t, c, "http://127.0.0.1:1/path?token=hunter2", "")
		return isHeldUp(err)
	})
	if strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "nothing listens there") {
		t.Errorf("says %v", err)
	}
}

// post sends a call on behalf of a client, which says how the host is tried: by a call
// with a token that the node has invented.
func post(t *testing.T, c *idp.Client, url, token string) error {
	t.Helper()
	make := func(token string) idp.Probe {
		return func(ctx context.Context) (*http.Request, error) {
			return http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("token="+token))
		}
	}
	ctx := fair.WithCaller(t.Context(), fair.Caller{Peer: fair.PeerOf(netip.MustParseAddr("192.0.2.1"))})
	req, err := make(token)(idp.WithProbe(ctx, make("invented")))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Do(req, 1000)
	return err
}

// An introspection endpoint whose database hangs responds to GET as ever.
func TestProviderThatHangsOnTheCallsThatMatterIsLeftAlone(t *testing.T) {
	var hangs atomic.Bool
	server := coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		_, _ = io.ReadAll(r.Body) // or the server does not see that the client goes
		if hangs.Load() {
			<-r.Context().Done()
		}
	}))
	c := client(t, idp.Options{Timeout: 100 * time.Millisecond})
	if err := post(t, c, server.URL, "good"); err != nil {
		t.Fatal(err)
	}
	hangs.Store(true)
	until(t, "the breaker does not open", func() bool { _ = post(t, c, server.URL, "good"); return isOpen(c) })
	for range 100 {
		if err := post(t, c, server.URL, "good"); !isHeldUp(err) {
			t.Fatalf("a call waits: %v", err)
		}
	}
	time.Sleep(1200 * time.Millisecond) // half-open: the probe hangs, too
	for range 100 {
		if err := post(t, c, server.URL, "good"); !isHeldUp(err) {
			t.Fatalf("a call waits while the host is tried: %v", err)
		}
	}
	hangs.Store(false)
	until(t, "the breaker does not close", func() bool { return post(t, c, server.URL, "good") == nil })
}

// Neither a client's credential nor one that the node invents opens the breaker by what
// the provider thinks of it.
func TestProviderThatFailsAtCredentialsIsNotShutOut(t *testing.T) {
	for name, fail := range map[string]func(http.ResponseWriter, *http.Request, string){
		"hangs at a client's credential": func(_ http.ResponseWriter, r *http.Request, token string) {
			if token == "hostile" {
				<-r.Context().Done()
			}
		},
		"500 to every credential that it does not know": func(w http.ResponseWriter, r *http.Request, token string) {
			if token != "good" && r.Method == http.MethodPost {
				w.WriteHeader(http.StatusInternalServerError)
			}
		},
	} {
		server := coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fail(w, r, strings.TrimPrefix(string(body), "token="))
		}))
		c := client(t, idp.Options{Timeout: 100 * time.Millisecond})
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for range 20 {
					_ = post(t, c, server.URL, "hostile")
				}
			})
		}
		clients.Wait()
		if err := post(t, c, server.URL, "good"); err != nil || isOpen(c) {
			t.Errorf("%s: another client: %v", name, err)
		}
	}
}
