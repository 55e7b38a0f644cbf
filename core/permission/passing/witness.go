package passing

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/callers"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/require"
)

// Witness is a call that passes, with a caller who lacks something.
type Witness struct {
	analysis.Call
	*callers.Example
	// Deciding are the activities that decide the call, and Before those of the older table.
	Deciding, Before []permission.OwnedActivity
}

// Target is what to write on a request line, and how people write a call of the Model
// Context Protocol.
func (w *Witness) Target() string {
	query := ""
	if w.Query != "" {
		query = "?" + w.Query
	}
	if mcp.IsPath(w.Path) {
		c := mcp.FromPath(w.Path)
		c.Endpoint += query
		return c.String()
	}
	return analysis.Target(w.Path) + query
}

// Request is that of a witness, to a host where it has none.
func (w *Witness) Request(host string) *core.Request {
	r := asRequest(&w.Call, &core.Request{Host: cmp.Or(w.Host, host), Header: slices.Clone(w.Header), Peer: w.Peer})
	if w.Query != "" {
		r.Target += "?" + w.Query
	}
	return r
}

// AsSeen is the call of a witness as a table sees it.
func (w *Witness) AsSeen() *core.Call {
	return &core.Call{Request: w.Request(anyHost), Path: seenPath(w.Path)}
}

// Meets reports whether the caller of a witness meets requirements.
func (w *Witness) Meets(r *require.Requirements, c *condition.Condition) bool {
	p := w.Principal
	if p == nil {
		p = &core.Principal{}
	}
	return require.New(r, c).Check(w.AsSeen(), p, nil, time.Now()) == nil
}

// Refusal is why a witness does not pass a table; nil where it does.
func (s *Side) Refusal(w *Witness) error {
	call, p := w.AsSeen(), w.Principal
	access := s.Match(s.of.ctx, call)
	switch {
	case access == nil:
		return fmt.Errorf("%w: no activity covers the call", core.ErrForbidden)
	case access.Public():
		return nil
	case p == nil:
		open, ok := access.(core.AnonymousAccess)
		if !ok {
			return core.ErrMissing
		}
		return open.AllowsAnonymous(s.of.ctx, call)
	}
	for _, scope := range s.of.ScopesRequired {
		if !slices.Contains(p.Scopes, scope) {
			return &core.InsufficientScope{Scopes: s.of.ScopesRequired}
		}
	}
	return access.Allows(s.of.ctx, call, p)
}

// shown looks for a caller who passes on a path and lacks what is needed, and takes only
// one whom the table, and the gate, lets pass.
func (l *Lack) shown(path string) bool {
	f := formula.And(l.formula, l.onPath(path))
	if _, answer := formula.Solve(f); answer != formula.Satisfiable {
		return false
	}
	l.refusal = nil
	for _, who := range people(formula.NamesOf(f)) {
		f := formula.And(f, who)
		m, answer := formula.Solve(f)
		if answer != formula.Satisfiable {
			continue
		}
		for w := range l.witnesses(m, formula.NamesOf(f), path) {
			err := l.confirm(w)
			if err == nil {
				l.Witness, l.Reason = w, ""
				return true
			}
			l.refusal = cmp.Or(l.refusal, err)
		}
	}
	return false
}

// people are kinds of callers, the plainest first: without a credential, by roles and
// scopes, by stated permissions, and those without a subject.
func people(names formula.Names) []formula.Formula {
	people := []formula.Formula{formula.Not(callers.HasCredential())}
	plain := callers.Plain()
	for _, like := range []formula.Formula{formula.And(plain, callers.HasSubject(), callers.StatesNone(names)), formula.And(plain, callers.HasSubject()), plain} {
		people = append(people, formula.And(callers.OfKind(core.KindJWT), like))
		for _, info := range core.Kinds() {
			if info.Kind != core.KindJWT {
				people = append(people, formula.And(callers.OfKind(info.Kind), like))
			}
		}
	}
	return append(people, callers.Limited())
}

// noHost is a name that is no host.
const noHost = "no..host"

// maxActors bounds how many actors are tried for one caller.
const maxActors = 20

// witnesses are the callers that a model describes: one, or where somebody acts one for
// each actor that the table and the requirements tell apart.
func (l *Lack) witnesses(m *formula.Model, names formula.Names, path string) iter.Seq[*Witness] {
	return func(yield func(*Witness) bool) {
		w := l.witness(m, names, path)
		if l.Actor != nil && w.Principal != nil {
			w.Example = w.Example.By(l.Actor)
			yield(w)
			return
		}
		if !yield(w) || w.Principal == nil || w.Principal.Actor == nil {
			return
		}
		for i, a := range l.actors() {
			delegated := *w
			delegated.Example = w.Example.By(a)
			if i >= maxActors || !yield(&delegated) {
				return
			}
		}
	}
}

// actors are those that the table and the requirements tell apart.
func (l *Lack) actors() (all []*core.Actor) {
	further := slices.Clone(l.Actors)
	var tables []*permission.Table
	for _, s := range l.World.Sides {
		tables = append(tables, s.Table)
	}
	for _, w := range []*Passage{l.By, l.Before} {
		for _, d := range w.Deciding() {
			further = append(further, d.Require.ActorPatterns()...)
		}
	}
	examples := permission.ActorExamples(further, tables...)
	for _, pattern := range slices.Sorted(maps.Keys(examples)) {
		for _, p := range examples[pattern] {
			all = append(all, p.Actor)
		}
	}
	return all
}

func (l *Lack) witness(m *formula.Model, names formula.Names, path string) *Witness {
	w := &Witness{Call: l.Call, Example: callers.NewExample(m, names, time.Now())}
	w.Path = path
	if slices.Contains(names.Terms, condition.Host) {
		if w.Host = hostName(&l.Call); m.Of(condition.Host).Shape == formula.Absent {
			w.Host = noHost
		}
	}
	w.Deciding, w.Before = l.By.Deciding(), l.Before.Deciding()
	return w
}

// Deciding are the activities that decide the call.
func (w *Passage) Deciding() (all []permission.OwnedActivity) {
	if w == nil {
		return nil
	}
	for _, i := range w.deciding {
		all = append(all, w.side.Rules[i])
	}
	return all
}

// confirm has the tables, and the gates, decide the call of a witness.
func (l *Lack) confirm(w *Witness) error {
	if err := l.By.side.Refusal(w); err != nil {
		return err
	}
	if l.Has(w) {
		return errors.New("the caller has what is needed")
	}
	if w.Principal != nil && w.Principal.Proof != "" && w.Principal.Kind != core.KindMTLS && len(w.Principal.Claims) > 0 {
		return errors.New("the credential of the caller has claims and is bound to a key, which no tool can show")
	}
	confirm := l.World.Confirm
	if w.Principal != nil && w.Principal.Limit != nil && confirm != nil {
		return errors.New("the credential of the caller counts only as far as its owner's permissions, which no tool can show")
	}
	if confirm == nil {
		return nil
	}
	return confirm(w)
}
