// Package tablefile reads permission tables from YAML and writes them.
// docs/permission-tables.md is the reference of the format.
package tablefile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"gatehouse/core/permission"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/strictyaml"
)

// Read reads the files of one table and gives the problems of all of them at
// once. The version identifies what the files hold; it is empty when one of them
// cannot be read.
func Read(paths ...string) (files []*permission.File, version string, err error) {
	var unreadable []error
	var texts []Text
	for _, path := range paths {
		content, err := readContent(path)
		if err != nil {
			unreadable = append(unreadable, err)
			continue
		}
		texts = append(texts, Text{path, content})
	}
	files, version, err = ParseAll(texts...)
	if len(unreadable) == 0 {
		return files, version, err
	}
	var problems report.Problems
	if errors.As(err, &problems) {
		return nil, "", errors.Join(append(unreadable, problems)...)
	}
	return files, "", errors.Join(unreadable...)
}

// Text is a file of a table: the name that problems are reported under, and what it
// holds.
type Text struct {
	Name    string
	Content []byte
}

// ParseAll reads the files of one table and gives the problems of all of them at
// once.
func ParseAll(texts ...Text) (files []*permission.File, version string, err error) {
	var problems report.Problems
	for _, t := range texts {
		file, err := Parse(t.Name, t.Content)
		var found report.Problems
		if errors.As(err, &found) {
			problems = append(problems, found...)
		}
		files = append(files, file)
	}
	version = Version(texts...)
	if len(problems) > 0 {
		return nil, version, problems
	}
	return files, version, nil
}

// Version identifies what files hold, whatever their names are.
func Version(texts ...Text) string {
	digest := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(digest, "%d ", len(t.Content))
		digest.Write(t.Content)
	}
	return fmt.Sprintf("%x", digest.Sum(nil)[:6])
}

// readContent reads no more of a file than shows that it is too large.
func readContent(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("permission table: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, strictyaml.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("permission table: %w", err)
	}
	return content, nil
}
