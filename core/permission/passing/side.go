package passing

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
	"gatehouse/core/permission/pattern"
)

// Side is a table that takes part in a question.
type Side struct {
	*permission.Table
	Rules []permission.OwnedActivity
	// Areas are the activities, and behind them what the table refuses.
	Areas     []*analysis.Area
	Endpoints []string
	of        *World
	meanings  map[int]*Meaning
	held      map[string]formula.Formula
	known     map[int]string // see Keys
}

// Meaning is what an activity asks of a caller: its grant and its requirements.
type Meaning struct {
	callers.Requirement
	condition *condition.Condition
	path      *pattern.Path
}

// Meaning is that of the activity of an area, read once; nil for what the table refuses.
func (s *Side) Meaning(i int) *Meaning {
	if s.Areas[i].Guard != nil {
		return nil
	}
	if s.meanings[i] == nil {
		m := MeaningOf(s.Areas[i].Activity)
		m.Met = formula.And(s.granted(&s.Areas[i].OwnedActivity), m.Met)
		s.meanings[i] = m
	}
	return s.meanings[i]
}

// MeaningOf is what an activity requires, its grant aside.
func MeaningOf(a *permission.Activity) *Meaning {
	m := &Meaning{condition: a.Condition()}
	var err error
	if m.path, err = a.Pattern(); err != nil {
		m.path = &pattern.Path{Text: a.Path}
	}
	m.Requirement = callers.Required(&a.Require, m.condition, callers.Group(m.path))
	return m
}

// granted holds for whom an activity is open, its requirements aside.
func (s *Side) granted(rule *permission.OwnedActivity) formula.Formula {
	switch {
	case rule.Open() || rule.Anonymous:
		return formula.Always
	case rule.Section == permission.InPermission:
		return s.Holders(rule.Permission)
	}
	return callers.HasCredential()
}

// Holders is true of those who have a permission of the table.
func (s *Side) Holders(name string) formula.Formula {
	f, known := s.held[name]
	if !known {
		f = s.holders(name)
		s.held[name] = f
	}
	return f
}

func (s *Side) holders(name string) formula.Formula {
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
func (s *Side) subjectsWith(name string) (ids []string) {
	for _, id := range s.of.workloads() {
		if s.Holds(&core.Principal{Kind: core.KindSPIFFE, Subject: id}, name) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Passage is who passes a call of a table.
type Passage struct {
	side     *Side
	access   core.Access // nil: nobody
	deciding []int
	// Met is what lets callers pass, and Given holds of all requests.
	Met, Given formula.Formula
	meanings   []*Meaning
	inexact    []string
}

// Passage finds out who passes a call.
func (s *Side) Passage(c analysis.Call) *Passage {
	w := &Passage{side: s, access: s.Match(s.of.ctx, callOf(c)), Given: formula.Always}
	if w.access == nil {
		return w
	}
	w.deciding = permission.Deciding(w.access)
	for _, i := range w.deciding {
		m := s.Meaning(i)
		w.Met, w.Given = formula.Or(w.Met, m.Met), formula.And(w.Given, m.Given)
		w.inexact = append(w.inexact, m.Inexact...)
		w.meanings = append(w.meanings, m)
	}
	for _, scope := range s.of.ScopesRequired {
		w.Met = formula.And(w.Met, formula.Or(formula.Not(callers.HasCredential()), callers.HasScope(scope)))
	}
	if w.Met = formula.And(w.Met, callers.ActedBy(s.Actors())); w.access.Public() {
		w.Met = formula.Always
	}
	return w
}

// Through is what lets callers pass by some of the activities that decide.
func (w *Passage) Through(keep func(*permission.OwnedActivity) bool) formula.Formula {
	met := formula.Never
	for n, i := range w.deciding {
		switch {
		case !keep(&w.side.Rules[i]):
		case w.access.Public():
			return formula.Always
		default:
			met = formula.Or(met, w.meanings[n].Met)
		}
	}
	return met
}

// key tells passages apart.
func (w *Passage) key() string {
	return fmt.Sprint(w.access != nil && w.access.Public(), w.deciding)
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

// Keys say all that some areas mean beside their paths.
func (s *Side) Keys(areas []int) []string {
	keys := make([]string, len(areas))
	for n, i := range areas {
		if keys[n] = s.known[i]; keys[n] == "" {
			keys[n] = s.key(s.Areas[i])
			s.known[i] = keys[n]
		}
	}
	slices.Sort(keys)
	return keys
}

func (s *Side) key(a *analysis.Area) string {
	methods, hosts := slices.Sorted(slices.Values(a.Methods)), slices.Sorted(slices.Values(a.Hosts))
	key := fmt.Sprintf("%d %q %t %q %q %t %s %t %t", a.Section, a.Permission, a.Anonymous, methods, hosts, a.Override, a.Demand().Key(), a.Guard != nil, a.MCP != nil)
	if g, ok := s.Grantors(a.Permission); ok {
		key += fmt.Sprintf("%+v", g)
	}
	return key
}
