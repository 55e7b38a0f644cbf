package permission_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/tablefile"
	"gatehouse/core/permission/variant"
)

func compileAtNoon(files ...*permission.File) (*permission.Table, error) {
	return permission.Options{Now: func() time.Time { return noon }}.Compile(files...)
}

// TestModelBuiltByCodeIsCheckedWholly gives Compile what no parser has seen: a
// problem has the path of its part where there is no line.
func TestModelBuiltByCodeIsCheckedWholly(t *testing.T) {
	get := func(path string) permission.Activity {
		return permission.Activity{Methods: []string{"GET"}, Path: path}
	}
	long := strings.Repeat("x", 257)
	_, err := compileAtNoon(&permission.File{
		Permissions: []permission.Permission{
			{Name: "users:read", Activities: []permission.Activity{
				get("/users(["),
				{},
				{Methods: []string{"get", "GET", "GET"}, Path: "/a", Hosts: []string{"A", "b", "b"}},
				{Methods: []string{"GET"}, Path: "/b", Override: true},
			}},
			{Name: ""}, {Name: "role:x"}, {Name: long},
		},
		Authenticated: []permission.Activity{
			{Methods: []string{"ANY"}, Path: "/c", Require: require.Requirements{
				AllScopes: []string{"a b"}, AnyScope: []string{"s", "s"}, AAL: "aal4", MaxAge: -time.Second,
				Credentials: []string{"jwt", "password"}, Proof: "tls", When: "claims.x ==",
			}},
			{Methods: []string{"GET"}, Path: "/(?P<id>.*)", Require: require.Requirements{When: "path.user == '7'"}},
		},
		Optional:  []permission.Activity{{Methods: []string{"GET"}, Path: "/o", Require: require.Requirements{When: "has(claims.sub)"}}},
		Public:    []permission.Activity{{Methods: []string{"GET"}, Path: "/d", Require: require.Requirements{AAL: "aal1"}}},
		Anonymous: &permission.Anonymous{Grants: []permission.Grant{{Name: "a b"}, {Name: "", Role: true}, {Name: "p"}, {Name: "p"}}, InvalidCredential: "ignored"},
		Roles:     []permission.Role{{Name: " clerk", Grants: []permission.Grant{{Name: "q"}, {Name: "q"}}}, {Name: "\xff"}},
		Scopes:    []permission.Scope{{Name: "s", Grants: []permission.Grant{{Name: "clerk", Role: true}}}},
	}, nil)
	want := `anonymous.invalid_credential: "ignored" is not known; did you mean "ignore"?; use one of refuse, ignore_cookie, ignore
anonymous[0]: anonymous: permission "a b" is not a name that a scope may have (RFC 6749 section 3.3); use visible ASCII characters other than " \ and ,
anonymous[1]: anonymous: role "" names no role, or one with white space around it; write the name as it is
anonymous[3]: anonymous: "p" is listed twice, first at anonymous[2]; remove one
authenticated[0].require.aal: "aal4" is not known; did you mean "aal1"?; use one of aal1, aal2, aal3
authenticated[0].require.all_scopes: "a b" is not a name that a scope may have (RFC 6749 section 3.3); use visible ASCII characters other than " \ and ,
authenticated[0].require.any_scope: "s" is listed twice; remove one
authenticated[0].require.credentials: "password" is not known; use one of session, jwt, introspection, api_token, mtls, spiffe, oidc
authenticated[0].require.max_age: -1s is not an age; use whole seconds, one at least
authenticated[0].require.proof: "tls" is not known; did you mean "mtls"?; use one of mtls, dpop, any
authenticated[0].require.when: when not a valid condition: Syntax error: mismatched input '<EOF>'
authenticated[1].require.when: when the path has no group named user; add (?P<user>…) to the path
files[1]: the file is nil; leave it out
optional[0].require: an optional activity requires nothing, because a caller without a credential meets no requirement; give it to a permission that anonymous holds, move it to authenticated, or leave the requirements out
permissions.role:x: permission "role:x": a name may not begin with "role:", which includes a role in a role; choose another name
permissions.users:read.activities[0].path: path "/users([" is not a regular expression: missing closing ] in "["; see https://github.com/google/re2/wiki/Syntax
permissions.users:read.activities[1].methods: methods is empty; list at least one, or ANY for every method
permissions.users:read.activities[1].path: path is empty; write a path regex such as /users/[^/]+
permissions.users:read.activities[2].hosts: host "A" is not in lower case; write a
permissions.users:read.activities[2].hosts: host "b" is listed twice; remove one
permissions.users:read.activities[2].methods: method "get" is not in upper case; methods are case-sensitive (RFC 9110 section 9.1), so write GET
permissions.users:read.activities[2].methods: method GET is listed twice; remove one
permissions.users:read.activities[3].override: an activity of a permission overrides nothing; leave override out
permissions[1]: permission "" is not a name that a scope may have (RFC 6749 section 3.3); use visible ASCII characters other than " \ and ,
permissions[3]: permission "` + long[:80] + `…" is longer than 256 bytes; shorten it
public[0].require: a public activity requires nothing; move it to authenticated, or leave the requirements out
roles. clerk: role " clerk" names no role, or one with white space around it; write the name as it is
roles. clerk[1]: role " clerk": "q" is listed twice, first at roles. clerk[0]; remove one
roles[1]: role "\xff" is not valid UTF-8; write it as UTF-8
scopes.s[0]: scope "s": "role:clerk" is a role, and a scope grants permissions only; list the permissions`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestModelBuiltByCodeNamesBothPlacesOfAConflict(t *testing.T) {
	one := &permission.File{Name: "one", Permissions: []permission.Permission{{Name: "a"}}}
	two := &permission.File{Name: "two", Permissions: []permission.Permission{{Name: "a"}},
		Roles:     []permission.Role{{Name: "r", Grants: []permission.Grant{{Name: "r", Role: true}, {Name: "b"}}}},
		Anonymous: &permission.Anonymous{Grants: []permission.Grant{{Name: "b"}, {Name: "role:r", Role: true}}}}
	_, err := compileAtNoon(one, two)
	want := `two: anonymous[0]: anonymous: there is no permission "b"; did you mean "a"?; define it or remove it here
two: anonymous[1]: anonymous: there is no role "role:r"; did you mean "r"?; define it or remove it here
two: permissions.a: permission "a" is defined twice, first at one: permissions.a; keep one, or give one of them another name
two: roles.r[0]: role "r" includes itself: r -> r; remove one of the inclusions
two: roles.r[1]: role "r": there is no permission "b"; did you mean "a"?; define it or remove it here`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// What a parser compiled counts only for the text that it was compiled from.
func TestModelThatIsChangedAfterParsingIsCompiledAsItIs(t *testing.T) {
	const text = "authenticated:\n  - methods: [GET]\n    path: /(?P<id>[a-z]+)\n    require: {when: \"path.id == 'a'\"}\n"
	parse := func() (*permission.File, *permission.Activity) {
		file, err := tablefile.Parse("t.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return file, &file.Authenticated[0]
	}
	file, a := parse()
	a.Path, a.Require.When = "/(?P<id>[0-9]+)", "path.id == '7'"
	table, err := compileAtNoon(file)
	if err != nil {
		t.Fatal(err)
	}
	requireOutcome(t, table, call("GET", "/a"), &core.Principal{}, "uncovered")
	requireOutcome(t, table, call("GET", "/7"), &core.Principal{}, "allowed")

	file, a = parse()
	a.Path = "/[a-z]+" // the condition stays, and its group is gone
	if _, err := compileAtNoon(file); err == nil || err.Error() != `t.yaml:2:5: when the path has no group named id; add (?P<id>…) to the path` {
		t.Errorf("got %v", err)
	}
}

func TestTableDoesNotChangeWithItsModel(t *testing.T) {
	file := &permission.File{Authenticated: []permission.Activity{{
		Methods: []string{"GET"}, Path: "/a", Hosts: []string{"api.example.com"},
		Require: require.Requirements{AllScopes: []string{"s"}, Credentials: []string{"jwt"}},
	}}}
	table, err := compileAtNoon(file)
	if err != nil {
		t.Fatal(err)
	}
	a := &file.Authenticated[0]
	a.Methods[0], a.Path, a.Hosts[0], a.Require.AllScopes[0], a.Require.Credentials[0] = "POST", "/b", "b", "t", "session"
	requireOutcome(t, table, call("GET", "/a"), &core.Principal{Kind: core.KindJWT, Scopes: []string{"s"}}, "allowed")
	requireOutcome(t, table, call("GET", "/a"), &core.Principal{Kind: core.KindSession, Scopes: []string{"t"}}, "forbidden: the credential is of kind session, and only jwt will do")
}

// FuzzModelBuiltByCode: whatever a model holds, Compile returns a table or
// problems with places, and decides as the text of the same model does.
func FuzzModelBuiltByCode(f *testing.F) {
	for seed := range uint64(600) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		g := newModelMaker(seed)
		file := g.file()
		table, err := compileAtNoon(file)
		var problems report.Problems
		if err != nil && (!errors.As(err, &problems) || len(problems) == 0) {
			t.Fatalf("%T: %v", err, err)
		}
		for _, p := range problems {
			if p.File == "" || p.Text == "" {
				t.Errorf("problem without a place: %+v", p)
			}
		}
		text, writeErr := tablefile.Write(file, tablefile.Comments{})
		if writeErr != nil {
			if err == nil {
				t.Fatalf("a model that compiles cannot be written: %v", writeErr)
			}
			return
		}
		written, fromText := tablefile.Parse("t.yaml", text)
		var same *permission.Table
		if fromText == nil {
			same, fromText = compileAtNoon(written)
		}
		if (err == nil) != (fromText == nil) {
			t.Fatalf("the model: %v\nits text: %v\n%s", err, fromText, text)
		}
		if err != nil {
			return
		}
		for range 40 {
			c, p := g.call(), g.principal()
			if got, want := decide(table, c, p), decide(same, c, p); got != want {
				t.Errorf("%s %s%s %+v: the model decides %s, its text %s\n%s", c.Method, c.Host, c.Path, p, got, want, text)
			}
			if got, want := decideNobody(table, c), decideNobody(same, c); got != want {
				t.Errorf("%s %s%s of nobody: the model decides %s, its text %s\n%s", c.Method, c.Host, c.Path, got, want, text)
			}
		}
	})
}

// The fuzz test above would compare nothing if all its models were refused, or
// none.
func TestMadeModelsAreGoodAndBad(t *testing.T) {
	good := 0
	for seed := range uint64(300) {
		g := newModelMaker(seed)
		if _, err := compileAtNoon(g.file()); err == nil {
			good++
		}
	}
	if good < 100 || good > 250 {
		t.Errorf("%d of 300 models compile", good)
	}
}

// modelMaker makes models that are good, or have a bad part here and there.
type modelMaker struct {
	*rand.Rand
	spoil bool
}

func newModelMaker(seed uint64) *modelMaker {
	return &modelMaker{rand.New(rand.NewPCG(seed, 3)), seed%3 == 0}
}

func (g *modelMaker) pick(good []string, bad ...string) string {
	if g.spoil && len(bad) > 0 && g.IntN(25) == 0 {
		return bad[g.IntN(len(bad))]
	}
	return good[g.IntN(len(good))]
}

func (g *modelMaker) some(most int, good []string, bad ...string) []string {
	var list []string
	seen := map[string]bool{}
	for range g.IntN(most + 1) {
		if word := g.pick(good, bad...); !seen[word] || g.spoil && g.IntN(20) == 0 {
			list = append(list, word)
			seen[word] = true
		}
	}
	return list
}

var (
	permissionNames = []string{"a", "b", "c:read", "d/1"}
	badNames        = []string{"", "x y", "role:a", "ü", "\"", strings.Repeat("n", 300), "\xff"}
	roleNames       = []string{"r", "r 2", "rôle", "boss"}
	scopeNames      = []string{"s", "t", "a", "c:read"}
)

func (g *modelMaker) file() *permission.File {
	f := &permission.File{}
	for _, name := range g.some(4, permissionNames, badNames...) {
		f.Permissions = append(f.Permissions, permission.Permission{Name: name, Description: g.pick([]string{"", "see: it", "two\nlines", "# x"}),
			Activities: g.activities(permission.InPermission)})
	}
	f.Authenticated, f.Optional, f.Public = g.activities(permission.InAuthenticated), g.activities(permission.InOptional), g.activities(permission.InPublic)
	for _, name := range g.some(3, roleNames, "", " r", "\x00", "\xfe") {
		f.Roles = append(f.Roles, permission.Role{Name: name, Grants: g.grants(f)})
	}
	for _, name := range g.some(3, scopeNames, badNames...) {
		s := permission.Scope{Name: name}
		for _, grant := range g.grants(f) {
			if !grant.Role || g.spoil {
				s.Grants = append(s.Grants, grant)
			}
		}
		f.Scopes = append(f.Scopes, s)
	}
	if g.IntN(2) == 0 {
		f.Anonymous = &permission.Anonymous{Grants: g.grants(f), InvalidCredential: g.pick([]string{"", "refuse", "ignore_cookie", "ignore"}, "no", "IGNORE")}
	}
	if g.IntN(3) == 0 {
		f.ImplicitScopes = &permission.Switch{On: g.IntN(2) == 0}
	}
	if g.IntN(3) == 0 {
		rules := variant.Rules{Case: g.IntN(2) == 0, TrailingSlash: g.IntN(2) == 0, Suffixes: g.some(2, []string{".json", ".*", ". x", "é"}, "", "/", "*", "\xff")}
		f.PathVariants = &permission.PathVariants{Rules: rules}
	}
	return f
}

// grants are of what is defined so far, which makes no cycle.
func (g *modelMaker) grants(f *permission.File) []permission.Grant {
	var list []permission.Grant
	for _, p := range f.Permissions {
		if g.IntN(2) == 0 {
			list = append(list, permission.Grant{Name: p.Name})
		}
	}
	for _, r := range f.Roles {
		if g.IntN(3) == 0 {
			list = append(list, permission.Grant{Name: r.Name, Role: true})
		}
	}
	if g.spoil && g.IntN(20) == 0 {
		list = append(list, permission.Grant{Name: "nowhere", Role: g.IntN(2) == 0})
	}
	return list
}

func (g *modelMaker) activities(s permission.Section) []permission.Activity {
	var list []permission.Activity
	for range g.IntN(4) {
		a := permission.Activity{
			Methods: g.some(2, []string{"GET", "POST", "M-1"}, "get", "", "ANY", "*", "G T"),
			Path: g.pick([]string{"/a", "/a/.*", "/(?P<id>[^/]+)", "/[a-c]+/b", "/a b", ",?/a", "/x\\.y", "(?i)/A", "/é", "/a|/b", "/#x", "/a: b", "/\u2028", "/'\"", "/\ufeff?x"},
				"", "/(", "a", "/\\Qa", "/a*/\x00", "/{id}", "/a{2000}{2000}", "/\xff", strings.Repeat("/a", 1500)),
			Hosts: g.some(1, []string{"a.test", "*.b.test", "[::1]"}, "A", "a:80", "", "*", "a..b"),
		}
		if len(a.Methods) == 0 && !g.spoil {
			a.Methods = []string{permission.AnyMethod}
		}
		if s != permission.InPermission && g.IntN(4) == 0 || g.spoil && g.IntN(20) == 0 {
			a.Override = true
		}
		if s > permission.InOptional && g.IntN(2) == 0 || g.spoil && g.IntN(20) == 0 {
			a.Require = g.requirements(a.Path)
		}
		list = append(list, a)
	}
	return list
}

func (g *modelMaker) requirements(path string) require.Requirements {
	conditions := []string{"", "", "claims.x == 'y'", "headers['x-a'] == \"b\"", "host == 'a.test'", "method\n== 'GET'", "claims.n > 3"}
	if strings.Contains(path, "?P<id>") {
		conditions = append(conditions, "path.id == 'a'")
	}
	r := require.Requirements{
		AllScopes:   g.some(1, scopeNames, badNames...),
		AnyScope:    g.some(2, scopeNames, badNames...),
		AAL:         g.pick([]string{"", "aal1", "aal2"}, "aal9", "AAL1"),
		Credentials: g.some(1, core.KindNames(), "password", ""),
		Proof:       g.pick([]string{"", "", "mtls", "dpop", "any"}, "tls", "MTLS", "none"),
		When:        g.pick(conditions, "claims.", " ", "1", "path.nowhere == ''", "'\xff' == ''", strings.Repeat("(", 100), strings.Repeat(" ", 3000)),
	}
	r.MaxAge = []time.Duration{0, time.Minute, 90 * time.Second, 26 * time.Hour}[g.IntN(4)]
	if g.spoil && g.IntN(20) == 0 {
		r.MaxAge = []time.Duration{-time.Hour, time.Millisecond, 1500 * time.Millisecond}[g.IntN(3)]
	}
	return r
}

func (g *modelMaker) call() *core.Call {
	c := call(g.pick([]string{"GET", "POST", "M-1", "PUT"}), g.pick([]string{"/a", "/a/b", "/b", "/b/b", "/a b", ",/a", "/x.y", "/é", "/#x", "/a: b", "/\u2028", "/'\"", "/A"}))
	c.Host = g.pick([]string{"a.test", "x.b.test", "[::1]", "other"})
	if g.IntN(2) == 0 {
		c.Header = []core.Header{{Name: "X-A", Value: "b"}}
	}
	return c
}

func (g *modelMaker) principal() *core.Principal {
	p := &core.Principal{
		Scopes: g.some(2, scopeNames), Roles: g.some(2, roleNames), Permissions: g.some(1, permissionNames),
		AAL: g.pick([]string{"", "aal1", "aal2"}), Kind: core.Kind(g.pick(core.KindNames())),
		Proof: core.Proof(g.pick([]string{"", "mtls", "dpop"})),
	}
	if g.IntN(2) == 0 {
		p.AuthenticatedAt = noon.Add(-time.Duration(g.IntN(120)) * time.Second)
	}
	if g.IntN(2) == 0 {
		p.Claims = map[string]any{"x": "y", "n": fmt.Sprint(g.IntN(9))}
	}
	return p
}
