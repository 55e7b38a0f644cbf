package tablefile

import (
	"bytes"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/permission"
	"gatehouse/core/permission/askfile"
	"gatehouse/core/permission/names"
	"gatehouse/core/permission/require"
)

// Comments stand above parts of a file. Text from anywhere stays inside of them.
type Comments struct {
	Head        string
	Permissions map[string]string // by name
	Activities  map[*permission.Activity]string
}

// Write writes a file that Compile accepts, as text that means the same.
func Write(f *permission.File, c Comments) ([]byte, error) {
	w := writer{c}
	document := &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{w.file(f)}}
	if c.Head != "" {
		document.HeadComment = comment(c.Head) + "\n"
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(document); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type writer struct{ comments Comments }

func (w writer) file(f *permission.File) *yaml.Node {
	root := newMapping()
	if len(f.Permissions) > 0 || len(f.Authenticated)+len(f.Optional)+len(f.Public) == 0 {
		permissions := newMapping()
		for i := range f.Permissions {
			p := &f.Permissions[i]
			add(permissions, p.Name, w.permission(p), w.comments.Permissions[p.Name])
		}
		add(root, "permissions", permissions, "")
	}
	if f.ImplicitScopes != nil {
		add(root, "implicit_scopes", newBoolean(f.ImplicitScopes.On), "")
	}
	if f.PathVariants != nil {
		add(root, "path_variants", pathVariants(f.PathVariants), "")
	}
	if len(f.Scopes) > 0 {
		scopes := newMapping()
		for i := range f.Scopes {
			add(scopes, f.Scopes[i].Name, grants(f.Scopes[i].Grants), "")
		}
		add(root, "scopes", scopes, "")
	}
	if len(f.Roles) > 0 {
		roles := newMapping()
		for i := range f.Roles {
			add(roles, f.Roles[i].Name, grants(f.Roles[i].Grants), "")
		}
		add(root, "roles", roles, "")
	}
	addPatterns(root, "subjects", f.Subjects)
	if f.ActorChain != nil {
		add(root, "actor_chain", newBoolean(f.ActorChain.On), "")
	}
	addPatterns(root, "actors", f.Actors)
	if len(f.Authenticated) > 0 {
		add(root, "authenticated", w.activities(f.Authenticated), "")
	}
	if len(f.Optional) > 0 {
		add(root, "optional", w.activities(f.Optional), "")
	}
	if len(f.Public) > 0 {
		add(root, "public", w.activities(f.Public), "")
	}
	if f.Anonymous != nil {
		add(root, "anonymous", anonymous(f.Anonymous), "")
	}
	return root
}

func addPatterns(root *yaml.Node, key string, list []permission.Subject) {
	if len(list) == 0 {
		return
	}
	patterns := newMapping()
	for i := range list {
		add(patterns, list[i].Pattern, grants(list[i].Grants), "")
	}
	add(root, key, patterns, "")
}

func anonymous(a *permission.Anonymous) *yaml.Node {
	n := newMapping()
	var permissions, roles []string
	for _, g := range a.Grants {
		if g.Role {
			roles = append(roles, g.Name)
		} else {
			permissions = append(permissions, g.Name)
		}
	}
	if len(permissions) > 0 {
		add(n, "permissions", newTexts(permissions), "")
	}
	if len(roles) > 0 {
		add(n, "roles", newTexts(roles), "")
	}
	if a.InvalidCredential != "" {
		add(n, "invalid_credential", newText(a.InvalidCredential), "")
	}
	return n
}

func pathVariants(v *permission.PathVariants) *yaml.Node {
	n := newMapping()
	if v.Case || v.Empty() {
		add(n, "case", newText(map[bool]string{true: refuse, false: allow}[v.Case]), "")
	}
	if v.TrailingSlash {
		add(n, "trailing_slash", newText(refuse), "")
	}
	addTexts(n, "suffixes", v.Suffixes)
	return n
}

func grants(list []permission.Grant) *yaml.Node {
	granted := make([]string, len(list))
	for i, g := range list {
		granted[i] = g.Name
		if g.Role {
			granted[i] = names.RolePrefix + g.Name
		}
	}
	return newTexts(granted)
}

func (w writer) permission(p *permission.Permission) *yaml.Node {
	n := newMapping()
	if p.Description != "" {
		add(n, "description", newText(p.Description), "")
	}
	plain, calls := split(p.Activities)
	if len(plain) > 0 || len(calls) == 0 {
		add(n, "activities", w.list(plain), "")
	}
	switch groups := mcpGroups(calls); len(groups) {
	case 0:
	case 1:
		add(n, "mcp", groups[0], "")
	default:
		add(n, "mcp", &yaml.Node{Kind: yaml.SequenceNode, Content: groups}, "")
	}
	return n
}

func (w writer) activities(list []permission.Activity) *yaml.Node {
	plain, calls := split(list)
	n := w.list(plain)
	for _, group := range mcpGroups(calls) {
		item := newMapping()
		add(item, "mcp", group, "")
		n.Content = append(n.Content, item)
	}
	return n
}

// list writes activities that are no calls of the Model Context Protocol.
func (w writer) list(plain []*permission.Activity) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, a := range plain {
		item := activity(a)
		if text := w.comments.Activities[a]; text != "" {
			item.HeadComment = comment(text)
		}
		n.Content = append(n.Content, item)
	}
	return n
}

func activity(a *permission.Activity) *yaml.Node {
	require := requirements(&a.Require)
	if len(require.Content)+len(a.Hosts) == 0 && !a.Override && isShort(a.Path) {
		return newText(a.String())
	}
	n := newMapping()
	add(n, "methods", newTexts(a.Methods), "")
	add(n, "path", newText(a.Path), "")
	addTexts(n, "hosts", a.Hosts)
	if len(require.Content) > 0 {
		add(n, "require", require, "")
	}
	if a.Override {
		add(n, "override", newBoolean(true), "")
	}
	return n
}

// isShort reports whether a path can stand behind its methods in one text.
func isShort(path string) bool { return !strings.Contains(path, " ") && !strings.HasPrefix(path, ",") }

func requirements(r *require.Requirements) *yaml.Node {
	n := newMapping()
	addTexts(n, "all_scopes", r.AllScopes)
	addTexts(n, "any_scope", r.AnyScope)
	if r.AAL != "" {
		add(n, "aal", newText(r.AAL), "")
	}
	if r.MaxAge != 0 {
		add(n, "max_age", newText(require.ShortDuration(r.MaxAge)), "")
	}
	addTexts(n, "credentials", r.Credentials)
	if len(r.Actor) == 1 && !strings.ContainsAny(r.Actor[0], "#?") {
		add(n, "actor", newText(r.Actor[0]), "")
	} else {
		addTexts(n, "actor", r.Actor)
	}
	if r.Proof != "" {
		add(n, "proof", newText(r.Proof), "")
	}
	if r.When != "" {
		add(n, "when", newText(r.When), "")
	}
	if len(r.Asks) > 0 {
		add(n, "ask", askfile.Write(r.Asks), "")
	}
	return n
}

// --- nodes

func newMapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func newBoolean(on bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(on)}
}

func newText(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if strings.Contains(s, "\n") {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func newTexts(list []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, s := range list {
		n.Content = append(n.Content, newText(s))
	}
	return n
}

func add(to *yaml.Node, key string, value *yaml.Node, note string) {
	k := newText(key)
	if note != "" {
		k.HeadComment = comment(note)
	}
	to.Content = append(to.Content, k, value)
	if value.Kind == yaml.MappingNode && len(value.Content) == 0 {
		value.Style = yaml.FlowStyle
	}
}

func addTexts(to *yaml.Node, key string, list []string) {
	if len(list) > 0 {
		add(to, key, newTexts(list), "")
	}
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
