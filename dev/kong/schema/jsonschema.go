package schema

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
)

// jsonSchema is the part of JSON Schema draft 4 that plugins' inline schemas
// use. A keyword outside of it is an error when the schema is read.
type jsonSchema struct {
	types      []string
	enum       []any
	properties map[string]*jsonSchema
	required   []string
	additional *jsonSchema // nil: anything
	closed     bool        // additionalProperties: false
	items      *jsonSchema
	pattern    *regexp.Regexp
	bounds     []jsonBound
}

type jsonBound struct {
	keyword string
	limit   float64
}

// jsonSchema reads the json_schema attribute. Only inline schemas exist here.
func (p *parser) jsonSchema(at string, raw any) *jsonSchema {
	def, _ := raw.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(def)) {
		if key != "inline" {
			p.fail(join(at, key), "the local gateway knows inline JSON schemas only")
		}
	}
	return p.jsonNode(at+".inline", def["inline"])
}

func (p *parser) jsonNode(at string, raw any) *jsonSchema {
	s := &jsonSchema{}
	def, ok := raw.(map[string]any)
	if !ok {
		p.fail(at, "schema must be a table")
		return s
	}
	for _, key := range slices.Sorted(maps.Keys(def)) {
		p.jsonKeyword(join(at, key), s, key, def[key])
	}
	return s
}

func (p *parser) jsonKeyword(at string, s *jsonSchema, key string, value any) {
	switch key {
	case "$schema", "id", "$id", "title", "description", "default":
	case "type":
		if text, ok := value.(string); ok {
			s.types = []string{text}
		} else {
			s.types = p.strings(at, value)
		}
	case "enum":
		s.enum = p.list(at, value)
	case "required":
		s.required = p.strings(at, value)
	case "properties":
		s.properties = map[string]*jsonSchema{}
		def, _ := value.(map[string]any)
		for name, sub := range def {
			s.properties[name] = p.jsonNode(join(at, name), sub)
		}
	case "additionalProperties":
		if open, ok := value.(bool); ok {
			s.closed = !open
		} else {
			s.additional = p.jsonNode(at, value)
		}
	case "items":
		s.items = p.jsonNode(at, value)
	case "pattern":
		var err error
		if s.pattern, err = regexp.Compile(p.str(at, value)); err != nil {
			p.fail(at, "%v", err)
		}
	case "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties":
		s.bounds = append(s.bounds, jsonBound{key, p.number(at, value)})
	default:
		p.fail(at, "this JSON schema keyword is not supported by the local gateway")
	}
}

// validate returns what is wrong, or "".
func (s *jsonSchema) validate(value any) string {
	if len(s.types) > 0 && !slices.ContainsFunc(s.types, func(t string) bool { return jsonIs(value, t) }) {
		return fmt.Sprintf("wrong type: expected one of %v", s.types)
	}
	if s.enum != nil && !contains(s.enum, value) {
		return "matches none of the enum values"
	}
	for _, b := range s.bounds {
		if !b.holds(value) {
			return fmt.Sprintf("%s of %v not kept", b.keyword, b.limit)
		}
	}
	switch value := value.(type) {
	case string:
		if s.pattern != nil && !s.pattern.MatchString(value) {
			return "failed to match pattern " + s.pattern.String()
		}
	case []any:
		return s.validateItems(value)
	case map[string]any:
		return s.validateObject(value)
	}
	return ""
}

func (s *jsonSchema) validateItems(list []any) string {
	if s.items == nil {
		return ""
	}
	for i, item := range list {
		if wrong := s.items.validate(item); wrong != "" {
			return fmt.Sprintf("item %d: %s", i, wrong)
		}
	}
	return ""
}

func (s *jsonSchema) validateObject(object map[string]any) string {
	for _, name := range s.required {
		if _, ok := object[name]; !ok {
			return fmt.Sprintf("property %s is required", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		sub, known := s.properties[name]
		if !known {
			sub = s.additional
		}
		if !known && s.closed {
			return fmt.Sprintf("additional properties forbidden, found %s", name)
		}
		if sub == nil {
			continue
		}
		if wrong := sub.validate(object[name]); wrong != "" {
			return fmt.Sprintf("property %s: %s", name, wrong)
		}
	}
	return ""
}

func jsonIs(value any, typ string) bool {
	switch value := value.(type) {
	case nil:
		return typ == "null"
	case bool:
		return typ == "boolean"
	case string:
		return typ == "string"
	case float64:
		return typ == "number" || typ == "integer" && value == math.Floor(value)
	case []any:
		return typ == "array" || typ == "object" && len(value) == 0
	case map[string]any:
		return typ == "object" || typ == "array" && len(value) == 0
	}
	return false
}

func (b jsonBound) holds(value any) bool {
	var n float64
	var applies bool
	switch b.keyword {
	case "minimum", "maximum":
		n, applies = value.(float64)
	case "minLength", "maxLength":
		text, ok := value.(string)
		n, applies = float64(len([]rune(text))), ok
	case "minItems", "maxItems":
		list, ok := value.([]any)
		n, applies = float64(len(list)), ok
	default:
		object, ok := value.(map[string]any)
		n, applies = float64(len(object)), ok
	}
	if !applies {
		return true
	}
	if b.keyword[:3] == "min" {
		return n >= b.limit
	}
	return n <= b.limit
}
