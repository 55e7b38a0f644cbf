package section

import (
	"slices"

	"gatehouse/core/config/client"
)

// Set matches a field that has a value.
func Set() map[string]any { return map[string]any{"required": true} }

// Filled matches a list with something in it.
func Filled() map[string]any { return map[string]any{"required": true, "len_min": 1} }

// EntityChecks are the rules across the fields of an issuer.
func (Issuer) EntityChecks() []map[string]any {
	return append(audienceChecks(), map[string]any{"mutually_exclusive": []string{"jwks_uri", "jwks_file"}},
		map[string]any{"conditional": map[string]any{
			"if_field": "profile", "if_match": map[string]any{"eq": profileRFC9068},
			"then_field": "insecure_id_tokens", "then_match": map[string]any{"eq": false},
			"then_err": "%s is rfc9068, which insecure_id_tokens contradicts; remove one of them",
		}})
}

// EntityChecks are the rules across the fields of the introspection endpoint. A
// secret that is a vault reference is not known to Kong yet, and passes.
func (Introspection) EntityChecks() []map[string]any {
	const method = "introspection_endpoint_auth_method"
	needs := func(methods map[string]any, field string) map[string]any {
		return map[string]any{"conditional": map[string]any{"if_field": method, "if_match": methods, "then_field": field, "then_match": Set()}}
	}
	return append(slices.Concat(audienceChecks(), client.EntityChecks(method, authBearer, authHeader)),
		map[string]any{"mutually_exclusive": []string{"jwks_uri", "jwks_file"}},
		needs(map[string]any{"eq": "header"}, "introspection_endpoint_auth_header"),
		map[string]any{"conditional": map[string]any{
			"if_field": "introspection_endpoint_auth_header", "if_match": Set(), "then_field": method, "then_match": map[string]any{"eq": "header"},
		}},
		map[string]any{"conditional": map[string]any{
			"if_field": method, "if_match": map[string]any{"eq": "none"},
			"then_field": "client_secret", "then_match": map[string]any{"eq": nil},
			"then_err": "%s is none although client_secret is set; choose client_secret_basic, client_secret_post, bearer or header",
		}})
}

// audienceChecks are those of every section whose tokens have an audience.
func audienceChecks() []map[string]any {
	const anyAudience = "insecure_any_audience"
	return []map[string]any{
		{"conditional_at_least_one_of": map[string]any{
			"if_field": anyAudience, "if_match": map[string]any{"eq": false},
			"then_at_least_one_of": []string{"audience"},
			"then_err":             "%s is needed, so that a token for another service does not pass; or set " + anyAudience,
		}},
		{"conditional": map[string]any{
			"if_field": anyAudience, "if_match": map[string]any{"eq": true},
			"then_field": "audience", "then_match": map[string]any{"len_eq": 0},
			"then_err": "%s contradicts audience; remove one of them",
		}},
	}
}
