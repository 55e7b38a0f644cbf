// Package lastgood keeps on disk the last permission table of a source that was good,
// for a start while the source is away.
package lastgood

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gatehouse/core/statedir"
)

// Copies is where the copy of one source is kept. The zero value keeps none.
type Copies struct{ dir, name string }

// Copy is what is kept. Whoever reads it checks it like what comes from the source.
type Copy struct {
	Texts     [][]byte `json:"texts"`
	Signature string   `json:"signature,omitempty"`
	// At is when it was written.
	At time.Time `json:"-"`
}

// format is the version of the file's format.
const format = 1

type file struct {
	Format  int       `json:"format"`
	Written time.Time `json:"written"`
	Copy
}

// maxCopy bounds what is read, in bytes.
const maxCopy = 256 << 20

// In keeps copies in a directory, empty: nowhere. The kind and what identifies the
// source tell them apart.
func In(dir, kind string, source ...any) Copies {
	text, _ := json.Marshal(source)
	sum := sha256.Sum256(text)
	return Copies{dir, fmt.Sprintf("%s-%x.json", kind, sum[:12])}
}

// Path is the path of the file.
func (c Copies) Path() string { return filepath.Join(c.dir, c.name) }

// Exist reports whether there is a copy.
func (c Copies) Exist() bool {
	if c.dir == "" {
		return false
	}
	_, err := os.Stat(c.Path())
	return err == nil
}

// Read returns the copy, which has so many texts; nil where there is none.
func (c Copies) Read(texts int) (*Copy, error) {
	if c.dir == "" {
		return nil, nil
	}
	text, err := statedir.Dir(c.dir).Read(c.name, maxCopy)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := statedir.Newer(text, format); err != nil {
		return nil, fmt.Errorf("the copy %s: %w", c.Path(), err)
	}
	var f file
	switch err := json.Unmarshal(text, &f); {
	case err != nil:
		return nil, fmt.Errorf("the copy %s is damaged: %w", c.Path(), err)
	case f.Format != format:
		return nil, fmt.Errorf("the copy %s has format %d, and this version knows %d", c.Path(), f.Format, format)
	case len(f.Texts) != texts:
		return nil, fmt.Errorf("the copy %s has %d files instead of %d", c.Path(), len(f.Texts), texts)
	}
	f.At = f.Written
	return &f.Copy, nil
}

// Write replaces the copy as a whole.
func (c Copies) Write(kept Copy, now time.Time) error {
	if c.dir == "" {
		return nil
	}
	text, err := json.Marshal(file{format, now.UTC(), kept})
	if err != nil {
		return err
	}
	return statedir.Dir(c.dir).Replace(c.name, text)
}
