// Package askfile reads and writes what activities ask, in files of permission tables.
package askfile

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/authzen"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/strictyaml"
)

// schema is a fragment of a JSON Schema (draft 2020-12).
type schema = map[string]any

// Keys are those of a question.
var Keys = strictyaml.Keys{
	{Name: "resource", Schema: resourceKeys.JSONSchema(), Required: true, Doc: "What the caller wants to act on."},
	{Name: "action", Schema: actionKeys.JSONSchema(), Required: true, Doc: "What the caller wants to do to it."},
	{Name: "subject", Schema: subjectKeys.JSONSchema(), Doc: "Who acts. Without type and id it is the caller: user and the subject of the credential, or client and the client identifier where there is no subject."},
	{Name: "context", Schema: propertiesSchema, Doc: "What else the decision point is told, by name."},
}

var subjectKeys = strictyaml.Keys{
	{Name: "type", Schema: askText, Doc: "Type of the subject."},
	{Name: "id", Schema: askText, Doc: "Identifier of the subject."},
	{Name: "properties", Schema: propertiesSchema, Doc: "Attributes of the subject, by name."},
}

var resourceKeys = strictyaml.Keys{
	{Name: "type", Schema: askText, Required: true, Doc: "Type of the resource."},
	{Name: "id", Schema: askText, Required: true, Doc: "Identifier of the resource."},
	{Name: "properties", Schema: propertiesSchema, Doc: "Attributes of the resource, by name."},
}

var actionKeys = strictyaml.Keys{
	{Name: "name", Schema: askText, Required: true, Doc: "Name of the action."},
	{Name: "properties", Schema: propertiesSchema, Doc: "Attributes of the action, by name."},
}

var (
	askText          = schema{"type": "string", "minLength": 1, "maxLength": ask.MaxText}
	propertiesSchema = schema{"type": "object", "maxProperties": ask.MaxMembers}
	Schema           = schema{"anyOf": []schema{Keys.JSONSchema(), {"type": "array", "items": Keys.JSONSchema(), "minItems": 1, "maxItems": ask.MaxAsks}}}
)

type reader struct{ *strictyaml.Reader }

// Read reads a question, or a list of them. Good is false where it has a problem, which the
// reader has noted.
func Read(r *strictyaml.Reader, n *yaml.Node, what string) (asks []authzen.Evaluation, good bool) {
	own := &strictyaml.Reader{File: r.File, Elsewhere: r.Elsewhere}
	asks = (&reader{own}).asks(n, what)
	var problems report.Problems
	if !errors.As(own.Err(), &problems) {
		return asks, true
	}
	for _, problem := range problems {
		r.Add(problem.Place, "%s", problem.Text)
	}
	return nil, false
}

func (p *reader) asks(n *yaml.Node, what string) (asks []authzen.Evaluation) {
	if n.Kind != yaml.SequenceNode {
		return []authzen.Evaluation{p.ask(n, what)}
	}
	if len(n.Content) == 0 {
		p.Refuse(n, "%s is empty; write a question or leave the key out", what)
	}
	for _, item := range n.Content {
		asks = append(asks, p.ask(item, what))
	}
	return asks
}

func (p *reader) ask(n *yaml.Node, what string) (q authzen.Evaluation) {
	for _, e := range p.Fixed(n, what, Keys) {
		what := what + ": " + e.Name
		switch e.Name {
		case "subject":
			q.Subject = p.entity(e.Value, what, subjectKeys)
		case "resource":
			q.Resource = p.entity(e.Value, what, resourceKeys)
		case "action":
			for _, e := range p.Fixed(e.Value, what, actionKeys) {
				if e.Name == "name" {
					q.Action.Name, _ = p.Text(e.Value, what+": name")
				} else {
					q.Action.Properties = p.properties(e.Value, what+": properties")
				}
			}
		case "context":
			q.Context = p.properties(e.Value, what)
		}
	}
	return q
}

func (p *reader) entity(n *yaml.Node, what string, keys strictyaml.Keys) (to authzen.Entity) {
	for _, e := range p.Fixed(n, what, keys) {
		what := what + ": " + e.Name
		switch e.Name {
		case "type":
			to.Type, _ = p.Text(e.Value, what)
		case "id":
			to.ID, _ = p.Text(e.Value, what)
		case "properties":
			to.Properties = p.properties(e.Value, what)
		}
	}
	return to
}

func (p *reader) properties(n *yaml.Node, what string) map[string]any {
	values := map[string]any{}
	for _, e := range p.Named(n, what, "property") {
		values[e.Name] = p.value(e.Value, what+": "+e.Name)
	}
	return values
}

// value reads what JSON can say: texts, numbers, true and false, lists and mappings.
func (p *reader) value(n *yaml.Node, what string) any {
	switch {
	case n.Kind == yaml.MappingNode:
		return p.properties(n, what)
	case n.Kind == yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = p.value(item, what)
		}
		return list
	case n.Tag == "!!bool":
		on, _ := p.Boolean(n, what)
		return on
	case (n.Tag == "!!int" || n.Tag == "!!float") && json.Valid([]byte(n.Value)):
		return json.Number(n.Value)
	}
	text, _ := p.Text(n, what)
	return text
}

// --- writing

// Write writes questions as Read reads them.
func Write(list []authzen.Evaluation) *yaml.Node {
	if len(list) == 1 {
		return oneAsk(&list[0])
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range list {
		n.Content = append(n.Content, oneAsk(&list[i]))
	}
	return n
}

func oneAsk(q *authzen.Evaluation) *yaml.Node {
	n := newMapping()
	if subject := entity(&q.Subject); len(subject.Content) > 0 {
		add(n, "subject", subject)
	}
	action := newMapping()
	add(action, "name", newText(q.Action.Name))
	addProperties(action, "properties", q.Action.Properties)
	add(n, "action", action)
	add(n, "resource", entity(&q.Resource))
	addProperties(n, "context", q.Context)
	return n
}

func entity(e *authzen.Entity) *yaml.Node {
	n := newMapping()
	if e.Type != "" {
		add(n, "type", newText(e.Type))
	}
	if e.ID != "" {
		add(n, "id", newText(e.ID))
	}
	addProperties(n, "properties", e.Properties)
	return n
}

func addProperties(to *yaml.Node, key string, values map[string]any) {
	if len(values) > 0 {
		add(to, key, newValue(values))
	}
}

func newValue(value any) *yaml.Node {
	switch v := value.(type) {
	case map[string]any:
		n := newMapping()
		for _, name := range slices.Sorted(maps.Keys(v)) {
			add(n, name, newValue(v[name]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range v {
			n.Content = append(n.Content, newValue(item))
		}
		return n
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}
	}
	text, _ := value.(string)
	return newText(text)
}

func newMapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func newText(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

func add(to *yaml.Node, key string, value *yaml.Node) {
	to.Content = append(to.Content, newText(key), value)
}
