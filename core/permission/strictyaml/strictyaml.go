// Package strictyaml reads YAML files that people write: every error of a file at
// once, each at its line and column, and none of the parts of YAML that make a
// text mean something other than it seems to.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/permission/report"
)

// MaxFile is the greatest size of a file in bytes. It is far above what a file
// needs and keeps a broken or hostile one from costing more than a moment.
const MaxFile = 16 << 20

// Key is one key of a mapping.
type Key struct {
	Name     string
	Doc      string
	Required bool
	// Schema is the JSON Schema of the value, for formats that have one.
	Schema map[string]any
}

// Keys are all that one mapping may hold.
type Keys []Key

// Names lists the names of the keys.
func (k Keys) Names() []string {
	names := make([]string, len(k))
	for i := range k {
		names[i] = k[i].Name
	}
	return names
}

// JSONSchema describes a mapping with these keys (JSON Schema, draft 2020-12).
func (k Keys) JSONSchema() map[string]any {
	properties := map[string]any{}
	var required []string
	for _, key := range k {
		property := map[string]any{}
		maps.Copy(property, key.Schema)
		if key.Doc != "" {
			property["description"] = key.Doc
		}
		properties[key.Name] = property
		if key.Required {
			required = append(required, key.Name)
		}
	}
	s := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if required != nil {
		s["required"] = required
	}
	return s
}

// Reader reads the nodes of one file and collects what is wrong with them.
type Reader struct {
	report.Collector
	// File is the name that problems are reported under.
	File string
	// Elsewhere says where a key belongs that a mapping does not know, in a sentence;
	// empty if it does not know either. Nil: nowhere.
	Elsewhere func(key string) string
}

// At is the place of a node.
func (r *Reader) At(n *yaml.Node) report.Place {
	return report.Place{File: r.File, Line: n.Line, Column: n.Column}
}

// Refuse notes what is wrong with a node.
func (r *Reader) Refuse(n *yaml.Node, format string, args ...any) {
	r.Add(r.At(n), format, args...)
}

// Document checks what concerns the file as a whole and returns its root, or nil
// for a file that cannot be used. An empty file is refused in the words given.
func (r *Reader) Document(content []byte, empty string) *yaml.Node {
	start := report.Place{File: r.File, Line: 1, Column: 1}
	switch {
	case len(content) > MaxFile:
		r.Add(start, "the file is larger than %d MiB; split it into several files", MaxFile>>20)
		return nil
	case !utf8.Valid(content):
		r.Add(invalidUTF8(r.File, content), "the file is not valid UTF-8; save it as UTF-8")
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var doc yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		r.Add(start, "%s", empty)
		return nil
	case err != nil:
		r.syntax(err)
		return nil
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		r.Refuse(&second, "a second YAML document; a table file holds one, so put this into a file of its own")
		return nil
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
		return nil
	}
	if !r.plainYAML(&doc) {
		return nil
	}
	return doc.Content[0]
}

func invalidUTF8(file string, content []byte) report.Place {
	valid := content
	for len(valid) > 0 {
		r, size := utf8.DecodeRune(valid)
		if r == utf8.RuneError && size == 1 {
			break
		}
		valid = valid[size:]
	}
	before := content[:len(content)-len(valid)]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[1+bytes.LastIndexByte(before, '\n'):])
	return report.Place{File: file, Line: line, Column: column}
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax reports what the YAML library could not read. It names the line and
// stops at the first error.
func (r *Reader) syntax(err error) {
	text := err.Error()
	line := 1
	if m := yamlError.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	r.Add(report.Place{File: r.File, Line: line, Column: 1}, "not valid YAML: %s; indent with spaces and quote values that hold any of : # [ ] { } , & * ! | > %% @", text)
}

// plainYAML refuses the corners of YAML that make a text mean something other
// than it seems to: aliases (which can also make a small file huge), merge
// keys and tags.
func (r *Reader) plainYAML(n *yaml.Node) bool {
	plain := true
	switch {
	case n.Kind == yaml.AliasNode:
		r.Refuse(n, "the alias *%s is not accepted; write the value out", n.Value)
		return false
	case n.Anchor != "":
		r.Refuse(n, "the anchor &%s is not accepted; write the value out where it is needed", n.Anchor)
		plain = false
	case n.Style&yaml.TaggedStyle != 0:
		r.Refuse(n, "the tag %s is not accepted; leave it out", n.Tag)
		plain = false
	case n.Kind == yaml.ScalarNode && n.Tag == "!!merge":
		r.Refuse(n, "the merge key << is not accepted; write the keys out")
		plain = false
	}
	for _, child := range n.Content {
		plain = r.plainYAML(child) && plain
	}
	return plain
}

// Entry is a key of a mapping, or an item of a list of words, with its value.
type Entry struct {
	Name       string
	Key, Value *yaml.Node
}

// Fixed returns the entries of a mapping whose keys are known.
func (r *Reader) Fixed(n *yaml.Node, what string, known Keys) []Entry {
	names := known.Names()
	var entries []Entry
	for _, e := range r.mapping(n, what, "the keys "+strings.Join(names, ", ")) {
		if !slices.Contains(names, e.Name) {
			r.Refuse(e.Key, "%s: unknown key %s%s; known keys are %s", what, report.Quote(e.Name), r.meant(e.Name, names), strings.Join(names, ", "))
			continue
		}
		entries = append(entries, e)
	}
	for _, k := range known {
		missing := !slices.ContainsFunc(entries, func(e Entry) bool { return e.Name == k.Name })
		if k.Required && missing && n.Kind == yaml.MappingNode {
			r.Refuse(n, "%s has no key %s; add it", what, k.Name)
		}
	}
	return entries
}

// meant ends a message about an unknown key with what it was probably meant to be.
func (r *Reader) meant(key string, names []string) string {
	if hint := report.DidYouMean(key, names); hint != "" || r.Elsewhere == nil {
		return hint
	}
	if where := r.Elsewhere(key); where != "" {
		return "; " + where
	}
	return ""
}

// Named returns the entries of a mapping whose keys are chosen by the author.
func (r *Reader) Named(n *yaml.Node, what, kind string) []Entry {
	return r.mapping(n, what, "names of a "+kind+" with their content")
}

func (r *Reader) mapping(n *yaml.Node, what, content string) []Entry {
	if n.Kind != yaml.MappingNode {
		r.Refuse(n, "%s is %s where a mapping belongs; give it %s", what, KindOf(n), content)
		return nil
	}
	first := make(map[string]*yaml.Node, len(n.Content)/2)
	entries := make([]Entry, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.Tag != "!!str" {
			r.Refuse(k, "%s: a key is %s where text belongs; put it in quotes", what, KindOf(k))
			continue
		}
		if before, twice := first[k.Value]; twice {
			r.Refuse(k, "%s: %s is defined twice, first at %s; keep one", what, report.Quote(k.Value), r.At(before))
			continue
		}
		first[k.Value] = k
		entries = append(entries, Entry{k.Value, k, v})
	}
	return entries
}

// Items returns the items of a list.
func (r *Reader) Items(n *yaml.Node, what, content string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		r.Refuse(n, "%s is %s where a list belongs; list %s", what, KindOf(n), content)
		return nil
	}
	return n.Content
}

// Texts returns the items of a list of texts.
func (r *Reader) Texts(n *yaml.Node, what, content string) []Entry {
	var texts []Entry
	for _, item := range r.Items(n, what, content) {
		if value, ok := r.Text(item, what+": an entry"); ok {
			texts = append(texts, Entry{Name: value, Value: item})
		}
	}
	return texts
}

// Words returns the items of a list of texts, each of which may occur once.
func (r *Reader) Words(n *yaml.Node, what, content string) []Entry {
	var words []Entry
	first := map[string]*yaml.Node{}
	for _, e := range r.Texts(n, what, content) {
		if before, twice := first[e.Name]; twice {
			r.Refuse(e.Value, "%s: %s is listed twice, first at %s; remove one", what, report.Quote(e.Name), r.At(before))
			continue
		}
		first[e.Name] = e.Value
		words = append(words, e)
	}
	return words
}

// NonEmptyWords is Words for a list that must not be empty.
func (r *Reader) NonEmptyWords(n *yaml.Node, what, content string) []Entry {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		r.Refuse(n, "%s is empty; list %s or leave the key out", what, content)
	}
	return r.Words(n, what, content)
}

// Text returns a text; ok is false for anything else.
func (r *Reader) Text(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		r.Refuse(n, "%s is %s where text belongs%s", what, KindOf(n), quoteHint(n))
		return "", false
	}
	return n.Value, true
}

func quoteHint(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return "; put it in quotes"
	}
	return "; write a text"
}

// Boolean returns true or false; ok is false for anything else.
func (r *Reader) Boolean(n *yaml.Node, what string) (on, ok bool) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		return strings.EqualFold(n.Value, "true"), true
	}
	r.Refuse(n, "%s is %s; write true or false", what, KindOf(n))
	return false, false
}

// OneOf returns a text that is one of some words, or "". The one error names them.
func (r *Reader) OneOf(n *yaml.Node, what string, words []string) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		r.Refuse(n, "%s is %s; use one of %s", what, KindOf(n), strings.Join(words, ", "))
		return ""
	}
	if !slices.Contains(words, n.Value) {
		hint := report.DidYouMean(n.Value, words)
		if hint == "" {
			hint = endingWith(n.Value, words)
		}
		r.Refuse(n, "%s: %s is not known%s; use one of %s", what, report.Quote(n.Value), hint, strings.Join(words, ", "))
		return ""
	}
	return n.Value
}

// endingWith suggests the one word of which a text is the end: aal2 for 2.
func endingWith(text string, words []string) string {
	var ending []string
	for _, word := range words {
		if text != "" && strings.HasSuffix(word, text) {
			ending = append(ending, word)
		}
	}
	if len(ending) != 1 {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", ending[0])
}

// Duration returns an age of whole seconds, or 0.
func (r *Reader) Duration(n *yaml.Node, what string) time.Duration {
	const form = "write a duration of whole seconds such as 90s, 15m or 12h"
	if n.Kind != yaml.ScalarNode {
		r.Refuse(n, "%s is %s; %s", what, KindOf(n), form)
		return 0
	}
	d, err := time.ParseDuration(n.Value)
	if err != nil || d < time.Second || d%time.Second != 0 {
		r.Refuse(n, "%s: %s is not an age; %s", what, report.Quote(n.Value), form)
		return 0
	}
	return d
}

// KindOf names what a node is, in the words of a YAML author.
func KindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "empty"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	case "!!timestamp":
		return "a date"
	}
	return "text"
}
