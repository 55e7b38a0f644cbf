// Package decide has the commands that decide requests: explain, who-can, what-can
// and test.
package decide

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/permission"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/mcp"
	"gatehouse/internal/cli/gates"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

type explainCommandOptions struct {
	gates.CallFlags
	ask    bool
	answer terminal.Choice
}

// ExplainCommand is gatehouse explain.
func ExplainCommand() *cobra.Command {
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
and the claims say, and nothing else.

Where an activity asks a decision point (require: ask), nobody is asked: the
question is shown. --answer says what the answer is, and --ask asks the decision
point of the configuration.`,
		Example: `  gatehouse explain --role clerk GET /users/7
  gatehouse explain --anonymous GET /healthz
  gatehouse explain --config gatehouse.yaml --claims token.json GET /users/7
  gatehouse explain --config kong.yml --route users --anonymous -H 'Accept: text/html' GET /users/7
  gatehouse explain -t base.yaml -t orders.yaml --claims token.json \
      -H 'X-Tenant: acme' POST /orders/7/cancel`,
	}
	gates.ForCall(c, o.run)
	o.Register(c)
	o.Caller.RegisterAnonymous(c)
	c.Flags().BoolVar(&o.ask, "ask", false, "ask the decision point of the configuration")
	o.answer = terminal.Choice{Of: []string{"yes", "no"}}
	o.answer.Register(c, "answer", "", "`answer` of the decision point to every question: yes or no")
	c.MarkFlagsMutuallyExclusive("ask", "answer")
	return c
}

// deciding has questions answered as the flags say.
func (o *explainCommandOptions) deciding(ctx context.Context, g *gates.Gate) (context.Context, error) {
	switch {
	case o.answer.Value != "":
		return ask.WithStated(ctx, ask.Always(o.answer.Value == "yes")), nil
	case !o.ask:
		return ctx, nil
	}
	d, err := g.Decider()
	if err != nil {
		return ctx, fmt.Errorf("--ask: %w; name a configuration that has one with --config", err)
	}
	return ask.WithStated(ctx, d), nil
}

func (o *explainCommandOptions) run(cmd *cobra.Command, method, target string) error {
	g, caller, err := o.Open(cmd)
	if err != nil {
		return err
	}
	r, err := o.Request.Request(method, target)
	if err != nil {
		return err
	}
	ctx, err := o.deciding(cmd.Context(), g)
	if err != nil {
		return err
	}
	d, err := g.Decide(ctx, r, caller)
	if err != nil {
		return o.Caller.Located(err)
	}
	notes := notesOn(g, d, &o.Caller)
	if o.Output.JSON() {
		err = terminal.PrintJSON(cmd.OutOrStdout(), explained(g, d, notes))
	} else {
		x := Explanation{o.Output.Printer(cmd), g, d}
		x.print()
		x.Notes(notes)
	}
	if err == nil && !d.Allowed() && (!d.Responds() || d.Status >= 400) {
		err = terminal.ErrNo
	}
	return err
}

// notesOn is what a reader of a decision may overlook.
func notesOn(g *gates.Gate, d *offline.Outcome, f *gates.CallerFlags) []string {
	notes := slices.Clone(g.Notes)
	if unknown := g.UnknownNames(f); unknown != "" {
		notes = append(notes, unknown)
	}
	if len(d.Assumed) > 0 {
		notes = append(notes, "the claims have no "+terminal.Listing(d.Assumed, "and")+", which every credential that the gate accepts has; a good value is assumed")
	}
	if g.Name == "" && d.Caller != nil && d.Caller.Kind != core.KindSPIFFE && d.Caller.Claims != nil && len(d.Caller.Roles) == 0 {
		notes = append(notes, "the claims have no roles where a gate looks by default, in roles or ext.roles; --config looks where the configuration says")
	}
	return append(notes, g.WithoutEffect(d.Caller, f)...)
}

// Explanation prints a decision as text.
type Explanation struct {
	*terminal.Printer
	gate *gates.Gate
	*offline.Outcome
}

func (x Explanation) print() {
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
		uncovered(x.Printer, x.gate.Inspector, x.Call)
	case !x.Allowed() && !isVariant(x.Table) && x.Asks() == nil:
		x.enough()
	}
	if x.gate.Name != "" && x.Asks() == nil {
		x.Effect()
	}
}

func (x Explanation) verdict() {
	line := x.Bold(x.Call.Method + " " + mcp.Shown(x.Call.Request))
	switch {
	case x.Reason == "public":
		x.Printf("%s  %s\n", x.Good("allowed, public"), line)
	case x.Allowed() && x.Caller == nil:
		x.Printf("%s  %s\n", x.Good("allowed, anonymous"), line)
		if x.Cause != nil {
			x.Printf("  the credential is ignored: %v\n", x.Cause)
		}
	case x.Allowed():
		x.Printf("%s  %s\n", x.Good("allowed"), line)
	case x.Responds() && x.Status == 0:
		x.Printf("%s  %s\n  %s\n", x.Warn("endpoint"), line, "an endpoint of the gate itself: no activity is looked at, and no tool can tell what it responds")
	case x.Responds():
		x.Printf("%s  %s\n  %s\n", x.Warn(fmt.Sprintf("response %d", x.Status)), line, "an endpoint of the gate itself: no activity is looked at")
	case x.Asks() != nil:
		x.Printf("%s  %s\n  %s\n", x.Warn("asks"), line, "the decision point decides; it would be asked:")
		for _, q := range x.Asks() {
			x.Printf("    %s\n", ask.Key(q))
		}
	default:
		x.Printf("%s  %s\n", x.Bad(fmt.Sprintf("denied %d %s", x.Status, x.Reason)), line)
		x.Printf("  %s\n", refusalText(x.Outcome))
	}
	raw, _, _ := strings.Cut(x.Call.Target, "?")
	x.actors()
	if x.Call.Path != "" && x.Call.Path != raw {
		x.Printf("  the path is read as %s\n", x.Call.Path)
	}
	x.gate.DecidedBy(x.Printer)
}

// actors says to whom the credential of the caller is delegated.
func (x Explanation) actors() {
	if x.Caller == nil {
		return
	}
	for i, a := range x.Caller.Actor.Chain() {
		if i == 0 {
			x.Printf("  the credential is delegated to the actor %s\n", a)
		} else {
			x.Printf("    and before to %s\n", a)
		}
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
	case isVariant(o.Table):
		return variantText(o.Table)
	case unnamed(o.Table) != nil:
		return "the table does not name the actor " + unnamed(o.Table).String() + ", and such an actor may do nothing; add it under actors, with the permissions that it may use"
	case unanswered(o):
		return "the decision point gave no answer: " + o.Cause.Error()
	case len(o.Table.Matched) > 0:
		return "none of the activities below allows it"
	}
	return notCovered
}

// unanswered reports whether a decision point was asked in vain. No grant would have opened
// the call.
func unanswered(o *offline.Outcome) bool {
	return o.ByTable() && o.Status == http.StatusServiceUnavailable
}

// isVariant reports whether the table refuses a call as a variant of a guarded one.
func isVariant(e *inspect.Explanation) bool {
	decides := func(f inspect.Finding) bool { return f.Decides }
	return len(e.VariantOf) > 0 && len(e.Matched) > 0 && !slices.ContainsFunc(e.Matched, decides)
}

// unnamed is an actor whom the table does not name: then none of the deciding activities is
// for it, whatever it asks for.
func unnamed(e *inspect.Explanation) *core.Actor {
	for i := range e.Matched {
		if f := &e.Matched[i]; f.Decides && f.Unnamed {
			return f.Actor
		}
	}
	return nil
}

func variantText(e *inspect.Explanation) string {
	guard := &e.VariantOf[0]
	return fmt.Sprintf("path_variants refuses the path: an upstream may take it for one of %s: %s  (%s)", guard.Owner(), tables.Describe(guard), tables.Place(guard.Place))
}

const notCovered = "no activity covers the call, and what none covers is denied"

// Effect shows what the client or the upstream receives.
func (x Explanation) Effect() {
	if x.Responds() && x.Status == 0 {
		return
	}
	if !x.Allowed() {
		x.Printf("\nThe client receives %d %s with\n", x.Status, http.StatusText(x.Status))
		x.headers(x.Header)
		return
	}
	x.Printf("\nThe upstream receives the request\n")
	if len(x.Strip)+len(x.Set)+len(x.Groups) == 0 {
		x.Printf("  as it is\n")
	}
	if len(x.Strip) > 0 {
		x.Printf("  without %s\n", strings.Join(x.Strip, ", "))
	}
	if len(x.Set) > 0 {
		x.Printf("  with\n")
		x.headers(x.Set)
	}
	if x.Groups != nil {
		x.Printf("  and Kong's plugins the groups %s\n", strings.Join(x.Groups, ", "))
	}
	if len(x.ResponseHeader) > 0 {
		x.Printf("\nThe client receives its response with\n")
		x.headers(x.ResponseHeader)
	}
}

func (x Explanation) headers(list []core.Header) {
	for _, h := range list {
		x.Printf("    %s: %s\n", h.Name, h.Value)
	}
}

func (x Explanation) activity(f *inspect.Finding) {
	x.Printf("\n%s  %s\n", x.Name(f.Owner()), x.Dim(tables.Place(f.Place)))
	x.Printf("  %s\n", tables.Describe(&f.OwnedActivity))
	if !f.Decides {
		x.Printf("  %s\n", x.Dim("has no say: "+x.overruled(f)))
		return
	}
	var rows [][]terminal.Cell
	if f.Section == permission.InPermission {
		rows = append(rows, x.grant(f)...)
	}
	if f.Actor != nil {
		rows = append(rows, x.row(false, "actor", f.Actor.String(), lacks(f)))
	}
	if f.Section == permission.InOptional {
		rows = append(rows, x.row(x.Allowed() || x.Caller != nil, "credential", "none, or one that is valid", ""))
	}
	if f.Section == permission.InAuthenticated {
		rows = append(rows, x.row(x.Caller != nil, "credential", "any that is valid", ""))
	}
	for _, c := range f.Checks {
		if c.Name != "when" {
			rows = append(rows, x.check(c))
		}
	}
	x.Rows("  ", rows)
	for _, c := range f.Checks {
		if c.Name == "when" {
			x.condition(c)
		}
	}
}

func (x Explanation) row(ok bool, what, want, note string) []terminal.Cell {
	last := terminal.Dim(note)
	if !ok {
		last.Paint = terminal.Mark(ok).Paint
	}
	return []terminal.Cell{terminal.Mark(ok), terminal.Plain(what), terminal.Plain(want), last}
}

// overruled says which part of the table took the say from an activity.
func (x Explanation) overruled(f *inspect.Finding) string {
	for i := range x.Table.VariantOf {
		if guard := &x.Table.VariantOf[i]; !f.AsStrict(guard) {
			return "the path is a variant of one of " + guard.Owner() + ", and it demands less"
		}
	}
	strictest := permission.InPublic
	for _, m := range x.Table.Matched {
		switch {
		case m.Decides && m.Override && m.Section == permission.InPublic:
			return "a public activity overrides it"
		case m.Decides && m.Override && m.Section == permission.InOptional:
			return "an optional activity overrides it"
		}
		strictest = max(strictest, m.Section)
	}
	return fmt.Sprintf("the call is also covered by a stricter section, %s", sectionTitle(strictest))
}

func sectionTitle(s permission.Section) string {
	if s == permission.InPermission {
		return "permissions"
	}
	return s.String()
}

func (x Explanation) grant(f *inspect.Finding) [][]terminal.Cell {
	if !f.Holds && (f.Actor == nil || len(f.Grants) == 0) {
		return [][]terminal.Cell{x.row(false, "permission", f.Permission, "not granted")}
	}
	rows := make([][]terminal.Cell, len(f.Grants))
	for i, way := range f.Grants {
		rows[i] = x.row(true, "permission", f.Permission, "by "+way)
	}
	return rows
}

// lacks says what an actor who may not use an activity has not.
func lacks(f *inspect.Finding) string {
	if f.Unnamed {
		return "not named under actors"
	}
	return "not granted " + f.Permission + " under actors"
}

func (x Explanation) check(c permission.Check) []terminal.Cell {
	if _, asks := errors.AsType[*ask.Needed](c.Err); asks {
		return []terminal.Cell{{Text: "?", Paint: "33"}, terminal.Plain(c.Name), terminal.Plain(c.Want), terminal.Dim("the decision point decides")}
	}
	note := ""
	if c.Err != nil {
		note = x.lack(&c)
	}
	return x.row(c.Err == nil, c.Name, c.Want, note)
}

// condition prints a condition by itself: it may be long, and what it reads
// belongs below it.
func (x Explanation) condition(c permission.Check) {
	x.Printf("  %s  when        %s\n", x.Mark(c.Err == nil), c.Want)
	if c.Err != nil {
		x.Printf("                 %s\n", x.Bad(x.lack(&c)))
	}
	for _, v := range c.Reads {
		if v.Present {
			x.Printf("                 %s\n", x.Dim(fmt.Sprintf("%s is %v", v.Name, v.Value)))
		} else {
			x.Printf("                 %s\n", x.Bad(v.Name+" is absent"))
		}
	}
}

// lack says what the caller has instead of what a requirement wants.
func (x Explanation) lack(c *permission.Check) string {
	if x.Caller == nil && (c.Name != "when" || errors.Is(c.Err, core.ErrMissing)) {
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
	case "actor":
		if x.Caller.Actor != nil {
			return "the actor is " + x.Caller.Actor.String()
		}
		return "no actor acts for the caller"
	case "proof":
		if x.Caller.Proof != "" {
			return "the caller proves it by " + string(x.Caller.Proof)
		}
		return "the credential is bound to no key"
	case "ask":
		return c.Err.Error()
	case "credentials":
		return "the credential is of kind " + string(x.Caller.Kind)
	case "all_scopes", "any_scope":
		if len(x.Caller.Scopes) == 0 {
			return "the caller has no scope"
		}
		return "the caller has " + terminal.Listing(x.Caller.Scopes, "and")
	}
	if strings.Contains(c.Err.Error(), " is false") {
		return "is false"
	}
	return "cannot be decided"
}

// uncovered looks for what the reader may have meant.
func uncovered(p *terminal.Printer, t *inspect.Inspector, call *core.Call) {
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
		p.Printf("\nThe path is covered for %s.\n", terminal.Listing(methods, "and"))
	}
	if hosts = try(hosts, func(r *core.Request, to string) { r.Host = strings.Replace(to, "*", "x", 1) }); len(hosts) > 0 {
		p.Printf("\nThe call is covered on %s; name the host with --host.\n", terminal.Listing(hosts, "and"))
	}
}

// enough says what would have opened the call, activity by activity. Where the
// gate itself refuses the request, nothing would.
func (x Explanation) enough() {
	var lacking *core.InsufficientScope
	if !x.ByTable() && !errors.As(x.Cause, &lacking) || unanswered(x.Outcome) {
		return
	}
	scopes := x.gate.ScopesLacking(x.Caller)
	x.Printf("\nEnough would be:\n")
	for i := range x.Table.Matched {
		f := &x.Table.Matched[i]
		if !f.Decides {
			continue
		}
		need := ways(f, x.Caller != nil)
		if len(scopes) > 0 {
			need = append(need, gates.ScopesRequiredText(scopes))
		}
		x.Printf("  %s\n", strings.Join(need, "; "))
	}
}

// ways lists what an activity still wants. Of one whose condition does not hold for
// a known caller, only that counts: no grant would open it.
func ways(f *inspect.Finding, known bool) []string {
	var need []string
	for _, c := range f.Checks {
		if known && c.Name == "when" && c.Err != nil {
			return []string{tables.RequirementText(c.Name, c.Want)}
		}
	}
	if !f.Holds && (f.Actor == nil || len(f.Grants) == 0) {
		need = append(need, grantorsText(f.Enough))
	}
	if f.Actor != nil && f.Section == permission.InPermission {
		need = append(need, f.Permission+" for the actor "+f.Actor.String()+" under actors")
	} else if f.Actor != nil {
		need = append(need, "the actor "+f.Actor.String()+" under actors")
	}
	if f.Section == permission.InAuthenticated && !f.Allows && len(f.Checks) == 0 && f.Actor == nil {
		need = append(need, "any valid credential")
	}
	for _, c := range f.Checks {
		if c.Err != nil {
			need = append(need, tables.RequirementText(c.Name, c.Want))
		}
	}
	return need
}

// grantorsText writes what grants a permission as a choice.
func grantorsText(g permission.Grantors) string {
	var ways []string
	if len(g.Roles) > 0 {
		ways = append(ways, "the role "+terminal.Listing(g.Roles, "or"))
	}
	if len(g.Scopes) > 0 {
		ways = append(ways, "the scope "+terminal.Listing(g.Scopes, "or"))
	}
	if len(g.Subjects) > 0 {
		ways = append(ways, "the SPIFFE ID "+terminal.Listing(g.Subjects, "or"))
	}
	return strings.Join(append(ways, "the permission "+g.Permission), ", or ")
}

// --- for programs

type explainedJSON struct {
	Method  string `json:"method"`
	Target  string `json:"target"`
	Path    string `json:"path,omitempty"`
	Config  string `json:"config,omitempty"`
	Allowed bool   `json:"allowed"`
	Public  bool   `json:"public"`
	// Anonymous: allowed without a name, although a credential is looked for. Ignored
	// says what is wrong with the one that the request has.
	Anonymous bool         `json:"anonymous,omitempty"`
	Ignored   string       `json:"ignored_credential,omitempty"`
	Status    int          `json:"status,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Refusal   string       `json:"refusal,omitempty"`
	Response  []HeaderJSON `json:"response_headers,omitempty"`
	Strip     []string     `json:"strip_headers,omitempty"`
	Set       []HeaderJSON `json:"upstream_headers,omitempty"`
	Groups    []string     `json:"groups,omitempty"`
	Notes     []string     `json:"notes,omitempty"`
	// Asks are what a decision point would be asked, on whose answers the decision depends.
	Asks []authzen.Evaluation `json:"asks,omitempty"`
	// VariantOf are the activities of whose paths the call's is a variant.
	VariantOf  []tables.ActivityJSON `json:"variant_of,omitempty"`
	Activities []activityJSON        `json:"activities"`
}

// HeaderJSON is a header for programs.
type HeaderJSON struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// HeadersForJSON are headers for programs.
func HeadersForJSON(list []core.Header) []HeaderJSON {
	var out []HeaderJSON
	for _, h := range list {
		out = append(out, HeaderJSON(h))
	}
	return out
}

type activityJSON struct {
	tables.ActivityJSON
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
	Subjects   []string `json:"subjects,omitempty"`
	// Actors are those to whom a credential with the permission may be delegated.
	Actors []string `json:"actors,omitempty"`
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

func explained(g *gates.Gate, o *offline.Outcome, notes []string) explainedJSON {
	out := explainedJSON{
		Method: o.Call.Method, Target: mcp.Shown(o.Call.Request), Path: o.Call.Path, Config: g.Name,
		Allowed: o.Allowed(), Public: o.Table != nil && o.Table.Public, Notes: notes, Activities: []activityJSON{},
	}
	switch out.Asks = o.Asks(); {
	case out.Asks != nil:
		out.Reason = "asks"
	case !o.Allowed():
		out.Status, out.Reason = o.Status, o.Reason
	}
	out.Anonymous = o.Allowed() && !out.Public && o.Caller == nil
	switch {
	case o.Cause == nil:
	case o.Allowed():
		out.Ignored = o.Cause.Error()
	default:
		out.Refusal = o.Cause.Error()
	}
	if g.Name != "" && out.Asks == nil {
		out.Response, out.Strip, out.Set, out.Groups = HeadersForJSON(slices.Concat(o.Header, o.ResponseHeader)), o.Strip, HeadersForJSON(o.Set), o.Groups
	}
	if o.Table == nil {
		return out
	}
	if len(o.Table.VariantOf) > 0 {
		out.VariantOf = tables.ActivitiesForJSON(o.Table.VariantOf)
	}
	for i := range o.Table.Matched {
		out.Activities = append(out.Activities, findingForJSON(&o.Table.Matched[i]))
	}
	return out
}

func findingForJSON(f *inspect.Finding) activityJSON {
	a := activityJSON{ActivityJSON: tables.ActivityForJSON(&f.OwnedActivity), Decides: f.Decides, Allows: f.Allows, Holds: f.Holds, Grants: f.Grants}
	if f.Section == permission.InPermission {
		a.Enough = &enoughJSON{f.Enough.Permission, f.Enough.Roles, f.Enough.Scopes, f.Enough.Subjects, f.Enough.Actors}
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
