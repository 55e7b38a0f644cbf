// Package schema does to a plugin's config what Kong does: it reads the schema
// that the plugin's dump carries, as strictly as Kong's metaschema does, fills
// in defaults, validates with Kong's own wording, and resolves references to
// the environment vault.
//
// What Kong would accept but this package cannot do is an error that says so;
// nothing is passed over. Values are those of encoding/json: nil, bool,
// float64, string, []any, map[string]any.
package schema
