// Package statedir keeps what has to survive a restart in files of a directory that only
// this node can write to. What somebody else can have written is not read.
package statedir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Dir is the path of the directory.
type Dir string

// Path is that of a file in it.
func (d Dir) Path(name string) string { return filepath.Join(string(d), name) }

// Make makes the directory if the one above it is there, or reports why it cannot hold
// anything that counts.
func (d Dir) Make() error {
	if err := os.Mkdir(string(d), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; create the directory, for this user alone", err)
	}
	return d.check()
}

// check reports why a directory cannot hold anything that counts.
func (d Dir) check() error {
	info, err := os.Stat(string(d))
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", d)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others can write to the directory %s (mode %04o); want 0700", d, info.Mode().Perm())
	}
	return owned(string(d), info)
}

// owned wants what belongs to this user or to root.
func owned(path string, info fs.FileInfo) error {
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to the user %d; this process runs as %d", path, s.Uid, os.Geteuid())
	}
	return nil
}

// Read reads a file that only this user can have written, of so many bytes at most.
func (d Dir) Read(name string, limit int64) ([]byte, error) {
	opened, err := os.OpenFile(d.Path(name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	if err := d.check(); err != nil {
		return nil, err
	}
	info, err := opened.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", opened.Name())
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("others can write to %s (mode %04o); want 0600", opened.Name(), info.Mode().Perm())
	case info.Size() > limit:
		return nil, fmt.Errorf("%s has %d bytes; want %d at most", opened.Name(), info.Size(), limit)
	}
	if err := owned(opened.Name(), info); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(opened, limit))
}

// Newer reports that a newer version wrote a text, whose member format is greater than
// that which this one reads. The rest of such a text may have any form.
func Newer(text []byte, format int) error {
	var f struct {
		Format int `json:"format"`
	}
	if json.Unmarshal(text, &f) != nil || f.Format <= format {
		return nil
	}
	return fmt.Errorf("it was written by a newer version of Gatehouse (format %d, this one reads %d): update this node", f.Format, format)
}

// Replace writes a file whole: whoever reads it meanwhile gets the one before. The
// directory is made if the one above it is there.
func (d Dir) Replace(name string, text []byte) error {
	if err := d.Make(); err != nil {
		return err
	}
	fresh, err := os.CreateTemp(string(d), "."+name+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = fresh.Write(text)
	if err = errors.Join(err, fresh.Sync(), fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), d.Path(name))
	}
	if err != nil {
		os.Remove(fresh.Name())
		return err
	}
	return d.sync()
}

// sync has a new name survive a loss of power.
func (d Dir) sync() error {
	dir, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
