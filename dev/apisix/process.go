package apisix

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"gatehouse/dev/child"
)

const maxSocketPath = 107 // of sockaddr_un, without its final NUL

func (g *Gateway) prepareSocket() error {
	socket := g.opts.RunnerSocket
	if socket == "" {
		home, err := g.home()
		if err != nil {
			return err
		}
		socket = filepath.Join(home, "conf", fmt.Sprintf("apisix-%d.sock", os.Getpid()))
		if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
			return err
		}
	}
	if len(socket) > maxSocketPath {
		return fmt.Errorf("the socket %s is longer than the %d bytes that a unix socket may have: choose a shorter Dir", socket, maxSocketPath)
	}
	g.runner = newRunnerClient(socket, g.opts.ReadTimeout, g.tokens, g.now)
	return nil
}

// home is the folder for the socket.
func (g *Gateway) home() (_ string, err error) {
	if g.opts.Dir != "" {
		return filepath.Abs(g.opts.Dir)
	}
	g.tmp, err = os.MkdirTemp("", "apisix-")
	return g.tmp, err
}

// managedRunner is a runner of the gateway's own. Retired means that its end is
// the gateway's wish: then the tokens stay, as they do in APISIX.
type managedRunner struct {
	*child.Child
	retired atomic.Bool
	ended   chan struct{} // gets a value for each end
}

func (g *Gateway) startRunner() error {
	command := g.opts.RunnerCommand
	if g.opts.RunnerSocket != "" || len(command) == 0 {
		if len(command) == 0 && g.opts.RunnerSocket == "" {
			g.log.Warn("no plugin runner is configured: requests that need one get 503")
		}
		return nil
	}
	m := &managedRunner{ended: make(chan struct{}, 1)}
	before, _ := os.Lstat(g.runner.socket) // of the runner that ends
	listed := slices.Concat(g.opts.Env, g.state.Load().config.referenced)
	process, err := child.Start(child.Spec{
		Path: command[0], Args: command[1:], Dir: cmp.Or(g.opts.Dir, filepath.Dir(g.opts.Config)),
		Env:     runnerEnv(listed, g.runner.socket, os.LookupEnv),
		Respawn: func(time.Duration) time.Duration { return g.opts.RespawnDelay },
		Output:  child.LogTo(g.log, filepath.Base(command[0])),
		Exited:  func(pid int, err error) { g.runnerExited(m, pid, err) },
	})
	if err != nil {
		return fmt.Errorf("the plugin runner: %w", err)
	}
	m.Child = process
	g.process = m
	g.awaitRunner(m, before)
	return nil
}

func (g *Gateway) runnerExited(m *managedRunner, pid int, err error) {
	select {
	case m.ended <- struct{}{}:
	default:
	}
	if m.retired.Load() {
		return
	}
	g.log.Warn("runner exited; all tokens are forgotten", "pid", pid, "error", err, "respawn", g.opts.RespawnDelay)
	g.tokens.flush()
	g.runner.forget()
}

const (
	startLimit = 10 * time.Second
	startPause = 5 * time.Millisecond
)

// awaitRunner waits until the runner listens, on another socket than the one before.
func (g *Gateway) awaitRunner(m *managedRunner, before os.FileInfo) {
	limit := time.After(startLimit)
	for {
		err := tryRunner(g.runner.socket, before)
		if err == nil {
			return
		}
		select {
		case <-m.ended:
			return
		case <-limit:
			g.log.Warn("the runner does not accept connections", "socket", g.runner.socket, "error", err)
			return
		case <-time.After(startPause):
		}
	}
}

var errOldSocket = errors.New("the socket is still that of the runner before")

func tryRunner(socket string, before os.FileInfo) error {
	now, err := os.Lstat(socket)
	switch {
	case err != nil:
		return err
	case before != nil && os.SameFile(before, now) && before.ModTime().Equal(now.ModTime()):
		return errOldSocket
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	return conn.Close()
}

// runnerGrace is what APISIX gives a runner between SIGTERM and SIGKILL.
const runnerGrace = time.Second

// retired is the runner, which is from now on to end, or nil. The idle connections
// are closed first: new workers have none, and a runner may wait for them.
func (g *Gateway) retired() *managedRunner {
	if g.runner != nil {
		g.runner.forget()
	}
	runner := g.process
	if runner != nil {
		runner.retired.Store(true)
		g.process = nil
	}
	return runner
}
