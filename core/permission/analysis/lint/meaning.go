package lint

import (
	"context"

	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/callers"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/passing"
	"gatehouse/core/permission/require"
)

// meanings compares requirements by meaning where it does not tell how they are written.
type meanings struct {
	*passing.World
	side *passing.Side
	read map[*analysis.Area]*passing.Meaning
	// within are answers that are known, by what is required.
	within map[[2]string]bool
}

func newMeanings(table *permission.Table, files []*permission.File, all []*analysis.Area) *meanings {
	m := &meanings{World: passing.NewWorld(context.Background(), passing.Options{}), read: map[*analysis.Area]*passing.Meaning{}, within: map[[2]string]bool{}}
	m.side = m.Add(passing.Version{Table: table, Files: files}, all)
	return m
}

// of is what an activity requires.
func (m *meanings) of(a *analysis.Area) *passing.Meaning {
	if m.read[a] == nil {
		m.read[a] = passing.MeaningOf(a.Activity)
	}
	return m.read[a]
}

// implies reports whether every caller who meets the requirements of b meets those of a.
// It is false, too, where that cannot be told.
func (l *linter) implies(a, b *analysis.Area) bool {
	if require.Weaker(a.Demand(), b.Demand()) == require.Yes {
		return true
	}
	if !a.Require.Conditional() && !b.Require.Conditional() {
		return false
	}
	key := [2]string{a.Path + " " + a.Demand().Key(), b.Path + " " + b.Demand().Key()}
	within, known := l.meanings.within[key]
	if !known {
		within = l.meanings.implies(a, b)
		l.meanings.within[key] = within
	}
	return within
}

func (m *meanings) implies(a, b *analysis.Area) bool {
	one, other := m.of(a), m.of(b)
	f := formula.And(other.Met, formula.Not(one.Met), one.Given, other.Given)
	_, answer := formula.Solve(formula.And(f, m.Accepted.Given(f)))
	return answer == formula.Unsatisfiable
}

// show adds to a finding a caller who makes a call by a neighbour and does not meet what
// the activity requires, where there is an example.
func (l *linter) show(f *Finding, a *analysis.Area, n analysis.Neighbour) {
	if !a.Require.Conditional() && !n.Require.Conditional() {
		return
	}
	need := l.meanings.of(a)
	by := l.meanings.side.Passage(n.Shared)
	question := &passing.Lack{
		World: l.meanings.World, Call: n.Shared, By: by, Needed: need.Requirement, Meanings: []*passing.Meaning{need}, Actors: a.Require.ActorPatterns(),
		Who:     formula.And(formula.Not(callers.Limited()), by.Through(func(o *permission.OwnedActivity) bool { return o.Place == n.Place })),
		Inside:  func() []*automaton.Language { return []*automaton.Language{a.Paths, n.Paths} },
		Outside: func() []*automaton.Language { return nil },
		Has:     func(w *passing.Witness) bool { return !a.Covers(&w.Call) || w.Meets(&a.Require, a.Condition()) },
	}
	if len(by.Deciding()) == 0 || question.Possible() != formula.Satisfiable {
		return
	}
	if err := question.Show(); err == nil && question.Witness != nil {
		f.Witness, f.Caller = &question.Witness.Call, question.Witness.Example
	}
}
