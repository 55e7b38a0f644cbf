// Package lint looks for what is probably not meant in a permission table.
package lint

import (
	"cmp"
	"errors"
	"slices"

	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/report"
)

// LintRule is one thing that Lint looks for.
type LintRule struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
}

// LintRules lists everything that Lint looks for.
var LintRules = []LintRule{
	{"overlap-public", "a public activity covers calls that a permission or the authenticated section guards"},
	{"also-opened-by", "a call with an activity of its own is opened by another permission's wildcard too"},
	{"bypassed-requirement", "a call with a requirement is covered by an activity that lacks it"},
	{"duplicate", "two activities of one owner cover exactly the same calls"},
	{"redundant", "an activity covers nothing that the others of its owner do not"},
	{"unreachable", "an activity covers nothing, or never has a say"},
	{"dead-branch", "a branch of an alternation matches no path"},
	{"bare-dot", "a dot that matches any character stands where a dot is meant"},
	{"crosses-segments", "a wildcard of a write runs across slashes"},
	{"odd-range", "a range such as A-z holds characters between Z and a"},
	{"needless-anchor", "a regex is anchored, which every path regex is"},
	{"ungranted", "no role and no scope grants a permission"},
	{"empty", "a permission has no activity, or a role grants nothing"},
	{"redundant-grant", "a role lists what a role that it includes grants"},
	{"scope-replaces-grant", "an entry under scopes takes the grant that its name gives"},
	{"undecided", "a regex is too large to compare"},
	{"lint-ignore", "a comment that silences a finding is malformed or silences nothing"},
}

// Finding is something in a table that is probably not meant.
type Finding struct {
	Rule string
	report.Place
	Text string
	// Witness shows the finding; nil where there is nothing to show.
	Witness *analysis.Call
	// Other is the second place that takes part, if any.
	Other *report.Place
	// Reason is why the finding was silenced, where it was.
	Reason string
	// home is the line of the rule, near which the finding can be silenced.
	home report.Place
}

// Report is what Lint found.
type Report struct {
	Findings []Finding
	// Silenced are findings that a comment next to their rule accepts.
	Silenced []Finding
}

// Lint looks for what is probably not meant in the files of one table, which
// must compile. texts holds the content of each file, for its comments.
func Lint(table *permission.Table, files []*permission.File, texts map[string][]byte) (*Report, error) {
	all, err := analysis.Areas(permission.Activities(files...))
	if err != nil {
		return nil, err
	}
	l := &linter{table: table, files: files, all: all}
	l.names()
	for _, a := range all {
		l.regex(a)
	}
	if err := l.calls(); err != nil {
		return nil, err
	}
	return silence(l.findings, texts, files), nil
}

type linter struct {
	table    *permission.Table
	files    []*permission.File
	all      []*analysis.Area
	findings []Finding
}

func (l *linter) add(f Finding) { l.findings = append(l.findings, f) }

// calls looks at which calls activities share.
func (l *linter) calls() error {
	near, pairs, err := analysis.Neighbours(l.all)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		l.add(Finding{Rule: "undecided", Place: p.A.PathPlace, home: p.A.Place, Other: &p.B.Place,
			Text: "what the two regexes share is too large to decide; split them into several activities"})
	}
	flagged := map[*analysis.Area]bool{}
	for i := len(l.all) - 1; i >= 0; i-- {
		a := l.all[i]
		if a.Paths == nil {
			l.add(Finding{Rule: "undecided", Place: a.PathPlace, home: a.Place,
				Text: "the regex is too large to compare with others; split it into several activities"})
			continue
		}
		n := near[a]
		for _, check := range []func(*analysis.Area, []analysis.Neighbour, map[*analysis.Area]bool) error{l.unreachable, l.redundant} {
			if !flagged[a] {
				if err := undecided(l, a, check(a, n, flagged)); err != nil {
					return err
				}
			}
		}
		if flagged[a] {
			continue
		}
		for _, check := range []func(*analysis.Area, []analysis.Neighbour) error{l.overlapPublic, l.bypassedRequirement, l.alsoOpenedBy} {
			if err := undecided(l, a, check(a, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

func undecided(l *linter, a *analysis.Area, err error) error {
	if !errors.Is(err, automaton.ErrTooLarge) {
		return err
	}
	l.add(Finding{Rule: "undecided", Place: a.PathPlace, home: a.Place,
		Text: "what the regex shares with others is too large to decide; split it into several activities"})
	return nil
}

// beyond returns a call that a covers and none of the others; ok is false when
// the others cover all.
func beyond(a *analysis.Area, others []analysis.Neighbour) (call analysis.Call, ok bool, err error) {
	plain := make([]*analysis.Area, len(others))
	for i := range others {
		plain[i] = others[i].Area
	}
	for _, method := range analysis.MethodClasses(a, plain) {
		for _, host := range analysis.HostClasses(append([]*analysis.Area{a}, plain...)) {
			if !a.CoversHost(host) {
				continue
			}
			var covering []*automaton.Language
			for _, o := range plain {
				if o.CoversMethod(method) && o.CoversHost(host) {
					covering = append(covering, o.Paths)
				}
			}
			path, ok, err := automaton.Beyond([]*automaton.Language{a.Paths}, covering...)
			if ok || err != nil {
				return analysis.Call{Method: method, Host: host, Path: path}, ok, err
			}
		}
	}
	return analysis.Call{}, false, nil
}

func those(list []analysis.Neighbour, keep func(analysis.Neighbour) bool) []analysis.Neighbour {
	var kept []analysis.Neighbour
	for _, n := range list {
		if keep(n) {
			kept = append(kept, n)
		}
	}
	return kept
}

func (l *linter) unreachable(a *analysis.Area, near []analysis.Neighbour, flagged map[*analysis.Area]bool) error {
	if a.Paths.Empty() {
		flagged[a] = true
		l.add(Finding{Rule: "unreachable", Place: a.PathPlace, home: a.Place,
			Text: "the regex matches no canonical path, so the activity covers nothing; mend it or remove it"})
		return nil
	}
	over := those(near, func(n analysis.Neighbour) bool { return analysis.Outranks(n.Area, a) })
	if len(over) == 0 {
		return nil
	}
	if _, some, err := beyond(a, over); some || err != nil {
		return err
	}
	flagged[a] = true
	l.add(Finding{Rule: "unreachable", Place: a.Place, home: a.Place, Witness: &over[0].Shared, Other: &over[0].Place,
		Text: "the " + a.Section.String() + " activity never has a say: " + owners(over) + " " + take(over) + " all its calls; remove it, or mark it override if it is the exception"})
	return nil
}

func (l *linter) redundant(a *analysis.Area, near []analysis.Neighbour, flagged map[*analysis.Area]bool) error {
	same := those(near, func(n analysis.Neighbour) bool {
		return !flagged[n.Area] && n.Section == a.Section && n.Permission == a.Permission && n.Override == a.Override &&
			analysis.Weaker(n.Demand(), a.Demand()) == analysis.Yes
	})
	if len(same) == 0 {
		return nil
	}
	if _, some, err := beyond(a, same); some || err != nil {
		return err
	}
	flagged[a] = true
	f := Finding{Rule: "redundant", Place: a.Place, home: a.Place, Witness: &same[0].Shared, Other: &same[0].Place}
	equal := func(n analysis.Neighbour) bool { return analysis.Weaker(a.Demand(), n.Demand()) == analysis.Yes }
	for _, n := range same {
		_, more, err := beyond(n.Area, []analysis.Neighbour{{Area: a}})
		if err != nil {
			return err
		}
		if !more && equal(n) {
			f.Rule, f.Witness, f.Other = "duplicate", &n.Shared, &n.Place
			f.Text = a.Owner() + " covers exactly the same calls at " + n.Place.String() + "; remove one of the two"
			l.add(f)
			return nil
		}
	}
	switch {
	case !slices.ContainsFunc(same, equal):
		f.Rule = "bypassed-requirement"
		f.Text = "the requirement never counts: " + a.Owner() + " covers the same calls without it at " + same[0].Place.String() + "; require it there too, or keep the calls out of it"
	default:
		f.Text = "the activity adds nothing to what " + a.Owner() + " covers otherwise; remove it"
	}
	l.add(f)
	return nil
}

// overlapPublic looks at a public activity and what guards its calls.
func (l *linter) overlapPublic(a *analysis.Area, near []analysis.Neighbour) error {
	if a.Section != permission.InPublic {
		return nil
	}
	guarded := those(near, func(n analysis.Neighbour) bool { return n.Section != permission.InPublic })
	if len(guarded) == 0 {
		return nil
	}
	n := guarded[0]
	text := "not public after all where " + owners(guarded) + " " + cover(guarded) + " the call too; the stricter section decides"
	if a.Override {
		text = "overrides " + owners(guarded) + ": anybody may make the call"
	}
	l.add(Finding{Rule: "overlap-public", Place: a.Place, home: a.Place, Witness: &n.Shared, Other: &n.Place, Text: text})
	return nil
}

// bypassedRequirement looks for ways around the requirement of an activity.
func (l *linter) bypassedRequirement(a *analysis.Area, near []analysis.Neighbour) error {
	around := those(near, func(n analysis.Neighbour) bool {
		return n.Section == a.Section && n.Section != permission.InPublic && analysis.Weaker(a.Demand(), n.Demand()) == analysis.No
	})
	if len(around) == 0 {
		return nil
	}
	n := around[0]
	text := owners(around) + " " + cover(around) + " the call without the requirement; require it there too, or keep the call out of it"
	l.add(Finding{Rule: "bypassed-requirement", Place: a.Place, home: a.Place, Witness: &n.Shared, Other: &n.Place, Text: text})
	return nil
}

// alsoOpenedBy looks for words that pass for ids: /users/export next to
// /users/[^/]+ of another permission.
func (l *linter) alsoOpenedBy(a *analysis.Area, near []analysis.Neighbour) error {
	if a.Section != permission.InPermission {
		return nil
	}
	depth, ok, err := segments(a.Paths)
	if !ok || err != nil {
		return err
	}
	var wild []analysis.Neighbour
	for _, n := range those(near, func(n analysis.Neighbour) bool {
		return n.Section == permission.InPermission && n.Permission != a.Permission
	}) {
		opens, err := l.coversMore(n, a, depth)
		if err != nil {
			return err
		}
		if opens {
			wild = append(wild, n)
		}
	}
	if len(wild) == 0 {
		return nil
	}
	n := wild[0]
	l.add(Finding{Rule: "also-opened-by", Place: a.Place, home: a.Place, Witness: &n.Shared, Other: &n.Place,
		Text: owners(wild) + " " + open(wild) + " the call too, by " + n.Activity.String() + "; leave it out of that regex, or say that it is meant"})
	return nil
}

// coversMore reports whether all paths of a, and others, are matched by n, which
// has the same number of segments and so was not meant to cover everything
// below.
func (l *linter) coversMore(n analysis.Neighbour, a *analysis.Area, depth int) (bool, error) {
	d, ok, err := segments(n.Paths)
	if !ok || d != depth || err != nil {
		return false, err
	}
	if _, some, err := automaton.Beyond([]*automaton.Language{a.Paths}, n.Paths); some || err != nil {
		return false, err
	}
	_, more, err := automaton.Beyond([]*automaton.Language{n.Paths}, a.Paths)
	return more, err
}

// segments counts the segments of the paths of a language; ok is false where
// they differ.
func segments(paths *automaton.Language) (n int, ok bool, err error) {
	path, ok, err := automaton.Witness(paths)
	if !ok || err != nil {
		return 0, false, err
	}
	n = countSlashes(path)
	_, other, err := automaton.Beyond([]*automaton.Language{paths}, withSlashes(n))
	return n, !other, err
}

// byPlace is the order in which people read findings.
func byPlace(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Rule, b.Rule))
}
