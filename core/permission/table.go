package permission

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gatehouse/core"
	"gatehouse/core/account"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/idset"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/pathindex"
	"gatehouse/core/permission/require"
)

// Table is a compiled permission table. It is immutable and safe for
// concurrent use.
type Table struct {
	now         func() time.Time
	version     account.Table
	decider     ask.Decider // nil: nobody answers what activities ask
	permissions []string    // sorted; a permissionID is an index
	ids         map[string]permissionID
	roles       map[string]idset.Set // everything a role grants
	scopes      map[string]idset.Set // the entries under "scopes"
	// implicitScopes lets a scope grant the permission it is named like,
	// unless scopes has an entry for it.
	implicitScopes bool
	subjects       *subjects // nil for none
	// actors are those of delegated credentials that the table names; nil for none. With
	// actorChain all of a chain count, else the current one.
	actors     *subjects
	actorChain bool
	// anonymous are held by every caller, also by one without a credential.
	anonymous idset.Set
	// invalid is Anonymous.InvalidCredential.
	invalid    string
	activities []compiledActivity
	index      *pathindex.Index[Access]
	endpoints  *mcp.Index[Access] // nil where the table has none of the Model Context Protocol
	guards     *guards            // nil where the table refuses no variants of paths
}

var _ core.Policy = (*Table)(nil)

// permissionID numbers the permissions of a table in the order of their names.
type permissionID = idset.ID

const noPermission = ^permissionID(0)

// compiledActivity is what a table needs of an activity to decide.
type compiledActivity struct {
	order      uint32 // in which the files state them
	section    Section
	override   bool
	permission permissionID
	require    *require.Compiled // nil for none
	scopes     []string          // that would be enough
	mcp        *mcp.Pattern      // nil for none
	name       string
}

// Match finds the activities that cover a call, or nil when none does, or when the
// path is a variant of a guarded one that the table refuses.
func (t *Table) Match(_ context.Context, call *core.Call) core.Access {
	access, err := t.covering(call)
	if err != nil {
		return mcp.Refused{Err: err}
	}
	if access != nil && t.guards != nil && access.decides[0].mcp == nil { // a call of a tool is of one endpoint alone
		access = t.left(access, call)
	}
	if access == nil {
		return nil
	}
	return access
}

// Permissions lists, sorted, every permission of the table that the principal
// holds. Names that the table does not define are left out: they open nothing
// here and would tell an upstream more than this table vouches for.
func (t *Table) Permissions(p *core.Principal) []string {
	ids := t.anonymous.AppendTo(nil)
	for _, name := range p.Permissions {
		if id, ok := t.ids[name]; ok {
			ids = append(ids, id)
		}
	}
	for _, role := range p.Roles {
		ids = t.roles[role].AppendTo(ids)
	}
	for _, scope := range p.Scopes {
		if granted, explicit := t.scopes[scope]; explicit {
			ids = granted.AppendTo(ids)
		} else if id, ok := t.ids[scope]; ok && t.implicitScopes {
			ids = append(ids, id)
		}
	}
	t.workload(p, func(granted idset.Set) bool {
		ids = granted.AppendTo(ids)
		return false
	})
	if p.Limit != nil || p.Actor != nil {
		ids = slices.DeleteFunc(ids, func(id permissionID) bool { return !t.within(p, id) })
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = t.permissions[id]
	}
	return names
}

// holds reports whether a principal has a permission, and nothing takes it away.
func (t *Table) holds(p *core.Principal, id permissionID) bool {
	return t.grants(p, id) && t.within(p, id)
}

// within reports whether the actor of a principal has a permission, and its limit, where
// there are such.
func (t *Table) within(p *core.Principal, id permissionID) bool {
	return (p.Actor == nil || t.actorsHold(p.Actor, id)) && (p.Limit == nil || t.holds(p.Limit, id))
}

// grants reports whether a principal has a permission, whatever its limit and its actor.
func (t *Table) grants(p *core.Principal, id permissionID) bool {
	if len(p.Permissions) > 0 && slices.Contains(p.Permissions, t.permissions[id]) {
		return true
	}
	for _, role := range p.Roles {
		if t.roles[role].Has(id) {
			return true
		}
	}
	if t.anonymous.Has(id) || t.workload(p, func(granted idset.Set) bool { return granted.Has(id) }) {
		return true
	}
	for _, scope := range p.Scopes {
		if t.scopeGrants(scope, id) {
			return true
		}
	}
	return false
}

// fewPermissions is up to how many permissions asking for each is cheaper than
// going through everything a caller holds.
const fewPermissions = 16

// holdsAny reports whether a principal has a permission of a set.
func (t *Table) holdsAny(p *core.Principal, set idset.Set) bool {
	if p.Limit != nil || p.Actor != nil {
		return slices.ContainsFunc(set.AppendTo(nil), func(id permissionID) bool { return t.holds(p, id) })
	}
	if few, ok := set.Few(fewPermissions); ok {
		return slices.ContainsFunc(few, func(id permissionID) bool { return t.holds(p, id) })
	}
	if set.Intersects(t.anonymous) || t.workload(p, set.Intersects) {
		return true
	}
	for _, name := range p.Permissions {
		if id, ok := t.ids[name]; ok && set.Has(id) {
			return true
		}
	}
	for _, role := range p.Roles {
		if set.Intersects(t.roles[role]) {
			return true
		}
	}
	for _, scope := range p.Scopes {
		granted, explicit := t.scopes[scope]
		if set.Intersects(granted) {
			return true
		}
		if id, ok := t.ids[scope]; ok && !explicit && t.implicitScopes && set.Has(id) {
			return true
		}
	}
	return false
}

// scopeGrants reports whether a scope grants a permission: by its entry under
// "scopes", or by its name where it has none.
func (t *Table) scopeGrants(scope string, id permissionID) bool {
	granted, explicit := t.scopes[scope]
	if !explicit {
		return t.implicitScopes && scope == t.permissions[id]
	}
	return granted.Has(id)
}

// Access is the part of a table that covers one call.
type Access struct {
	table *Table
	*covering
	// only is the permission whose activity requires nothing further, if there
	// is one such permission.
	only   permissionID
	public bool
}

// covering is the part of an Access that most calls do not touch. A table has
// very many of them.
type covering struct {
	// matched are all activities that cover the call; decides are those of
	// the section that counts.
	matched, decides []*compiledActivity
	// plain are the permissions whose activities require nothing further, if
	// there are several, and demanding the activities that do.
	plain     *idset.Set
	demanding []*compiledActivity
	// anyone says that an authenticated caller needs nothing further, and nobody that
	// a caller without a credential needs nothing either.
	anyone, nobody bool
}

var (
	_ core.AnonymousAccess = (*Access)(nil)
	_ core.ProvenAccess    = (*Access)(nil)
)

// newAccess sorts the activities that decide by what they ask for.
func newAccess(t *Table, matched, decides []*compiledActivity) Access {
	c := &covering{matched: matched, decides: decides}
	var plain []permissionID
	for _, a := range c.decides {
		switch {
		case a.require != nil:
			c.demanding = append(c.demanding, a)
		case t.open(a):
			c.anyone, c.nobody = true, true
		case a.section == InPermission:
			plain = append(plain, a.permission)
		default:
			c.anyone = true
		}
	}
	access := Access{t, c, noPermission, c.decides[0].section == InPublic}
	switch len(plain) {
	case 0:
	case 1:
		access.only = plain[0]
	default:
		set := idset.New(plain)
		c.plain = &set
	}
	return access
}

// newUnion makes the access for calls that several accesses cover.
func newUnion(list []*Access) Access {
	var matched []*compiledActivity
	for _, a := range list {
		matched = append(matched, a.matched...)
	}
	slices.SortFunc(matched, byOrder)
	matched = slices.Compact(matched)
	return newAccess(list[0].table, matched, deciding(matched))
}

// deciding picks the section that decides. The strictest one does, so that a
// broad public regex never opens what a permission guards; an activity that
// says "override" is the exception its author asked for.
func deciding(matched []*compiledActivity) []*compiledActivity {
	strictest := InPublic
	for _, open := range []Section{InPublic, InOptional} {
		overrides := func(a *compiledActivity) bool { return a.override && a.section == open }
		if i := slices.IndexFunc(matched, overrides); i >= 0 {
			return matched[i : i+1]
		}
	}
	for _, a := range matched {
		strictest = max(strictest, a.section)
	}
	counts := func(a *compiledActivity) bool {
		return a.section == strictest || a.override && a.section == InAuthenticated
	}
	if !slices.ContainsFunc(matched, func(a *compiledActivity) bool { return !counts(a) }) {
		return matched
	}
	return slices.DeleteFunc(slices.Clone(matched), func(a *compiledActivity) bool { return !counts(a) })
}

// Public reports whether anybody may make the call.
func (a *Access) Public() bool { return a.public }

// Scopes that would be enough for the first activity that a scope can open. One
// whose condition does not hold is opened by none, and none helps an actor who may not.
func (a *Access) Scopes(call *core.Call, p *core.Principal) []string {
	if a.table.CheckActor(p) != nil {
		return nil
	}
	for _, activity := range a.decides {
		if activity.scopes != nil && !activity.require.RuledOut(call, p) && (activity.section != InPermission || a.table.lacksActor(p, activity.permission) == nil) {
			return activity.scopes
		}
	}
	return nil
}

// Proofs are those of which each activity that decides needs one; none where one of them
// needs none.
func (a *Access) Proofs() []core.Proof {
	var all []core.Proof
	for _, activity := range a.decides {
		if activity.require == nil || activity.require.Proof == "" {
			return nil
		}
		all = append(all, activity.require.Proofs()...)
	}
	return all
}

// Rule names the first activity that decides, with its owner.
func (a *Access) Rule() string {
	if more := len(a.decides) - 1; more > 0 {
		return fmt.Sprintf("%s (and %d more)", a.decides[0].name, more)
	}
	return a.decides[0].name
}

// Allows returns nil when one of the activities lets the principal make the
// call, and otherwise the refusal that leaves the least to be done. The decision point is
// asked only if no activity decides without it.
func (a *Access) Allows(ctx context.Context, call *core.Call, p *core.Principal) error {
	if a.public {
		return nil
	}
	if err := a.table.CheckActor(p); err != nil {
		return err
	}
	if a.only != noPermission && a.table.holds(p, a.only) {
		return nil
	}
	if a.anyone || a.plain != nil && a.table.holdsAny(p, *a.plain) {
		return nil
	}
	var refusal error
	if len(a.demanding) < len(a.decides) {
		refusal = a.lacksPlain(p)
	}
	var asking []*ask.Needed
	for _, activity := range a.demanding {
		err := activity.allows(a.table, call, p)
		if err == nil {
			return nil
		}
		if needed, ok := err.(*ask.Needed); ok {
			asking = append(asking, needed)
		} else if refusal == nil || rank(err) > rank(refusal) {
			refusal = err
		}
	}
	if len(asking) == 0 {
		return refusal
	}
	return ask.Settle(ctx, a.table.decider, call, asking, refusal)
}

// lacksPlain is the refusal for the first activity that requires nothing but
// its permission.
func (a *Access) lacksPlain(p *core.Principal) error {
	i := slices.IndexFunc(a.decides, func(a *compiledActivity) bool { return a.require == nil })
	return a.table.lacks(a.decides[i], p)
}

func (t *Table) lacks(a *compiledActivity, p *core.Principal) error {
	if err := t.lacksActor(p, a.permission); err != nil {
		return err
	}
	return &core.InsufficientScope{Scopes: a.scopes, Detail: "permission " + t.permissions[a.permission] + " is not granted"}
}

// allows decides one activity for one principal. Logging in again is asked
// for last: it would be in vain where something else is missing too.
func (a *compiledActivity) allows(t *Table, call *core.Call, p *core.Principal) error {
	if a.section == InPermission && !t.holds(p, a.permission) {
		// A permission would be in vain where the condition does not hold.
		if a.require != nil {
			if err := a.require.CheckOthers(call, p); err != nil {
				return err
			}
		}
		return t.lacks(a, p)
	}
	if a.require == nil {
		return nil
	}
	return a.require.Check(call, p, a.scopes, t.now())
}

// rank orders refusals by how little is left to be done.
func rank(err error) int {
	switch err.(type) {
	case *core.StepUp:
		return 3
	case *core.NeedsProof:
		return 2
	case *core.InsufficientScope:
		return 1
	}
	return 0
}
