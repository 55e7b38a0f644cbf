package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/strictyaml"
	"gatehouse/core/permission/tablefile"
)

// defaultTable is read where no table is named.
const defaultTable = "permissions.yaml"

// tableFlags name the files of one permission table.
type tableFlags struct {
	paths []string
}

func (t *tableFlags) register(c *cobra.Command) {
	c.Flags().StringArrayVarP(&t.paths, "table", "t", nil,
		"`file` or folder of the permission table; repeat it to merge several, - is standard input (default "+defaultTable+")")
	_ = c.MarkFlagFilename("table", "yaml", "yml")
}

func (t *tableFlags) load(cmd *cobra.Command) (*table, error) {
	if len(t.paths) > 0 {
		return loadTable(cmd.InOrStdin(), t.paths...)
	}
	if _, err := os.Stat(defaultTable); err != nil {
		return nil, fmt.Errorf("no table is named and there is no %s here; name the files of the table with --table", defaultTable)
	}
	return loadTable(cmd.InOrStdin(), defaultTable)
}

// table is a permission table with the files that it was made of.
type table struct {
	*inspect.Inspector
	files []*permission.File
	texts map[string][]byte
}

// loadTable reads the files of a table, and those in its folders.
func loadTable(stdin io.Reader, paths ...string) (*table, error) {
	names, err := tableFiles(paths)
	if err != nil {
		return nil, err
	}
	return loadFiles(stdin, names...)
}

// loadFiles reads the files of a table.
func loadFiles(stdin io.Reader, names ...string) (*table, error) {
	var texts []tableText
	for _, name := range names {
		text, err := readInput(stdin, name, strictyaml.MaxFile)
		if err != nil {
			return nil, err
		}
		texts = append(texts, tableText{shownName(name), text})
	}
	return newTable(texts)
}

// tableText is a part of a table with its name.
type tableText struct {
	name    string
	content []byte
}

// newTable compiles a table. The error holds the errors of all its parts.
func newTable(texts []tableText) (*table, error) {
	t := &table{texts: map[string][]byte{}}
	var problems report.Problems
	for _, text := range texts {
		file, err := tablefile.Parse(text.name, text.content)
		var found report.Problems
		switch {
		case errors.As(err, &found):
			problems = append(problems, found...)
			continue
		case err != nil:
			return nil, err
		}
		t.files = append(t.files, file)
		t.texts[file.Name] = text.content
	}
	if len(problems) > 0 {
		return nil, problems
	}
	compiled, err := permission.Compile(t.files...)
	if err != nil {
		return nil, err
	}
	t.Inspector = inspect.New(compiled, t.files...)
	return t, nil
}

// tableFiles replaces folders by the YAML files in them.
func tableFiles(paths []string) ([]string, error) {
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
			return nil, fmt.Errorf("%s is named twice; name each file of a table once", shownName(name))
		}
	}
	return names, nil
}

func shownName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

// readInput reads a file, or standard input for "-". One byte more than limit
// is read at most, so that a reader that knows the limit can refuse.
func readInput(stdin io.Reader, name string, limit int64) ([]byte, error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, plainPathError(err)
		}
		defer f.Close()
		r = f
	}
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, plainPathError(err)
	}
	return text, nil
}

// plainPathError words an error of the file system as file: reason.
func plainPathError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%s: %w", path.Path, path.Err)
	}
	return err
}

// place writes where a rule stands.
func place(p report.Place) string { return p.String() }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// listing joins names as a sentence does: "a, b or c". A long list is cut.
func listing(names []string, word string) string {
	const most = 6
	if len(names) > most {
		return strings.Join(names[:most-1], ", ") + fmt.Sprintf(" %s %d more", word, len(names)-most+1)
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " " + word + " " + names[len(names)-1]
}
