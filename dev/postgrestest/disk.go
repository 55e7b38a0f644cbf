package postgrestest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// StartOnSmallDisk is StartServer with its data on a disk of so many bytes, which FillDisk
// fills. It skips the test where no disk can be mounted.
func StartOnSmallDisk(t testing.TB, size string, args ...string) *Server {
	t.Helper()
	s := prepare(t, "127.0.0.1", args...)
	check(t, os.Mkdir(s.data(), 0o700))
	if err := syscall.Mount("tmpfs", s.data(), "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Skipf("no disk can be mounted: %v", err)
	}
	t.Cleanup(func() {
		s.Stop()
		check(t, syscall.Unmount(s.data(), 0))
	})
	if s.as != nil {
		check(t, os.Chown(s.data(), int(s.as.Credential.Uid), int(s.as.Credential.Gid)))
	}
	s.initialize()
	s.begin()
	return s
}

func (s *Server) ballast() string { return filepath.Join(s.data(), "ballast") }

// FillDisk leaves no byte free on the disk.
func (s *Server) FillDisk() {
	s.t.Helper()
	file, err := os.OpenFile(s.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	check(s.t, err)
	defer file.Close()
	block := make([]byte, 4096)
	for err == nil {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		s.t.Fatal(err)
	}
}

// EmptyDisk ends FillDisk.
func (s *Server) EmptyDisk() {
	s.t.Helper()
	check(s.t, os.Remove(s.ballast()))
}
