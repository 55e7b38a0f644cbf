package prove

import (
	"context"
	"errors"
	"slices"

	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/passing"
)

// maxCombinations bounds how many sets of activities may cover paths together.
const maxCombinations = 500_000

// prover answers properties about one table, or about what one lets pass and an older one
// does not.
type prover struct {
	*passing.World
	ctx   context.Context
	table *passing.Side
	older *passing.Side // nil for none
	// renamed says that they name other actors.
	renamed bool
	// asked are the areas of the properties.
	asked []region
	// grounds are paths, and then calls of the Model Context Protocol, where a table has some.
	grounds [2]*automaton.Language
	// together are the sets of areas that share paths, each with such a path, by the
	// number of the property.
	together [][]combination
}

// region is an area of a property.
type region struct {
	*analysis.Area
	written  *permission.Activity
	property int
	except   bool
}

// combination is a set of areas that cover the same paths.
type combination struct {
	areas, earlier, regions []int
	path                    string
}

func newProver(ctx context.Context, v Version, older *Version, o Options) (*prover, error) {
	p := &prover{World: passing.NewWorld(ctx, o), ctx: ctx}
	var err error
	if p.table, err = p.side(v); err != nil {
		return nil, err
	}
	if older != nil {
		if p.older, err = p.side(*older); err != nil {
			return nil, err
		}
		is, chained := v.Table.Actors()
		was, before := older.Table.Actors()
		p.renamed = chained != before || !slices.Equal(is, was)
	}
	p.grounds[0], err = analysis.AdmittedPaths(o.Path)
	return p, err
}

func (p *prover) side(v Version) (*passing.Side, error) {
	areas, err := analysis.Areas(permission.Activities(v.Files...))
	return p.Add(v, areas), err
}

// regions prepares the calls of the properties. At an endpoint of the Model Context Protocol
// they are all calls there, unless a property names some of them.
func (p *prover) regions(properties []Property) error {
	var all []permission.OwnedActivity
	var of []region
	add := func(list []permission.Activity, property int, except bool, need *Need) {
		for _, a := range list {
			a.Require = need.Require
			all = append(all, permission.OwnedActivity{Activity: &a})
			of = append(of, region{property: property, except: except})
		}
	}
	for i := range properties {
		add(properties[i].Calls, i, false, &properties[i].Need)
		add(properties[i].Except, i, true, &Need{})
	}
	list, err := analysis.Areas(all)
	if err != nil {
		return err
	}
	endpoints, err := p.callsAt(all)
	if err != nil {
		return err
	}
	for i := range list {
		with, err := analysis.WithCalls(list[i:i+1:i+1], endpoints, nil)
		if err != nil {
			return err
		}
		for _, one := range with {
			p.asked = append(p.asked, region{one, all[i].Activity, of[i].property, of[i].except})
			p.Asked = append(p.Asked, all[i].Activity)
		}
	}
	p.together = make([][]combination, len(properties))
	return nil
}

// callsAt lists the endpoints of the Model Context Protocol that tables or properties name,
// and adds what activities of a table cover at those that only others name.
func (p *prover) callsAt(asked []permission.OwnedActivity) (endpoints []string, err error) {
	for _, s := range p.Sides {
		endpoints = append(endpoints, s.Endpoints...)
	}
	for _, a := range asked {
		if a.MCP != nil {
			endpoints = append(endpoints, a.MCP.Endpoint)
		}
	}
	slices.Sort(endpoints)
	if endpoints = slices.Compact(endpoints); len(endpoints) > 0 {
		p.grounds[1] = analysis.CallPaths()
	}
	for _, s := range p.Sides {
		if s.Areas, err = analysis.WithCalls(s.Areas, endpoints, s.Endpoints); err != nil {
			return nil, err
		}
	}
	return endpoints, nil
}

// walk finds the sets of areas that share paths: for all properties at once, or where
// that is too much for each.
func (p *prover) walk() error {
	all := make([]int, len(p.asked))
	for i := range all {
		all[i] = i
	}
	err := p.explore(nil, all, func(c combination) {
		for i := range p.together {
			if p.about(i, c.regions) {
				p.together[i] = append(p.together[i], c)
			}
		}
	})
	if errors.Is(err, automaton.ErrTooLarge) || p.ctx.Err() != nil { // the answers say so
		p.together = nil
		return nil
	}
	return err
}

// about reports whether regions of a property are among some.
func (p *prover) about(property int, regions []int) bool {
	return slices.ContainsFunc(regions, func(r int) bool { return p.asked[r].property == property && !p.asked[r].except })
}

// of returns the combinations of a property.
func (p *prover) of(property int) (list []combination, err error) {
	if p.together != nil {
		return p.together[property], nil
	}
	var regions []int
	for i := range p.asked {
		if p.asked[i].property == property {
			regions = append(regions, i)
		}
	}
	for _, i := range regions {
		if r := p.asked[i]; !r.except && r.Paths != nil {
			if err := p.explore(r.Area, regions, func(c combination) { list = append(list, c) }); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// explore calls visit for each set of areas that share paths with a region; within is
// where it looks, nil for everywhere.
func (p *prover) explore(within *analysis.Area, regions []int, visit func(combination)) error {
	for i, paths := range p.grounds {
		if paths == nil {
			continue
		}
		w := walk{prover: p, within: within, calls: i == 1, visit: visit}
		w.add(p.table.Areas, func(c *combination) *[]int { return &c.areas })
		if p.older != nil {
			w.add(p.older.Areas, func(c *combination) *[]int { return &c.earlier })
		}
		asked := make([]*analysis.Area, len(p.asked))
		for _, n := range regions {
			asked[n] = p.asked[n].Area
		}
		w.add(asked, func(c *combination) *[]int { return &c.regions })
		if err := w.run(paths); err != nil {
			return err
		}
	}
	return nil
}

// walk goes through the languages of areas on one ground.
type walk struct {
	*prover
	within    *analysis.Area
	calls     bool // of the Model Context Protocol
	languages []*automaton.Language
	members   []walked
	visit     func(combination)
	count     int
	ended     error
}

// walked is an area by its number in one of the lists of a combination.
type walked struct {
	number int
	list   func(*combination) *[]int
}

func (w *walk) add(areas []*analysis.Area, list func(*combination) *[]int) {
	for i, a := range areas {
		if a == nil || a.Paths == nil || (a.MCP != nil && a.Guard == nil) != w.calls || w.within != nil && !a.Near(w.within) {
			continue
		}
		w.languages, w.members = append(w.languages, a.Paths), append(w.members, walked{i, list})
	}
}

func (w *walk) run(paths *automaton.Language) error {
	ground := []*automaton.Language{paths}
	if w.within != nil && (w.within.MCP != nil) == w.calls {
		ground = append(ground, w.within.Paths)
	}
	err := automaton.Explore(ground, w.languages, w.found)
	if w.ended != nil {
		return w.ended
	}
	return err
}

// found takes a set of areas that share a path.
func (w *walk) found(members []int, path string) bool {
	c := combination{path: path}
	for _, m := range members {
		list := w.members[m].list(&c)
		*list = append(*list, w.members[m].number)
	}
	if len(c.areas) > 0 && len(c.regions) > 0 {
		w.count++
		w.visit(c)
	}
	switch {
	case w.count > maxCombinations:
		w.ended = automaton.ErrTooLarge
	case w.ctx.Err() != nil:
		w.ended = w.ctx.Err()
	}
	return w.ended == nil
}

// class is calls of a combination that the same activities cover, and one of them.
type class struct {
	combination
	analysis.Call
	// unnamed says that nothing names the host.
	unnamed bool
}

// classes divides the calls of a combination by methods and hosts.
func (p *prover) classes(c combination, need formula.Formula) []class {
	list := make([]*analysis.Area, 0, len(c.areas)+len(c.regions))
	said := []formula.Formula{need}
	add := func(of *passing.Side, areas []int) {
		for _, i := range areas {
			list = append(list, of.Areas[i])
			if m := of.Meaning(i); m != nil {
				said = append(said, m.Met)
			}
		}
	}
	if add(p.table, c.areas); p.older != nil {
		add(p.older, c.earlier)
	}
	for _, i := range c.regions {
		list = append(list, p.asked[i].Area)
	}
	methods, hosts, _ := passing.Compared(said)
	if len(hosts) > 0 {
		list = append(list, &analysis.Area{OwnedActivity: permission.OwnedActivity{Activity: &permission.Activity{Hosts: hosts, Methods: []string{permission.AnyMethod}}}})
	}
	var all []class
	classes := analysis.HostClasses(list)
	for i, host := range classes {
		for _, method := range analysis.MethodsOf(list, methods...) {
			all = append(all, class{c, analysis.Call{Method: method, Host: host, Path: c.path}, i == len(classes)-1})
		}
	}
	return all
}
