package revocation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// file is a list on disk, which all processes of a node share: each adds what it knows
// and takes what others know. It is replaced as a whole.
type file struct{ dir string }

const (
	fileName  = "revocations.json"
	lockName  = "revocations.lock"
	formatID  = "gatehouse revocations"
	version   = 1
	fileMode  = 0o600
	maxFile   = 1 << 30
	lockTime  = 5 * time.Second
	lockPause = 5 * time.Millisecond
)

// header is the first line of a file, so that another version can be told.
type header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
}

// content is the second line.
type content struct {
	// Complete is until when all events that were published are in the list; zero:
	// nobody knows.
	Complete time.Time `json:"complete"`
	Events   []Event   `json:"events"`
}

// errNewer keeps a file that a newer version has written from being overwritten.
var errNewer = errors.New("it was written by a newer version")

func (f file) path() string { return filepath.Join(f.dir, fileName) }

// check makes the directory, or reports why it is none to keep a list in.
func (f file) check() error {
	if err := os.Mkdir(f.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; create the directory, for this user alone", err)
	}
	info, err := os.Stat(f.dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", f.dir)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others can write to the directory %s (mode %04o); want 0700", f.dir, info.Mode().Perm())
	}
	return f.owned(f.dir, info)
}

// owned wants what belongs to this user or to root.
func (file) owned(path string, info fs.FileInfo) error {
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to the user %d; this process runs as %d", path, s.Uid, os.Geteuid())
	}
	return nil
}

// exchange writes what the file and this process know, and returns it. A file that
// cannot be read is overwritten where the process has a list of its own; what was wrong
// with it is damaged.
func (f file) exchange(mine content, own bool, now time.Time) (all content, damaged, err error) {
	unlock, err := f.lock()
	if err != nil {
		return content{}, nil, err
	}
	defer unlock()
	theirs, err := f.read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		theirs = content{}
	case errors.Is(err, errNewer), err != nil && !own:
		return content{}, nil, err
	case err != nil:
		damaged = err
	}
	if mine.Complete.IsZero() && len(mine.Events) == 0 { // there is nothing to add
		return theirs, nil, nil
	}
	all = merge(theirs, mine, now)
	return all, damaged, f.write(all)
}

// merge is what either knows.
func merge(a, b content, now time.Time) content {
	x := newIndex()
	for _, e := range append(a.Events, b.Events...) {
		if e = e.bounded(now); e.Check() == nil && e.Until.After(now) {
			x.add(e, now)
		}
	}
	return content{later(a.Complete, b.Complete), x.all()}
}

// lock keeps other processes from the file. It ends with the process at the latest.
func (f file) lock() (unlock func(), err error) {
	l, err := os.OpenFile(filepath.Join(f.dir, lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, fileMode)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockTime); ; time.Sleep(lockPause) {
		err := syscall.Flock(int(l.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { l.Close() }, nil
		}
		if retry := err == syscall.EINTR || err == syscall.EWOULDBLOCK; !retry || time.Now().After(end) {
			l.Close()
			return nil, fmt.Errorf("locking %s: %w", l.Name(), err)
		}
	}
}

// read returns what is on disk, or why that counts for nothing.
func (f file) read() (content, error) {
	text, err := f.text()
	if err != nil {
		return content{}, err
	}
	c, err := decode(text)
	if err != nil {
		return content{}, fmt.Errorf("%s: %w", f.path(), err)
	}
	return c, nil
}

// text reads a file that only this user can have written.
func (f file) text() ([]byte, error) {
	opened, err := os.OpenFile(f.path(), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	info, err := opened.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", f.path())
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("others can write to %s (mode %04o); want %04o", f.path(), info.Mode().Perm(), fileMode)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s has %d bytes; want %d at most", f.path(), info.Size(), maxFile)
	}
	if err := f.owned(f.path(), info); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(opened, maxFile))
}

// The three lines of a file: its header, its content and the digest of the two, which
// tells a file that was cut or changed by chance.

func encode(c content) ([]byte, error) {
	first, err := json.Marshal(header{formatID, version})
	if err != nil {
		return nil, err
	}
	second, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	text := append(append(append(first, '\n'), second...), '\n')
	return append(text, sumOf(text)...), nil
}

func sumOf(text []byte) []byte {
	sum := sha256.Sum256(text)
	return []byte(`"sha256:` + hex.EncodeToString(sum[:]) + "\"\n")
}

func decode(text []byte) (c content, err error) {
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	var h header
	switch err := json.Unmarshal(first, &h); {
	case err != nil || h.Format != formatID:
		return content{}, fmt.Errorf("it does not begin as a list of revocations does (%q)", formatID)
	case h.Version > version:
		return content{}, fmt.Errorf("%w (%d; this one knows %d)", errNewer, h.Version, version)
	case h.Version != version:
		return content{}, fmt.Errorf("it has the version %d; want %d", h.Version, version)
	}
	second, _, _ := bytes.Cut(rest, []byte("\n"))
	if signed := len(first) + len(second) + 2; len(text) < signed || !bytes.Equal(text[signed:], sumOf(text[:signed])) {
		return content{}, errors.New("it is damaged: its digest is another")
	}
	decoder := json.NewDecoder(bytes.NewReader(second))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return content{}, err
	}
	for _, e := range c.Events {
		if err := e.Check(); err != nil {
			return content{}, err
		}
	}
	return c, nil
}

// write replaces the file.
func (f file) write(c content) (err error) {
	text, err := encode(c)
	if err != nil {
		return err
	}
	name := f.path() + ".new" // which is this process's while it holds the lock
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(name)
		}
	}()
	_, err = fresh.Write(text)
	if err = errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
		return err
	}
	if err := os.Rename(name, f.path()); err != nil {
		return err
	}
	return syncDir(f.dir)
}

// syncDir has the new name survive a loss of power.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// stamp tells one content of the file from another; nil: there is no file.
func (f file) stamp() fs.FileInfo {
	info, err := os.Lstat(f.path())
	if err != nil {
		return nil
	}
	return info
}
