package permission

import (
	"slices"

	"gatehouse/core"
	"gatehouse/core/account"
	"gatehouse/core/permission/ask"
)

var (
	_ account.Accountable = (*Access)(nil)
	_ account.Versioned   = (*Table)(nil)
)

// InForce is what the table was made of.
func (t *Table) InForce() account.Table { return t.version }

// Account names the permission of the first activity that lets the caller make the call,
// or else of the first one that has a decision point asked, or else of the first one that
// needs a permission.
func (a *Access) Account(call *core.Call, p *core.Principal) account.Account {
	by := account.Account{Table: a.table.version}
	decisive := slices.IndexFunc(a.decides, func(c *compiledActivity) bool {
		return a.table.ActivityAllows(int(c.order), call, p) == nil
	})
	if decisive < 0 {
		decisive = slices.IndexFunc(a.decides, func(c *compiledActivity) bool {
			_, asks := a.table.ActivityAllows(int(c.order), call, p).(*ask.Needed)
			return asks
		})
	}
	if decisive < 0 {
		decisive = slices.IndexFunc(a.decides, func(c *compiledActivity) bool { return c.section == InPermission })
	}
	if decisive < 0 || a.decides[decisive].section != InPermission {
		return by
	}
	if p == nil {
		p = nobody
	}
	id := a.decides[decisive].permission
	by.Permission, by.Grant = a.table.permissions[id], a.table.grantOf(p, id)
	return by
}

// grantOf is the first thing by which a caller holds a permission; empty: the caller does
// not.
func (t *Table) grantOf(p *core.Principal, id permissionID) string {
	if !t.holds(p, id) {
		return ""
	}
	if slices.Contains(p.Permissions, t.permissions[id]) {
		return "permission " + t.permissions[id]
	}
	for _, role := range p.Roles {
		if t.roles[role].Has(id) {
			return "role " + role
		}
	}
	for _, scope := range p.Scopes {
		if t.scopeGrants(scope, id) {
			return "scope " + scope
		}
	}
	if t.anonymous.Has(id) {
		return "anonymous"
	}
	return "subject " + p.Subject
}
