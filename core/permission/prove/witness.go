package prove

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/callers"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/formula"
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
	for _, who := range people() {
		f := formula.And(f, who)
		m, answer := formula.Solve(f)
		if answer != formula.Satisfiable {
			continue
		}
		w := o.witness(m, formula.NamesOf(f), path)
		err := o.confirm(w)
		if err == nil {
			o.Result, o.Witness, o.Reason = Refuted, w, ""
			return true
		}
		o.refusal = cmp.Or(o.refusal, err)
	}
	return false
}

// people are kinds of callers, the plainest first.
func people() []formula.Formula {
	people := []formula.Formula{formula.Not(callers.HasCredential()), formula.And(callers.OfKind(core.KindJWT), callers.Plain())}
	for _, info := range core.Kinds() {
		if info.Kind != core.KindJWT {
			people = append(people, formula.And(callers.OfKind(info.Kind), callers.Plain()))
		}
	}
	return append(people, callers.Limited())
}

// noHost is a name that is no host.
const noHost = "no..host"

func (o *open) witness(m *formula.Model, names formula.Names, path string) *Witness {
	w := &Witness{Call: o.Call, Example: callers.NewExample(m, names, time.Now())}
	w.Path = path
	if slices.Contains(names.Terms, condition.Host) {
		if w.Host = o.hostName(); m.Of(condition.Host).Shape == formula.Absent {
			w.Host = noHost
		}
	}
	for _, i := range o.deciding {
		w.Deciding = append(w.Deciding, o.rules[i])
	}
	return w
}

// Target is what to write on a request line.
func (w *Witness) Target() string {
	if w.Query != "" {
		return analysis.Target(w.Path) + "?" + w.Query
	}
	return analysis.Target(w.Path)
}

// call is the request of a witness.
func (w *Witness) call() *core.Call {
	host := cmp.Or(w.Host, anyHost)
	return &core.Call{Request: &core.Request{Method: w.Method, Target: w.Target(), Host: host, Header: w.Header, Peer: w.Peer}, Path: w.Path}
}

// confirm has the table, and the gate, decide the call of a witness.
func (o *open) confirm(w *Witness) error {
	if err := o.passes(w); err != nil {
		return err
	}
	if o.has(w) {
		return errors.New("the caller has what the property says")
	}
	if w.Principal != nil && w.Principal.Limit != nil && o.options.Confirm != nil {
		return errors.New("the credential of the caller counts only as far as its owner's permissions, which no tool can show")
	}
	if o.options.Confirm == nil {
		return nil
	}
	return o.options.Confirm(w)
}

func (o *open) passes(w *Witness) error {
	call, p := w.call(), w.Principal
	access := o.table.Match(o.ctx, call)
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
