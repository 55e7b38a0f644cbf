package pluginserver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// socket is a listener that knows whether its path still leads to it. During a
// reload Kong has two servers alive, and the new one takes the path over.
type socket struct {
	*net.UnixListener
	path string
	file fs.FileInfo // of the socket, to tell it from a successor's

	once sync.Once
	err  error
}

var _ net.Listener = (*socket)(nil)

// maxSocketPath is Linux's sun_path less the terminating zero and the suffix
// under which a socket is made.
const maxSocketPath = 107 - len(newSuffix)

const newSuffix = ".new"

// listen makes a socket at path, which only this user may connect to. A socket
// that is there already is replaced in one step, so that Kong finds one at all
// times; a file of any other kind is left alone.
func listen(path string) (*socket, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the socket's path is %d bytes long and may have %d: choose a shorter Kong prefix (%s)", len(path), maxSocketPath, path)
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := checkReplaceable(path); err != nil {
		return nil, err
	}
	s, err := bind(path + newSuffix)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(path+newSuffix, path); err != nil {
		s.UnixListener.Close()
		return nil, fmt.Errorf("putting the socket in place: %w", err)
	}
	s.path = path
	return s, nil
}

func checkReplaceable(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for an old socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: remove it, or choose another Kong prefix", path)
	}
	return nil
}

func bind(path string) (*socket, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing a socket that was left behind: %w", err)
	}
	mask := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("making the socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	file, err := os.Lstat(path)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("making the socket: %w", err)
	}
	return &socket{UnixListener: l, file: file}, nil
}

// ours reports whether the path still leads to this socket. The answer is
// certain while the socket is open: until then its inode is not used again.
func (s *socket) ours() bool {
	now, err := os.Lstat(s.path)
	return err == nil && os.SameFile(s.file, now)
}

// gone reports whether the path leads to no socket at all.
func (s *socket) gone() bool {
	_, err := os.Lstat(s.path)
	return errors.Is(err, fs.ErrNotExist)
}

// Close removes the socket's file, unless it is another server's by now, and
// stops listening. It does so once: afterwards the path may lead to a successor
// with the same inode.
func (s *socket) Close() error {
	s.once.Do(func() { s.err = s.close() })
	return s.err
}

func (s *socket) close() error {
	if unlock, err := lockFolder(filepath.Dir(s.path)); err == nil {
		defer unlock()
	}
	if s.ours() {
		_ = os.Remove(s.path)
	}
	return s.UnixListener.Close()
}

// lockFolder keeps two servers from exchanging the same socket at one time. The
// lock is on the folder itself and ends with the process at the latest.
func lockFolder(path string) (unlock func(), err error) {
	folder, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the folder of the socket, which is Kong's prefix: %w", err)
	}
	if err := flock(int(folder.Fd())); err != nil {
		folder.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { folder.Close() }, nil
}

func flock(fd int) error {
	for {
		if err := syscall.Flock(fd, syscall.LOCK_EX); err != syscall.EINTR {
			return err
		}
	}
}
