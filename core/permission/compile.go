package permission

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"gatehouse/core/account"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/idset"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/model"
	"gatehouse/core/permission/names"
	"gatehouse/core/permission/pathindex"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/roles"
	"gatehouse/core/permission/subject"
)

// Options are what a table needs from outside. The zero value is ready.
type Options struct {
	// Now is the clock for max_age; nil for the system's.
	Now func() time.Time
	// Version names what the table is made of, for records.
	Version account.Table
	// Decider answers what activities ask; nil: nobody does, and what needs an answer is
	// denied as not known.
	Decider ask.Decider
	// NoAsk is why no activity may ask; empty: each may.
	NoAsk string
}

// Compile merges files into a table with the default options.
func Compile(files ...*File) (*Table, error) { return Options{}.Compile(files...) }

// Compile merges files into a table. It checks everything, whatever the files
// were made by. Each name may be defined once; the error, if any, is a
// report.Problems that names both places. The table keeps nothing of the files.
func (o Options) Compile(files ...*File) (*Table, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &compiler{files: files, table: &Table{now: o.Now, version: o.Version, decider: o.Decider}, noAsk: o.NoAsk}
	for _, step := range []func(){c.check, c.names, c.activities, c.index, c.guards} {
		step()
		if err := c.problems.Err(); err != nil {
			return nil, err
		}
	}
	return c.table, nil
}

// compiler turns files into a table.
type compiler struct {
	files    []*File
	problems report.Collector
	table    *Table
	// entries are the table's activities for its index. The table itself needs
	// no more of them.
	entries []pathindex.Entry
	// plain and at are activities by number: at are those at endpoints.
	plain, at []uint32
	// parts are those of each activity, in the order of Activities.
	parts []model.Parts
	noAsk string
}

func (c *compiler) check() {
	c.files, c.parts = model.Check(c.files, &c.problems)
	if c.noAsk == "" {
		return
	}
	for _, a := range Activities(c.files...) {
		if len(a.Require.Asks) > 0 {
			c.problems.Add(a.Place, "%s: require: ask %s", a.Owner(), c.noAsk)
		}
	}
}

// names resolves everything that has a name.
func (c *compiler) names() {
	c.permissions()
	c.roles()
	c.scopes()
	c.subjects()
	c.actors()
	c.anonymous()
}

// defined keeps the place of each name and refuses the second one.
type defined map[string]report.Place

func (c *compiler) define(seen defined, kind, name string, at report.Place) bool {
	if first, twice := seen[name]; twice {
		c.problems.Add(at, "%s %s is defined twice, first at %s; keep one, or give one of them another name", kind, report.Quote(name), first)
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
			c.define(seen, "permission", f.Permissions[i].Name, f.PermissionPlace(i))
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

// grants resolves the permissions of a grant list that stands at a place.
func (c *compiler) grants(what string, list []Grant, at func(grant int) report.Place) []permissionID {
	var ids []permissionID
	for i, g := range list {
		if g.Role {
			continue
		}
		id, ok := c.table.ids[g.Name]
		if !ok {
			c.problems.Add(at(i), "%s: there is no permission %s%s; define it or remove it here", what, report.Quote(g.Name), c.suggestPermission(what, g.Name))
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

func (c *compiler) suggestPermission(what, name string) string {
	if c.problems.Full() {
		return ""
	}
	for _, f := range c.files {
		switch is := slices.ContainsFunc(f.Roles, func(r Role) bool { return r.Name == name }); {
		case is && what == "anonymous":
			return "; to include the role list it under roles"
		case is:
			return "; to include the role write " + report.Quote(names.RolePrefix+name)
		}
	}
	return report.DidYouMean(name, c.table.permissions)
}

// roles gives each role everything it grants, included roles and all.
func (c *compiler) roles() {
	seen := defined{}
	var list []roles.Role
	for _, f := range c.files {
		for i := range f.Roles {
			if c.define(seen, "role", f.Roles[i].Name, f.RolePlace(i)) {
				list = append(list, roles.Role{Role: &f.Roles[i], File: f, Index: i})
			}
		}
	}
	c.table.roles = roles.Resolve(list, func(r *roles.Role) []permissionID {
		return c.grants("role "+report.Quote(r.Name), r.Grants, r.GrantPlace)
	}, &c.problems)
}

// anonymous is what every caller may do, one without a credential among them.
func (c *compiler) anonymous() {
	t := c.table
	var stated *File
	for _, f := range c.files {
		if f.Anonymous == nil {
			continue
		}
		at := f.PlaceOf(f.Anonymous.Place, "anonymous")
		if stated != nil {
			c.problems.Add(at, "anonymous is defined twice, first at %s; it holds for the whole table, so keep one", stated.PlaceOf(stated.Anonymous.Place, "anonymous"))
			continue
		}
		stated = f
		ids := c.grantsWithRoles("anonymous", f.Anonymous.Grants, f.AnonymousGrantPlace)
		t.anonymous, t.invalid = idset.New(ids), f.Anonymous.InvalidCredential
	}
}

// grantsWithRoles resolves a grant list with everything that its roles grant.
func (c *compiler) grantsWithRoles(what string, list []Grant, at func(grant int) report.Place) []permissionID {
	ids := c.grants(what, list, at)
	for i, g := range list {
		granted, known := c.table.roles[g.Name]
		if g.Role && !known {
			c.problems.Add(at(i), "%s: there is no role %s%s; define it or remove it here", what, report.Quote(g.Name), report.DidYouMean(strings.TrimPrefix(g.Name, names.RolePrefix), slices.Sorted(maps.Keys(c.table.roles))))
		}
		if g.Role {
			ids = granted.AppendTo(ids)
		}
	}
	return ids
}

// subjects are what workloads may do by their SPIFFE IDs.
func (c *compiler) subjects() {
	list := func(f *File) []Subject { return f.Subjects }
	c.table.subjects = c.byPatterns("subject", subject.Parse, list, (*File).SubjectPlace, (*File).SubjectGrantPlace)
}

// actors are what actors of delegated credentials may do by their ids.
func (c *compiler) actors() {
	list := func(f *File) []Subject { return f.Actors }
	c.table.actors = c.byPatterns("actor", subject.ParseActor, list, (*File).ActorPlace, (*File).ActorGrantPlace)
	c.table.actorChain = c.stated("actor_chain", false, func(f *File) *Switch { return f.ActorChain })
}

func (c *compiler) byPatterns(kind string, parse func(string) (*subject.Pattern, error), list func(*File) []Subject, place func(*File, int) report.Place, grantPlace func(f *File, i, grant int) report.Place) *subjects {
	seen := defined{}
	s := &subjects{}
	for _, f := range c.files {
		for i, stated := range list(f) {
			text := stated.Pattern
			pattern, err := parse(text)
			if err != nil || !c.define(seen, kind, text, place(f, i)) { // Check has reported what is no pattern
				continue
			}
			at := func(grant int) report.Place { return grantPlace(f, i, grant) }
			s.patterns = append(s.patterns, pattern)
			s.granted = append(s.granted, idset.New(c.grantsWithRoles(kind+" "+report.Quote(text), stated.Grants, at)))
		}
	}
	if s.index = subject.NewIndex(s.patterns); len(s.patterns) == 0 {
		return nil
	}
	return s
}

// stated is a switch that holds for the whole table.
func (c *compiler) stated(key string, normally bool, of func(*File) *Switch) bool {
	var stated *Switch
	var statedAt report.Place
	for _, f := range c.files {
		s := of(f)
		switch {
		case s == nil:
		case stated != nil && stated.On != s.On:
			c.problems.Add(f.PlaceOf(s.Place, "%s", key), "%s is %t here and %t at %s; it holds for the whole table, so state it once", key, s.On, stated.On, statedAt)
		default:
			stated, statedAt = s, f.PlaceOf(s.Place, "%s", key)
		}
	}
	if stated == nil {
		return normally
	}
	return stated.On
}

func (c *compiler) scopes() {
	t := c.table
	seen := defined{}
	t.scopes = map[string]idset.Set{}
	t.implicitScopes = c.stated("implicit_scopes", true, func(f *File) *Switch { return f.ImplicitScopes })
	for _, f := range c.files {
		for i := range f.Scopes {
			s := &f.Scopes[i]
			if !c.define(seen, "scope", s.Name, f.ScopePlace(i)) {
				continue
			}
			at := func(grant int) report.Place { return f.ScopeGrantPlace(i, grant) }
			t.scopes[s.Name] = idset.New(c.grants("scope "+report.Quote(s.Name), s.Grants, at))
		}
	}
}

// activities compiles what covers calls.
func (c *compiler) activities() {
	enough, endpoints := c.enoughScopes(), model.Endpoints(c.files)
	all := Activities(c.files...)
	c.table.activities = make([]compiledActivity, len(all))
	c.entries = make([]pathindex.Entry, len(all))
	for i := range all {
		a, id := &all[i], noPermission
		scope := ""
		if a.Section == InPermission {
			id = c.table.ids[a.Permission]
			scope = enough[id]
		}
		c.table.activities[i] = compiledActivity{
			order:      uint32(i),
			section:    a.Section,
			override:   a.Override,
			permission: id,
			name:       a.Owner() + ": " + a.String(),
		}
		if a.Section == InAuthenticated || scope != "" {
			c.table.activities[i].scopes = scopesFor(scope, &a.Require)
		}
		if !a.Require.Empty() {
			c.table.activities[i].require = require.New(&a.Require, c.parts[i].Condition, c.parts[i].Asks...)
		}
		c.table.activities[i].mcp = a.MCP
		if a.MCP != nil || len(endpoints) > 0 && a.IsAt(endpoints) {
			c.at = append(c.at, uint32(i))
		} else {
			c.plain = append(c.plain, uint32(i))
		}
		c.entries[i] = pathindex.Entry{Methods: a.Methods, Hosts: a.Hosts, Path: c.parts[i].Path}
	}
}

// index makes the table's indexes.
func (c *compiler) index() {
	c.table.index = c.indexOf(c.plain)
	if endpoints := model.Endpoints(c.files); len(endpoints) > 0 {
		c.table.endpoints = &mcp.Index[Access]{Endpoints: endpoints, Calls: c.indexOf(c.at)}
	}
}

// indexOf finds those of some activities that cover a call.
func (c *compiler) indexOf(activities []uint32) *pathindex.Index[Access] {
	t := c.table
	list := make([]pathindex.Entry, len(activities))
	for i, n := range activities {
		list[i] = c.entries[n]
	}
	index, err := pathindex.New(list, func(entries []uint32) Access {
		matched := make([]*compiledActivity, len(entries))
		for i, e := range entries {
			matched[i] = &t.activities[activities[e]]
		}
		return newAccess(t, matched, deciding(matched))
	}, newUnion)
	var entry *pathindex.EntryError
	switch {
	case errors.As(err, &entry):
		a := Activities(c.files...)[activities[entry.Entry]]
		c.problems.Add(a.PathPlace, "%s: path %s", a.Owner(), entry.Err)
	case err != nil:
		c.problems.Add(report.Place{File: "the table"}, "%s", err)
	}
	return index
}

// enoughScopes finds for each permission the scope to name to a client that
// lacks it: the one named like the permission, or else the one that grants
// the least in addition. It is empty where no scope grants the permission.
func (c *compiler) enoughScopes() []string {
	t := c.table
	enough := make([]string, len(t.permissions))
	least := make([]int, len(t.permissions))
	for _, scope := range slices.Sorted(maps.Keys(t.scopes)) {
		granted := t.scopes[scope]
		for _, id := range granted.AppendTo(nil) {
			if enough[id] == "" || granted.Len() < least[id] {
				enough[id], least[id] = scope, granted.Len()
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
func scopesFor(enough string, r *require.Requirements) []string {
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
