// Package draft writes permission tables: what was found elsewhere becomes a
// file that loads as it is and that people go on to edit.
package draft

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gatehouse/core/permission"
	"gatehouse/core/permission/names"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/tablefile"
)

// Table is a table that is being put together. Its parts keep the order in
// which they were added.
type Table struct {
	// Heading and Notes are written as comments on top.
	Heading string
	Notes   []string

	Permissions []*Permission
	// Scopes and Roles are written even when empty: an empty list says that
	// the name grants nothing.
	Scopes, Roles []*Grants
	// ExplicitScopes says that a scope grants nothing by being named like a
	// permission.
	ExplicitScopes                  bool
	Authenticated, Optional, Public []*Activity
}

// Permission is a name for a set of activities.
type Permission struct {
	Name, Description string
	// Comment stands above the permission.
	Comment    string
	Activities []*Activity
}

// Grants is a scope or a role with the permissions that it grants.
type Grants struct {
	Name        string
	Permissions []string
}

// Activity is a set of calls.
type Activity struct {
	Methods             []string
	Path                string
	AllScopes, AnyScope []string
	Override            bool
	Comment             string
}

// Permission returns the permission of a name and adds it where it is missing.
func (t *Table) Permission(name string) *Permission {
	for _, p := range t.Permissions {
		if p.Name == name {
			return p
		}
	}
	p := &Permission{Name: name}
	t.Permissions = append(t.Permissions, p)
	return p
}

// Note adds a comment on top of the table.
func (t *Table) Note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}

// Grant adds permissions to the scope or role of a name.
func Grant(list []*Grants, name string, permissions ...string) []*Grants {
	at := slices.IndexFunc(list, func(g *Grants) bool { return g.Name == name })
	if at < 0 {
		at = len(list)
		list = append(list, &Grants{Name: name})
	}
	for _, p := range permissions {
		if !slices.Contains(list[at].Permissions, p) {
			list[at].Permissions = append(list[at].Permissions, p)
		}
	}
	return list
}

// Add adds an activity to a list. Activities that differ in their methods only
// become one.
func Add(list []*Activity, a *Activity) []*Activity {
	for _, same := range list {
		if same.Path == a.Path && slices.Equal(same.AllScopes, a.AllScopes) && slices.Equal(same.AnyScope, a.AnyScope) && same.Override == a.Override {
			same.Methods = mergeMethods(same.Methods, a.Methods)
			if !strings.Contains(same.Comment, a.Comment) {
				same.Comment = strings.TrimPrefix(same.Comment+"\n"+a.Comment, "\n")
			}
			return list
		}
	}
	return append(list, a)
}

func mergeMethods(a, b []string) []string {
	if slices.Contains(a, permission.AnyMethod) || slices.Contains(b, permission.AnyMethod) {
		return []string{permission.AnyMethod}
	}
	for _, m := range b {
		if !slices.Contains(a, m) {
			a = append(a, m)
		}
	}
	return a
}

// YAML writes the table, and makes sure that it loads.
func (t *Table) YAML() ([]byte, error) {
	file, comments := t.file()
	text, err := tablefile.Write(file, comments)
	if err != nil {
		return nil, err
	}
	written, err := tablefile.Parse("the table", text)
	if err == nil {
		_, err = permission.Compile(written)
	}
	if err != nil {
		return nil, fmt.Errorf("the table that was made does not load: %w", err)
	}
	return text, nil
}

// file is the table with its comments.
func (t *Table) file() (*permission.File, tablefile.Comments) {
	f := &permission.File{}
	c := tablefile.Comments{Head: t.head(), Permissions: map[string]string{}, Activities: map[*permission.Activity]string{}}
	for _, p := range t.Permissions {
		f.Permissions = append(f.Permissions, permission.Permission{Name: p.Name, Description: p.Description, Activities: activities(p.Activities, c)})
		c.Permissions[p.Name] = p.Comment
	}
	if t.ExplicitScopes {
		f.ImplicitScopes = &permission.Switch{On: false}
	}
	for _, g := range t.Scopes {
		f.Scopes = append(f.Scopes, permission.Scope{Name: g.Name, Grants: g.grants()})
	}
	for _, g := range t.Roles {
		f.Roles = append(f.Roles, permission.Role{Name: g.Name, Grants: g.grants()})
	}
	f.Authenticated = activities(t.Authenticated, c)
	f.Optional = activities(t.Optional, c)
	f.Public = activities(t.Public, c)
	return f, c
}

func (g *Grants) grants() []permission.Grant {
	grants := make([]permission.Grant, len(g.Permissions))
	for i, name := range g.Permissions {
		grants[i].Name = name
		if role, ok := strings.CutPrefix(name, names.RolePrefix); ok {
			grants[i] = permission.Grant{Name: role, Role: true}
		}
	}
	return grants
}

func activities(list []*Activity, c tablefile.Comments) []permission.Activity {
	all := make([]permission.Activity, len(list))
	for i, a := range list {
		all[i] = permission.Activity{Methods: a.Methods, Path: a.Path, Override: a.Override,
			Require: require.Requirements{AllScopes: a.AllScopes, AnyScope: a.AnyScope}}
		c.Activities[&all[i]] = a.Comment
	}
	return all
}

func (t *Table) head() string {
	lines := []string{t.Heading}
	if len(t.Notes) > 0 {
		lines = append(lines, "", "To be looked at before this table is used:")
		for _, n := range t.Notes {
			lines = append(lines, "- "+n)
		}
	}
	return strings.Join(lines, "\n")
}

var notInName = regexp.MustCompile(`[^!#-+\--\[\]-~]+`)

// Name makes a name for a permission out of any text: the characters of an
// OAuth 2.0 scope (RFC 6749 section 3.3) except the comma.
func Name(text string) string {
	name := strings.Trim(notInName.ReplaceAllString(text, "-"), "-")
	if strings.HasPrefix(name, names.RolePrefix) {
		name = "role-" + strings.TrimPrefix(name, names.RolePrefix)
	}
	return name[:min(len(name), names.MaxLength)]
}

// Check says why an activity would not load, or nothing.
func (a *Activity) Check() error {
	_, err := permission.Compile(&permission.File{Public: []permission.Activity{{Methods: a.Methods, Path: a.Path}}})
	if problems, ok := err.(report.Problems); ok && len(problems) > 0 {
		return errors.New(problems[0].Text)
	}
	return err
}
