package permission

import (
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/idset"
)

// What package inspect needs to take a decision apart. Activities are numbered as
// Activities lists them.

// Covering returns the activities that cover a call. It is nil for an access that
// is not of a Table.
func Covering(a core.Access) []int {
	if access, ok := a.(*Access); ok {
		return numbers(access.matched)
	}
	return nil
}

// Deciding returns those of the covering activities that decide the call.
func Deciding(a core.Access) []int {
	if access, ok := a.(*Access); ok {
		return numbers(access.decides)
	}
	return nil
}

func numbers(list []*compiledActivity) []int {
	all := make([]int, len(list))
	for i, a := range list {
		all[i] = int(a.order)
	}
	return all
}

// Len is the number of activities.
func (t *Table) Len() int { return len(t.activities) }

// ActivityAllows returns nil when an activity by itself lets the principal make
// a call that it covers.
func (t *Table) ActivityAllows(activity int, call *core.Call, p *core.Principal) error {
	a := &t.activities[activity]
	if p == nil {
		return a.allowsAnonymous(t, call)
	}
	if err := t.CheckActor(p); err != nil && a.section != InPublic {
		return err
	}
	return a.allows(t, call, p)
}

// Check is the outcome of one requirement.
type Check struct {
	// Name is the key in the file, such as "max_age".
	Name string
	Want string
	// Err is nil when the requirement holds.
	Err error
	// Reads lists the values that a condition reads.
	Reads []condition.Value
}

// Checks checks every requirement of an activity by itself. The principal is nil
// for a caller without a credential; none holds then unless such callers may perform
// the activity.
func (t *Table) Checks(activity int, call *core.Call, p *core.Principal) []Check {
	r := t.activities[activity].require
	if r == nil {
		return nil
	}
	caller := p
	if p == nil && t.open(&t.activities[activity]) {
		caller = nobody
	}
	var checks []Check
	for _, part := range r.Parts() {
		c := Check{Name: part.Name, Want: part.Want, Err: core.ErrMissing}
		if caller != nil {
			c.Err = part.Check(call, caller, nil, t.now())
		}
		if part.Condition != nil {
			c.Reads = part.Condition.Reads(call, p)
		}
		checks = append(checks, c)
	}
	return checks
}

// Names lists everything that grants permissions.
func (t *Table) Names() (permissions, roles, scopes []string) {
	for name := range t.roles {
		roles = append(roles, name)
	}
	for name := range t.scopes {
		scopes = append(scopes, name)
	}
	if t.implicitScopes {
		for _, name := range t.permissions {
			if _, explicit := t.scopes[name]; !explicit {
				scopes = append(scopes, name)
			}
		}
	}
	slices.Sort(roles)
	slices.Sort(scopes)
	return slices.Clone(t.permissions), roles, scopes
}

// Grantors are the names that grant a permission.
type Grantors struct {
	Permission    string
	Scopes, Roles []string
	// Subjects are patterns of SPIFFE IDs.
	Subjects []string
	// Actors are patterns of those to whom a credential with the permission may be delegated.
	Actors []string
	// Anonymous says that every caller holds it, also one without a credential.
	Anonymous bool
}

// Grantors lists what grants a permission; ok is false for one that the table
// does not define.
func (t *Table) Grantors(permission string) (g Grantors, ok bool) {
	id, ok := t.ids[permission]
	if !ok {
		return Grantors{}, false
	}
	g.Permission, g.Anonymous = permission, t.anonymous.Has(id)
	g.Subjects = t.subjects.with(func(granted idset.Set) bool { return granted.Has(id) })
	g.Actors = t.actors.with(func(granted idset.Set) bool { return g.Anonymous || granted.Has(id) })
	for scope, granted := range t.scopes {
		if granted.Has(id) {
			g.Scopes = append(g.Scopes, scope)
		}
	}
	if _, explicit := t.scopes[permission]; !explicit && t.implicitScopes {
		g.Scopes = append(g.Scopes, permission)
	}
	for role, granted := range t.roles {
		if granted.Has(id) {
			g.Roles = append(g.Roles, role)
		}
	}
	slices.Sort(g.Scopes)
	slices.Sort(g.Roles)
	return g, true
}

// Holds reports whether a principal has a permission of the table; nil is a caller
// without a credential.
func (t *Table) Holds(p *core.Principal, permission string) bool {
	if p == nil {
		p = nobody
	}
	id, ok := t.ids[permission]
	return ok && t.holds(p, id)
}

// ScopeGrants reports whether a scope grants a permission, and whether by an
// entry under "scopes".
func (t *Table) ScopeGrants(scope, permission string) (grants, explicit bool) {
	_, explicit = t.scopes[scope]
	id, ok := t.ids[permission]
	return ok && t.scopeGrants(scope, id), explicit
}
