package diff

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/callers"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/passing"
	"gatehouse/core/permission/require"
)

// Where requirements are compared as they are written, and that does not tell, they are
// compared by meaning: is there a caller who passes by one table and not by the other?

// meanings compares two tables by meaning.
type meanings struct {
	*passing.World
	// actors are all patterns of actors.
	actors  []string
	confirm [2]func(*passing.Witness) error
	// nobody are questions of which it is known that nobody is an example.
	nobody map[string]bool
	asked  int
}

// maxQuestions bounds how often one comparison looks for a caller.
var maxQuestions = 50_000

func newMeanings(older, newer Version) *meanings {
	m := &meanings{World: passing.NewWorld(context.Background(), passing.Options{}), nobody: map[string]bool{}}
	for _, v := range []Version{older, newer} {
		named, _ := v.Table.Actors()
		m.actors = append(m.actors, named...)
		for _, a := range permission.Activities(v.Files...) {
			for _, p := range a.Require.ActorPatterns() {
				m.actors = append(m.actors, p.String())
			}
		}
	}
	slices.Sort(m.actors)
	m.actors = slices.Compact(m.actors)
	return m
}

func conditional(lists ...[]*analysis.Area) bool {
	return slices.ContainsFunc(slices.Concat(lists...), func(a *analysis.Area) bool { return a.Require.Conditional() })
}

// spot is calls of a ground that the same activities cover.
type spot struct {
	ground
	call analysis.Call
	near []side
	// inside are areas that have its paths, and outside those of the ground that have none.
	inside, outside []*automaton.Language
	older, newer    []*analysis.Area
}

// byMeaning are the changes for one caller whose requirements are not the same as written.
func (d *differ) byMeaning(p *person, at *spot, was, is []require.Demand) (changes []Change) {
	in, out := truths(was, is)
	var doubt Change
	for _, way := range []struct {
		direction, unclear Direction
		written            require.Truth
		by                 int
	}{{ShutsOut, MayShutOut, out, 0}, {LetsIn, MayDiffer, in, 1}} {
		if way.written == require.Yes {
			continue
		}
		found, reason := d.beyond(p, at, way.by, way.direction)
		switch {
		case len(found) > 0:
			changes = append(changes, found...)
		case reason == "":
		case way.written == require.No: // no example, and by what is written beside conditions it is so
			changes = append(changes, Change{Direction: way.direction, Witness: at.call, Methods: at.methods})
		default:
			doubt = Change{Direction: way.unclear, Witness: at.call, Methods: at.methods, Reason: reason}
		}
	}
	if doubt.Reason != "" {
		changes = append(changes, doubt)
	}
	return changes
}

// beyond looks for a caller who passes by one table and not by the other. The reason is why
// that cannot be told.
func (d *differ) beyond(p *person, at *spot, by int, direction Direction) (changes []Change, reason string) {
	for _, l := range d.lacks(p, at, by) {
		key := fmt.Sprint(p.who, p.actor, by, l.Who, l.Key())
		if d.meanings.nobody[key] {
			continue
		}
		if d.meanings.asked++; d.meanings.asked > maxQuestions {
			return changes, fmt.Sprintf("more than %d questions would have to be asked about requirements that have changed", maxQuestions)
		}
		switch l.Possible() {
		case formula.Unsatisfiable:
			d.meanings.nobody[key] = true
			continue
		case formula.Satisfiable:
			if err := l.Show(); errors.Is(err, automaton.ErrTooLarge) {
				reason = "the paths are too many to tell apart"
			}
		}
		if l.Witness != nil {
			changes = append(changes, Change{Direction: direction, Witness: l.Witness.Call, Methods: l.methods, Caller: l.Witness.Example})
		} else if reason == "" {
			reason = l.Reason
		}
	}
	return changes, reason
}

// class is calls of a spot that conditions do not tell apart by method or host.
type class struct {
	call    analysis.Call
	methods []string
	unnamed bool
}

// lack is the question about the calls of a class.
type lack struct {
	*passing.Lack
	class
}

// lacks are the questions about all calls of a spot.
func (d *differ) lacks(p *person, at *spot, by int) (all []lack) {
	own := class{at.call, at.methods, at.unnamed}
	l := d.lack(p, at, own, by)
	if l == nil {
		return nil
	}
	methods, hosts, reads := passing.Compared([]formula.Formula{l.Who, l.By.Met, l.Before.Met})
	if !reads {
		return []lack{{l, own}}
	}
	list := make([]*analysis.Area, len(at.near))
	for i := range at.near {
		list[i] = at.near[i].Area
	}
	named := list
	if len(hosts) > 0 {
		named = append(slices.Clip(list), &analysis.Area{OwnedActivity: permission.OwnedActivity{Activity: &permission.Activity{Hosts: hosts, Methods: []string{permission.AnyMethod}}}})
	}
	hosts = analysis.HostClasses(named)
	for i, host := range hosts {
		for _, method := range analysis.MethodsOf(list, methods...) {
			if !at.has(list, method, host) {
				continue
			}
			cl := class{analysis.Call{Method: method, Host: host, Path: at.call.Path}, []string{method}, i == len(hosts)-1}
			if l := d.lack(p, at, cl, by); l != nil {
				all = append(all, lack{l, cl})
			}
		}
	}
	return all
}

// has reports whether a method and a host are of the ground.
func (g *ground) has(list []*analysis.Area, method, host string) bool {
	var members []int
	for i, a := range list {
		if a.CoversMethod(method) && a.CoversHost(host) {
			members = append(members, i)
		}
	}
	return slices.Equal(members, g.members)
}

// lack asks whether a caller of some kind passes calls by one table and not by the other;
// nil where nobody passes.
func (d *differ) lack(p *person, at *spot, cl class, by int) *passing.Lack {
	one, other := d.meanings.Sides[by], d.meanings.Sides[1-by]
	passage := one.Passage(cl.call)
	if len(passage.Deciding()) == 0 {
		return nil
	}
	before := other.Passage(cl.call)
	ways := passage.Through(func(a *permission.OwnedActivity) bool {
		_, open := p.way(a, by)
		return open
	})
	return &passing.Lack{
		World: d.meanings.World, Call: cl.call, Unnamed: cl.unnamed, By: passage, Before: before,
		Who:    formula.And(d.meanings.who(p), ways, callers.Unchained(passage.Met, before.Met)),
		Needed: callers.Requirement{Met: before.Met, Given: before.Given}, Actor: p.actor,
		Inside:  func() []*automaton.Language { return at.inside },
		Outside: func() []*automaton.Language { return at.outside },
		Has:     func(w *passing.Witness) bool { return other.Refusal(w) == nil || !d.meanings.confirmed(w, by) },
	}
}

// confirmed reports whether the gates, too, let a witness pass by one table alone.
func (m *meanings) confirmed(w *passing.Witness, by int) bool {
	one, other := m.confirm[by], m.confirm[1-by]
	return (one == nil || one(w) == nil) && (other == nil || other(w) != nil)
}

// who holds for callers of the kind that a person is an example of.
func (m *meanings) who(p *person) formula.Formula {
	if p.who.Kind == Anybody {
		return formula.Not(callers.HasCredential())
	}
	acts := formula.Not(callers.Delegated())
	if len(p.changed) > 0 { // see byDelegate
		acts = formula.Always
	}
	if p.actor != nil {
		id, _ := p.actor.ID()
		acts = callers.IsActor(id, m.actors)
	}
	has := formula.Always
	switch p.who.Kind {
	case ByRole:
		has = callers.HasRole(p.who.Name)
	case ByScope:
		has = callers.HasScope(p.who.Name)
	case ByPermission:
		has = callers.States(p.who.Name)
	case BySubject:
		has = m.IsWorkload(p.who.Name)
	}
	return formula.And(callers.HasCredential(), formula.Not(callers.Limited()), acts, has)
}

// noteBothWays marks changes that let some callers in and shut others out by the same
// activities.
func (d *differ) noteBothWays() {
	by := map[string]map[Direction]bool{}
	key := func(c *Change) string { return fmt.Sprint(c.Who, places(c.Old, c.New)) }
	for i := range d.result.Changes {
		c := &d.result.Changes[i]
		if by[key(c)] == nil {
			by[key(c)] = map[Direction]bool{}
		}
		by[key(c)][c.Direction] = true
	}
	for i := range d.result.Changes {
		c := &d.result.Changes[i]
		c.BothWays = c.Caller != nil && by[key(c)][LetsIn] && by[key(c)][ShutsOut]
	}
}
