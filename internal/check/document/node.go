package document

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Node is a value of a document. The zero Node is a value that is absent, of
// which every method says so.
type Node struct {
	*yaml.Node
	text *Text
}

// At wraps a node beside n.
func (n Node) at(y *yaml.Node) Node { return Node{y, n.text} }

// real follows an alias.
func (n Node) real() *yaml.Node {
	y := n.Node
	for y != nil && y.Kind == yaml.AliasNode {
		y = y.Alias
	}
	return y
}

// Present tells a value from one that is absent or null.
func (n Node) Present() bool { return n.Node != nil && n.real().Tag != "!!null" }

// Place is where the value begins.
func (n Node) Place() Place {
	if n.Node == nil {
		return Place{}
	}
	return n.text.Place(n.Line, n.Column)
}

// IsMap reports whether the value is a map, IsList whether it is a list, and
// IsText whether it is a text.
func (n Node) IsMap() bool { return n.Node != nil && n.real().Kind == yaml.MappingNode }

// IsList tells a list.
func (n Node) IsList() bool { return n.Node != nil && n.real().Kind == yaml.SequenceNode }

// IsText tells a string.
func (n Node) IsText() bool {
	return n.Node != nil && n.real().Kind == yaml.ScalarNode && n.real().Tag == "!!str"
}

// Text is the text of a scalar; empty for anything else.
func (n Node) Text() string {
	if n.Node == nil || n.real().Kind != yaml.ScalarNode || n.real().Tag == "!!null" {
		return ""
	}
	return n.real().Value
}

// True tells the boolean true.
func (n Node) True() bool {
	value, is := n.boolean()
	return is && value
}

// False tells the boolean false.
func (n Node) False() bool {
	value, is := n.boolean()
	return is && !value
}

// IsBoolean tells a boolean.
func (n Node) IsBoolean() bool {
	_, is := n.boolean()
	return is
}

// yaml11 are booleans to gateways, which read YAML 1.1, and texts to Gatehouse.
var yaml11 = map[string]bool{"y": true, "yes": true, "on": true, "n": false, "no": false, "off": false}

func (n Node) boolean() (value, is bool) {
	switch {
	case n.Node == nil || n.real().Kind != yaml.ScalarNode:
		return false, false
	case n.real().Tag == "!!bool":
		return value, n.real().Decode(&value) == nil
	case n.real().Tag == "!!str" && n.real().Style == 0:
		value, is = yaml11[strings.ToLower(n.real().Value)]
	}
	return value, is
}

// IsUnknown tells a scalar that is filled in before a program parses the file.
func (n Node) IsUnknown() bool { return strings.ContainsRune(n.Text(), unknown) }

// Pair is a key of a map with its value.
type Pair struct{ Key, Value Node }

// Pairs lists a map in its order. What a merge key (<<) brings in is at the end,
// as far as no other key overrides it.
func (n Node) Pairs() []Pair {
	if !n.IsMap() {
		return nil
	}
	var pairs, merged []Pair
	seen := map[string]bool{}
	content := n.real().Content
	for i := 0; i+1 < len(content); i += 2 {
		key, value := n.at(content[i]), n.at(content[i+1])
		if key.Tag == "!!merge" {
			merged = append(merged, value.mergedPairs()...)
			continue
		}
		seen[key.Value] = true
		pairs = append(pairs, Pair{key, value})
	}
	for _, p := range merged {
		if !seen[p.Key.Value] {
			seen[p.Key.Value] = true
			pairs = append(pairs, p)
		}
	}
	return pairs
}

func (n Node) mergedPairs() []Pair {
	if !n.IsList() {
		return n.Pairs()
	}
	var pairs []Pair
	for _, item := range n.Items() {
		pairs = append(pairs, item.Pairs()...)
	}
	return pairs
}

// Over is a map with the pairs of n, and with those of base whose keys n has not.
// Both have to be of one text.
func (n Node) Over(base Node) Node {
	merged := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column}
	for _, p := range append(n.Pairs(), base.Pairs()...) {
		if !n.at(merged).Has(p.Key.Value) {
			merged.Content = append(merged.Content, p.Key.Node, p.Value.Node)
		}
	}
	return n.at(merged)
}

// Without is a map without a key.
func (n Node) Without(key string) Node {
	rest := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column}
	for _, p := range n.Pairs() {
		if p.Key.Value != key {
			rest.Content = append(rest.Content, p.Key.Node, p.Value.Node)
		}
	}
	return n.at(rest)
}

// Resolved is the value with the texts unknown that a gateway looks up later, and these
// texts.
func (n Node) Resolved(later func(text string) bool) (resolved Node, found []Node) {
	y := *n.real()
	if n.IsText() && later(y.Value) {
		y.Value = string(unknown)
		return n.at(&y), []Node{n}
	}
	y.Content = slices.Clone(y.Content)
	for i, child := range y.Content {
		if y.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		inner, more := n.at(child).Resolved(later)
		y.Content[i], found = inner.Node, append(found, more...)
	}
	return n.at(&y), found
}

// Items lists a list.
func (n Node) Items() []Node {
	if !n.IsList() {
		return nil
	}
	items := make([]Node, len(n.real().Content))
	for i, item := range n.real().Content {
		items[i] = n.at(item)
	}
	return items
}

// Get is the value of a key below another; the zero Node if one is absent.
func (n Node) Get(keys ...string) Node {
	for _, key := range keys {
		n = n.Pair(key).Value
	}
	return n
}

// Pair is a key with its value.
func (n Node) Pair(key string) Pair {
	for _, p := range n.Pairs() {
		if p.Key.Value == key {
			return p
		}
	}
	return Pair{}
}

// Has tells whether a map has one of the keys.
func (n Node) Has(keys ...string) bool {
	for _, key := range keys {
		if n.Pair(key).Key.Node != nil {
			return true
		}
	}
	return false
}

// cut ends a key in a path that is not shown in full.
const cut = "..."

// Find follows a path such as jwt.issuers[0].issuer as far as it leads. Keys may
// hold dots; the longest that fits is taken. It returns the last key and its
// value, and whether the path ended there.
func (n Node) Find(path string) (found Pair, whole bool) {
	found = Pair{Node{}, n}
	for path != "" {
		next, rest, ok := found.Value.step(strings.TrimPrefix(path, "."))
		if !ok {
			return found, false
		}
		found, path = next, rest
	}
	return found, true
}

func (n Node) step(path string) (next Pair, rest string, ok bool) {
	if index, after, isIndex := strings.Cut(strings.TrimPrefix(path, "["), "]"); isIndex && strings.HasPrefix(path, "[") {
		items := n.Items()
		i, err := strconv.Atoi(index)
		if err != nil || i >= len(items) {
			return Pair{}, "", false
		}
		return Pair{Node{}, items[i]}, after, true
	}
	longest := -1
	for _, p := range n.Pairs() {
		key := p.Key.Value
		after, fits := strings.CutPrefix(path, key)
		switch {
		case fits && len(key) > longest && (after == "" || after[0] == '.' || after[0] == '['):
			longest, next, rest, ok = len(key), p, after, true
		case !ok && strings.HasSuffix(path, cut) && strings.HasPrefix(key, strings.TrimSuffix(path, cut)):
			next, rest, ok = p, "", true
		}
	}
	return next, rest, ok
}

// JSON is the value as JSON, as a gateway hands it on.
func (n Node) JSON() ([]byte, error) {
	var value any
	if err := n.real().Decode(&value); err != nil {
		return nil, err
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, errors.New("has a key that is no text")
	}
	return text, nil
}

// Embedded is the text of a scalar as one of its own, which knows where its
// positions stand in the file: exactly for a literal block and for what is
// written on one line, else as the place of the value.
func (n Node) Embedded() *Text {
	y := n.real()
	inner := &Text{File: n.text.File, Content: y.Value}
	outer := n.text.outer
	place := func(line, column int) (int, int) {
		if outer != nil {
			return outer(line, column)
		}
		return line, column
	}
	at := n.text.locator(y)
	inner.outer = func(line, column int) (int, int) { return place(at(line, column)) }
	return inner
}

// locator maps positions inside a scalar to those in the text around it.
func (t *Text) locator(y *yaml.Node) func(line, column int) (int, int) {
	lines := strings.Split(t.Content, "\n")
	if y.Line < 1 || y.Line > len(lines) {
		return func(int, int) (int, int) { return y.Line, y.Column }
	}
	if y.Style&yaml.LiteralStyle != 0 {
		if indent, ok := literalIndent(lines[y.Line:], y.Value); ok {
			return func(line, column int) (int, int) { return y.Line + line, column + indent }
		}
	}
	columns := scalarColumns(lines[y.Line-1], y)
	return func(line, column int) (int, int) {
		at := offset(y.Value, line, column)
		if at < len(columns) {
			return y.Line, columns[at]
		}
		return y.Line, y.Column
	}
}

// literalIndent is how far a block is indented: what its first line with
// something on it has more than the same line of the value.
func literalIndent(block []string, value string) (int, bool) {
	for i, line := range strings.Split(value, "\n") {
		if i < len(block) && strings.TrimSpace(line) != "" {
			indent := leadingSpaces(block[i]) - leadingSpaces(line)
			return indent, indent >= 0
		}
	}
	return 0, false
}

// offset counts the characters of a text before a position.
func offset(text string, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		before, after, found := strings.Cut(text, "\n")
		if !found {
			break
		}
		at += utf8.RuneCountInString(before) + 1
		text = after
	}
	return at + column - 1
}

// scalarColumns are the columns at which the characters of a scalar stand that
// is written on one line; nil where that cannot be told.
func scalarColumns(line string, y *yaml.Node) []int {
	raw := []rune(line)
	at := y.Column - 1
	if at >= len(raw) {
		return nil
	}
	var columns []int
	switch quote := raw[at]; {
	case quote == '"' || quote == '\'':
		columns = quotedColumns(raw, at+1, quote)
	case y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0:
		for i := range utf8.RuneCountInString(y.Value) {
			columns = append(columns, at+i+1)
		}
	}
	if n := utf8.RuneCountInString(y.Value); len(columns) != n && len(columns) != n+1 {
		return nil
	}
	return columns
}

// quotedColumns walks what stands between quotes.
func quotedColumns(raw []rune, at int, quote rune) (columns []int) {
	for at < len(raw) {
		columns = append(columns, at+1)
		switch {
		case raw[at] == quote && quote == '\'' && at+1 < len(raw) && raw[at+1] == quote:
			at += 2
		case raw[at] == quote:
			return columns // the last is that of the end
		case raw[at] == '\\' && quote == '"':
			at += escapeLength(raw[at:])
		default:
			at++
		}
	}
	return nil
}

// escapeLength counts the characters of an escape; two halves of a UTF-16 pair
// are one.
func escapeLength(raw []rune) int {
	lengths := map[rune]int{'x': 4, 'u': 6, 'U': 10}
	if len(raw) < 2 || lengths[raw[1]] == 0 {
		return 2
	}
	n := lengths[raw[1]]
	if raw[1] == 'u' && len(raw) >= 12 && strings.EqualFold(string(raw[2:3]), "d") && strings.ContainsRune("89abAB", raw[3]) && raw[6] == '\\' {
		return 12
	}
	return n
}
