// Package draft writes permission tables: what was found elsewhere becomes a
// file that loads as it is and that people go on to edit.
package draft

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/permission"
	"gatehouse/core/permission/report"
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
	ExplicitScopes        bool
	Authenticated, Public []*Activity
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
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&yaml.Node{Kind: yaml.DocumentNode, HeadComment: t.head(), Content: []*yaml.Node{t.node()}}); err != nil {
		return nil, err
	}
	file, err := tablefile.Parse("the table", b.Bytes())
	if err != nil {
		return nil, fmt.Errorf("the table that was made does not load: %w", err)
	}
	if _, err := permission.Compile(file); err != nil {
		return nil, fmt.Errorf("the table that was made does not load: %w", err)
	}
	return b.Bytes(), nil
}

func (t *Table) head() string {
	lines := []string{t.Heading}
	if len(t.Notes) > 0 {
		lines = append(lines, "", "To be looked at before this table is used:")
		for _, n := range t.Notes {
			lines = append(lines, "- "+n)
		}
	}
	return comment(strings.Join(lines, "\n")) + "\n"
}

// comment keeps text from anywhere inside of a comment.
func comment(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		quoted := strconv.Quote(line)
		line = strings.ReplaceAll(strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`), `\\`, `\`)
		lines[i] = strings.TrimRight("# "+line, " ")
	}
	return strings.Join(lines, "\n")
}

func (t *Table) node() *yaml.Node {
	root := &yaml.Node{Kind: yaml.MappingNode}
	if len(t.Permissions) > 0 || len(t.Authenticated)+len(t.Public) == 0 {
		permissions := mapping()
		for _, p := range t.Permissions {
			add(permissions, p.Name, p.node(), p.Comment)
		}
		add(root, "permissions", permissions, "")
	}
	if t.ExplicitScopes {
		add(root, "implicit_scopes", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "false"}, "")
	}
	for _, section := range []struct {
		name   string
		grants []*Grants
	}{{"scopes", t.Scopes}, {"roles", t.Roles}} {
		if len(section.grants) > 0 {
			node := mapping()
			for _, g := range section.grants {
				add(node, g.Name, texts(g.Permissions), "")
			}
			add(root, section.name, node, "")
		}
	}
	if len(t.Authenticated) > 0 {
		add(root, "authenticated", activities(t.Authenticated), "")
	}
	if len(t.Public) > 0 {
		add(root, "public", activities(t.Public), "")
	}
	return root
}

func (p *Permission) node() *yaml.Node {
	n := mapping()
	if p.Description != "" {
		add(n, "description", text(p.Description), "")
	}
	add(n, "activities", activities(p.Activities), "")
	return n
}

func activities(list []*Activity) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, a := range list {
		item := a.node()
		if a.Comment != "" {
			item.HeadComment = comment(a.Comment)
		}
		n.Content = append(n.Content, item)
	}
	return n
}

func (a *Activity) node() *yaml.Node {
	if len(a.AllScopes)+len(a.AnyScope) == 0 && !a.Override && !strings.Contains(a.Path, " ") {
		return text(strings.Join(a.Methods, ",") + " " + a.Path)
	}
	n := mapping()
	add(n, "methods", texts(a.Methods), "")
	add(n, "path", text(a.Path), "")
	if len(a.AllScopes)+len(a.AnyScope) > 0 {
		require := mapping()
		if len(a.AllScopes) > 0 {
			add(require, "all_scopes", texts(a.AllScopes), "")
		}
		if len(a.AnyScope) > 0 {
			add(require, "any_scope", texts(a.AnyScope), "")
		}
		add(n, "require", require, "")
	}
	if a.Override {
		add(n, "override", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"}, "")
	}
	return n
}

func mapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func add(to *yaml.Node, key string, value *yaml.Node, note string) {
	k := text(key)
	if note != "" {
		k.HeadComment = comment(note)
	}
	to.Content = append(to.Content, k, value)
	if value.Kind == yaml.MappingNode && len(value.Content) == 0 {
		value.Style = yaml.FlowStyle
	}
}

func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if strings.Contains(s, "\n") {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func texts(list []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, s := range list {
		n.Content = append(n.Content, text(s))
	}
	return n
}

var notInName = regexp.MustCompile(`[^!#-+\--\[\]-~]+`)

// Name makes a name for a permission out of any text: the characters of an
// OAuth 2.0 scope (RFC 6749 section 3.3) except the comma.
func Name(text string) string {
	name := strings.Trim(notInName.ReplaceAllString(text, "-"), "-")
	if strings.HasPrefix(name, "role:") {
		name = "role-" + strings.TrimPrefix(name, "role:")
	}
	const longest = 256
	return name[:min(len(name), longest)]
}

// Check says why an activity would not load, or nothing.
func (a *Activity) Check() error {
	node := &yaml.Node{Kind: yaml.MappingNode}
	add(node, "public", activities([]*Activity{{Methods: a.Methods, Path: a.Path}}), "")
	content, err := yaml.Marshal(node)
	if err != nil {
		return err
	}
	file, err := tablefile.Parse("", content)
	if err == nil {
		_, err = permission.Compile(file)
	}
	if problems, ok := err.(report.Problems); ok && len(problems) > 0 {
		return fmt.Errorf("%s", strings.TrimPrefix(problems[0].Text, "public: "))
	}
	return err
}
