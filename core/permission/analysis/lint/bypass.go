package lint

import (
	"slices"

	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
)

// unreachable looks for an activity that decides no call.
func (l *linter) unreachable(a *analysis.Area) (bool, error) {
	if a.Paths.Empty() {
		l.add(Finding{Rule: "unreachable", Place: a.PathPlace, home: a.Place,
			Text: "the regex matches no canonical path, so the activity covers nothing; mend it or remove it"})
		return true, nil
	}
	over := l.outranking(a)
	if len(over) == 0 {
		return false, nil
	}
	if all, err := within(a, over...); !all || err != nil {
		return false, err
	}
	if refused := l.refusing[a]; len(refused) > 0 {
		n := refused[0]
		l.add(Finding{Rule: "unreachable", Place: a.Place, home: a.Place, Witness: &n.Shared, Other: &n.Place,
			Text: "the " + a.Section.String() + " activity never has a say: path_variants refuses its calls as variants of those of " + owners(refused) + "; remove it, or let what path_variants says fit the upstream"})
		return true, nil
	}
	l.add(Finding{Rule: "unreachable", Place: a.Place, home: a.Place, Witness: &over[0].Shared, Other: &over[0].Place,
		Text: "the " + a.Section.String() + " activity never has a say: " + owners(over) + " " + take(over) + " all its calls; remove it"})
	return true, nil
}

// outranking are the activities that take the decision from a.
func (l *linter) outranking(a *analysis.Area) []analysis.Neighbour {
	return append(those(l.near[a], func(n analysis.Neighbour) bool { return analysis.Outranks(n.Area, a) }), l.refusing[a]...)
}

// redundant looks for an activity whose calls others of its owner open to the
// same callers.
func (l *linter) redundant(a *analysis.Area, done map[*analysis.Area]bool) (bool, error) {
	same := those(l.near[a], func(n analysis.Neighbour) bool {
		return !done[n.Area] && ofOneOwner(a, n.Area) && n.Override == a.Override && l.implies(a, n.Area) && l.implies(n.Area, a)
	})
	if len(same) == 0 {
		return false, nil
	}
	if all, err := within(a, same...); !all || err != nil {
		return false, err
	}
	for _, n := range same {
		equal, err := within(n.Area, analysis.Neighbour{Area: a})
		if err != nil {
			return true, err
		}
		if equal {
			l.add(Finding{Rule: "duplicate", Place: a.Place, home: a.Place, Witness: &n.Shared, Other: &n.Place,
				Text: a.Owner() + " covers exactly the same calls at " + n.Place.String() + "; remove one of the two"})
			return true, nil
		}
	}
	l.add(Finding{Rule: "redundant", Place: a.Place, home: a.Place, Witness: &same[0].Shared, Other: &same[0].Place,
		Text: "the activity adds nothing to what " + a.Owner() + " covers otherwise; remove it"})
	return true, nil
}

func ofOneOwner(a, b *analysis.Area) bool {
	return a.Section == b.Section && a.Permission == b.Permission
}

// grants reports whether every caller who has the scopes that an activity requires
// holds a permission by them.
func (l *linter) grants(a *analysis.Area, name string) bool {
	lacks := func(scope string) bool {
		grants, _ := l.table.ScopeGrants(scope, name)
		return !grants
	}
	return slices.ContainsFunc(a.Require.AllScopes, func(s string) bool { return !lacks(s) }) ||
		len(a.Require.AnyScope) > 0 && !slices.ContainsFunc(a.Require.AnyScope, lacks)
}

// deciding keeps the neighbours that decide a call which they share with a. Their
// Shared is such a call then.
func (l *linter) deciding(a *analysis.Area, keep func(analysis.Neighbour) bool) ([]analysis.Neighbour, error) {
	var kept []analysis.Neighbour
	for _, n := range those(l.near[a], keep) {
		call, ok, err := l.decides(a, n)
		if err != nil {
			return nil, err
		}
		if ok {
			n.Shared = call
			kept = append(kept, n)
		}
	}
	return kept, nil
}

// decides finds a call of a that its neighbour decides, and may open.
func (l *linter) decides(a *analysis.Area, n analysis.Neighbour) (analysis.Call, bool, error) {
	if l.lacksActor(&n.OwnedActivity) != "" {
		return analysis.Call{}, false, nil
	}
	over := l.outranking(n.Area)
	if !slices.ContainsFunc(over, func(o analysis.Neighbour) bool { return o.Covers(&n.Shared) }) {
		return n.Shared, true, nil
	}
	all := []*analysis.Area{a, n.Area}
	for _, o := range over {
		all = append(all, o.Area)
	}
	for _, method := range analysis.MethodClasses(a, all) {
		for _, host := range analysis.HostClasses(all) {
			if !a.CoversHost(host) || !n.CoversHost(host) || !n.CoversMethod(method) {
				continue
			}
			var taken []*automaton.Language
			for _, o := range over {
				if o.CoversMethod(method) && o.CoversHost(host) {
					taken = append(taken, o.Paths)
				}
			}
			path, ok, err := automaton.Beyond([]*automaton.Language{a.Paths, n.Paths}, taken...)
			if ok || err != nil {
				return analysis.Call{Method: method, Host: host, Path: path}, ok, err
			}
		}
	}
	return analysis.Call{}, false, nil
}

// decidedBy keeps the neighbours of which a decides a call. Their Shared is such a
// call then.
func (l *linter) decidedBy(a *analysis.Area, list []analysis.Neighbour) ([]analysis.Neighbour, error) {
	var kept []analysis.Neighbour
	for _, n := range list {
		call, ok, err := l.decides(n.Area, analysis.Neighbour{Area: a, Shared: n.Shared})
		if err != nil {
			return nil, err
		}
		if ok {
			n.Shared = call
			kept = append(kept, n)
		}
	}
	return kept, nil
}

// overlapOpen looks at a public or optional activity and what guards its calls.
func (l *linter) overlapOpen(a *analysis.Area) error {
	if a.Section.Guards() {
		return nil
	}
	guarded := those(l.near[a], func(n analysis.Neighbour) bool { return n.Section.Guards() })
	if a.Override {
		var err error
		guarded, err = l.decidedBy(a, those(guarded, func(n analysis.Neighbour) bool { return !n.Anonymous || !n.Demand().Empty() }))
		if err != nil {
			return err
		}
	}
	if len(guarded) == 0 {
		return nil
	}
	n := guarded[0]
	text := "not " + map[permission.Section]string{permission.InPublic: "public", permission.InOptional: "for everybody"}[a.Section] +
		" after all where " + owners(guarded) + " " + cover(guarded) + " the call too; the stricter section decides"
	if a.Override {
		text = "overrides " + owners(guarded) + ": anybody may make the call"
	}
	l.add(Finding{Rule: "overlap-" + a.Section.String(), Place: a.Place, home: a.Place, Witness: &n.Shared, Other: &n.Place, Text: text})
	return nil
}

// overlapAnonymous looks at an activity of a permission that everybody holds, and at
// what guards its calls otherwise.
func (l *linter) overlapAnonymous(a *analysis.Area) error {
	if !a.Anonymous {
		return nil
	}
	guarded, err := l.decidedBy(a, those(l.near[a], func(n analysis.Neighbour) bool {
		switch {
		case n.Section == permission.InAuthenticated:
			return a.Open()
		case n.Section == permission.InPermission:
			return !n.Anonymous && !(l.grants(a, n.Permission) && l.implies(n.Area, a))
		}
		return false
	}))
	if len(guarded) == 0 || err != nil {
		return err
	}
	who := "a caller without a credential holds " + a.Permission
	if !a.Open() {
		who = "every caller holds " + a.Permission
	}
	l.add(Finding{Rule: "overlap-anonymous", Place: a.Place, home: a.Place, Witness: &guarded[0].Shared, Other: &guarded[0].Place,
		Text: who + ", by which the call passes although " + owners(guarded) + " " + cover(guarded) + " it too; leave it out of the regex, or accept it by a comment: # lint:ignore overlap-anonymous: REASON"})
	return nil
}

// overlapAuthenticated looks at an authenticated activity by which calls pass
// without the permission that guards them.
func (l *linter) overlapAuthenticated(a *analysis.Area) error {
	if a.Section != permission.InAuthenticated || !a.Override {
		return nil
	}
	guarded, err := l.decidedBy(a, those(l.near[a], func(n analysis.Neighbour) bool {
		return n.Section == permission.InPermission && !((n.Anonymous || l.grants(a, n.Permission)) && l.implies(n.Area, a))
	}))
	if len(guarded) == 0 || err != nil {
		return err
	}
	who := "any valid credential"
	if !a.Demand().Empty() {
		who = "any credential that meets the requirement here"
	}
	l.add(Finding{Rule: "overlap-authenticated", Place: a.Place, home: a.Place, Witness: &guarded[0].Shared, Other: &guarded[0].Place,
		Text: "overrides " + owners(guarded) + ": the call passes with " + who})
	return nil
}

// bypassedRequirement looks for ways around the requirement of an activity. Those
// by an override of another section are findings about the override.
func (l *linter) bypassedRequirement(a *analysis.Area) error {
	if a.Demand().Empty() {
		return nil
	}
	around, err := l.deciding(a, func(n analysis.Neighbour) bool { return n.Section >= a.Section && !l.implies(a, n.Area) })
	if len(around) == 0 || err != nil {
		return err
	}
	n := around[0]
	text := owners(around) + " " + open(around) + " the call without the requirement; require it there too"
	switch all, err := within(a, around...); {
	case err != nil:
		return err
	case all:
		text = "the requirement never counts: " + owners(around) + " " + open(around) + " all calls without it; require it there too"
	}
	// Without an activity of a stricter section, this one would decide.
	if !slices.ContainsFunc(around, func(n analysis.Neighbour) bool { return n.Section != a.Section }) {
		text += ", or keep the call out of it"
	}
	f := Finding{Rule: "bypassed-requirement", Place: a.Place, home: a.Place, Witness: &n.Shared, Other: &n.Place, Text: text}
	l.show(&f, a, n)
	l.add(f)
	return nil
}

// alsoOpenedBy looks for calls with a permission of their own that another
// permission opens too, such as /users/export next to /users/[^/]+.
func (l *linter) alsoOpenedBy(a *analysis.Area) error {
	if a.Section != permission.InPermission || a.Anonymous {
		return nil
	}
	var opening, opened []analysis.Neighbour
	for _, n := range l.near[a] {
		if n.Section != permission.InPermission || n.Anonymous || n.Permission == a.Permission || !l.implies(a, n.Area) || !l.implies(n.Area, a) {
			continue
		}
		here, err := l.reportedAt(a, n.Area)
		if err != nil {
			return err
		}
		if !here {
			continue
		}
		by, err := l.opensTo(a, n)
		if err != nil {
			return err
		}
		if by != nil {
			opening = append(opening, *by)
			continue
		}
		to, err := l.opensTo(n.Area, analysis.Neighbour{Area: a, Shared: n.Shared})
		if err != nil {
			return err
		}
		if to != nil {
			opened = append(opened, analysis.Neighbour{Area: n.Area, Shared: to.Shared})
		}
	}
	const accept = ", or accept it by a comment: # lint:ignore also-opened-by: REASON"
	if len(opening) > 0 {
		n := opening[0]
		l.add(Finding{Rule: "also-opened-by", Place: a.Place, home: a.Place, Witness: &n.Shared, Other: &n.Place,
			Text: owners(opening) + " " + open(opening) + " the call too, by " + n.Activity.String() + "; leave it out of that regex" + accept})
	}
	if len(opened) > 0 {
		n := opened[0]
		l.add(Finding{Rule: "also-opened-by", Place: a.Place, home: a.Place, Witness: &n.Shared, Other: &n.Place,
			Text: "opens the call of " + owners(opened) + " too, which is " + n.Activity.String() + "; leave it out of the regex" + accept})
	}
	return nil
}

// opensTo finds a call of a that its neighbour opens to callers who lack the permission of
// a; nil where there is none.
func (l *linter) opensTo(a *analysis.Area, n analysis.Neighbour) (*analysis.Neighbour, error) {
	if l.grants(n.Area, a.Permission) {
		return nil, nil
	}
	call, ok, err := l.decides(a, n)
	if !ok || err != nil {
		return nil, err
	}
	n.Shared = call
	return &n, nil
}

// reportedAt reports whether what two activities share is a finding about the
// first: about the narrower of the two, or else about the later.
func (l *linter) reportedAt(a, b *analysis.Area) (bool, error) {
	aInB, err := within(a, analysis.Neighbour{Area: b})
	if err != nil {
		return false, err
	}
	bInA, err := within(b, analysis.Neighbour{Area: a})
	if aInB != bInA {
		return aInB, err
	}
	return l.order[a] > l.order[b], err
}
