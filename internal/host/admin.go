package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"gatehouse/internal/unixsocket"
)

// adminHandler serves /healthz (the process is up), /readyz (every table and
// key set is loaded) and /metrics. waiting lists what is not loaded yet.
func adminHandler(metrics http.Handler, waiting func() []string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeStatus(w, http.StatusOK, nil)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		missing := waiting()
		status := http.StatusOK
		if len(missing) > 0 {
			status = http.StatusServiceUnavailable
		}
		writeStatus(w, status, missing)
	})
	mux.Handle("GET /metrics", metrics)
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

// serveAdmin serves a handler until ctx ends.
func serveAdmin(ctx context.Context, l net.Listener, h http.Handler) error {
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

// onlyByLocalNames refuses requests for another host than this machine: a page in
// a browser here can have a name of its own point at loopback (DNS rebinding).
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

// listenAdmin opens the admin address: host:port on loopback, or unix: and the path
// of a socket that only this user can open, since metrics name rules and providers.
// Of two processes, which run for a moment while a gateway reloads, the newer one
// gets the path of the socket.
func listenAdmin(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return unixsocket.Listen(path, unixsocket.Options{Mode: 0o600, Replace: true})
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("admin address %q: want an IP address and port on loopback, such as 127.0.0.1:9464, or unix:/path", address)
	}
	return net.Listen("tcp", address)
}
