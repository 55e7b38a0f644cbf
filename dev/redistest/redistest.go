// Package redistest starts a real Redis server for a test. Only tests import it.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/dev/ports"
)

// Skip is the environment variable that skips tests which need Redis.
const Skip = "GATEHOUSE_SKIP_REDIS"

// Server is a Redis server that can fail in the ways that servers do.
type Server struct {
	// Addr is HOST:PORT.
	Addr string

	t    testing.TB
	port *ports.Held
	args []string
	cmd  *exec.Cmd
}

// Start starts a server that keeps nothing on disk, with further arguments. It stops
// when the test ends.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if os.Getenv(Skip) != "" {
		t.Skip(Skip + " is set")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("no Redis server found; apt-get install redis-server, or set " + Skip + "=1")
	}
	port, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: port.Addr(), t: t, port: port, args: args}
	t.Cleanup(func() {
		s.Stop()
		port.Release()
	})
	s.Restart()
	return s
}

// StartSentinel starts a sentinel that watches a master of that name.
func StartSentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sentinel.conf")
	host, port, _ := net.SplitHostPort(master.Addr)
	text := fmt.Sprintf("sentinel monitor %s %s %s 1\n", name, host, port)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Start(t, path, "--sentinel")
}

// Restart starts the server again, empty, after Stop.
func (s *Server) Restart() {
	s.t.Helper()
	port := strconv.Itoa(s.port.Port())
	args := append(slices.Clone(s.args), "--bind", "127.0.0.1", "--port", port, "--dir", s.t.TempDir())
	if !slices.Contains(s.args, "--sentinel") {
		args = append(args, "--save", "", "--appendonly", "no")
	}
	s.cmd = exec.Command("redis-server", args...)
	log, err := os.Create(filepath.Join(s.t.TempDir(), "redis.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ready(log.Name())
}

func (s *Server) ready(log string) {
	s.t.Helper()
	c := s.Client()
	defer c.Close()
	var err error
	for range 200 {
		var reply goredis.Error
		if err = c.Ping(context.Background()).Err(); err == nil || errors.As(err, &reply) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	text, _ := os.ReadFile(log)
	s.t.Fatalf("Redis does not respond: %v\n%s", err, text)
}

// Client is a plain client, for what a test looks at or breaks.
func (s *Server) Client() *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: s.Addr, DisableIdentity: true})
}

// Stop ends the server, as with a machine that goes away. Its content is lost.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	s.signal(syscall.SIGKILL)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Freeze keeps the server from responding while its connections stay open.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Error(err)
	}
}
