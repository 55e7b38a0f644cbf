package pluginserver

import (
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
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
	s := mustListen(t, filepath.Join(t.TempDir(), "probe.socket"))
	stopped := make(chan bool)
	stop := func() { close(stopped) }
	ctx := t.Context()
	log := &coretest.Log{}
	go func() {
		defer func() { recover() }() // a second stop closes a closed channel
		stopWhenReplaced(ctx, stop, s, time.Millisecond, slog.New(slog.NewTextHandler(log, nil)))
	}()
	select {
	case <-stopped:
		t.Fatal("stopped while the socket was its own")
	case <-time.After(50 * time.Millisecond):
	}
	mustListen(t, s.path)
	<-stopped
	if !strings.Contains(log.String(), s.path) {
		t.Errorf("the log does not say why: %q", log.String())
	}
}
