// Package openapi reads what an OpenAPI document says about calls and who may
// make them, and turns it into a starting permission table.
//
// Only paths, servers and security are read, which is a small and stable part
// of OpenAPI 3.0 and 3.1. A library for the whole would bring the types, the
// validation and the dependencies of everything else, and few of them keep the
// line numbers that messages need.
package openapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"gatehouse/core"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/draft"
)

// MaxDocument is the greatest size of a document in bytes.
const MaxDocument = 16 << 20

// Options say how a document is read.
type Options struct {
	// BasePath replaces the paths of all servers, where it is not nil.
	BasePath *string
	// Path says how gates read paths.
	Path core.PathOptions
	// Open reads a file that the document refers to, by its name relative to the
	// document. Where it is nil, no such file is read.
	Open func(name string) ([]byte, error)
}

// Document is what matters here of an OpenAPI document.
type Document struct {
	Title      string
	Operations []*Operation
	// Missing are operations that could not be read, and why.
	Missing []string
	// Notes are what means something other than it says.
	Notes []string
}

// Operation is one method of one path.
type Operation struct {
	Method string
	// Template is the path as written, with the base path before it.
	Template string
	// Regex covers the canonical paths that the template stands for.
	Regex string
	ID    string
	Tag   string
	// Summary says in a few words what the operation does.
	Summary string
	// Place is where the operation stands.
	Place string
	// Declared is false where the document says nothing about security.
	Declared bool
	// Access holds the alternatives, of which one is enough.
	Access []Alternative

	parts    []string // the literals between the parameters
	language *automaton.Language
}

// Alternative is a way in: everything it names is asked for.
type Alternative struct {
	Scopes []string
	// Anonymous: nothing is asked for.
	Anonymous bool
	// More says that something is asked for that a table cannot ask for.
	More bool
}

func (o *Operation) String() string { return o.Method + " " + o.Template }

// Public reports whether anybody may make the call.
func (o *Operation) Public() bool {
	return o.Declared && (len(o.Access) == 0 || slices.ContainsFunc(o.Access, func(a Alternative) bool { return a.Anonymous }))
}

// Optional reports whether anybody may make the call, and a credential is looked at.
func (o *Operation) Optional() bool {
	return o.Public() && slices.ContainsFunc(o.Access, func(a Alternative) bool { return !a.Anonymous })
}

// AnyCredential reports whether every valid credential is enough.
func (o *Operation) AnyCredential() bool {
	return slices.ContainsFunc(o.Access, func(a Alternative) bool { return len(a.Scopes) == 0 && !a.More })
}

// Read reads a document. The error says what keeps it from being read at all.
func Read(name string, text []byte, o Options) (*Document, error) {
	if len(text) > MaxDocument {
		return nil, fmt.Errorf("%s: the document is larger than %d MiB", name, MaxDocument>>20)
	}
	root, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := &reader{Options: o, name: name, root: root, document: &Document{}, ids: map[string]string{}, noted: map[string]int{}, formats: map[string]string{}}
	r.files = files{open: o.Open, roots: map[string]*yaml.Node{"": root}, owner: map[*yaml.Node]string{}}
	if err := r.version(); err != nil {
		return nil, err
	}
	r.document.Title = value(get(get(root, "info"), "title"))
	r.paths()
	r.guardClosed()
	r.foldNotes()
	if len(r.document.Operations)+len(r.document.Missing) == 0 {
		return nil, fmt.Errorf("%s: the document has no operation under paths", name)
	}
	return r.document, nil
}

func decode(text []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the document is empty")
		}
		return decodeJSON(text, err)
	}
	return doc.Content[0], nil
}

// decodeJSON reads the JSON that is not also YAML, such as escaped surrogates.
func decodeJSON(text []byte, yamlError error) (*yaml.Node, error) {
	var value any
	if json.Unmarshal(text, &value) != nil {
		return nil, fmt.Errorf("not valid YAML or JSON: %s", strings.TrimPrefix(yamlError.Error(), "yaml: "))
	}
	var node yaml.Node
	return &node, node.Encode(value)
}

type reader struct {
	Options
	name     string
	root     *yaml.Node
	document *Document
	// ids holds where an operationId was seen first.
	ids map[string]string
	// noted counts the notes of each kind, which kinds has the first of.
	noted map[string]int
	kinds []noteKind
	// formats has the kind of each note.
	formats map[string]string
	files   files
	// closed is what is left out.
	closed []closed
}

// noteKind is the first note of a kind.
type noteKind struct{ format, first string }

func (r *reader) version() error {
	switch version := value(get(r.root, "openapi")); {
	case regexp.MustCompile(`^3\.[0-9]+(\.|$)`).MatchString(version):
		return nil
	case value(get(r.root, "swagger")) != "":
		return fmt.Errorf("%s: this is Swagger %s; convert it to OpenAPI 3 first", r.name, value(get(r.root, "swagger")))
	case version != "":
		return fmt.Errorf("%s: OpenAPI %s is not known here; give a document of OpenAPI 3.0 or 3.1", r.name, version)
	}
	return fmt.Errorf("%s: this is no OpenAPI document: it has no key openapi", r.name)
}

func (r *reader) place(n *yaml.Node) string {
	name := r.name
	if file := r.files.owner[n]; file != "" {
		name = file
	}
	if n == nil || n.Line == 0 {
		return name
	}
	return fmt.Sprintf("%s:%d", name, n.Line)
}

func (r *reader) missing(n *yaml.Node, format string, args ...any) {
	r.document.Missing = append(r.document.Missing, r.place(n)+": "+fmt.Sprintf(format, args...))
}

// note keeps a message, of each kind the first one.
func (r *reader) note(n *yaml.Node, format string, args ...any) {
	text := r.place(n) + ": " + fmt.Sprintf(format, args...)
	if slices.Contains(r.document.Notes, text) {
		return
	}
	r.document.Notes = append(r.document.Notes, text)
	r.formats[text] = format
	if r.noted[format]++; r.noted[format] == 1 {
		r.kinds = append(r.kinds, noteKind{format, text})
	}
}

// foldNotes leaves the first of many notes of one kind.
func (r *reader) foldNotes() {
	const few = 3
	for _, k := range r.kinds {
		more := r.noted[k.format] - 1
		if more < few {
			continue
		}
		kept := false
		r.document.Notes = slices.DeleteFunc(r.document.Notes, func(text string) bool {
			of := r.formats[text] == k.format
			drop := of && kept
			kept = kept || of
			return drop
		})
		at := slices.Index(r.document.Notes, k.first)
		r.document.Notes[at] += fmt.Sprintf(" (and %d more like this)", more)
	}
}

// --- paths

var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace", "query"}

func (r *reader) paths() {
	base := r.base(get(r.root, "servers"), "")
	seen := map[string]bool{}
	paths, err := r.files.follow(get(r.root, "paths"))
	if err != nil {
		r.missing(get(r.root, "paths"), "paths refers to what cannot be read: %v", err)
	}
	for _, path := range entries(paths) {
		template := path.Value
		if strings.HasPrefix(template, "x-") {
			continue
		}
		if seen[template] {
			r.note(path.Node, "%s occurs twice; both are read, and most tools read the last one only", template)
		}
		seen[template] = true
		if !strings.HasPrefix(template, "/") {
			r.missing(path.Node, "%s under paths is no path; what it stands for is missing here", template)
			continue
		}
		item, err := r.files.follow(path.value)
		if err != nil {
			r.leaveOut(closed{path.value, "", base + template}, "the path refers to what cannot be read: "+err.Error())
			continue
		}
		if item != path.value && len(entries(path.value)) > 1 {
			r.note(path.value, "the path %s refers to another one; what stands beside $ref is not read", template)
		}
		itemBase := r.base(get(item, "servers"), base)
		for _, method := range methods {
			r.method(path.value, item, method, itemBase, template)
		}
	}
}

// method reads one method of a path, which may be a reference to item.
func (r *reader) method(path, item *yaml.Node, method, base, template string) {
	written := get(item, method)
	beside := get(path, method)
	if written == nil && beside == nil {
		return
	}
	out := closed{cmp.Or(written, beside), strings.ToUpper(method), base + template}
	operation, err := r.files.follow(out.node)
	switch {
	case item != path && beside != nil:
		r.leaveOut(out, "it stands beside a $ref of the path, and readers differ about which of the two counts")
	case err != nil:
		r.leaveOut(out, "it refers to what cannot be read: "+err.Error())
	case operation.Kind != yaml.MappingNode:
		r.leaveOut(out, "it is no mapping")
	case operation != out.node && len(entries(out.node)) > 1:
		r.leaveOut(out, "keys stand beside its $ref, and readers differ about which of the two count")
	default:
		r.operation(out.method, r.base(get(operation, "servers"), base), template, operation)
	}
}

func (r *reader) operation(method, base, template string, n *yaml.Node) {
	o := &Operation{Method: method, Template: base + template, ID: value(get(n, "operationId")), Summary: strings.Join(strings.Fields(value(get(n, "summary"))), " "), Place: r.place(n)}
	if tags := get(n, "tags"); tags != nil && len(tags.Content) > 0 {
		o.Tag = value(tags.Content[0])
	}
	if err := o.translate(r.Path); err != nil {
		r.missing(n, "%s is left out: %v", o, err)
		return
	}
	if o.ID != "" {
		if first, twice := r.ids[o.ID]; twice {
			r.note(n, "the operationId %s is that of %s too", o.ID, first)
		} else {
			r.ids[o.ID] = o.String()
		}
	}
	security := get(n, "security")
	if own := r.files.roots[r.files.owner[n]]; security == nil && own != r.root && get(own, "security") != nil {
		r.note(n, "%s says nothing about security, and the file that it stands in has rules of its own; the table lets nobody in", o)
	} else if security == nil {
		security = get(r.root, "security")
	}
	if o.Declared = security != nil && security.Kind == yaml.SequenceNode; o.Declared {
		r.security(o, security)
	} else {
		r.note(n, "%s says nothing about security; the table lets nobody in", o)
	}
	r.document.Operations = append(r.document.Operations, o)
}

// parameter stands for a template's parameter while the rest of the path is
// read as a gate reads it.
const parameter = "\uE000"

var parameterForm = regexp.MustCompile(`\{[^{}/]+\}`)

// translate makes the regex of a template.
func (o *Operation) translate(options core.PathOptions) error {
	if strings.Contains(o.Template, parameter) {
		return errors.New("the path holds the character U+E000")
	}
	if strings.ContainsAny(o.Template, "?#") {
		return errors.New("a path holds no query and no fragment; parameters of the query stand under parameters")
	}
	path := parameterForm.ReplaceAllString(o.Template, parameter)
	if strings.ContainsAny(path, "{}") {
		return errors.New("the braces of the path do not pair up within a segment")
	}
	canonical, err := core.Canonical(path, options)
	if err != nil {
		return fmt.Errorf("no request can reach it, every gate refuses the path (%w)", err)
	}
	o.parts = strings.Split(canonical, parameter)
	quoted := make([]string, len(o.parts))
	for i, literal := range o.parts {
		quoted[i] = quote(literal)
	}
	o.Regex = strings.Join(quoted, "[^/?#]+")
	if err := (&draft.Activity{Methods: []string{o.Method}, Path: o.Regex}).Check(); err != nil {
		return err
	}
	tree, err := syntax.Parse(o.Regex, syntax.Perl)
	if err == nil {
		o.language, err = automaton.Compile(tree)
	}
	return err
}

var colonSegment = regexp.MustCompile(`(^|/):`)

// quote writes a literal as a regex. A segment that begins with a colon would
// be taken for the placeholder of another router.
func quote(literal string) string {
	return colonSegment.ReplaceAllString(regexp.QuoteMeta(literal), "${1}[:]")
}

// base is the path of the servers, or the one from further out where there
// are none.
func (r *reader) base(servers *yaml.Node, outer string) string {
	if r.BasePath != nil {
		return strings.TrimRight(*r.BasePath, "/")
	}
	if servers == nil || len(servers.Content) == 0 {
		return outer
	}
	var all []string
	for _, server := range servers.Content {
		if path := r.serverPath(server); !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	if len(all) > 1 {
		r.note(servers, "the servers have different paths (%s); the first is used, choose with --base-path", strings.Join(all, ", "))
	}
	return all[0]
}

var authority = regexp.MustCompile(`^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*`)

func (r *reader) serverPath(server *yaml.Node) string {
	url := value(get(server, "url"))
	for _, variable := range entries(get(server, "variables")) {
		url = strings.ReplaceAll(url, "{"+variable.Value+"}", value(get(variable.value, "default")))
	}
	path := authority.ReplaceAllString(url, "")
	if at := strings.IndexAny(path, "?#"); at >= 0 {
		path = path[:at]
	}
	if path != "" && !strings.HasPrefix(path, "/") {
		r.note(server, "the server %s is relative to where the document is published; choose with --base-path", url)
		return ""
	}
	return strings.TrimRight(path, "/")
}

// --- security

func (r *reader) security(o *Operation, n *yaml.Node) {
	for _, requirement := range resolve(n).Content {
		o.Access = append(o.Access, r.alternative(o, resolve(requirement)))
	}
}

func (r *reader) alternative(o *Operation, n *yaml.Node) Alternative {
	var a Alternative
	schemes := entries(n)
	a.Anonymous = n.Kind == yaml.MappingNode && len(schemes) == 0
	if n.Kind != yaml.MappingNode {
		r.note(n, "%s has a security requirement that is no mapping; say in the table who may call it", o)
		a.More = true
	}
	if len(schemes) > 1 {
		var names []string
		for _, s := range schemes {
			names = append(names, s.Value)
		}
		r.note(n, "%s asks for several credentials at once (%s), and a gate looks at one; its scopes are kept", o, strings.Join(names, ", "))
		a.More = true
	}
	for _, s := range schemes {
		if s.value.Kind != yaml.SequenceNode {
			r.note(s.Node, "%s: the scopes of %s are no list; say in the table who may call it", o, s.Value)
			a.More = true
			continue
		}
		var names []string
		for _, scope := range s.value.Content {
			names = append(names, value(scope))
		}
		r.scheme(o, s, names, &a)
	}
	slices.Sort(a.Scopes)
	a.Scopes = slices.Compact(a.Scopes)
	return a
}

// component finds a component, whose table may be a reference.
func (r *reader) component(table, name string) *yaml.Node {
	n := r.root
	for _, key := range []string{"components", table, name} {
		var err error
		if n, err = r.files.follow(get(n, key)); err != nil {
			return nil
		}
	}
	return n
}

func (r *reader) scheme(o *Operation, s entry, names []string, a *Alternative) {
	scheme, err := r.files.follow(r.component("securitySchemes", s.Value))
	if err != nil {
		scheme = nil
	}
	kind := value(get(scheme, "type"))
	if kind == "http" {
		kind += " " + strings.ToLower(value(get(scheme, "scheme")))
	}
	switch kind {
	case "oauth2", "openIdConnect":
		r.scopes(o, s, names, a)
		return
	case "http bearer":
	case "":
		r.note(s.Node, "the security scheme %s is not defined in this document; its scopes are taken as those of OAuth 2.0", s.Value)
		r.scopes(o, s, names, a)
		a.More = a.More || len(names) == 0
		return
	default:
		r.note(scheme, "the security scheme %s is of type %s, which no gate checks; callers need a token or a session instead", s.Value, kind)
	}
	if len(names) > 0 {
		r.note(s.Node, "%s asks for %s by the security scheme %s, which has no scopes; say in the table who may call it", o, strings.Join(names, ", "), s.Value)
		a.More = true
	}
}

func (r *reader) scopes(o *Operation, s entry, names []string, a *Alternative) {
	for _, scope := range names {
		if scope == "" || draft.Name(scope) != scope {
			r.note(s.Node, "%s asks for the scope %q, which no token can carry (RFC 6749 section 3.3); say in the table who may call it", o, scope)
			a.More = true
			continue
		}
		a.Scopes = append(a.Scopes, scope)
	}
}

// --- nodes

type entry struct {
	*yaml.Node
	value *yaml.Node
}

func entries(n *yaml.Node) []entry { return entriesWithin(n, deepestReference) }

// entriesWithin also reads merge keys (<<), to a depth: an anchor may contain
// itself.
func entriesWithin(n *yaml.Node, depth int) []entry {
	if n = resolve(n); n == nil || n.Kind != yaml.MappingNode || depth == 0 {
		return nil
	}
	var merged, list []entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag == "!!merge" {
			merged = append(merged, mergedEntries(resolve(n.Content[i+1]), depth-1)...)
			continue
		}
		list = append(list, entry{n.Content[i], resolve(n.Content[i+1])})
	}
	return append(slices.DeleteFunc(merged, func(m entry) bool {
		return slices.ContainsFunc(list, func(e entry) bool { return e.Value == m.Value })
	}), list...)
}

// mergedEntries are those of one mapping, or of several of which the first counts.
func mergedEntries(n *yaml.Node, depth int) []entry {
	if n == nil || n.Kind != yaml.SequenceNode {
		return entriesWithin(n, depth)
	}
	var list []entry
	for i := len(n.Content) - 1; i >= 0; i-- {
		list = append(list, entriesWithin(n.Content[i], depth)...)
	}
	return list
}

// get finds a key; nil where the node is no mapping or lacks it.
func get(n *yaml.Node, key string) *yaml.Node {
	var found *yaml.Node
	for _, e := range entries(n) {
		if e.Value == key {
			found = e.value
		}
	}
	return found
}

func value(n *yaml.Node) string {
	if n = resolve(n); n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// resolve follows a YAML alias. An alias never stands for another one.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}
