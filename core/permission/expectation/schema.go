package expectation

import (
	"encoding/json"
	"maps"

	"gatehouse/core"
	"gatehouse/core/permission/require"
)

// schema is a fragment of a JSON Schema (draft 2020-12).
type schema = map[string]any

// JSONSchema describes a file of expectations for editors. It is made of the list
// of keys that the parser reads by; the parser checks more than a schema can say.
func JSONSchema() []byte {
	s := expectationsKeys.JSONSchema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "Gatehouse expectations"
	s["anyOf"] = []schema{{"required": []string{"expect"}}, {"required": []string{"properties"}}}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil { // maps, lists and strings always encode
		return nil
	}
	return append(out, '\n')
}

// filledText is a text that is more than space.
func filledText() schema { return schema{"type": "string", "pattern": `\S`} }

func words() schema {
	return schema{"type": "array", "items": schema{"type": "string"}, "uniqueItems": true}
}

func nonEmptyWords(item schema) schema {
	return schema{"type": "array", "items": item, "uniqueItems": true, "minItems": 1}
}

func oneOf(values ...string) schema { return schema{"type": "string", "enum": values} }

func headers() schema {
	return schema{"type": "object", "additionalProperties": schema{"type": "string"}}
}

// expectSchema is a list of expectations, each of one call or of several.
func expectSchema() schema {
	one := maps.Clone(expectationKeys.JSONSchema())
	has := func(key string) schema { return schema{"required": []string{key}} }
	one["oneOf"] = []schema{
		{"required": []string{"method", "path"}, "not": has("calls")},
		{"required": []string{"calls"}, "not": schema{"anyOf": []schema{has("method"), has("path")}}},
	}
	return schema{"type": "array", "items": one}
}

func whoSchema() schema {
	return schema{"oneOf": []schema{{"const": anonymousWho}, whoKeys.JSONSchema()}}
}

func kindSchema() schema { return oneOf(core.KindNames()...) }

func levelSchema() schema { return oneOf(require.AssuranceLevels...) }
