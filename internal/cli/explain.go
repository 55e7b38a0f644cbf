package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/permission"
)

type explainCommandOptions struct {
	table  tableFlags
	call   callFlags
	caller callerFlags
	output outputFlags
}

func explainCommand() *cobra.Command {
	var o explainCommandOptions
	c := &cobra.Command{
		Use:   "explain [flags] METHOD PATH",
		Short: "Say whether a call is allowed, and why",
		Long: `Decide one call as a gate would and say why: every activity that covers it,
the grant that allows it or what is missing, and what would be enough.

PATH is a raw request target. It is read exactly as a gate reads it: what has
more than one meaning is refused, and a query takes part in conditions only.
A caller without --anonymous has a valid credential that states what the flags
and the claims say, and nothing else.`,
		Example: `  gatehouse explain --role clerk GET /users/7
  gatehouse explain --anonymous GET /healthz
  gatehouse explain -t base.yaml -t orders.yaml --claims token.json \
      -H 'X-Tenant: acme' POST /orders/7/cancel`,
		Args:              methodAndPath,
		ValidArgsFunction: completeMethod,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0], args[1]) },
	}
	o.table.register(c)
	o.caller.register(c)
	o.caller.complete(c, &o.table)
	o.call.register(c)
	o.output.register(c)
	return c
}

func (o *explainCommandOptions) run(cmd *cobra.Command, method, target string) error {
	t, err := o.table.load(cmd)
	if err != nil {
		return err
	}
	call, err := o.call.call(method, target)
	if err != nil && !isRefusedPath(err) {
		return err
	}
	e := &permission.Explanation{Refusal: err}
	caller, err := o.caller.principal(cmd)
	if err != nil {
		return err
	}
	if e.Refusal == nil {
		e = t.Explain(call, caller)
	}
	if o.output.json() {
		err = printJSON(cmd.OutOrStdout(), explained(e, call))
	} else {
		x := explanation{o.output.printer(cmd), t, e, call, caller}
		x.print()
		if unknown := t.unknownNames(&o.caller); unknown != "" {
			x.printf("\nNote: %s.\n", unknown)
		}
	}
	if err == nil && !e.Allowed {
		err = errNo
	}
	return err
}

// explanation prints a decision as text.
type explanation struct {
	*printer
	table  *table
	e      *permission.Explanation
	call   *core.Call
	caller *core.Principal
}

func (x explanation) print() {
	x.verdict()
	for i := range x.e.Matched {
		x.activity(&x.e.Matched[i])
	}
	switch {
	case isRefusedPath(x.e.Refusal):
	case len(x.e.Matched) == 0:
		x.uncovered()
	case !x.e.Allowed:
		x.enough()
	}
}

func (x explanation) verdict() {
	line := x.bold(x.call.Method + " " + x.call.Target)
	if x.e.Allowed {
		how := "allowed"
		if x.e.Public {
			how = "allowed, public"
		}
		x.printf("%s  %s\n", x.good(how), line)
	} else {
		d := core.Refusal(x.call.Request, x.e.Refusal)
		x.printf("%s  %s\n", x.bad(fmt.Sprintf("denied %d %s", d.Status, d.Reason)), line)
		x.printf("  %s\n", x.refusal())
	}
	raw, _, _ := strings.Cut(x.call.Target, "?")
	if x.call.Path != "" && x.call.Path != raw {
		x.printf("  the path is read as %s\n", x.call.Path)
	}
}

// refusal says in one line why a call is denied. What a single activity lacks
// stands with the activity.
func (x explanation) refusal() string {
	err := x.e.Refusal
	switch {
	case errors.Is(err, core.ErrMissing):
		return "the call needs a credential"
	case len(x.e.Matched) > 0:
		return "none of the activities below allows it"
	case isRefusedPath(err):
		return err.Error()
	}
	return "no activity covers the call, and what none covers is denied"
}

func (x explanation) activity(f *permission.Finding) {
	x.printf("\n%s  %s\n", x.name(f.Owner()), x.dim(place(f.Place)))
	x.printf("  %s\n", describe(&f.Rule))
	if !f.Decides {
		x.printf("  %s\n", x.dim("has no say: "+x.overruled(f)))
		return
	}
	var rows [][]cell
	if f.Section == permission.InPermission {
		rows = append(rows, x.grant(f)...)
	}
	if f.Section == permission.InAuthenticated {
		rows = append(rows, x.row(x.caller != nil, "credential", "any that is valid", ""))
	}
	for _, c := range f.Checks {
		if c.Name != "when" {
			rows = append(rows, x.check(c))
		}
	}
	x.rows("  ", rows)
	for _, c := range f.Checks {
		if c.Name == "when" {
			x.condition(c)
		}
	}
}

func (x explanation) row(ok bool, what, want, note string) []cell {
	if ok {
		return []cell{{"✓", "32"}, plain(what), plain(want), dim(note)}
	}
	return []cell{{"✗", "31"}, plain(what), plain(want), {note, "31"}}
}

// overruled says which part of the table took the say from an activity.
func (x explanation) overruled(f *permission.Finding) string {
	strictest := permission.InAuthenticated
	for _, m := range x.e.Matched {
		switch {
		case m.Decides && m.Override && m.Section == permission.InPublic:
			return "a public activity overrides it"
		case m.Section == permission.InPermission:
			strictest = permission.InPermission
		}
	}
	return fmt.Sprintf("the call is also covered by a stricter section, %s", sectionTitle(strictest))
}

func sectionTitle(s permission.Section) string {
	if s == permission.InPermission {
		return "permissions"
	}
	return string(s)
}

func (x explanation) grant(f *permission.Finding) [][]cell {
	if !f.Holds {
		return [][]cell{x.row(false, "permission", f.Permission, "not granted")}
	}
	rows := make([][]cell, len(f.Grants))
	for i, way := range f.Grants {
		rows[i] = x.row(true, "permission", f.Permission, "by "+way)
	}
	return rows
}

func (x explanation) check(c permission.Check) []cell {
	note := ""
	if c.Err != nil {
		note = x.lack(&c)
	}
	return x.row(c.Err == nil, c.Name, c.Want, note)
}

// condition prints a condition by itself: it may be long, and what it reads
// belongs below it.
func (x explanation) condition(c permission.Check) {
	x.printf("  %s  when        %s\n", x.mark(c.Err == nil), c.Want)
	if c.Err != nil {
		x.printf("                 %s\n", x.bad(x.lack(&c)))
	}
	for _, v := range c.Reads {
		if v.Present {
			x.printf("                 %s\n", x.dim(fmt.Sprintf("%s is %v", v.Name, v.Value)))
		} else {
			x.printf("                 %s\n", x.bad(v.Name+" is absent"))
		}
	}
}

// lack says what the caller has instead of what a requirement wants.
func (x explanation) lack(c *permission.Check) string {
	if x.caller == nil {
		return "no credential"
	}
	switch c.Name {
	case "aal":
		if x.caller.AAL == "" {
			return "the claims have no aal or acr"
		}
		return "the caller has " + x.caller.AAL
	case "max_age":
		if x.caller.AuthenticatedAt.IsZero() {
			return "the claims have no auth_time"
		}
		return "auth_time is " + x.caller.AuthenticatedAt.UTC().Format("2006-01-02 15:04:05") + " UTC"
	case "credentials":
		return "the credential is of kind " + string(x.caller.Kind)
	case "all_scopes", "any_scope":
		if len(x.caller.Scopes) == 0 {
			return "the caller has no scope"
		}
		return "the caller has " + listing(x.caller.Scopes, "and")
	}
	if strings.Contains(c.Err.Error(), " is false") {
		return "is false"
	}
	return "cannot be decided"
}

// uncovered looks for what the asker may have meant.
func (x explanation) uncovered() {
	var methods, hosts []string
	for _, r := range x.table.Rules() {
		methods = append(methods, r.Methods...)
		hosts = append(hosts, r.Hosts...)
	}
	try := func(of []string, change func(r *core.Request, to string)) []string {
		slices.Sort(of)
		return slices.DeleteFunc(slices.Compact(of), func(to string) bool {
			r := *x.call.Request
			change(&r, to)
			return x.table.Match(context.Background(), &core.Call{Request: &r, Path: x.call.Path}) == nil
		})
	}
	if methods = try(methods, func(r *core.Request, to string) { r.Method = to }); len(methods) > 0 {
		x.printf("\nThe path is covered for %s.\n", listing(methods, "and"))
	}
	if hosts = try(hosts, func(r *core.Request, to string) { r.Host = strings.Replace(to, "*", "x", 1) }); len(hosts) > 0 {
		x.printf("\nThe call is covered on %s; name the host with --host.\n", listing(hosts, "and"))
	}
}

// enough says what would have opened the call, activity by activity.
func (x explanation) enough() {
	x.printf("\nEnough would be:\n")
	for i := range x.e.Matched {
		if f := &x.e.Matched[i]; f.Decides {
			x.printf("  %s\n", strings.Join(ways(f), "; "))
		}
	}
}

// ways lists what an activity still wants.
func ways(f *permission.Finding) []string {
	var need []string
	if !f.Holds {
		need = append(need, grantors(f.Enough))
	}
	if f.Section == permission.InAuthenticated && !f.Allows && len(f.Checks) == 0 {
		need = append(need, "any valid credential")
	}
	for _, c := range f.Checks {
		if c.Err != nil {
			need = append(need, requirementText(c.Name, c.Want))
		}
	}
	return need
}

func requirementText(name, want string) string {
	switch name {
	case "aal":
		return "assurance level " + want
	case "max_age":
		return "an authentication no older than " + want
	case "credentials":
		return "a credential of kind " + want
	case "all_scopes":
		return "the further scopes " + want
	case "any_scope":
		return "a further scope, " + want
	}
	return "a call for which " + want
}

// grantors writes what grants a permission as a choice.
func grantors(g permission.Grantors) string {
	var ways []string
	if len(g.Roles) > 0 {
		ways = append(ways, "the role "+listing(g.Roles, "or"))
	}
	if len(g.Scopes) > 0 {
		ways = append(ways, "the scope "+listing(g.Scopes, "or"))
	}
	return strings.Join(append(ways, "the permission "+g.Permission), ", or ")
}

// describe writes an activity on one line, with all that narrows it.
func describe(r *permission.Rule) string {
	text := r.String()
	if len(r.Hosts) > 0 {
		text += "  on " + listing(r.Hosts, "and")
	}
	if r.Override {
		text += "  override"
	}
	return text
}

// --- for programs

type explainedJSON struct {
	Method     string         `json:"method"`
	Target     string         `json:"target"`
	Path       string         `json:"path,omitempty"`
	Allowed    bool           `json:"allowed"`
	Public     bool           `json:"public"`
	Status     int            `json:"status,omitempty"`
	Reason     string         `json:"reason,omitempty"`
	Refusal    string         `json:"refusal,omitempty"`
	Activities []activityJSON `json:"activities"`
}

type activityJSON struct {
	ruleJSON
	Decides bool        `json:"decides"`
	Allows  bool        `json:"allows"`
	Holds   bool        `json:"holds"`
	Grants  []string    `json:"grants,omitempty"`
	Enough  *enoughJSON `json:"enough,omitempty"`
	Checks  []checkJSON `json:"requirements,omitempty"`
}

type enoughJSON struct {
	Permission string   `json:"permission"`
	Roles      []string `json:"roles,omitempty"`
	Scopes     []string `json:"scopes,omitempty"`
}

type checkJSON struct {
	Name  string      `json:"name"`
	Want  string      `json:"want"`
	Holds bool        `json:"holds"`
	Error string      `json:"error,omitempty"`
	Reads []valueJSON `json:"reads,omitempty"`
}

type valueJSON struct {
	Name    string `json:"name"`
	Value   any    `json:"value,omitempty"`
	Present bool   `json:"present"`
}

// ruleJSON is an activity in the output of any command.
type ruleJSON struct {
	File       string       `json:"file"`
	Line       int          `json:"line"`
	Column     int          `json:"column"`
	Section    string       `json:"section"`
	Permission string       `json:"permission,omitempty"`
	Methods    []string     `json:"methods"`
	Path       string       `json:"path"`
	Hosts      []string     `json:"hosts,omitempty"`
	Override   bool         `json:"override,omitempty"`
	Require    *requireJSON `json:"require,omitempty"`
}

type requireJSON struct {
	AllScopes   []string `json:"all_scopes,omitempty"`
	AnyScope    []string `json:"any_scope,omitempty"`
	AAL         string   `json:"aal,omitempty"`
	MaxAge      string   `json:"max_age,omitempty"`
	Credentials []string `json:"credentials,omitempty"`
	When        string   `json:"when,omitempty"`
}

func ruleForJSON(r *permission.Rule) ruleJSON {
	out := ruleJSON{
		File: r.Place.File, Line: r.Place.Line, Column: r.Place.Column,
		Section: string(r.Section), Permission: r.Permission,
		Methods: r.Methods, Path: r.Path, Hosts: r.Hosts, Override: r.Override,
	}
	if need := &r.Require; requirements(need) != "" {
		out.Require = &requireJSON{AllScopes: need.AllScopes, AnyScope: need.AnyScope, AAL: need.AAL, Credentials: need.Credentials, When: need.When}
		if need.MaxAge > 0 {
			out.Require.MaxAge = permission.ShortDuration(need.MaxAge)
		}
	}
	return out
}

func explained(e *permission.Explanation, call *core.Call) explainedJSON {
	out := explainedJSON{
		Method: call.Method, Target: call.Target, Path: call.Path,
		Allowed: e.Allowed, Public: e.Public, Activities: []activityJSON{},
	}
	if e.Refusal != nil {
		d := core.Refusal(call.Request, e.Refusal)
		out.Status, out.Reason, out.Refusal = d.Status, d.Reason, e.Refusal.Error()
	}
	for i := range e.Matched {
		f := &e.Matched[i]
		a := activityJSON{ruleJSON: ruleForJSON(&f.Rule), Decides: f.Decides, Allows: f.Allows, Holds: f.Holds, Grants: f.Grants}
		if f.Section == permission.InPermission {
			a.Enough = &enoughJSON{f.Enough.Permission, f.Enough.Roles, f.Enough.Scopes}
		}
		for _, c := range f.Checks {
			a.Checks = append(a.Checks, checkForJSON(c))
		}
		out.Activities = append(out.Activities, a)
	}
	return out
}

func checkForJSON(c permission.Check) checkJSON {
	out := checkJSON{Name: c.Name, Want: c.Want, Holds: c.Err == nil}
	if c.Err != nil {
		out.Error = c.Err.Error()
	}
	for _, v := range c.Reads {
		out.Reads = append(out.Reads, valueJSON(v))
	}
	return out
}
