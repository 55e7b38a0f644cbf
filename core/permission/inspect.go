package permission

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
)

// Rule is an activity together with where it stands in the files.
type Rule struct {
	*Activity
	// Section is InPublic, InAuthenticated or InPermission.
	Section Section
	// Permission owns the activity; empty in the other sections.
	Permission string
}

// Section is the part of a file that an activity stands in.
type Section string

// The sections, from the laxest to the strictest.
const (
	InPublic        Section = "public"
	InAuthenticated Section = "authenticated"
	InPermission    Section = "permission"
)

// Owner names the permission, or the section where there is none.
func (r *Rule) Owner() string {
	if r.Section == InPermission {
		return r.Permission
	}
	return string(r.Section)
}

// Rules lists the activities of files in the order in which Compile numbers
// them.
func Rules(files ...*File) []Rule {
	var rules []Rule
	add := func(list []Activity, section Section, permission string) {
		for i := range list {
			rules = append(rules, Rule{&list[i], section, permission})
		}
	}
	for _, f := range files {
		for i := range f.Permissions {
			add(f.Permissions[i].Activities, InPermission, f.Permissions[i].Name)
		}
		add(f.Authenticated, InAuthenticated, "")
		add(f.Public, InPublic, "")
	}
	return rules
}

// Regex returns the path regex as it was parsed, without the anchors that are
// always implied. It must not be changed.
func (a *Activity) Regex() *syntax.Regexp { return a.pattern.tree }

// Names lists everything that grants permissions.
func (t *Table) Names() (permissions, roles, scopes []string) {
	for name := range t.roles {
		roles = append(roles, name)
	}
	for name := range t.scopes {
		scopes = append(scopes, name)
	}
	if t.implicitScopes {
		for _, name := range t.permissions {
			if _, explicit := t.scopes[name]; !explicit {
				scopes = append(scopes, name)
			}
		}
	}
	slices.Sort(roles)
	slices.Sort(scopes)
	return slices.Clone(t.permissions), roles, scopes
}

// Inspector explains decisions of a table in the words of its files.
type Inspector struct {
	*Table
	rules []Rule
	roles map[string]*Role
}

// Inspect needs the files that the table was compiled from.
func Inspect(t *Table, files ...*File) *Inspector {
	x := &Inspector{t, Rules(files...), map[string]*Role{}}
	for _, f := range files {
		for i := range f.Roles {
			x.roles[f.Roles[i].Name] = &f.Roles[i]
		}
	}
	return x
}

// Rules lists the activities of the table in the order of the files.
func (x *Inspector) Rules() []Rule { return x.rules }

// Explanation is a decision taken apart.
type Explanation struct {
	Public  bool
	Allowed bool
	// Refusal is what the log would say; nil when allowed.
	Refusal error
	// Matched are all activities that cover the call.
	Matched []Finding
}

// Finding is what one activity says to a call.
type Finding struct {
	Rule
	// Decides is false for an activity that a stricter section, or one that
	// overrides, leaves without a say.
	Decides bool
	Allows  bool
	// Holds reports whether the caller has the permission, and Grants how.
	Holds  bool
	Grants []string
	// Enough lists what would grant the permission.
	Enough Grantors
	Checks []Check
}

// Grantors are the names that grant a permission.
type Grantors struct {
	Permission    string
	Scopes, Roles []string
}

// Check is the outcome of one requirement.
type Check struct {
	// Name is the key in the file, such as "max_age".
	Name string
	Want string
	// Err is nil when the requirement holds.
	Err error
	// Reads lists the values that a condition reads.
	Reads []Value
}

// Value is something that a condition reads from a request.
type Value struct {
	// Name is how the condition reads it, such as claims['sub'].
	Name    string
	Value   any
	Present bool
}

// Explain takes the decision about a call apart. The principal is nil for a
// caller without a credential.
func (x *Inspector) Explain(call *core.Call, p *core.Principal) *Explanation {
	access, covered := x.Match(context.Background(), call).(*Access)
	if !covered {
		return &Explanation{Refusal: fmt.Errorf("%w: no activity covers the call", core.ErrForbidden)}
	}
	e := &Explanation{Public: access.Public()}
	switch {
	case e.Public:
	case p == nil:
		e.Refusal = core.ErrMissing
	default:
		e.Refusal = access.Allows(context.Background(), call, p)
	}
	e.Allowed = e.Refusal == nil
	for _, a := range access.matched {
		e.Matched = append(e.Matched, x.finding(a, slices.Contains(access.decides, a), call, p))
	}
	return e
}

func (x *Inspector) finding(a *activity, decides bool, call *core.Call, p *core.Principal) Finding {
	f := Finding{Rule: x.rules[a.order], Decides: decides, Holds: a.section != inPermission}
	if a.section == inPermission {
		f.Enough = x.grantors(a.permission)
	}
	if p != nil && a.section == inPermission {
		f.Holds = x.holds(p, a.permission)
		f.Grants = x.grantsOf(p, a.permission)
	}
	if a.require != nil {
		f.Checks = a.require.explain(call, p, x.now())
	}
	f.Allows = a.section == inPublic || p != nil && a.allows(x.Table, call, p) == nil
	return f
}

func (x *Inspector) grantors(id permissionID) Grantors {
	name := x.permissions[id]
	g := Grantors{Permission: name}
	for scope, granted := range x.scopes {
		if granted.has(id) {
			g.Scopes = append(g.Scopes, scope)
		}
	}
	if _, explicit := x.scopes[name]; !explicit && x.implicitScopes {
		g.Scopes = append(g.Scopes, name)
	}
	for role, granted := range x.Table.roles {
		if granted.has(id) {
			g.Roles = append(g.Roles, role)
		}
	}
	slices.Sort(g.Scopes)
	slices.Sort(g.Roles)
	return g
}

// Grantors lists what grants a permission.
func (x *Inspector) Grantors(permission string) (g Grantors, ok bool) {
	id, ok := x.ids[permission]
	if !ok {
		return Grantors{}, false
	}
	return x.grantors(id), true
}

// grantsOf says by what a principal holds a permission.
func (x *Inspector) grantsOf(p *core.Principal, id permissionID) []string {
	name := x.permissions[id]
	var grants []string
	if slices.Contains(p.Permissions, name) {
		grants = append(grants, "permission "+name)
	}
	for _, role := range p.Roles {
		if chain := x.chain(role, name); chain != nil {
			grants = append(grants, "role "+strings.Join(chain, " -> role ")+" -> "+name)
		}
	}
	for _, scope := range p.Scopes {
		switch _, explicit := x.scopes[scope]; {
		case !x.scopeGrants(scope, id):
		case explicit:
			grants = append(grants, "scope "+scope+" -> "+name)
		default:
			grants = append(grants, "scope "+scope)
		}
	}
	return grants
}

// chain finds the shortest way from a role to a permission.
func (x *Inspector) chain(role, permission string) []string {
	came := map[string]string{}
	for queue := []string{role}; len(queue) > 0; queue = queue[1:] {
		at := x.roles[queue[0]]
		if at == nil {
			continue
		}
		for _, g := range at.Grants {
			if !g.Role && g.Name == permission {
				return unwind(came, role, queue[0])
			}
			if _, seen := came[g.Name]; g.Role && !seen && g.Name != role {
				came[g.Name] = queue[0]
				queue = append(queue, g.Name)
			}
		}
	}
	return nil
}

func unwind(came map[string]string, from, to string) []string {
	way := []string{to}
	for to != from {
		to = came[to]
		way = append(way, to)
	}
	slices.Reverse(way)
	return way
}

// explain checks every requirement by itself. Without a principal none holds.
func (r *requirements) explain(call *core.Call, p *core.Principal, now time.Time) []Check {
	var checks []Check
	add := func(name, want string, part requirements) {
		c := Check{Name: name, Want: want, Err: core.ErrMissing}
		if p != nil {
			c.Err = part.check(call, p, nil, now)
		}
		if part.condition != nil {
			c.Reads = part.condition.read(call, p, part.path)
		}
		checks = append(checks, c)
	}
	only := func(part Requirements) requirements { return requirements{Requirements: part} }
	if len(r.Credentials) > 0 {
		add("credentials", strings.Join(r.Credentials, " or "), only(Requirements{Credentials: r.Credentials}))
	}
	if len(r.AllScopes) > 0 {
		add("all_scopes", strings.Join(r.AllScopes, " and "), only(Requirements{AllScopes: r.AllScopes}))
	}
	if len(r.AnyScope) > 0 {
		add("any_scope", strings.Join(r.AnyScope, " or "), only(Requirements{AnyScope: r.AnyScope}))
	}
	if r.When != "" {
		part := only(Requirements{When: r.When, condition: r.condition})
		part.path = r.path
		add("when", r.When, part)
	}
	if r.AAL != "" {
		add("aal", r.AAL, only(Requirements{AAL: r.AAL}))
	}
	if r.MaxAge > 0 {
		add("max_age", ShortDuration(r.MaxAge), only(Requirements{MaxAge: r.MaxAge}))
	}
	return checks
}

// read lists what a condition reads, by name.
func (c *condition) read(call *core.Call, p *core.Principal, path *regexp.Regexp) []Value {
	if p == nil {
		p = &core.Principal{}
	}
	// An error concerns single names; those are then shown as absent.
	values, _, _ := c.values(call, p, path)
	var read []Value
	for variable, names := range c.reads {
		for _, name := range names {
			v := Value{Name: readAs(variable, name)}
			if variable == name {
				v.Value, v.Present = values[variable]
			} else if found, ok := values[variable].(map[string]any); ok {
				v.Value, v.Present = found[name]
			}
			read = append(read, v)
		}
	}
	slices.SortFunc(read, func(a, b Value) int { return cmp.Compare(a.Name, b.Name) })
	return read
}

// ReadsPath reports whether the condition reads named groups of the path, so
// that what it means hangs on the path regex too.
func (r *Requirements) ReadsPath() bool {
	return r.condition != nil && r.condition.reads[pathVar] != nil
}

// ShortDuration writes a duration without the parts that are zero: 15m.
func ShortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// GrantsOf says by what an activity is open to a principal, its requirements
// aside; ok is false where it is not. The principal is nil for a caller
// without a credential.
func (x *Inspector) GrantsOf(p *core.Principal, r *Rule) (grants []string, ok bool) {
	switch {
	case r.Section == InPublic:
		return nil, true
	case p == nil:
		return nil, false
	case r.Section == InAuthenticated:
		return nil, true
	}
	id, ok := x.ids[r.Permission]
	if !ok || !x.holds(p, id) {
		return nil, false
	}
	return x.grantsOf(p, id), true
}

// DidYouMean ends a message about an unknown name with the known name that
// looks most like it, if one does.
func DidYouMean(name string, known []string) string { return didYouMean(name, known) }
