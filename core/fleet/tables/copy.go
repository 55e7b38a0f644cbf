package tables

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gatehouse/core/permission/tablefile"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// copies keeps the last good version of one table in a file, for a start while the
// database is away. Processes of one machine may share it.
type copies struct {
	path string
	now  func() time.Time
}

// saved is a version in a file.
type saved struct {
	Format  int       `json:"format"`
	Name    string    `json:"name"`
	Version int64     `json:"version"`
	Digest  string    `json:"digest"`
	Files   []file    `json:"files"`
	SavedAt time.Time `json:"saved_at"`
}

type file struct {
	Name string `json:"name"`
	Text []byte `json:"text"`
}

// newCopies keeps a table of a database in a folder; of databases with other addresses,
// too, without confusing them.
func newCopies(folder, database, name string, now func() time.Time) *copies {
	of := shared.Digest("copy of a table", database, name)
	return &copies{filepath.Join(folder, fmt.Sprintf("table-%s-%x.json", name, of[:4])), now}
}

// maxCopy is the greatest size of a file: MaxSize in base64, and what stands around it.
const maxCopy = MaxSize/3*4 + 1<<20

// load reads the version that was saved, and when that was. It is checked like what comes
// from the database.
func (c *copies) load(name string) (*Version, time.Time, error) {
	info, err := os.Stat(c.path)
	if err != nil {
		return nil, time.Time{}, err
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, time.Time{}, fmt.Errorf("%s can be written by others than its owner", c.path)
	}
	text, err := setting.ReadBounded(c.path, maxCopy)
	if err != nil {
		return nil, time.Time{}, err
	}
	var s saved
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, time.Time{}, fmt.Errorf("%s is damaged: %w", c.path, err)
	}
	if s.Format != format || s.Name != name || s.Version < 1 {
		return nil, time.Time{}, fmt.Errorf("%s holds version %d of table %q in format %d, want table %q in format %d", c.path, s.Version, s.Name, s.Format, name, format)
	}
	v := &Version{Name: name, Number: s.Version}
	for _, f := range s.Files {
		v.Files = append(v.Files, tablefile.Text{Name: f.Name, Content: f.Text})
	}
	v.Digest = DigestOf(v.Files)
	if s.Digest != fmt.Sprintf("%x", v.Digest) {
		return nil, time.Time{}, fmt.Errorf("%s is damaged: its digest is another one", c.path)
	}
	return v, s.SavedAt, v.check()
}

// save writes a version, unless the file holds it.
func (c *copies) save(v *Version) error {
	if there, _, err := c.load(v.Name); err == nil && there.ID() == v.ID() {
		return nil
	}
	s := saved{Format: format, Name: v.Name, Version: v.Number, Digest: fmt.Sprintf("%x", v.Digest), SavedAt: c.now().UTC()}
	for _, f := range v.Files {
		s.Files = append(s.Files, file{f.Name, f.Content})
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Dir(c.path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return replace(c.path, text)
}

// replace writes a file whole: whoever reads it meanwhile gets the one before.
func replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".table-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// absent reports whether there is no copy yet.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
