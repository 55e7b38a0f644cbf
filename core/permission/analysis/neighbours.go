package analysis

import (
	"cmp"
	"errors"
	"slices"

	"gatehouse/core/permission"
	"gatehouse/core/permission/automaton"
)

// Neighbour is an activity that shares calls with another, and one of them.
type Neighbour struct {
	*Area
	Shared Call
}

// Unclear is a pair of activities that are too large to compare, and that may
// share calls.
type Unclear struct{ A, B *Area }

// Neighbours finds for each activity those that share calls with it, in the
// order of the table. Activities that are too large by themselves have none.
func Neighbours(all []*Area) (map[*Area][]Neighbour, []Unclear, error) {
	var list []*Area
	for _, a := range all {
		if a.Paths != nil {
			list = append(list, a)
		}
	}
	p := pairing{list: list, near: map[*Area][]Neighbour{}, seen: map[[2]int]bool{}}
	err := p.together()
	if errors.Is(err, automaton.ErrTooLarge) {
		err = p.pairByPair()
	}
	order := make(map[*Area]int, len(all))
	for i, a := range all {
		order[a] = i
	}
	for _, n := range p.near {
		slices.SortFunc(n, func(a, b Neighbour) int { return cmp.Compare(order[a.Area], order[b.Area]) })
	}
	return p.near, p.unclear, err
}

type pairing struct {
	list    []*Area
	near    map[*Area][]Neighbour
	unclear []Unclear
	seen    map[[2]int]bool
}

// together walks through all regexes at once, which takes about as long as
// reading them where most share little.
func (p *pairing) together() error {
	var plain, calls []int
	for i, a := range p.list {
		if a.MCP != nil && a.Guard == nil {
			calls = append(calls, i)
		} else {
			plain = append(plain, i)
		}
	}
	if err := p.among(plain, CanonicalPaths()); err != nil || len(calls) == 0 {
		return err
	}
	return p.among(calls, CallPaths())
}

// among walks through those regexes of the list that cover some of the paths.
func (p *pairing) among(list []int, paths *automaton.Language) error {
	languages := make([]*automaton.Language, len(list))
	for i, n := range list {
		languages[i] = p.list[n].Paths
	}
	var failed error
	err := automaton.Explore([]*automaton.Language{paths}, languages, func(members []int, path string) bool {
		for i, a := range members {
			for _, b := range members[i+1:] {
				if failed = p.pair(list[a], list[b], path); failed != nil {
					return false
				}
			}
		}
		return true
	})
	return cmp.Or(failed, err)
}

// pairByPair is for tables where too many regexes share too much.
func (p *pairing) pairByPair() error {
	for i, a := range p.list {
		for j := i + 1; j < len(p.list); j++ {
			if p.seen[[2]int{i, j}] || !a.Near(p.list[j]) {
				continue
			}
			path, ok, err := automaton.Witness(a.Paths, p.list[j].Paths)
			switch {
			case errors.Is(err, automaton.ErrTooLarge):
				p.unclear = append(p.unclear, Unclear{a, p.list[j]})
			case err != nil:
				return err
			case ok:
				if err := p.pair(i, j, path); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// pair notes that two activities share a path, if they share a call on it.
func (p *pairing) pair(i, j int, path string) error {
	if p.seen[[2]int{i, j}] {
		return nil
	}
	p.seen[[2]int{i, j}] = true
	a, b := p.list[i], p.list[j]
	methods := sharedMethods(a, b)
	if len(methods) == 0 || !sharedHosts(a, b) {
		return nil
	}
	call := Call{methods[0], sharedHost(a, b), path}
	p.near[a] = append(p.near[a], Neighbour{b, call})
	p.near[b] = append(p.near[b], Neighbour{a, call})
	return call.Check(a, b)
}

// Outranks reports whether a call that both cover is not decided by b.
// What the table refuses outranks all that is less strict than its guard.
func Outranks(a, b *Area) bool {
	switch {
	case a.Guard != nil:
		return b.Guard == nil && !b.AsStrict(&a.Guard.OwnedActivity)
	case b.Guard != nil:
		return false
	}
	for _, open := range []permission.Section{permission.InPublic, permission.InOptional} {
		switch {
		case b.Override && b.Section == open:
			return false
		case a.Override && a.Section == open:
			return true
		}
	}
	return a.Section > b.Section && !b.Override
}
