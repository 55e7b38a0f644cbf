package setting

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// EncodeSchema writes a schema as a document of its own.
func EncodeSchema(title string, schema map[string]any) []byte {
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = title
	out, err := json.MarshalIndent(schema, "", "  ")
	if err != nil { // maps, lists, texts and numbers always encode
		return nil
	}
	return append(out, '\n')
}

// SchemaOf is the schema of a struct of settings. It refuses nothing that the
// decoder and the checks accept, but for null, which stands for absent.
func SchemaOf(settings any) map[string]any { return structSchema(reflect.TypeOf(settings)) }

func structSchema(t reflect.Type) map[string]any {
	properties := map[string]any{}
	var required []string
	for i := range t.NumField() {
		field := t.Field(i)
		properties[Key(field)] = fieldSchema(field)
		if field.Tag.Get("required") == "true" {
			required = append(required, Key(field))
		}
	}
	s := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if required != nil {
		s["required"] = required
	}
	if c, ok := reflect.Zero(t).Interface().(interface{ EntityChecks() []map[string]any }); ok {
		if all := checkSchemas(c.EntityChecks()); all != nil {
			s["allOf"] = all
		}
	}
	return s
}

func fieldSchema(field reflect.StructField) map[string]any {
	s := typeSchema(field.Type)
	s["description"] = field.Tag.Get("doc")
	values := s
	if items, ok := s["items"].(map[string]any); ok {
		values = items
	}
	if allowed, ok := field.Tag.Lookup("one_of"); ok {
		values["enum"] = strings.Split(allowed, ",")
		if field.Type.Kind() == reflect.String && field.Tag.Get("required") != "true" {
			values["enum"] = append(strings.Split(allowed, ","), "") // reads as absent
		}
	}
	if limits, ok := field.Tag.Lookup("between"); ok {
		low, high, _ := strings.Cut(limits, ",")
		values["minimum"], values["maximum"] = json.Number(low), json.Number(high)
	}
	if field.Tag.Get("starts_with") == "http" {
		values["pattern"] = "^([hH][tT][tT][pP][sS]?://.*)?$"
	}
	if least, err := strconv.Atoi(field.Tag.Get("len_min")); err == nil && least > 0 && field.Type.Kind() == reflect.Slice {
		s["minItems"] = least
	}
	if text, ok := field.Tag.Lookup("default"); ok {
		s["default"] = Default(field.Type, text).Interface()
	}
	return s
}

func typeSchema(t reflect.Type) map[string]any {
	switch t.Kind() {
	case reflect.Pointer:
		return typeSchema(t.Elem())
	case reflect.Struct:
		return structSchema(t)
	case reflect.Slice:
		return map[string]any{"type": "array", "items": typeSchema(t.Elem())}
	case reflect.Map:
		if t.Elem().Kind() == reflect.String {
			return map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string"}}
		}
		return map[string]any{"type": "object"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	}
	return map[string]any{"type": "string"}
}

// filledSchema is that of a text or a list with something in it; other values
// are never empty.
func filledSchema() map[string]any { return map[string]any{"minLength": 1, "minItems": 1} }

func setSchema(field string) map[string]any {
	return map[string]any{"required": []string{field}, "properties": map[string]any{field: filledSchema()}}
}

// checkSchemas are those rules across fields that only ask which are set.
func checkSchemas(checks []map[string]any) []any {
	var all []any
	for _, check := range checks {
		if fields, ok := check["at_least_one_of"].([]string); ok {
			all = append(all, map[string]any{"anyOf": setSchemas(fields)})
		}
		if fields, ok := check["mutually_exclusive"].([]string); ok {
			all = append(all, map[string]any{"not": map[string]any{"allOf": setSchemas(fields)}})
		}
		if sets, ok := check["mutually_exclusive_sets"].(map[string]any); ok {
			one, two := setSchemas(sets["set1"].([]string)), setSchemas(sets["set2"].([]string))
			all = append(all, map[string]any{"not": map[string]any{"allOf": []any{map[string]any{"anyOf": one}, map[string]any{"anyOf": two}}}})
		}
	}
	return slices.Clip(all)
}

func setSchemas(fields []string) []any {
	schemas := make([]any, len(fields))
	for i, field := range fields {
		schemas[i] = setSchema(field)
	}
	return schemas
}
