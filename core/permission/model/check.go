package model

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse/core"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/names"
	"gatehouse/core/permission/pathindex"
	"gatehouse/core/permission/pattern"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/subject"
)

// Parts are the parts of an activity that are costly to make.
type Parts struct {
	Path      *pattern.Path
	Condition *condition.Condition
	Asks      []*ask.Ask
}

// checker checks the files of a table.
type checker struct {
	files    []*File
	problems *report.Collector
	methods  map[string]bool
	parts    []Parts
}

// Check looks at every part of every file, since a model that code has built went
// through no parser. It returns the files that there are, and the parts of each
// activity in the order of Activities.
func Check(files []*File, problems *report.Collector) ([]*File, []Parts) {
	c := &checker{problems: problems, methods: map[string]bool{}}
	for i, f := range files {
		if f == nil {
			problems.Add(report.Place{File: fmt.Sprintf("files[%d]", i)}, "the file is nil; leave it out")
		}
	}
	c.files = slices.DeleteFunc(slices.Clone(files), func(f *File) bool { return f == nil })
	for _, f := range c.files {
		c.checkFile(f)
	}
	c.checkEndpoints()
	return c.files, c.parts
}

func (c *checker) checkFile(f *File) {
	c.checkPathVariants(f)
	for i := range f.Permissions {
		c.checkPermission(f, i)
	}
	c.checkActivities(f, InAuthenticated, f.Authenticated, InAuthenticated.String)
	c.checkActivities(f, InOptional, f.Optional, InOptional.String)
	c.checkActivities(f, InPublic, f.Public, InPublic.String)
	for i := range f.Roles {
		c.checkRole(f, i)
	}
	for i := range f.Scopes {
		c.checkScope(f, i)
	}
	for i := range f.Subjects {
		at := func(grant int) report.Place { return f.SubjectGrantPlace(i, grant) }
		c.checkSubject("subject", &f.Subjects[i], subject.Parse, f.SubjectPlace(i), at)
	}
	for i := range f.Actors {
		at := func(grant int) report.Place { return f.ActorGrantPlace(i, grant) }
		c.checkSubject("actor", &f.Actors[i], subject.ParseActor, f.ActorPlace(i), at)
	}
	if f.Anonymous != nil {
		c.checkAnonymous(f)
	}
}

// checkPathVariants looks at what one file says.
func (c *checker) checkPathVariants(f *File) {
	if f.PathVariants == nil {
		return
	}
	at := f.PlaceOf(f.PathVariants.Place, "path_variants")
	for _, before := range c.files {
		if before == f {
			break
		}
		if before.PathVariants != nil {
			c.problems.Add(at, "path_variants is here and at %s; it holds for the whole table, so state it once", before.PlaceOf(before.PathVariants.Place, "path_variants"))
			break
		}
	}
	for _, problem := range f.PathVariants.Problems() {
		c.problems.Add(at, "%s", problem)
	}
}

// checkEndpoints refuses activities that would open every call at an endpoint of the Model
// Context Protocol.
func (c *checker) checkEndpoints() {
	endpoints := Endpoints(c.files)
	if len(endpoints) == 0 {
		return
	}
	each(c.files, func(f *File, _ Section, a *Activity) {
		posts := slices.Contains(a.Methods, mcp.HTTPMethod) || slices.Contains(a.Methods, AnyMethod)
		if posts && a.IsAt(endpoints) {
			c.problems.Add(f.PlaceOf(a.Place, "an activity"), "%s is an endpoint of mcp, where only mcp says which calls by %s an activity covers; list them there, and other methods here, as in \"GET %s\"", a.Path, mcp.HTTPMethod, a.Path)
		}
	})
}

func (c *checker) checkPermission(f *File, i int) {
	p := &f.Permissions[i]
	if problem := names.PermissionProblem("permission "+report.Quote(p.Name), p.Name); problem != "" {
		c.problems.Add(f.PermissionPlace(i), "%s", problem)
	}
	c.checkActivities(f, InPermission, p.Activities, func() string { return member("permissions", p.Name, i) + ".activities" })
}

func (c *checker) checkRole(f *File, i int) {
	r := &f.Roles[i]
	what := "role " + report.Quote(r.Name)
	if problem := names.RoleProblem(what, r.Name); problem != "" {
		c.problems.Add(f.RolePlace(i), "%s", problem)
	}
	c.checkGrants(what, r.Grants, func(grant int) report.Place { return f.RoleGrantPlace(i, grant) })
}

func (c *checker) checkScope(f *File, i int) {
	s := &f.Scopes[i]
	what := "scope " + report.Quote(s.Name)
	if problem := names.ScopeProblem(what, s.Name); problem != "" {
		c.problems.Add(f.ScopePlace(i), "%s", problem)
	}
	at := func(grant int) report.Place { return f.ScopeGrantPlace(i, grant) }
	for grant, g := range s.Grants {
		if g.Role {
			c.problems.Add(at(grant), "%s: %s is a role, and a scope grants permissions only; list the permissions", what, report.Quote(names.RolePrefix+g.Name))
		}
	}
	c.checkGrants(what, s.Grants, at)
}

func (c *checker) checkSubject(kind string, s *Subject, parse func(string) (*subject.Pattern, error), at report.Place, grantAt func(grant int) report.Place) {
	what := kind + " " + report.Quote(s.Pattern)
	if _, err := parse(s.Pattern); err != nil {
		c.problems.Add(at, "%s %s", what, err)
	}
	c.checkGrants(what, s.Grants, grantAt)
}

func (c *checker) checkAnonymous(f *File) {
	a := f.Anonymous
	for i, g := range a.Grants {
		problem := names.PermissionProblem("anonymous: permission "+report.Quote(g.Name), g.Name)
		if g.Role {
			problem = names.RoleProblem("anonymous: role "+report.Quote(g.Name), g.Name)
		}
		if problem != "" {
			c.problems.Add(f.AnonymousGrantPlace(i), "%s", problem)
		}
	}
	c.checkGrants("anonymous", a.Grants, f.AnonymousGrantPlace)
	if problem := oneOfProblem(report.Quote(a.InvalidCredential), a.InvalidCredential, InvalidCredentials); a.InvalidCredential != "" && problem != "" {
		c.problems.Add(f.PlaceOf(a.Place, "anonymous.invalid_credential"), "%s", problem)
	}
}

// checkGrants refuses what is listed twice. Names that are not defined are
// refused where they are resolved.
func (c *checker) checkGrants(what string, list []Grant, at func(grant int) report.Place) {
	type named struct {
		name string
		role bool
	}
	first := make(map[named]int, len(list))
	for i, g := range list {
		name := named{g.Name, g.Role}
		if before, twice := first[name]; twice {
			c.problems.Add(at(i), "%s: %s is listed twice, first at %s; remove one", what, report.Quote(g.Name), at(before))
			continue
		}
		first[name] = i
	}
}

func (c *checker) checkActivities(f *File, s Section, activities []Activity, list func() string) {
	for i := range activities {
		a := &activityCheck{checker: c, Activity: &activities[i], section: s, file: f, list: list, index: i}
		a.check()
		c.parts = append(c.parts, a.parts)
	}
}

// activityCheck checks one activity.
type activityCheck struct {
	*checker
	*Activity
	section Section
	file    *File
	list    func() string
	index   int
	parts   Parts
}

func (a *activityCheck) place() report.Place {
	if a.Place.Line > 0 {
		return a.Place
	}
	return a.file.PlaceOf(a.Place, "%s[%d]", a.list(), a.index)
}

func (a *activityCheck) part(name string) report.Place {
	at := a.place()
	if at.Line == 0 {
		at.File += "." + name
	}
	return at
}

func (a *activityCheck) check() {
	if a.MCP != nil {
		a.checkMCP()
	}
	a.checkMethods()
	var err error
	if a.parts.Path, err = a.Pattern(); err != nil {
		at := a.PathPlace
		if at.Line == 0 {
			at = a.part("path")
		}
		a.problems.Add(at, "path %s", err)
	}
	a.checkHosts()
	if a.section == InPermission && a.Override {
		a.problems.Add(a.part("override"), "an activity of a permission overrides nothing; leave override out")
	}
	if a.Require.Empty() {
		return
	}
	switch a.section {
	case InPublic:
		a.problems.Add(a.part("require"), "a public activity requires nothing; move it to authenticated, or leave the requirements out")
	case InOptional:
		a.problems.Add(a.part("require"), "an optional activity requires nothing, because a caller without a credential meets no requirement; give it to a permission that anonymous holds, move it to authenticated, or leave the requirements out")
	}
	a.checkRequirements()
}

func (a *activityCheck) checkMCP() {
	if problem := MCPProblem(a.MCP); problem != "" {
		a.problems.Add(a.part("mcp"), "%s", problem)
	} else if made := OfMCP(*a.MCP); a.Path != made.Path || !slices.Equal(a.Methods, made.Methods) {
		a.problems.Add(a.part("mcp"), "methods and path are not those of mcp; make the activity by OfMCP")
	}
}

// MCPProblem says what is wrong with a pattern, or nothing.
func MCPProblem(p *mcp.Pattern) string {
	if problem := mcp.EndpointProblem(p.Endpoint); problem != "" {
		return "endpoint " + report.Quote(p.Endpoint) + " " + problem
	}
	if p.Name == "" {
		if problem := mcp.MethodProblem(p.Method); problem != "" {
			return "method " + report.Quote(p.Method) + " " + problem
		}
		return ""
	}
	if problem := mcp.NameProblem(p.Method, p.Name); problem != "" {
		return "name " + report.Quote(p.Name) + " " + problem
	}
	return ""
}

func (a *activityCheck) checkMethods() {
	if len(a.Methods) == 0 {
		a.problems.Add(a.part("methods"), "methods is empty; list at least one, or ANY for every method")
	}
	for i, m := range a.Methods {
		if problem := pattern.MethodProblem(a.Methods, i); problem != "" {
			a.problems.Add(a.part("methods"), "%s", problem)
			continue
		}
		if m == AnyMethod || a.methods[m] || len(a.methods) > pathindex.MaxMethods {
			continue
		}
		a.methods[m] = true
		if len(a.methods) > pathindex.MaxMethods {
			a.problems.Add(a.place(), "method %s is one too many; a table may name %d different methods", m, pathindex.MaxMethods)
		}
	}
}

func (a *activityCheck) checkHosts() {
	for i, host := range a.Hosts {
		if problem := pattern.CheckHost(host); problem != "" {
			a.problems.Add(a.part("hosts"), "host %s %s", report.Quote(host), problem)
		} else if slices.Contains(a.Hosts[:i], host) {
			a.problems.Add(a.part("hosts"), "host %s is listed twice; remove one", report.Quote(host))
		}
	}
}

func (a *activityCheck) checkRequirements() {
	r := &a.Require
	for _, list := range []struct {
		name  string
		words []string
		check func(what, word string) string
	}{
		{"all_scopes", r.AllScopes, names.ScopeProblem},
		{"any_scope", r.AnyScope, names.ScopeProblem},
		{"credentials", r.Credentials, func(what, kind string) string { return oneOfProblem(what, kind, core.KindNames()) }},
		{"actor", r.Actor, func(what, id string) string { return require.ActorProblem(what, id, len(r.Actor)) }},
	} {
		for i, word := range list.words {
			problem := list.check(report.Quote(word), word)
			if problem == "" && slices.Contains(list.words[:i], word) {
				problem = report.Quote(word) + " is listed twice; remove one"
			}
			if problem != "" {
				a.problems.Add(a.part("require."+list.name), "%s", problem)
			}
		}
	}
	if problem := oneOfProblem(report.Quote(r.AAL), r.AAL, require.AssuranceLevels); r.AAL != "" && problem != "" {
		a.problems.Add(a.part("require.aal"), "%s", problem)
	}
	if r.MaxAge != 0 && !isAge(r.MaxAge) {
		a.problems.Add(a.part("require.max_age"), "%s is not an age; use whole seconds, one at least", r.MaxAge)
	}
	if problem := oneOfProblem(report.Quote(r.Proof), r.Proof, require.ProofNames()); r.Proof != "" && problem != "" {
		a.problems.Add(a.part("require.proof"), "%s", problem)
	}
	if r.When != "" && a.parts.Path != nil {
		a.checkCondition()
	}
	if a.parts.Path != nil {
		a.checkAsks()
	}
}

func (a *activityCheck) checkAsks() {
	asks, problems := a.compileAsks(a.parts.Path)
	for _, p := range problems {
		a.problems.Add(a.part("require.ask"), "ask %s", p)
	}
	a.parts.Asks = asks
}

func (a *activityCheck) checkCondition() {
	c, problems := a.compileCondition(a.parts.Path)
	for _, p := range problems {
		a.problems.Add(a.part("require.when"), "when %s", p.Text)
	}
	a.parts.Condition = c
}

// --- places of what may have no line

// PlaceOf is a place, or a path to a part that has none.
func (f *File) PlaceOf(at report.Place, format string, args ...any) report.Place {
	if at.Line > 0 {
		return at
	}
	path := fmt.Sprintf(format, args...)
	if f.Name != "" {
		path = f.Name + ": " + path
	}
	return report.Place{File: path}
}

// PermissionPlace is where a permission stands.
func (f *File) PermissionPlace(i int) report.Place {
	return f.namedPlace(f.Permissions[i].Place, "permissions", f.Permissions[i].Name, i)
}

// RolePlace is where a role stands.
func (f *File) RolePlace(i int) report.Place {
	return f.namedPlace(f.Roles[i].Place, "roles", f.Roles[i].Name, i)
}

// ScopePlace is where a scope stands.
func (f *File) ScopePlace(i int) report.Place {
	return f.namedPlace(f.Scopes[i].Place, "scopes", f.Scopes[i].Name, i)
}

// SubjectPlace is where a pattern of subjects stands.
func (f *File) SubjectPlace(i int) report.Place {
	return f.namedPlace(f.Subjects[i].Place, "subjects", f.Subjects[i].Pattern, i)
}

// ActorPlace is where a pattern of actors stands.
func (f *File) ActorPlace(i int) report.Place {
	return f.namedPlace(f.Actors[i].Place, "actors", f.Actors[i].Pattern, i)
}

// AnonymousGrantPlace is where a grant of anonymous callers stands.
func (f *File) AnonymousGrantPlace(i int) report.Place {
	return f.PlaceOf(f.Anonymous.Grants[i].Place, "anonymous[%d]", i)
}

func (f *File) namedPlace(at report.Place, list, name string, i int) report.Place {
	if at.Line > 0 {
		return at
	}
	return f.PlaceOf(at, "%s", member(list, name, i))
}

// member is the path of a member of a list: by its name, or by its number where
// the name is none that a path could hold.
func member(list, name string, i int) string {
	if name == "" || len(name) > names.MaxLength || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return fmt.Sprintf("%s[%d]", list, i)
	}
	return list + "." + name
}

// RoleGrantPlace is where a grant of a role stands.
func (f *File) RoleGrantPlace(role, grant int) report.Place {
	r := &f.Roles[role]
	return f.grantPlace(r.Grants[grant].Place, "roles", r.Name, role, grant)
}

// ScopeGrantPlace is where a grant of a scope stands.
func (f *File) ScopeGrantPlace(scope, grant int) report.Place {
	s := &f.Scopes[scope]
	return f.grantPlace(s.Grants[grant].Place, "scopes", s.Name, scope, grant)
}

// SubjectGrantPlace is where a grant of a pattern stands.
func (f *File) SubjectGrantPlace(i, grant int) report.Place {
	s := &f.Subjects[i]
	return f.grantPlace(s.Grants[grant].Place, "subjects", s.Pattern, i, grant)
}

// ActorGrantPlace is where a grant of a pattern of actors stands.
func (f *File) ActorGrantPlace(i, grant int) report.Place {
	s := &f.Actors[i]
	return f.grantPlace(s.Grants[grant].Place, "actors", s.Pattern, i, grant)
}

func (f *File) grantPlace(at report.Place, list, name string, i, grant int) report.Place {
	if at.Line > 0 {
		return at
	}
	return f.PlaceOf(at, "%s[%d]", member(list, name, i), grant)
}

// --- what a value may be; each problem follows the value

func oneOfProblem(what, word string, known []string) string {
	if slices.Contains(known, word) {
		return ""
	}
	return what + " is not known" + report.DidYouMean(word, known) + "; use one of " + strings.Join(known, ", ")
}

// isAge reports whether a duration can be a Requirements.MaxAge.
func isAge(d time.Duration) bool { return d >= time.Second && d%time.Second == 0 }
