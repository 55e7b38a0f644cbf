package prove

import (
	"fmt"
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/callers"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/model"
	"gatehouse/core/permission/pattern"
	"gatehouse/core/permission/subject"
)

// side is a table that takes part in a question.
type side struct {
	*permission.Table
	of        *prover
	rules     []permission.OwnedActivity
	areas     []*analysis.Area // the activities, and behind them what the table refuses
	endpoints []string
	meanings  map[int]*meaning
	held      map[string]formula.Formula
	known     map[int]string // see keys
}

func (p *prover) side(v Version) (s *side, err error) {
	s = &side{Table: v.Table, of: p, rules: permission.Activities(v.Files...), endpoints: model.Endpoints(v.Files), meanings: map[int]*meaning{}, held: map[string]formula.Formula{}, known: map[int]string{}}
	s.areas, err = analysis.Areas(s.rules)
	return s, err
}

// meaning is what an activity asks of a caller: its grant and its requirements.
type meaning struct {
	callers.Requirement
	condition *condition.Condition
	path      *pattern.Path
}

// meaning is that of the activity of an area, read once; nil for what the table refuses.
func (s *side) meaning(i int) *meaning {
	if s.areas[i].Guard != nil {
		return nil
	}
	if s.meanings[i] == nil {
		m := meaningOf(s.areas[i].Activity)
		m.Met = formula.And(s.granted(&s.areas[i].OwnedActivity), m.Met)
		s.meanings[i] = m
	}
	return s.meanings[i]
}

func meaningOf(a *permission.Activity) *meaning {
	m := &meaning{condition: a.Condition()}
	var err error
	if m.path, err = a.Pattern(); err != nil {
		m.path = &pattern.Path{Text: a.Path}
	}
	m.Requirement = callers.Required(&a.Require, m.condition, callers.Group(m.path))
	return m
}

// granted holds for whom an activity is open, its requirements aside.
func (s *side) granted(rule *permission.OwnedActivity) formula.Formula {
	switch {
	case rule.Open() || rule.Anonymous:
		return formula.Always
	case rule.Section == permission.InPermission:
		return s.holds(rule.Permission)
	}
	return callers.HasCredential()
}

// holds is true of those who have a permission of the table.
func (s *side) holds(name string) formula.Formula {
	f, known := s.held[name]
	if !known {
		f = s.holders(name)
		s.held[name] = f
	}
	return f
}

func (s *side) holders(name string) formula.Formula {
	g, ok := s.Grantors(name)
	switch {
	case !ok:
		return formula.Never
	case g.Anonymous:
		return formula.Always
	}
	ways := []formula.Formula{callers.States(name)}
	for _, role := range g.Roles {
		ways = append(ways, callers.HasRole(role))
	}
	for _, scope := range g.Scopes {
		ways = append(ways, callers.HasScope(scope))
	}
	for _, id := range s.subjectsWith(name) {
		ways = append(ways, formula.And(callers.OfKind(core.KindSPIFFE), callers.IsSubject(id)))
	}
	_, chain := s.Actors()
	return formula.And(callers.HasCredential(), formula.Or(ways...), callers.Within(name), callers.ActedBy(g.Actors, chain))
}

// subjectsWith are workloads that have a permission: an example for each way in which
// patterns tell them apart.
func (s *side) subjectsWith(name string) (ids []string) {
	for _, id := range s.of.workloads() {
		if s.Holds(&core.Principal{Kind: core.KindSPIFFE, Subject: id}, name) {
			ids = append(ids, id)
		}
	}
	return ids
}

// passage is who passes a call of a table.
type passage struct {
	side     *side
	access   core.Access // nil: nobody
	deciding []int
	meanings []*meaning
	passes   formula.Formula
	given    formula.Formula
	inexact  []string
}

// passage finds out who passes a call.
func (s *side) passage(call *core.Call) *passage {
	w := &passage{side: s, access: s.Match(s.of.ctx, call), given: formula.Always}
	if w.access == nil {
		return w
	}
	w.deciding = permission.Deciding(w.access)
	for _, i := range w.deciding {
		m := s.meaning(i)
		w.passes, w.given = formula.Or(w.passes, m.Met), formula.And(w.given, m.Given)
		w.inexact = append(w.inexact, m.Inexact...)
		w.meanings = append(w.meanings, m)
	}
	for _, scope := range s.of.options.ScopesRequired {
		w.passes = formula.And(w.passes, formula.Or(formula.Not(callers.HasCredential()), callers.HasScope(scope)))
	}
	if w.passes = formula.And(w.passes, callers.ActedBy(s.Actors())); w.access.Public() {
		w.passes = formula.Always
	}
	return w
}

// key tells passages apart.
func (w *passage) key() string {
	return fmt.Sprint(w.access != nil && w.access.Public(), w.deciding)
}

// --- what all sides share

// workloads are examples of those that patterns and conditions tell apart.
func (p *prover) workloads() []string {
	if p.ids != nil {
		return p.ids
	}
	p.ids = []string{}
	var texts []string
	for _, s := range p.sides() {
		texts = append(texts, s.Subjects()...)
	}
	if len(texts) == 0 {
		return p.ids
	}
	for _, c := range p.conditions() {
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
		p.ids = append(p.ids, ids...)
	}
	slices.Sort(p.ids)
	p.ids = slices.Compact(p.ids)
	return p.ids
}

// conditions are what the requirements of all activities and properties say.
func (p *prover) conditions() (all []*meaning) {
	var activities []*permission.Activity
	for _, s := range p.sides() {
		for i := range s.rules {
			activities = append(activities, s.rules[i].Activity)
		}
	}
	for _, r := range p.asked {
		activities = append(activities, r.Activity)
	}
	for _, a := range activities {
		if a.Require.When != "" {
			all = append(all, meaningOf(a))
		}
	}
	return all
}

// asRequest is a request as a client sends it, and callOf what a table sees of it.
func asRequest(c *analysis.Call, r *core.Request) *core.Request {
	r.Method = c.Method
	if mcp.IsPath(c.Path) {
		mcp.FromPath(c.Path).Ask(r)
	} else {
		r.Target = analysis.Target(c.Path)
	}
	return r
}

// seenPath is the path that a gate looks at: that of the endpoint of a call of the Model
// Context Protocol.
func seenPath(path string) string {
	if mcp.IsPath(path) {
		return mcp.FromPath(path).Endpoint
	}
	return path
}

// keys say all that some areas mean beside their paths.
func (s *side) keys(areas []int) []string {
	keys := make([]string, len(areas))
	for n, i := range areas {
		if keys[n] = s.known[i]; keys[n] == "" {
			keys[n] = s.key(s.areas[i])
			s.known[i] = keys[n]
		}
	}
	slices.Sort(keys)
	return keys
}

func (s *side) key(a *analysis.Area) string {
	methods, hosts := slices.Sorted(slices.Values(a.Methods)), slices.Sorted(slices.Values(a.Hosts))
	key := fmt.Sprintf("%d %q %t %q %q %t %s %t %t", a.Section, a.Permission, a.Anonymous, methods, hosts, a.Override, a.Demand().Key(), a.Guard != nil, a.MCP != nil)
	if g, ok := s.Grantors(a.Permission); ok {
		key += fmt.Sprintf("%+v", g)
	}
	return key
}
