package statedir

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFileIsReplacedAndReadBack(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "state"))
	if _, err := d.Read("a", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
	for _, text := range []string{"one", "", "0123456789"} {
		if err := d.Replace("a", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Read("a", 10); err != nil || !bytes.Equal(got, []byte(text)) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := d.Read("a", 9); err == nil {
		t.Error("a file is read that is too large")
	}
	entries, err := os.ReadDir(string(d))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v are there: %v", entries, err)
	}
	for _, path := range []string{string(d), d.Path("a")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if err := Dir(filepath.Join(t.TempDir(), "no", "state")).Replace("a", nil); err == nil || !strings.HasSuffix(err.Error(), "; create the directory, for this user alone") {
		t.Errorf("two directories are missing: %v", err)
	}
}

// The rest of what a newer version writes may have any form.
func TestTextOfANewerVersionIsToldWhateverItsForm(t *testing.T) {
	for text, newer := range map[string]bool{
		`{"format":2}`: true, `{"format":2,"format_of":[],"written":0,"texts":{"a":1}}`: true, `{"texts":[1],"format":99}`: true,
		`{"format":1}`: false, `{"format":0}`: false, `{}`: false, `{"format":"2"}`: false, `{"format":2`: false, ``: false, `[2]`: false, `null`: false,
	} {
		err := Newer([]byte(text), 1)
		if newer != (err != nil) || newer && !strings.Contains(err.Error(), ", this one reads 1): update this node") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What another user of the machine can have put there does not count.
func TestFileOfSomebodyElseIsNotRead(t *testing.T) {
	const other = 65534
	for name, of := range map[string]struct {
		change func(d Dir) error
		want   string
	}{
		"a file for all":      {func(d Dir) error { return os.Chmod(d.Path("a"), 0o666) }, "others can write to "},
		"a directory for all": {func(d Dir) error { return os.Chmod(string(d), 0o777) }, "others can write to the directory "},
		"another's file":      {func(d Dir) error { return os.Chown(d.Path("a"), other, other) }, "belongs to the user 65534"},
		"another's directory": {func(d Dir) error { return os.Chown(string(d), other, other) }, "belongs to the user 65534"},
		"a link": {func(d Dir) error {
			return errors.Join(os.Rename(d.Path("a"), d.Path("b")), os.Symlink("b", d.Path("a")))
		}, "too many levels of symbolic links"},
		"a directory":            {func(d Dir) error { return errors.Join(os.Remove(d.Path("a")), os.Mkdir(d.Path("a"), 0o700)) }, "is no regular file"},
		"a pipe that has no end": {func(d Dir) error { return errors.Join(os.Remove(d.Path("a")), syscall.Mkfifo(d.Path("a"), 0o600)) }, "is no regular file"},
	} {
		if strings.HasPrefix(name, "another") && os.Getuid() != 0 {
			continue // nobody else can give a file away
		}
		d := Dir(filepath.Join(t.TempDir(), "state"))
		if err := errors.Join(d.Replace("a", []byte("text")), of.change(d)); err != nil {
			t.Fatal(err)
		}
		if text, err := d.Read("a", 10); err == nil || !strings.Contains(err.Error(), of.want) || text != nil {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}
