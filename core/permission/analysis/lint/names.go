package lint

import (
	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/report"
)

// names looks at what grants what.
func (l *linter) names() {
	granted := l.granted()
	for _, f := range l.files {
		for i := range f.Permissions {
			l.permission(&f.Permissions[i], granted)
		}
		for i := range f.Roles {
			l.role(&f.Roles[i])
		}
		for i := range f.Subjects {
			if s := &f.Subjects[i]; len(s.Grants) == 0 {
				l.name("empty", s.Place, "subject "+quoted(s.Pattern)+" grants nothing; give it a permission or remove it")
			}
		}
		for i := range f.Scopes {
			l.scope(&f.Scopes[i])
		}
	}
}

func (l *linter) name(rule string, at report.Place, text string) {
	l.add(Finding{Rule: rule, Place: at, home: at, Text: text})
}

// granted are the permissions that some role, scope or subject grants.
func (l *linter) granted() map[string]bool {
	_, roles, scopes := l.table.Names()
	granted := map[string]bool{}
	for _, name := range l.table.Permissions(&core.Principal{Roles: roles, Scopes: scopes}) {
		granted[name] = true
	}
	for _, f := range l.files {
		for i := range f.Subjects {
			for _, g := range f.Subjects[i].Grants { // those of roles are there
				granted[g.Name] = granted[g.Name] || !g.Role
			}
		}
	}
	return granted
}

func (l *linter) permission(p *permission.Permission, granted map[string]bool) {
	if len(p.Activities) == 0 {
		l.name("empty", p.Place, "permission "+quoted(p.Name)+" has no activity, so it allows nothing; give it one or remove it")
	}
	if !granted[p.Name] {
		l.name("ungranted", p.Place, "no role and no scope grants permission "+quoted(p.Name)+", so only a credential that states it can use it; grant it if others shall have it")
	}
}

func (l *linter) role(r *permission.Role) {
	if len(r.Grants) == 0 {
		l.name("empty", r.Place, "role "+quoted(r.Name)+" grants nothing; give it a permission or remove it")
	}
	for _, g := range r.Grants {
		if g.Role {
			continue
		}
		for _, by := range r.Grants {
			if granted, _ := l.table.Grantors(g.Name); by.Role && contains(granted.Roles, by.Name) {
				l.name("redundant-grant", g.Place, "role "+quoted(r.Name)+" has "+quoted(g.Name)+" from role "+quoted(by.Name)+" already; remove it here")
				break
			}
		}
	}
}

func (l *linter) scope(s *permission.Scope) {
	permissions, _, _ := l.table.Names()
	if !contains(permissions, s.Name) {
		return
	}
	for _, g := range s.Grants {
		if g.Name == s.Name {
			return
		}
	}
	l.name("scope-replaces-grant", s.Place, "scope "+quoted(s.Name)+" no longer grants the permission of that name, because its entry here does not list it; add it, or rename one of the two")
}
