package prove

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/callers"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/pattern"
)

// maxUnclear bounds for how many sets of calls the answer about a property may stay open
// before it is given up.
const maxUnclear = 100

// question is a property while it is answered.
type question struct {
	*prover
	*Verdict
	property int
	needs    map[int]*meaning // by the number of the region
	proven   map[string]bool
	unclear  int
}

func (p *prover) answer(v *Verdict, property int) error {
	q := &question{prover: p, Verdict: v, property: property, needs: map[int]*meaning{}, proven: map[string]bool{}}
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
		for _, s := range q.sides() {
			for _, a := range s.areas {
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
			if err := q.combination(c, region); err != nil || q.Result == Refuted || q.unclear > maxUnclear {
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
		m := q.table.meaning(i)
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
func (q *question) need(region int) *meaning {
	if q.needs[region] != nil {
		return q.needs[region]
	}
	m := meaningOf(q.asked[region].written)
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
		and(formula.And(callers.HasCredential(), q.table.holds(name)))
	}
	q.needs[region] = m
	return m
}

// class answers the property for the calls of a class.
func (q *question) class(cl *class, region int) error {
	now := q.table.passage(cl.call())
	if now.access == nil {
		return nil
	}
	o := &open{question: q, class: cl, region: region, now: now}
	o.ask()
	key := o.key()
	if q.proven[key] {
		return nil
	}
	_, answer := formula.Solve(o.formula)
	switch answer {
	case formula.Unsatisfiable:
		q.proven[key] = true
		return nil
	case formula.TooLarge:
		q.doubt("the formula of %s is too large", cl.String())
		q.unclear++
		return nil
	}
	return o.decide()
}

// call is the class's own call as the table sees it.
func (cl *class) call() *core.Call {
	r := asRequest(&cl.Call, &core.Request{Host: cl.hostName()})
	return &core.Call{Request: r, Path: seenPath(cl.Path)}
}

// open is a class of calls about which the question is whether somebody passes without
// what is needed.
type open struct {
	*question
	*class
	region int
	// now says who passes, and before who passed the older table.
	now, before *passage
	needed      formula.Formula
	meanings    []*meaning
	formula     formula.Formula
	inexact     []string
	// refusal is why the last example did not pass.
	refusal error
}

// ask makes the formula: it holds for callers who pass and lack what is needed.
func (o *open) ask() {
	need := o.need(o.region)
	o.needed = need.Met
	o.inexact = slices.Concat(need.Inexact, o.now.inexact)
	o.meanings = append([]*meaning{need}, o.now.meanings...)
	given := formula.And(need.Given, o.now.given)
	if o.older != nil {
		o.before = o.older.passage(o.call())
		o.needed, given = o.before.passes, formula.And(given, o.before.given)
		o.inexact, o.meanings = append(o.inexact, o.before.inexact...), append(o.meanings, o.before.meanings...)
	}
	o.formula = formula.And(o.now.passes, formula.Not(o.needed), given, o.request(formula.And(o.now.passes, given)))
	if mcp.IsPath(o.Path) { // all calls of the class are at one endpoint
		o.formula = formula.And(o.formula, o.onPath(o.Path))
	}
	o.formula = formula.And(o.formula, o.options.Accepted.Given(o.formula))
}

// request says of the method and the host what the class tells, where that is asked.
func (o *open) request(said formula.Formula) formula.Formula {
	all := formula.Always
	for _, t := range formula.NamesOf(said, o.needed).Terms {
		switch t {
		case condition.Method:
			all = formula.And(all, formula.Equals(t, text(o.Method)))
		case condition.Host:
			is := formula.Equals(t, text(o.hostName()))
			if o.unnamed { // it may be none that can be read
				is = formula.Or(is, formula.Not(formula.Present(t)))
			}
			all = formula.And(all, is)
		}
	}
	return all
}

// anyHost stands for a host that nothing names. A text that is no host matches nothing
// where a table names hosts, so that none is never an example of any.
const anyHost = "any-other-host.invalid"

func (cl *class) hostName() string {
	if cl.Host == "" {
		return anyHost
	}
	return cl.Host
}

func text(s string) formula.Value { return formula.Value{Type: formula.Text, Text: s} }

// key is equal for classes with the same formula.
func (o *open) key() string {
	key := fmt.Sprint(o.region, o.now.key())
	if o.before != nil {
		key += o.before.key()
	}
	for _, t := range formula.NamesOf(o.formula).Terms {
		if t == condition.Method || t == condition.Host {
			key += " " + o.Method + " " + o.Host
			break
		}
	}
	return key
}

// decide looks for a caller on the class's own path, and where that shows nothing divides
// the class by the values of path groups.
func (o *open) decide() error {
	if o.shown(o.Path) {
		return nil
	}
	segments, others := o.groups()
	switch {
	case mcp.IsPath(o.Path), len(segments) == 0 && len(others) == 0:
		o.notShown()
	case len(others) > 0:
		o.unclear++
		o.doubt("%s: the group %s is not always one whole segment of the path", o.String(), others[0])
	default:
		return o.divide(segments)
	}
	return nil
}

// notShown says why a caller who seems to pass does not.
func (o *open) notShown() {
	o.unclear++
	switch {
	case len(o.inexact) > 0:
		o.doubt("%s: nothing is known of %s but its text", o.String(), o.inexact[0])
	case o.refusal != nil:
		o.doubt("%s: somebody seems to pass, and the gate refuses the example: %v", o.String(), o.refusal)
	default:
		o.doubt("%s: somebody seems to pass, of whom there is no example", o.String())
	}
}

// groups are the terms of path groups that the formula has: whole segments, and the names
// of others.
func (o *open) groups() (segments []formula.Term, others []string) {
	for _, t := range formula.NamesOf(o.formula).Terms {
		switch is, name := callers.GroupTerm(t); {
		case is && name != "":
			others = append(others, name)
		case is:
			segments = append(segments, t)
		}
	}
	return segments, others
}

// onPath says of all groups what a path has in them.
func (o *open) onPath(path string) formula.Formula {
	all := formula.Always
	for _, m := range o.meanings {
		all = formula.And(all, m.onPath(path))
	}
	return all
}

func (m *meaning) onPath(path string) formula.Formula {
	all := formula.Always
	if m.condition == nil {
		return all
	}
	values := m.condition.Groups(seenPath(path))
	for _, name := range m.condition.ReadGroups() {
		t := callers.Group(m.path)(name)
		if value, present := values[name]; present {
			all = formula.And(all, formula.Equals(t, text(value)))
		} else {
			all = formula.And(all, formula.Not(formula.Present(t)))
		}
	}
	return all
}

// divide tells the paths of the class apart by what stands in segments, and answers for
// each part.
func (o *open) divide(segments []formula.Term) error {
	values := o.values(segments)
	within := []*automaton.Language{o.grounds[0]}
	for _, i := range o.class.areas {
		within = append(within, o.table.areas[i].Paths)
	}
	for _, i := range o.class.earlier {
		within = append(within, o.older.areas[i].Paths)
	}
	for _, i := range o.class.regions {
		within = append(within, o.asked[i].Paths)
	}
	outside := o.outside()
	languages := slices.Clone(outside)
	for _, v := range values {
		l, err := v.language()
		if err != nil {
			return err
		}
		languages = append(languages, l)
	}
	return automaton.Explore(within, languages, func(members []int, path string) bool {
		if len(members) > 0 && members[0] < len(outside) {
			return true
		}
		is := formula.Always
		for n, v := range values {
			f := formula.Equals(v.term, text(v.value))
			if !slices.Contains(members, n+len(outside)) {
				f = formula.Not(f)
			}
			is = formula.And(is, f)
		}
		o.part(path, is, segments)
		return o.Result != Refuted && o.unclear <= maxUnclear && o.ctx.Err() == nil
	})
}

// part answers for the paths of the class with some values in their segments.
func (o *open) part(path string, is formula.Formula, segments []formula.Term) {
	for _, t := range segments {
		is = formula.And(is, formula.Present(t))
	}
	switch _, answer := formula.Solve(formula.And(o.formula, is)); {
	case answer == formula.Unsatisfiable || o.shown(path):
	case answer == formula.TooLarge:
		o.unclear++
		o.doubt("the formula of %s is too large", o.String())
	default:
		o.notShown()
	}
}

// outside are the languages of areas that do not cover the class.
func (o *open) outside() (languages []*automaton.Language) {
	region := o.asked[o.region].Area
	add := func(areas []*analysis.Area, covering []int) {
		for i, a := range areas {
			if a.Paths != nil && !slices.Contains(covering, i) && a.Near(region) {
				languages = append(languages, a.Paths)
			}
		}
	}
	if add(o.table.areas, o.class.areas); o.older != nil {
		add(o.older.areas, o.class.earlier)
	}
	for i, r := range o.asked {
		if r.Paths != nil && r.property == o.question.property && !slices.Contains(o.class.regions, i) {
			languages = append(languages, r.Paths)
		}
	}
	return languages
}

// valued is a segment that has a value.
type valued struct {
	term  formula.Term
	value string
}

// language are the paths on which that is so.
func (v valued) language() (*automaton.Language, error) {
	tree, err := syntax.Parse(fmt.Sprintf(`(?:/[^/]*){%d}/%s(?s:/.*)?`, callers.SegmentNumber(v.term)-1, regexp.QuoteMeta(v.value)), syntax.Perl)
	if err != nil {
		return nil, automaton.ErrTooLarge
	}
	return automaton.Compile(tree)
}

// values are those of segments that the formula names; where several segments take part,
// also some that let them be the same and different.
func (o *open) values(segments []formula.Term) (all []valued) {
	names := formula.NamesOf(o.formula)
	for _, t := range segments {
		list := slices.Clone(names.Values[t])
		if len(segments) > 1 {
			list = append(list, text("one"), text("two"))
		}
		for _, v := range list {
			is := valued{t, v.Text}
			if v.Type == formula.Text && len(v.Text) <= pattern.MaxPath && !strings.Contains(v.Text, "/") && !slices.Contains(all, is) {
				all = append(all, is)
			}
		}
	}
	return all
}

// unchanged reports, at little cost, whether the activities of both tables that cover the
// paths of a combination ask and grant the same: then the same callers pass.
func (q *question) unchanged(c *combination) bool {
	return !q.renamed && slices.Equal(q.table.keys(c.areas), q.older.keys(c.earlier))
}
