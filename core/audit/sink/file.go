// Package sink has the places on this machine and in its network where audit records go:
// a file with rotation, the standard output, and syslog.
package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// FileOptions say which file.
type FileOptions struct {
	Path string
	// MaxSize is the size, in bytes, at which a file is put aside; 0: it grows.
	MaxSize int64
	// MaxKept is how many files that were put aside are kept.
	MaxKept int
	// Now is the clock, for the names of these files.
	Now func() time.Time
}

// File writes to a file that only this user may write. Several processes may write to the
// same one, as a gateway's plugin server and the one that replaces it do: each line is
// written whole at the end, and one of them alone puts the file aside. What others put aside
// or remove is opened anew.
type File struct {
	options FileOptions
	file    *os.File
	// torn says that the file ends in the middle of a line.
	torn bool
}

// NewFile opens a file, or reports why it cannot be the log.
func NewFile(o FileOptions) (*File, error) {
	f := &File{options: o}
	return f, f.open()
}

// open refuses what somebody else could have put there to have other files written, or to
// read along.
func (f *File) open() error {
	file, err := os.OpenFile(f.options.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return fmt.Errorf("%s is a symbolic link; name the file itself", f.options.Path)
	}
	if err != nil {
		return err
	}
	if err := checkFile(file); err != nil {
		file.Close()
		return err
	}
	f.file, f.torn = file, false
	return nil
}

func checkFile(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	facts, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", file.Name())
	case info.Mode().Perm()&0o027 != 0:
		return fmt.Errorf("others may use %s (mode %04o); want 0600, or 0640 for a group that reads it", file.Name(), info.Mode().Perm())
	case ok && int(facts.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to the user %d; this process runs as %d", file.Name(), facts.Uid, os.Geteuid())
	case ok && facts.Nlink > 1:
		return fmt.Errorf("%s has another name, too (a hard link)", file.Name())
	}
	return nil
}

// Write appends records, as many at once as there are.
func (f *File) Write(_ context.Context, records [][]byte) (written int, err error) {
	if err := f.renew(); err != nil {
		return 0, err
	}
	text := slices.Concat(records...)
	if f.torn {
		text = append([]byte{'\n'}, text...)
	}
	n, err := f.file.Write(text)
	if err == nil {
		f.torn = false
		return len(records), nil
	}
	if f.torn {
		f.torn, n = n == 0, n-1
	}
	for _, record := range records {
		if n < len(record) {
			f.torn = f.torn || n > 0
			break
		}
		n -= len(record)
		written++
	}
	return written, err
}

// renew opens the file anew that is no longer there, and puts one aside that is full.
func (f *File) renew() error {
	if f.file != nil && !f.current() {
		f.Close()
	}
	if f.file == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	info, err := f.file.Stat()
	if err != nil || f.options.MaxSize == 0 || info.Size() < f.options.MaxSize {
		return err
	}
	return f.rotate()
}

// current reports whether the path still stands for the open file.
func (f *File) current() bool {
	named, err := os.Lstat(f.options.Path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	open, err := f.file.Stat()
	return err == nil && os.SameFile(named, open)
}

// rotate puts the file aside and begins another one. A lock on the file itself has one
// process alone do it. The others notice at their next record; what they write until then
// is in the file that was put aside.
func (f *File) rotate() error {
	if err := syscall.Flock(int(f.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil // another process is about it
	}
	if f.current() {
		if err := os.Rename(f.options.Path, f.aside()); err != nil {
			return err
		}
		f.prune()
	}
	f.Close() // and the lock with it
	return f.open()
}

// stamp makes names whose order is that of time.
const stamp = "20060102T150405.000000000Z"

// aside is a name that no file has: NAME-TIME.EXT beside the file.
func (f *File) aside() string {
	front, ext := f.parts()
	return front + f.options.Now().UTC().Format(stamp) + ext
}

func (f *File) parts() (front, ext string) {
	ext = filepath.Ext(f.options.Path)
	return strings.TrimSuffix(f.options.Path, ext) + "-", ext
}

// Aside lists the files that were put aside of a path, the oldest first.
func Aside(path string) []string {
	front, ext := (&File{options: FileOptions{Path: path}}).parts()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil
	}
	var all []string
	for _, entry := range entries {
		name := filepath.Join(filepath.Dir(path), entry.Name())
		middle, ok := strings.CutPrefix(name, filepath.Clean(front))
		if middle, of := strings.CutSuffix(middle, ext); ok && of && isStamp(middle) && entry.Type().IsRegular() {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func isStamp(text string) bool {
	_, err := time.Parse(stamp, text)
	return err == nil
}

// prune removes the oldest files that were put aside. What cannot be removed stays.
func (f *File) prune() {
	all := Aside(f.options.Path)
	for len(all) > f.options.MaxKept {
		_ = os.Remove(all[0])
		all = all[1:]
	}
}

// Close closes the file.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
