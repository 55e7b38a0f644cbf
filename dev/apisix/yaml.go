package apisix

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reader walks a YAML document by hand, because every problem is to be
// reported with its line and its path, and all of them at once.
type reader struct {
	file     string
	problems []error
	// skip has what is not supported and changes no decision of the local gateway
	// left out, which is an error otherwise.
	skip    bool
	skipped []leftOut
}

// field reads the value of one key.
type field func(n *yaml.Node, path string)

func parseYAML(file string, text []byte) (*reader, *yaml.Node, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(document.Content) == 0 {
		return nil, nil, fmt.Errorf("%s: the file is empty", file)
	}
	return &reader{file: file}, document.Content[0], nil
}

// problem records what is wrong at n.
func (r *reader) problem(n *yaml.Node, path, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	if path != "" {
		what = path + ": " + what
	}
	r.problems = append(r.problems, fmt.Errorf("%s:%d:%d: %s", r.file, n.Line, n.Column, what))
}

func (r *reader) err() error { return errors.Join(r.problems...) }

// object reads a mapping. A key without a field is an error.
func (r *reader) object(n *yaml.Node, path string, fields map[string]field) {
	r.pairs(n, path, func(key string, keyNode, value *yaml.Node) {
		read, ok := fields[key]
		if !ok && r.leaveOut(key, value, join(path, key)) {
			return
		}
		if !ok {
			r.problem(keyNode, join(path, key), "not supported by the local gateway; it knows %s",
				strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
			return
		}
		read(value, join(path, key))
	})
}

// pairs reads a mapping with free keys.
func (r *reader) pairs(n *yaml.Node, path string, each func(key string, keyNode, value *yaml.Node)) {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		r.wrongType(n, path, "an object")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := resolve(n.Content[i])
		if seen[key.Value] {
			r.problem(key, join(path, key.Value), "given twice")
			continue
		}
		seen[key.Value] = true
		each(key.Value, key, n.Content[i+1])
	}
}

// list reads a sequence.
func (r *reader) list(n *yaml.Node, path string, each field) {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode {
		r.wrongType(n, path, "a list")
		return
	}
	for i, item := range n.Content {
		each(item, fmt.Sprintf("%s[%d]", path, i))
	}
}

func (r *reader) text(to *string) field {
	return func(n *yaml.Node, path string) {
		if n = resolve(n); n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
			r.wrongType(n, path, "a string")
			return
		}
		*to = n.Value
	}
}

// textOrNumber is for identifiers and header values, which may be either.
func (r *reader) textOrNumber(to *string) field {
	return func(n *yaml.Node, path string) {
		n = resolve(n)
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!int" && n.Tag != "!!float" {
			r.wrongType(n, path, "a string or a number")
			return
		}
		*to = n.Value
	}
}

// texts takes the place of a default.
func (r *reader) texts(to *[]string) field {
	return func(n *yaml.Node, path string) {
		*to = nil
		r.list(n, path, func(item *yaml.Node, path string) {
			var value string
			r.text(&value)(item, path)
			*to = append(*to, value)
		})
	}
}

func (r *reader) integer(to *int) field {
	return func(n *yaml.Node, path string) {
		n = resolve(n)
		value, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil {
			r.wrongType(n, path, "an integer")
			return
		}
		*to = value
	}
}

func (r *reader) boolean(to *bool) field {
	return func(n *yaml.Node, path string) {
		if n = resolve(n); n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			r.wrongType(n, path, "true or false")
			return
		}
		*to = strings.EqualFold(n.Value, "true")
	}
}

// seconds reads APISIX's timeouts: a number of seconds above zero.
func (r *reader) seconds(to *float64) field {
	return func(n *yaml.Node, path string) {
		n = resolve(n)
		value, err := strconv.ParseFloat(n.Value, 64)
		if n.Kind != yaml.ScalarNode || n.Tag != "!!int" && n.Tag != "!!float" || err != nil || !(value > 0) {
			r.wrongType(n, path, "a number of seconds above 0")
			return
		}
		*to = value
	}
}

// ignored is for keys that carry no behaviour, such as descriptions.
func ignored(*yaml.Node, string) {}

func (r *reader) wrongType(n *yaml.Node, path, want string) {
	got := map[yaml.Kind]string{yaml.MappingNode: "an object", yaml.SequenceNode: "a list"}[n.Kind]
	switch {
	case n.Tag == "!!null":
		got = "nothing"
	case n.Kind == yaml.ScalarNode:
		got = strings.TrimPrefix(n.Tag, "!!")
	}
	r.problem(n, path, "want %s, got %s", want, got)
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// at notes where a key is, for problems found later.
func at(to **yaml.Node) field { return func(n *yaml.Node, _ string) { *to = n } }

func both(first, second field) field {
	return func(n *yaml.Node, path string) { first(n, path); second(n, path) }
}
