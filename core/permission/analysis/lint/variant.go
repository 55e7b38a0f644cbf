package lint

import (
	"errors"
	"regexp/syntax"

	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
)

// Many upstreams read a name in any case, or with a slash or an extension behind it
// (Express, Rails, IIS, Spring): to them /Admin and /admin.json are /admin.
const variantSuffix = `(?:/|\.[A-Za-z0-9]+)?`

// variants are the paths that such an upstream may read as one of the activity.
func variants(a *analysis.Area) (*automaton.Language, error) {
	tree, err := syntax.Parse(`(?i:`+a.Path+`)`+variantSuffix, syntax.Perl)
	if err != nil {
		return nil, err
	}
	return analysis.Canonical(tree)
}

// variantGuard is an activity that guards calls, with the paths that stand for them.
type variantGuard struct {
	*analysis.Area
	variants *automaton.Language
}

// variants looks for paths that a public or authenticated activity opens, and that
// an upstream may take for one that a stricter section guards.
func (l *linter) variants() error {
	var guards []variantGuard
	for _, a := range l.all {
		if a.Section == permission.InPublic || a.Paths == nil {
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
		if a.Section == permission.InPermission || a.Paths == nil {
			continue
		}
		if err := undecided(l, a, l.opensVariant(a, guards)); err != nil {
			return err
		}
	}
	return nil
}

// opensVariant looks at one activity that opens calls.
func (l *linter) opensVariant(a *analysis.Area, guards []variantGuard) error {
	stricter := []variantGuard{}
	all := []*analysis.Area{a}
	for _, g := range guards {
		if g.Section > a.Section {
			stricter = append(stricter, g)
			all = append(all, g.Area)
		}
	}
	for _, method := range analysis.MethodClasses(a, all) {
		for _, host := range analysis.HostClasses(all) {
			if !a.CoversHost(host) {
				continue
			}
			call, guard, err := variantOn(a, method, host, stricter)
			if err != nil {
				return err
			}
			if guard != nil {
				l.add(Finding{Rule: "path-variant", Place: a.Place, home: a.Place, Witness: &call, Other: &guard.Place,
					Text: "opens paths that an upstream may take for those of " + guard.Owner() + ", in another case or with a slash or an extension behind; leave them out, unless the upstream tells them apart"})
				return nil
			}
		}
	}
	return nil
}

// variantOn finds a call that a covers and no stricter activity does, although its
// path is a variant of one that such an activity covers.
func variantOn(a *analysis.Area, method, host string, stricter []variantGuard) (analysis.Call, *analysis.Area, error) {
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
	var call analysis.Call
	var guard *analysis.Area
	err := automaton.Explore([]*automaton.Language{a.Paths}, languages, func(members []int, path string) bool {
		if len(members) == 0 || members[len(members)-1] >= len(covering) {
			return true // no variant, or guarded itself
		}
		call, guard = analysis.Call{Method: method, Host: host, Path: path}, covering[members[0]]
		return false
	})
	return call, guard, err
}
