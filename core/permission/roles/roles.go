// Package roles finds out what roles grant, those that they include and all.
package roles

import (
	"slices"
	"strings"

	"gatehouse/core/permission/idset"
	"gatehouse/core/permission/model"
	"gatehouse/core/permission/report"
)

// Role is a role with where it stands.
type Role struct {
	*model.Role
	File  *model.File
	Index int
}

// GrantPlace is where a grant of the role stands.
func (r *Role) GrantPlace(grant int) report.Place { return r.File.RoleGrantPlace(r.Index, grant) }

// Resolve gives each role everything it grants, included roles and all. Each name is there
// once; granted are the permissions that a role grants itself.
func Resolve(list []Role, granted func(*Role) []idset.ID, problems *report.Collector) map[string]idset.Set {
	r := &resolver{granted: granted, problems: problems, roles: map[string]*Role{}, done: map[string]idset.Set{}}
	for i := range list {
		r.roles[list[i].Name] = &list[i]
		r.names = append(r.names, list[i].Name)
	}
	for _, name := range r.names {
		r.resolve(name)
	}
	return r.done
}

// resolver walks the inclusion of roles depth first.
type resolver struct {
	granted  func(*Role) []idset.ID
	problems *report.Collector
	roles    map[string]*Role
	names    []string
	done     map[string]idset.Set
	path     []string
}

func (r *resolver) resolve(name string) idset.Set {
	if ids, ok := r.done[name]; ok {
		return ids
	}
	role := r.roles[name]
	r.path = append(r.path, name)
	ids := r.granted(role)
	for i, g := range role.Grants {
		if g.Role {
			ids = r.include(role, i).AppendTo(ids)
		}
	}
	r.path = r.path[:len(r.path)-1]
	r.done[name] = idset.New(ids)
	return r.done[name]
}

func (r *resolver) include(role *Role, grant int) idset.Set {
	g := role.Grants[grant]
	if _, ok := r.roles[g.Name]; !ok {
		r.problems.Add(role.GrantPlace(grant), "role %s: there is no role %s%s; define it or remove it here", report.Quote(role.Name), report.Quote(g.Name), r.suggest(g.Name))
		return idset.Set{}
	}
	if start := slices.Index(r.path, g.Name); start >= 0 {
		cycle := append(slices.Clone(r.path[start:]), g.Name)
		r.problems.Add(role.GrantPlace(grant), "role %s includes itself: %s; remove one of the inclusions", report.Quote(g.Name), strings.Join(cycle, " -> "))
		return idset.Set{}
	}
	return r.resolve(g.Name)
}

func (r *resolver) suggest(name string) string {
	if r.problems.Full() {
		return ""
	}
	return report.DidYouMean(name, r.names)
}
