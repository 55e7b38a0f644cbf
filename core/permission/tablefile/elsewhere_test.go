package tablefile

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each key that a hint names stands where the hint says.
func TestHintsForKeysOfOtherFormatsAreTrue(t *testing.T) {
	const follows = `
permissions:
  p: {description: d, activities: ["GET /users/[^/]+", {methods: [GET], path: /a, hosts: [a.test], require: {all_scopes: [s], aal: aal2, max_age: 1h, credentials: [session], when: "true"}}]}
  q: {activities: [{methods: [GET], path: /b, require: {any_scope: [s]}}]}
roles: {r: [p, "role:s"], s: [q]}
authenticated: [GET /c]
public: [GET /d]
optional: [GET /e]
subjects: {"spiffe://a.test/web": [p]}
anonymous: {permissions: [q], roles: [s], invalid_credential: ignore}
`
	if _, err := Parse("follows", []byte(follows)); err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, m := range mappings {
		known = append(known, m.keys.Names()...)
	}
	seen := map[string]bool{}
	for names, what := range otherwise {
		for name := range strings.SplitSeq(names, ", ") {
			if seen[name] || slices.Contains(known, name) {
				t.Errorf("%s is listed twice, or is a key", name)
			}
			seen[name] = true
			_, err := Parse("t.yaml", []byte(name+": x\n"+strings.TrimPrefix(follows, "\n")))
			if err == nil || !strings.Contains(err.Error(), "; "+what+";") && !strings.Contains(err.Error(), "did you mean") {
				t.Errorf("%s: %v, want %s", name, err, what)
			}
		}
		words := regexp.MustCompile(`[a-z_]+`).FindAllString(what, -1)
		if !slices.ContainsFunc(words, func(w string) bool { return slices.Contains(known, w) }) && !strings.Contains(what, "role:NAME") && !strings.Contains(what, "settings") && !strings.Contains(what, "is denied") {
			t.Errorf("%q names no key", what)
		}
	}
}

func TestKeyInTheWrongPlaceOfATable(t *testing.T) {
	for text, want := range map[string]string{
		"activities: [GET /a]\n": `the table: unknown key "activities"; activities is a key of a permission;`,
		"when: x\n":              `the table: unknown key "when"; when is a key of require of an activity;`,
		"permissions: {p: {activities: [GET /a], require: {aal: aal2}}}\n": `permission "p": unknown key "require"; require is a key of an activity of a permission or of authenticated;`,
		"authenticated: [{methods: [GET], path: /a, all_scopes: [x]}]\n":   `unknown key "all_scopes"; all_scopes is a key of require of an activity;`,
		"permissions: {p: {activities: [GET /a], required_scopes: [x]}}\n": `permission "p": unknown key "required_scopes"; an activity names scopes in require, as all_scopes or any_scope;`,
		"jwt: {}\npublic: [GET /a]\n":                                      `the table: unknown key "jwt"; settings are in the configuration of the gate and not in a table;`,
	} {
		if _, err := Parse("t.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
