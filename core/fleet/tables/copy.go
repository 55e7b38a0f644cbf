package tables

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"gatehouse/core/permission/tablefile"
	"gatehouse/core/shared"
	"gatehouse/core/statedir"
)

// copies keeps the last good version of one table in a file, for a start while the
// database is away. Processes of one machine may share it.
type copies struct {
	dir  statedir.Dir
	file string
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
	return &copies{statedir.Dir(folder), fmt.Sprintf("table-%s-%x.json", name, of[:4]), now}
}

// maxCopy is the greatest size of a file: MaxSize in base64, and what stands around it.
const maxCopy = MaxSize/3*4 + 1<<20

// load reads the version that was saved, and when that was. It is checked like what comes
// from the database.
func (c *copies) load(name string) (*Version, time.Time, error) {
	text, err := c.dir.Read(c.file, maxCopy)
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := statedir.Newer(text, format); err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: %w", c.dir.Path(c.file), err)
	}
	var s saved
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, time.Time{}, fmt.Errorf("%s is damaged: %w", c.dir.Path(c.file), err)
	}
	if s.Format != format || s.Name != name || s.Version < 1 {
		return nil, time.Time{}, fmt.Errorf("%s holds version %d of table %q in format %d, want table %q in format %d", c.dir.Path(c.file), s.Version, s.Name, s.Format, name, format)
	}
	v := &Version{Name: name, Number: s.Version}
	for _, f := range s.Files {
		v.Files = append(v.Files, tablefile.Text{Name: f.Name, Content: f.Text})
	}
	v.Digest = DigestOf(v.Files)
	if s.Digest != fmt.Sprintf("%x", v.Digest) {
		return nil, time.Time{}, fmt.Errorf("%s is damaged: its digest is another one", c.dir.Path(c.file))
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
	return c.dir.Replace(c.file, text)
}

// absent reports whether there is no copy yet.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
