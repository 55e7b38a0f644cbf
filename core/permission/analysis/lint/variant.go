package lint

import (
	"errors"
	"slices"

	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/variant"
)

// variants are the paths that some upstream may read as one of the activity.
func variants(a *analysis.Area) (*automaton.Language, error) {
	path, err := a.Seen()
	if err != nil {
		return nil, err
	}
	return analysis.Canonical(variant.Widest.Of(path).Tree)
}

// variantGuard is an activity that guards calls, with the paths that stand for them.
type variantGuard struct {
	*analysis.Area
	variants *automaton.Language
}

// level is how strict an activity is: one of a permission that a caller without a
// credential holds guards nothing.
func level(a *analysis.Area) permission.Section {
	if a.Open() {
		return min(a.Section, permission.InOptional)
	}
	return a.Section
}

// demandsOfAnybody reports whether a caller without a credential holds the permission of an
// activity, and has to meet something that needs none, such as a header or the answer of a
// decision point.
func demandsOfAnybody(a *analysis.Area) bool {
	return a.Section > permission.InOptional && a.Open() && !a.Require.Empty()
}

// stricter reports whether one activity guards calls that another opens.
func stricter(g, a *analysis.Area) bool {
	if demandsOfAnybody(g) {
		return !a.AsStrict(&g.OwnedActivity)
	}
	return level(g) > level(a)
}

// variants looks for paths that a public or authenticated activity opens, and that
// an upstream may take for one that a stricter section guards.
func (l *linter) variants() error {
	var guards []variantGuard
	for _, a := range l.all {
		if level(a) <= permission.InOptional && !demandsOfAnybody(a) || a.Paths == nil {
			continue
		}
		paths, err := variants(a)
		if errors.Is(err, automaton.ErrTooLarge) {
			l.add(Finding{Rule: "undecided", Place: a.PathPlace, home: a.Place,
				Text: "the regex is too large to tell which paths an upstream may take for its own; split it into several activities"})
			continue
		} else if err != nil {
			return err
		}
		guards = append(guards, variantGuard{a, paths})
	}
	for _, a := range l.all {
		if level(a) == permission.InPermission || a.Paths == nil {
			continue
		}
		if err := undecided(l, a, l.opensVariant(a, guards)); err != nil {
			return err
		}
	}
	return nil
}

// variantAdvice says what would refuse such paths.
func (l *linter) variantAdvice() string {
	if slices.ContainsFunc(l.files, func(f *permission.File) bool { return f.PathVariants != nil }) {
		return "leave them out, or let path_variants refuse them too, unless the upstream tells them apart"
	}
	return "leave them out, or refuse them with path_variants: {case: refuse, trailing_slash: refuse, suffixes: ['.*']}, unless the upstream tells them apart"
}

// opensVariant looks at one activity that opens calls.
func (l *linter) opensVariant(a *analysis.Area, guards []variantGuard) error {
	against := []variantGuard{}
	all := []*analysis.Area{a}
	for _, g := range guards {
		if stricter(g.Area, a) {
			against = append(against, g)
			all = append(all, g.Area)
		}
	}
	var refused []*analysis.Area
	for _, r := range l.refusing[a] {
		refused = append(refused, r.Area)
	}
	for _, method := range analysis.MethodClasses(a, all) {
		for _, host := range analysis.HostClasses(all) {
			if !a.CoversHost(host) {
				continue
			}
			call, guard, err := variantOn(a, method, host, against, refused)
			if err != nil {
				return err
			}
			if guard != nil {
				l.add(Finding{Rule: "path-variant", Place: a.Place, home: a.Place, Witness: &call, Other: &guard.Place,
					Text: "opens paths that an upstream may take for those of " + guard.Owner() + ", in another case, or with a slash or an extension more or less; " + l.variantAdvice()})
				return nil
			}
		}
	}
	return nil
}

// variantOn finds a call that a covers and no stricter activity does, although its
// path is a variant of one that such an activity covers.
func variantOn(a *analysis.Area, method, host string, stricter []variantGuard, refused []*analysis.Area) (analysis.Call, *analysis.Area, error) {
	var covering []*analysis.Area
	var languages []*automaton.Language
	for _, g := range stricter {
		if g.CoversMethod(method) && g.CoversHost(host) {
			covering = append(covering, g.Area)
			languages = append(languages, g.variants)
		}
	}
	for _, g := range covering {
		languages = append(languages, g.Paths)
	}
	for _, r := range refused {
		if r.CoversMethod(method) && r.CoversHost(host) {
			languages = append(languages, r.Paths)
		}
	}
	var call analysis.Call
	var guard *analysis.Area
	err := automaton.Explore([]*automaton.Language{a.Paths}, languages, func(members []int, path string) bool {
		if len(members) == 0 || members[len(members)-1] >= len(covering) {
			return true // no variant, or guarded itself, or refused
		}
		call, guard = analysis.Call{Method: method, Host: host, Path: path}, covering[members[0]]
		return false
	})
	return call, guard, err
}
