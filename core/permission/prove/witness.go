package prove

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

// shown looks for a caller who passes on a path and lacks what is needed, and takes only
// one whom the table, and the gate, lets pass.
func (o *open) shown(path string) bool {
	f := formula.And(o.formula, o.onPath(path))
	if _, answer := formula.Solve(f); answer != formula.Satisfiable {
		return false
	}
	o.refusal = nil
	for _, who := range people(formula.NamesOf(f)) {
		f := formula.And(f, who)
		m, answer := formula.Solve(f)
		if answer != formula.Satisfiable {
			continue
		}
		for w := range o.witnesses(m, formula.NamesOf(f), path) {
			err := o.confirm(w)
			if err == nil {
				o.Result, o.Witness, o.Reason = Refuted, w, ""
				return true
			}
			o.refusal = cmp.Or(o.refusal, err)
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
func (o *open) witnesses(m *formula.Model, names formula.Names, path string) iter.Seq[*Witness] {
	return func(yield func(*Witness) bool) {
		w := o.witness(m, names, path)
		if !yield(w) || w.Principal == nil || w.Principal.Actor == nil {
			return
		}
		for i, a := range o.actors() {
			delegated := *w
			delegated.Example = w.Example.By(a)
			if i >= maxActors || !yield(&delegated) {
				return
			}
		}
	}
}

// actors are those that the table and the requirements tell apart.
func (o *open) actors() (all []*core.Actor) {
	further := o.asked[o.region].Require.ActorPatterns()
	var tables []*permission.Table
	for _, s := range o.sides() {
		tables = append(tables, s.Table)
	}
	for _, d := range o.deciders(o.now) {
		further = append(further, d.Require.ActorPatterns()...)
	}
	for _, d := range o.deciders(o.before) {
		further = append(further, d.Require.ActorPatterns()...)
	}
	examples := permission.ActorExamples(further, tables...)
	for _, pattern := range slices.Sorted(maps.Keys(examples)) {
		for _, p := range examples[pattern] {
			all = append(all, p.Actor)
		}
	}
	return all
}

func (o *open) witness(m *formula.Model, names formula.Names, path string) *Witness {
	w := &Witness{Call: o.Call, Example: callers.NewExample(m, names, time.Now())}
	w.Path = path
	if slices.Contains(names.Terms, condition.Host) {
		if w.Host = o.hostName(); m.Of(condition.Host).Shape == formula.Absent {
			w.Host = noHost
		}
	}
	w.Deciding, w.Before = o.deciders(o.now), o.deciders(o.before)
	return w
}

// deciders are the activities that decide a call.
func (o *open) deciders(w *passage) (all []permission.OwnedActivity) {
	if w == nil {
		return nil
	}
	for _, i := range w.deciding {
		all = append(all, w.side.rules[i])
	}
	return all
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

func (w *Witness) call() *core.Call {
	return &core.Call{Request: w.Request(anyHost), Path: seenPath(w.Path)}
}

// confirm has the tables, and the gates, decide the call of a witness.
func (o *open) confirm(w *Witness) error {
	if err := o.passes(o.table, w); err != nil {
		return err
	}
	if o.has(w) {
		return errors.New("the caller has what is needed")
	}
	if w.Principal != nil && w.Principal.Limit != nil && o.options.Confirm != nil {
		return errors.New("the credential of the caller counts only as far as its owner's permissions, which no tool can show")
	}
	if o.options.Confirm == nil {
		return nil
	}
	return o.options.Confirm(w)
}

func (o *open) passes(s *side, w *Witness) error {
	call, p := w.call(), w.Principal
	access := s.Match(o.ctx, call)
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
		return open.AllowsAnonymous(o.ctx, call)
	}
	for _, scope := range o.options.ScopesRequired {
		if !slices.Contains(p.Scopes, scope) {
			return &core.InsufficientScope{Scopes: o.options.ScopesRequired}
		}
	}
	return access.Allows(o.ctx, call, p)
}

// has reports whether the caller of a witness has what the property says.
func (o *open) has(w *Witness) bool {
	if o.older != nil {
		return o.passes(o.older, w) == nil
	}
	need, p := &o.Need, w.Principal
	if need.Nobody || p == nil && (need.Credential || len(need.AllRoles)+len(need.AnyRole)+len(need.Permissions) > 0) {
		return false
	}
	if p == nil {
		p = &core.Principal{}
	}
	holds := func(role string) bool { return slices.Contains(p.Roles, role) }
	lacks := func(role string) bool { return !holds(role) }
	if slices.ContainsFunc(need.AllRoles, lacks) || len(need.AnyRole) > 0 && !slices.ContainsFunc(need.AnyRole, holds) {
		return false
	}
	if slices.ContainsFunc(need.Permissions, func(name string) bool { return !o.table.Holds(p, name) }) {
		return false
	}
	return require.New(&need.Require, o.need(o.region).condition).Check(w.call(), p, nil, time.Now()) == nil
}
