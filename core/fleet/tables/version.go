// Package tables keeps permission tables in the database of a fleet, by name and
// version, and has nodes follow them. A version is whole, is never changed, and its
// digest is verified wherever it is read.
package tables

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse/core/permission"
	"gatehouse/core/permission/strictyaml"
	"gatehouse/core/permission/tablefile"
	"gatehouse/core/shared"
)

const (
	// format is how a version is written. A program reads its own and older ones.
	format = 1
	// MaxSize is the greatest size of all files of a table, in bytes.
	MaxSize = strictyaml.MaxFile
	// maxFiles is the greatest number of them.
	maxFiles = 1000
)

// Digest identifies the files of a version.
type Digest = shared.Key

// Version is one version of a table.
type Version struct {
	Name   string
	Number int64
	Digest Digest
	// Files are as they were pushed; none where only the rest was asked for.
	Files []tablefile.Text
	// Base is the version that the author had before; 0: there was none. Restores is,
	// of a rollback, the version whose files these are.
	Base, Restores int64
	// Author is who they said they are, Role the role of the database by which they came.
	Author, Role, Reason string
	// Program is the version of the program that wrote it.
	Program string
	At      time.Time
}

// ID tells a version from any other, also from one with its number in another database.
func (v *Version) ID() string { return fmt.Sprintf("%d-%x", v.Number, v.Digest[:6]) }

// Table reads the files. Problems and rules are in NAME@VERSION/FILE.
func (v *Version) Table() ([]*permission.File, error) {
	files, _, err := tablefile.ParseAll(v.Placed()...)
	return files, err
}

// Placed are the files by the names that tell one version from another.
func (v *Version) Placed() []tablefile.Text {
	files := slices.Clone(v.Files)
	for i := range files {
		files[i].Name = fmt.Sprintf("%s@%d/%s", v.Name, v.Number, files[i].Name)
	}
	return files
}

// DigestOf identifies files.
func DigestOf(files []tablefile.Text) Digest {
	texts := []string{"permission table"}
	for _, f := range files {
		texts = append(texts, f.Name, string(f.Content))
	}
	return shared.Digest(texts...)
}

// check reports what no version may have, whoever wrote it.
func (v *Version) check() error {
	switch {
	case len(v.Files) == 0 || len(v.Files) > maxFiles:
		return fmt.Errorf("%d files, want 1 to %d", len(v.Files), maxFiles)
	case size(v.Files) > MaxSize:
		return fmt.Errorf("the files have more than %d MiB; split the table", MaxSize>>20)
	case DigestOf(v.Files) != v.Digest:
		return errors.New("the files are not those that were pushed: their digest is another one")
	}
	return nil
}

func size(files []tablefile.Text) (bytes int) {
	for _, f := range files {
		bytes += len(f.Content)
	}
	return bytes
}

// ShadowOf is the name of the shadow table of a table.
func ShadowOf(name string) string { return name + ".shadow" }

var tableName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// CheckName reports a name that no table can have.
func CheckName(name string) error {
	if !tableName.MatchString(name) {
		return fmt.Errorf("%q is no name of a table; use lower-case letters, digits, '.', '_' and '-', at most 63, first a letter or digit", name)
	}
	return nil
}

var fileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9 ._+@-]{0,127}$`)

// CheckFileName reports a name that a file of a table cannot have: it names a file in the
// folder of whoever pulls the table.
func CheckFileName(name string) error {
	if !fileName.MatchString(name) || strings.HasSuffix(name, ".") {
		return fmt.Errorf("%q is no name of a file of a table; use letters, digits, '.', '_' and '-', at most 128, first a letter or digit", name)
	}
	return nil
}
