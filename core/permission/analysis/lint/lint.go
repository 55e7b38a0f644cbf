// Package lint looks for what is probably not meant in a permission table.
package lint

import (
	"cmp"
	"errors"
	"slices"

	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/callers"
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
	{"overlap-optional", "an optional activity covers calls that a permission or the authenticated section guards"},
	{"overlap-anonymous", "a permission that everybody holds, also without a credential, opens calls that are guarded otherwise"},
	{"overlap-authenticated", "an authenticated activity overrides a permission"},
	{"also-opened-by", "a call with a permission of its own is opened by another permission too"},
	{"bypassed-requirement", "a call with a requirement or condition passes by an activity that lacks it"},
	{"path-variant", "an open path is a guarded one in another case or with a suffix, which many upstreams do not tell apart"},
	{"mcp-endpoint", "a regex matches an endpoint of the Model Context Protocol, which the activity does not cover"},
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
	{"unnamed-actor", "an activity asks for an actor whom the table does not let make the call"},
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
	// Witness shows the finding; nil where there is nothing to show. Caller makes the call
	// and lacks what is required; nil where every caller does who lacks it, or where there is
	// no example.
	Witness *analysis.Call
	Caller  *callers.Example
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
	l := &linter{table: table, files: files, order: map[*analysis.Area]int{}, refusing: map[*analysis.Area][]analysis.Neighbour{}, meanings: newMeanings(table, files, all)}
	for i, a := range all {
		l.order[a] = i
		if a.Guard != nil {
			l.refused = append(l.refused, a)
		} else {
			l.all = append(l.all, a)
		}
	}
	l.names()
	for _, a := range l.all {
		l.regex(a)
		l.actor(&a.OwnedActivity)
	}
	if err := l.calls(); err != nil {
		return nil, err
	}
	if err := l.variants(); err != nil {
		return nil, err
	}
	return silence(l.findings, texts, files), nil
}

type linter struct {
	table *permission.Table
	files []*permission.File
	all   []*analysis.Area
	// refused are what the table refuses as variants of guarded paths, and refusing
	// those of them that share calls with an activity and take them from it.
	refused  []*analysis.Area
	refusing map[*analysis.Area][]analysis.Neighbour
	order    map[*analysis.Area]int
	near     map[*analysis.Area][]analysis.Neighbour
	findings []Finding
	meanings *meanings
}

func (l *linter) add(f Finding) { l.findings = append(l.findings, f) }

// calls looks at which calls activities share.
func (l *linter) calls() error {
	near, pairs, err := analysis.Neighbours(slices.Concat(l.all, l.refused))
	if err != nil {
		return err
	}
	for _, p := range pairs {
		l.add(Finding{Rule: "undecided", Place: p.A.PathPlace, home: p.A.Place, Other: &p.B.Place,
			Text: "what the two regexes share is too large to decide; split them into several activities"})
	}
	for a, list := range near {
		l.refusing[a] = those(list, func(n analysis.Neighbour) bool { return n.Guard != nil && analysis.Outranks(n.Area, a) })
		near[a] = those(list, func(n analysis.Neighbour) bool { return n.Guard == nil })
	}
	l.near = near
	redundant := map[*analysis.Area]bool{}
	for i := len(l.all) - 1; i >= 0; i-- {
		a := l.all[i]
		if a.Paths == nil {
			l.add(Finding{Rule: "undecided", Place: a.PathPlace, home: a.Place,
				Text: "the regex is too large to compare with others; split it into several activities"})
			continue
		}
		if err := undecided(l, a, l.activity(a, redundant)); err != nil {
			return err
		}
	}
	return nil
}

// activity looks at one activity beside the others. One that is redundant is done
// with: the others of its owner open and require the same.
func (l *linter) activity(a *analysis.Area, redundant map[*analysis.Area]bool) error {
	if never, err := l.unreachable(a); never || err != nil {
		return errors.Join(err, l.bypassedRequirement(a))
	}
	var err error
	if redundant[a], err = l.redundant(a, redundant); redundant[a] || err != nil {
		return err
	}
	for _, check := range []func(*analysis.Area) error{l.overlapOpen, l.overlapAnonymous, l.overlapAuthenticated, l.bypassedRequirement, l.alsoOpenedBy} {
		if err := check(a); err != nil {
			return err
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

// within reports whether others cover every call that a covers.
func within(a *analysis.Area, others ...analysis.Neighbour) (bool, error) {
	_, more, err := beyond(a, others)
	return !more, err
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

// byPlace is the order in which people read findings.
func byPlace(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Rule, b.Rule))
}
