package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/report"
	"gatehouse/internal/offline"
)

type whoCanOptions struct {
	callFlags
	caller callerFlags
}

func whoCanCommand() *cobra.Command {
	var o whoCanOptions
	c := &cobra.Command{
		Use:   "who-can [flags] METHOD PATH",
		Short: "List who may make a call",
		Long: `List everybody who may make a call: the roles, scopes and permissions that open
it, and what the call requires beside them. The exit status is 1 when nobody may.

With --config, the gate is that of a configuration: what it refuses whoever calls
is refused, scopes_required counts, and what no credential can state is left out.
The flags that describe a caller say what everybody has beside.

PATH is a raw request target, which is read exactly as a gate reads it.`,
		Example: `  gatehouse who-can GET /users/7
  gatehouse who-can --config gatehouse.yaml GET /users/7
  gatehouse who-can --table base.yaml --table orders.yaml POST /orders/7/cancel`,
		Args:              methodAndPath,
		ValidArgsFunction: completeMethod,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0], args[1]) },
	}
	o.register(c)
	o.caller.registerCredential(c)
	o.caller.complete(c, &o.gate.table)
	return c
}

func (o *whoCanOptions) run(cmd *cobra.Command, method, target string) error {
	g, r, err := o.open(cmd, method, target)
	if err != nil {
		return err
	}
	caller, err := o.caller.caller(cmd)
	if err != nil {
		return err
	}
	w := whoCan{gate: g, call: g.Call(r), refusal: g.Inadmissible(cmd.Context(), r)}
	if w.refusal == nil {
		if err := w.find(cmd.Context(), caller); err != nil {
			return o.caller.located(err)
		}
	}
	if o.output.json() {
		err = printJSON(cmd.OutOrStdout(), w.forJSON())
	} else {
		w.print(o.output.printer(cmd))
	}
	if err == nil && len(w.open) == 0 {
		err = errNo
	}
	return err
}

// whoCan is who may make a call.
type whoCan struct {
	gate *openGate
	call *core.Call
	// refusal is why nobody may.
	refusal error
	// covered reports whether an activity covers the call.
	covered bool
	open    []openActivity
}

// openActivity is an activity that somebody may use.
type openActivity struct {
	inspect.Finding
	// Enough are the names that open it.
	Enough permission.Grantors
	// scopes of scopes_required are needed beside.
	scopes []string
}

// find asks the gate about everybody who could use a deciding activity.
func (w *whoCan) find(ctx context.Context, caller *offline.Caller) error {
	p, err := w.gate.Principal(caller)
	if err != nil {
		return err
	}
	e := w.gate.Inspector.Explain(w.call, &core.Principal{})
	w.refusal, w.covered = e.Refusal, len(e.Matched) > 0
	for i := range e.Matched {
		f := &e.Matched[i]
		if !f.Decides {
			continue
		}
		one := openActivity{Finding: *f}
		if f.Section != permission.InPublic {
			one.scopes = w.gate.scopesLacking(p)
		}
		base := caller.With(nil, one.scopes, nil)
		refused, err := w.gate.grantors(ctx, w.call.Request, &one, base)
		switch {
		case err != nil:
			return err
		case refused != nil:
			w.refusal = refused
			continue
		}
		w.open = append(w.open, one)
	}
	return nil
}

// grantors keeps of those who open an activity the ones whom the gate lets
// through. It returns why there are none.
func (g *openGate) grantors(ctx context.Context, r *core.Request, one *openActivity, base *offline.Caller) (refused, err error) {
	if one.Section != permission.InPermission {
		if one.Section == permission.InPublic {
			base = &offline.Caller{Anonymous: true}
		}
		return g.Opens(ctx, r, &one.OwnedActivity, base)
	}
	cannot := g.CannotState(base.Kind, base.Issuer)
	refused = fmt.Errorf("%w: no credential that the gate accepts states %s", core.ErrForbidden, listing(cannot, "or"))
	keep := func(what string, names []string, with func(name string) *offline.Caller) (kept []string) {
		for _, name := range names {
			if err != nil || slices.Contains(cannot, what) {
				continue
			}
			var why error
			if why, err = g.Opens(ctx, r, &one.OwnedActivity, with(name)); why == nil {
				kept = append(kept, name)
			} else {
				refused = why
			}
		}
		return kept
	}
	all := one.Finding.Enough
	one.Enough.Roles = keep("roles", all.Roles, func(name string) *offline.Caller { return base.With([]string{name}, nil, nil) })
	one.Enough.Scopes = keep("scopes", all.Scopes, func(name string) *offline.Caller { return base.With(nil, []string{name}, nil) })
	if len(keep("permissions", []string{all.Permission}, func(name string) *offline.Caller { return base.With(nil, nil, []string{name}) })) > 0 {
		one.Enough.Permission = all.Permission
	}
	if len(one.Enough.Roles)+len(one.Enough.Scopes) > 0 || one.Enough.Permission != "" {
		refused = nil
	}
	return refused, err
}

func (w *whoCan) print(p *printer) {
	line := p.bold(w.call.Method + " " + w.call.Target)
	if len(w.open) == 0 {
		text := w.refusal.Error()
		covered := w.covered || w.call.Path == "" || !errors.Is(w.refusal, core.ErrForbidden)
		if !covered {
			text = notCovered
		}
		p.printf("%s  %s\n  %s\n", p.bad("nobody"), line, text)
		p.decidedBy(w.gate)
		if !covered {
			uncovered(p, w.gate.Inspector, w.call)
		}
		p.notes(w.gate.Notes)
		return
	}
	p.printf("%s\n", line)
	p.decidedBy(w.gate)
	for i := range w.open {
		one := &w.open[i]
		p.printf("\n%s  %s\n  %s\n", p.name(one.Owner()), p.dim(place(one.Place)), describe(&one.OwnedActivity))
		p.rows("  ", openers(one))
	}
	p.notes(w.gate.Notes)
}

// openers lists what opens an activity, a row for each kind.
func openers(f *openActivity) [][]cell {
	var rows [][]cell
	row := func(what string, names ...string) {
		if len(names) > 0 {
			rows = append(rows, []cell{dim(what), plain(strings.Join(names, ", "))})
		}
	}
	switch f.Section {
	case permission.InPublic:
		row("who", "anybody")
	case permission.InAuthenticated:
		row("who", "any valid credential")
	default:
		row("role", f.Enough.Roles...)
		row("scope", f.Enough.Scopes...)
		if f.Enough.Permission != "" {
			row("permission", f.Enough.Permission)
		}
	}
	if need := f.requires(); need != "" {
		row("requires", need)
	}
	return rows
}

// requires says what an activity wants of those whom it is granted to.
func (f *openActivity) requires() string {
	need := requirements(&f.Require)
	if len(f.scopes) == 0 {
		return need
	}
	return strings.TrimSuffix(scopesRequiredText(f.scopes)+"; "+need, "; ")
}

type whoCanJSON struct {
	Method     string          `json:"method"`
	Target     string          `json:"target"`
	Path       string          `json:"path,omitempty"`
	Config     string          `json:"config,omitempty"`
	Refusal    string          `json:"refusal,omitempty"`
	Activities []openedForJSON `json:"activities"`
}

type openedForJSON struct {
	ruleJSON
	// Who is anybody, any valid credential, or a holder of one of the names.
	Who   string      `json:"who"`
	Names *enoughJSON `json:"names,omitempty"`
	// ScopesRequired are needed beside, by the configuration.
	ScopesRequired []string `json:"scopes_required,omitempty"`
}

func (w *whoCan) forJSON() whoCanJSON {
	out := whoCanJSON{Method: w.call.Method, Target: w.call.Target, Path: w.call.Path, Config: w.gate.Name, Activities: []openedForJSON{}}
	if len(w.open) == 0 {
		out.Refusal = w.refusal.Error()
	}
	for i := range w.open {
		one := &w.open[i]
		opened := openedForJSON{ruleJSON: ruleForJSON(&one.OwnedActivity), Who: whoOpens(one.Section), ScopesRequired: one.scopes}
		if one.Section == permission.InPermission {
			opened.Names = &enoughJSON{one.Enough.Permission, one.Enough.Roles, one.Enough.Scopes}
		}
		out.Activities = append(out.Activities, opened)
	}
	return out
}

func whoOpens(s permission.Section) string {
	switch s {
	case permission.InPublic:
		return "anybody"
	case permission.InAuthenticated:
		return "any_credential"
	}
	return "holders"
}

// --- the other way round

type whatCanOptions struct {
	gate    gateFlags
	request requestFlags
	caller  callerFlags
	output  outputFlags
}

func whatCanCommand() *cobra.Command {
	var o whatCanOptions
	c := &cobra.Command{
		Use:   "what-can [flags]",
		Short: "List what a caller may do",
		Long: `List every activity that is open to a caller, by what, and what it requires
beside. Where a stricter part of the table takes calls from an activity, an
example of such a call is shown. The exit status is 1 when nothing is open.

With --config, the gate is that of a configuration: an activity is open if the
gate lets the caller through with a request that it covers.`,
		Example: `  gatehouse what-can --role clerk
  gatehouse what-can --scope orders:read --scope users:read
  gatehouse what-can --config gatehouse.yaml --claims token.json
  gatehouse what-can --anonymous`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.gate.register(c)
	o.caller.register(c)
	o.caller.complete(c, &o.gate.table)
	o.request.register(c)
	o.output.register(c)
	return c
}

func (o *whatCanOptions) run(cmd *cobra.Command) error {
	g, err := o.gate.open(cmd)
	if err != nil {
		return err
	}
	caller, err := o.caller.caller(cmd)
	if err != nil {
		return err
	}
	if unknown := g.unknownNames(&o.caller); unknown != "" {
		return errors.New(unknown)
	}
	rows, err := newActivities(g, &o.request)
	if err != nil {
		return err
	}
	open, refused, err := rows.openTo(cmd.Context(), caller)
	if err != nil {
		return o.caller.located(err)
	}
	notes := append(refused.notes(), g.Notes...)
	if why := g.Refusal(caller); why != nil {
		notes = append(notes, why.Error())
	}
	p, err := g.Principal(caller)
	if err != nil {
		return o.caller.located(err)
	}
	notes = append(notes, g.withoutEffect(p, &o.caller)...)
	if o.output.json() {
		err = printJSON(cmd.OutOrStdout(), whatCanForJSON(open))
	} else {
		p := o.output.printer(cmd)
		printOpen(p, open)
		p.notes(notes)
	}
	if err == nil && len(open) == 0 {
		err = errNo
	}
	return err
}

// unknownNames finds names that neither the table nor scopes_required defines,
// which would otherwise silently grant nothing.
func (g *openGate) unknownNames(f *callerFlags) string {
	permissions, roles, scopes := g.Names()
	scopes = append(scopes, g.ScopesRequired()...)
	for _, list := range []struct {
		kind         string
		given, known []string
	}{{"role", f.roles, roles}, {"scope", f.scopes, scopes}, {"permission", f.permissions, permissions}} {
		for _, name := range list.given {
			if !slices.Contains(list.known, name) {
				return "the table has no " + list.kind + " " + name + report.DidYouMean(name, list.known)
			}
		}
	}
	return ""
}

// openRule is an activity that is open to a caller.
type openRule struct {
	permission.OwnedActivity
	Grants []string
	// Except are activities that take calls from this one and that the caller
	// may not perform.
	Except []analysis.Guard
}

// activities are those of a gate, each with a request that it covers.
type activities struct {
	gate     *openGate
	request  *requestFlags
	rules    []permission.OwnedActivity
	examples []analysis.Example
	guards   [][]analysis.Guard
}

func newActivities(g *openGate, request *requestFlags) (*activities, error) {
	a := &activities{gate: g, request: request, rules: g.Activities()}
	var err error
	if a.examples, err = analysis.Examples(a.rules, g.Path()); err != nil {
		return nil, err
	}
	a.guards, err = analysis.Guards(a.rules)
	return a, err
}

// errUnreachable is why an activity is open to nobody at a gate.
var errUnreachable = errors.New("a gate with these path options refuses every path that it covers")

// refuses returns why the gate does not let a caller use an activity, its
// requirements aside, or nil. An activity whose regex is too large for an example
// is decided with the root path.
func (a *activities) refuses(ctx context.Context, i int, c *offline.Caller) (refused, err error) {
	example := a.examples[i]
	switch {
	case example.TooLarge:
		example.Call = analysis.Call{Method: "GET", Path: "/"}
	case !example.Found:
		return errUnreachable, nil
	}
	r, err := a.request.request(example.Method, example.Target())
	if err != nil {
		return nil, err
	}
	if example.Host != "" {
		r.Host = example.Host
	}
	return a.gate.Opens(ctx, r, &a.rules[i], c)
}

// refusals count the activities that the table opens and the gate does not, by
// the reason.
type refusals map[string]int

func (r refusals) notes() []string {
	var notes []string
	for _, why := range slices.Sorted(maps.Keys(r)) {
		notes = append(notes, plural(r[why], "further activity is", "further activities are")+" not open, because of the gate: "+why)
	}
	return notes
}

func (a *activities) openTo(ctx context.Context, caller *offline.Caller) ([]openRule, refusals, error) {
	p, err := a.gate.Principal(caller)
	if err != nil {
		return nil, nil, err
	}
	var open []openRule
	refused := refusals{}
	for i, r := range a.rules {
		grants, ok := a.gate.GrantsOf(p, &r)
		if !ok {
			continue
		}
		switch why, err := a.refuses(ctx, i, caller); {
		case err != nil:
			return nil, nil, err
		case why != nil:
			refused[why.Error()]++
			continue
		}
		o := openRule{OwnedActivity: r, Grants: grants}
		for _, g := range a.guards[i] {
			if _, also := a.gate.GrantsOf(p, &g.OwnedActivity); !also || requirements(&g.Require) != "" {
				o.Except = append(o.Except, g)
			}
		}
		open = append(open, o)
	}
	return open, refused, nil
}

func printOpen(p *printer, open []openRule) {
	if len(open) == 0 {
		p.printf("%s\n", p.bad("nothing"))
	}
	owner := ""
	for i := range open {
		o := &open[i]
		if title := o.Owner() + strings.Join(o.Grants, ""); title != owner || i == 0 {
			owner = title
			if i > 0 {
				p.printf("\n")
			}
			p.rows("", [][]cell{{{o.Owner(), "36"}, dim(strings.Join(byEach(o.Grants), ", "))}})
		}
		p.printf("  %s  %s\n", describe(&o.OwnedActivity), p.dim(place(o.Place)))
		if need := requirements(&o.Require); need != "" {
			p.printf("    requires %s\n", need)
		}
		if len(o.Except) > 0 {
			p.printf("    except %s\n", exception(o.Except))
		}
	}
}

func byEach(grants []string) []string {
	ways := make([]string, len(grants))
	for i, g := range grants {
		ways[i] = "by " + g
	}
	return ways
}

// exception names who takes calls from an activity, with a call.
func exception(guards []analysis.Guard) string {
	var owners []string
	for i := range guards {
		if owner := guards[i].Owner(); !slices.Contains(owners, owner) {
			owners = append(owners, owner)
		}
	}
	return "calls that " + listing(owners, "and") + " guards, such as " + guards[0].Shared.String()
}

type openJSON struct {
	ruleJSON
	Grants []string     `json:"grants,omitempty"`
	Except []exceptJSON `json:"except,omitempty"`
}

type exceptJSON struct {
	Owner   string       `json:"owner"`
	Witness *witnessJSON `json:"witness"`
}

func whatCanForJSON(open []openRule) []openJSON {
	out := []openJSON{}
	for i := range open {
		o := openJSON{ruleJSON: ruleForJSON(&open[i].OwnedActivity), Grants: open[i].Grants}
		for _, g := range open[i].Except {
			o.Except = append(o.Except, exceptJSON{g.Owner(), witnessForJSON(&g.Shared)})
		}
		out = append(out, o)
	}
	return out
}
