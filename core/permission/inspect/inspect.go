// Package inspect explains the decisions of a permission table in the words of
// its files.
package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/subject"
)

// Inspector is a table with the files that it was compiled from.
type Inspector struct {
	*permission.Table
	activities []permission.OwnedActivity
	roles      map[string]*permission.Role
	anonymous  []permission.Grant
	subjects   []matched
}

// matched is a pattern of SPIFFE IDs with what it grants.
type matched struct {
	*subject.Pattern
	grants []permission.Grant
}

// New needs the files that the table was compiled from.
func New(t *permission.Table, files ...*permission.File) *Inspector {
	x := &Inspector{t, permission.Activities(files...), map[string]*permission.Role{}, nil, nil}
	for _, f := range files {
		if f.Anonymous != nil {
			x.anonymous = f.Anonymous.Grants
		}
		for i := range f.Subjects {
			if pattern, err := subject.Parse(f.Subjects[i].Pattern); err == nil { // Compile has checked it
				x.subjects = append(x.subjects, matched{pattern, f.Subjects[i].Grants})
			}
		}
		for i := range f.Roles {
			x.roles[f.Roles[i].Name] = &f.Roles[i]
		}
	}
	return x
}

// Activities lists the activities of the table in the order of the files.
func (x *Inspector) Activities() []permission.OwnedActivity { return x.activities }

// NamesHosts reports whether the table decides by hosts.
func (x *Inspector) NamesHosts() bool {
	return slices.ContainsFunc(x.activities, func(a permission.OwnedActivity) bool { return len(a.Hosts) > 0 })
}

// Explanation is a decision taken apart.
type Explanation struct {
	Public bool
	// Optional says that a caller without a credential may make the call, too, and
	// one with a credential is named.
	Optional bool
	Allowed  bool
	// Refusal is what the log would say; nil when allowed.
	Refusal error
	// Matched are all activities that cover the call.
	Matched []Finding
	// VariantOf are the activities that guard a path of which the call's path is a
	// variant, so that the table refuses what would decide the call otherwise.
	VariantOf []permission.OwnedActivity
}

// Finding is one activity of a decision.
type Finding struct {
	permission.OwnedActivity
	// Decides is false for an activity that a stricter section, or one that
	// overrides, takes the decision from.
	Decides bool
	Allows  bool
	// Holds reports whether the caller has the permission, and Grants how.
	Holds  bool
	Grants []string
	// Actor is who may not use the activity, of those to whom the caller's credential is
	// delegated; nil where there is none.
	Actor *core.Actor
	// Unnamed says that the table does not name an actor.
	Unnamed bool
	// Enough lists what would grant the permission.
	Enough permission.Grantors
	Checks []permission.Check
}

// Explain takes the decision about a call apart. The principal is nil for a
// caller without a credential.
func (x *Inspector) Explain(ctx context.Context, call *core.Call, p *core.Principal) *Explanation {
	e := &Explanation{}
	access := x.Match(ctx, call)
	covering, variantOf := x.Covered(ctx, call)
	for _, i := range variantOf {
		e.VariantOf = append(e.VariantOf, x.activities[i])
	}
	if access == nil {
		e.Refusal = fmt.Errorf("%w: no activity covers the call", core.ErrForbidden)
	} else {
		x.decide(ctx, e, access, call, p)
	}
	e.Allowed = e.Refusal == nil
	deciding := permission.Deciding(access)
	for _, i := range permission.Covering(covering) {
		e.Matched = append(e.Matched, x.finding(i, slices.Contains(deciding, i), call, p))
	}
	return e
}

func (x *Inspector) decide(ctx context.Context, e *Explanation, access core.Access, call *core.Call, p *core.Principal) {
	anonymous := access.(core.AnonymousAccess).AllowsAnonymous(ctx, call)
	e.Public = access.Public()
	e.Optional = !e.Public && anonymous == nil
	switch {
	case e.Public:
	case p == nil:
		e.Refusal = anonymous
	default:
		e.Refusal = access.Allows(ctx, call, p)
	}
}

func (x *Inspector) finding(i int, decides bool, call *core.Call, p *core.Principal) Finding {
	a := x.activities[i]
	f := Finding{OwnedActivity: a, Decides: decides, Holds: true, Checks: x.Checks(i, call, p)}
	if a.Section == permission.InPermission {
		f.Enough, _ = x.Grantors(a.Permission)
		f.Holds = x.Holds(p, a.Permission)
		f.Grants = x.grantsOf(p, a.Permission)
	}
	if a.Section != permission.InPublic {
		f.Actor, f.Unnamed = x.ActorWithout(p, a.Permission), x.CheckActor(p) != nil
	}
	f.Allows = x.ActivityAllows(i, call, p) == nil
	return f
}

// grantsOf lists by what a caller holds a permission; nil is one without a credential.
func (x *Inspector) grantsOf(p *core.Principal, name string) []string {
	by := x.through("anonymous", x.anonymous, name)
	if p == nil {
		return by
	}
	for _, s := range x.subjects {
		if p.Kind == core.KindSPIFFE && s.Matches(p.Subject) {
			by = append(by, x.through("subject "+s.String(), s.grants, name)...)
		}
	}
	if slices.Contains(p.Permissions, name) {
		by = append(by, "permission "+name)
	}
	for _, role := range p.Roles {
		if chain := x.Chain(role, name); chain != nil {
			by = append(by, "role "+strings.Join(chain, " -> role ")+" -> "+name)
		}
	}
	for _, scope := range p.Scopes {
		switch grants, explicit := x.ScopeGrants(scope, name); {
		case !grants:
		case explicit:
			by = append(by, "scope "+scope+" -> "+name)
		default:
			by = append(by, "scope "+scope)
		}
	}
	return by
}

// through lists the ways from a list of grants to a permission.
func (x *Inspector) through(from string, grants []permission.Grant, name string) (by []string) {
	for _, g := range grants {
		if !g.Role && g.Name == name {
			by = append(by, from+" -> "+name)
		} else if chain := x.Chain(g.Name, name); g.Role && chain != nil {
			by = append(by, from+" -> role "+strings.Join(chain, " -> role ")+" -> "+name)
		}
	}
	return by
}

// Chain finds the shortest way from a role to a permission; nil: there is none.
func (x *Inspector) Chain(role, permission string) []string {
	came := map[string]string{}
	for queue := []string{role}; len(queue) > 0; queue = queue[1:] {
		at := x.roles[queue[0]]
		if at == nil {
			continue
		}
		for _, g := range at.Grants {
			if !g.Role && g.Name == permission {
				return unwind(came, role, queue[0])
			}
			if _, seen := came[g.Name]; g.Role && !seen && g.Name != role {
				came[g.Name] = queue[0]
				queue = append(queue, g.Name)
			}
		}
	}
	return nil
}

func unwind(came map[string]string, from, to string) []string {
	way := []string{to}
	for to != from {
		to = came[to]
		way = append(way, to)
	}
	slices.Reverse(way)
	return way
}

// GrantsOf says by what an activity is open to a principal, its requirements
// aside; ok is false where it is not. The principal is nil for a caller
// without a credential.
func (x *Inspector) GrantsOf(p *core.Principal, a *permission.OwnedActivity) (grants []string, ok bool) {
	if a.Section != permission.InPublic && x.CheckActor(p) != nil {
		return nil, false
	}
	switch a.Section {
	case permission.InPublic, permission.InOptional:
		return nil, true
	case permission.InAuthenticated:
		return nil, p != nil
	}
	if !x.Holds(p, a.Permission) {
		return nil, false
	}
	return x.grantsOf(p, a.Permission), true
}
