package permission

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"gatehouse/core"
)

// Expectations is a file that says what a table must decide.
type Expectations struct {
	Name string
	// Tables are the files of the table, as written; relative ones are meant
	// from the folder of this file.
	Tables []string
	List   []Expectation
}

// Expectation is one call by one caller and what must come of it.
type Expectation struct {
	Place   Place
	Who     Caller
	Method  string
	Target  string
	Host    string
	Headers []core.Header
	Allowed bool
	Why     string
}

// Caller is who makes a call in an expectation.
type Caller struct {
	Anonymous                  bool
	Scopes, Roles, Permissions []string
	Kind                       core.Kind
	AAL                        string
	// AuthenticatedAgo is zero where the file does not say.
	AuthenticatedAgo time.Duration
	// Claims is a JSON object; nil where there are none.
	Claims      json.RawMessage
	ClaimsPlace Place
}

var expectationsKeys = keys{
	{name: "table", doc: "Files of the permission table, from the folder of this file."},
	{name: "expect", required: true, doc: "What the table must decide."},
}

var expectationKeys = keys{
	{name: "who", required: true, doc: "Who calls: anonymous, or what their credential states."},
	{name: "method", doc: "The method of the call."},
	{name: "path", doc: "The request target of the call, as it stands on the request line."},
	{name: "calls", doc: "Several calls, each with a method and a request target: GET /users/7."},
	{name: "host", doc: "The host that is called."},
	{name: "headers", doc: "Headers of the request by name."},
	{name: "allowed", required: true, doc: "Whether the call must be allowed."},
	{name: "why", required: true, doc: "Why, for whoever reads a failure."},
}

var whoKeys = keys{
	{name: "scopes"}, {name: "roles"}, {name: "permissions"}, {name: "kind"}, {name: "aal"}, {name: "authenticated_ago"}, {name: "claims"},
}

// anonymousWho is the text that stands for a caller without a credential.
const anonymousWho = "anonymous"

// ParseExpectations reads a file of expectations. The error, if any, is a
// Problems that holds every mistake of the file.
func ParseExpectations(name string, content []byte) (*Expectations, error) {
	p := &parser{file: &File{Name: name}}
	e := &Expectations{Name: name}
	if len(content) <= MaxFile && errors.Is(yaml.NewDecoder(bytes.NewReader(content)).Decode(new(yaml.Node)), io.EOF) {
		p.report.add(Place{name, 1, 1}, "the file is empty; list expectations under expect")
	} else if root := p.document(content); root != nil {
		p.expectations(root, e)
	}
	if err := p.report.err(); err != nil {
		return nil, err
	}
	return e, nil
}

func (p *parser) expectations(root *yaml.Node, to *Expectations) {
	for _, e := range p.fixed(root, "the file", expectationsKeys) {
		switch e.name {
		case "table":
			for _, w := range p.nonEmptyWords(e.value, "table", "files") {
				to.Tables = append(to.Tables, w.name)
			}
		case "expect":
			for _, item := range p.items(e.value, "expect", "expectations") {
				to.List = append(to.List, p.expectation(item)...)
			}
		}
	}
}

// expectation returns one for each call.
func (p *parser) expectation(n *yaml.Node) []Expectation {
	const what = "expectation"
	one := Expectation{Place: p.at(n)}
	var calls []Expectation
	keysSeen := map[string]bool{}
	for _, e := range p.fixed(n, what, expectationKeys) {
		keysSeen[e.name] = true
		switch e.name {
		case "who":
			one.Who = p.who(e.value)
		case "method":
			one.Method = p.filled(e.value, "method")
		case "path":
			one.Target = p.target(e.value, p.filled(e.value, "path"))
		case "calls":
			calls = p.calls(e.value)
		case "host":
			one.Host = p.filled(e.value, "host")
		case "headers":
			one.Headers = p.headers(e.value)
		case "allowed":
			one.Allowed, _ = p.boolean(e.value, "allowed")
		case "why":
			one.Why = p.filled(e.value, "why")
		}
	}
	switch single := keysSeen["method"] || keysSeen["path"]; {
	case n.Kind != yaml.MappingNode:
	case single == keysSeen["calls"]:
		p.refuse(n, "%s needs either method and path or calls; give one of them", what)
	case single && !(keysSeen["method"] && keysSeen["path"]):
		p.refuse(n, "%s needs both method and path; add the other, or write calls: [GET /users]", what)
	}
	if calls == nil {
		return []Expectation{one}
	}
	for i := range calls {
		at, method, target := calls[i].Place, calls[i].Method, calls[i].Target
		calls[i] = one
		calls[i].Place, calls[i].Method, calls[i].Target = at, method, target
	}
	return calls
}

func (p *parser) filled(n *yaml.Node, what string) string {
	text, ok := p.text(n, what)
	if ok && strings.TrimSpace(text) == "" {
		p.refuse(n, "%s is empty; write it", what)
	}
	return text
}

func (p *parser) target(n *yaml.Node, target string) string {
	if target != "" && !strings.HasPrefix(target, "/") {
		p.refuse(n, "path %s does not begin with a slash; write the request target, not a regex", quoted(target))
	}
	return target
}

func (p *parser) calls(n *yaml.Node) []Expectation {
	calls := []Expectation{}
	for _, e := range p.nonEmptyWords(n, "calls", "calls such as GET /users/7") {
		method, target, ok := strings.Cut(e.name, " ")
		if !ok || strings.Contains(target, " ") {
			p.refuse(e.value, "calls: %s is no call; write a method and a request target, as in GET /users/7", quoted(e.name))
			continue
		}
		calls = append(calls, Expectation{Place: p.at(e.value), Method: method, Target: p.target(e.value, target)})
	}
	return calls
}

func (p *parser) headers(n *yaml.Node) []core.Header {
	var headers []core.Header
	for _, e := range p.named(n, "headers", "header") {
		if value, ok := p.text(e.value, "header "+quoted(e.name)); ok {
			headers = append(headers, core.Header{Name: e.name, Value: value})
		}
	}
	return headers
}

func (p *parser) who(n *yaml.Node) (c Caller) {
	if n.Kind == yaml.ScalarNode && n.Value == anonymousWho {
		return Caller{Anonymous: true}
	}
	if n.Kind != yaml.MappingNode {
		p.refuse(n, "who is %s; write anonymous, or a mapping such as {roles: [clerk]}", kindOf(n))
		return c
	}
	names := func(n *yaml.Node, what string) (list []string) {
		for _, w := range p.words(n, "who: "+what, what) {
			list = append(list, w.name)
		}
		return list
	}
	for _, e := range p.fixed(n, "who", whoKeys) {
		switch e.name {
		case "scopes":
			c.Scopes = names(e.value, e.name)
		case "roles":
			c.Roles = names(e.value, e.name)
		case "permissions":
			c.Permissions = names(e.value, e.name)
		case "kind":
			c.Kind = core.Kind(p.oneOf(e.value, "who: kind", credentialKinds))
		case "aal":
			c.AAL = p.oneOf(e.value, "who: aal", assuranceLevels)
		case "authenticated_ago":
			c.AuthenticatedAgo = p.duration(e.value, "who: authenticated_ago")
		case "claims":
			c.Claims, c.ClaimsPlace = p.claims(e.value), p.at(e.value)
		}
	}
	return c
}

// claims turns a mapping into the JSON object that a token would hold.
func (p *parser) claims(n *yaml.Node) json.RawMessage {
	if n.Kind != yaml.MappingNode {
		p.refuse(n, "who: claims is %s where a mapping belongs; write the claims of a token", kindOf(n))
		return nil
	}
	var value map[string]any
	if err := n.Decode(&value); err != nil {
		p.refuse(n, "who: claims cannot be read; use texts, numbers, true, false, lists and mappings with texts as keys")
		return nil
	}
	out, err := json.Marshal(value)
	if err != nil {
		p.refuse(n, "who: claims cannot be written as JSON; use texts, numbers, true, false, lists and mappings with texts as keys")
		return nil
	}
	return out
}

// String names a caller in a few words.
func (c *Caller) String() string {
	if c.Anonymous {
		return anonymousWho
	}
	var parts []string
	add := func(one string, names []string) {
		for _, name := range names {
			parts = append(parts, one+" "+name)
		}
	}
	add("role", c.Roles)
	add("scope", c.Scopes)
	add("permission", c.Permissions)
	if c.Kind != "" {
		parts = append(parts, string(c.Kind))
	}
	if c.AAL != "" {
		parts = append(parts, c.AAL)
	}
	if c.AuthenticatedAgo > 0 {
		parts = append(parts, "authenticated "+ShortDuration(c.AuthenticatedAgo)+" ago")
	}
	if c.Claims != nil {
		parts = append(parts, "claims "+string(c.Claims))
	}
	if parts == nil {
		return "any valid credential"
	}
	return strings.Join(slices.Clip(parts), ", ")
}
