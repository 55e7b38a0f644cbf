package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"
)

// Ready says what is not loaded yet; an empty list means ready.
type Ready func() []string

// AdminHandler serves /healthz (the process answers), /readyz (every table and
// key set is loaded) and /metrics.
func AdminHandler(m *Metrics, ready Ready) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeStatus(w, http.StatusOK, nil)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		waiting := ready()
		status := http.StatusOK
		if len(waiting) > 0 {
			status = http.StatusServiceUnavailable
		}
		writeStatus(w, status, waiting)
	})
	mux.Handle("GET /metrics", m.Handler())
	return mux
}

func writeStatus(w http.ResponseWriter, status int, waiting []string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(struct {
		Status  string   `json:"status"`
		Waiting []string `json:"waiting,omitempty"`
	}{http.StatusText(status), waiting})
}

// ServeAdmin serves a handler until ctx ends. The address is host:port on
// loopback, or unix: and the path of a socket that only this user can open:
// metrics name rules and providers, which is nobody else's business.
func ServeAdmin(ctx context.Context, address string, h http.Handler) error {
	l, err := listenAdmin(address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func listenAdmin(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return listenUnix(path)
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("admin address %q: want an IP address and port on loopback, such as 127.0.0.1:9464, or unix:/path", address)
	}
	return net.Listen("tcp", address)
}

// listenUnix replaces the socket that an earlier process left.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
