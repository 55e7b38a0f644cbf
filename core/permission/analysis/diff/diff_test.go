package diff

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/tablefile"
)

// version compiles a table that is written in the test.
func version(t testing.TB, name, text string) Version {
	t.Helper()
	file, err := tablefile.Parse(name, []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return Version{Table: table, Files: []*permission.File{file}}
}

// TestDiffAgreesWithDecisions compares what Diff says about random pairs of
// tables with what the tables decide, call by call and caller by caller.
func TestDiffAgreesWithDecisions(t *testing.T) {
	for seed := range uint64(600) {
		r := rand.New(rand.NewPCG(seed, 1))
		manyRelevant = int(seed % 2 * 50) // find overlaps one by one, or all at once
		base := randomTable(r)
		older, newer := version(t, "old", base.String()), version(t, "new", base.changed(r).String())
		d, err := Diff(older, newer)
		if err != nil {
			t.Fatal(err)
		}
		checkWitnesses(t, older, newer, d)
		checkNothingIsMissed(t, older, newer, d)
		if t.Failed() {
			t.Fatalf("seed %d\n%s\n%s", seed, base, "differs")
		}
	}
}

// randomly written tables, small enough for every call to be tried.
type randomRules []string

var (
	somePaths  = []string{`/a`, `/a/.*`, `/[ab]`, `/[^/]+`, `/a/[^/]+`, `/(a|b)/x?`, `/.*`, `/a/b`, `/[^a].*`, `/b/?`}
	someWays   = []string{"GET", "POST", "ANY", "GET,POST"}
	someOwners = []string{"p", "q", "authenticated", "optional", "public"}
	// someAnonymous is what callers without a credential hold.
	someAnonymous = []string{"{}", "{}", "{permissions: [p]}", "{roles: [r]}", "{permissions: [q]}"}
	someExtras    = []string{"", "", "", ", require: {aal: aal2}", ", hosts: [h.test]"}
)

func randomRule(r *rand.Rand) string {
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	owner, extra := pick(someOwners), pick(someExtras)
	switch {
	case (owner == "public" || owner == "optional") && strings.Contains(extra, "require"):
		extra = ""
	case (owner == "public" || owner == "optional" || owner == "authenticated") && r.IntN(4) == 0:
		extra += ", override: true"
	}
	return fmt.Sprintf("%s|{methods: [%s], path: %q%s}", owner, strings.ReplaceAll(pick(someWays), ",", ", "), pick(somePaths), extra)
}

func randomTable(r *rand.Rand) randomRules {
	rules := randomRules{fmt.Sprint("roles|  r: ", []string{"[p]", "[q]", "[p, q]"}[r.IntN(3)]), "anonymous|" + someAnonymous[r.IntN(len(someAnonymous))]}
	for range 1 + r.IntN(4) {
		rules = append(rules, randomRule(r))
	}
	return rules
}

func (t randomRules) changed(r *rand.Rand) randomRules {
	c := slices.Clone(t)
	switch r.IntN(5) {
	case 0:
		return append(c, randomRule(r))
	case 1:
		if len(c) > 3 {
			return slices.Delete(c, 2, 3)
		}
	case 2:
		c[0] = "roles|  r: [q]"
		return c
	case 3:
		c[1] = "anonymous|" + someAnonymous[r.IntN(len(someAnonymous))]
		return c
	}
	c[len(c)-1] = randomRule(r)
	return c
}

func (t randomRules) String() string {
	parts := map[string][]string{}
	for _, rule := range t {
		owner, line, _ := strings.Cut(rule, "|")
		parts[owner] = append(parts[owner], line)
	}
	var b strings.Builder
	b.WriteString("permissions:\n")
	for _, p := range []string{"p", "q"} {
		fmt.Fprintf(&b, "  %s:\n    activities: [%s]\n", p, strings.Join(parts[p], ", "))
	}
	if anonymous := parts["anonymous"]; anonymous != nil {
		fmt.Fprintf(&b, "anonymous: %s\n", anonymous[0])
	}
	for _, s := range []string{"authenticated", "optional", "public"} {
		fmt.Fprintf(&b, "%s: [%s]\n", s, strings.Join(parts[s], ", "))
	}
	b.WriteString("roles:\n" + strings.Join(parts["roles"], "\n") + "\n")
	return b.String()
}

// principals are everybody that a Diff can tell apart, each with both levels of
// assurance.
func principals(w Who) []*core.Principal {
	if w.Kind == Anybody {
		return []*core.Principal{nil}
	}
	var list []*core.Principal
	for _, aal := range []string{"aal1", "aal2"} {
		p := &core.Principal{AAL: aal}
		switch w.Kind {
		case ByRole:
			p.Roles = []string{w.Name}
		case ByScope:
			p.Scopes = []string{w.Name}
		case ByPermission:
			p.Permissions = []string{w.Name}
		}
		list = append(list, p)
	}
	return list
}

func allowed(v Version, c analysis.Call, p *core.Principal) bool {
	ok, _ := decided(v, c, p)
	return ok
}

// decided says whether a caller may make a call, and whether a caller is looked for.
func decided(v Version, c analysis.Call, p *core.Principal) (ok, looked bool) {
	host := c.Host
	if host == "" {
		host = "other.example"
	}
	call := &core.Call{Request: &core.Request{Method: c.Method, Target: c.Target(), Host: host}, Path: c.Path}
	access := v.Table.Match(context.Background(), call)
	switch {
	case access == nil:
		return false, false
	case access.Public():
		return true, false
	case p == nil:
		return access.(core.AnonymousAccess).AllowsAnonymous(context.Background(), call) == nil, true
	}
	return access.Allows(context.Background(), call, p) == nil, true
}

// checkWitnesses tries every witness on both tables.
func checkWitnesses(t *testing.T, older, newer Version, d *Difference) {
	t.Helper()
	for _, c := range d.Changes {
		for _, method := range c.Methods {
			call := c.Witness
			call.Method = method
			shown := c.Direction == Names && named(older, newer, call) || c.Direction == Unnames && named(newer, older, call)
			for _, p := range principals(c.Who) {
				was, is := allowed(older, call, p), allowed(newer, call, p)
				shown = shown || c.Direction == LetsIn && is && !was || c.Direction == ShutsOut && was && !is
			}
			if !shown {
				t.Errorf("%s %s: %s is no witness", c.Who, c.Direction, call.String())
			}
		}
	}
}

// named reports whether anybody may make a call in both tables, and a caller is looked
// for in the second only.
func named(without, with Version, c analysis.Call) bool {
	free, looked := decided(without, c, nil)
	open, finds := decided(with, c, nil)
	return free && open && !looked && finds
}

// checkNothingIsMissed tries many calls, and looks for a change that covers
// each that is decided otherwise.
func checkNothingIsMissed(t *testing.T, older, newer Version, d *Difference) {
	t.Helper()
	everybody := []Who{{Anybody, ""}, {Credential, ""}, {ByRole, "r"}, {ByScope, "p"}, {ByScope, "q"}, {ByPermission, "p"}, {ByPermission, "q"}}
	for _, path := range []string{"/", "/a", "/b", "/c", "/a/", "/a/b", "/a/x", "/b/", "/b/x", "/c/x", "/a/b/c", "/ab"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			for _, host := range []string{"h.test", "other.test"} {
				call := analysis.Call{Method: method, Host: host, Path: path}
				for direction, is := range map[Direction]bool{Names: named(older, newer, call), Unnames: named(newer, older, call)} {
					if is && !slices.ContainsFunc(d.Changes, func(c Change) bool { return c.Direction == direction }) {
						t.Errorf("%s: no change says %s", call.String(), direction)
					}
				}
				for _, w := range everybody {
					for _, p := range principals(w) {
						call := analysis.Call{Method: method, Host: host, Path: path}
						was, is := allowed(older, call, p), allowed(newer, call, p)
						if was != is && !covered(d, w, is) {
							t.Errorf("%s: %s was %t, is %t, and no change says so", w, call.String(), was, is)
						}
					}
				}
			}
		}
	}
}

func covered(d *Difference, w Who, in bool) bool {
	direction := map[bool]Direction{true: LetsIn, false: ShutsOut}[in]
	return slices.ContainsFunc(d.Changes, func(c Change) bool {
		return c.Direction == direction && (c.Who == w || c.Who.Name == "")
	})
}

func TestDiffOfEqualTablesIsEmpty(t *testing.T) {
	for seed := range uint64(100) {
		table := randomTable(rand.New(rand.NewPCG(seed, 2)))
		reversed := slices.Clone(table)
		slices.Reverse(reversed)
		for i := range reversed {
			reversed[i] = strings.ReplaceAll(strings.ReplaceAll(reversed[i], `[^/]+`, `(?:[^/a]|a)(?:[^/]*)`), `/[ab]`, `/(?:b|a)`)
		}
		d, err := Diff(version(t, "old", table.String()), version(t, "new", reversed.String()))
		if err != nil {
			t.Fatal(err)
		}
		if !d.Empty() {
			t.Fatalf("seed %d: %v\n%s\n%s", seed, d.Changes, table, reversed)
		}
	}
}

func TestDiffOfWhatBecomesOfABadCredential(t *testing.T) {
	for name, c := range map[string]struct {
		older, newer string
		want         [2]string
	}{
		"ignored from now on": {"optional: [GET /]", "optional: [GET /]\nanonymous: {invalid_credential: ignore}", [2]string{"refuse", "ignore"}},
		"the default written": {"optional: [GET /]", "optional: [GET /]\nanonymous: {invalid_credential: refuse}", [2]string{}},
		"no such call":        {"authenticated: [GET /]", "authenticated: [GET /]\nanonymous: {invalid_credential: ignore}", [2]string{}},
		"by a permission":     {"permissions: {p: {activities: [GET /]}}\nanonymous: {permissions: [p], invalid_credential: ignore}", "permissions: {p: {activities: [GET /]}}\nanonymous: {permissions: [p], invalid_credential: ignore_cookie}", [2]string{"ignore", "ignore_cookie"}},
	} {
		d, err := Diff(version(t, "old", c.older+"\n"), version(t, "new", c.newer+"\n"))
		if err != nil || d.Invalid != c.want || d.Empty() != (c.want == [2]string{}) || d.Widening() {
			t.Errorf("%s: %v, empty %t, widening %t, %v", name, d.Invalid, d.Empty(), d.Widening(), err)
		}
	}
}

// An upstream learns of a caller under optional and not under public.
func TestDiffOfPublicAndOptional(t *testing.T) {
	public, optional := version(t, "public", "public: [GET /]\n"), version(t, "optional", "optional: [GET /]\n")
	for direction, pair := range map[Direction][2]Version{Names: {public, optional}, Unnames: {optional, public}} {
		d, err := Diff(pair[0], pair[1])
		if err != nil || len(d.Changes) != 1 || d.Changes[0].Direction != direction || d.Widening() || d.Empty() {
			t.Errorf("%s: %+v, %v", direction, d, err)
		}
	}
}
