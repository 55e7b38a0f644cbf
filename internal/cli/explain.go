package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/internal/offline"
)

type explainCommandOptions struct {
	callFlags
	caller callerFlags
}

func explainCommand() *cobra.Command {
	var o explainCommandOptions
	c := &cobra.Command{
		Use:   "explain [flags] METHOD PATH",
		Short: "Say whether a call is allowed, and why",
		Long: `Decide one call as a gate would and say why: every activity that covers it,
the grant that allows it or what is missing, and what would be enough.

With --config, the gate is that of a configuration, and its whole decision is
shown: the response to the client, or the headers of the request to the upstream.
Without, it is a gate with the default settings.

PATH is a raw request target. It is read exactly as a gate reads it: what has
more than one meaning is refused, and a query takes part in conditions only.
A caller without --anonymous has a valid credential that states what the flags
and the claims say, and nothing else.`,
		Example: `  gatehouse explain --role clerk GET /users/7
  gatehouse explain --anonymous GET /healthz
  gatehouse explain --config gatehouse.yaml --claims token.json GET /users/7
  gatehouse explain --config kong.yml --route users --anonymous -H 'Accept: text/html' GET /users/7
  gatehouse explain -t base.yaml -t orders.yaml --claims token.json \
      -H 'X-Tenant: acme' POST /orders/7/cancel`,
		Args:              methodAndPath,
		ValidArgsFunction: completeMethod,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0], args[1]) },
	}
	o.register(c)
	o.caller.register(c)
	o.caller.complete(c, &o.gate.table)
	return c
}

func (o *explainCommandOptions) run(cmd *cobra.Command, method, target string) error {
	g, r, err := o.open(cmd, method, target)
	if err != nil {
		return err
	}
	caller, err := o.caller.caller(cmd)
	if err != nil {
		return err
	}
	d, err := g.Decide(cmd.Context(), r, caller)
	if err != nil {
		return o.caller.located(err)
	}
	notes := g.notesOn(d, &o.caller)
	if o.output.json() {
		err = printJSON(cmd.OutOrStdout(), explained(g, d, notes))
	} else {
		x := explanation{o.output.printer(cmd), g, d}
		x.print()
		x.notes(notes)
	}
	if err == nil && !d.Allowed() && (!d.Responds() || d.Status >= 400) {
		err = errNo
	}
	return err
}

// notesOn is what a reader of a decision may overlook.
func (g *openGate) notesOn(d *offline.Outcome, f *callerFlags) []string {
	notes := slices.Clone(g.Notes)
	if unknown := g.unknownNames(f); unknown != "" {
		notes = append(notes, unknown)
	}
	if len(d.Assumed) > 0 {
		notes = append(notes, "the claims have no "+listing(d.Assumed, "and")+", which every credential that the gate accepts has; a good value is assumed")
	}
	return append(notes, g.withoutEffect(d.Caller, f)...)
}

// withoutEffect are the flags that no credential of the caller's kind can state.
func (g *openGate) withoutEffect(p *core.Principal, f *callerFlags) []string {
	if p == nil {
		return nil
	}
	var notes []string
	cannot := g.CannotState(p.Kind, p.Issuer)
	for _, given := range []struct {
		what  string
		names []string
	}{{"roles", f.roles}, {"scopes", f.scopes}, {"permissions", f.permissions}} {
		if len(given.names) > 0 && slices.Contains(cannot, given.what) {
			notes = append(notes, fmt.Sprintf("at this gate no credential of kind %s states %s, so %s does not count", p.Kind, given.what, listing(given.names, "and")))
		}
	}
	return notes
}

func (p *printer) notes(notes []string) {
	for _, note := range notes {
		p.printf("\nNote: %s.\n", note)
	}
}

// explanation prints a decision as text.
type explanation struct {
	*printer
	gate *openGate
	*offline.Outcome
}

func (x explanation) print() {
	x.verdict()
	var matched []inspect.Finding
	if x.Table != nil {
		matched = x.Table.Matched
	}
	for i := range matched {
		x.activity(&matched[i])
	}
	switch {
	case x.Table == nil:
	case len(matched) == 0:
		uncovered(x.printer, x.gate.Inspector, x.Call)
	case !x.Allowed():
		x.enough()
	}
	if x.gate.Name != "" {
		x.effect()
	}
}

func (x explanation) verdict() {
	line := x.bold(x.Call.Method + " " + x.Call.Target)
	switch {
	case x.Reason == "public":
		x.printf("%s  %s\n", x.good("allowed, public"), line)
	case x.Allowed():
		x.printf("%s  %s\n", x.good("allowed"), line)
	case x.Responds():
		x.printf("%s  %s\n  %s\n", x.warn(fmt.Sprintf("response %d", x.Status)), line, "an endpoint of the gate itself: no activity is looked at")
	default:
		x.printf("%s  %s\n", x.bad(fmt.Sprintf("denied %d %s", x.Status, x.Reason)), line)
		x.printf("  %s\n", refusalText(x.Outcome))
	}
	raw, _, _ := strings.Cut(x.Call.Target, "?")
	if x.Call.Path != "" && x.Call.Path != raw {
		x.printf("  the path is read as %s\n", x.Call.Path)
	}
	x.decidedBy(x.gate)
}

// decidedBy says which configuration was taken.
func (p *printer) decidedBy(g *openGate) {
	if g.Name != "" {
		p.printf("  %s\n", p.dim("by "+g.Name))
	}
}

// refusalText says in one line why a call is denied. What a single activity
// lacks stands with the activity; what the gate itself refuses is said in full.
func refusalText(o *offline.Outcome) string {
	switch {
	case !o.ByTable():
		return o.Cause.Error()
	case errors.Is(o.Cause, core.ErrMissing):
		return "the call needs a credential"
	case len(o.Table.Matched) > 0:
		return "none of the activities below allows it"
	}
	return notCovered
}

const notCovered = "no activity covers the call, and what none covers is denied"

// effect shows what the client or the upstream receives.
func (x explanation) effect() {
	if !x.Allowed() {
		x.printf("\nThe client receives %d %s with\n", x.Status, http.StatusText(x.Status))
		x.headers(x.Header)
		return
	}
	x.printf("\nThe upstream receives the request\n")
	if len(x.Strip)+len(x.Set)+len(x.Groups) == 0 {
		x.printf("  as it is\n")
	}
	if len(x.Strip) > 0 {
		x.printf("  without %s\n", strings.Join(x.Strip, ", "))
	}
	if len(x.Set) > 0 {
		x.printf("  with\n")
		x.headers(x.Set)
	}
	if x.Groups != nil {
		x.printf("  and Kong's plugins the groups %s\n", strings.Join(x.Groups, ", "))
	}
	if len(x.ResponseHeader) > 0 {
		x.printf("\nThe client receives its response with\n")
		x.headers(x.ResponseHeader)
	}
}

func (x explanation) headers(list []core.Header) {
	for _, h := range list {
		x.printf("    %s: %s\n", h.Name, h.Value)
	}
}

func (x explanation) activity(f *inspect.Finding) {
	x.printf("\n%s  %s\n", x.name(f.Owner()), x.dim(place(f.Place)))
	x.printf("  %s\n", describe(&f.OwnedActivity))
	if !f.Decides {
		x.printf("  %s\n", x.dim("has no say: "+x.overruled(f)))
		return
	}
	var rows [][]cell
	if f.Section == permission.InPermission {
		rows = append(rows, x.grant(f)...)
	}
	if f.Section == permission.InAuthenticated {
		rows = append(rows, x.row(x.Caller != nil, "credential", "any that is valid", ""))
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
func (x explanation) overruled(f *inspect.Finding) string {
	strictest := permission.InAuthenticated
	for _, m := range x.Table.Matched {
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

func (x explanation) grant(f *inspect.Finding) [][]cell {
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
	if x.Caller == nil {
		return "no credential"
	}
	switch c.Name {
	case "aal":
		if x.Caller.AAL == "" {
			return "the claims have no aal or acr"
		}
		return "the caller has " + x.Caller.AAL
	case "max_age":
		if x.Caller.AuthenticatedAt.IsZero() {
			return "the claims have no auth_time"
		}
		return "auth_time is " + x.Caller.AuthenticatedAt.UTC().Format("2006-01-02 15:04:05") + " UTC"
	case "credentials":
		return "the credential is of kind " + string(x.Caller.Kind)
	case "all_scopes", "any_scope":
		if len(x.Caller.Scopes) == 0 {
			return "the caller has no scope"
		}
		return "the caller has " + listing(x.Caller.Scopes, "and")
	}
	if strings.Contains(c.Err.Error(), " is false") {
		return "is false"
	}
	return "cannot be decided"
}

// uncovered looks for what the reader may have meant.
func uncovered(p *printer, t *inspect.Inspector, call *core.Call) {
	var methods, hosts []string
	for _, r := range t.Activities() {
		methods = append(methods, r.Methods...)
		hosts = append(hosts, r.Hosts...)
	}
	try := func(of []string, change func(r *core.Request, to string)) []string {
		slices.Sort(of)
		return slices.DeleteFunc(slices.Compact(of), func(to string) bool {
			r := *call.Request
			change(&r, to)
			return t.Match(context.Background(), &core.Call{Request: &r, Path: call.Path}) == nil
		})
	}
	if methods = try(methods, func(r *core.Request, to string) { r.Method = to }); len(methods) > 0 {
		p.printf("\nThe path is covered for %s.\n", listing(methods, "and"))
	}
	if hosts = try(hosts, func(r *core.Request, to string) { r.Host = strings.Replace(to, "*", "x", 1) }); len(hosts) > 0 {
		p.printf("\nThe call is covered on %s; name the host with --host.\n", listing(hosts, "and"))
	}
}

// enough says what would have opened the call, activity by activity. Where the
// gate itself refuses the request, nothing would.
func (x explanation) enough() {
	var lacking *core.InsufficientScope
	if !x.ByTable() && !errors.As(x.Cause, &lacking) {
		return
	}
	scopes := x.gate.scopesLacking(x.Caller)
	x.printf("\nEnough would be:\n")
	for i := range x.Table.Matched {
		f := &x.Table.Matched[i]
		if !f.Decides {
			continue
		}
		need := ways(f)
		if len(scopes) > 0 {
			need = append(need, scopesRequiredText(scopes))
		}
		x.printf("  %s\n", strings.Join(need, "; "))
	}
}

// scopesLacking are those of scopes_required that a caller does not have.
func (g *openGate) scopesLacking(p *core.Principal) []string {
	if p == nil {
		return g.ScopesRequired()
	}
	return slices.DeleteFunc(slices.Clone(g.ScopesRequired()), func(s string) bool { return slices.Contains(p.Scopes, s) })
}

func scopesRequiredText(scopes []string) string {
	return "the scope " + listing(scopes, "and") + ", by scopes_required"
}

// ways lists what an activity still wants.
func ways(f *inspect.Finding) []string {
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
func describe(r *permission.OwnedActivity) string {
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
	Config     string         `json:"config,omitempty"`
	Allowed    bool           `json:"allowed"`
	Public     bool           `json:"public"`
	Status     int            `json:"status,omitempty"`
	Reason     string         `json:"reason,omitempty"`
	Refusal    string         `json:"refusal,omitempty"`
	Response   []headerJSON   `json:"response_headers,omitempty"`
	Strip      []string       `json:"strip_headers,omitempty"`
	Set        []headerJSON   `json:"upstream_headers,omitempty"`
	Groups     []string       `json:"groups,omitempty"`
	Notes      []string       `json:"notes,omitempty"`
	Activities []activityJSON `json:"activities"`
}

type headerJSON struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func headersForJSON(list []core.Header) []headerJSON {
	var out []headerJSON
	for _, h := range list {
		out = append(out, headerJSON(h))
	}
	return out
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
	Permission string   `json:"permission,omitempty"`
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

func ruleForJSON(r *permission.OwnedActivity) ruleJSON {
	out := ruleJSON{
		File: r.Place.File, Line: r.Place.Line, Column: r.Place.Column,
		Section: r.Section.String(), Permission: r.Permission,
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

func explained(g *openGate, o *offline.Outcome, notes []string) explainedJSON {
	out := explainedJSON{
		Method: o.Call.Method, Target: o.Call.Target, Path: o.Call.Path, Config: g.Name,
		Allowed: o.Allowed(), Public: o.Table != nil && o.Table.Public, Notes: notes, Activities: []activityJSON{},
	}
	if !o.Allowed() {
		out.Status, out.Reason = o.Status, o.Reason
	}
	if o.Cause != nil {
		out.Refusal = o.Cause.Error()
	}
	if g.Name != "" {
		out.Response, out.Strip, out.Set, out.Groups = headersForJSON(slices.Concat(o.Header, o.ResponseHeader)), o.Strip, headersForJSON(o.Set), o.Groups
	}
	if o.Table == nil {
		return out
	}
	for i := range o.Table.Matched {
		out.Activities = append(out.Activities, findingForJSON(&o.Table.Matched[i]))
	}
	return out
}

func findingForJSON(f *inspect.Finding) activityJSON {
	a := activityJSON{ruleJSON: ruleForJSON(&f.OwnedActivity), Decides: f.Decides, Allows: f.Allows, Holds: f.Holds, Grants: f.Grants}
	if f.Section == permission.InPermission {
		a.Enough = &enoughJSON{f.Enough.Permission, f.Enough.Roles, f.Enough.Scopes}
	}
	for _, c := range f.Checks {
		a.Checks = append(a.Checks, checkForJSON(c))
	}
	return a
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
