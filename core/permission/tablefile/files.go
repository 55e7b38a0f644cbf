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
	digest := sha256.New()
	var unreadable []error
	var problems report.Problems
	for _, path := range paths {
		content, err := readContent(path)
		if err != nil {
			unreadable = append(unreadable, err)
			continue
		}
		fmt.Fprintf(digest, "%d ", len(content))
		digest.Write(content)
		file, err := Parse(path, content)
		var found report.Problems
		if errors.As(err, &found) {
			problems = append(problems, found...)
		}
		files = append(files, file)
	}
	if len(unreadable) == 0 {
		version = fmt.Sprintf("%x", digest.Sum(nil)[:6])
	}
	if len(problems) > 0 {
		return nil, version, errors.Join(append(unreadable, problems)...)
	}
	return files, version, errors.Join(unreadable...)
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
