package diff

import (
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission/require"
)

// compareDemands says what becomes of callers when the ways into a call are
// replaced by others.
func compareDemands(was, is []require.Demand) []Direction {
	in, out := truths(was, is)
	switch {
	case in == require.Yes && out == require.Yes:
		return nil
	case in == require.No && out == require.No:
		return []Direction{LetsIn, ShutsOut}
	case in == require.No && out == require.Unknown, in == require.No && out == require.Yes:
		return []Direction{LetsIn}
	case out == require.No && in == require.Yes:
		return []Direction{ShutsOut}
	case out == require.No:
		return []Direction{MayDiffer, ShutsOut}
	case in == require.Yes:
		return []Direction{MayShutOut}
	}
	return []Direction{MayDiffer}
}

// truths say whether whoever meets one of the new demands met one of the old, and the other
// way round.
func truths(was, is []require.Demand) (in, out require.Truth) {
	was, is = withoutChoices(was), withoutChoices(is)
	return met(is, was), met(was, is)
}

// withoutChoices writes each choice of scopes, of proofs and of kinds out as demands of
// their own. What is left has one least caller who meets it, so that whoever
// meets one of several demands is compared with each of them alone.
func withoutChoices(list []require.Demand) []require.Demand {
	var plain []require.Demand
	for _, d := range list {
		choices := [][]string{d.AllScopes}
		if len(d.AnyScope) > 0 {
			choices = nil
		}
		for _, s := range d.AnyScope {
			choices = append(choices, append(slices.Clone(d.AllScopes), s))
		}
		for _, scopes := range choices {
			for _, one := range withoutProofs(d.Requirements) {
				one.AllScopes, one.AnyScope = scopes, nil
				plain = append(plain, require.Demand{Requirements: one, Path: d.Path, AskPath: d.AskPath})
			}
		}
	}
	return plain
}

// withoutProofs writes each choice of proofs and of kinds out.
func withoutProofs(r *require.Requirements) []*require.Requirements {
	proofs := []string{r.Proof}
	if r.Proof == require.AnyProof {
		proofs = nil
		for _, proof := range core.Proofs() {
			proofs = append(proofs, string(proof))
		}
	}
	var plain []*require.Requirements
	for _, proof := range proofs {
		with := *r
		with.Proof = proof
		for _, kind := range with.Kinds() {
			one := with
			one.Credentials = []string{kind}
			plain = append(plain, &one)
		}
	}
	return plain
}

// met reports whether whoever meets one of list meets one of others too.
func met(list, others []require.Demand) require.Truth {
	all := require.Yes
	for _, d := range list {
		one := require.No
		for _, o := range others {
			one = max(one, require.Weaker(o, d))
		}
		all = min(all, one)
	}
	return all
}

// least leaves out the demands that another one makes needless.
func least(list []require.Demand) []require.Demand {
	var kept []require.Demand
	for i, d := range list {
		needless := false
		for j, o := range list {
			if i == j || require.Weaker(o, d) != require.Yes {
				continue
			}
			needless = needless || require.Weaker(d, o) != require.Yes || j < i
		}
		if !needless {
			kept = append(kept, d)
		}
	}
	return kept
}

func keys(list []require.Demand) []string {
	out := make([]string, len(list))
	for i, d := range list {
		out[i] = d.Key()
	}
	slices.Sort(out)
	return out
}
