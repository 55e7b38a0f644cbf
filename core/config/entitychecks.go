package config

import (
	"reflect"

	"gatehouse/core/config/alone"
	"gatehouse/core/config/section"
	"gatehouse/core/config/tablesource"
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
	return append(checks, alone.EntityChecks(reflect.TypeFor[Config]())...)
}
