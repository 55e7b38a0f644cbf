package analysis

import (
	"fmt"
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission"
)

// answer is yes, no or unknown.
type answer int

const (
	no answer = iota
	unknown
	yes
)

// demand is what an activity requires.
type demand struct {
	*permission.Requirements
	// path is set where the condition reads the named groups of the path: then
	// the same condition may mean something else behind another regex.
	path string
}

func (a *area) demand() demand {
	if a.ConditionReadsPath() {
		return demand{&a.Require, a.Path}
	}
	return demand{&a.Require, ""}
}

// weaker reports whether every caller who meets b meets a too. Conditions that
// are written differently are not compared: unknown.
func weaker(a, b demand) answer {
	if !weakerScopes(a.Requirements, b.Requirements) || !weakerAuthentication(a.Requirements, b.Requirements) {
		return no
	}
	switch {
	case a.When == "" || a.When == b.When && a.path == b.path:
		return yes
	case b.When == "":
		return no
	}
	return unknown
}

func weakerScopes(a, b *permission.Requirements) bool {
	allA, anyA := scopes(a)
	allB, anyB := scopes(b)
	if !within(allA, allB) {
		return false
	}
	return len(anyA) == 0 || len(anyB) > 0 && within(anyB, anyA) ||
		slices.ContainsFunc(anyA, func(s string) bool { return slices.Contains(allB, s) })
}

// scopes returns all_scopes and any_scope, where a choice of one is none.
func scopes(r *permission.Requirements) (all, any []string) {
	if len(r.AnyScope) == 1 {
		return append(slices.Clone(r.AllScopes), r.AnyScope...), nil
	}
	return r.AllScopes, r.AnyScope
}

func weakerAuthentication(a, b *permission.Requirements) bool {
	switch {
	case a.AAL > b.AAL: // aal1 < aal2 < aal3, and none is ""
		return false
	case a.MaxAge > 0 && (b.MaxAge == 0 || b.MaxAge > a.MaxAge):
		return false
	}
	return len(a.Credentials) == 0 || within(core.KindNames(), a.Credentials) || len(b.Credentials) > 0 && within(b.Credentials, a.Credentials)
}

func within(list, of []string) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !slices.Contains(of, s) })
}

// least leaves out the demands that another one makes needless.
func least(list []demand) []demand {
	var kept []demand
	for i, d := range list {
		needless := false
		for j, o := range list {
			if i == j || weaker(o, d) != yes {
				continue
			}
			needless = needless || weaker(d, o) != yes || j < i
		}
		if !needless {
			kept = append(kept, d)
		}
	}
	return kept
}

// key is equal for demands that are written alike, whatever their order.
func (d demand) key() string {
	sorted := func(list []string) []string { return slices.Sorted(slices.Values(list)) }
	return fmt.Sprintf("%q %q %q %s %q %q %q", sorted(d.AllScopes), sorted(d.AnyScope), d.AAL, d.MaxAge, sorted(d.Credentials), d.When, d.path)
}

func keys(list []demand) []string {
	out := make([]string, len(list))
	for i, d := range list {
		out[i] = d.key()
	}
	slices.Sort(out)
	return out
}

// compareDemands says what becomes of callers when the ways into a call are
// replaced by others.
func compareDemands(was, is []demand) []Direction {
	was, is = withoutChoices(was), withoutChoices(is)
	in, out := met(is, was), met(was, is)
	switch {
	case in == yes && out == yes:
		return nil
	case in == no && out == no:
		return []Direction{LetsIn, ShutsOut}
	case in == no && out == unknown, in == no && out == yes:
		return []Direction{LetsIn}
	case out == no && in == yes:
		return []Direction{ShutsOut}
	case out == no:
		return []Direction{MayDiffer, ShutsOut}
	}
	return []Direction{MayDiffer}
}

// withoutChoices writes each choice of scopes and of kinds out as demands of
// their own. What is left has one least caller who meets it, so that whoever
// meets one of several demands is compared with each of them alone.
func withoutChoices(list []demand) []demand {
	var plain []demand
	for _, d := range list {
		kinds := d.Credentials
		if len(kinds) == 0 {
			kinds = core.KindNames()
		}
		choices := [][]string{d.AllScopes}
		if len(d.AnyScope) > 0 {
			choices = nil
		}
		for _, s := range d.AnyScope {
			choices = append(choices, append(slices.Clone(d.AllScopes), s))
		}
		for _, scopes := range choices {
			for _, kind := range kinds {
				one := *d.Requirements
				one.AllScopes, one.AnyScope, one.Credentials = scopes, nil, []string{kind}
				plain = append(plain, demand{&one, d.path})
			}
		}
	}
	return plain
}

// met reports whether whoever meets one of list meets one of others too.
func met(list, others []demand) answer {
	all := yes
	for _, d := range list {
		one := no
		for _, o := range others {
			one = max(one, weaker(o, d))
		}
		all = min(all, one)
	}
	return all
}
