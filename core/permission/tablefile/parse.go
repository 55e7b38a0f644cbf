package tablefile

import (
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/askfile"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/names"
	"gatehouse/core/permission/pattern"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/strictyaml"
	"gatehouse/core/permission/subject"
)

// Parse reads one table file. The name is what problems are reported under,
// normally the path. The error, if any, is a report.Problems that holds every
// error of the file.
func Parse(name string, content []byte) (*permission.File, error) {
	p := &parser{Reader: strictyaml.Reader{File: name, Elsewhere: elsewhere}, file: &permission.File{Name: name}}
	if root := p.Document(content, emptyTable); root != nil {
		p.table(root)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return p.file, nil
}

const emptyTable = "the table is empty; give it permissions, authenticated, optional or public"

// parser turns YAML nodes into a File and collects what is wrong with them.
type parser struct {
	strictyaml.Reader
	file *permission.File
}

// --- the parts of a table

func (p *parser) table(root *yaml.Node) {
	const what = "the table"
	if root.Tag == "!!null" || root.Kind == yaml.MappingNode && len(root.Content) == 0 {
		p.Refuse(root, emptyTable)
		return
	}
	for _, e := range p.Fixed(root, what, tableKeys) {
		switch e.Name {
		case "permissions":
			for _, e := range p.Named(e.Value, "permissions", "permission") {
				p.permission(e)
			}
		case "roles":
			for _, e := range p.Named(e.Value, "roles", "role") {
				p.role(e)
			}
		case "scopes":
			for _, e := range p.Named(e.Value, "scopes", "scope") {
				p.scope(e)
			}
		case "subjects":
			for _, e := range p.Named(e.Value, "subjects", "subject") {
				p.pattern(e, "subject", subject.Parse, &p.file.Subjects)
			}
		case "actors":
			for _, e := range p.Named(e.Value, "actors", "actor") {
				p.pattern(e, "actor", subject.ParseActor, &p.file.Actors)
			}
		case "actor_chain":
			if on, ok := p.Boolean(e.Value, "actor_chain"); ok {
				p.file.ActorChain = &permission.Switch{Place: p.At(e.Value), On: on}
			}
		case "implicit_scopes":
			if on, ok := p.Boolean(e.Value, "implicit_scopes"); ok {
				p.file.ImplicitScopes = &permission.Switch{Place: p.At(e.Value), On: on}
			}
		case "path_variants":
			p.pathVariants(e.Value)
		case "authenticated":
			p.file.Authenticated = p.activities(e.Value, "authenticated", overridableKeys, mcpKeys)
		case "optional":
			p.file.Optional = p.activities(e.Value, "optional", publicKeys, openMCPKeys)
		case "anonymous":
			p.anonymous(e)
		case "public":
			p.file.Public = p.activities(e.Value, "public", publicKeys, openMCPKeys)
		}
	}
}

func (p *parser) pathVariants(n *yaml.Node) {
	const what = "path_variants"
	v := &permission.PathVariants{Place: p.At(n)}
	refused := func(e strictyaml.Entry) bool {
		return p.OneOf(e.Value, what+": "+e.Name, []string{refuse, allow}) == refuse
	}
	for _, e := range p.Fixed(n, what, variantKeys) {
		switch e.Name {
		case "case":
			v.Case = refused(e)
		case "trailing_slash":
			v.TrailingSlash = refused(e)
		case "suffixes":
			for _, w := range p.NonEmptyWords(e.Value, what+": suffixes", "suffixes such as .json") {
				v.Suffixes = append(v.Suffixes, w.Name)
			}
		}
	}
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		p.Refuse(n, "%s is empty; say what is refused, as in {case: refuse, suffixes: [.json]}, or leave the key out", what)
	}
	for _, problem := range v.Problems() {
		p.Refuse(n, "%s: %s", what, problem)
	}
	p.file.PathVariants = v
}

func (p *parser) permission(e strictyaml.Entry) {
	what := "permission " + report.Quote(e.Name)
	if problem := names.PermissionProblem(what, e.Name); problem != "" {
		p.Refuse(e.Key, "%s", problem)
		return
	}
	permitted := permission.Permission{Place: p.At(e.Key), Name: e.Name}
	for _, e := range p.Fixed(e.Value, what, permissionKeys) {
		switch e.Name {
		case "description":
			permitted.Description, _ = p.Text(e.Value, what+": description")
		case "activities":
			permitted.Activities = append(permitted.Activities, p.activities(e.Value, what, activityKeys, nil)...)
		case "mcp":
			permitted.Activities = append(permitted.Activities, p.mcpOf(e.Value, what+": mcp")...)
		}
	}
	p.file.Permissions = append(p.file.Permissions, permitted)
}

func (p *parser) role(e strictyaml.Entry) {
	what := "role " + report.Quote(e.Name)
	if !p.roleName(e.Key, what, e.Name) {
		return
	}
	p.file.Roles = append(p.file.Roles, permission.Role{Place: p.At(e.Key), Name: e.Name, Grants: p.grants(e.Value, what)})
}

// pattern reads what workloads or actors may do whose id matches a pattern.
func (p *parser) pattern(e strictyaml.Entry, kind string, parse func(string) (*subject.Pattern, error), to *[]permission.Subject) {
	what := kind + " " + report.Quote(e.Name)
	if _, err := parse(e.Name); err != nil {
		p.Refuse(e.Key, "%s %s", what, err)
		return
	}
	*to = append(*to, permission.Subject{Place: p.At(e.Key), Pattern: e.Name, Grants: p.grants(e.Value, what)})
}

// grants reads a list of permissions and roles.
func (p *parser) grants(n *yaml.Node, what string) (list []permission.Grant) {
	for _, item := range p.Words(n, what, "permissions, or role:NAME to include a role") {
		name, isRole := strings.CutPrefix(item.Name, names.RolePrefix)
		if isRole && !p.roleName(item.Value, what+": "+report.Quote(item.Name), name) {
			continue
		}
		list = append(list, permission.Grant{Place: p.At(item.Value), Name: name, Role: isRole})
	}
	return list
}

func (p *parser) scope(e strictyaml.Entry) {
	what := "scope " + report.Quote(e.Name)
	if !p.scopeToken(e.Key, what) {
		return
	}
	scope := permission.Scope{Place: p.At(e.Key), Name: e.Name}
	for _, item := range p.Words(e.Value, what, "permissions") {
		if strings.HasPrefix(item.Name, names.RolePrefix) {
			p.Refuse(item.Value, "%s: %q is a role, and a scope grants permissions only; list the permissions", what, item.Name)
			continue
		}
		scope.Grants = append(scope.Grants, permission.Grant{Place: p.At(item.Value), Name: item.Name})
	}
	p.file.Scopes = append(p.file.Scopes, scope)
}

func (p *parser) anonymous(e strictyaml.Entry) {
	a := &permission.Anonymous{Place: p.At(e.Key)}
	for _, e := range p.Fixed(e.Value, "anonymous", anonymousKeys) {
		what := "anonymous: " + e.Name
		switch e.Name {
		case "permissions":
			for _, item := range p.Words(e.Value, what, "permissions") {
				if role, isRole := strings.CutPrefix(item.Name, names.RolePrefix); isRole {
					p.Refuse(item.Value, "%s: %q is a role; list %s under roles", what, item.Name, report.Quote(role))
					continue
				}
				a.Grants = append(a.Grants, permission.Grant{Place: p.At(item.Value), Name: item.Name})
			}
		case "roles":
			for _, item := range p.Words(e.Value, what, "roles") {
				if p.roleName(item.Value, what+": "+report.Quote(item.Name), item.Name) {
					a.Grants = append(a.Grants, permission.Grant{Place: p.At(item.Value), Name: item.Name, Role: true})
				}
			}
		case "invalid_credential":
			a.InvalidCredential = p.OneOf(e.Value, what, permission.InvalidCredentials)
		}
	}
	p.file.Anonymous = a
}

// --- activities

// activities reads a list. mcp are the keys of calls of the Model Context Protocol; nil:
// there are none in the list.
func (p *parser) activities(n *yaml.Node, what string, long, mcp strictyaml.Keys) []permission.Activity {
	var list []permission.Activity
	for _, item := range p.Items(n, what, `activities such as "GET /users"`) {
		if mcp != nil && hasKey(item, "mcp") {
			for _, e := range p.Fixed(item, what+": activity", listed(mcp)) {
				list = append(list, p.mcp(e.Value, what+": mcp", mcp)...)
			}
			continue
		}
		a := permission.Activity{Place: p.At(item)}
		ok := false
		switch item.Kind {
		case yaml.MappingNode:
			ok = p.longActivity(item, what, long, &a)
		case yaml.ScalarNode:
			ok = p.shortActivity(item, what, &a)
		default:
			p.Refuse(item, `%s: an activity is written as "GET /users", or as a mapping with the keys methods and path`, what)
		}
		if ok {
			list = append(list, a)
		}
	}
	return list
}

// shortActivity reads "GET,HEAD /users/[^/]+".
func (p *parser) shortActivity(n *yaml.Node, what string, a *permission.Activity) bool {
	line, ok := p.Text(n, what+": an activity")
	if !ok {
		return false
	}
	owner := what
	what += ": activity " + report.Quote(line)
	methods, path, _ := strings.Cut(line, " ")
	path = strings.TrimLeft(path, " ")
	switch {
	case strings.ContainsAny(line, "\t\r\n"):
		p.Refuse(n, "%s holds a tab or a line break; put methods and path on one line with a space between", what)
		return false
	case strings.HasPrefix(methods, "/"):
		p.Refuse(n, "%s names no method; write the methods first, as in %s", what, report.Quote("GET "+line))
		return false
	case strings.HasSuffix(methods, ",") || strings.HasPrefix(path, ","):
		p.Refuse(n, `%s has a space between methods; write them as "GET,HEAD"`, what)
		return false
	case strings.TrimSpace(path) == "":
		p.Refuse(n, "%s has no path; write methods and path, as in \"GET /users\"", what)
		return false
	case strings.Contains(path, " "):
		p.Refuse(n, "%s has more than a list of methods and a path; a path regex that holds a space needs the long form with the keys methods and path", what)
		return false
	}
	a.Methods = p.methods(strings.Split(methods, ","), what, func(int) *yaml.Node { return n })
	a.Path = path
	a.PathPlace = a.Place
	if n.Style == 0 {
		a.PathPlace.Column += utf8.RuneCountInString(line[:len(line)-len(path)])
	}
	return p.path(a, owner) && a.Methods != nil
}

func (p *parser) longActivity(n *yaml.Node, what string, known strictyaml.Keys, a *permission.Activity) bool {
	ok := true
	var when, asks *yaml.Node
	goodPath := false
	owner := what
	what += ": activity"
	for _, e := range p.Fixed(n, what, known) {
		switch e.Name {
		case "methods":
			words := p.Texts(e.Value, what+": methods", "methods such as GET")
			names := make([]string, len(words))
			for i := range words {
				names[i] = words[i].Name
			}
			a.Methods = p.methods(names, what, func(i int) *yaml.Node { return words[i].Value })
			if len(words) == 0 && e.Value.Kind == yaml.SequenceNode {
				p.Refuse(e.Value, "%s: methods is empty; list at least one, or ANY for every method", what)
			}
			ok = ok && a.Methods != nil
		case "path":
			path, isText := p.Text(e.Value, what+": path")
			a.Path, a.PathPlace = path, p.At(e.Value)
			goodPath = isText && p.path(a, owner)
		case "hosts":
			a.Hosts = p.hosts(e.Value, what)
			ok = ok && a.Hosts != nil
		case "require":
			a.Require, when, asks = p.requirements(e.Value, what)
		case "override":
			a.Override, _ = p.Boolean(e.Value, what+": override")
		}
	}
	if a.Require.When != "" && goodPath {
		p.condition(a, what+": require: when", when)
	}
	if asks != nil && goodPath {
		p.checkAsks(a, what+": require", asks)
	}
	return ok && a.Methods != nil && goodPath
}

// methods checks a list of methods and returns it, or nil when it does not hold.
func (p *parser) methods(names []string, what string, node func(int) *yaml.Node) []string {
	ok := len(names) > 0
	for i := range names {
		if problem := pattern.MethodProblem(names, i); problem != "" {
			p.Refuse(node(i), "%s: %s", what, problem)
			ok = false
		}
	}
	if !ok {
		return nil
	}
	return names
}

func (p *parser) path(a *permission.Activity, what string) bool {
	err := a.CheckPath()
	if err != nil {
		p.Add(a.PathPlace, "%s: path %s", what, err)
	}
	return err == nil
}

func (p *parser) hosts(n *yaml.Node, what string) []string {
	var hosts []string
	ok := true
	words := p.Words(n, what+": hosts", "host names")
	for _, w := range words {
		if problem := pattern.CheckHost(w.Name); problem != "" {
			p.Refuse(w.Value, "%s: host %s %s", what, report.Quote(w.Name), problem)
			ok = false
		}
		hosts = append(hosts, w.Name)
	}
	if len(words) == 0 && n.Kind == yaml.SequenceNode {
		p.Refuse(n, "%s: hosts is empty; list at least one host, or leave the key out for every host", what)
	}
	if !ok {
		return nil
	}
	return hosts
}

// requirements also returns the nodes of the condition and of the asks, which can be
// checked only when the path is known. That of asks which cannot be read is nil.
func (p *parser) requirements(n *yaml.Node, what string) (r require.Requirements, when, asks *yaml.Node) {
	what += ": require"
	entries := p.Fixed(n, what, requireKeys)
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		p.Refuse(n, "%s is empty; name a requirement or leave the key out", what)
	}
	for _, e := range entries {
		switch what := what + ": " + e.Name; e.Name {
		case "ask":
			var good bool
			if r.Asks, good = askfile.Read(&p.Reader, e.Value, what); good {
				asks = e.Value
			}
		case "when":
			when = e.Value
			fallthrough
		default:
			p.requirement(e, what, &r)
		}
	}
	return r, when, asks
}

// checkAsks compiles the asks of an activity with a good path.
func (p *parser) checkAsks(a *permission.Activity, what string, n *yaml.Node) {
	for _, problem := range a.CheckAsks() {
		p.Refuse(n, "%s: ask %s", what, problem)
	}
}

func (p *parser) requirement(e strictyaml.Entry, what string, r *require.Requirements) {
	switch e.Name {
	case "all_scopes":
		r.AllScopes = p.scopeList(e.Value, what)
	case "any_scope":
		r.AnyScope = p.scopeList(e.Value, what)
	case "aal":
		r.AAL = p.OneOf(e.Value, what, require.AssuranceLevels)
	case "max_age":
		r.MaxAge = p.Duration(e.Value, what)
	case "proof":
		r.Proof = p.OneOf(e.Value, what, require.ProofNames())
	case "credentials":
		for _, w := range p.NonEmptyWords(e.Value, what, "kinds of authentication") {
			r.Credentials = append(r.Credentials, p.OneOf(w.Value, what, core.KindNames()))
		}
	case "actor":
		r.Actor = p.actor(e.Value, what)
	case "when":
		r.When = p.when(e.Value, what)
	}
}

// actor reads none, any, or a list of ids.
func (p *parser) actor(n *yaml.Node, what string) (ids []string) {
	switch {
	case n.Kind == yaml.ScalarNode && (n.Value == require.NoActor || n.Value == require.AnyActor):
		return []string{n.Value}
	case n.Kind != yaml.SequenceNode:
		p.Refuse(n, "%s is %s; write none, any, or a list of ids of actors", what, strictyaml.KindOf(n))
		return nil
	}
	words := p.NonEmptyWords(n, what, "ids of actors")
	for _, w := range words {
		if problem := require.ActorProblem(report.Quote(w.Name), w.Name, len(words)); problem != "" {
			p.Refuse(w.Value, "%s: %s", what, problem)
			continue
		}
		ids = append(ids, w.Name)
	}
	return ids
}

// when returns the text of a condition, which is checked where the path is known.
func (p *parser) when(n *yaml.Node, what string) string {
	text, ok := p.Text(n, what)
	switch {
	case ok && strings.TrimSpace(text) == "":
		p.Refuse(n, "%s is empty; write a condition or leave the key out", what)
	case len(text) > condition.MaxText:
		p.Refuse(n, "%s is longer than %d bytes; shorten it, or move the rule into the service", what, condition.MaxText)
	default:
		return text
	}
	return ""
}

func (p *parser) scopeList(n *yaml.Node, what string) []string {
	var scopes []string
	for _, w := range p.NonEmptyWords(n, what, "scopes") {
		if p.scopeToken(w.Value, what+" "+report.Quote(w.Name)) {
			scopes = append(scopes, w.Name)
		}
	}
	return scopes
}

func (p *parser) condition(a *permission.Activity, what string, n *yaml.Node) {
	for _, problem := range a.CheckCondition() {
		at := p.At(n)
		switch {
		case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 || problem.Line > 0:
			// The YAML library does not tell how a block is indented.
		case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
			at.Column += 1 + problem.Column
		default:
			at.Column += problem.Column
		}
		p.Add(at, "%s: %s", what, problem.Text)
	}
}

// --- names

func (p *parser) scopeToken(n *yaml.Node, what string) bool {
	problem := names.ScopeProblem(what, n.Value)
	if problem != "" {
		p.Refuse(n, "%s", problem)
	}
	return problem == ""
}

func (p *parser) roleName(n *yaml.Node, what, name string) bool {
	problem := names.RoleProblem(what, name)
	if problem != "" {
		p.Refuse(n, "%s", problem)
	}
	return problem == ""
}
