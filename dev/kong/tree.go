package kong

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"gatehouse/dev/kong/schema"
)

// tree is a parsed file: its values, and where in the file each path is.
type tree struct {
	file      string
	root      map[string]any
	positions map[string]*yaml.Node
	problems  schema.Problems
}

// maxNodes bounds what aliases can blow a file up to.
const maxNodes = 100_000

// parseTree reads YAML or JSON into the values of encoding/json. It refuses
// what two YAML readers could understand in two ways.
func parseTree(file string, content []byte) (*tree, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	t := &tree{file: file, positions: map[string]*yaml.Node{}}
	if doc.Kind != yaml.DocumentNode {
		return nil, fmt.Errorf("%s: the file is empty", file)
	}
	root, ok := t.value("", doc.Content[0]).(map[string]any)
	if len(t.positions) == maxNodes {
		return nil, fmt.Errorf("%s: too many values, %d are the limit", file, maxNodes)
	}
	if !ok {
		return nil, fmt.Errorf("%s:%d: expected an object", file, doc.Line)
	}
	t.root = root
	return t, t.err(t.problems)
}

func (t *tree) fail(path, format string, args ...any) {
	t.problems = append(t.problems, schema.Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (t *tree) value(path string, n *yaml.Node) any {
	if len(t.positions) == maxNodes {
		return nil // parseTree says so
	}
	t.positions[path] = n
	switch n.Kind {
	case yaml.AliasNode:
		return t.value(path, n.Alias)
	case yaml.MappingNode:
		return t.mapping(path, n)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = t.value(fmt.Sprintf("%s[%d]", path, i), item)
		}
		return list
	default:
		return t.scalar(path, n)
	}
}

func (t *tree) mapping(path string, n *yaml.Node) map[string]any {
	out := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := joinPath(path, key.Value)
		_, twice := out[key.Value]
		if plain := key.Kind == yaml.ScalarNode && key.Tag != "!!merge"; plain && !twice {
			out[key.Value] = t.value(at, n.Content[i+1])
			continue
		}
		t.positions[at] = key
		if twice {
			t.fail(at, "given twice")
		} else {
			t.fail(at, "keys must be plain strings")
		}
	}
	return out
}

func (t *tree) scalar(path string, n *yaml.Node) any {
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil && (n.Value == "0" || strings.TrimLeft(n.Value, "-+")[0] != '0') {
			return float64(i)
		}
		t.fail(path, "write the number in decimal, without a leading zero")
	case "!!float":
		if f, err := strconv.ParseFloat(n.Value, 64); err == nil {
			return f
		}
		t.fail(path, "not a number")
	case "!!str", "!!timestamp":
		if n.Style == 0 && isYAML11Bool(n.Value) {
			t.fail(path, "%s is a boolean to Kong's YAML reader and a string to others: write true, false, or quotes", n.Value)
		}
		return n.Value
	default:
		t.fail(path, "the YAML tag %s is not supported", n.ShortTag())
	}
	return nil
}

func isYAML11Bool(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off":
		return true
	}
	return false
}

// err turns problems into one error whose lines start with file:line:col.
func (t *tree) err(problems schema.Problems) error {
	located := make(schema.Problems, len(problems))
	for i, p := range problems {
		n := t.nearest(p.Path)
		where := t.file
		if n != nil {
			where = fmt.Sprintf("%s:%d:%d", t.file, n.Line, n.Column)
		}
		located[i] = schema.Problem{Path: where, Message: p.String()}
	}
	return located.Err()
}

// nearest finds the position of a path, or of what it is in.
func (t *tree) nearest(path string) *yaml.Node {
	for {
		if n, ok := t.positions[path]; ok {
			return n
		}
		cut := max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['))
		if cut < 0 {
			return t.positions[""]
		}
		path = path[:cut]
	}
}

func joinPath(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
