package permission_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/actor"
	"gatehouse/core/permission"
	"gatehouse/core/permission/subject"
)

const delegated = `
permissions:
  a: {activities: [GET /a]}
  b: {activities: [GET /b]}
  c: {activities: [GET /c]}
  open: {activities: [GET /open]}
  direct: {activities: [{methods: [GET], path: /direct, require: {actor: none}}]}
  acted: {activities: [{methods: [GET], path: /acted, require: {actor: any}}]}
  listed: {activities: [{methods: [GET], path: /listed, require: {actor: ["https://i/#x*", "https://i/?client_id=c"]}}]}
roles: {r: [a, b]}
actors:
  https://i/#one: [a]
  https://i/#x*: [role:r, direct, acted, listed]
  https://i/?client_id=c: [listed, acted]
  https://i/#nothing: []
  https://i/#https://service16.example.com: [c]
authenticated: [GET /me]
optional: [GET /maybe]
public: [GET /free]
anonymous: {permissions: [open]}
`

var all = []string{"a", "b", "c", "open", "direct", "acted", "listed"}

// chain makes the actors of ids, the current one first.
func chain(t testing.TB, ids ...string) *core.Actor {
	t.Helper()
	var before *core.Actor
	for _, id := range slices.Backward(ids) {
		a, err := actor.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		a.Before = before
		before = a
	}
	return before
}

func allowed(t testing.TB, table *permission.Table, p *core.Principal, path string) error {
	t.Helper()
	call := &core.Call{Request: &core.Request{Method: "GET"}, Path: path}
	access := table.Match(t.Context(), call)
	if access == nil {
		return errors.New("not covered")
	}
	return access.Allows(t.Context(), call, p)
}

func TestDelegatedCredentialMayDoWhatBothSubjectAndActorMay(t *testing.T) {
	table := compiled(t, delegated)
	for id, want := range map[string]string{
		"":                       "a b c open direct listed-not me maybe free",
		"https://i/#one":         "a open me maybe free",
		"https://i/#x1":          "a b open acted listed me maybe free",
		"https://i/#x":           "a b open acted listed me maybe free",
		"https://i/?client_id=c": "open acted listed me maybe free",
		"https://i/#nothing":     "open me maybe free",
		"https://i/#https://service16.example.com": "c open me maybe free",
	} {
		p := &core.Principal{Kind: core.KindJWT, Permissions: all}
		if id != "" {
			p.Actor = chain(t, id)
		}
		for _, path := range append(all, "me", "maybe", "free") {
			want := slices.Contains(strings.Fields(want), path)
			if err := allowed(t, table, p, "/"+path); (err == nil) != want {
				t.Errorf("%s, /%s: %v", id, path, err)
			}
		}
	}
	subject := &core.Principal{Kind: core.KindJWT, Permissions: []string{"b"}, Actor: chain(t, "https://i/#one")}
	if err := allowed(t, table, subject, "/a"); err == nil {
		t.Error("an actor does what its subject may not")
	}
	if err := allowed(t, table, subject, "/b"); err == nil || !strings.Contains(err.Error(), `permission b is not granted to the actor "https://i/#one"`) {
		t.Errorf("a subject does what the actor may not: %v", err)
	}
}

func TestActorThatTheTableDoesNotNameMayDoNothing(t *testing.T) {
	for name, text := range map[string]string{
		"others are named": delegated,
		"none is named":    strings.Split(delegated, "actors:")[0] + "authenticated: [GET /me]\noptional: [GET /maybe]\npublic: [GET /free]\nanonymous: {permissions: [open]}\n",
	} {
		table := compiled(t, text)
		for _, a := range []core.Actor{
			{Issuer: "https://i/", Subject: "stranger"}, {Issuer: "https://i/", ClientID: "one"}, {Issuer: "https://i/", Subject: "c"}, {Issuer: "https://i/", Subject: "?client_id=c"},
			{Issuer: "https://i", Subject: "one"}, {Issuer: "HTTPS://i/", Subject: "one"}, {Issuer: "https://i/", Subject: "One"}, {Issuer: "https://i/", Subject: "one/"}, {Issuer: "https://i/", Subject: "x/y"},
			{Issuer: "https://i/", Subject: "s", ClientID: "c"}, {Subject: "one"}, {Subject: "https://i/#one"}, {Issuer: "https://i/#one", Subject: "one"}, {},
		} {
			p := &core.Principal{Kind: core.KindJWT, Permissions: all, Roles: []string{"r"}, Scopes: all, Actor: &a}
			for _, path := range append(all, "me", "maybe") {
				err := allowed(t, table, p, "/"+path)
				if !errors.Is(err, core.ErrForbidden) || !strings.Contains(err.Error(), "to the actor") {
					t.Errorf("%s: %+v, /%s: %v", name, a, path, err)
				}
				if lacking, ok := errors.AsType[*core.InsufficientScope](err); ok {
					t.Errorf("%s: %+v is told of scopes: %v", name, a, lacking)
				}
			}
			if err := allowed(t, table, p, "/free"); err != nil {
				t.Errorf("%s: what needs no credential: %v", name, err)
			}
			if held := table.Permissions(p); len(held) > 0 {
				t.Errorf("%s: %+v holds %s", name, a, held)
			}
		}
	}
	p := &core.Principal{Permissions: all, Actor: &core.Actor{Issuer: "https://i/", Subject: "stranger"}}
	err := allowed(t, compiled(t, delegated), p, "/a")
	want := `the credential is delegated to the actor "https://i/#stranger", which the permission table does not name, and such an actor may do nothing: add it under actors, with the permissions that it may use`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %s", err, want)
	}
}

// Two issuers may have actors of one name.
func TestActorOfAnotherIssuerIsNotTheOneThatTheTableNames(t *testing.T) {
	table := compiled(t, "permissions:\n  a: {activities: [GET /a]}\nactors:\n  https://trusted.example/#*: [a]\n  https://trusted.example/#**: [a]\n")
	for id, want := range map[string]bool{
		"https://trusted.example/#agent": true, "https://evil.example/#agent": false, "https://evil.example/?client_id=agent": false, "https://trusted.example/?client_id=agent": false,
		"https://trusted.example#agent": false, "https://trusted.example/x#agent": false, "https://evil.example/#https://trusted.example/#agent": false,
	} {
		p := &core.Principal{Permissions: []string{"a"}, Issuer: "https://trusted.example/", Actor: chain(t, id)}
		if err := allowed(t, table, p, "/a"); (err == nil) != want {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestEarlierActorsOfAChainInformOnly(t *testing.T) {
	text := "permissions:\n  a: {activities: [GET /a]}\n  b: {activities: [GET /b]}\nactors:\n  https://i/#ab: [a, b]\n  https://i/#a: [a]\n"
	for _, c := range []struct {
		chain        []string
		path         string
		current, all bool
	}{
		{[]string{"https://i/#ab"}, "/b", true, true},
		{[]string{"https://i/#ab", "https://i/#a"}, "/a", true, true},
		{[]string{"https://i/#ab", "https://i/#a"}, "/b", true, false},
		{[]string{"https://i/#a", "https://i/#ab"}, "/b", false, false},
		{[]string{"https://i/#ab", "https://i/#ab", "https://i/#a"}, "/b", true, false},
		{[]string{"https://i/#ab", "https://i/#stranger"}, "/a", true, false},
		{[]string{"https://i/#stranger", "https://i/#ab"}, "/a", false, false},
	} {
		p := &core.Principal{Permissions: []string{"a", "b"}, Actor: chain(t, c.chain...)}
		if err := allowed(t, compiled(t, text), p, c.path); (err == nil) != c.current {
			t.Errorf("%s, %s: %v", c.chain, c.path, err)
		}
		if err := allowed(t, compiled(t, text+"actor_chain: true\n"), p, c.path); (err == nil) != c.all {
			t.Errorf("actor_chain, %s, %s: %v", c.chain, c.path, err)
		}
	}
}

func TestCallWithoutACredentialHasNoActor(t *testing.T) {
	table := compiled(t, `
permissions:
  q:
    activities:
      - {methods: [GET], path: /none, require: {actor: none}}
      - {methods: [GET], path: /any, require: {actor: any}}
      - {methods: [GET], path: /listed, require: {actor: ["https://i/#a"]}}
anonymous: {permissions: [q]}
actors: {"https://i/#a": [q]}
`)
	for path, want := range map[string]bool{"/none": true, "/any": false, "/listed": false} {
		call := &core.Call{Request: &core.Request{Method: "GET", Header: []core.Header{{Name: "X-Actor", Value: "https://i/#a"}}}, Path: path}
		if err := table.Match(t.Context(), call).(core.AnonymousAccess).AllowsAnonymous(t.Context(), call); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestLimitOfACredentialIsHeldToItsOwnActor(t *testing.T) {
	table := compiled(t, delegated)
	p := &core.Principal{Permissions: all, Limit: &core.Principal{Permissions: all, Actor: chain(t, "https://i/#one")}}
	if err := allowed(t, table, p, "/b"); err == nil {
		t.Error("the actor of the limit does not count")
	}
	p.Limit.Actor = chain(t, "https://i/#stranger")
	if err := allowed(t, table, p, "/me"); err == nil {
		t.Error("the actor of the limit is not looked for")
	}
}

func TestMistakesInActorsAreReported(t *testing.T) {
	head := "permissions:\n  a: {activities: [GET /a]}\nroles: {r: [a]}\n"
	activity := func(require string) string {
		return "permissions:\n  a: {activities: [{methods: [GET], path: /a, require: {actor: " + require + "}}]}\n"
	}
	for text, want := range map[string]string{
		head + "actors: {\"https://i/#a\": [nope]}":                          `actor "https://i/#a": there is no permission "nope"`,
		head + "actors: {\"https://i/#a\": [role:nope]}":                     `actor "https://i/#a": there is no role "nope"`,
		head + "actors: {agent: [a]}":                                        `t.yaml:4:10: actor "agent" is no id of an actor; write its issuer, # and its sub`,
		head + "actors: {\"https://*/#a\": [a]}":                             `has * in its issuer; name each issuer`,
		head + "actors: {\"https://i/#a**\": [a]}":                           `has two * in one segment`,
		head + "actors: {\"https://i/#a\": a}":                               `is text where a list belongs`,
		head + "actor_chain: all":                                            `actor_chain is text; write true or false`,
		activity("all"):                                                      `actor is text; write none, any, or a list of ids of actors`,
		activity("[]"):                                                       `actor is empty; list ids of actors or leave the key out`,
		activity("[none, any]"):                                              `"none" stands alone`,
		activity("[agent]"):                                                  `"agent" is no id of an actor`,
		activity("{sub: x}"):                                                 `actor is a mapping; write none, any, or a list of ids of actors`,
		head + "public: [{methods: [GET], path: /b, require: {actor: any}}]": `require`,
	} {
		_, err := parsed(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
	_, err := permission.Compile(&permission.File{Actors: []permission.Subject{{Pattern: "x"}}, ActorChain: &permission.Switch{On: true}}, &permission.File{Name: "two", ActorChain: &permission.Switch{}, Actors: []permission.Subject{{Pattern: "https://i#w"}, {Pattern: "https://i#w"}}})
	if err == nil || !strings.Contains(err.Error(), `actor "x" is no id`) {
		t.Error(err)
	}
	_, err = permission.Compile(&permission.File{ActorChain: &permission.Switch{On: true}}, &permission.File{Name: "two", ActorChain: &permission.Switch{}, Actors: []permission.Subject{{Pattern: "https://i#w"}, {Pattern: "https://i#w"}}})
	if err == nil || !strings.Contains(err.Error(), `two: actors.https://i#w: actor "https://i#w" is defined twice`) || !strings.Contains(err.Error(), "actor_chain is false here and true at actor_chain") {
		t.Error(err)
	}
}

// A table decides about every delegated credential as a plain reading of RFC 8693 and of the
// table does, which knows no index and no sets.
func TestDelegationIsDecidedAsItsPlainReading(t *testing.T) {
	ids := []string{"https://i/#a", "https://i/#ab", "https://i/#b/c", "https://i/?client_id=a", "https://j/#a"}
	patterns := []string{"https://i/#a", "https://i/#a*", "https://i/#*", "https://i/#**", "https://i/#*/c", "https://i/?client_id=*", "https://j/#*"}
	names := []string{"p", "q"}
	requires := []string{"", "", "none", "any", `["https://i/#a*"]`, `["https://i/#b/**", "https://j/#a"]`}
	r := rand.New(rand.NewPCG(7, 8))
	some := func(list []string) (chosen []string) {
		for _, s := range list {
			if r.IntN(3) == 0 {
				chosen = append(chosen, s)
			}
		}
		return chosen
	}
	decided := map[bool]int{}
	for range 1500 {
		granted, chained, require, anonymous := map[string][]string{}, r.IntN(2) == 0, requires[r.IntN(len(requires))], some(names)
		text := "permissions:\n  p: {activities: [{methods: [GET], path: /p"
		if require != "" {
			text += ", require: {actor: " + require + "}"
		}
		text += "}]}\n  q: {activities: [GET /q, GET /p]}\nauthenticated: [GET /me]\noptional: [GET /maybe]\n" + fmt.Sprintf("actor_chain: %t\nanonymous: {permissions: [%s]}\nactors:\n", chained, strings.Join(anonymous, ", "))
		for _, pattern := range some(patterns) {
			granted[pattern] = some(names)
			text += fmt.Sprintf("  %q: [%s]\n", pattern, strings.Join(granted[pattern], ", "))
		}
		text = strings.TrimSuffix(text, "actors:\n")
		table := compiled(t, text)
		matches := func(pattern, id string) bool {
			p, err := subject.ParseActor(pattern)
			return err == nil && p.Matches(id)
		}
		holds := func(id, name string) (named, held bool) {
			for pattern, list := range granted {
				if matches(pattern, id) {
					named, held = true, held || slices.Contains(list, name)
				}
			}
			return named, named && (held || slices.Contains(anonymous, name))
		}
		for range 6 {
			var acting []string
			for range r.IntN(4) {
				acting = append(acting, ids[r.IntN(len(ids))])
			}
			stated := some(names)
			p := &core.Principal{Kind: core.KindJWT, Permissions: stated, Actor: chain(t, acting...)}
			counting := acting
			if !chained && len(acting) > 1 {
				counting = acting[:1]
			}
			everyNamed := !slices.ContainsFunc(counting, func(id string) bool { named, _ := holds(id, ""); return !named })
			has := func(name string) bool {
				ok := slices.Contains(stated, name) || slices.Contains(anonymous, name)
				for _, id := range counting {
					_, held := holds(id, name)
					ok = ok && held
				}
				return ok
			}
			meets := map[string]bool{"": true, "none": len(acting) == 0, "any": len(acting) > 0}[require]
			if strings.HasPrefix(require, "[") && len(acting) > 0 {
				for _, pattern := range strings.Split(strings.Trim(require, "[]"), ", ") {
					meets = meets || matches(strings.Trim(pattern, `"`), acting[0])
				}
			}
			for path, want := range map[string]bool{"/p": everyNamed && (has("p") && meets || has("q")), "/q": everyNamed && has("q"), "/me": everyNamed, "/maybe": everyNamed} {
				decided[want]++
				if err := allowed(t, table, p, path); (err == nil) != want {
					t.Fatalf("%s by %s with %s: %v, want %t\n%s", path, acting, stated, err, want, text)
				}
			}
			for _, name := range names {
				if got := slices.Contains(table.Permissions(p), name); got != has(name) || table.Holds(p, name) != has(name) {
					t.Fatalf("%s holds %s: %t, want %t\n%s", acting, name, got, has(name), text)
				}
			}
		}
	}
	if decided[true] < 5000 || decided[false] < 5000 {
		t.Errorf("decided %v", decided)
	}
}

// The condition reads the chain whatever place the credential had it in.
func TestConditionReadsTheActor(t *testing.T) {
	table := compiled(t, `
permissions:
  p:
    activities:
      - {methods: [GET], path: /issuer, require: {when: "claims.act.iss == 'https://i/' && claims.act.sub.startsWith('a')"}}
      - {methods: [GET], path: /before, require: {when: "claims.act.act.client_id == 'c'"}}
      - {methods: [GET], path: /absent, require: {when: "!has(claims.act)"}}
actors: {"https://i/#**": [p]}
`)
	for _, c := range []struct {
		acting []string
		want   string
	}{{nil, "/absent"}, {[]string{"https://i/#a"}, "/issuer"}, {[]string{"https://i/#b", "https://i/?client_id=c"}, "/before"}, {[]string{"https://i/#b"}, ""}} {
		p := &core.Principal{Permissions: []string{"p"}, Actor: chain(t, c.acting...), Expiry: time.Now().Add(time.Hour)}
		for _, path := range []string{"/issuer", "/before", "/absent"} {
			if err := allowed(t, table, p, path); (err == nil) != (path == c.want) {
				t.Errorf("%s %s: %v", c.acting, path, err)
			}
		}
	}
}
