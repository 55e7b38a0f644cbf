package spiffetest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Agent serves the bundles of authorities by the SPIFFE Workload API on a Unix socket.
type Agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	// Address is that of the socket.
	Address string
	path    string

	mu          sync.Mutex
	server      *grpc.Server
	authorities []*Authority
	changed     chan struct{}
	refusal     error
	hangs       bool
}

// NewAgent starts an agent.
func NewAgent(t testing.TB, authorities ...*Authority) *Agent {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // a path of a test is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "agent.sock")
	a := &Agent{Address: "unix://" + path, path: path, authorities: authorities, changed: make(chan struct{})}
	a.Start(t)
	t.Cleanup(a.Stop)
	return a
}

// Start serves, also after Stop.
func (a *Agent) Start(t testing.TB) {
	t.Helper()
	listener := listen(t, a.path)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.server = grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(a.server, a)
	go func(s *grpc.Server) { _ = s.Serve(listener) }(a.server)
}

// Stop ends the server and all streams.
func (a *Agent) Stop() {
	a.mu.Lock()
	server := a.server
	a.mu.Unlock()
	server.Stop()
}

// Set pushes the bundles of these authorities, and of no other.
func (a *Agent) Set(authorities ...*Authority) {
	a.change(func() { a.authorities = authorities })
}

// Push pushes the bundles as they are now.
func (a *Agent) Push() { a.change(func() {}) }

// Refuse ends all streams with a code from now on, as an agent does that knows no workload
// of the caller; OK: it goes on.
func (a *Agent) Refuse(code codes.Code) {
	a.change(func() { a.refusal = status.Error(code, "no identity issued") })
}

// Hang has the agent say nothing from now on.
func (a *Agent) Hang() { a.change(func() { a.hangs = true }) }

func (a *Agent) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.changed)
	a.changed = make(chan struct{})
}

// stream sends what there is, and again after each change.
func (a *Agent) stream(ctx context.Context, send func([]*Authority) error) error {
	if header, _ := metadata.FromIncomingContext(ctx); len(header.Get("workload.spiffe.io")) == 0 {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		a.mu.Lock()
		authorities, changed, refusal, hangs := a.authorities, a.changed, a.refusal, a.hangs
		a.mu.Unlock()
		if status.Code(refusal) != codes.OK {
			return refusal
		}
		if !hangs {
			if err := send(authorities); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// FetchX509Bundles is of the Workload API.
func (a *Agent) FetchX509Bundles(_ *workload.X509BundlesRequest, s grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	return a.stream(s.Context(), func(authorities []*Authority) error {
		bundles := map[string][]byte{}
		for _, one := range authorities {
			var der bytes.Buffer
			for _, c := range one.bundle.X509Authorities() {
				der.Write(c.Raw)
			}
			bundles[one.Domain.IDString()] = der.Bytes()
		}
		return s.Send(&workload.X509BundlesResponse{Bundles: bundles})
	})
}

// FetchJWTBundles is of the Workload API.
func (a *Agent) FetchJWTBundles(_ *workload.JWTBundlesRequest, s grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	return a.stream(s.Context(), func(authorities []*Authority) error {
		bundles := map[string][]byte{}
		for _, one := range authorities {
			text, err := one.bundle.JWTBundle().Marshal()
			if err != nil {
				return err
			}
			bundles[one.Domain.IDString()] = text
		}
		return s.Send(&workload.JWTBundlesResponse{Bundles: bundles})
	})
}
