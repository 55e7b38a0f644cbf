package prove

import (
	"context"
	"errors"
	"slices"
	"strings"

	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/formula"
)

// maxCombinations bounds how many sets of activities may cover paths together.
const maxCombinations = 500_000

// prover answers properties about one table.
type prover struct {
	ctx     context.Context
	table   *permission.Table
	options Options
	rules   []permission.OwnedActivity
	areas   []*analysis.Area // the activities, and behind them what the table refuses
	// asked are the areas of the properties.
	asked    []region
	admitted *automaton.Language
	// together are the sets of areas that share paths, each with such a path, by the
	// number of the property.
	together [][]combination
	meanings map[int]*meaning
	ids      []string // see workloads
}

// region is an area of a property.
type region struct {
	*analysis.Area
	property int
	except   bool
}

// combination is a set of areas that cover the same paths.
type combination struct {
	areas, regions []int
	path           string
}

func newProver(ctx context.Context, t *permission.Table, files []*permission.File, o Options) (*prover, error) {
	p := &prover{ctx: ctx, table: t, options: o, rules: permission.Activities(files...), meanings: map[int]*meaning{}}
	var err error
	if p.areas, err = analysis.Areas(p.rules); err != nil {
		return nil, err
	}
	p.admitted, err = analysis.AdmittedPaths(o.Path)
	return p, err
}

// regions prepares the calls of the properties.
func (p *prover) regions(properties []Property) error {
	var all []permission.OwnedActivity
	add := func(list []permission.Activity, property int, except bool, need *Need) {
		for _, a := range list {
			a.Require = need.Require
			all = append(all, permission.OwnedActivity{Activity: &a})
			p.asked = append(p.asked, region{property: property, except: except})
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
	for i := range p.asked {
		p.asked[i].Area = list[i]
	}
	p.together = make([][]combination, len(properties))
	return nil
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
	ground := []*automaton.Language{p.admitted}
	if within != nil {
		ground = append(ground, within.Paths)
	}
	var languages []*automaton.Language
	var numbers []int // of areas, and behind them of regions
	for i, a := range p.areas {
		if a.Paths != nil && (within == nil || a.Near(within)) {
			languages, numbers = append(languages, a.Paths), append(numbers, i)
		}
	}
	areas := len(languages)
	for _, i := range regions {
		if p.asked[i].Paths != nil {
			languages, numbers = append(languages, p.asked[i].Paths), append(numbers, i)
		}
	}
	count, ended := 0, error(nil)
	err := automaton.Explore(ground, languages, func(members []int, path string) bool {
		c := combination{path: path}
		for _, m := range members {
			if m < areas {
				c.areas = append(c.areas, numbers[m])
			} else {
				c.regions = append(c.regions, numbers[m])
			}
		}
		if len(c.areas) > 0 && len(c.regions) > 0 {
			count++
			visit(c)
		}
		switch {
		case count > maxCombinations:
			ended = automaton.ErrTooLarge
		case p.ctx.Err() != nil:
			ended = p.ctx.Err()
		}
		return ended == nil
	})
	if ended != nil {
		return ended
	}
	return err
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
	for _, i := range c.areas {
		list = append(list, p.areas[i])
		if i < len(p.rules) {
			said = append(said, p.meaning(i).Met)
		}
	}
	for _, i := range c.regions {
		list = append(list, p.asked[i].Area)
	}
	methods, hosts := compared(said)
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

// compared are the texts that formulas compare methods and hosts with.
func compared(said []formula.Formula) (methods, hosts []string) {
	names := formula.NamesOf(said...)
	for _, v := range names.Values[condition.Method] {
		if v.Type == formula.Text && v.Text != "" && !strings.ContainsFunc(v.Text, notOfMethod) {
			methods = append(methods, v.Text)
		}
	}
	for _, v := range names.Values[condition.Host] {
		if v.Type == formula.Text && condition.IsHost(v.Text) {
			hosts = append(hosts, v.Text)
		}
	}
	return methods, hosts
}

// notOfMethod is true of characters that no method has (RFC 9110 section 5.6.2).
func notOfMethod(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}
