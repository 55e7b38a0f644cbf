package revocation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"gatehouse/core/statedir"
)

// file is a list on disk, which all processes of a node share: each adds what it knows
// and takes what others know. It is replaced as a whole.
type file struct{ dir statedir.Dir }

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

func (f file) path() string { return f.dir.Path(fileName) }

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
	l, err := os.OpenFile(f.dir.Path(lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, fileMode)
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
	text, err := f.dir.Read(fileName, maxFile)
	if err != nil {
		return content{}, err
	}
	c, err := decode(text)
	if err != nil {
		return content{}, fmt.Errorf("%s: %w", f.path(), err)
	}
	return c, nil
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
func (f file) write(c content) error {
	text, err := encode(c)
	if err != nil {
		return err
	}
	return f.dir.Replace(fileName, text)
}

// stamp tells one content of the file from another; nil: there is no file.
func (f file) stamp() fs.FileInfo {
	info, err := os.Lstat(f.path())
	if err != nil {
		return nil
	}
	return info
}
