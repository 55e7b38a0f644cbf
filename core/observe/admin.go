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
	if l.Addr().Network() == "tcp" {
		h = onlyByLocalNames(h)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// onlyByLocalNames refuses questions under another name than that of this
// machine: a browser here can be made to ask them for a page that has a name of
// its own point at loopback (DNS rebinding).
func onlyByLocalNames(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocalName(r.Host) {
			writeStatus(w, http.StatusMisdirectedRequest, nil)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func isLocalName(authority string) bool {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(authority, "["), "]")
	}
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
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

// listenUnix replaces the socket of an earlier process, which may still run: a
// gateway that reloads has two for a moment, and the newer one is to be heard.
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
	info, err := os.Lstat(path)
	if err := errors.Join(err, os.Chmod(path, 0o600)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return socket{l, path, info}, nil
}

// socket removes its file when it is closed, unless that is another's by now.
type socket struct {
	net.Listener
	path string
	info os.FileInfo
}

func (s socket) Close() error {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.info) {
		os.Remove(s.path) // whoever listens next removes it otherwise
	}
	return s.Listener.Close()
}
