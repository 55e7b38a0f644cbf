// Package claimpath names values inside the claims of a credential, and reads them.
package claimpath

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Path names a value inside a principal's claims: a dotted path such as
// "identity.traits.email", or a JSON pointer (RFC 6901) such as
// "/https:~1~1example.test~1roles" for names that hold dots.
//
// A step that ends with [] takes every member of a list: "roles[].name" are the
// names of all roles. "keys(roles)" are the names of an object's members. Paths
// joined by " + " are the union of what they name.
//
// It is one pointer, because every upstream header of every request hands one on.
type Path struct{ *path }

type path struct {
	text  string
	steps []pathStep
	// keys takes the names of the object that the steps lead to.
	keys bool
	// union are the paths that are joined; the other fields but text are then
	// empty.
	union []Path
}

// pathStep is a member of an object, or with each every member of the list that
// it is.
type pathStep struct {
	name string
	each bool
}

// unionSign joins paths. A name that holds it has to be part of a JSON pointer
// and cannot have the spaces.
const unionSign = " + "

// Parse reads a claim path.
func Parse(text string) (Path, error) {
	if !strings.Contains(text, unionSign) {
		return parseOnePath(text)
	}
	whole := Path{&path{text: text}}
	for part := range strings.SplitSeq(text, unionSign) {
		one, err := parseOnePath(strings.TrimSpace(part))
		if err != nil {
			return Path{}, err
		}
		whole.union = append(whole.union, one)
	}
	return whole, nil
}

func parseOnePath(text string) (Path, error) {
	one := Path{&path{text: text}}
	inner := text
	if rest, ok := strings.CutPrefix(text, "keys("); ok {
		if inner, ok = strings.CutSuffix(rest, ")"); !ok {
			return Path{}, fmt.Errorf("claim path %q has no closing parenthesis", text)
		}
		one.keys = true
	}
	if err := foreign(inner); err != nil {
		return Path{}, fmt.Errorf("claim path %q %w", text, err)
	}
	for _, step := range splitPath(inner) {
		s, err := parseStep(step)
		if err != nil {
			return Path{}, fmt.Errorf("claim path %q %w", text, err)
		}
		one.steps = append(one.steps, s)
	}
	return one, nil
}

// foreign refuses what other notations write and what no claim would ever be found
// by here.
func foreign(text string) error {
	switch {
	case strings.HasPrefix(text, "/"):
		return nil
	case strings.HasPrefix(text, "$"):
		return fmt.Errorf("begins with $, as in JSONPath; leave that out, as in roles[].name")
	case strings.ContainsAny(strings.ReplaceAll(text, "[*]", ""), "*?{}"):
		return fmt.Errorf("holds a pattern of another notation: roles[].name takes a member of each object of a list, keys(roles) the names in an object")
	case strings.Contains(text, "://"):
		return fmt.Errorf("is read as steps between dots; write the name of one claim as %q", "/"+escape.Replace(text))
	case strings.ContainsAny(text, " \t+,()'\"|`"):
		return fmt.Errorf("holds a character that only a JSON pointer can hold: write the name of one claim as %q, and a union as %q", "/"+escape.Replace(text), "a + b")
	}
	return nil
}

// escape is that of RFC 6901 section 3.
var escape = strings.NewReplacer("~", "~0", "/", "~1")

func splitPath(text string) []string {
	pointer, ok := strings.CutPrefix(text, "/")
	if !ok {
		return strings.Split(text, ".")
	}
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	steps := strings.Split(pointer, "/")
	for i := range steps {
		steps[i] = unescape.Replace(steps[i])
	}
	return steps
}

// parseStep takes [*] for [], as in JSONPath and JMESPath.
func parseStep(text string) (pathStep, error) {
	name, each := strings.CutSuffix(strings.Replace(text, "[*]", "[]", 1), "[]")
	switch {
	case name == "":
		return pathStep{}, fmt.Errorf("has an empty step")
	case strings.ContainsAny(name, "[]"):
		return pathStep{}, fmt.Errorf("has the step %q: only [] can follow a name, which takes every member of a list", text)
	}
	return pathStep{name, each}, nil
}

// String returns the path as it was written.
func (c Path) String() string {
	if c.path == nil {
		return ""
	}
	return c.text
}

// IsUnion reports whether several paths are joined.
func (c Path) IsUnion() bool { return c.path != nil && c.union != nil }

// Parts are the paths of a union, or the path itself.
func (c Path) Parts() []Path {
	if !c.IsUnion() {
		return []Path{c}
	}
	return c.union
}

// Lookup finds the value; ok is false where any step is absent, null or of
// another shape than the step asks for. Of a union it is one list.
func (c Path) Lookup(claims map[string]any) (value any, ok bool) {
	switch {
	case c.path == nil:
		return nil, false
	case c.union != nil:
		return c.lookupUnion(claims)
	}
	value, ok = follow(claims, c.steps)
	if !ok || !c.keys {
		return value, ok
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, false
	}
	names := make([]any, 0, len(object))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		names = append(names, name)
	}
	return names, true
}

func (c Path) lookupUnion(claims map[string]any) (value any, ok bool) {
	list := []any{}
	for _, path := range c.union {
		part, present := path.Lookup(claims)
		if !present {
			continue
		}
		ok = true
		list = appendMembers(list, part)
	}
	return list, ok
}

// appendMembers appends the members of a list, or a value that is none.
func appendMembers(list []any, value any) []any {
	if members, isList := value.([]any); isList {
		return append(list, members...)
	}
	return append(list, value)
}

func follow(value any, steps []pathStep) (any, bool) {
	for i, step := range steps {
		object, isObject := value.(map[string]any)
		if !isObject {
			return nil, false
		}
		if value = object[step.name]; value == nil {
			return nil, false
		}
		if step.each {
			return followEach(value, steps[i+1:])
		}
	}
	return value, true
}

// followEach collects what the steps lead to from every member of a list. Members
// from which they lead nowhere are left out.
func followEach(value any, steps []pathStep) (any, bool) {
	members, isList := value.([]any)
	if !isList {
		return nil, false
	}
	found := []any{}
	for _, member := range members {
		if v, ok := follow(member, steps); ok && v != nil {
			found = appendMembers(found, v)
		}
	}
	return found, true
}

// Strings reads a claim as a list of words: an array of strings as it is, a
// single string split at spaces (the form of RFC 8693 section 4.2). Any other
// shape is an error, because guessing at it would be granting by accident.
func Strings(value any) ([]string, error) {
	switch v := value.(type) {
	case string:
		return strings.FieldsFunc(v, func(r rune) bool { return r == ' ' }), nil
	case []string:
		return v, nil
	case []any:
		words := make([]string, 0, len(v))
		for _, item := range v {
			word, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("list holds %s where a string belongs%s", jsonType(item), hintAt(item))
			}
			words = append(words, word)
		}
		return words, nil
	}
	return nil, fmt.Errorf("value is %s, not a string or a list of strings%s", jsonType(value), hintAt(value))
}

// hintAt says how a claim path reads an object.
func hintAt(value any) string {
	if _, isObject := value.(map[string]any); isObject {
		return "; NAME[].MEMBER reads a member of each object of a list, and keys(NAME) the names in an object"
	}
	return ""
}

func jsonType(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case map[string]any:
		return "an object"
	case []any, []string:
		return "a list"
	}
	return "a number"
}
