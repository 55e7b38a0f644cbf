package host

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gatehouse/core/config/token"
	"gatehouse/core/permission/live"
	"gatehouse/internal/unixsocket"
)

// gates say what decides requests.
type gates interface {
	// Waiting lists what is not loaded yet.
	Waiting() []string
	// Tables lists the permission tables in use.
	Tables() []live.Loaded
	// PublishedKeys are the keys of the issuers whose tokens are minted.
	PublishedKeys() map[string]token.Published
}

// adminHandler serves /healthz (the process is up), /readyz (every table and
// key set is loaded, and which tables), /metrics, and the public keys by which services
// verify minted tokens.
func adminHandler(metrics http.Handler, g gates) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeStatus(w, http.StatusOK, readiness{})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready := readiness{Waiting: g.Waiting(), Tables: tablesForJSON(g.Tables())}
		status := http.StatusOK
		if len(ready.Waiting) > 0 {
			status = http.StatusServiceUnavailable
		}
		writeStatus(w, status, ready)
	})
	mux.Handle("GET /metrics", metrics)
	mux.Handle("GET /.well-known/jwks.json", ofIssuer(g, func(p token.Published) []byte { return p.JWKS }))
	mux.Handle("GET /.well-known/openid-configuration", ofIssuer(g, func(p token.Published) []byte { return p.Metadata }))
	return mux
}

// readiness is the body of a response.
type readiness struct {
	Status  string      `json:"status"`
	Waiting []string    `json:"waiting,omitempty"`
	Tables  []tableJSON `json:"tables,omitempty"`
}

// tableJSON is a permission table in force, or a shadow table that is compared.
type tableJSON struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Shadow  bool   `json:"shadow,omitempty"`
	// CopyOf is when the copy was saved that a table comes from.
	CopyOf *time.Time `json:"copy_of,omitempty"`
}

func tablesForJSON(all []live.Loaded) []tableJSON {
	out := make([]tableJSON, len(all))
	for i, t := range all {
		out[i] = tableJSON{Name: tableName(t.Names), Version: t.Version, Shadow: t.Shadow}
		if !t.Copy.IsZero() {
			out[i].CopyOf = &t.Copy
		}
	}
	slices.SortFunc(out, func(a, b tableJSON) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version))
	})
	return slices.Compact(out)
}

func writeStatus(w http.ResponseWriter, status int, body readiness) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	body.Status = http.StatusText(status)
	json.NewEncoder(w).Encode(body)
}

// serveAdmin serves what every program of this machine may read, and on a socket what
// only this user may, until ctx ends.
func serveAdmin(ctx context.Context, l net.Listener, open, private http.Handler) error {
	mux := http.NewServeMux()
	mux.Handle("/", open)
	h := http.Handler(mux)
	if l.Addr().Network() == "unix" {
		mux.Handle("/revocations", private)
	} else {
		mux.HandleFunc("/revocations", onlyBySocket)
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
			writeStatus(w, http.StatusMisdirectedRequest, readiness{})
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
