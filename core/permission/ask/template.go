package ask

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gatehouse/core"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/report"
)

// template is a text with placeholders.
type template []part

// part is a literal text, or a placeholder where read is set.
type part struct {
	text string // of a placeholder as it is written
	read func(*values) (value any, present bool, err error)
}

// values are what the placeholders of one call read.
type values struct {
	call   *core.Call
	p      *core.Principal
	groups map[string]any
}

// variables are what a placeholder may begin with.
var variables = []string{"claims", "path", "headers", "query", "method", "host", "peer"}

// parse reads a text. {{ and }} stand for braces.
func (c *compiler) parse(text string) (template, error) {
	var parts template
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			parts = append(parts, part{text: literal.String()})
			literal.Reset()
		}
	}
	for text != "" {
		at := strings.IndexAny(text, "{}")
		if at < 0 {
			at = len(text)
		}
		literal.WriteString(text[:at])
		text = text[at:]
		switch {
		case text == "":
		case strings.HasPrefix(text, "{{"), strings.HasPrefix(text, "}}"):
			literal.WriteByte(text[0])
			text = text[2:]
		case text[0] == '}':
			return nil, errors.New("has a closing brace without an opening one; write }} for a brace")
		default:
			inner, rest, closed := strings.Cut(text[1:], "}")
			if !closed {
				return nil, errors.New("has a brace that is not closed; write {{ for a brace")
			}
			flush()
			one, err := c.placeholder(inner)
			if err != nil {
				return nil, err
			}
			parts, text = append(parts, one), rest
		}
	}
	flush()
	return parts, nil
}

// placeholder reads what stands between braces.
func (c *compiler) placeholder(text string) (part, error) {
	variable, name, named := strings.Cut(text, ".")
	read, err := c.reader(variable, name)
	switch {
	case !slices.Contains(variables, variable):
		return part{}, fmt.Errorf("holds {%s}, and there is no %s%s; a placeholder is {claims.NAME}, {path.GROUP}, {headers.NAME}, {query.NAME}, {method}, {host} or {peer}", text, report.Quote(variable), report.DidYouMean(variable, variables))
	case named != slices.Contains(variables[:4], variable) || named && name == "":
		return part{}, fmt.Errorf("holds {%s}; a placeholder is {claims.NAME}, {path.GROUP}, {headers.NAME}, {query.NAME}, {method}, {host} or {peer}", text)
	case err != nil:
		return part{}, fmt.Errorf("holds {%s}: %w", text, err)
	}
	return part{text, read}, nil
}

// reader finds out how a value is read; err says why it cannot be.
func (c *compiler) reader(variable, name string) (func(*values) (any, bool, error), error) {
	switch variable {
	case "claims":
		path, err := core.ParseClaimPath(name)
		c.readsClaims = true
		return func(v *values) (any, bool, error) {
			value, present := v.p.Claim(path)
			return value, present, nil
		}, err
	case "path":
		c.readsPath = true
		if !slices.Contains(c.path.Groups, name) {
			return nil, fmt.Errorf("the path has no group named %s%s; add (?P<%s>…) to the path", name, report.DidYouMean(name, c.path.Groups), name)
		}
		return func(v *values) (any, bool, error) {
			value, present := v.groups[name]
			return value, present, nil
		}, nil
	case "headers":
		if problem := condition.HeaderProblem(name); problem != "" {
			return nil, errors.New(problem)
		}
		return func(v *values) (any, bool, error) {
			found, err := condition.ReadHeaders(v.call.Request, []string{name})
			return found[name], found[name] != nil, err
		}, nil
	case "query":
		return func(v *values) (any, bool, error) {
			found, err := condition.ReadQuery(v.call.Query(), []string{name})
			return found[name], found[name] != nil, err
		}, nil
	}
	return func(v *values) (any, bool, error) {
		text := condition.ReadText(v.call, variable)
		return text, text != "", nil
	}, nil
}

// text fills in the placeholders. Each has to have a value that is a text or a number.
func (t template) text(v *values) (string, error) {
	var b strings.Builder
	for _, p := range t {
		if p.read == nil {
			b.WriteString(p.text)
			continue
		}
		value, err := p.value(v)
		if err != nil {
			return "", err
		}
		text, ok := written(value)
		if !ok {
			return "", fmt.Errorf("{%s} is neither a text nor a number", p.text)
		}
		if text == "" {
			return "", fmt.Errorf("{%s} is empty", p.text)
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

func (p *part) value(v *values) (any, error) {
	value, present, err := p.read(v)
	switch {
	case err != nil:
		return nil, err
	case !present || value == nil:
		return nil, fmt.Errorf("there is no {%s}", p.text)
	}
	return value, nil
}

func written(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case int64:
		return strconv.FormatInt(v, 10), true
	}
	return "", false
}

// property is a template in a property: one placeholder alone is the value that it names,
// whatever its type.
func (t template) property(v *values) (any, error) {
	if len(t) == 1 && t[0].read != nil {
		return t[0].value(v)
	}
	return t.text(v)
}
