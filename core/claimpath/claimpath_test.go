package claimpath

import (
	"encoding/json"
	"testing"
)

func TestPathTakesMembersKeysAndUnions(t *testing.T) {
	var claims map[string]any
	err := json.Unmarshal([]byte(`{
		"roles": [{"name": "admin", "of": ["a", "b"]}, {"name": "clerk"}, {"id": 1}, "text", null, {"name": null}],
		"flat": ["x", "y"], "one": "z", "empty": [], "nothing": null,
		"urn:zitadel:iam:org:project:roles": {"writer": {"1": "acme"}, "reader": {}},
		"realm_access": {"roles": ["r1"]}, "resource_access": {"my.client": {"roles": ["c1", "c2"]}},
		"teams": [{"grants": [{"role": "g1"}, {"role": "g2"}]}, {"grants": [{"role": "g3"}]}],
		"https://x.test/roles": [{"name": "n"}]
	}`), &claims)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"roles[].name":          `["admin","clerk"]`,
		"roles[*].name":         `["admin","clerk"]`,
		"roles[].of":            `["a","b"]`,
		"flat[]":                `["x","y"]`,
		"flat[].name":           `[]`,
		"empty[].name":          `[]`,
		"one[].name":            `absent`,
		"realm_access[].roles":  `absent`,
		"nothing[].name":        `absent`,
		"teams[].grants[].role": `["g1","g2","g3"]`,
		"keys(urn:zitadel:iam:org:project:roles)": `["reader","writer"]`,
		"keys(flat)":                      `absent`,
		"keys(one)":                       `absent`,
		"keys(no)":                        `absent`,
		"keys(resource_access)":           `["my.client"]`,
		"/https:~1~1x.test~1roles[]/name": `["n"]`,
		"realm_access.roles + /resource_access/my.client/roles":  `["r1","c1","c2"]`,
		"realm_access.roles + one + no":                          `["r1","z"]`,
		"no + nothing":                                           `absent`,
		"no + empty":                                             `[]`,
		"roles[].name + keys(urn:zitadel:iam:org:project:roles)": `["admin","clerk","reader","writer"]`,
	} {
		p, err := Parse(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		value, ok := p.Lookup(claims)
		got, _ := json.Marshal(value)
		if !ok {
			got = []byte("absent")
		}
		if string(got) != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestPathThatCannotBeRead(t *testing.T) {
	for text, want := range map[string]string{
		"roles[0].name":        `claim path "roles[0].name" has the step "roles[0]": only [] can follow a name, which takes every member of a list`,
		"a.[].b":               `claim path "a.[].b" has an empty step`,
		"[]":                   `claim path "[]" has an empty step`,
		"keys(a":               `claim path "keys(a" has no closing parenthesis`,
		"keys()":               `claim path "keys()" has an empty step`,
		"a + ":                 `claim path "" has an empty step`,
		"roles[":               `claim path "roles[" has the step "roles[": only [] can follow a name, which takes every member of a list`,
		"roles.*.name":         `claim path "roles.*.name" holds a pattern of another notation: roles[].name takes a member of each object of a list, keys(roles) the names in an object`,
		"{.roles}":             `claim path "{.roles}" holds a pattern of another notation: roles[].name takes a member of each object of a list, keys(roles) the names in an object`,
		"roles[?name]":         `claim path "roles[?name]" holds a pattern of another notation: roles[].name takes a member of each object of a list, keys(roles) the names in an object`,
		"$.roles":              `claim path "$.roles" begins with $, as in JSONPath; leave that out, as in roles[].name`,
		"roles +":              `claim path "roles +" holds a character that only a JSON pointer can hold: write the name of one claim as "/roles +", and a union as "a + b"`,
		"a+b":                  `claim path "a+b" holds a character that only a JSON pointer can hold: write the name of one claim as "/a+b", and a union as "a + b"`,
		"https://x.test/roles": `claim path "https://x.test/roles" is read as steps between dots; write the name of one claim as "/https:~1~1x.test~1roles"`,
		"a[][]":                `claim path "a[][]" has the step "a[][]": only [] can follow a name, which takes every member of a list`,
	} {
		if _, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for _, advice := range []string{"/roles +", "/a+b", "/a*b/{c}", "/https:~1~1x.test~1roles", "roles[].name", "roles[*].name", "a + b", "cognito:groups", "custom:role-2", "@type", "ext.x_y"} {
		if _, err := Parse(advice); err != nil {
			t.Error(err)
		}
	}
}
