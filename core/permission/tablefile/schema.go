package tablefile

import (
	"encoding/json"

	"gatehouse/core/permission/names"
	"gatehouse/core/permission/pattern"
	"gatehouse/core/permission/strictyaml"
)

// schema is a fragment of a JSON Schema (draft 2020-12).
type schema = map[string]any

// JSONSchema describes the file format for editors. It is made of the same
// list of keys that the parser reads by; the parser checks more than a schema
// can say.
func JSONSchema() []byte {
	s := tableKeys.JSONSchema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "Gatehouse permission table"
	s["minProperties"] = 1
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil { // maps, lists and strings always encode
		return nil
	}
	return append(out, '\n')
}

func mapOf(values schema) schema {
	return schema{"type": "object", "additionalProperties": values, "propertyNames": schema{"minLength": 1, "maxLength": names.MaxLength}}
}

func listOf(items schema) schema { return schema{"type": "array", "items": items} }

func nonEmptyListOf(items schema) schema {
	return schema{"type": "array", "items": items, "minItems": 1}
}

func text(doc string) schema {
	s := schema{"type": "string"}
	if doc != "" {
		s["description"] = doc
	}
	return s
}

func boolean(normally bool) schema { return schema{"type": "boolean", "default": normally} }

func oneOf(words ...string) schema { return schema{"type": "string", "enum": words} }

var (
	methodsSchema = nonEmptyListOf(schema{"type": "string", "pattern": "^" + pattern.MethodPattern + "$"})
	variantSchema = schema{"type": "string", "enum": []string{refuse, allow}, "default": allow}
	pathSchema    = schema{"type": "string", "minLength": 1, "maxLength": pattern.MaxPath}
)

// activitySchema admits the short form and the long one, and calls of the Model Context
// Protocol where there are keys for them.
func activitySchema(long, mcp strictyaml.Keys) schema {
	short := schema{
		"type":        "string",
		"pattern":     "^" + pattern.MethodPattern + "(," + pattern.MethodPattern + ")* +\\S+$",
		"description": "Methods and a path regex: GET,HEAD /users/[^/]+",
	}
	forms := []schema{short, long.JSONSchema()}
	if mcp != nil {
		forms = append(forms, mcp.JSONSchema())
	}
	return schema{"anyOf": forms}
}
