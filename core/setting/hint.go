package setting

import (
	"cmp"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"gatehouse/core/permission/report"
)

// Foreign are names of settings elsewhere that people know, and what they lead to here.
// Structs of settings that know some have a method ForeignNames() []Foreign.
type Foreign struct {
	// Names are separated by commas. Case, hyphens and underscores do not count.
	Names string
	// Paths of our settings, separated by commas, with [] for the items of a list.
	Paths string
	// Note is a sentence about what is different.
	Note string
}

// guide finds out what a key that is no setting was probably meant to be.
type guide struct {
	paths   []string // of all settings
	foreign map[string]Foreign
	// given are the sections of the document.
	given map[string]any
}

func newGuide(settings reflect.Type, given map[string]any) *guide {
	g := &guide{paths: allPaths(settings, ""), foreign: map[string]Foreign{}, given: given}
	if s, ok := reflect.Zero(settings).Interface().(interface{ ForeignNames() []Foreign }); ok {
		for _, f := range s.ForeignNames() {
			for _, name := range split(f.Names) {
				g.foreign[normal(name)] = f
			}
		}
	}
	return g
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ", ")
}

// allPaths are those of all settings of a struct, with [] for the items of lists.
func allPaths(t reflect.Type, path string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if t.Kind() == reflect.Slice {
			path += "[]"
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var paths []string
	for i := range t.NumField() {
		at := strings.TrimPrefix(path+"."+Key(t.Field(i)), ".")
		paths = append(append(paths, at), allPaths(t.Field(i).Type, at)...)
	}
	return paths
}

// maxEdits is how misspelt a name may be.
const maxEdits = 2

// hint ends a message about a key in a section, and returns the settings that it names;
// the path of the top is empty.
func (g *guide) hint(parent, key string) (text string, meant []string) {
	section := indexes.ReplaceAllString(parent, "[]")
	beside := func(path string) bool { return above(path) == section }
	named := func(path string) bool { return normal(leaf(path)) == normal(key) }
	inside := func(path string) bool { return section != "" && shared(path, section) > 0 }
	switch foreign, known := g.foreign[normal(key)]; {
	case g.any(beside, named):
		return g.say(parent, g.pick(beside, named), "")
	case g.any(inside, named):
		return g.say(parent, g.pick(inside, named), "")
	case known:
		return g.say(parent, split(foreign.Paths), foreign.Note)
	}
	close := append(g.pick(beside, g.misspelt(key, beside)), g.pick(named)...)
	if len(close) == 0 {
		close = g.pick(g.misspelt(key))
	}
	if len(close) > 0 {
		return g.say(parent, close, "")
	}
	if name := report.Closest(normal(key), slices.Sorted(maps.Keys(g.foreign)), min(maxEdits, len(key)/5)); name != "" {
		return g.say(parent, split(g.foreign[name].Paths), g.foreign[name].Note)
	}
	return "", nil
}

var indexes = regexp.MustCompile(`\[\d+\]`)

// pick returns the paths for which all conditions hold.
func (g *guide) pick(conditions ...func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(g.paths), func(path string) bool {
		return slices.ContainsFunc(conditions, func(holds func(string) bool) bool { return !holds(path) })
	})
}

func (g *guide) any(conditions ...func(string) bool) bool { return len(g.pick(conditions...)) > 0 }

// misspelt is the condition to have the name that is closest to a key, of those paths
// that meet the other conditions.
func (g *guide) misspelt(key string, conditions ...func(string) bool) func(string) bool {
	var names []string
	for _, path := range g.pick(conditions...) {
		names = append(names, leaf(path))
	}
	slices.Sort(names)
	closest := report.Closest(key, names, min(maxEdits, len(key)/2)) // of aal and ssl nobody means the other
	return func(path string) bool { return closest != "" && leaf(path) == closest }
}

// say names the settings that were meant, the nearest ones first: of several in the
// section of the key no other is named.
func (g *guide) say(parent string, paths []string, note string) (text string, named []string) {
	nearness := func(path string) int { return 2*shared(path, indexes.ReplaceAllString(parent, "[]")) + g.isGiven(path) }
	slices.SortStableFunc(paths, func(a, b string) int { return cmp.Compare(nearness(b), nearness(a)) })
	if most := nearness(first(paths)); most >= 2 {
		paths = slices.DeleteFunc(paths, func(path string) bool { return nearness(path) < most })
	}
	named = make([]string, len(paths))
	for i, path := range paths {
		named[i] = withIndexes(path, parent)
	}
	if len(named) > 0 {
		text = "; did you mean " + Alternatives(named) + "?"
	}
	if note != "" {
		text = cmp.Or(text, ".") + " " + note
	}
	return text, named
}

func first(paths []string) string {
	if len(paths) == 0 {
		return ""
	}
	return paths[0]
}

// isGiven is 1 for a path in a section of the document.
func (g *guide) isGiven(path string) int {
	top, _, _ := strings.Cut(path, ".")
	if g.given[strings.TrimSuffix(top, "[]")] != nil {
		return 1
	}
	return 0
}

// Alternatives joins names as in "a, b or c".
func Alternatives(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// shared is how many sections two paths have in common from the top on.
func shared(path, other string) int {
	a, b := strings.Split(path, "."), strings.Split(other, ".")
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// withIndexes writes a path with the indexes of a section of the document, as far as it
// is in that.
func withIndexes(path, parent string) string {
	a, b := strings.Split(path, "."), strings.Split(parent, ".")
	for i := range min(len(a), len(b)) {
		if a[i] != indexes.ReplaceAllString(b[i], "[]") {
			break
		}
		a[i] = b[i]
	}
	return strings.Join(a, ".")
}

func leaf(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

func above(path string) string {
	if end := strings.LastIndexByte(path, '.'); end >= 0 {
		return path[:end]
	}
	return ""
}

// normal is a name as far as it counts: client-id, clientId and client_id are one.
func normal(name string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", "[]", "").Replace(name))
}
