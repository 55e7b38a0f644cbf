// Package kept keeps permission tables for some time after they were in force, so that a
// decision can be explained by the table of its moment.
package kept

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/core/account"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
	"gatehouse/core/statedir"
)

// Options say where tables are kept and for how long.
type Options struct {
	Dir string
	// MaxKept is how many tables are kept, MaxAge how long after they were last in force.
	MaxKept int
	MaxAge  time.Duration
	Now     func() time.Time
}

// Tables is a directory of tables. Several processes of one user may share it.
type Tables struct {
	options Options
	mu      sync.Mutex
	// last is the file of what is in force for each source.
	last map[string]string
}

// New makes a directory of tables.
func New(o Options) *Tables { return &Tables{options: o, last: map[string]string{}} }

// format is the version of the files' format.
const format = 1

// saved is the content of a file.
type saved struct {
	Format  int         `json:"format"`
	Source  string      `json:"source"`
	Version string      `json:"version"`
	Files   []savedFile `json:"files"`
}

type savedFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// maxTable bounds what is read, in bytes.
const maxTable = 256 << 20

const (
	prefix = "table-"
	suffix = ".json"
)

// name is that of the file of a table: the digest of what names the table.
func name(v account.Table) string {
	text, _ := json.Marshal([]string{v.Source, v.Version})
	return fmt.Sprintf("%s%x%s", prefix, sha256.Sum256(text), suffix)
}

// Keep keeps a table that has come into force, and forgets what is too old or too much.
func (t *Tables) Keep(v account.Table, files []*permission.File) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := saved{Format: format, Source: v.Source, Version: v.Version}
	for _, f := range files {
		text, err := tablefile.Write(f, tablefile.Comments{})
		if err != nil {
			return err
		}
		s.Files = append(s.Files, savedFile{f.Name, string(text)})
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	file := name(v)
	if err := statedir.Dir(t.options.Dir).Replace(file, text); err != nil {
		return err
	}
	now := t.options.Now()
	touched := []string{file}
	if before := t.last[v.Source]; before != "" {
		touched = append(touched, before) // was in force until now
	}
	for _, f := range touched {
		_ = os.Chtimes(t.path(f), now, now)
	}
	t.last[v.Source] = file
	return t.prune(now)
}

func (t *Tables) path(file string) string { return statedir.Dir(t.options.Dir).Path(file) }

// prune removes the oldest tables; those in force stay.
func (t *Tables) prune(now time.Time) error {
	entries, err := os.ReadDir(t.options.Dir)
	if err != nil {
		return err
	}
	var all []fs.FileInfo
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), prefix) || !strings.HasSuffix(entry.Name(), suffix) || t.inForce(entry.Name()) {
			continue
		}
		if info, err := entry.Info(); err == nil {
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), strings.Compare(a.Name(), b.Name()))
	})
	var problems error
	for i, info := range all {
		if tooMany := len(all)-i+len(t.last) > t.options.MaxKept; tooMany || now.Sub(info.ModTime()) > t.options.MaxAge {
			problems = errors.Join(problems, os.Remove(t.path(info.Name())))
		}
	}
	return problems
}

func (t *Tables) inForce(file string) bool {
	for _, last := range t.last {
		if last == file {
			return true
		}
	}
	return false
}

// ErrNone is that of a table that is not kept.
var ErrNone = errors.New("the table is not kept")

// Read returns a table that is kept in a directory.
func Read(dir string, v account.Table) ([]tablefile.Text, error) {
	text, err := statedir.Dir(dir).Read(name(v), maxTable)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	if err := statedir.Newer(text, format); err != nil {
		return nil, err
	}
	var s saved
	if err := json.Unmarshal(text, &s); err != nil || s.Format != format || s.Source != v.Source || s.Version != v.Version {
		return nil, fmt.Errorf("%s is damaged", statedir.Dir(dir).Path(name(v)))
	}
	texts := make([]tablefile.Text, len(s.Files))
	for i, f := range s.Files {
		texts[i] = tablefile.Text{Name: f.Name, Content: []byte(f.Text)}
	}
	return texts, nil
}

// Kept is a table that is kept, and when it was last loaded or replaced.
type Kept struct {
	account.Table
	Last time.Time
}

// maxListed bounds how many tables List looks at.
const maxListed = 10_000

// List returns the tables that are kept in a directory, the latest first. What cannot be
// read is left out: Read says why.
func List(dir string) ([]Kept, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []Kept
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), prefix) || !strings.HasSuffix(entry.Name(), suffix) || len(all) == maxListed {
			continue
		}
		info, err := entry.Info()
		v, ok := named(statedir.Dir(dir).Path(entry.Name()))
		if err == nil && ok && name(v) == entry.Name() {
			all = append(all, Kept{v, info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b Kept) int { return cmp.Or(b.Last.Compare(a.Last), strings.Compare(a.Version, b.Version)) })
	return all, nil
}

// maxNamed bounds the beginning of a file in which its table is named, in bytes.
const maxNamed = 64 << 10

// named reads which table a file holds, without the table.
func named(path string) (v account.Table, ok bool) {
	file, err := os.Open(path)
	if err != nil {
		return v, false
	}
	defer file.Close()
	d := json.NewDecoder(io.LimitReader(file, maxNamed))
	members := map[string]*string{"source": &v.Source, "version": &v.Version}
	for found := 0; found < len(members); {
		token, err := d.Token()
		if err != nil {
			return v, false
		}
		if key, isText := token.(string); isText && members[key] != nil {
			if err := d.Decode(members[key]); err != nil {
				return v, false
			}
			found++
		}
	}
	return v, true
}
