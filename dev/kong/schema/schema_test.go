package schema_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"gatehouse/dev/kong/schema"
)

func decode(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// plugin reads a schema whose config has the given fields.
func plugin(t *testing.T, fields string) (*schema.Plugin, error) {
	t.Helper()
	return schema.ParsePlugin(decode(t, `{"name": "p", "fields": [{"config": {"type": "record", "fields": [`+fields+`]}}]}`))
}

func mustPlugin(t *testing.T, fields string) *schema.Plugin {
	t.Helper()
	p, err := plugin(t, fields)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// check validates a config and returns it completed, with the problems.
func check(t *testing.T, p *schema.Plugin, config string) (map[string]any, []string) {
	t.Helper()
	full, problems := p.Check("", map[string]any{"config": decode(t, config)})
	var texts []string
	for _, problem := range problems {
		texts = append(texts, problem.String())
	}
	out, _ := full["config"].(map[string]any)
	return out, texts
}

func TestDefaultsAreFilledInAsKongDoes(t *testing.T) {
	p := mustPlugin(t, `
		{"plain": {"type": "string"}},
		{"def": {"type": "string", "default": "d"}},
		{"list": {"type": "array", "elements": {"type": "string"}, "default": []}},
		{"nested": {"type": "record", "fields": [{"x": {"type": "integer", "default": 5}}, {"deep": {"type": "record", "fields": [{"y": {"type": "boolean", "default": true}}]}}]}},
		{"optional": {"type": "record", "required": false, "fields": [{"z": {"type": "integer", "default": 1}}]}},
		{"items": {"type": "array", "elements": {"type": "record", "fields": [{"id": {"type": "string"}}, {"n": {"type": "integer", "default": 3}}, {"inner": {"type": "record", "fields": [{"q": {"type": "integer", "default": 9}}]}}]}}},
		{"byname": {"type": "map", "keys": {"type": "string"}, "values": {"type": "record", "fields": [{"m": {"type": "integer", "default": 4}}]}}},
		{"tags": {"type": "set", "elements": {"type": "string"}}}`)
	got, problems := check(t, p, `{"items": [{"id": "a"}], "byname": {"k": {}}, "tags": ["a", "b", "a"]}`)
	want := decode(t, `{"plain": null, "def": "d", "list": [], "nested": {"x": 5, "deep": {"y": true}}, "optional": null,
		"items": [{"id": "a", "n": 3, "inner": null}], "byname": {"k": {"m": 4}}, "tags": ["a", "b"]}`)
	if len(problems) > 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v\n%v", got, want, problems)
	}
}

func TestDefaultIsNotShared(t *testing.T) {
	p := mustPlugin(t, `{"r": {"type": "record", "default": {"n": 1}, "fields": [{"n": {"type": "integer"}}]}}`)
	first, _ := check(t, p, `{}`)
	first["r"].(map[string]any)["n"] = 2.0
	if second, _ := check(t, p, `{}`); second["r"].(map[string]any)["n"] != 1.0 {
		t.Errorf("the default became %v", second)
	}
}

// TestValidation: each row is a field, a value and Kong's words, "" for none.
func TestValidation(t *testing.T) {
	for _, c := range []struct{ field, value, want string }{
		{`{"type": "string"}`, `"x"`, ""},
		{`{"type": "string"}`, `""`, "length must be at least 1"},
		{`{"type": "string", "len_min": 0}`, `""`, ""},
		{`{"type": "string", "len_min": 3}`, `"ab"`, "length must be at least 3"},
		{`{"type": "string", "len_max": 3}`, `"abcd"`, "length must be at most 3"},
		{`{"type": "string", "len_eq": 3}`, `"abcd"`, "length must be 3"},
		{`{"type": "string"}`, `1`, "expected a string"},
		{`{"type": "string"}`, `true`, "expected a string"},
		{`{"type": "string", "required": true}`, `null`, "required field missing"},
		{`{"type": "string", "required": true, "default": "d"}`, `null`, "required field missing"},
		{`{"type": "string", "one_of": ["a", "b"]}`, `"c"`, "expected one of: a, b"},
		{`{"type": "string", "not_one_of": ["a", "b"]}`, `"a"`, "must not be one of: a, b"},
		{`{"type": "string", "eq": "a"}`, `"b"`, "value must be a"},
		{`{"type": "string", "ne": "a"}`, `"a"`, "value must not be a"},
		{`{"type": "string", "match": "^%d+$"}`, `"12a"`, "invalid value: 12a"},
		{`{"type": "string", "match": "^%d+$"}`, `"12"`, ""},
		{`{"type": "string", "not_match": "%s"}`, `"a b"`, "invalid value: a b"},
		{`{"type": "string", "match_none": [{"pattern": "//", "err": "no empty segments"}]}`, `"a//b"`, "no empty segments"},
		{`{"type": "string", "match_all": [{"pattern": "^a"}, {"pattern": "z$", "err": "must end in z"}]}`, `"ab"`, "must end in z"},
		{`{"type": "string", "match_any": {"patterns": ["^a", "^b"], "err": "a or b"}}`, `"c"`, "a or b"},
		{`{"type": "string", "starts_with": "/"}`, `"a"`, "should start with: /"},
		{`{"type": "string", "uuid": true}`, `"nope"`, "expected a valid UUID"},
		{`{"type": "string", "is_regex": true}`, `"("`, "not a valid regex: ("},
		{`{"type": "string", "one_of": ["a"], "err": "choose a"}`, `"b"`, "choose a"},
		{`{"type": "string", "referenceable": true, "len_max": 3}`, `"{vault://env/long-name}"`, ""},
		{`{"type": "string", "len_max": 3}`, `"{vault://env/long-name}"`, "length must be at most 3"},
		{`{"type": "integer"}`, `1.5`, "expected an integer"},
		{`{"type": "integer"}`, `"1"`, "expected an integer"},
		{`{"type": "integer", "between": [1, 10]}`, `11`, "value should be between 1 and 10"},
		{`{"type": "integer", "gt": 0}`, `0`, "value must be greater than 0"},
		{`{"type": "number"}`, `1.5`, ""},
		{`{"type": "number"}`, `"1.5"`, "expected a number"},
		{`{"type": "boolean"}`, `"true"`, "expected a boolean"},
		{`{"type": "array", "elements": {"type": "string"}}`, `{"a": 1}`, "expected an array"},
		{`{"type": "array", "elements": {"type": "string"}}`, `{}`, ""}, // one empty table is like the other in Lua
		{`{"type": "set", "elements": {"type": "string"}}`, `"a"`, "expected a set"},
		{`{"type": "array", "elements": {"type": "string"}, "len_min": 1}`, `[]`, "length must be at least 1"},
		{`{"type": "array", "elements": {"type": "string"}, "contains": "a"}`, `["b"]`, "expected to contain: a"},
		{`{"type": "map", "keys": {"type": "string"}, "values": {"type": "integer"}}`, `[1]`, "expected a map"},
		{`{"type": "record", "fields": []}`, `"x"`, "expected a record"},
		{`{"type": "json", "json_schema": {"inline": {"type": "object", "required": ["a"]}}}`, `{"b": 1}`, "property a is required"},
		{`{"type": "json", "json_schema": {"inline": {"type": "array", "items": {"type": "integer", "maximum": 3}}}}`, `[1, 5]`, "item 1: maximum of 3 not kept"},
		{`{"type": "json", "json_schema": {"inline": {"type": ["object", "null"], "additionalProperties": false, "properties": {"a": {"enum": ["x"]}}}}}`, `{"a": "y"}`, "property a: matches none of the enum values"},
		{`{"type": "string", "eq": null}`, `"x"`, "value must be null"},
		{`{"type": "string", "ne": null}`, `null`, "value must not be null"},
	} {
		_, problems := check(t, mustPlugin(t, `{"f": `+c.field+`}`), `{"f": `+c.value+`}`)
		want := []string{"config.f: " + c.want}
		if c.want == "" {
			want = nil
		}
		if !reflect.DeepEqual(problems, want) {
			t.Errorf("%s given %s: %q, want %q", c.field, c.value, problems, want)
		}
	}
}

func TestEveryProblemIsNamedByItsPath(t *testing.T) {
	p := mustPlugin(t, `
		{"items": {"type": "array", "elements": {"type": "record", "fields": [{"id": {"type": "string", "required": true}}, {"n": {"type": "integer"}}]}}},
		{"byname": {"type": "map", "keys": {"type": "string", "match": "^%l+$"}, "values": {"type": "integer"}}},
		{"needed": {"type": "string", "required": true}}`)
	_, problems := check(t, p, `{"items": [{"id": "a"}, {"n": "x", "extra": 1}, null], "byname": {"UP": 1, "low": "x"}, "typo": 1}`)
	want := []string{
		"config.byname.UP: invalid value: UP",
		"config.byname.low: expected an integer",
		"config.items[1].extra: unknown field",
		"config.items[1].n: expected an integer",
		"config.items[1].id: required field missing",
		"config.items[2]: required field missing",
		"config.typo: unknown field",
		"config.needed: required field missing",
	}
	if !reflect.DeepEqual(problems, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(problems, "\n"), strings.Join(want, "\n"))
	}
}

func TestEntityChecks(t *testing.T) {
	for _, c := range []struct{ check, config, want string }{
		{`{"at_least_one_of": ["a", "b"]}`, `{}`, "config: at least one of these fields must be non-empty: 'a', 'b'"},
		{`{"at_least_one_of": ["a", "b"]}`, `{"b": "x"}`, ""},
		{`{"only_one_of": ["a", "b"]}`, `{"a": "x", "b": "y"}`, "config: exactly one of these fields must be non-empty: 'a', 'b'"},
		{`{"only_one_of": ["a", "b"]}`, `{"a": "x", "b": "{vault://env/b}"}`, ""}, // not known yet, so not checked
		{`{"mutually_required": ["a", "b"]}`, `{"a": "x"}`, "config: all or none of these fields must be set: 'a', 'b'"},
		{`{"mutually_exclusive": ["a", "b"]}`, `{"a": "x", "b": "y"}`, "config: only one or none of these fields must be set: 'a', 'b'"},
		{`{"mutually_exclusive_sets": {"set1": ["a"], "set2": ["r.c"]}}`, `{"a": "x", "r": {"c": "y"}}`, "config: these sets are mutually exclusive: ('a'), ('r.c')"},
		{`{"distinct": ["a", "b"]}`, `{"a": "x", "b": "x"}`, "config: values of these fields must be distinct: 'a', 'b'"},
		{`{"conditional": {"if_field": "a", "if_match": {"eq": "x"}, "then_field": "b", "then_match": {"required": true}}}`, `{"a": "x"}`,
			"config.b: required field missing|config: failed conditional validation given value of field 'a'"},
		{`{"conditional": {"if_field": "a", "if_match": {"eq": "x"}, "then_field": "b", "then_match": {"required": true}}}`, `{"a": "z"}`, ""},
		{`{"conditional": {"if_field": "a", "if_match": {"eq": "x"}, "then_field": "b", "then_match": {"one_of": ["1"]}, "then_err": "b must follow %s"}}`, `{"a": "x", "b": "2"}`,
			"config.b: expected one of: 1|config: b must follow a"},
		{`{"conditional_at_least_one_of": {"if_field": "a", "if_match": {"eq": "x"}, "then_at_least_one_of": ["b", "r.c"], "then_err": "set one of %s"}}`, `{"a": "x"}`, "config: set one of 'b', 'r.c'"},
		{`{"conditional_at_least_one_of": {"if_field": "a", "if_match": {"eq": "x"}, "then_at_least_one_of": ["b"], "else_match": {"eq": "y"}, "else_then_at_least_one_of": ["r.c"]}}`, `{"a": "y", "b": "1"}`,
			"config: at least one of these fields must be non-empty: 'r.c'"},
	} {
		p, err := schema.ParsePlugin(decode(t, `{"name": "p", "fields": [{"config": {"type": "record", "fields": [
			{"a": {"type": "string"}}, {"b": {"type": "string", "referenceable": true}},
			{"r": {"type": "record", "fields": [{"c": {"type": "string"}}]}}],
			"entity_checks": [`+c.check+`]}}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, problems := check(t, p, c.config); strings.Join(problems, "|") != c.want {
			t.Errorf("%s given %s:\n got %q\nwant %q", c.check, c.config, problems, c.want)
		}
	}
}

func TestEntityCheckAcrossTheWholePlugin(t *testing.T) {
	p, err := schema.ParsePlugin(decode(t, `{"name": "p", "fields": [{"config": {"type": "record", "fields": [{"a": {"type": "string"}}, {"b": {"type": "string"}}]}}],
		"entity_checks": [{"at_least_one_of": ["config.a", "config.b"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	_, problems := p.Check("plugins[0]", map[string]any{"config": map[string]any{}})
	if len(problems) != 1 || problems[0].String() != "plugins[0]: at least one of these fields must be non-empty: 'config.a', 'config.b'" {
		t.Errorf("%v", problems)
	}
}

func TestConsumerForbiddenBySchema(t *testing.T) {
	p, err := schema.ParsePlugin(decode(t, `{"name": "p", "fields": [
		{"consumer": {"type": "foreign", "reference": "consumers", "eq": null}}, {"config": {"type": "record", "fields": []}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	_, problems := p.Check("plugins[0]", map[string]any{"consumer": "bob"})
	if len(problems) != 1 || problems[0].String() != "plugins[0].consumer: value must be null" {
		t.Errorf("%v", problems)
	}
}

// TestSchemasThatKongRefuses: what a real Kong rejects at start.
func TestSchemasThatKongRefuses(t *testing.T) {
	for _, c := range []struct{ field, want string }{
		{`{"type": "any"}`, "schema.config.f: invalid type: any"},
		{`{"type": "object"}`, "schema.config.f: invalid type: object"},
		{`{}`, "schema.config.f: invalid type: <nil>"},
		{`{"type": "string", "frobnicate": true}`, "schema.config.f.frobnicate: unknown field"},
		{`{"type": "string", "description": "too short"}`, "schema.config.f.description: length must be at least 10"},
		{`{"type": "string", "required": "yes"}`, "schema.config.f.required: expected a boolean"},
		{`{"type": "array"}`, "schema.config.f: field of type 'array' must declare 'elements'"},
		{`{"type": "map", "keys": {"type": "string"}}`, "schema.config.f: field of type 'map' must declare 'values'"},
		{`{"type": "record"}`, "schema.config.f: field of type 'record' must declare 'fields'"},
		{`{"type": "string", "between": [1, 2]}`, "schema.config.f.between: field of type 'string' cannot have attribute 'between'"},
		{`{"type": "boolean", "one_of": [true]}`, "schema.config.f.one_of: field of type 'boolean' cannot have attribute 'one_of'"},
		{`{"type": "integer", "default": "5"}`, "schema.config.f.default: expected an integer"},
		{`{"type": "string", "match": "%f[a]"}`, "schema.config.f.match: lua pattern"},
		{`{"type": "json", "json_schema": {"inline": {"oneOf": []}}}`, "schema.config.f.json_schema.inline.oneOf: this JSON schema keyword is not supported"},
		{`{"type": "string", "auto": true}`, "schema.config.f.auto: the attribute 'auto' is not supported by the local gateway"},
	} {
		_, err := plugin(t, `{"f": `+c.field+`}`)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.field, err, c.want)
		}
	}
	for _, c := range []struct{ schema, want string }{
		{`{"fields": [{"config": {"type": "record", "fields": []}}]}`, "schema.name: required field missing"},
		{`{"name": "p", "fields": []}`, "schema.config: required field missing"},
		{`{"name": "p", "fields": [{"config": {"type": "map", "keys": {"type": "string"}, "values": {"type": "string"}}}]}`, "schema.config: cannot change type"},
		{`{"name": "p", "fields": [{"own": {"type": "string"}}, {"config": {"type": "record", "fields": []}}]}`, "schema.own: cannot create a new field"},
		{`{"name": "p", "extra": 1, "fields": [{"config": {"type": "record", "fields": []}}]}`, "schema.extra: unknown field"},
	} {
		if _, err := schema.ParsePlugin(decode(t, c.schema)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.schema, err, c.want)
		}
	}
}

func TestReferencesResolveFromTheEnvironment(t *testing.T) {
	p := mustPlugin(t, `
		{"plain": {"type": "string", "referenceable": true}},
		{"member": {"type": "string", "referenceable": true}},
		{"prefixed": {"type": "string", "referenceable": true}},
		{"unset": {"type": "string", "referenceable": true}},
		{"other": {"type": "string", "referenceable": true}},
		{"literal": {"type": "string"}},
		{"list": {"type": "array", "elements": {"type": "string", "referenceable": true}}},
		{"byname": {"type": "map", "keys": {"type": "string"}, "values": {"type": "string", "referenceable": true}}}`)
	full, problems := check(t, p, `{"plain": "{vault://env/my-secret}", "member": "{vault://env/json/key}", "prefixed": "{vault://env/secret?prefix=my-}",
		"unset": "{vault://env/unset}", "other": "{vault://aws/x}", "literal": "{vault://env/my-secret}",
		"list": ["a", "{vault://env/my-secret}"], "byname": {"k": "{vault://env/my-secret}"}}`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	env := map[string]string{"MY_SECRET": "s3cret", "JSON": `{"key": "member"}`}
	var warnings []string
	got := p.Resolve(full, schema.Resolver{
		LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Warn:      func(message string) { warnings = append(warnings, message) },
	})
	want := decode(t, `{"plain": "s3cret", "member": "member", "prefixed": "s3cret", "unset": "", "other": "", "literal": "{vault://env/my-secret}",
		"list": ["a", "s3cret"], "byname": {"k": "s3cret"}, "$refs": {
			"plain": "{vault://env/my-secret}", "member": "{vault://env/json/key}", "prefixed": "{vault://env/secret?prefix=my-}",
			"unset": "{vault://env/unset}", "other": "{vault://aws/x}", "list": [null, "{vault://env/my-secret}"], "byname": {"k": "{vault://env/my-secret}"}}}`)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if len(warnings) != 2 || strings.Contains(strings.Join(warnings, ""), "s3cret") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestNullsDoNotReachThePlugin(t *testing.T) {
	p := mustPlugin(t, `{"a": {"type": "string"}}, {"r": {"type": "record", "fields": [{"b": {"type": "integer"}}]}}`)
	full, _ := check(t, p, `{"a": null}`)
	if got := p.Resolve(full, schema.Resolver{}); !reflect.DeepEqual(got, map[string]any{"r": map[string]any{}}) {
		t.Errorf("%v", got)
	}
}
