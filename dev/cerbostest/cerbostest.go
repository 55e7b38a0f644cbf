// Package cerbostest starts the real Cerbos for tests, with policies on disk, and stops it
// when the test ends. Only tests import it.
package cerbostest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"gatehouse/dev/npm"
	"gatehouse/dev/ports"
	"gatehouse/dev/process"
)

// Server is a running Cerbos.
type Server struct {
	*process.Process
	// URL is its address, without a trailing slash.
	URL string

	t        testing.TB
	policies string
}

const settings = `
server: {httpListenAddr: %q, grpcListenAddr: %q}
storage: {driver: disk, disk: {directory: %q, watchForChanges: true}}
telemetry: {disabled: true}
`

// Start runs Cerbos with a policy for documents. Cerbos follows its file. There is a program
// of npm for amd64 alone: the test is skipped elsewhere.
func Start(t testing.TB, policy []byte) *Server {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skipf("npm has no Cerbos for %s", runtime.GOARCH)
	}
	modules, _ := npm.Modules(t)
	http, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(http.Release)
	grpc, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(grpc.Release)
	s := &Server{URL: "http://" + http.Addr(), t: t, policies: t.TempDir()}
	s.Write(policy)
	s.Process, err = process.Start(t.Context(), process.Launch{
		Name: "cerbos", Binary: filepath.Join(modules, "node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64"),
		Args:  []string{"server", "--config", "settings.yaml", "--log-level", "warn"},
		Env:   []string{"CERBOS_NO_TELEMETRY=1"},
		Files: map[string][]byte{"settings.yaml": fmt.Appendf(nil, settings, http.Addr(), grpc.Addr(), s.policies)},
		Ready: s.URL + "/_cerbos/health",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Write changes the policy on disk.
func (s *Server) Write(policy []byte) {
	s.t.Helper()
	path := filepath.Join(s.policies, "document.yaml")
	if err := os.WriteFile(path+".new", policy, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}
