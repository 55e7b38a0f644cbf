package permission

import "gatehouse/core"

// The file format, written down once: the parser takes the known keys and its
// suggestions from here, and the JSON Schema its names and descriptions.

// key is one key of a mapping.
type key struct {
	name     string
	doc      string
	schema   schema
	required bool
}

// keys are all that one mapping may hold.
type keys []key

func (k keys) names() []string {
	names := make([]string, len(k))
	for i := range k {
		names[i] = k[i].name
	}
	return names
}

// Limits of the format. They are far above what a table needs and keep a
// broken or hostile file from costing more than a moment.
const (
	// MaxFile is the greatest size of a table file in bytes.
	MaxFile = 16 << 20
	maxName = 256
	maxPath = 2048
	maxWhen = 2048
)

var tableKeys = keys{
	{name: "permissions", schema: mapOf(object(permissionKeys)),
		doc: "The permissions of this table by name. A call that no activity covers is denied."},
	{name: "roles", schema: mapOf(listOf(text("A permission, or role:NAME to include another role."))),
		doc: "The roles by name. Each lists permissions, or role:NAME for everything that role grants."},
	{name: "scopes", schema: mapOf(listOf(text("A permission."))),
		doc: "OAuth 2.0 scopes by name, each with the permissions it grants. An entry here replaces the grant that a scope has by being named like a permission."},
	{name: "implicit_scopes", schema: boolean(true),
		doc: "Whether a scope that is named like a permission grants it."},
	{name: "authenticated", schema: listOf(activitySchema(overridableKeys)),
		doc: "Activities that every authenticated caller may perform, whatever their permissions."},
	{name: "public", schema: listOf(activitySchema(publicKeys)),
		doc: "Activities that anybody may perform without a credential."},
}

var permissionKeys = keys{
	{name: "description", schema: text(""), doc: "What the permission lets its holder do, for people."},
	{name: "activities", schema: listOf(activitySchema(activityKeys)), doc: "The calls that the permission allows."},
}

var activityKeys = keys{
	{name: "methods", schema: methodsSchema, required: true,
		doc: "HTTP methods in upper case. HEAD is not implied by GET. ANY stands for every method."},
	{name: "path", schema: pathSchema, required: true,
		doc: "A regular expression (RE2) that must match the whole canonical path, without the query."},
	{name: "hosts", schema: nonEmptyListOf(text("A host name, or *.DOMAIN for every name below a domain.")),
		doc: "Host names for which the activity counts, without a port. Without this key it counts for every host."},
	{name: "require", schema: object(requireKeys), doc: "What the call needs beside the permission. Everything listed must hold."},
}

var overridableKeys = append(activityKeys[:len(activityKeys):len(activityKeys)], key{
	name: "override", schema: boolean(false),
	doc: "Let this activity decide even where a stricter section covers the same call."})

// publicKeys lack "require": a caller nobody asked who they are meets none.
var publicKeys = keys{activityKeys[0], activityKeys[1], activityKeys[2], overridableKeys[len(overridableKeys)-1]}

var requireKeys = keys{
	{name: "all_scopes", schema: nonEmptyListOf(text("A scope.")), doc: "Scopes that the token must all carry, whatever else it may."},
	{name: "any_scope", schema: nonEmptyListOf(text("A scope.")), doc: "Scopes of which the token must carry at least one."},
	{name: "aal", schema: oneOf(assuranceLevels...), doc: "The least authenticator assurance level. A credential that states none fails."},
	{name: "max_age", schema: text("A duration such as 90s, 15m or 12h."),
		doc: "The greatest age of the authentication, in whole seconds. A credential that does not say when its user authenticated fails."},
	{name: "credentials", schema: nonEmptyListOf(oneOf(credentialKinds...)), doc: "The kinds of authentication that are good enough."},
	{name: "when", schema: text("A CEL condition."),
		doc: "A CEL condition over claims, method, host, query, headers, peer and path (the named groups of the path regex). False, and any error such as a claim that is missing, denies."},
}

var assuranceLevels = []string{"aal1", "aal2", "aal3"}

var credentialKinds = []string{string(core.KindSession), string(core.KindJWT), string(core.KindIntrospection)}

const rolePrefix = "role:"
