// Package unixsocket is how the hosts serve a unix socket: it takes a path over,
// accepts connections and ends them when the process stops.
package unixsocket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Options say how a path is taken over.
type Options struct {
	// Mode is the permission of the socket.
	Mode fs.FileMode
	// Replace takes the path over from a process that still serves it, as
	// gateways want it: for a moment of a reload two processes run, and the newer
	// one is to be reached. Otherwise such a path is an error: its process would
	// keep running and get no connection any more.
	Replace bool
}

// Listener is a socket that knows whether its path still leads to it.
type Listener struct {
	*net.UnixListener
	path string
	file fs.FileInfo // of the socket, to tell it from a successor's

	once sync.Once
	err  error
}

var _ Socket = (*Listener)(nil)

// fresh is the name under which a socket is made, in the folder of its path. It
// is short because the path of a socket is.
const fresh = ".new"

// maxPath is Linux's sun_path less the terminating zero.
const maxPath = 107

// Listen makes a socket at path. A socket that a process left there is replaced in
// one step, so that clients find one at all times. A file of any other kind is left
// alone. Before the socket has its mode only this user can open it.
func Listen(path string, o Options) (*Listener, error) {
	if longest := max(len(path), len(beside(path))); longest > maxPath {
		return nil, fmt.Errorf("the path of the socket is %d bytes long and may have %d: choose a shorter one (%s)", len(path), maxPath-longest+len(path), path)
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := o.checkReplaceable(path); err != nil {
		return nil, err
	}
	l, err := bind(beside(path), o.Mode)
	if err != nil {
		return nil, fmt.Errorf("making the socket %s: %w", path, err)
	}
	if err := os.Rename(beside(path), path); err != nil {
		l.UnixListener.Close()
		os.Remove(beside(path))
		return nil, fmt.Errorf("putting the socket in place: %w", err)
	}
	l.path = path
	return l, nil
}

func beside(path string) string { return filepath.Join(filepath.Dir(path), fresh) }

func (o Options) checkReplaceable(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for an old socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: remove it, or choose another path", path)
	}
	if o.Replace {
		return nil
	}
	return checkLeftover(path)
}

// checkLeftover allows only what is certain: the kernel refuses a connection to a
// socket without a process. A process that is too busy to accept one is there.
func checkLeftover(path string) error {
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("%s is in use by another process", path)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("%s may be in use by another process: %w", path, err)
}

// masked is held while the mask of the process is another: two that change it at the
// same time would leave it changed.
var masked sync.Mutex

// bind makes the socket. The mask is the process's: what other goroutines create
// at this moment is for this user alone too.
func bind(path string, mode fs.FileMode) (*Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing a socket that was left behind: %w", err)
	}
	masked.Lock()
	mask := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(mask)
	masked.Unlock()
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(path, mode)
	file, statErr := os.Lstat(path)
	if err = errors.Join(err, statErr); err != nil {
		l.Close()
		os.Remove(path)
		return nil, err
	}
	return &Listener{UnixListener: l, file: file}, nil
}

// Path is where clients find the socket.
func (l *Listener) Path() string { return l.path }

// Addr is the path, not the name under which the socket was made.
func (l *Listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Replaced reports whether the path leads to another file than this socket. The
// result is certain while the socket is open: until then its inode is not used
// again.
func (l *Listener) Replaced() bool {
	now, err := os.Lstat(l.path)
	return err == nil && !os.SameFile(l.file, now)
}

// Removed reports whether the path leads to no file at all.
func (l *Listener) Removed() bool {
	_, err := os.Lstat(l.path)
	return errors.Is(err, fs.ErrNotExist)
}

// Current reports whether the path leads to this socket.
func (l *Listener) Current() bool {
	now, err := os.Lstat(l.path)
	return err == nil && os.SameFile(l.file, now)
}

// backlogTime is how long a withdrawn socket waits for a client that was about to
// connect. Those that have connected are accepted at once.
const backlogTime = 20 * time.Millisecond

// Withdraw removes the socket's file, unless it is another server's by now, and
// lets Accept return what waits on the socket, for a moment.
func (l *Listener) Withdraw() {
	l.remove()
	_ = l.SetDeadline(time.Now().Add(backlogTime)) // fails on a closed socket only
}

// Accept returns what waits on a withdrawn socket also when that moment is over, as
// where the machine was too busy to accept it before.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.UnixListener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if waiting, err := l.acceptAtOnce(); err == nil {
			return waiting, nil
		}
	}
	return c, err
}

// acceptAtOnce asks the system itself: the deadline keeps the library from it.
func (l *Listener) acceptAtOnce() (net.Conn, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var acceptErr error
	err = raw.Control(func(listener uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if fd, _, acceptErr = syscall.Accept(int(listener)); acceptErr == nil {
			syscall.CloseOnExec(fd)
		}
	})
	if err := errors.Join(err, acceptErr); err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), l.path)
	defer file.Close() // the connection has a descriptor of its own
	return net.FileConn(file)
}

// Close removes the socket's file, unless it is another server's by now, and
// stops listening. It does so once: afterwards the path may lead to a successor
// with the same inode.
func (l *Listener) Close() error {
	l.once.Do(func() { l.err = l.close() })
	return l.err
}

func (l *Listener) close() error {
	l.remove()
	return l.UnixListener.Close()
}

// remove may be called while the socket is open: until then its inode is not used
// again.
func (l *Listener) remove() {
	if unlock, err := lockFolder(filepath.Dir(l.path)); err == nil {
		defer unlock()
	}
	if l.Current() {
		_ = os.Remove(l.path)
	}
}

// lockTime is how long another process may hold the lock on a folder. It needs it
// for a few system calls.
const lockTime = 5 * time.Second

// lockFolder keeps two processes from exchanging a socket at the same time. The
// lock is on the folder itself and ends with the process at the latest.
func lockFolder(path string) (unlock func(), err error) {
	folder, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the folder of the socket: %w", err)
	}
	for end := time.Now().Add(lockTime); ; time.Sleep(time.Millisecond) {
		err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { folder.Close() }, nil
		}
		if retry := err == syscall.EINTR || err == syscall.EWOULDBLOCK; !retry || time.Now().After(end) {
			folder.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
	}
}
