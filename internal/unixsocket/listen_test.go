package unixsocket

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var replacing = Options{Mode: 0o600, Replace: true}

func mustListen(t *testing.T, path string, o Options) *Listener {
	t.Helper()
	l, err := Listen(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// leave leaves a socket without a process, as kill -9 does.
func leave(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func socketPath(t *testing.T) string { return filepath.Join(t.TempDir(), "probe.socket") }

func TestSocketOfAnotherProcessIsNotTakenOver(t *testing.T) {
	path := socketPath(t)
	first := mustListen(t, path, Options{Mode: 0o600})
	if _, err := Listen(path, Options{Mode: 0o600}); err == nil || !strings.Contains(err.Error(), path+" is in use by another process") {
		t.Errorf("Listen = %v", err)
	}
	if first.Replaced() || first.Removed() {
		t.Error("the first socket was taken away")
	}
}

// A process that cannot accept at the moment looks dead to a client, and is not.
func TestBusySocketIsNotTakenForALeftover(t *testing.T) {
	path := socketPath(t)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; { // until the backlog is full
		var c net.Conn
		if c, err = net.Dial("unix", path); err == nil {
			defer c.Close()
		}
	}
	if !errors.Is(err, syscall.EAGAIN) {
		t.Fatal(err)
	}
	if _, err := Listen(path, Options{Mode: 0o600}); err == nil || !strings.Contains(err.Error(), "may be in use by another process") {
		t.Errorf("Listen = %v", err)
	}
}

func TestLeftoverSocketIsReplaced(t *testing.T) {
	for _, o := range []Options{{Mode: 0o600}, replacing} {
		path := socketPath(t)
		leave(t, path)
		leave(t, beside(path))
		mustListen(t, path, o)
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if _, err := os.Lstat(beside(path)); !os.IsNotExist(err) {
			t.Errorf("the name under which the socket was made is left behind: %v", err)
		}
	}
}

func TestSocketClosedTwiceLeavesItsSuccessorAlone(t *testing.T) {
	path := socketPath(t)
	first := mustListen(t, path, replacing)
	first.Close()
	second := mustListen(t, path, replacing)
	first.file = second.file // as when the freed inode is used again
	first.Close()
	if second.Removed() || second.Replaced() {
		t.Error("the second Close removed another server's socket")
	}
}

func TestReplacedSocketIsNotRemovedByTheServerBefore(t *testing.T) {
	path := socketPath(t)
	first := mustListen(t, path, replacing)
	second := mustListen(t, path, replacing)
	if !first.Replaced() || first.Removed() || second.Replaced() {
		t.Error("the servers do not know whose the path is")
	}
	first.Close()
	if second.Removed() {
		t.Error("the second server's socket was removed")
	}
	second.Close()
	if !second.Removed() {
		t.Error("the last server left its socket behind")
	}
}

func TestFileThatIsNoSocketIsLeftAlone(t *testing.T) {
	path := socketPath(t)
	if err := os.WriteFile(path, []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{Mode: 0o600}, replacing} {
		if _, err := Listen(path, o); err == nil || !strings.Contains(err.Error(), path+" exists and is not a socket") {
			t.Errorf("Listen = %v, want an error that names the file", err)
		}
	}
	if data, _ := os.ReadFile(path); string(data) != "another's" {
		t.Error("the file was changed")
	}
}

func TestSocketIsFoundAtAllTimesOfATakeover(t *testing.T) {
	path := socketPath(t)
	servers := []*Listener{mustListen(t, path, replacing)} // open until the end, as those of processes that drain
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
			if err != nil && !errors.Is(err, syscall.EAGAIN) { // the backlog is full
				failed <- err
				return
			}
			if err == nil {
				c.Close()
			}
		}
	}()
	for range 200 {
		servers = append(servers, mustListen(t, path, replacing))
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	for _, s := range servers {
		s.Close()
	}
}

func TestSocketHasItsMode(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o660, 0o666} {
		path := socketPath(t)
		mustListen(t, path, Options{Mode: mode})
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got.Type() != fs.ModeSocket || got.Perm() != mode {
			t.Errorf("mode %v, want a socket with %v", got, mode)
		}
	}
}

// A host opens its socket and that of its admin listener at the same time.
func TestSocketsMadeAtTheSameTimeLeaveTheMaskOfTheProcess(t *testing.T) {
	mask := func() int {
		m := syscall.Umask(0)
		syscall.Umask(m)
		return m
	}
	before := mask()
	var all sync.WaitGroup
	for range 8 {
		dir := t.TempDir()
		all.Go(func() {
			for i := range 50 {
				if l, err := Listen(filepath.Join(dir, strconv.Itoa(i)), replacing); err == nil {
					l.Close()
				}
			}
		})
	}
	all.Wait()
	if after := mask(); after != before {
		t.Errorf("the mask is %o, was %o", after, before)
	}
}

func TestSocketPathThatCannotBeUsedIsExplained(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 100), "probe.socket")
	if _, err := Listen(long, replacing); err == nil || !strings.Contains(err.Error(), "may have 107: choose a shorter one") {
		t.Errorf("a long path: %v", err)
	}
	if _, err := Listen("/no/such/folder/probe.socket", replacing); err == nil || !strings.Contains(err.Error(), "the folder of the socket") {
		t.Errorf("a missing folder: %v", err)
	}
}

// A machine that is busy lets the moment pass in which a withdrawn socket accepts.
func TestClientsOfAWithdrawnSocketAreAcceptedHoweverLate(t *testing.T) {
	path := socketPath(t)
	l := mustListen(t, path, replacing)
	for range 3 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("call")); err != nil {
			t.Fatal(err)
		}
	}
	l.Withdraw()
	if err := l.SetDeadline(time.Unix(1, 0)); err != nil { // the moment has passed
		t.Fatal(err)
	}
	for range 3 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		call := make([]byte, 4)
		if _, err := io.ReadFull(c, call); err != nil || string(call) != "call" {
			t.Errorf("read %q, %v", call, err)
		}
	}
	if c, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Accept = %v, %v, want no further client", c, err)
	}
}
