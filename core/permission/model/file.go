// Package model holds a permission table as plain data, read from text or built by
// code, and checks it part by part.
package model

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/pattern"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/variant"
)

// File is a part of a table: plain data, read from text or built by code. The
// places say where each part stands; code leaves them empty. Compile checks
// everything.
type File struct {
	// Name is what problems are reported under, normally a path.
	Name        string
	Permissions []Permission
	Roles       []Role
	Scopes      []Scope
	Subjects    []Subject
	// Actors are those that delegated credentials may name, as patterns (subject.ParseActor),
	// with what such a credential may do at most.
	Actors        []Subject
	Authenticated []Activity
	Optional      []Activity
	Public        []Activity
	// Anonymous is nil when the file does not say.
	Anonymous *Anonymous
	// ImplicitScopes is nil when the file does not say.
	ImplicitScopes *Switch
	// ActorChain is nil when the file does not say.
	ActorChain *Switch
	// PathVariants is nil when the file does not say.
	PathVariants *PathVariants
}

// PathVariants say which paths an upstream may take for guarded ones, so that the
// table refuses them.
type PathVariants struct {
	Place report.Place
	variant.Rules
}

// Permission is a name for a set of activities.
type Permission struct {
	Place       report.Place
	Name        string
	Description string
	Activities  []Activity
}

// Role grants permissions, its own and those of the roles it includes.
type Role struct {
	Place  report.Place
	Name   string
	Grants []Grant
}

// Grant is an entry of a role: a permission, or another role.
type Grant struct {
	Place report.Place
	Name  string
	Role  bool
}

// Scope grants permissions to whoever holds a token with that scope.
type Scope struct {
	Place  report.Place
	Name   string
	Grants []Grant
}

// Subject grants permissions to every workload whose SPIFFE ID matches a pattern, or lets
// every actor use them whose id does (core/permission/subject).
type Subject struct {
	Place   report.Place
	Pattern string
	Grants  []Grant
}

// Anonymous is what a caller without a credential may do beside public and optional
// activities. Every other caller may do it, too.
type Anonymous struct {
	Place  report.Place
	Grants []Grant
	// InvalidCredential is one of InvalidCredentials: what becomes of a credential
	// that does not hold, where a caller without one may make the call. Empty: the
	// first.
	InvalidCredential string
}

// InvalidCredentials are the values of Anonymous.InvalidCredential: the request is
// refused, or the credential counts as none if it is in a cookie, or wherever it is.
var InvalidCredentials = []string{"refuse", "ignore_cookie", "ignore"}

// Switch is a true or false with its place.
type Switch struct {
	Place report.Place
	On    bool
}

// Activity is a set of calls: methods, a path regex and optional hosts.
type Activity struct {
	Place   report.Place
	Methods []string
	// Path is the regex as written; PathPlace is where it starts.
	Path      string
	PathPlace report.Place
	// Hosts is empty when the activity covers every host.
	Hosts   []string
	Require require.Requirements
	// Override takes the activity out of the order of sections.
	Override bool
	// MCP says that the calls are some of the Model Context Protocol, which are matched by
	// paths of their own: see [OfMCP]. nil: they are not.
	MCP *mcp.Pattern

	// path and condition are what CheckPath and CheckCondition made of Path and
	// Require.When, so that Compile need not make them again. They count only
	// while the texts are the same.
	path      *pattern.Path
	condition *condition.Condition
}

// AnyMethod in an activity stands for every method.
const AnyMethod = pattern.AnyMethod

// OfMCP is an activity of the calls that a pattern covers.
func OfMCP(p mcp.Pattern) Activity {
	return Activity{Methods: []string{mcp.HTTPMethod}, Path: p.Regex(), MCP: &p}
}

// String writes an activity in the short form of the file format, or as calls of the Model
// Context Protocol are written.
func (a *Activity) String() string { return strings.Join(a.Methods, ",") + " " + a.ShownPath() }

// ShownPath is the path regex, or what stands for it.
func (a *Activity) ShownPath() string {
	if a.MCP != nil {
		return a.MCP.String()
	}
	return a.Path
}

// CheckPath reads the path regex. The error follows the word "path".
func (a *Activity) CheckPath() error {
	path, err := a.Pattern()
	a.path = path
	return err
}

// CheckCondition compiles the condition, which needs a good path.
func (a *Activity) CheckCondition() []condition.Problem {
	path, err := a.Pattern()
	if err != nil {
		return []condition.Problem{{Text: "cannot be checked, because the path " + err.Error()}}
	}
	var problems []condition.Problem
	a.condition, problems = a.compileCondition(path)
	return problems
}

// Pattern is the path regex as it was read.
func (a *Activity) Pattern() (*pattern.Path, error) {
	if a.path != nil && a.path.Text == a.Path {
		return a.path, nil
	}
	return pattern.ParsePath(a.Path)
}

// CheckAsks compiles the asks, which need a good path. The problems follow the word "ask".
func (a *Activity) CheckAsks() []string {
	path, err := a.Pattern()
	if err != nil {
		return []string{"cannot be checked, because the path " + err.Error()}
	}
	_, problems := a.compileAsks(path)
	return problems
}

func (a *Activity) compileAsks(path *pattern.Path) (asks []*ask.Ask, problems []string) {
	if len(a.Require.Asks) > ask.MaxAsks {
		return nil, []string{fmt.Sprintf("has %d questions, %d at most", len(a.Require.Asks), ask.MaxAsks)}
	}
	for i := range a.Require.Asks {
		one, wrong := ask.Compile(a.Require.Asks[i], path)
		if len(a.Require.Asks) > 1 {
			for n := range wrong {
				wrong[n] = fmt.Sprintf("[%d] %s", i, wrong[n])
			}
		}
		asks, problems = append(asks, one), append(problems, wrong...)
	}
	return asks, problems
}

func (a *Activity) compileCondition(path *pattern.Path) (*condition.Condition, []condition.Problem) {
	if c := a.condition; c != nil && c.Text() == a.Require.When && c.Path() == path {
		return c, nil
	}
	return condition.Compile(a.Require.When, path)
}

// Condition is the compiled condition; nil where there is none, or a faulty one.
func (a *Activity) Condition() *condition.Condition {
	if a.Require.When == "" {
		return nil
	}
	path, err := a.Pattern()
	if err != nil {
		return nil
	}
	c, problems := a.compileCondition(path)
	if len(problems) > 0 {
		return nil
	}
	return c
}

// AsksOfCaller reports whether a requirement or the condition asks for something
// that a caller without a credential never has.
func (a *Activity) AsksOfCaller() bool {
	return a.Require.AsksOfCaller() || a.conditionIs((*condition.Condition).AsksOfCaller) || a.questionsOfCaller()
}

// questionsOfCaller reports whether an ask needs something of the caller.
func (a *Activity) questionsOfCaller() bool {
	if len(a.Require.Asks) == 0 {
		return false
	}
	path, err := a.Pattern()
	if err != nil {
		return false
	}
	asks, problems := a.compileAsks(path)
	return len(problems) == 0 && slices.ContainsFunc(asks, (*ask.Ask).AsksOfCaller)
}

// ReadsActor reports whether the condition reads who acts for the subject.
func (a *Activity) ReadsActor() bool { return a.conditionIs((*condition.Condition).ReadsActor) }

func (a *Activity) conditionIs(what func(*condition.Condition) bool) bool {
	c := a.Condition()
	return c != nil && what(c)
}

// Demand is what the activity requires, for a comparison with another.
func (a *Activity) Demand() require.Demand {
	d := require.Demand{Requirements: &a.Require}
	if a.conditionIs((*condition.Condition).ReadsPath) { // its meaning depends on the path regex too
		d.Path = a.Path
	}
	if len(a.Require.Asks) > 0 {
		d.AskPath = a.Path
	}
	return d
}

// OwnedActivity is an activity together with what it belongs to.
type OwnedActivity struct {
	*Activity
	Section Section
	// Permission owns the activity; empty in the other sections.
	Permission string
	// Anonymous says that a caller without a credential holds the permission.
	Anonymous bool
	// Variants say which paths the table refuses as variants of those of the
	// activity; nil for none.
	Variants *variant.Rules
	// NotAt are the endpoints of the Model Context Protocol: paths that the activity never
	// covers, whatever its regex matches.
	NotAt []string
}

// AsStrict reports whether the activity demands at least what another does. None does that
// would let any call of the Model Context Protocol pass where another tells them apart.
func (a *OwnedActivity) AsStrict(as *OwnedActivity) bool {
	if as.MCP != nil {
		return false
	}
	same := a.Permission == as.Permission
	section := a.Section
	if a.Open() && !same {
		section = min(section, InOptional)
	}
	return AsStrict(section, as.Section, same, a.Demand(), as.Demand())
}

// Open reports whether a caller without a credential may perform the activity,
// unless a condition says otherwise.
func (a *OwnedActivity) Open() bool {
	return a.Section <= InOptional || a.Anonymous && !a.AsksOfCaller()
}

// Owner names the permission, or the section where there is none.
func (a *OwnedActivity) Owner() string {
	if a.Section == InPermission {
		return a.Permission
	}
	return a.Section.String()
}

// Activities lists the activities of files in the order in which Compile numbers
// them.
func Activities(files ...*File) []OwnedActivity {
	var all []OwnedActivity
	rules, held, endpoints := VariantRules(files), heldByAnonymous(files), Endpoints(files)
	again := sameVariants()
	add := func(list []Activity, section Section, permission string) {
		for i := range list {
			owned := OwnedActivity{Activity: &list[i], Section: section, Permission: permission, Anonymous: section == InPermission && held[permission]}
			if section.Guards() && !again(owned.Activity) {
				owned.Variants = rules
			}
			if len(endpoints) > 0 && owned.MCP == nil && !owned.IsAt(endpoints) {
				owned.NotAt = endpoints
			}
			all = append(all, owned)
		}
	}
	for _, f := range files {
		for i := range f.Permissions {
			add(f.Permissions[i].Activities, InPermission, f.Permissions[i].Name)
		}
		add(f.Authenticated, InAuthenticated, "")
		add(f.Optional, InOptional, "")
		add(f.Public, InPublic, "")
	}
	return all
}

// sameVariants tells of calls of the Model Context Protocol that others before them guard the
// variants of their endpoint as they do.
func sameVariants() func(*Activity) bool {
	seen := map[string]bool{}
	return func(a *Activity) bool {
		if a.MCP == nil {
			return false
		}
		key := a.MCP.Endpoint + " " + strings.Join(a.Hosts, " ")
		before := seen[key]
		seen[key] = true
		return before
	}
}

// Endpoints are those of the Model Context Protocol that a table names, sorted.
func Endpoints(files []*File) []string {
	var all []string
	each(files, func(_ *File, _ Section, a *Activity) {
		if a.MCP != nil {
			all = append(all, a.MCP.Endpoint)
		}
	})
	slices.Sort(all)
	return slices.Compact(all)
}

func each(files []*File, do func(*File, Section, *Activity)) {
	list := func(f *File, s Section, activities []Activity) {
		for i := range activities {
			do(f, s, &activities[i])
		}
	}
	for _, f := range files {
		for i := range f.Permissions {
			list(f, InPermission, f.Permissions[i].Activities)
		}
		list(f, InAuthenticated, f.Authenticated)
		list(f, InOptional, f.Optional)
		list(f, InPublic, f.Public)
	}
}

// IsAt reports whether the path regex is nothing but one of some paths, written out: an
// activity may name an endpoint of the Model Context Protocol for other methods than that of
// its calls.
func (a *Activity) IsAt(paths []string) bool {
	path, err := a.Pattern()
	if err != nil || a.MCP != nil {
		return false
	}
	literal, ok := path.Literal()
	return ok && slices.Contains(paths, literal)
}

// heldByAnonymous are the permissions that a caller without a credential holds.
func heldByAnonymous(files []*File) map[string]bool {
	roles := map[string][]Grant{}
	var open []Grant
	for _, f := range files {
		for i := range f.Roles {
			roles[f.Roles[i].Name] = f.Roles[i].Grants
		}
		if f.Anonymous != nil {
			open = append(open, f.Anonymous.Grants...)
		}
	}
	held, seen := map[string]bool{}, map[string]bool{}
	for ; len(open) > 0; open = open[1:] {
		switch g := open[0]; {
		case !g.Role:
			held[g.Name] = true
		case !seen[g.Name]:
			seen[g.Name] = true
			open = append(open, roles[g.Name]...)
		}
	}
	return held
}

// VariantRules say which paths a table refuses; nil for none.
func VariantRules(files []*File) *variant.Rules {
	for _, f := range files {
		if f.PathVariants != nil && !f.PathVariants.Empty() {
			return &f.PathVariants.Rules
		}
	}
	return nil
}

// AsStrict reports whether an activity of one section demands at least what one of
// another does.
func AsStrict(section, as Section, samePermission bool, demand, asDemand require.Demand) bool {
	return section >= as && (as < InPermission || samePermission) && require.Weaker(asDemand, demand) == require.Yes
}
