// Package passing says who passes a call of a permission table. It finds a caller who passes
// and lacks something, with a call that shows it, or that there is none, or that it cannot
// tell. What it does not know it never takes as "none".
package passing

import (
	"context"
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/callers"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/model"
	"gatehouse/core/permission/subject"
)

// Version is a table with the files that it was made of.
type Version struct {
	Table *permission.Table
	Files []*permission.File
}

// Options say by which gate a table decides. The zero value is one that accepts every
// kind of credential.
type Options struct {
	Path     core.PathOptions
	Accepted callers.Accepted
	// ScopesRequired are those that every call needs that is not public.
	ScopesRequired []string
	// Confirm asks a gate whether a witness passes, and returns why not; nil: the table
	// is asked alone.
	Confirm func(*Witness) error
}

// World is what takes part in questions: tables, and what else is asked of callers.
type World struct {
	Options
	Sides []*Side
	// Asked are activities whose requirements take part beside those of the tables.
	Asked []*permission.Activity
	ctx   context.Context
	ids   []string // see workloads
}

// NewWorld makes one without tables. Questions end when the context does.
func NewWorld(ctx context.Context, o Options) *World { return &World{Options: o, ctx: ctx} }

// Add has a table take part. Areas are those of its activities, and behind them what the
// table refuses.
func (w *World) Add(v Version, areas []*analysis.Area) *Side {
	s := &Side{Table: v.Table, of: w, Rules: permission.Activities(v.Files...), Areas: areas, Endpoints: model.Endpoints(v.Files),
		meanings: map[int]*Meaning{}, held: map[string]formula.Formula{}, known: map[int]string{}}
	w.Sides = append(w.Sides, s)
	return s
}

// workloads are examples of those that patterns and conditions tell apart.
func (w *World) workloads() []string {
	if w.ids != nil {
		return w.ids
	}
	w.ids = []string{}
	var texts []string
	for _, s := range w.Sides {
		texts = append(texts, s.Subjects()...)
	}
	if len(texts) == 0 {
		return w.ids
	}
	for _, c := range w.conditions() {
		for _, v := range formula.NamesOf(c.Met).Values[condition.Claim("sub")] {
			texts = append(texts, v.Text)
		}
	}
	var patterns []*subject.Pattern
	for _, text := range texts {
		if pattern, err := subject.Parse(text); err == nil {
			patterns = append(patterns, pattern)
		}
	}
	for _, ids := range subject.Examples(patterns) {
		w.ids = append(w.ids, ids...)
	}
	slices.Sort(w.ids)
	w.ids = slices.Compact(w.ids)
	return w.ids
}

// IsWorkload holds for workloads whose SPIFFE IDs a pattern stands for.
func (w *World) IsWorkload(pattern string) formula.Formula {
	p, err := subject.Parse(pattern)
	if err != nil {
		return formula.Never
	}
	any := formula.Never
	for _, id := range w.workloads() {
		if p.Matches(id) {
			any = formula.Or(any, callers.IsSubject(id))
		}
	}
	return formula.And(callers.OfKind(core.KindSPIFFE), any)
}

// conditions are what the requirements of all activities say.
func (w *World) conditions() (all []*Meaning) {
	activities := slices.Clone(w.Asked)
	for _, s := range w.Sides {
		for i := range s.Rules {
			activities = append(activities, s.Rules[i].Activity)
		}
	}
	for _, a := range activities {
		if a.Require.When != "" {
			all = append(all, MeaningOf(a))
		}
	}
	return all
}
