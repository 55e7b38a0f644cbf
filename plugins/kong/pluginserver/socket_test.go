package pluginserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/internal/unixsocket"
)

func mustListen(t *testing.T, path string) *unixsocket.Listener {
	t.Helper()
	l, err := unixsocket.Listen(path, socketOptions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// During a reload the new server takes the path while the old one still runs.
func TestSocketOfTheNewServerSurvivesTheOldOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe.socket")
	oldServer := serveAt(t, plugin(nil), path)
	newServer := serveAt(t, plugin(threeCalls), path)
	if err := oldServer.stop(); err != nil {
		t.Fatal(err)
	}
	c := dial(t, path)
	if o := c.access(c.start("{}"), ordinary); !o.passed {
		t.Errorf("the new server is not reached: %+v", o)
	}
	if err := newServer.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the last server left its socket behind: %v", err)
	}
}

// kill -9 of the Kong worker that started a server leaves the server behind.
func TestOrphanStopsOnceItsSocketIsReplaced(t *testing.T) {
	w := watch(t, func() bool { return true })
	w.staysFor(t, 50*time.Millisecond)
	mustListen(t, w.socket.Path())
	<-w.stopped
	if !strings.Contains(w.log.String(), w.socket.Path()) {
		t.Errorf("the log does not say why: %q", w.log.String())
	}
}

// After a reload Kong's old worker finishes its requests and then sends its
// plugin servers a SIGTERM in turn. One that is gone by then makes Kong 3.9 fail,
// and those that it lists afterwards get none.
func TestReloadedServerWaitsUntilItsWorkerEndsIt(t *testing.T) {
	var orphaned atomic.Bool
	w := watch(t, orphaned.Load)
	mustListen(t, w.socket.Path())
	w.staysFor(t, 50*time.Millisecond)
	orphaned.Store(true)
	<-w.stopped
}

// Kong starts another server only when this one has ended.
func TestServerWhoseSocketIsRemovedStops(t *testing.T) {
	w := watch(t, func() bool { return false })
	if err := os.Remove(w.socket.Path()); err != nil {
		t.Fatal(err)
	}
	<-w.stopped
}

func TestOrphanKnowsThatItsStarterHasEnded(t *testing.T) {
	if os.Getenv("ORPHAN_TEST") != "" {
		lost := orphaned()
		fmt.Println("started")
		for !lost() {
			time.Sleep(time.Millisecond)
		}
		fmt.Println("orphaned")
		return
	}
	// The shell is the worker: it starts the test and is killed.
	shell := exec.Command("sh", "-c", os.Args[0]+" -test.run=^TestOrphanKnowsThatItsStarterHasEnded$ & wait")
	shell.Env = append(os.Environ(), "ORPHAN_TEST=1")
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, want := range []string{"started", "orphaned"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("the process says %q (%v), want %q", lines.Text(), lines.Err(), want)
		}
		if err := shell.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
	}
	_ = shell.Wait() // it was killed
}

// watched is a server's socket with a watch on whether it was replaced.
type watched struct {
	socket  *unixsocket.Listener
	stopped chan bool
	log     *coretest.Log
}

func watch(t *testing.T, orphaned func() bool) watched {
	t.Helper()
	w := watched{mustListen(t, filepath.Join(t.TempDir(), "probe.socket")), make(chan bool), &coretest.Log{}}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	stop := func() { cancel(); close(w.stopped) }
	go stopWhenReplaced(ctx, stop, w.socket, orphaned, time.Millisecond, slog.New(slog.NewTextHandler(w.log, nil)))
	return w
}

func (w watched) staysFor(t *testing.T, long time.Duration) {
	t.Helper()
	select {
	case <-w.stopped:
		t.Fatal("stopped too early")
	case <-time.After(long):
	}
}
