// Package target has the calls that actions on resources are: a method, and a request target
// with values of a question in it, none of which leaves its place.
package target

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/httpsyntax"
)

// Target is the call that an action on a resource is: a method, and a request target with
// values of the question in it.
type Target struct {
	method string
	path   []piece
	query  []parameter
}

// piece is a text as it stands, or a value of the question.
type piece struct {
	text string
	from *reference
}

// parameter is one of the query. It is left out where the question has no value for it.
type parameter struct {
	name  string
	value piece
}

// reference names a value of a question.
type reference struct {
	text  string
	of    string
	place core.ClaimPath
}

const (
	resourceID         = "id"
	subjectID          = "subject.id"
	resourceProperties = "resource.properties."
	actionProperties   = "action.properties."
)

// Parse reads an action, such as "PUT /todos/{id}?owner={resource.properties.owner}".
// A method alone takes the path that all actions of the resource have in common. The error
// follows the setting's name.
func Parse(action, common string) (*Target, error) {
	method, target, found := strings.Cut(action, " ")
	if !found {
		target = common
	}
	if !httpsyntax.IsToken(method) {
		return nil, errors.New(`does not begin with a method, as in "GET /todos/{id}"`)
	}
	if target = strings.TrimSpace(target); !strings.HasPrefix(target, "/") {
		return nil, errors.New(`has no path; write it behind the method, as in "GET /todos/{id}", or set path`)
	}
	path, query, _ := strings.Cut(target, "?")
	t := &Target{method: method}
	var err error
	if t.path, err = pieces(path); err != nil {
		return nil, err
	}
	if t.query, err = parameters(query); err != nil {
		return nil, err
	}
	return t, t.check()
}

// check refuses a path that no call could have.
func (t *Target) check() error {
	var example strings.Builder
	for _, p := range t.path {
		if example.WriteString(p.text); p.from != nil {
			example.WriteString("x")
		}
	}
	if path, err := core.Canonical(example.String(), core.PathOptions{}); err != nil || path != example.String() {
		return fmt.Errorf("has a path with two readings, or one that is escaped: %.200q", example.String())
	}
	return nil
}

// Method is that of the call.
func (t *Target) Method() string { return t.method }

// pieces reads a path with placeholders in braces.
func pieces(text string) (all []piece, err error) {
	for text != "" {
		before, rest, found := strings.Cut(text, "{")
		if strings.Contains(before, "}") {
			return nil, errors.New("has a } without a {")
		}
		if before != "" {
			all = append(all, piece{text: before})
		}
		if !found {
			return all, nil
		}
		name, behind, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, errors.New("has a { without a }")
		}
		from, err := parseReference(name)
		if err != nil {
			return nil, err
		}
		all, text = append(all, piece{from: from}), behind
	}
	return all, nil
}

func parseReference(name string) (*reference, error) {
	switch name {
	case resourceID, "resource.id":
		return &reference{text: name, of: resourceID}, nil
	case subjectID:
		return &reference{text: name, of: subjectID}, nil
	}
	for _, of := range []string{resourceProperties, actionProperties} {
		if rest, ok := strings.CutPrefix(name, of); ok {
			place, err := core.ParseClaimPath(rest)
			return &reference{name, of, place}, err
		}
	}
	return nil, fmt.Errorf("has {%.60s}; what can stand there is {id}, {subject.id}, {resource.properties.NAME} and {action.properties.NAME}", name)
}

func parameters(text string) (all []parameter, err error) {
	if text == "" {
		return nil, nil
	}
	for pair := range strings.SplitSeq(text, "&") {
		name, value, _ := strings.Cut(pair, "=")
		parts, err := pieces(value)
		switch {
		case err != nil:
			return nil, err
		case !httpsyntax.IsToken(name) || len(parts) != 1:
			return nil, fmt.Errorf("has the parameter %.60q; write NAME=VALUE or NAME={…}", pair)
		}
		all = append(all, parameter{name, parts[0]})
	}
	return all, nil
}

// errAbsent says that a question lacks what its action needs.
type errAbsent struct{ name string }

func (e errAbsent) Error() string { return "the question has no " + e.name }

// NamesSubject reports whether the call depends on the subject of the question.
func (t *Target) NamesSubject() bool {
	about := func(p piece) bool { return p.from != nil && p.from.of == subjectID }
	return slices.ContainsFunc(t.path, about) || slices.ContainsFunc(t.query, func(p parameter) bool { return about(p.value) })
}

// Of returns the request target for a question. Every value stays within its segment or its
// parameter.
func (t *Target) Of(e *authzen.Evaluation) (string, error) {
	var b strings.Builder
	for _, p := range t.path {
		if err := p.write(&b, e); err != nil {
			return "", err
		}
	}
	separator := byte('?')
	for _, p := range t.query {
		var value strings.Builder
		switch err := p.value.write(&value, e); err.(type) {
		case nil:
		case errAbsent:
			continue
		default:
			return "", err
		}
		b.WriteByte(separator)
		b.WriteString(p.name + "=" + value.String())
		separator = '&'
	}
	return b.String(), nil
}

func (p piece) write(b *strings.Builder, e *authzen.Evaluation) error {
	if p.from == nil {
		b.WriteString(p.text)
		return nil
	}
	value, err := p.from.in(e)
	if err != nil {
		return err
	}
	escape(b, value)
	return nil
}

func (r *reference) in(e *authzen.Evaluation) (string, error) {
	var properties map[string]any
	switch r.of {
	case resourceID:
		return e.Resource.ID, nil
	case subjectID:
		return e.Subject.ID, nil
	case resourceProperties:
		properties = e.Resource.Properties
	case actionProperties:
		properties = e.Action.Properties
	}
	value, ok := r.place.Lookup(properties)
	if !ok {
		return "", errAbsent{r.text}
	}
	switch v := value.(type) {
	case string:
		if v != "" {
			return v, nil
		}
		return "", errAbsent{r.text}
	case json.Number:
		return v.String(), nil
	case bool:
		if v {
			return "true", nil
		}
		return "false", nil
	}
	return "", fmt.Errorf("%s is a list or an object, and cannot be part of a call", r.text)
}

// escape writes a text so that it is read as one value wherever it stands.
func escape(b *strings.Builder, text string) {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(text); i++ {
		if c := text[i]; httpsyntax.IsAlphanumeric(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
}
