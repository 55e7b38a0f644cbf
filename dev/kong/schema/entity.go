package schema

import (
	"fmt"
	"strings"
)

// entityCheck is a check across the fields of a record.
type entityCheck struct {
	// names are the fields it looks at.
	names []string
	// check returns what is wrong, or "".
	check func(v *validation, path string, r *Record, data map[string]any) string
}

func (c entityCheck) run(v *validation, path string, r *Record, data map[string]any) {
	for _, name := range c.names {
		f, ok := lookupField(r, name)
		text, isText := lookup(data, name).(string)
		if ok && f.Type == "string" && f.referenceable && isText && IsReference(text) {
			return // Kong does not know the value yet
		}
	}
	if message := c.check(v, path, r, data); message != "" {
		v.fail(path, message)
	}
}

// lookup finds "a.b.c" in nested tables; nil is null or absent.
func lookup(data map[string]any, name string) any {
	head, tail, nested := strings.Cut(name, ".")
	if !nested {
		return data[head]
	}
	sub, _ := data[head].(map[string]any)
	return lookup(sub, tail)
}

func lookupField(r *Record, name string) (*Field, bool) {
	head, tail, nested := strings.Cut(name, ".")
	f, ok := r.field(head)
	if !ok || !nested {
		return f, ok
	}
	if f.record == nil {
		return nil, false
	}
	return lookupField(f.record, tail)
}

func isEmpty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case []any:
		return len(value) == 0
	case map[string]any:
		return len(value) == 0
	}
	return false
}

func countSet(data map[string]any, names []string) int {
	n := 0
	for _, name := range names {
		if !isEmpty(lookup(data, name)) {
			n++
		}
	}
	return n
}

func (p *parser) checks(path string, raw any, r *Record) *Record {
	if r == nil {
		r = &Record{}
	}
	at := path + ".entity_checks"
	for i, item := range p.list(at, raw) {
		def, _ := item.(map[string]any)
		if len(def) != 1 {
			p.fail(index(at, i), "exactly one of the entity checks must be given")
			continue
		}
		for name, arg := range def {
			if check, ok := p.entityCheck(join(index(at, i), name), name, arg); ok {
				r.checks = append(r.checks, check)
			}
		}
	}
	return r
}

func (p *parser) entityCheck(at, name string, arg any) (entityCheck, bool) {
	switch name {
	case "at_least_one_of":
		return p.counting(at, arg, "at least one of these fields must be non-empty: %s", func(n, _ int) bool { return n >= 1 }), true
	case "only_one_of":
		return p.counting(at, arg, "exactly one of these fields must be non-empty: %s", func(n, _ int) bool { return n == 1 }), true
	case "mutually_required":
		return p.counting(at, arg, "all or none of these fields must be set: %s", func(n, all int) bool { return n == 0 || n == all }), true
	case "mutually_exclusive":
		return p.counting(at, arg, "only one or none of these fields must be set: %s", func(n, _ int) bool { return n <= 1 }), true
	case "mutually_exclusive_sets":
		return p.exclusiveSets(at, arg), true
	case "distinct":
		return p.distinct(at, arg), true
	case "conditional":
		return p.conditional(at, arg), true
	case "conditional_at_least_one_of":
		return p.conditionalAtLeastOne(at, arg), true
	}
	p.fail(at, "unknown field")
	return entityCheck{}, false
}

func (p *parser) counting(at string, arg any, message string, right func(set, all int) bool) entityCheck {
	names := p.strings(at, arg)
	return entityCheck{names, func(_ *validation, _ string, _ *Record, data map[string]any) string {
		return failUnless(right(countSet(data, names), len(names)), message, quoted(names))
	}}
}

func (p *parser) exclusiveSets(at string, arg any) entityCheck {
	def, _ := arg.(map[string]any)
	p.only(at, def, "set1", "set2")
	one, two := p.strings(at+".set1", def["set1"]), p.strings(at+".set2", def["set2"])
	return entityCheck{append(one[:len(one):len(one)], two...), func(_ *validation, _ string, _ *Record, data map[string]any) string {
		clash := countSet(data, one) > 0 && countSet(data, two) > 0
		return failUnless(!clash, "these sets are mutually exclusive: (%s), (%s)", quoted(one), quoted(two))
	}}
}

func (p *parser) distinct(at string, arg any) entityCheck {
	names := p.strings(at, arg)
	return entityCheck{names, func(_ *validation, _ string, _ *Record, data map[string]any) string {
		var seen []any
		for _, name := range names {
			value := lookup(data, name)
			if !isEmpty(value) && contains(seen, value) {
				return fmt.Sprintf("values of these fields must be distinct: %s", quoted(names))
			}
			seen = append(seen, value)
		}
		return ""
	}}
}

// conditional: if one field passes a check, another has to pass one as well.
func (p *parser) conditional(at string, arg any) entityCheck {
	def, _ := arg.(map[string]any)
	p.only(at, def, "if_field", "if_match", "then_field", "then_match", "then_err")
	ifField, thenField := p.str(at+".if_field", def["if_field"]), p.str(at+".then_field", def["then_field"])
	ifMatch, thenMatch := p.match(at+".if_match", def["if_match"]), p.match(at+".then_match", def["then_match"])
	thenErr, _ := def["then_err"].(string)
	return entityCheck{[]string{ifField, thenField}, func(v *validation, path string, r *Record, data map[string]any) string {
		if ifMatch.wrong(r, ifField, lookup(data, ifField)) != "" {
			return ""
		}
		wrong := thenMatch.wrong(r, thenField, lookup(data, thenField))
		if wrong == "" {
			return ""
		}
		v.fail(join(path, thenField), wrong)
		return orText(strings.ReplaceAll(thenErr, "%s", ifField), "failed conditional validation given value of field '"+ifField+"'")
	}}
}

func (p *parser) conditionalAtLeastOne(at string, arg any) entityCheck {
	def, _ := arg.(map[string]any)
	p.only(at, def, "if_field", "if_match", "then_at_least_one_of", "then_err", "else_match", "else_then_at_least_one_of", "else_then_err")
	ifField := p.str(at+".if_field", def["if_field"])
	then := p.branch(at, def, "if_match", "then_at_least_one_of", "then_err")
	branches := []branch{then}
	if def["else_match"] != nil {
		branches = append(branches, p.branch(at, def, "else_match", "else_then_at_least_one_of", "else_then_err"))
	}
	return entityCheck{[]string{ifField}, func(_ *validation, _ string, r *Record, data map[string]any) string {
		for _, b := range branches {
			if b.match.wrong(r, ifField, lookup(data, ifField)) == "" {
				return b.check(data)
			}
		}
		return ""
	}}
}

type branch struct {
	match match
	names []string
	err   string
}

func (p *parser) branch(at string, def map[string]any, match, names, err string) branch {
	text, _ := def[err].(string)
	return branch{p.match(join(at, match), def[match]), p.strings(join(at, names), def[names]), text}
}

func (b branch) check(data map[string]any) string {
	if countSet(data, b.names) > 0 {
		return ""
	}
	if b.err != "" {
		return strings.ReplaceAll(b.err, "%s", quoted(b.names))
	}
	return "at least one of these fields must be non-empty: " + quoted(b.names)
}

// match is a set of validators on top of a field's own definition.
type match struct {
	required   bool
	eqNull     bool
	eq         any
	elements   *Field
	validators []validator
}

func (p *parser) match(at string, raw any) match {
	def, ok := raw.(map[string]any)
	if !ok {
		p.fail(at, "expected a record")
	}
	var m match
	for key, value := range def {
		switch {
		case key == "required":
			m.required = p.boolean(at+".required", value)
		case key == "elements":
			m.elements = p.field(at+".elements", value)
		case key == "eq":
			m.eqNull, m.eq = value == nil, value
		case !isValidator(key):
			p.fail(join(at, key), "not supported by the local gateway")
		}
	}
	m.validators = p.validators(at, def)
	return m
}

// wrong says why a value does not pass, or "".
func (m match) wrong(r *Record, name string, value any) string {
	f, ok := lookupField(r, name)
	switch {
	case !ok:
		return msgUnknown
	case value == nil && (m.required || f.Required):
		return msgRequired
	case value == nil && m.eq != nil:
		return fmt.Sprintf("value must be %v", m.eq)
	case value == nil:
		return "" // like any field, null passes what does not name it
	case m.eqNull:
		return "value must be null"
	}
	v := validation{}
	sub := *f
	sub.validators = append(m.validators, f.validators...)
	if m.elements != nil {
		sub.elements = m.elements
	}
	if v.field(name, &sub, value) {
		return ""
	}
	return v.problems[0].Message
}
