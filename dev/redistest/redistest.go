// Package redistest starts real Redis servers for a test: one, with replicas and
// sentinels, or a Cluster. Only tests import it.
package redistest

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/dev/child"
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
	bus  *ports.Held // of a node of a Cluster
	args []string
	cmd  *exec.Cmd
	log  string
	tls  *tls.Config // of clients
}

// Start starts a server on loopback that keeps nothing on disk, with further
// arguments. It stops when the test ends.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return StartAt(t, "127.0.0.1", args...)
}

// StartAt is Start for another address of this machine, without a port.
func StartAt(t testing.TB, address string, args ...string) *Server {
	t.Helper()
	s := prepare(t, address, args...)
	s.Restart()
	return s
}

func prepare(t testing.TB, address string, args ...string) *Server {
	t.Helper()
	if os.Getenv(Skip) != "" {
		t.Skip(Skip + " is set")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("no Redis server found; apt-get install redis-server, or set " + Skip + "=1")
	}
	port, err := ports.Hold(net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: port.Addr(), t: t, port: port, args: args}
	t.Cleanup(func() {
		s.Stop()
		port.Release()
	})
	return s
}

// Restart starts the server again, empty, after Stop.
func (s *Server) Restart() {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	args := append(slices.Clone(s.args), "--bind", host, "--dir", s.t.TempDir(), "--repl-diskless-sync-delay", "0", "--protected-mode", "no")
	if s.tls != nil {
		args = append(args, "--port", "0", "--tls-port", port)
	} else {
		args = append(args, "--port", port)
	}
	if !slices.Contains(s.args, "--sentinel") {
		args = append(args, "--save", "", "--appendonly", "no")
	}
	s.cmd = exec.Command("redis-server", args...)
	s.log = filepath.Join(s.t.TempDir(), "redis.log")
	log, err := os.Create(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.await("to respond", func(c *goredis.Client) bool {
		var reply goredis.Error
		err := c.Ping(context.Background()).Err()
		return err == nil || errors.As(err, &reply)
	})
}

// await waits until something holds.
func (s *Server) await(what string, holds func(*goredis.Client) bool) {
	s.t.Helper()
	c := s.Client()
	defer c.Close()
	for range 1500 {
		if holds(c) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	text, _ := os.ReadFile(s.log)
	s.t.Fatalf("waited for Redis at %s %s\n%s", s.Addr, what, text)
}

// info waits until a line of INFO is there.
func (s *Server) info(section, line string) {
	s.t.Helper()
	s.await("to have "+line, func(c *goredis.Client) bool {
		text, err := c.Info(context.Background(), section).Result()
		return err == nil && strings.Contains(text, line+"\r\n")
	})
}

// Client is a plain client, for what a test looks at or breaks.
func (s *Server) Client() *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: s.Addr, DisableIdentity: true, TLSConfig: s.tls})
}

// Do sends a command.
func (s *Server) Do(command ...any) any {
	s.t.Helper()
	c := s.Client()
	defer c.Close()
	reply, err := c.Do(context.Background(), command...).Result()
	if err != nil && !errors.Is(err, goredis.Nil) {
		s.t.Fatalf("%v: %v", command, err)
	}
	return reply
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
func (s *Server) Freeze() {
	s.signal(syscall.SIGSTOP)
	child.AwaitFrozen(s.cmd.Process.Pid)
}

// Thaw ends Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Error(err)
	}
}

// Fill makes the server refuse whatever takes memory (OOM).
func (s *Server) Fill() {
	s.t.Helper()
	s.Do("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
}

// Empty ends Fill.
func (s *Server) Empty() {
	s.t.Helper()
	s.Do("CONFIG", "SET", "maxmemory", "0")
}

// SetUser makes or changes a user by the rules of ACL SETUSER. Connections keep their
// user, and have the user's new rights at once.
func (s *Server) SetUser(name string, rules ...string) {
	s.t.Helper()
	command := []any{"ACL", "SETUSER", name}
	for _, rule := range rules {
		command = append(command, rule)
	}
	s.Do(command...)
}
