package offline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/config"
	"gatehouse/core/setting"
)

// Source names a gate's configuration.
type Source struct {
	// File is a configuration of Gatehouse, or a file of Kong, APISIX or
	// gatehouse-forwardauth that holds some.
	File string
	// Route is the name or id of a route of Kong or APISIX, Gate the name of a
	// gate of gatehouse-forwardauth. Neither is needed where there is one choice.
	Route, Gate string
	// Roots say where the files of the gateway's machine are on this one.
	Roots Roots
}

// Found is the configuration of one gate.
type Found struct {
	*config.Config
	// Name says which configuration was taken: a file and a place in it.
	Name string
	// Notes are what the configuration alone does not tell.
	Notes []string
	// file holds the settings.
	file string
}

// Find reads the configuration of a gate.
func (s Source) Find() (*Found, error) {
	text, err := readFile(s.File)
	if err != nil {
		return nil, err
	}
	var document map[string]any
	if err := yaml.Unmarshal(text, &document); err != nil {
		document = nil // the reader of the configuration says what is wrong
	}
	switch {
	case document["_format_version"] != nil:
		return s.choose(kongChoices(document), "route")
	case document["gates"] != nil:
		return s.choose(forwardAuthChoices(document), "gate")
	case isAPISIX(document):
		return s.choose(apisixChoices(document), "route")
	}
	if s.Route != "" || s.Gate != "" {
		return nil, fmt.Errorf("%s is the configuration of one gate and has no routes or gates to choose from; leave out --route and --gate", s.File)
	}
	c, err := config.LoadFile(s.File)
	if err != nil {
		return nil, err
	}
	return &Found{Config: c, Name: s.File, file: s.File}, nil
}

// TableFiles are the permission table files of a configuration that was found, as
// they are called on this machine.
func (s Source) TableFiles(found *Found) []string {
	files := make([]string, len(found.PermissionTableFiles))
	for i, name := range found.PermissionTableFiles {
		files[i] = s.Roots.Locate(name, found.file)
	}
	return files
}

// choice is a configuration in a file that holds several.
type choice struct {
	// names are those by which it can be chosen.
	names []string
	// place says where it stands.
	place string
	// value is the configuration; nil where the plugin does not run.
	value any
	notes []string
}

// choose finds the configuration with the wanted name, or the only one.
func (s Source) choose(choices []choice, flag string) (*Found, error) {
	wanted, other := s.Route, s.Gate
	if flag == "gate" {
		wanted, other = s.Gate, s.Route
	}
	if other != "" {
		return nil, fmt.Errorf("%s holds %ss; choose one with --%s", s.File, flag, flag)
	}
	var fitting []choice
	for _, c := range choices {
		if wanted == "" && c.value != nil || wanted != "" && slices.Contains(c.names, wanted) {
			fitting = append(fitting, c)
		}
	}
	switch {
	case len(fitting) == 0 && wanted == "":
		return nil, fmt.Errorf("%s has no configuration of Gatehouse: no %s runs the plugin gatehouse", s.File, flag)
	case len(fitting) == 0:
		return nil, fmt.Errorf("%s has no %s %q; there %s", s.File, flag, wanted, listed(choices))
	case wanted != "" && len(fitting) > 1 || !alike(fitting):
		return nil, fmt.Errorf("%s has several configurations of Gatehouse; choose one with --%s: %s", s.File, flag, strings.Join(offered(fitting), ", "))
	case fitting[0].value == nil:
		return nil, fmt.Errorf("%s: %s %q does not run the plugin gatehouse, so every request to it reaches the upstream; there %s", s.File, flag, wanted, listed(choices))
	}
	return s.load(fitting[0])
}

func (s Source) load(c choice) (*Found, error) {
	name := s.File + ", " + c.place
	raw, err := json.Marshal(c.value)
	if err != nil {
		return nil, fmt.Errorf("%s: is no configuration: write a mapping of settings", name)
	}
	if text, ok := c.value.(string); ok { // APISIX holds the value as text
		raw = []byte(text)
	}
	found, err := s.read(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	found.Name, found.Notes = name, c.notes
	return found, nil
}

// read is config.Load, but for where the named file is.
func (s Source) read(raw []byte) (*Found, error) {
	c, problems := config.Inspect(raw)
	switch {
	case len(problems) > 0:
		return nil, &setting.Error{Problems: problems}
	case c.File == "":
		return &Found{Config: c, file: s.File}, nil
	}
	here := s.Roots.Locate(c.File, s.File)
	if _, err := os.Stat(here); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("file: there is no %s; it is a file of the gateway's machine: say with --root where it is here", here)
	}
	loaded, err := config.LoadFile(here)
	return &Found{Config: loaded, file: here}, err
}

// alike reports whether all choices are one configuration.
func alike(choices []choice) bool {
	var first []byte
	for i, c := range choices {
		text, err := json.Marshal(c.value)
		if err != nil {
			return len(choices) == 1
		}
		if i == 0 {
			first = text
		} else if string(text) != string(first) {
			return false
		}
	}
	return true
}

func offered(choices []choice) []string {
	var names []string
	for _, c := range choices {
		if len(c.names) > 0 && c.value != nil && !slices.Contains(names, c.names[0]) {
			names = append(names, c.names[0])
		}
	}
	return names
}

func listed(choices []choice) string {
	if names := offered(choices); len(names) > 0 {
		return "are " + strings.Join(names, ", ")
	}
	return "are none"
}

func forwardAuthChoices(document map[string]any) []choice {
	var choices []choice
	gates := mapping(document["gates"])
	for _, name := range sortedKeys(gates) {
		choices = append(choices, choice{names: []string{name}, place: "gate " + name, value: gates[name]})
	}
	return choices
}

// maxSource bounds a file that holds configurations.
const maxSource = 64 << 20

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	var failed *os.PathError
	if errors.As(err, &failed) {
		return nil, fmt.Errorf("%s: %w; name a configuration, or the file of a gateway that holds one", path, failed.Err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSource+1))
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	if len(text) > maxSource {
		return nil, fmt.Errorf("%s is larger than %d MiB; name the file of one gate's configuration", path, maxSource>>20)
	}
	return text, nil
}

// Roots map folders of the gateway's machine to folders of this one.
type Roots []root

type root struct{ from, to string }

// ParseRoots reads folders, each written as DIR for the root of the file system
// or as FROM=DIR for a part of it.
func ParseRoots(texts []string) (Roots, error) {
	var roots Roots
	for _, text := range texts {
		from, to, mapped := strings.Cut(text, "=")
		if !mapped {
			from, to = "/", text
		}
		if !filepath.IsAbs(from) || to == "" {
			return nil, fmt.Errorf("--root %q is no folder; write DIR, or FROM=DIR with the whole path of a folder of the gateway's machine", text)
		}
		roots = append(roots, root{filepath.Clean(from), to})
	}
	// The longest comes first, because it says the most about a path.
	slices.SortStableFunc(roots, func(a, b root) int { return len(b.from) - len(a.from) })
	return roots, nil
}

// Locate says where a file of the gateway's machine, which another file names,
// is on this one. A relative path is read from the folder of the file that names
// it, as gatehouse check does.
func (r Roots) Locate(path, namedIn string) string {
	if !filepath.IsAbs(path) {
		return filepath.Join(filepath.Dir(namedIn), path)
	}
	for _, root := range r {
		if below, err := filepath.Rel(root.from, path); err == nil && filepath.IsLocal(below) {
			return filepath.Join(root.to, below)
		}
	}
	return path
}
