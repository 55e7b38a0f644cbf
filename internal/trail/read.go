package trail

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"gatehouse/core/audit/sink"
	"gatehouse/core/permission/accesslog"
)

// Visit takes an entry, or what is wrong with a line that holds none.
type Visit func(e *Entry, err error)

// Read reads a stream to its end. It may be packed by gzip.
func Read(log io.Reader, visit Visit) error { return accesslog.Lines(log, visit.line) }

var errLong = fmt.Errorf("the line is longer than %d KiB", accesslog.MaxLine>>10)

// line reads a line; one that was too long is nil.
func (v Visit) line(line []byte) {
	if line == nil {
		v(nil, errLong)
		return
	}
	v(Parse(line))
}

// ReadFile reads a file, and before it those that were put aside of it, the oldest first,
// but for those that are named themselves.
func ReadFile(path string, named []string, visit func(name string) Visit) error {
	return readFile(path, named, func(name string) func([]byte) { return visit(name).line })
}

// Lines is ReadFile for whoever reads lines otherwise. One that was too long is nil.
func Lines(path string, named []string, visit func(line []byte)) error {
	return readFile(path, named, func(string) func([]byte) { return visit })
}

func readFile(path string, named []string, visit func(name string) func([]byte)) error {
	file, err := open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := readAside(file, path, named, visit); err != nil {
		return err
	}
	return accesslog.Lines(file, visit(path))
}

// readAside reads what was put aside of a file that is open: opened first, it is among them
// if it is put aside meanwhile.
func readAside(file *os.File, path string, named []string, visit func(name string) func([]byte)) error {
	for _, name := range sink.Aside(path) {
		aside, err := open(name)
		if err != nil {
			continue // removed meanwhile, as the oldest are
		}
		if same(aside, file) {
			aside.Close()
			return nil
		}
		if !isNamed(name, named) {
			err = accesslog.Lines(aside, visit(name))
		}
		aside.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func isNamed(name string, named []string) bool {
	return slices.ContainsFunc(named, func(n string) bool { return filepath.Clean(n) == filepath.Clean(name) })
}

func open(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err == nil && info.IsDir() {
		file.Close()
		return nil, fmt.Errorf("%s is a folder; name the file with the records", path)
	}
	return file, nil
}

func same(a, b *os.File) bool {
	one, err := a.Stat()
	if err != nil {
		return false
	}
	other, err := b.Stat()
	return err == nil && os.SameFile(one, other)
}
