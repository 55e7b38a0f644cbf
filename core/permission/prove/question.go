package prove

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/callers"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/passing"
)

// question is a property while it is answered.
type question struct {
	*prover
	*Verdict
	property int
	needs    map[int]*passing.Meaning // by the number of the region
	proven   map[string]bool
	unclear  int
}

func (p *prover) answer(v *Verdict, property int) error {
	q := &question{prover: p, Verdict: v, property: property, needs: map[int]*passing.Meaning{}, proven: map[string]bool{}}
	q.tooLarge()
	err := q.run()
	switch {
	case errors.Is(err, automaton.ErrTooLarge):
		q.doubt("the paths are too many to tell apart")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		q.doubt("it takes longer than is allowed")
	case err != nil:
		return err
	}
	if v.Witness == nil && v.Reason == "" {
		v.Result = Proven
	}
	return nil
}

// doubt notes the first reason why the answer stays open.
func (q *question) doubt(format string, args ...any) {
	if q.Reason == "" {
		q.Reason = fmt.Sprintf(format, args...)
	}
}

// tooLarge notes what cannot be told of the regexes.
func (q *question) tooLarge() {
	for i := range q.asked {
		r := &q.asked[i]
		if r.property != q.property {
			continue
		}
		if r.Paths == nil {
			q.doubt("the regex %s is too large", r.Path)
		}
		for _, s := range q.Sides {
			for _, a := range s.Areas {
				if a.Paths == nil && a.Near(r.Area) {
					q.doubt("the regex %s of the table is too large", a.Path)
				}
			}
		}
	}
}

func (q *question) run() error {
	list, err := q.of(q.property)
	if err != nil {
		return err
	}
	for _, c := range list {
		if err := q.ctx.Err(); err != nil {
			return err
		}
		for _, region := range c.regions {
			if r := &q.asked[region]; r.property != q.property || r.except {
				continue
			}
			if err := q.combination(c, region); err != nil || q.Result == Refuted || q.unclear > passing.MaxUnclear {
				return err
			}
		}
	}
	return nil
}

func (q *question) combination(c combination, region int) error {
	need := q.need(region)
	if q.older == nil && q.said(c.areas, need.Met) || q.older != nil && q.unchanged(&c) {
		return nil
	}
	for _, cl := range q.classes(c, need.Met) {
		if !q.concerns(&cl, region) {
			continue
		}
		if err := q.class(&cl, region); err != nil || q.Result == Refuted {
			return err
		}
	}
	return nil
}

// said reports, at little cost, whether each of some areas asks in so many words for what is
// needed: then so do those that decide.
func (q *question) said(areas []int, need formula.Formula) bool {
	return !slices.ContainsFunc(areas, func(i int) bool {
		m := q.table.Meaning(i)
		return m != nil && !m.Met.Says(need)
	})
}

// concerns reports whether a property is about calls of a class.
func (q *question) concerns(cl *class, region int) bool {
	covers := func(i int) bool { return q.asked[i].CoversMethod(cl.Method) && q.asked[i].CoversHost(cl.Host) }
	for _, i := range cl.regions {
		if q.asked[i].property == q.property && q.asked[i].except && covers(i) {
			return false
		}
	}
	return covers(region)
}

// need is what the property says of the calls of a region.
func (q *question) need(region int) *passing.Meaning {
	if q.needs[region] != nil {
		return q.needs[region]
	}
	m := passing.MeaningOf(q.asked[region].written)
	need := q.Need
	and := func(f formula.Formula) { m.Met = formula.And(m.Met, f) }
	and(formula.Constant(!need.Nobody))
	if need.Credential {
		and(callers.HasCredential())
	}
	for _, role := range need.AllRoles {
		and(callers.HasRole(role))
	}
	if len(need.AnyRole) > 0 {
		any := formula.Never
		for _, role := range need.AnyRole {
			any = formula.Or(any, callers.HasRole(role))
		}
		and(any)
	}
	for _, name := range need.Permissions {
		and(formula.And(callers.HasCredential(), q.table.Holders(name)))
	}
	q.needs[region] = m
	return m
}

// class answers the property for the calls of a class.
func (q *question) class(cl *class, region int) error {
	l := q.lack(cl, region)
	if l == nil {
		return nil
	}
	key := fmt.Sprint(region, l.Key())
	if q.proven[key] {
		return nil
	}
	switch l.Possible() {
	case formula.Unsatisfiable:
		q.proven[key] = true
		return nil
	case formula.Satisfiable:
		if err := l.Show(); err != nil {
			return err
		}
	}
	q.unclear += l.Unclear
	if l.Witness != nil {
		q.Result, q.Witness, q.Reason = Refuted, l.Witness, ""
	} else if l.Reason != "" {
		q.doubt("%s", l.Reason)
	}
	return nil
}

// lack asks whether somebody passes the calls of a class without what is needed; nil where
// nobody passes them.
func (q *question) lack(cl *class, region int) *passing.Lack {
	l := &passing.Lack{World: q.World, Call: cl.Call, Unnamed: cl.unnamed, Who: formula.Always, By: q.table.Passage(cl.Call)}
	if len(l.By.Deciding()) == 0 {
		return nil
	}
	need := q.need(region)
	l.Needed, l.Meanings, l.Actors = need.Requirement, []*passing.Meaning{need}, q.asked[region].Require.ActorPatterns()
	l.Has = func(w *passing.Witness) bool { return q.has(w, region) }
	if q.older != nil {
		l.Before = q.older.Passage(cl.Call)
		l.Needed.Met, l.Needed.Given = l.Before.Met, formula.And(l.Needed.Given, l.Before.Given)
	}
	l.Inside = func() []*automaton.Language { return q.inside(cl) }
	l.Outside = func() []*automaton.Language { return q.outside(cl, region) }
	return l
}

// has reports whether the caller of a witness has what the property says.
func (q *question) has(w *passing.Witness, region int) bool {
	if q.older != nil {
		return q.older.Refusal(w) == nil
	}
	need, p := &q.Need, w.Principal
	if need.Nobody || p == nil && (need.Credential || len(need.AllRoles)+len(need.AnyRole)+len(need.Permissions) > 0) {
		return false
	}
	if p == nil {
		p = &core.Principal{}
	}
	holds := func(role string) bool { return slices.Contains(p.Roles, role) }
	lacks := func(role string) bool { return !holds(role) }
	if slices.ContainsFunc(need.AllRoles, lacks) || len(need.AnyRole) > 0 && !slices.ContainsFunc(need.AnyRole, holds) {
		return false
	}
	if slices.ContainsFunc(need.Permissions, func(name string) bool { return !q.table.Holds(p, name) }) {
		return false
	}
	return w.Meets(&need.Require, q.asked[region].written.Condition())
}

// inside are the languages of areas that cover the class.
func (q *question) inside(cl *class) []*automaton.Language {
	languages := []*automaton.Language{q.grounds[0]}
	for _, i := range cl.areas {
		languages = append(languages, q.table.Areas[i].Paths)
	}
	for _, i := range cl.earlier {
		languages = append(languages, q.older.Areas[i].Paths)
	}
	for _, i := range cl.regions {
		languages = append(languages, q.asked[i].Paths)
	}
	return languages
}

// outside are the languages of areas that do not cover the class.
func (q *question) outside(cl *class, region int) (languages []*automaton.Language) {
	near := q.asked[region].Area
	add := func(areas []*analysis.Area, covering []int) {
		for i, a := range areas {
			if a.Paths != nil && !slices.Contains(covering, i) && a.Near(near) {
				languages = append(languages, a.Paths)
			}
		}
	}
	if add(q.table.Areas, cl.areas); q.older != nil {
		add(q.older.Areas, cl.earlier)
	}
	for i, r := range q.asked {
		if r.Paths != nil && r.property == q.property && !slices.Contains(cl.regions, i) {
			languages = append(languages, r.Paths)
		}
	}
	return languages
}

// unchanged reports, at little cost, whether the activities of both tables that cover the
// paths of a combination ask and grant the same: then the same callers pass.
func (q *question) unchanged(c *combination) bool {
	return !q.renamed && slices.Equal(q.table.Keys(c.areas), q.older.Keys(c.earlier))
}
