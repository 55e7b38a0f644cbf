package child_test

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/dev/child"
)

// output collects lines and wakes whoever waits for one.
type output struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func newOutput() *output { return &output{more: make(chan struct{}, 1000)} }

func (o *output) add(_ int, line string) {
	o.mu.Lock()
	o.lines = append(o.lines, line)
	o.mu.Unlock()
	o.more <- struct{}{}
}

func (o *output) await(t *testing.T, line string, times int) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		o.mu.Lock()
		n := 0
		for _, l := range o.lines {
			if l == line {
				n++
			}
		}
		o.mu.Unlock()
		if n >= times {
			return
		}
		select {
		case <-o.more:
		case <-deadline:
			t.Fatalf("line %q came %d times, want %d", line, n, times)
		}
	}
}

func TestKilledProcessIsStartedAgain(t *testing.T) {
	out := newOutput()
	c, err := child.Start(child.Spec{
		Path: "/bin/sh", Args: []string{"-c", "echo up; echo err >&2; exec sleep 1000"},
		Output:  out.add,
		Respawn: func(time.Duration) time.Duration { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop(time.Second)
	out.await(t, "up", 1)
	out.await(t, "err", 1)
	first := c.PID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	out.await(t, "up", 2)
	if c.PID() == first {
		t.Error("the process id did not change")
	}
}

func TestStopEndsTheProcessForGood(t *testing.T) {
	out := newOutput()
	c, err := child.Start(child.Spec{
		Path: "/bin/sh", Args: []string{"-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"},
		Output:  out.add,
		Respawn: func(time.Duration) time.Duration { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	out.await(t, "up", 1)
	pid := c.PID()
	c.Stop(10 * time.Millisecond) // it ignores SIGTERM
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("still running")
	}
	if c.PID() != pid {
		t.Error("started again after Stop")
	}
}

func TestStartNamesTheMissingProgram(t *testing.T) {
	_, err := child.Start(child.Spec{Path: "/no/such/plugin", Output: func(int, string) {}})
	if err == nil {
		t.Fatal("no error")
	}
}
