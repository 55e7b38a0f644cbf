// Package child keeps a plugin process running as the gateways do: output line
// by line into a log, started again whenever it ends.
package child

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Spec says what to run.
type Spec struct {
	Path string
	Args []string
	// Dir is the working folder; the current one if empty.
	Dir string
	// Env is the whole environment; nil passes on the current one.
	Env []string
	// Respawn gives the pause before the next start, from how long the process
	// lived. Nil means it is not started again.
	Respawn func(lived time.Duration) time.Duration
	// Output gets each line of stdout and stderr, cut at 8 KiB. Required.
	Output func(pid int, line string)
	// Exited is called at each end, before the pause. May be nil.
	Exited func(pid int, err error)
}

// Child is a supervised process.
type Child struct {
	spec Spec

	mu      sync.Mutex
	cmd     *exec.Cmd
	stopped chan struct{}
	done    chan struct{}
}

// Start runs the process, and goes on running it until [Child.Stop].
func Start(spec Spec) (*Child, error) {
	c := &Child{spec: spec, stopped: make(chan struct{}), done: make(chan struct{})}
	if err := c.spawn(); err != nil {
		return nil, err
	}
	go c.supervise()
	return c, nil
}

// PID is the id of the process that runs, or ran last.
func (c *Child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cmd.Process.Pid
}

// Stop ends the process: SIGTERM, and SIGKILL after grace. It is not started
// again.
func (c *Child) Stop(grace time.Duration) {
	c.mu.Lock()
	select {
	case <-c.stopped:
	default:
		close(c.stopped)
	}
	process := c.cmd.Process
	c.mu.Unlock()

	_ = process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(grace):
		_ = process.Kill()
		<-c.done
	}
}

func (c *Child) spawn() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	cmd := exec.Command(c.spec.Path, c.spec.Args...)
	cmd.Dir, cmd.Env = c.spec.Dir, c.spec.Env
	lines := &lineWriter{}
	cmd.Stdout, cmd.Stderr = lines, lines // the same value: one pipe, lines stay whole
	lines.emit = func(line string) { c.spec.Output(cmd.Process.Pid, line) }
	cmd.WaitDelay = time.Second // its own children may hold the pipe
	select {
	case <-c.stopped:
		return errStopped
	default:
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.spec.Path, err)
	}
	c.cmd = cmd
	return nil
}

func (c *Child) supervise() {
	defer close(c.done)
	for {
		started := time.Now()
		err := c.cmd.Wait()
		if c.spec.Exited != nil {
			c.spec.Exited(c.cmd.Process.Pid, err)
		}
		if c.spec.Respawn == nil || !c.respawn(time.Since(started)) {
			return
		}
	}
}

// respawn pauses and starts the process anew; it tries until it works or Stop
// is called.
func (c *Child) respawn(lived time.Duration) bool {
	for {
		select {
		case <-c.stopped:
			return false
		case <-time.After(c.spec.Respawn(lived)):
		}
		err := c.spawn()
		if err == nil || errors.Is(err, errStopped) {
			return err == nil
		}
		c.spec.Output(0, err.Error())
		lived = 0
	}
}

var errStopped = errors.New("stopped")

const maxLine = 8 << 10

// lineWriter splits output into lines. exec calls it from one goroutine.
type lineWriter struct {
	emit func(string)
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		end := bytes.IndexByte(w.rest, '\n')
		switch {
		case end >= 0:
			w.emit(string(w.rest[:end]))
			w.rest = w.rest[end+1:]
		case len(w.rest) >= maxLine:
			w.emit(string(w.rest[:maxLine]))
			w.rest = w.rest[maxLine:]
		default:
			return len(p), nil
		}
	}
}
