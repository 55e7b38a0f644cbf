package openapi

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/permission/automaton"
)

// Bounds on what references may lead to.
const (
	deepestReference = 16
	maxFiles         = 1000
	maxFileBytes     = 4 * MaxDocument
)

// files are the document and the files that it refers to.
type files struct {
	open func(name string) ([]byte, error)
	// roots are by name relative to the folder of the document, which is "" itself.
	roots map[string]*yaml.Node
	// owner is the file of each node that is not in the document.
	owner map[*yaml.Node]string
	bytes int
}

// load reads a file that is referred to.
func (f *files) load(name string) (*yaml.Node, error) {
	if root, known := f.roots[name]; known {
		return root, nil
	}
	if f.open == nil {
		return nil, fmt.Errorf("it is in the file %s, and there is no folder to look for it in", name)
	}
	if len(f.roots) > maxFiles {
		return nil, fmt.Errorf("the document refers to more than %d files", maxFiles)
	}
	text, err := f.open(name)
	if err != nil {
		return nil, err
	}
	if f.bytes += len(text); f.bytes > maxFileBytes || len(text) > MaxDocument {
		return nil, fmt.Errorf("%s is larger than %d MiB, or all files are than %d MiB", name, MaxDocument>>20, maxFileBytes>>20)
	}
	root, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.roots[name] = root
	f.own(root, name)
	return root, nil
}

// own notes which file a node and all below it are of.
func (f *files) own(n *yaml.Node, name string) {
	if _, known := f.owner[n]; known {
		return // by an alias
	}
	f.owner[n] = name
	for _, below := range n.Content {
		f.own(below, name)
	}
	if n.Alias != nil {
		f.own(n.Alias, name)
	}
}

var hasScheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// target is the node that a reference of a node leads to.
func (f *files) target(from *yaml.Node, ref string) (*yaml.Node, error) {
	file, pointer, _ := strings.Cut(ref, "#")
	switch {
	case hasScheme.MatchString(file) || strings.HasPrefix(file, "/"):
		return nil, fmt.Errorf("%s is not in the folder of the document", ref)
	case file == "":
		file = f.owner[from]
	default:
		file = path.Join(path.Dir(f.owner[from]), file)
	}
	n, err := f.load(file)
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if pointer != "" {
			n = get(n, unpointer.Replace(name))
		}
	}
	if n == nil {
		return nil, fmt.Errorf("%s leads to nothing", ref)
	}
	return n, nil
}

// follow follows $ref, to the document or a file beside it.
func (f *files) follow(n *yaml.Node) (*yaml.Node, error) {
	for range deepestReference {
		refNode := get(n, "$ref")
		if refNode == nil {
			return n, nil
		}
		if value(refNode) == "" {
			return nil, fmt.Errorf("$ref is no text")
		}
		next, err := f.target(n, value(refNode))
		if err != nil {
			return nil, err
		}
		n = next
	}
	return nil, fmt.Errorf("more than %d references lead to each other", deepestReference)
}

// unpointer undoes RFC 6901 section 3, and the braces and slashes that a URI
// fragment has to encode.
var unpointer = strings.NewReplacer("~1", "/", "~0", "~", "%7B", "{", "%7D", "}", "%7b", "{", "%7d", "}", "%2F", "/")

// closed is calls of which the document says what cannot be read. An empty method
// stands for every one.
type closed struct {
	node             *yaml.Node
	method, template string
}

// leaveOut notes an operation that is missing, or all of a path.
func (r *reader) leaveOut(c closed, why string) {
	what := "the path " + c.template
	if c.method != "" {
		what = c.method + " " + c.template
	}
	r.missing(c.node, "%s is left out: %s", what, why)
	r.closed = append(r.closed, c)
}

// guardClosed lets nobody make a call that is left out and that another operation
// would open: in OpenAPI the more literal path decides.
func (r *reader) guardClosed() {
	read := r.document.Operations
	for _, c := range r.closed {
		done := map[string]bool{}
		for _, open := range read {
			if c.method != "" && c.method != open.Method || done[open.Method] {
				continue
			}
			o := &Operation{Method: open.Method, Template: c.template, Place: r.place(c.node)}
			if o.translate(r.Path) != nil {
				break
			}
			if _, meets, err := automaton.Witness(o.language, open.language); meets || err != nil {
				done[open.Method] = true
				r.document.Operations = append(r.document.Operations, o)
			}
		}
	}
}
