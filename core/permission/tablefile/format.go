package tablefile

import (
	"gatehouse/core"
	"gatehouse/core/actor"
	"gatehouse/core/permission"
	"gatehouse/core/permission/askfile"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/strictyaml"
)

// The file format, written down once: the parser takes the known strictyaml.Keys and its
// suggestions from here, and the JSON Schema its names and descriptions.

var tableKeys = strictyaml.Keys{
	{Name: "permissions", Schema: mapOf(permissionKeys.JSONSchema()),
		Doc: "The permissions of this table by name. A call that no activity covers is denied."},
	{Name: "roles", Schema: mapOf(listOf(text("A permission, or role:NAME to include another role."))),
		Doc: "The roles by name. Each lists permissions, or role:NAME for everything that role grants."},
	{Name: "scopes", Schema: mapOf(listOf(text("A permission."))),
		Doc: "OAuth 2.0 scopes by name, each with the permissions it grants. An entry here replaces the grant that a scope has by being named like a permission."},
	{Name: "subjects", Schema: mapOf(listOf(text("A permission, or role:NAME to grant what a role grants."))),
		Doc: "Patterns of SPIFFE IDs, each with the permissions that the workloads have whose ID matches, or role:NAME. In a path * stands for any characters of one segment, and ** as the last segment for one or more segments. Only the ID of an SVID counts (section spiffe of the configuration), no text of another credential."},
	{Name: "actors", Schema: schema{"type": "object", "additionalProperties": listOf(text("A permission, or role:NAME for what a role grants.")), "propertyNames": schema{"minLength": 1, "maxLength": actor.MaxID}},
		Doc: "Actors of delegated credentials (claim act, RFC 8693 section 4.1) by their ids, each with the permissions that they may use of those that the subject has, or role:NAME. An id is ISSUER#SUB, or ISSUER?client_id=ID where the actor has no sub. In what follows the issuer * stands for any characters of one segment, and ** as the last segment for one or more segments. An actor that no entry matches may do nothing."},
	{Name: "actor_chain", Schema: boolean(false),
		Doc: "Whether every actor of a chain must have a permission. Normally the current, outermost one counts alone, and those before it are there to be read (RFC 8693 section 4.1)."},
	{Name: "implicit_scopes", Schema: boolean(true),
		Doc: "Whether a scope that is named like a permission grants it."},
	{Name: "path_variants", Schema: variantKeys.JSONSchema(),
		Doc: "Which paths an upstream may take for those that an activity of a permission or of authenticated covers. A call to such a path is denied, unless an activity that demands at least as much covers it."},
	{Name: "authenticated", Schema: listOf(activitySchema(overridableKeys, listed(mcpKeys))),
		Doc: "Activities that every authenticated caller may perform, whatever their permissions."},
	{Name: "optional", Schema: listOf(activitySchema(publicKeys, listed(openMCPKeys))),
		Doc: "Activities that anybody may perform; a caller who comes with a valid credential is identified."},
	{Name: "public", Schema: listOf(activitySchema(publicKeys, listed(openMCPKeys))),
		Doc: "Activities that anybody may perform without a credential. None is looked for, so the upstream learns of no caller."},
	{Name: "anonymous", Schema: anonymousKeys.JSONSchema(),
		Doc: "What a caller without a credential may do in addition. Every other caller may do it, too."},
}

var anonymousKeys = strictyaml.Keys{
	{Name: "permissions", Schema: listOf(text("A permission.")), Doc: "Permissions that everybody holds."},
	{Name: "roles", Schema: listOf(text("A role.")), Doc: "Roles whose permissions everybody holds."},
	{Name: "invalid_credential", Schema: schema{"type": "string", "enum": permission.InvalidCredentials, "default": permission.InvalidCredentials[0]},
		Doc: "What becomes of a credential that is not valid where a caller without one may make the call: refuse refuses the request, ignore_cookie lets one in a cookie count as none, ignore lets any count as none."},
}

// variantKeys are how an upstream may read paths.
var variantKeys = strictyaml.Keys{
	{Name: "case", Schema: variantSchema, Doc: "What becomes of a guarded path in another case."},
	{Name: "trailing_slash", Schema: variantSchema, Doc: "What becomes of a guarded path with a slash more or less at its end."},
	{Name: "suffixes", Schema: nonEmptyListOf(text("A suffix such as .json, or .* for every extension.")),
		Doc: "Suffixes with which a guarded path is refused."},
}

const refuse, allow = "refuse", "allow"

var permissionKeys = strictyaml.Keys{
	{Name: "description", Schema: text(""), Doc: "What the permission lets its holder do, for people."},
	{Name: "activities", Schema: listOf(activitySchema(activityKeys, nil)), Doc: "The calls that the permission allows."},
	{Name: "mcp", Schema: schema{"anyOf": []schema{mcpKeys.JSONSchema(), nonEmptyListOf(mcpKeys.JSONSchema())}},
		Doc: "The calls of the Model Context Protocol that the permission allows: one mapping, or a list of them."},
}

// mcpKeys are calls of the Model Context Protocol at one endpoint.
var mcpKeys = strictyaml.Keys{
	{Name: "endpoint", Schema: schema{"type": "string", "pattern": "^/", "maxLength": mcp.MaxEndpoint}, Required: true,
		Doc: "The canonical path of the endpoint, such as /mcp; no regex. On no host does any other activity cover calls by POST there."},
	{Name: "tools", Schema: nonEmptyListOf(text("A name of a tool, or a pattern.")),
		Doc: "Tools that may be called (tools/call). * stands for any characters but a slash, ** for any characters."},
	{Name: "resources", Schema: nonEmptyListOf(text("A URI of a resource, or a pattern.")),
		Doc: "Resources that may be read (resources/read), by their URIs or patterns."},
	{Name: "prompts", Schema: nonEmptyListOf(text("A name of a prompt, or a pattern.")),
		Doc: "Prompts that may be used (prompts/get), by their names or patterns."},
	{Name: "methods", Schema: nonEmptyListOf(text("A method such as tools/list.")),
		Doc: "Further methods of the protocol that may be used, such as server/discover and tools/list."},
	activityKeys[2], activityKeys[3],
}

// openMCPKeys lack "require", as publicKeys do.
var openMCPKeys = mcpKeys[: len(mcpKeys)-1 : len(mcpKeys)-1]

// listed are the keys of an activity in a list that is calls of the protocol.
func listed(mcp strictyaml.Keys) strictyaml.Keys {
	return strictyaml.Keys{{Name: "mcp", Schema: mcp.JSONSchema(), Required: true, Doc: "Calls of the Model Context Protocol."}}
}

var activityKeys = strictyaml.Keys{
	{Name: "methods", Schema: methodsSchema, Required: true,
		Doc: "HTTP methods in upper case. HEAD is not implied by GET. ANY stands for every method."},
	{Name: "path", Schema: pathSchema, Required: true,
		Doc: "A regular expression (RE2) that must match the whole canonical path, without the query."},
	{Name: "hosts", Schema: nonEmptyListOf(text("A host name, or *.DOMAIN for every name below a domain.")),
		Doc: "Host names for which the activity counts, without a port. Without this key it counts for every host."},
	{Name: "require", Schema: requireKeys.JSONSchema(), Doc: "What the call needs beside the permission. Everything listed must hold."},
}

var overridableKeys = append(activityKeys[:len(activityKeys):len(activityKeys)], strictyaml.Key{
	Name: "override", Schema: boolean(false),
	Doc: "Let this activity decide even where a stricter section covers the same call."})

// publicKeys lack "require": a caller without a credential meets no requirement.
var publicKeys = strictyaml.Keys{activityKeys[0], activityKeys[1], activityKeys[2], overridableKeys[len(overridableKeys)-1]}

var requireKeys = strictyaml.Keys{
	{Name: "all_scopes", Schema: nonEmptyListOf(text("A scope.")), Doc: "Scopes that the token must all carry, whatever else it may."},
	{Name: "any_scope", Schema: nonEmptyListOf(text("A scope.")), Doc: "Scopes of which the token must carry at least one."},
	{Name: "aal", Schema: oneOf(require.AssuranceLevels...), Doc: "The least authenticator assurance level. A credential that states none fails."},
	{Name: "max_age", Schema: text("A duration such as 90s, 15m or 12h."),
		Doc: "The greatest age of the authentication, in whole seconds. A credential that does not say when its user authenticated fails."},
	{Name: "credentials", Schema: nonEmptyListOf(oneOf(core.KindNames()...)), Doc: "The kinds of authentication that are good enough."},
	{Name: "proof", Schema: oneOf(require.ProofNames()...),
		Doc: "How the caller must have proven to hold the key that the credential is bound to: mtls, by the client certificate that the token is bound to (RFC 8705) or that is the credential itself; dpop, by a DPoP proof (RFC 9449); or any of them. A credential that is bound to no key fails."},
	{Name: "actor", Schema: schema{"anyOf": []schema{oneOf(require.NoActor, require.AnyActor), nonEmptyListOf(text("The id of an actor, as under actors."))}},
		Doc: "Who acts for the subject (claim act, RFC 8693 section 4.1): none, so that no delegated credential will do; any, so that no other one will; or a list of ids of actors, as under actors, of which the current one must be one."},
	{Name: "when", Schema: text("A CEL condition."),
		Doc: "A CEL condition over claims, method, host, query, headers, peer and path (the named groups of the path regex). The actor is claims.act. False, and any error such as a claim that is missing, denies."},
	{Name: "ask", Schema: askfile.Schema,
		Doc: "A question to the decision point (section authzen of the configuration, OpenID AuthZEN), or a list of questions that all have to be answered with yes. Texts may hold {claims.NAME}, {path.GROUP}, {headers.NAME}, {query.NAME}, {method}, {host} and {peer}; a value that is missing denies. While nobody answers, the call is denied with 503."},
}
