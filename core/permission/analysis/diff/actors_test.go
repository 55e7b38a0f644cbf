package diff

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/actor"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/subject"
)

// actedOn writes a random table that names actors, and calls that ask for some.
func actedOn(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	activity := func(path string) string {
		return "{methods: [GET], path: " + path + pick("", "", ", require: {actor: none}", ", require: {actor: any}", ", require: {actor: ['https://i#a*']}", ", require: {actor: any, aal: aal2}", ", require: {credentials: [jwt]}") + "}"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "permissions:\n  p: {activities: [%s%s]}\n  q: {activities: [%s%s]}\n", activity("/p"), pick("", ", GET /s"), activity("/q"), pick("", ", GET /s", ", GET /p"))
	fmt.Fprintf(&b, "roles: {r: [%s]}\n%s: [%s]\n%s: [GET /open]\n", pick("p", "q", "p, q"), "authenticated", activity("/me"), pick("optional", "public"))
	fmt.Fprintf(&b, "anonymous: {permissions: [%s]}\nactor_chain: %s\n", pick("", "", "q"), pick("false", "false", "true"))
	if granted := pick("", "", "x"); granted == "" {
		b.WriteString("actors:\n")
		for _, pattern := range []string{"https://i#a", "https://i#a*", "https://i#*", "https://i?client_id=*"} {
			if r.IntN(2) == 0 {
				fmt.Fprintf(&b, "  %q: [%s]\n", pattern, pick("", "p", "q", "role:r"))
			}
		}
	}
	return strings.TrimSuffix(b.String(), "actors:\n")
}

// TestActorsWhoGainOrLoseCallsAreFound compares what a Diff says with the decisions about
// every delegated caller of two tables, and about those who are not.
func TestActorsWhoGainOrLoseCallsAreFound(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	var callers []*core.Principal
	for _, id := range []string{"", "https://i#a", "https://i#ab", "https://i#b", "https://i?client_id=a", "https://j#a"} {
		for _, names := range [][]string{nil, {"p"}, {"q"}, {"p", "q"}} {
			for _, aal := range []string{"aal1", "aal2"} {
				for _, kind := range []core.Kind{core.KindJWT, core.KindIntrospection, core.KindSession} {
					p := &core.Principal{Kind: kind, Permissions: names, AAL: aal}
					if p.Actor, _ = actor.Parse(id); id != "" && kind == core.KindSession {
						continue
					}
					callers = append(callers, p)
				}
			}
		}
	}
	changes := 0
	for range 300 {
		oldText, newText := actedOn(r), actedOn(r)
		older, newer := version(t, "old", oldText), version(t, "new", newText)
		d, err := Diff(older, newer)
		if err != nil {
			t.Fatal(err)
		}
		both := oldText + "now\n" + newText
		for _, p := range callers {
			for _, path := range []string{"/p", "/q", "/s", "/me", "/open"} {
				direction := changedFor(t, older, newer, p, path)
				if direction == "" {
					continue
				}
				changes++
				if !tellsOf(d, direction, path, p) {
					t.Fatalf("%s for %s with %s by %v is not told: %s\n%s", path, p.Kind, p.Permissions, p.Actor, direction, both)
				}
			}
		}
		for _, c := range d.Changes {
			if c.Direction == LetsIn || c.Direction == ShutsOut {
				if !slices.ContainsFunc(callers, func(p *core.Principal) bool {
					return isOf(p, c) && changedFor(t, older, newer, p, c.Witness.Path) == c.Direction
				}) && c.Who.Kind != Anybody && c.Who.Kind != ByRole {
					t.Fatalf("%s %s of %s, and nobody does\n%s", c.Who, c.Direction, c.Witness.Path, both)
				}
			}
		}
	}
	if changes < 1000 {
		t.Errorf("only %d changes", changes)
	}
}

// tellsOf reports whether a change is about the path and about somebody who is no more than
// the caller.
func tellsOf(d *Difference, direction Direction, path string, p *core.Principal) bool {
	return slices.ContainsFunc(d.Changes, func(c Change) bool {
		named := map[Direction]Direction{Names: ShutsOut, Unnames: LetsIn}[c.Direction]
		if p.Actor != nil && named == direction && c.Witness.Path == path {
			return true
		}
		if c.Direction != direction || c.Witness.Path != path {
			return false
		}
		switch c.Who.Kind {
		case Anybody, Credential:
			return true
		case ByActor:
			return p.Actor != nil && isOf(p, c)
		}
		return slices.Contains(p.Permissions, c.Who.Name) || c.Who.Kind == ByRole || c.Who.Kind == ByScope
	})
}

// isOf reports whether a caller is one of those whom a change speaks of. Where an activity
// requires an actor, a caller with a permission has one, too.
func isOf(p *core.Principal, c Change) bool {
	w := c.Who
	acted := p.Actor == nil || slices.ContainsFunc(slices.Concat(c.Old, c.New), func(d Decider) bool {
		return len(d.Require.Actor) > 0 && d.Require.Actor[0] != require.NoActor
	})
	switch w.Kind {
	case ByActor:
		if p.Actor == nil {
			return false
		}
		id, ok := p.Actor.ID()
		pattern, err := subject.ParseActor(w.Name)
		return ok && err == nil && pattern.Matches(id)
	case ByPermission, ByScope:
		return acted && slices.Equal(p.Permissions, []string{w.Name})
	}
	return acted
}

func changedFor(t *testing.T, older, newer Version, p *core.Principal, path string) Direction {
	t.Helper()
	may := func(v Version) bool {
		call := &core.Call{Request: &core.Request{Method: "GET"}, Path: path}
		access := v.Table.Match(t.Context(), call)
		return access != nil && access.Allows(t.Context(), call, p) == nil
	}
	switch was, is := may(older), may(newer); {
	case is && !was:
		return LetsIn
	case was && !is:
		return ShutsOut
	}
	return ""
}

func TestChainsThatCountFromNowOnAreADifference(t *testing.T) {
	text := "permissions: {p: {activities: [GET /p]}}\nactors: {'https://i#a': [p]}\n"
	for name, c := range map[string]struct {
		was, is  string
		widening bool
		want     [2]bool
	}{
		"from now on": {text, text + "actor_chain: true\n", false, [2]bool{false, true}},
		"no longer":   {text + "actor_chain: true\n", text, true, [2]bool{true, false}},
		"as before":   {text + "actor_chain: true\n", text + "actor_chain: true\n", false, [2]bool{}},
	} {
		d, err := Diff(version(t, "old", c.was), version(t, "new", c.is))
		if err != nil || d.Chain != c.want || d.Widening() != c.widening || d.Empty() != (c.want == [2]bool{}) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}
