// Package tables loads the permission tables that a command line names, and words
// activities for its output.
package tables

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/strictyaml"
	"gatehouse/core/permission/tablefile"
	"gatehouse/internal/cli/terminal"
)

// DefaultName is read where no table is named.
const DefaultName = "permissions.yaml"

// Flags name the files of one permission table.
type Flags struct {
	Paths []string
}

// Register adds the flag to a command.
func (t *Flags) Register(c *cobra.Command) {
	c.Flags().StringArrayVarP(&t.Paths, "table", "t", nil,
		"`file` or folder of the permission table; repeat it to merge several, - is standard input (default "+DefaultName+")")
	_ = c.MarkFlagFilename("table", "yaml", "yml")
}

// Load reads the table that the flags name.
func (t *Flags) Load(cmd *cobra.Command) (*Table, error) {
	if len(t.Paths) > 0 {
		return Load(cmd.InOrStdin(), t.Paths...)
	}
	if _, err := os.Stat(DefaultName); err != nil {
		return nil, fmt.Errorf("no table is named and there is no %s here; name the files of the table with --table", DefaultName)
	}
	return Load(cmd.InOrStdin(), DefaultName)
}

// Table is a permission table with the files that it was made of.
type Table struct {
	*inspect.Inspector
	Files []*permission.File
	Texts map[string][]byte
}

// Load reads the files of a table, and those in its folders.
func Load(stdin io.Reader, paths ...string) (*Table, error) {
	names, err := Files(paths)
	if err != nil {
		return nil, err
	}
	return LoadFiles(stdin, names...)
}

// LoadFiles reads the files of a table.
func LoadFiles(stdin io.Reader, names ...string) (*Table, error) {
	var texts []Text
	for _, name := range names {
		text, err := terminal.ReadInput(stdin, name, strictyaml.MaxFile)
		if err != nil {
			return nil, err
		}
		texts = append(texts, Text{ShownName(name), text})
	}
	return New(texts)
}

// Text is a part of a table with its name.
type Text struct {
	Name    string
	Content []byte
}

// New compiles a table. The error holds the errors of all its parts.
func New(texts []Text) (*Table, error) {
	t := &Table{Texts: map[string][]byte{}}
	var problems report.Problems
	for _, text := range texts {
		file, err := tablefile.Parse(text.Name, text.Content)
		var found report.Problems
		switch {
		case errors.As(err, &found):
			problems = append(problems, found...)
			continue
		case err != nil:
			return nil, err
		}
		t.Files = append(t.Files, file)
		t.Texts[file.Name] = text.Content
	}
	if len(problems) > 0 {
		return nil, problems
	}
	compiled, err := permission.Compile(t.Files...)
	if err != nil {
		return nil, err
	}
	t.Inspector = inspect.New(compiled, t.Files...)
	return t, nil
}

// Files replaces folders by the YAML files in them.
func Files(paths []string) ([]string, error) {
	var names []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if path == "-" || err != nil || !info.IsDir() {
			names = append(names, path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		before := len(names)
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
				names = append(names, filepath.Join(path, e.Name()))
			}
		}
		if len(names) == before {
			return nil, fmt.Errorf("%s: the folder holds no .yaml file; name the files of the table", path)
		}
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("%s is named twice; name each file of a table once", ShownName(name))
		}
	}
	return names, nil
}

// ShownName is what messages call an input file.
func ShownName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}
