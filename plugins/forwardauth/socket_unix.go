//go:build unix

package main

import (
	"io/fs"
	"net"
	"os"
	"syscall"
)

// listenUnix makes a socket that nobody else can open before it has its mode.
// It runs before anything else does, so the process-wide mask harms nobody.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	mask := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(mask)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
