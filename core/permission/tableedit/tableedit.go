// Package tableedit takes parts out of the text of a table file and leaves everything
// else as people wrote it: comments, order and layout.
package tableedit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/permission"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/tablefile"
)

// Removal is a part that goes: an activity, a permission, a role, a scope or a grant, by
// where it stands; or all methods of an activity but some.
type Removal struct {
	At report.Place
	// Methods are those that stay; nil: the whole part goes.
	Methods []string
}

// Apply takes parts out of a file. What is left must be the file that is wanted.
// Rewritten says that the layout was one that no part could be taken out of, so that
// the file was written anew, without comments.
func Apply(content []byte, removals []Removal, want *permission.File) (edited []byte, rewritten bool, err error) {
	model, err := tablefile.Write(want, tablefile.Comments{})
	if err != nil {
		return nil, false, err
	}
	if edited, err = edit(content, removals); err == nil {
		if got, err := tablefile.Parse(want.Name, edited); err == nil {
			if text, err := tablefile.Write(got, tablefile.Comments{}); err == nil && bytes.Equal(text, model) {
				return edited, false, nil
			}
		}
	}
	return model, true, nil
}

// entry is a key of a mapping, or an item of a sequence.
type entry struct {
	parent *yaml.Node
	at     int // in the content of the parent
	up     *entry
}

func (e *entry) node() *yaml.Node { return e.parent.Content[e.at] }

// nodes are those of the entry: a key with its value, or an item.
func (e *entry) nodes() []*yaml.Node {
	if e.parent.Kind == yaml.MappingNode {
		return e.parent.Content[e.at : e.at+2]
	}
	return e.parent.Content[e.at : e.at+1]
}

// starts are where the entries of a collection begin in its content; none of a scalar.
func starts(n *yaml.Node) (all []int) {
	step := 1
	if n.Kind == yaml.MappingNode {
		step = 2
	}
	for i := 0; i < len(n.Content); i += step {
		all = append(all, i)
	}
	return all
}

type position struct{ line, column int }

type editor struct {
	content []byte
	starts  []int // of lines, in bytes
	inOrder []*yaml.Node
	number  map[*yaml.Node]int // in inOrder
	entries map[position]*entry
	// holder is the entry whose value a mapping or a sequence is.
	holder  map[*yaml.Node]*entry
	dropped map[*yaml.Node]bool // by the first node of an entry
	written map[*yaml.Node]bool // nodes in flow style whose text changes
	changes []change
}

// change is text in the place of bytes.
type change struct {
	from, to int
	text     string
}

var errLayout = errors.New("the layout of the file is one that is not edited")

func edit(content []byte, removals []Removal) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil || len(document.Content) != 1 {
		return nil, errLayout
	}
	e := &editor{content: content, number: map[*yaml.Node]int{}, entries: map[position]*entry{}, holder: map[*yaml.Node]*entry{}, dropped: map[*yaml.Node]bool{}, written: map[*yaml.Node]bool{}}
	for at, c := range content {
		if at == 0 || content[at-1] == '\n' {
			e.starts = append(e.starts, at)
		}
		if c == '\r' {
			return nil, errLayout
		}
	}
	e.walk(document.Content[0], nil)
	for _, r := range removals {
		if err := e.mark(r); err != nil {
			return nil, err
		}
	}
	if err := e.collect(document.Content[0]); err != nil {
		return nil, err
	}
	return e.apply()
}

func (e *editor) walk(n *yaml.Node, holder *entry) {
	e.number[n] = len(e.inOrder)
	e.inOrder = append(e.inOrder, n)
	e.holder[n] = holder
	for _, i := range starts(n) {
		child := &entry{n, i, holder}
		at := position{child.node().Line, child.node().Column}
		if e.entries[at] == nil { // an item comes before the first key in it
			e.entries[at] = child
		}
		for _, part := range child.nodes() {
			e.walk(part, child)
		}
	}
}

// mark notes what goes, with collections that would be empty.
func (e *editor) mark(r Removal) error {
	found := e.entries[position{r.At.Line, r.At.Column}]
	if found == nil {
		return fmt.Errorf("%w: nothing begins at %s", errLayout, r.At)
	}
	if r.Methods != nil {
		return e.methods(found.node(), r.Methods)
	}
	for {
		e.dropped[found.node()] = true
		if !e.empty(found.parent) || found.up == nil || e.ofScope(found.up) {
			return nil
		}
		found = found.up
	}
}

func (e *editor) empty(n *yaml.Node) bool {
	for _, i := range starts(n) {
		if !e.dropped[n.Content[i]] && !beside(n, n.Content[i].Value) {
			return false
		}
	}
	return true
}

// beside reports whether a key only stands beside calls of the Model Context Protocol: it says
// nothing once these are gone.
func beside(n *yaml.Node, key string) bool {
	if n.Kind != yaml.MappingNode || !slices.Contains([]string{"endpoint", "hosts", "require"}, key) {
		return false
	}
	return slices.ContainsFunc(starts(n), func(i int) bool { return n.Content[i].Value == "endpoint" })
}

// ofScope reports whether an entry is a scope, whose empty list has a meaning.
func (e *editor) ofScope(s *entry) bool {
	return s.up != nil && s.up.up == nil && s.up.node().Value == "scopes"
}

// methods leaves some methods of an activity.
func (e *editor) methods(activity *yaml.Node, methods []string) error {
	if activity.Kind == yaml.ScalarNode {
		old, path, _ := strings.Cut(activity.Value, " ")
		if e.flowAround(activity) != nil {
			activity.Value, e.written[activity] = strings.Join(methods, ",")+" "+path, true
			return nil
		}
		return e.replace(activity, old, strings.Join(methods, ","))
	}
	for i := 0; i+1 < len(activity.Content); i += 2 {
		if activity.Content[i].Value == "methods" {
			return e.methodList(activity.Content[i+1], methods)
		}
	}
	return errLayout
}

func (e *editor) methodList(list *yaml.Node, methods []string) error {
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		return errLayout
	}
	first := list.Content[0]
	switch {
	case e.flowAround(first) != nil && first.Value == permission.AnyMethod:
		list.Content = nil
		for _, m := range methods {
			list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: m})
		}
		e.written[list] = true
		return nil
	case first.Value == permission.AnyMethod:
		return e.replace(first, first.Value, strings.Join(methods, "\n"+strings.Repeat(" ", max(first.Column-3, 0))+"- "))
	}
	for _, m := range list.Content {
		if !slices.Contains(methods, m.Value) {
			e.dropped[m] = true
		}
	}
	return nil
}

// replace changes the first occurrence of a text in a scalar on one line.
func (e *editor) replace(n *yaml.Node, old, text string) error {
	from := e.offset(n)
	end := bytes.IndexByte(e.content[from:], '\n')
	if end < 0 {
		end = len(e.content) - from
	}
	at := bytes.Index(e.content[from:from+end], []byte(old))
	if at < 0 {
		return errLayout
	}
	e.changes = append(e.changes, change{from + at, from + at + len(old), text})
	return nil
}

// offset is where a node begins, in bytes.
func (e *editor) offset(n *yaml.Node) int {
	at := e.starts[n.Line-1]
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(e.content[at:])
		at += size
	}
	return at
}

// flowAround is the outermost collection in flow style around a node; nil: there is none.
func (e *editor) flowAround(n *yaml.Node) (outermost *yaml.Node) {
	for h := e.holder[n]; h != nil; h = h.up {
		if h.parent.Style&yaml.FlowStyle != 0 {
			outermost = h.parent
		}
	}
	return outermost
}

// collect makes changes of what was marked.
func (e *editor) collect(root *yaml.Node) error {
	if e.empty(root) {
		return errLayout
	}
	return e.inside(root)
}

func (e *editor) inside(n *yaml.Node) error {
	if n.Style&yaml.FlowStyle != 0 {
		return e.flow(n)
	}
	if n.Kind == yaml.SequenceNode && len(n.Content) > 0 && e.empty(n) { // of a scope
		return e.emptyList(n)
	}
	for _, i := range starts(n) {
		child := entry{parent: n, at: i}
		nodes := child.nodes()
		var err error
		if e.dropped[child.node()] {
			err = e.lines(nodes)
		} else {
			err = e.inside(nodes[len(nodes)-1])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// emptyList writes [] behind the key of a list.
func (e *editor) emptyList(n *yaml.Node) error {
	key := e.holder[n].node()
	for _, item := range n.Content {
		if err := e.lines([]*yaml.Node{item}); err != nil {
			return err
		}
	}
	at := e.offset(key)
	colon := bytes.IndexByte(e.content[at+len(key.Value):], ':')
	if colon < 0 {
		return errLayout
	}
	at += len(key.Value) + colon + 1
	e.changes = append(e.changes, change{at, at, " []"})
	return nil
}

// flow writes a collection in flow style anew if something in it goes.
func (e *editor) flow(n *yaml.Node) error {
	if !e.prune(n) {
		return nil
	}
	from := e.offset(n)
	to, err := e.closing(from)
	if err != nil {
		return err
	}
	e.changes = append(e.changes, change{from, to, e.render(n)})
	return nil
}

// render writes a collection in flow style, with its texts as they were written.
func (e *editor) render(n *yaml.Node) string {
	parts := make([]string, 0, len(n.Content))
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			parts = append(parts, e.render(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			parts = append(parts, e.render(n.Content[i])+": "+e.render(n.Content[i+1]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	if n.Line == 0 || e.written[n] {
		if n.Style != 0 {
			return "'" + strings.ReplaceAll(n.Value, "'", "''") + "'"
		}
		return n.Value
	}
	from := e.offset(n)
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		return string(e.content[from : from+quoted(e.content[from:])+1])
	}
	return n.Value
}

// prune takes out what goes, and reports whether anything changed.
func (e *editor) prune(n *yaml.Node) (changed bool) {
	var left []*yaml.Node
	for _, i := range starts(n) {
		child := entry{parent: n, at: i}
		if e.dropped[child.node()] {
			changed = true
			continue
		}
		nodes := child.nodes()
		changed = e.prune(nodes[len(nodes)-1]) || changed
		left = append(left, nodes...)
	}
	n.Content = left
	return changed || e.written[n]
}

// closing is behind the bracket that closes the one at a place.
func (e *editor) closing(from int) (int, error) {
	depth := 0
	for at := from; at < len(e.content); at++ {
		switch c := e.content[at]; c {
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				return at + 1, nil
			}
		case '#':
			if e.content[at-1] == ' ' || e.content[at-1] == '\n' {
				return 0, errLayout // a comment would be lost
			}
		case '\'', '"':
			if before := e.content[at-1]; before != ' ' && before != ',' && before != '[' && before != '{' && before != ':' && before != '\n' {
				continue // inside of a plain scalar
			}
			end := quoted(e.content[at:])
			if end < 0 {
				return 0, errLayout
			}
			at += end
		}
	}
	return 0, errLayout
}

// quoted is where the quote that opens a text is closed.
func quoted(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch {
		case text[0] == '"' && text[i] == '\\':
			i++
		case text[i] == text[0] && text[0] == '\'' && i+1 < len(text) && text[i+1] == '\'':
			i++
		case text[i] == text[0]:
			return i
		}
	}
	return -1
}

// lines takes out those of an entry of a block, with the comments that belong to it.
func (e *editor) lines(nodes []*yaml.Node) error {
	first := nodes[0].Line
	next := len(e.starts) + 1
	if after := e.after(nodes[len(nodes)-1]); after != nil {
		next = after.Line
	}
	if next <= first {
		return errLayout
	}
	depth := indent(e.line(first))
	last := next - 1
	for last > first && (blank(e.line(last)) || comment(e.line(last)) && indent(e.line(last)) <= depth) {
		last--
	}
	for depth > 0 && first > 1 && comment(e.line(first-1)) && indent(e.line(first-1)) == depth {
		first--
	}
	to := len(e.content)
	if last < len(e.starts) {
		to = e.starts[last]
	}
	e.changes = append(e.changes, change{e.starts[first-1], to, ""})
	return nil
}

// after is the first node behind another and all in it.
func (e *editor) after(n *yaml.Node) *yaml.Node {
	end := n
	for len(end.Content) > 0 {
		end = end.Content[len(end.Content)-1]
	}
	if at := e.number[end]; at+1 < len(e.inOrder) {
		return e.inOrder[at+1]
	}
	return nil
}

func (e *editor) line(n int) string {
	end := len(e.content)
	if n < len(e.starts) {
		end = e.starts[n]
	}
	return strings.TrimRight(string(e.content[e.starts[n-1]:end]), "\n")
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

func blank(line string) bool { return strings.TrimSpace(line) == "" }

func comment(line string) bool { return strings.HasPrefix(strings.TrimLeft(line, " "), "#") }

func (e *editor) apply() ([]byte, error) {
	slices.SortFunc(e.changes, func(a, b change) int { return a.from - b.from })
	var b bytes.Buffer
	at := 0
	for _, c := range e.changes {
		if c.from < at {
			return nil, errLayout
		}
		b.Write(e.content[at:c.from])
		b.WriteString(c.text)
		at = c.to
	}
	b.Write(e.content[at:])
	return b.Bytes(), nil
}
