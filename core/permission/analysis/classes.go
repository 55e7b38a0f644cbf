package analysis

import (
	"errors"
	"fmt"
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/automaton"
)

// Class is calls of an activity that the same activities decide, and one of them.
type Class struct {
	Witness Call
	// Deciding are activities by their number. It is empty where the table refuses
	// the calls as variants of those that Refusing guards.
	Deciding []int
	Refusing []int
}

// Classes are the calls of one activity, by what decides them.
type Classes struct {
	List []Class
	// TooLarge says that there may be more.
	TooLarge bool
}

// Decided finds for each activity what decides its calls, those aside that a gate
// with these path options refuses for their path.
func Decided(rules []permission.OwnedActivity, o core.PathOptions) ([]Classes, error) {
	all, err := Areas(rules)
	if err != nil {
		return nil, err
	}
	near, unclear, err := Neighbours(all)
	if err != nil {
		return nil, err
	}
	d := &decider{all: all, number: map[*Area]int{}, near: near, refused: refusedPaths(o), classes: make([]Classes, len(all))}
	for i, a := range all {
		d.number[a] = i
	}
	for _, u := range unclear {
		d.classes[d.number[u.A]].TooLarge = true
		d.classes[d.number[u.B]].TooLarge = true
	}
	for i, a := range all {
		if a.Paths == nil {
			d.tooLarge(a)
		} else if a.Guard != nil {
			continue
		} else if err := d.decide(i); errors.Is(err, automaton.ErrTooLarge) {
			d.classes[i].TooLarge = true
		} else if err != nil {
			return nil, err
		}
	}
	return d.classes[:len(rules)], nil
}

type decider struct {
	all     []*Area
	number  map[*Area]int
	near    map[*Area][]Neighbour
	refused []*automaton.Language
	classes []Classes
}

// tooLarge marks all activities that may share calls with one that cannot be
// compared.
func (d *decider) tooLarge(a *Area) {
	for i, other := range d.all {
		if other == a || a.Near(other) {
			d.classes[i].TooLarge = true
		}
	}
}

// decide walks through the calls of one activity.
func (d *decider) decide(i int) error {
	a := d.all[i]
	paths := a.Paths
	if a.MCP == nil { // the path of an endpoint needs no option
		var err error
		if paths, err = paths.Minus(d.refused...); err != nil {
			return err
		}
	}
	others := make([]*Area, len(d.near[a]))
	for n := range others {
		others[n] = d.near[a][n].Area
	}
	known := map[string]bool{}
	for _, host := range HostClasses(append([]*Area{a}, others...)) {
		if !a.CoversHost(host) {
			continue
		}
		for _, method := range MethodClasses(a, others) {
			covering := slices.DeleteFunc(slices.Clone(others), func(o *Area) bool { return !o.CoversMethod(method) || !o.CoversHost(host) })
			languages := make([]*automaton.Language, len(covering))
			for n, o := range covering {
				languages[n] = o.Paths
			}
			err := automaton.Explore([]*automaton.Language{paths}, languages, func(members []int, path string) bool {
				matched := []*Area{a}
				for _, m := range members {
					matched = append(matched, covering[m])
				}
				c := d.deciding(matched)
				if key := fmt.Sprint(c.Deciding, c.Refusing); !known[key] {
					known[key] = true
					c.Witness = Call{method, host, path}
					d.classes[i].List = append(d.classes[i].List, c)
				}
				return true
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// deciding finds what decides a call which all of them cover.
func (d *decider) deciding(matched []*Area) Class {
	var c Class
	for _, a := range Deciding(matched) {
		c.Deciding = append(c.Deciding, d.number[a])
	}
	if len(c.Deciding) == 0 {
		for _, a := range matched {
			if a.Guard != nil {
				c.Refusing = append(c.Refusing, d.number[a.Guard])
			}
		}
	}
	slices.Sort(c.Deciding)
	slices.Sort(c.Refusing)
	return c
}

// Deciding are those that decide a call which all of them cover; none where the
// table refuses it.
func Deciding(covering []*Area) []*Area {
	return slices.DeleteFunc(slices.Clone(covering), func(a *Area) bool {
		return a.Guard != nil || slices.ContainsFunc(covering, func(o *Area) bool { return Outranks(o, a) })
	})
}

// refusedPaths are the canonical paths that only a gate with further options has.
func refusedPaths(o core.PathOptions) []*automaton.Language {
	var refused []*automaton.Language
	if !o.AllowSemicolon {
		refused = append(refused, automaton.MustCompile(`(?s).*;.*`))
	}
	if !o.AllowEncodedSlash {
		refused = append(refused, automaton.MustCompile(`(?s).*%2F.*`))
	}
	return refused
}

// AdmittedPaths are the canonical paths that a gate with these options lets through to
// the table.
func AdmittedPaths(o core.PathOptions) (*automaton.Language, error) {
	return CanonicalPaths().Minus(refusedPaths(o)...)
}
