package diff

import (
	"gatehouse/core/permission/analysis"
	"slices"

	"gatehouse/core"
)

// compareDemands says what becomes of callers when the ways into a call are
// replaced by others.
func compareDemands(was, is []analysis.Demand) []Direction {
	was, is = withoutChoices(was), withoutChoices(is)
	in, out := met(is, was), met(was, is)
	switch {
	case in == analysis.Yes && out == analysis.Yes:
		return nil
	case in == analysis.No && out == analysis.No:
		return []Direction{LetsIn, ShutsOut}
	case in == analysis.No && out == analysis.Unknown, in == analysis.No && out == analysis.Yes:
		return []Direction{LetsIn}
	case out == analysis.No && in == analysis.Yes:
		return []Direction{ShutsOut}
	case out == analysis.No:
		return []Direction{MayDiffer, ShutsOut}
	}
	return []Direction{MayDiffer}
}

// withoutChoices writes each choice of scopes and of kinds out as demands of
// their own. What is left has one least caller who meets it, so that whoever
// meets one of several demands is compared with each of them alone.
func withoutChoices(list []analysis.Demand) []analysis.Demand {
	var plain []analysis.Demand
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
				plain = append(plain, analysis.Demand{Requirements: &one, Path: d.Path})
			}
		}
	}
	return plain
}

// met reports whether whoever meets one of list meets one of others too.
func met(list, others []analysis.Demand) analysis.Truth {
	all := analysis.Yes
	for _, d := range list {
		one := analysis.No
		for _, o := range others {
			one = max(one, analysis.Weaker(o, d))
		}
		all = min(all, one)
	}
	return all
}

// least leaves out the demands that another one makes needless.
func least(list []analysis.Demand) []analysis.Demand {
	var kept []analysis.Demand
	for i, d := range list {
		needless := false
		for j, o := range list {
			if i == j || analysis.Weaker(o, d) != analysis.Yes {
				continue
			}
			needless = needless || analysis.Weaker(d, o) != analysis.Yes || j < i
		}
		if !needless {
			kept = append(kept, d)
		}
	}
	return kept
}

func keys(list []analysis.Demand) []string {
	out := make([]string, len(list))
	for i, d := range list {
		out[i] = d.Key()
	}
	slices.Sort(out)
	return out
}
