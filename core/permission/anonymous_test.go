package permission_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
)

// decideNobody is decide for a caller without a credential.
func decideNobody(table *permission.Table, c *core.Call) string {
	access := table.Match(context.Background(), c)
	switch {
	case access == nil:
		return "uncovered"
	case access.Public():
		return "public"
	}
	if err := access.(core.AnonymousAccess).AllowsAnonymous(context.Background(), c); err != nil {
		return err.Error()
	}
	return "anonymous"
}

const openTable = `permissions:
  catalog:read: {activities: ["GET /catalog", "GET /shared"]}
  catalog:price:
    activities:
      - {methods: [GET], path: /price, require: {when: "headers['x-shop'] == 'de'"}}
      - {methods: [GET], path: /mine, require: {when: has(claims.sub)}}
      - {methods: [GET], path: /theirs, require: {when: "!has(claims.sub)"}}
      - {methods: [GET], path: /claim, require: {when: "claims.sub != 'ada'"}}
      - {methods: [GET], path: /strong, require: {aal: aal1}}
      - {methods: [GET], path: /recent, require: {max_age: 1h}}
      - {methods: [GET], path: /by-token, require: {credentials: [jwt]}}
      - {methods: [GET], path: /scoped, require: {all_scopes: [s]}}
      - {methods: [GET], path: /one-scope, require: {any_scope: [s]}}
  admin: {activities: ["GET /admin", "GET /shared-admin", "GET /optional-over-admin", "GET /both-over-admin"]}
  other: {activities: ["GET /shared-admin"]}
roles:
  guest: [role:reader, catalog:price]
  reader: [catalog:read]
  boss: [admin]
authenticated:
  - GET /me
  - GET /me-too
optional:
  - GET /
  - GET /me
  - GET /news
  - {methods: [GET], path: /optional-over-admin, override: true}
  - {methods: [GET], path: /both-over-admin, override: true}
  - {methods: [GET], path: /me-too, override: true}
public:
  - GET /news
  - GET /healthz
  - {methods: [GET], path: /both-over-admin, override: true}
anonymous: {roles: [guest]}
`

func TestCallersWithoutACredential(t *testing.T) {
	table := load(t, openTable)
	named := &core.Principal{Subject: "ada", Kind: core.KindSession}
	lacks := "insufficient scope: permission admin is not granted (enough: admin)"
	for path, want := range map[string]struct{ nobody, named string }{
		"/":                    {"anonymous", "allowed"},
		"/healthz":             {"public", "public"},
		"/news":                {"anonymous", "allowed"}, // optional is stricter than public
		"/me":                  {"no credential", "allowed"},
		"/me-too":              {"anonymous", "allowed"},
		"/catalog":             {"anonymous", "allowed"},
		"/admin":               {"no credential", lacks},
		"/optional-over-admin": {"anonymous", "allowed"},
		"/both-over-admin":     {"public", "public"},
		"/price":               {"no credential", ""},
		"/mine":                {"no credential", "allowed"},
		"/theirs":              {"anonymous", ""},
		"/claim":               {"no credential", ""},
		"/strong":              {"no credential", "insufficient user authentication: needs assurance level aal1"},
		"/recent":              {"no credential", "insufficient user authentication: needs an authentication no older than 1h0m0s"},
		"/by-token":            {"no credential", "forbidden: the credential is of kind session, and only jwt will do"},
		"/scoped":              {"no credential", "insufficient scope: the activity also needs scope s (enough: catalog:price s)"},
		"/one-scope":           {"no credential", "insufficient scope: the activity also needs one of the scopes s (enough: catalog:price s)"},
		"/nothing":             {"uncovered", "uncovered"},
	} {
		if got := decideNobody(table, call("GET", path)); got != want.nobody {
			t.Errorf("%s of nobody: %s, want %s", path, got, want.nobody)
		}
		if got := decide(table, call("GET", path), named); got != want.named && (want.named != "" || !strings.HasPrefix(got, "forbidden: condition")) {
			t.Errorf("%s of ada: %s, want %s", path, got, want.named)
		}
	}
	if got := decideNobody(table, call("GET", "/price", core.Header{Name: "X-Shop", Value: "de"})); got != "anonymous" {
		t.Errorf("a condition that asks nothing of the caller: %s", got)
	}
}

// Signing in takes no permission away: whoever has a name holds what everybody does.
func TestEverybodyHoldsThePermissionsOfAnonymous(t *testing.T) {
	table := load(t, openTable)
	p := &core.Principal{Subject: "ada", Roles: []string{"boss"}}
	if got := table.Permissions(p); !slices.Equal(got, []string{"admin", "catalog:price", "catalog:read"}) {
		t.Errorf("%v", got)
	}
	for name, want := range map[string]bool{"catalog:read": true, "catalog:price": true, "admin": false, "nowhere": false} {
		if table.Holds(nil, name) != want || want && !table.Holds(p, name) {
			t.Errorf("%s is held by nobody: %t", name, !want)
		}
		if g, _ := table.Grantors(name); g.Anonymous != want {
			t.Errorf("%s: %+v", name, g)
		}
	}
}

func TestCredentialThatDoesNotHoldIsRefusedUnlessTheTableSaysOtherwise(t *testing.T) {
	for setting, want := range map[string][2]bool{"": {}, "refuse": {}, "ignore_cookie": {true, false}, "ignore": {true, true}} {
		text := "optional: [GET /]\n"
		if setting != "" {
			text += "anonymous: {invalid_credential: " + setting + "}\n"
		}
		access := load(t, text).Match(context.Background(), call("GET", "/")).(core.AnonymousAccess)
		for i, explicit := range []bool{false, true} {
			if got := access.IgnoresInvalid(call("GET", "/"), explicit); got != want[i] {
				t.Errorf("%q, explicit %t: ignored %t", setting, explicit, got)
			}
		}
	}
}

// A table without optional and anonymous opens nothing to callers without a credential
// but what is public, whatever else it holds.
func TestNoCredentialOpensNothingUnlessTheTableSaysSo(t *testing.T) {
	table := load(t, plainest, "authenticated: [GET /me]\nroles: {anonymous: [users:read], \"\\u0061nonymous2\": [users:read]}\nscopes: {anonymous: [users:read]}")
	for _, path := range []string{"/users", "/users/7", "/me"} {
		if got := decideNobody(table, call("GET", path)); got != "no credential" {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// FuzzAccessWithoutACredential: what nobody may do, everybody with a bare credential
// may do, unless a condition says otherwise; and only public, optional or a permission
// of anonymous lets nobody in.
func FuzzAccessWithoutACredential(f *testing.F) {
	for seed := range uint64(600) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		g := newModelMaker(seed)
		file := g.file()
		table, err := compileAtNoon(file)
		if err != nil {
			return
		}
		all := permission.Activities(file)
		for range 40 {
			c := g.call()
			access := table.Match(context.Background(), c)
			nobody := decideNobody(table, c)
			if nobody != "anonymous" {
				continue
			}
			opens, conditions := false, false
			for _, i := range permission.Deciding(access) {
				a := all[i]
				conditions = conditions || a.Require.When != ""
				opens = opens || a.Section == permission.InOptional || a.Section == permission.InPermission && table.Holds(nil, a.Permission) && table.ActivityAllows(i, c, nil) == nil
			}
			if !opens {
				t.Errorf("%s %s is open to nobody by no activity", c.Method, c.Path)
			}
			if p := g.principal(); !conditions && decide(table, c, p) != "allowed" {
				t.Errorf("%s %s: nobody may, and %+v may not: %s", c.Method, c.Path, p, decide(table, c, p))
			}
		}
	})
}

// A permission that everybody holds demands less than a valid credential, so it opens
// no variant of a path that needs one.
func TestPermissionOfAnonymousOpensNoVariantOfAGuardedPath(t *testing.T) {
	const text = `
permissions:
  open: {activities: ["GET /(?i)ME", "GET /catalog"]}
  strong: {activities: [{methods: [GET], path: "/(?i)ME", require: {aal: aal1}}]}
authenticated: [GET /me]
anonymous: {permissions: [open]}
path_variants: {case: refuse}
`
	table := load(t, text)
	for path, want := range map[string]string{"/me": "anonymous", "/Me": "no credential", "/catalog": "anonymous", "/Catalog": "uncovered"} {
		if got := decideNobody(table, call("GET", path)); got != want {
			t.Errorf("%s of nobody: %s, want %s", path, got, want)
		}
	}
	if got := decide(table, call("GET", "/Me"), &core.Principal{Permissions: []string{"strong"}, AAL: "aal1"}); got != "allowed" {
		t.Errorf("a permission that demands a credential: %s", got)
	}
	table = load(t, strings.Replace(text, "require: {aal: aal1}", "require: {when: method == 'GET'}", 1), "optional: ['GET /Me']")
	if got := decideNobody(table, call("GET", "/Me")); got != "no credential" {
		t.Errorf("beside a permission that some hold: %s", got)
	}
	if got := decideNobody(load(t, "authenticated: [GET /me]\noptional: ['GET /Me']\npath_variants: {case: refuse}"), call("GET", "/Me")); got != "uncovered" {
		t.Errorf("an optional variant of a guarded path: %s", got)
	}
}
