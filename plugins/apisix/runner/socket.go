package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// socket is a listening unix socket that knows its file.
type socket struct {
	*net.UnixListener
	path string
	file fs.FileInfo
}

// listen binds the socket next to its place and moves it there with its final
// permissions. So it replaces the socket of a runner that is gone, or that is
// about to stop after a reload, without a moment in which there is none.
func listen(path string, mode fs.FileMode) (*socket, error) {
	if err := replaceable(path); err != nil {
		return nil, err
	}
	// A short name: the path of a socket must fit 107 bytes.
	fresh := filepath.Join(filepath.Dir(path), ".r"+strconv.Itoa(os.Getpid()))
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	s := &socket{UnixListener: l, path: path}
	if err := s.place(fresh, mode); err != nil {
		l.Close()
		os.Remove(fresh)
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return s, nil
}

func (s *socket) place(fresh string, mode fs.FileMode) error {
	if err := os.Chmod(fresh, mode); err != nil {
		return err
	}
	file, err := os.Lstat(fresh)
	if err != nil {
		return err
	}
	s.file = file
	return os.Rename(fresh, s.path)
}

// replaceable refuses to overwrite anything but a socket.
func replaceable(path string) error {
	file, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	if file.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: remove it or choose another address", path)
	}
	return nil
}

// remove deletes the socket, unless another runner has replaced it.
func (s *socket) remove() {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.file) {
		os.Remove(s.path)
	}
}
