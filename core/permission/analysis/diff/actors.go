package diff

import (
	"maps"
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/subject"
)

// Nobody acts for the callers of a comparison but for those by actors: of these the subject
// may do everything. Where a call is compared, the subject has one permission after the
// other, and none: it may have one that the actor has lost, and not the one that it has gained.

// actors adds a caller for each pattern of actors of the tables, and of those whom activities
// require.
func (d *differ) actors(older, newer Version) {
	var required []*subject.Pattern
	for _, v := range []Version{older, newer} {
		for _, a := range permission.Activities(v.Files...) {
			required = append(required, a.Require.ActorPatterns()...)
		}
	}
	examples := permission.ActorExamples(required, older.Table, newer.Table)
	for _, pattern := range slices.Sorted(maps.Keys(examples)) {
		for _, example := range examples[pattern] {
			p := newPerson(Who{ByActor, pattern}, example, older.Table, newer.Table)
			for i, t := range []*permission.Table{older.Table, newer.Table} {
				p.named[i] = t.CheckActor(example) == nil
			}
			if p.actor = example.Actor; p.named != [2]bool{} {
				d.people = append(d.people, p)
			}
		}
	}
	var delegates []*person
	for i := range d.people {
		if d.people[i].actor != nil {
			delegates = append(delegates, &d.people[i])
		}
	}
	for i := range d.people {
		d.people[i].delegates = delegates
	}
}

// renamed reports whether a table names an actor whom the other does not.
func (d *differ) renamed() bool {
	return slices.ContainsFunc(d.people, func(p person) bool { return p.actor != nil && p.named[0] != p.named[1] })
}

// byActor are the callers by actors, where activities are of concern to them that every named
// actor may perform.
func (d *differ) byActor(lists ...[]*analysis.Area) (people []*person) {
	anyNamed := func(a *analysis.Area) bool {
		return a.Section == permission.InAuthenticated || a.Section == permission.InOptional
	}
	if !slices.ContainsFunc(slices.Concat(lists...), anyNamed) {
		return nil
	}
	for i := range d.people {
		if d.people[i].actor != nil {
			people = append(people, &d.people[i])
		}
	}
	return people
}

// byPermission takes the callers by actors apart, by what their subjects hold of the
// permissions of some activities.
func (d *differ) byPermission(people []*person, lists ...[]*analysis.Area) (apart []*person) {
	held := []string{""}
	for _, a := range slices.Concat(lists...) {
		if !slices.Contains(held, a.Permission) {
			held = append(held, a.Permission)
		}
	}
	for _, p := range people {
		if p.actor == nil {
			apart = append(apart, p)
			continue
		}
		for _, name := range held {
			one := *p
			for v := range one.holds {
				anybody := d.people[0].holds[v]
				one.holds[v] = maps.Clone(p.holds[v])
				maps.DeleteFunc(one.holds[v], func(other string, _ bool) bool { return other != name && !anybody[other] })
			}
			apart = append(apart, &one)
		}
	}
	return apart
}

// demand is what is left to be met of a demand by a person of whom it is known who acts;
// ok is false where that is not what is required.
func (p *person) demand(d require.Demand) (left require.Demand, ok bool) {
	if d.CheckActor(&core.Principal{Actor: p.actor}) != nil {
		return d, false
	}
	rest := *d.Requirements
	if rest.Actor = nil; p.actor != nil {
		if rest.Credentials = slices.DeleteFunc(rest.Kinds(), undelegated); len(rest.Credentials) == 0 {
			return d, false
		}
		if slices.Equal(rest.Credentials, slices.DeleteFunc(core.KindNames(), undelegated)) {
			rest.Credentials = nil
		}
	}
	return require.Demand{Requirements: &rest, Path: d.Path, AskPath: d.AskPath}, true
}

// byDelegate reports whether a person who gained or lost a permission can use it, of whom the
// activity asks that some actor acts for them.
func (p *person) byDelegate(a *permission.OwnedActivity, version int) bool {
	if p.actor != nil || p.who.Kind == Anybody || !p.changed[a.Permission] || len(a.Require.Actor) == 0 || a.Require.Actor[0] == require.NoActor {
		return false
	}
	return slices.ContainsFunc(p.delegates, func(q *person) bool {
		return q.named[version] && q.holds[version][a.Permission] && a.Require.CheckActor(&core.Principal{Actor: q.actor}) == nil
	})
}

func undelegated(kind string) bool {
	info, _ := core.Kind(kind).Info()
	return !info.Delegated
}

// chains compares whether all actors of a chain count.
func chains(older, newer Version) [2]bool {
	_, was := older.Table.Actors()
	_, is := newer.Table.Actors()
	named := func(v Version) bool { patterns, _ := v.Table.Actors(); return len(patterns) > 0 }
	if was == is || !named(older) && !named(newer) {
		return [2]bool{}
	}
	return [2]bool{was, is}
}
