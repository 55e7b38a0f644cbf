package schema

import (
	"fmt"
	"maps"
	"slices"
)

// Field is one field definition.
type Field struct {
	Type     string
	Required bool

	elements, keys, values *Field
	record                 *Record
	json                   *jsonSchema

	def           any
	hasDefault    bool
	referenceable bool
	lenMin        *float64
	eqNull        bool // must be null
	eq            any  // must be this, if not nil
	neNull        bool // must not be null
	err           string
	validators    []validator
	requiredSet   bool
}

// Record is a list of named fields with the checks across them.
type Record struct {
	fields []namedField
	checks []entityCheck
}

type namedField struct {
	name string
	*Field
}

func (r *Record) field(name string) (*Field, bool) {
	for _, f := range r.fields {
		if f.name == name {
			return f.Field, true
		}
	}
	return nil, false
}

// validTypes are Kong's; the second value is what a type must declare.
var validTypes = map[string][]string{
	"array": {"elements"}, "set": {"elements"}, "map": {"keys", "values"},
	"record": {"fields"}, "json": {"json_schema"},
	"string": nil, "number": nil, "integer": nil, "boolean": nil, "foreign": nil,
	"function": nil,
}

// onlyFor lists attributes that Kong allows for some types only.
var onlyFor = map[string][]string{
	"between": {"integer", "number"}, "len_eq": {"array", "set", "string", "map"},
	"match": {"string"}, "one_of": {"string", "number", "integer"}, "contains": {"array", "set"},
	"is_regex": {"string"}, "timestamp": {"number", "integer"}, "uuid": {"string"},
	"unique":           {"string", "number", "integer", "foreign"},
	"unique_across_ws": {"string", "number", "integer", "foreign"},
	"json_schema":      {"json"},
	"transient":        {"string", "number", "integer", "array", "set", "boolean"},
}

// inert attributes change nothing for a plugin's config in a gateway.
var inert = map[string]string{
	"description": "string", "examples": "array", "encrypted": "boolean", "generate_admin_api": "boolean",
	"immutable": "boolean", "reference": "string", "unique": "boolean", "unique_across_ws": "boolean",
	"on_delete": "string",
}

// unsupported attributes are Kong's, but not known here.
var unsupported = []string{"auto", "abstract", "transient", "deprecation", "shorthand_fields"}

// parser reads definitions and collects every problem.
type parser struct{ problems Problems }

func (p *parser) fail(path, format string, args ...any) {
	p.problems = append(p.problems, Problem{path, fmt.Sprintf(format, args...)})
}

// field reads one definition.
func (p *parser) field(path string, raw any) *Field {
	def, ok := raw.(map[string]any)
	if !ok {
		p.fail(path, "a field definition must be a table")
		return &Field{Type: "string"}
	}
	f := &Field{}
	f.Type, _ = def["type"].(string)
	needs, ok := validTypes[f.Type]
	if !ok || f.Type == "function" {
		p.fail(path, "invalid type: %v", def["type"])
		return f
	}
	for _, need := range needs {
		if def[need] == nil {
			p.fail(path, "field of type '%s' must declare '%s'", f.Type, need)
		}
	}
	for _, attr := range slices.Sorted(maps.Keys(def)) {
		p.attribute(path, f, attr, def[attr])
	}
	f.validators = p.validators(path, def)
	p.defaultValue(path, f)
	return f
}

func (p *parser) attribute(path string, f *Field, attr string, value any) {
	at := path + "." + attr
	if types := onlyFor[attr]; types != nil && !slices.Contains(types, f.Type) {
		p.fail(at, "field of type '%s' cannot have attribute '%s'", f.Type, attr)
		return
	}
	switch attr {
	case "type":
	case "required":
		f.Required, f.requiredSet = p.boolean(at, value), true
	case "referenceable":
		f.referenceable = p.boolean(at, value)
	case "err":
		f.err = p.str(at, value)
	case "default":
		f.def, f.hasDefault = value, true
	case "elements":
		f.elements = p.field(at, value)
	case "keys":
		f.keys = p.field(at, value)
	case "values":
		f.values = p.field(at, value)
	case "fields":
		f.record = p.record(path, value, f.record)
	case "entity_checks":
		f.record = p.checks(path, value, f.record)
	case "json_schema":
		f.json = p.jsonSchema(at, value)
	case "eq":
		f.eqNull, f.eq = value == nil, value
	case "ne":
		f.neNull = value == nil
	case "len_min":
		n := p.number(at, value)
		f.lenMin = &n
	default:
		p.otherAttribute(at, attr, value)
	}
}

func (p *parser) otherAttribute(at, attr string, value any) {
	if typ, ok := inert[attr]; ok {
		p.inert(at, attr, typ, value)
		return
	}
	if slices.Contains(unsupported, attr) {
		p.fail(at, "the attribute '%s' is not supported by the local gateway", attr)
		return
	}
	if !isValidator(attr) {
		p.fail(at, "unknown field")
	}
}

func (p *parser) inert(at, attr, typ string, value any) {
	var ok bool
	switch typ {
	case "string":
		_, ok = value.(string)
	case "boolean":
		_, ok = value.(bool)
	case "array":
		_, ok = value.([]any)
	}
	if !ok {
		p.fail(at, "expected a %s", typ)
		return
	}
	if text, _ := value.(string); attr == "description" && (len(text) < 10 || len(text) > 500) {
		p.fail(at, "length must be at least 10 and at most 500")
	}
}

// record reads a list of one-entry tables, each a name and its definition.
func (p *parser) record(path string, raw any, r *Record) *Record {
	if r == nil {
		r = &Record{}
	}
	list, ok := raw.([]any)
	if !ok {
		p.fail(path+".fields", "'fields' must be a table")
		return r
	}
	for i, item := range list {
		entry, ok := item.(map[string]any)
		if !ok || len(entry) != 1 {
			p.fail(fmt.Sprintf("%s.fields[%d]", path, i), "each entry in fields must be a table with one name")
			continue
		}
		for name, def := range entry {
			r.fields = append(r.fields, namedField{name, p.field(path+"."+name, def)})
		}
	}
	return r
}

// defaultValue checks a default against its own field.
func (p *parser) defaultValue(path string, f *Field) {
	if !f.hasDefault || f.def == nil {
		return
	}
	v := validation{}
	v.field(path+".default", f, f.def)
	p.problems = append(p.problems, v.problems...)
}

func (p *parser) boolean(path string, raw any) bool {
	v, ok := raw.(bool)
	if !ok {
		p.fail(path, "expected a boolean")
	}
	return v
}

func (p *parser) str(path string, raw any) string {
	v, ok := raw.(string)
	if !ok {
		p.fail(path, "expected a string")
	}
	return v
}

func (p *parser) number(path string, raw any) float64 {
	v, ok := raw.(float64)
	if !ok {
		p.fail(path, "expected a number")
	}
	return v
}

func (p *parser) list(path string, raw any) []any {
	v, ok := raw.([]any)
	if !ok {
		p.fail(path, "expected an array")
	}
	return v
}

func (p *parser) strings(path string, raw any) []string {
	var names []string
	for i, item := range p.list(path, raw) {
		names = append(names, p.str(fmt.Sprintf("%s[%d]", path, i), item))
	}
	return names
}
