package pluginserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core/coretest"
)

func mustListen(t *testing.T, path string) *socket {
	t.Helper()
	s, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
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
	if o := c.access(c.start("{}"), answers); !o.passed {
		t.Errorf("the new server is not reached: %+v", o)
	}
	if err := newServer.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the last server left its socket behind: %v", err)
	}
}

func TestSocketClosedTwiceLeavesItsSuccessorAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe.socket")
	first := mustListen(t, path)
	first.Close()
	second := mustListen(t, path)
	first.file = second.file // as when the freed inode is used again
	first.Close()
	if !second.ours() {
		t.Error("the second Close removed another server's socket")
	}
}

func TestStaleSocketFileIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe.socket")
	for _, stale := range []string{path, path + newSuffix} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close() // as after kill -9
	}
	s := serveAt(t, plugin(threeCalls), path)
	c := dial(t, s.path)
	if o := c.access(c.start("{}"), answers); !o.passed {
		t.Errorf("got %+v", o)
	}
	if _, err := os.Lstat(path + newSuffix); !os.IsNotExist(err) {
		t.Errorf("the name under which the socket was made is left behind: %v", err)
	}
}

func TestFileThatIsNoSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe.socket")
	if err := os.WriteFile(path, []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("listen = %v, want an error that names the file", err)
	}
	if data, _ := os.ReadFile(path); string(data) != "somebody's" {
		t.Error("the file was changed")
	}
}

func TestKongFindsASocketAtAllTimesOfAReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe.socket")
	current := mustListen(t, path)
	stop, failed := make(chan bool), make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, err := net.Dial("unix", path)
			if err != nil && !strings.Contains(err.Error(), "resource temporarily unavailable") { // the backlog is full
				failed <- err
				return
			}
			if err == nil {
				c.Close()
			}
		}
	}()
	olds := []*socket{current} // open until the end, as Kong's old workers keep theirs
	for range 200 {
		olds = append(olds, mustListen(t, path))
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	for _, s := range olds {
		s.Close()
	}
}

func TestSocketIsForItsOwnerOnly(t *testing.T) {
	s := mustListen(t, filepath.Join(t.TempDir(), "probe.socket"))
	info, err := os.Lstat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got.Type() != fs.ModeSocket || got.Perm() != 0o600 {
		t.Errorf("mode %v, want a socket with 0600", got)
	}
}

func TestSocketPathThatCannotBeUsedIsExplained(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 100), "probe.socket")
	if _, err := listen(long); err == nil || !strings.Contains(err.Error(), "shorter Kong prefix") {
		t.Errorf("a long path: %v", err)
	}
	if _, err := listen("/no/such/folder/probe.socket"); err == nil || !strings.Contains(err.Error(), "prefix") {
		t.Errorf("a missing folder: %v", err)
	}
}

// kill -9 of the Kong worker that started a server leaves the server behind.
func TestOrphanGivesWayToTheServerThatTookItsSocket(t *testing.T) {
	w := watch(t, func() bool { return true })
	w.staysFor(t, 50*time.Millisecond)
	mustListen(t, w.socket.path)
	<-w.stopped
	if !strings.Contains(w.log.String(), w.socket.path) {
		t.Errorf("the log does not say why: %q", w.log.String())
	}
}

// After a reload Kong's old worker finishes its requests and then sends its
// plugin servers a SIGTERM in turn. One that is gone by then makes Kong 3.9 fail,
// and those that it lists afterwards get none.
func TestReloadedServerWaitsUntilItsWorkerEndsIt(t *testing.T) {
	var orphaned atomic.Bool
	w := watch(t, orphaned.Load)
	mustListen(t, w.socket.path)
	w.staysFor(t, 50*time.Millisecond)
	orphaned.Store(true)
	<-w.stopped
}

// Kong starts another server only when this one has ended.
func TestServerWithoutASocketMakesRoomForAnother(t *testing.T) {
	w := watch(t, func() bool { return false })
	if err := os.Remove(w.socket.path); err != nil {
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

// watched is a server's socket while somebody watches whether it was replaced.
type watched struct {
	socket  *socket
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
