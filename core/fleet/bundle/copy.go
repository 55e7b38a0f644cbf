package bundle

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gatehouse/core/permission/tablefile"
	"gatehouse/core/statedir"
)

// copies keep the last good bundle on disk.
type copies struct{ dir, name string }

// copyFormat is the version of the file's format.
const copyFormat = 1

type copyFile struct {
	Format    int       `json:"format"`
	Written   time.Time `json:"written"`
	Texts     [][]byte  `json:"texts"`
	Signature string    `json:"signature,omitempty"`
}

// maxCopy bounds what is read, in bytes.
const maxCopy = 256 << 20

// copyName tells the copies of several sources apart.
func copyName(urls []string, signature string) string {
	text, _ := json.Marshal([]any{urls, signature})
	return fmt.Sprintf("bundle-%x.json", sha256.Sum256(text))[:len("bundle-")+24] + ".json"
}

func (c copies) path() string { return filepath.Join(c.dir, c.name) }

func (c copies) exist() bool {
	if c.dir == "" {
		return false
	}
	_, err := os.Stat(c.path())
	return err == nil
}

// read returns nil where there is no copy.
func (c copies) read(names []string) (*bundle, error) {
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
	var f copyFile
	switch err := json.Unmarshal(text, &f); {
	case err != nil:
		return nil, fmt.Errorf("the copy %s is damaged: %w", c.path(), err)
	case f.Format != copyFormat:
		return nil, fmt.Errorf("the copy %s has format %d, and this version knows %d", c.path(), f.Format, copyFormat)
	case len(f.Texts) != len(names):
		return nil, fmt.Errorf("the copy %s has %d files instead of %d", c.path(), len(f.Texts), len(names))
	}
	b := &bundle{signature: f.Signature}
	for i, text := range f.Texts {
		b.texts = append(b.texts, tablefile.Text{Name: names[i], Content: text})
	}
	b.version = tablefile.Version(b.texts...)
	return b, nil
}

// write replaces the copy as a whole.
func (c copies) write(b *bundle, now time.Time) error {
	if c.dir == "" {
		return nil
	}
	f := copyFile{Format: copyFormat, Written: now.UTC(), Signature: b.signature}
	for _, t := range b.texts {
		f.Texts = append(f.Texts, t.Content)
	}
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return statedir.Dir(c.dir).Replace(c.name, text)
}
