package runner

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"

	"gatehouse/core/coretest"
	"gatehouse/internal/unixsocket"
)

var discard = slog.New(slog.DiscardHandler)

// running is a runner inside the test.
type running struct {
	socket string
	log    *coretest.Log
	stop   func()
	done   chan error
}

func startRunner(t testing.TB, o options) *running {
	t.Helper()
	r := &running{socket: socketPath(t), log: &coretest.Log{}, done: make(chan error, 1)}
	o.address = "unix:" + r.socket
	orElse(&o.lingerTime, time.Nanosecond)
	o.log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := newServer(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := unixsocket.Listen(r.socket, unixsocket.Options{Mode: socketMode, Replace: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() {
		r.done <- s.serve(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-r.done; err != nil {
			t.Errorf("the runner ended with %v", err)
		}
		r.done <- nil
	})
	return r
}

func (r *running) dial(t testing.TB) *gateway {
	t.Helper()
	return dial(t, r.socket)
}

func rewritePath(_ any, _ http.ResponseWriter, r pkgHTTP.Request) { r.SetPath([]byte("/admin")) }

// guardByTarget admits /public only.
func guardByTarget(_ any, w http.ResponseWriter, r pkgHTTP.Request) {
	if line, err := r.(RawRequest).RequestLine(); err != nil || !strings.HasPrefix(line, "GET /public") {
		w.WriteHeader(http.StatusForbidden)
	}
}
