// Package document reads YAML and JSON and knows where each value stands, in
// documents too that are written as a text inside of another one.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxSize bounds a text, in bytes.
const MaxSize = 4 << 20

// Place is a position in a file. Lines and columns count from 1.
type Place struct {
	File         string
	Line, Column int
}

func (p Place) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Text is a file, or a text inside of one.
type Text struct {
	File    string
	Content string
	// outer is where a position of the text stands in the file; nil where the
	// text is the file.
	outer func(line, column int) (int, int)
}

// Place is where a position of the text stands in the file.
func (t *Text) Place(line, column int) Place {
	line, column = max(line, 1), max(column, 1)
	if t.outer != nil {
		line, column = t.outer(line, column)
	}
	return Place{t.File, line, column}
}

// Problem is what is wrong with the syntax of a text.
type Problem struct {
	Place
	Text string
}

// unknown takes the place of what a tool fills in before a program parses the
// file, ${{ env "NAME" }} of decK and ${{NAME}} of APISIX, so that a value keeps
// its length and can be told from others.
const unknown = '\uE000'

var template = regexp.MustCompile(`\$\{\{[^}\n]*\}\}`)

// withoutTemplates replaces each template by as many characters.
func withoutTemplates(text string) string {
	return template.ReplaceAllStringFunc(text, func(found string) string {
		return strings.Repeat(string(unknown), utf8.RuneCountInString(found))
	})
}

// Parse reads the documents of a text. Keys that are given twice are problems,
// because programs differ in which of the two counts. A problem quotes nothing
// of the text, which may be a secret.
func Parse(t *Text) ([]Node, []Problem) {
	if len(t.Content) > MaxSize {
		return nil, []Problem{{t.Place(1, 1), fmt.Sprintf("is larger than %d bytes", MaxSize)}}
	}
	if json.Valid([]byte(t.Content)) {
		return parseJSON(t)
	}
	parsed := &Text{t.File, withoutTemplates(t.Content), t.outer}
	var nodes []Node
	var problems []Problem
	for d := yaml.NewDecoder(strings.NewReader(parsed.Content)); ; {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			return nodes, problems
		}
		if err != nil {
			return nodes, append(problems, syntaxProblem(t, err.Error()))
		}
		if err := n.Decode(new(any)); err != nil {
			problems = append(problems, decodeProblems(t, err)...)
			continue
		}
		nodes = append(nodes, Node{Node: n.Content[0], text: parsed})
	}
}

func decodeProblems(t *Text, err error) []Problem {
	var several *yaml.TypeError
	if !errors.As(err, &several) {
		return []Problem{syntaxProblem(t, err.Error())}
	}
	problems := make([]Problem, len(several.Errors))
	for i, text := range several.Errors {
		problems[i] = syntaxProblem(t, text)
	}
	return problems
}

var (
	atLine   = regexp.MustCompile(`(?s)^(?:yaml: )?(?:line (\d+): )?(.*)$`)
	keyTwice = regexp.MustCompile(`^mapping key .* already defined at line (\d+)$`)
	quoted   = regexp.MustCompile("[\"'`][^\"'`]{2,}[\"'`]?")
)

// syntaxProblem finds the line in the error of the parser.
func syntaxProblem(t *Text, text string) Problem {
	m := atLine.FindStringSubmatch(text)
	line, _ := strconv.Atoi(m[1])
	said := m[2]
	if twice := keyTwice.FindStringSubmatch(said); twice != nil {
		first, _ := strconv.Atoi(twice[1])
		return Problem{t.Place(line, column(t.Content, line)), fmt.Sprintf("the key is already given at line %d; remove one of them", t.Place(first, 1).Line)}
	}
	return Problem{t.Place(line, column(t.Content, line)), "is neither YAML nor JSON: " + quoted.ReplaceAllString(said, "the value")}
}

// column is where a line begins behind its indentation.
func column(text string, line int) int {
	lines := strings.Split(text, "\n")
	if line < 1 || line > len(lines) {
		return 1
	}
	return 1 + leadingSpaces(lines[line-1])
}

func leadingSpaces(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// parseJSON reads JSON as JSON, because YAML knows fewer escapes and no tabs.
func parseJSON(t *Text) ([]Node, []Problem) {
	r := &jsonReader{text: t, d: json.NewDecoder(bytes.NewReader([]byte(t.Content)))}
	r.d.UseNumber()
	root := r.value()
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	return []Node{{Node: root, text: t}}, nil
}

// jsonReader makes nodes of a text that is valid JSON.
type jsonReader struct {
	text     *Text
	d        *json.Decoder
	problems []Problem
	// line and begin are those of the last value; offset is where it was found.
	line, begin, offset int
}

// position is that of the next token, which is behind the decoder's offset.
func (r *jsonReader) position() (line, column int) {
	text := r.text.Content
	end := int(r.d.InputOffset())
	for end < len(text) && strings.IndexByte(" \t\r\n,:", text[end]) >= 0 {
		end++
	}
	for ; r.offset < end; r.offset++ {
		if text[r.offset] == '\n' {
			r.line++
			r.begin = r.offset + 1
		}
	}
	return r.line + 1, 1 + utf8.RuneCountInString(text[r.begin:end])
}

func (r *jsonReader) value() *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode}
	n.Line, n.Column = r.position()
	token, _ := r.d.Token() // the text is valid
	switch token := token.(type) {
	case json.Delim:
		r.inner(n, token)
	case string:
		n.Tag, n.Value, n.Style = "!!str", token, yaml.DoubleQuotedStyle
		if template.MatchString(token) {
			n.Value = withoutTemplates(token)
		}
	case json.Number:
		n.Tag, n.Value = "!!float", token.String()
		if _, err := token.Int64(); err == nil {
			n.Tag = "!!int"
		}
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(token)
	case nil:
		n.Tag, n.Value = "!!null", "null"
	}
	return n
}

func (r *jsonReader) inner(n *yaml.Node, open json.Delim) {
	n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	if open == '{' {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	first := map[string]int{}
	for r.d.More() {
		if n.Kind == yaml.MappingNode {
			key := r.value()
			if line, twice := first[key.Value]; twice {
				r.problems = append(r.problems, Problem{r.text.Place(key.Line, key.Column), fmt.Sprintf("the key is already given at line %d; remove one of them", r.text.Place(line, 1).Line)})
			}
			first[key.Value] = key.Line
			n.Content = append(n.Content, key)
		}
		n.Content = append(n.Content, r.value())
	}
	_, _ = r.d.Token() // the end, which valid JSON has
}
