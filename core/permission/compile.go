package permission

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Options are what a table needs from outside. The zero value is ready.
type Options struct {
	// Now is the clock for max_age; nil for the system's.
	Now func() time.Time
}

// Compile merges files into a table with the default options.
func Compile(files ...*File) (*Table, error) { return Options{}.Compile(files...) }

// Compile merges files into a table. Each name may be defined in one file
// only; the error, if any, is a Problems that names both places.
func (o Options) Compile(files ...*File) (*Table, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &compiler{files: files, table: &Table{now: o.Now}, methods: map[string]bool{}}
	c.permissions()
	c.roles()
	c.scopes()
	if err := c.report.err(); err != nil {
		return nil, err
	}
	c.activities()
	if err := c.report.err(); err != nil {
		return nil, err
	}
	var err error
	c.table.index, err = newIndex(c.table, c.patterns)
	return c.table, err
}

// compiler turns files into a table.
type compiler struct {
	files   []*File
	report  report
	table   *Table
	methods map[string]bool
	// patterns are those of the table's activities; the table itself does
	// without their trees.
	patterns []*pattern
}

// defined keeps the place of each name and refuses the second one.
type defined map[string]Place

func (c *compiler) define(seen defined, kind, name string, at Place) bool {
	if first, twice := seen[name]; twice {
		c.report.add(at, "%s %s is defined twice, first at %s; keep one, or give one of them another name", kind, quoted(name), first)
		return false
	}
	seen[name] = at
	return true
}

// permissions numbers the permissions in the order of their names, so that a
// sorted list of numbers is a sorted list of names.
func (c *compiler) permissions() {
	seen := defined{}
	for _, f := range c.files {
		for i := range f.Permissions {
			c.define(seen, "permission", f.Permissions[i].Name, f.Permissions[i].Place)
		}
	}
	t := c.table
	t.permissions = make([]string, 0, len(seen))
	for name := range seen {
		t.permissions = append(t.permissions, name)
	}
	slices.Sort(t.permissions)
	t.ids = make(map[string]permissionID, len(t.permissions))
	for i, name := range t.permissions {
		t.ids[name] = permissionID(i)
	}
}

// grants resolves the permissions of a grant list.
func (c *compiler) grants(kind, name string, list []Grant) []permissionID {
	var ids []permissionID
	for _, g := range list {
		if g.Role {
			continue
		}
		id, ok := c.table.ids[g.Name]
		if !ok {
			c.report.add(g.Place, "%s %s: there is no permission %s%s; define it or remove it here", kind, quoted(name), quoted(g.Name), c.suggestPermission(g.Name))
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

func (c *compiler) suggestPermission(name string) string {
	if c.report.full() {
		return ""
	}
	for _, f := range c.files {
		if slices.ContainsFunc(f.Roles, func(r Role) bool { return r.Name == name }) {
			return "; to include the role write " + quoted(rolePrefix+name)
		}
	}
	return didYouMean(name, c.table.permissions)
}

// roles gives each role everything it grants, included roles and all.
func (c *compiler) roles() {
	seen := defined{}
	r := &roleResolver{compiler: c, roles: map[string]*Role{}, done: map[string]permissionSet{}}
	for _, f := range c.files {
		for i := range f.Roles {
			if role := &f.Roles[i]; c.define(seen, "role", role.Name, role.Place) {
				r.roles[role.Name] = role
				r.names = append(r.names, role.Name)
			}
		}
	}
	for _, name := range r.names {
		r.resolve(name)
	}
	c.table.roles = r.done
}

// roleResolver walks the inclusion of roles depth first.
type roleResolver struct {
	*compiler
	roles map[string]*Role
	names []string
	done  map[string]permissionSet
	path  []string
}

func (r *roleResolver) resolve(name string) permissionSet {
	if ids, ok := r.done[name]; ok {
		return ids
	}
	role := r.roles[name]
	r.path = append(r.path, name)
	ids := r.grants("role", name, role.Grants)
	for _, g := range role.Grants {
		if g.Role {
			ids = r.include(role, g).appendTo(ids)
		}
	}
	r.path = r.path[:len(r.path)-1]
	r.done[name] = newPermissionSet(ids)
	return r.done[name]
}

func (r *roleResolver) include(role *Role, g Grant) permissionSet {
	if _, ok := r.roles[g.Name]; !ok {
		r.report.add(g.Place, "role %s: there is no role %s%s; define it or remove it here", quoted(role.Name), quoted(g.Name), r.suggestRole(g.Name))
		return permissionSet{}
	}
	if start := slices.Index(r.path, g.Name); start >= 0 {
		cycle := append(slices.Clone(r.path[start:]), g.Name)
		r.report.add(g.Place, "role %s includes itself: %s; remove one of the inclusions", quoted(g.Name), strings.Join(cycle, " -> "))
		return permissionSet{}
	}
	return r.resolve(g.Name)
}

func (c *compiler) scopes() {
	t := c.table
	seen := defined{}
	t.scopes = map[string]permissionSet{}
	t.implicitScopes = true
	var stated *Switch
	for _, f := range c.files {
		for i := range f.Scopes {
			s := &f.Scopes[i]
			if !c.define(seen, "scope", s.Name, s.Place) {
				continue
			}
			t.scopes[s.Name] = newPermissionSet(c.grants("scope", s.Name, s.Grants))
		}
		switch {
		case f.ImplicitScopes == nil:
		case stated != nil && stated.On != f.ImplicitScopes.On:
			c.report.add(f.ImplicitScopes.Place, "implicit_scopes is %t here and %t at %s; it holds for the whole table, so state it once", f.ImplicitScopes.On, stated.On, stated.Place)
		default:
			stated = f.ImplicitScopes
			t.implicitScopes = stated.On
		}
	}
}

// activities compiles what covers calls.
func (c *compiler) activities() {
	enough := c.enoughScopes()
	for _, f := range c.files {
		for i := range f.Permissions {
			p := &f.Permissions[i]
			id := c.table.ids[p.Name]
			for j := range p.Activities {
				c.activity(&p.Activities[j], inPermission, id, enough[id])
			}
		}
		for i := range f.Authenticated {
			c.activity(&f.Authenticated[i], inAuthenticated, noPermission, "")
		}
		for i := range f.Public {
			c.activity(&f.Public[i], inPublic, noPermission, "")
		}
	}
}

func (c *compiler) activity(a *Activity, s section, id permissionID, enough string) {
	compiled := &activity{
		order:      uint32(len(c.table.activities)),
		section:    s,
		permission: id,
		override:   a.Override,
		methods:    a.Methods,
		hosts:      a.Hosts,
		path:       a.Path,
		rule:       c.ruleName(a, s, id),
	}
	if !a.Require.empty() {
		var err error
		if compiled.require, err = newRequirements(&a.Require, a.pattern); err != nil {
			c.report.add(a.PathPlace, "path %s", patternError(a.Path, err))
		}
	}
	if s == inAuthenticated || enough != "" {
		compiled.scopes = scopesFor(enough, &a.Require)
	}
	c.countMethods(a)
	c.table.activities = append(c.table.activities, compiled)
	c.patterns = append(c.patterns, a.pattern)
}

// countMethods keeps the methods of a table to what the index can number.
func (c *compiler) countMethods(a *Activity) {
	for _, m := range a.Methods {
		if m == AnyMethod || c.methods[m] || len(c.methods) > maxMethods {
			continue
		}
		c.methods[m] = true
		if len(c.methods) > maxMethods {
			c.report.add(a.Place, "method %s is one too many; a table may name %d different methods", m, maxMethods)
		}
	}
}

func (c *compiler) ruleName(a *Activity, s section, id permissionID) string {
	owner := s.String()
	if s == inPermission {
		owner = c.table.permissions[id]
	}
	return owner + ": " + a.String()
}

// enoughScopes finds for each permission the scope to name to a client that
// lacks it: the one named like the permission, or else the one that grants
// the least beside it. It is empty where no scope grants the permission.
func (c *compiler) enoughScopes() []string {
	t := c.table
	enough := make([]string, len(t.permissions))
	least := make([]int, len(t.permissions))
	for _, scope := range slices.Sorted(maps.Keys(t.scopes)) {
		granted := t.scopes[scope]
		for _, id := range granted.appendTo(nil) {
			if enough[id] == "" || granted.len() < least[id] {
				enough[id], least[id] = scope, granted.len()
			}
		}
	}
	for id, name := range t.permissions {
		if t.scopeGrants(name, permissionID(id)) {
			enough[id] = name
		}
	}
	return enough
}

// scopesFor lists the scopes that would be enough for an activity.
func scopesFor(enough string, r *Requirements) []string {
	var scopes []string
	add := func(s string) {
		if s != "" && !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	add(enough)
	for _, s := range r.AllScopes {
		add(s)
	}
	if len(r.AnyScope) > 0 {
		add(r.AnyScope[0])
	}
	return scopes
}

func (r *roleResolver) suggestRole(name string) string {
	if r.report.full() {
		return ""
	}
	return didYouMean(name, r.names)
}
