package config

import (
	"reflect"

	"gatehouse/core/config/section"
	"gatehouse/core/config/tablesource"
	"gatehouse/core/setting"
)

// Each EntityChecks states the rules across the fields of one section in the
// form of Kong's schema, so that Kong refuses at POST /plugins what would
// otherwise answer 503 from the first request on. Config.validate states the
// same rules, and more, for every host: the rules here may refuse less, never
// more. What Kong's checks cannot express is left to validate: that two names
// differ where one of them is in a section that may be absent, that two lists
// name no issuer twice, and what depends on three fields.
//
// For Kong a field that has a default is never absent, and null where there is
// none. {"required": true} therefore matches a field that is set.

// EntityChecks are the rules across the top level of a configuration.
func (Config) EntityChecks() []map[string]any {
	checks := append(tablesource.EntityChecks(),
		map[string]any{"at_least_one_of": []string{"file", "session", "jwt", "introspection", "api_token", "mtls", "spiffe", "gateway_token", "login"}},
		map[string]any{"conditional_at_least_one_of": map[string]any{
			"if_field": "token_cookie", "if_match": section.Set(),
			"then_at_least_one_of": []string{"jwt", "introspection", "gateway_token"},
			"then_err":             "token_cookie needs one of %s to verify the token",
		}})
	verified := func(field string, present map[string]any, more ...string) map[string]any {
		return map[string]any{"conditional_at_least_one_of": map[string]any{
			"if_field": field, "if_match": present,
			"then_at_least_one_of": append([]string{"jwt", "introspection", "session", "gateway_token"}, more...),
			"then_err":             field + " needs one of %s to verify the token",
		}}
	}
	checks = append(checks, verified("token_headers", section.Filled(), "api_token"), verified("token_query_parameter", section.Set()))
	return append(checks, aloneWithFileChecks()...)
}

// aloneWithFileChecks refuse every other field beside file: one that has no
// default must be absent, one that has must be left as it is. Lists and maps
// with a default cannot be compared in Kong.
func aloneWithFileChecks() []map[string]any {
	var without []string
	var checks []map[string]any
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		field := t.Field(i)
		key := setting.Key(field)
		_, hasDefault := field.Tag.Lookup("default")
		switch {
		case key == "file":
		case field.Type.Kind() == reflect.Struct:
			checks = append(checks, leftAloneChecks(key, field.Type)...)
		case hasDefault:
			checks = append(checks, leftAlone(key, field)...)
		default:
			without = append(without, key)
		}
	}
	exclusive := map[string]any{"mutually_exclusive_sets": map[string]any{"set1": []string{"file"}, "set2": without}}
	return append([]map[string]any{exclusive}, checks...)
}

func leftAloneChecks(path string, section reflect.Type) []map[string]any {
	var checks []map[string]any
	for i := range section.NumField() {
		field := section.Field(i)
		checks = append(checks, leftAlone(setting.Join(path, setting.Key(field)), field)...)
	}
	return checks
}

func leftAlone(path string, field reflect.StructField) []map[string]any {
	switch field.Type.Kind() {
	case reflect.Bool, reflect.Int, reflect.Float64, reflect.String:
		normal := setting.Default(field.Type, field.Tag.Get("default")).Interface()
		return []map[string]any{{"conditional": map[string]any{
			"if_field": "file", "if_match": section.Set(),
			"then_field": path, "then_match": map[string]any{"eq": normal},
			"then_err": path + " cannot be set beside %s; move it to that file",
		}}}
	}
	return nil
}
