package tablefile

import (
	"slices"
	"strings"

	"gatehouse/core/permission/askfile"
	"gatehouse/core/permission/strictyaml"
)

// mappings are those of a table that have keys of their own.
var mappings = []struct {
	where string
	keys  strictyaml.Keys
}{
	{"the table", tableKeys},
	{"a permission", permissionKeys},
	{"an activity of a permission or of authenticated", activityKeys},
	{"an activity of authenticated, optional or public", overridableKeys},
	{"anonymous", anonymousKeys},
	{"require of an activity", requireKeys},
	{"mcp of a permission", mcpKeys},
	{"ask of require", askfile.Keys},
}

// otherwise are names for what a table says otherwise, with what that is.
var otherwise = map[string]string{
	"rules, allow, allowed, acl, policies, routes, endpoints, paths, uris, uri, url, urls, match": `calls are listed under activities of a permission, as in "GET /users/[^/]+"`,
	"tool, mcp_tools, allowed_tools, allow_tools, mcp_allow, mcp_rules":                           "tools of an MCP server are listed under mcp of a permission, as in {endpoint: /mcp, tools: [get_weather]}",
	"method, verbs, verb, http_methods":                                                           "an activity names methods",
	"host, domain, domains":                                                                       "an activity names hosts",
	"optional_auth, optional_authentication, allow_missing, allow_missing_or_failed, permissive, allow_anonymous, maybe_authenticated": "calls that anybody may make, and that name a caller who has a credential, are listed under optional",
	"anonymous_consumer, guest, guests, anon, anonymous_role, anonymous_roles, anonymous_permissions":                                  "what callers without a credential may do is listed under anonymous",
	"bad_credential, invalid_credentials, bad_credentials, on_invalid, invalid_token, ignore_invalid":                                  "what becomes of a credential that does not hold is stated under anonymous, as invalid_credential",
	"noop, skip_auth_routes, skip_auth, unauthenticated, open, bypass":                                                                 "calls that anybody may make are listed under public",
	"any, everybody, logged_in, signed_in, default, users":                                                                             "calls that every caller may make who has a credential are listed under authenticated",
	"deny, denied, forbid, blacklist, block":                                                                                           "a call that no activity covers is denied, and nothing else is",
	"scope, required_scopes, scopes_required, required_scope, mandatory_scope":                                                         "an activity names scopes in require, as all_scopes or any_scope",
	"role, required_roles, required_role, roles_required, groups, group, allowed_roles, allowed_groups, allow_groups, acls":            "roles list the permissions that they grant, under roles",
	"condition, conditions, if, claims, claim, claims_to_verify, auth_jwt_require, expression, filter, cel":                            "an activity states a condition in require, as when",
	"opa, authzen, evaluation, check, relation, relations, fga, openfga, cerbos, pdp, ext_authz, policy":                               "an activity asks a decision point in require, as ask",
	"acr, acr_values, mfa, level, required_aal":                                                                                        "an activity demands an assurance level in require, as aal",
	"max_auth_age, auth_time, reauthenticate, refresh":                                                                                 "an activity demands a recent sign-in in require, as max_age",
	"cnf, mtls, dpop, proofs, proof_of_possession, sender_constrained, bound, client_certificate, certificate":                         "an activity demands a proof of possession in require, as proof",
	"authenticators, authenticator, kind, kinds, credential, auth_methods":                                                             "an activity demands a kind of credential in require, as credentials",
	"includes, inherits, extends, parents":                                                                                             "a role includes another one by role:NAME in its list",
	"workloads, workload, spiffe, spiffe_id, spiffe_ids, svid, svids, service_accounts, principals, identities":                        "what workloads may do by their SPIFFE IDs is listed under subjects",
	"act, agents, agent, delegates, delegate, delegation, delegated, may_act, impersonation, impersonators, on_behalf_of, actor_token": "what actors of delegated credentials may do is listed under actors, and an activity demands one in require, as actor",
	"title, summary, name, comment, doc":                                                                                               "a permission has a description",
	"config, file, realm, session, jwt, introspection, api_token, login, cache, path_options, upstream_headers, permission_table, permission_table_files, issuers, issuer, audience, token_cookie, file_version, version, kratos_url, hide_credentials": "settings are in the configuration of the gate and not in a table",
}

// elsewhere says where a key of a table belongs that stands in the wrong place.
func elsewhere(key string) string {
	for _, m := range mappings {
		if slices.Contains(m.keys.Names(), key) {
			return key + " is a key of " + m.where
		}
	}
	name := strings.ToLower(strings.ReplaceAll(key, "-", "_"))
	for names, what := range otherwise {
		if slices.Contains(strings.Split(names, ", "), name) {
			return what
		}
	}
	return ""
}
