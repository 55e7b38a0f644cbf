package decide

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/mcp"
	"gatehouse/internal/cli/gates"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

type whoCanOptions struct{ gates.CallFlags }

// WhoCanCommand is gatehouse who-can.
func WhoCanCommand() *cobra.Command {
	var o whoCanOptions
	c := &cobra.Command{
		Use:   "who-can [flags] METHOD PATH",
		Short: "List who may make a call",
		Long: `List everybody who may make a call: the roles, scopes and permissions that open
it, and what the call requires beside them. The exit status is 1 when nobody may.
Under actor are those to whom a credential that opens the call may be delegated.

With --config, the gate is that of a configuration: what it refuses whoever calls
is refused, scopes_required counts, and what no credential can state is left out.
The flags that describe a caller say what everybody has beside.

PATH is a raw request target, which is read exactly as a gate reads it.`,
		Example: `  gatehouse who-can GET /users/7
  gatehouse who-can --config gatehouse.yaml GET /users/7
  gatehouse who-can --table base.yaml --table orders.yaml POST /orders/7/cancel`,
	}
	gates.ForCall(c, o.run)
	o.Register(c)
	return c
}

func (o *whoCanOptions) run(cmd *cobra.Command, method, target string) error {
	g, caller, err := o.Open(cmd)
	if err != nil {
		return err
	}
	r, err := o.Request.Request(method, target)
	if err != nil {
		return err
	}
	w := whoCan{gate: g, call: g.Call(r), refusal: g.Inadmissible(cmd.Context(), r)}
	if w.refusal == nil {
		if err := w.find(cmd.Context(), caller); err != nil {
			return o.Caller.Located(err)
		}
	}
	if o.Output.JSON() {
		err = terminal.PrintJSON(cmd.OutOrStdout(), w.forJSON())
	} else {
		w.print(o.Output.Printer(cmd))
	}
	if err == nil && len(w.open) == 0 {
		err = terminal.ErrNo
	}
	return err
}

// whoCan is who may make a call.
type whoCan struct {
	gate *gates.Gate
	call *core.Call
	// refusal is why the gate lets no caller make it.
	refusal error
	// covered reports whether an activity covers the call.
	covered bool
	// variant says of which activity's paths the call's is a variant, where the
	// table refuses it for that.
	variant string
	open    []openActivity
}

// openActivity is an activity that some callers may use.
type openActivity struct {
	inspect.Finding
	// Who is anybody, any_credential or holders; of those, Enough are the names that
	// open it.
	Who    string
	Enough permission.Grantors
	// scopes of scopes_required are needed beside.
	scopes []string
}

// find has the gate decide for every caller whom a deciding activity may be
// granted to.
func (w *whoCan) find(ctx context.Context, caller *offline.Caller) error {
	p, err := w.gate.Principal(caller)
	if err != nil {
		return err
	}
	e := w.gate.Inspector.Explain(ctx, w.call, &core.Principal{})
	w.refusal, w.covered = e.Refusal, len(e.Matched) > 0
	if isVariant(e) {
		w.variant = variantText(e)
	}
	for i := range e.Matched {
		f := &e.Matched[i]
		if !f.Decides {
			continue
		}
		one := openActivity{Finding: *f, Who: whoOpens(&f.OwnedActivity)}
		if f.Section != permission.InPublic {
			one.scopes = w.gate.ScopesLacking(p)
		}
		base := caller.With(nil, one.scopes, nil)
		refused, err := grantors(ctx, w.gate, w.call.Request, &one, base)
		switch {
		case err != nil:
			return err
		case refused != nil:
			w.refusal = refused
			continue
		}
		if err := actors(ctx, w.gate, w.call.Request, &one, base); err != nil {
			return err
		}
		w.open = append(w.open, one)
	}
	return nil
}

// actors keeps those to whom a credential may be delegated that opens an activity.
func actors(ctx context.Context, g *gates.Gate, r *core.Request, one *openActivity, base *offline.Caller) error {
	one.Enough.Actors = nil
	if one.Section == permission.InPublic || base.Actor != nil {
		return nil
	}
	for pattern, p := range g.Actors() {
		why, err := g.Admits(ctx, r, &one.OwnedActivity, base.By(p))
		if err != nil {
			return err
		}
		if why == nil {
			one.Enough.Actors = append(one.Enough.Actors, pattern)
		}
	}
	return nil
}

// grantors keeps of those who open an activity the ones whom the gate lets
// through. It returns why there are none.
func grantors(ctx context.Context, g *gates.Gate, r *core.Request, one *openActivity, base *offline.Caller) (refused, err error) {
	base = acting(g, one, base)
	if one.Who != "holders" {
		if one.Who == "anybody" {
			base = &offline.Caller{Anonymous: true}
		}
		return g.Admits(ctx, r, &one.OwnedActivity, base)
	}
	cannot := g.CannotState(base.Kind, base.Issuer)
	if len(cannot) > 0 {
		refused = fmt.Errorf("%w: no credential that the gate accepts states %s", core.ErrForbidden, terminal.Listing(cannot, "or"))
	}
	keep := func(names []string, with func(name string) *offline.Caller) (kept []string) {
		for _, name := range names {
			why, failed := g.Admits(ctx, r, &one.OwnedActivity, with(name))
			switch {
			case failed != nil:
				err = failed
			case why == nil:
				kept = append(kept, name)
			case refused == nil || !errors.Is(why, offline.ErrNotGranted):
				refused = why
			}
		}
		return kept
	}
	all := one.Finding.Enough
	one.Enough.Roles = keep(all.Roles, func(name string) *offline.Caller { return base.With([]string{name}, nil, nil) })
	one.Enough.Scopes = keep(all.Scopes, func(name string) *offline.Caller { return base.With(nil, []string{name}, nil) })
	for pattern, p := range g.Workloads() {
		if slices.Contains(all.Subjects, pattern) {
			one.Enough.Subjects = append(one.Enough.Subjects, keep([]string{pattern}, func(string) *offline.Caller { return base.As(p) })...)
		}
	}
	if len(keep([]string{all.Permission}, func(name string) *offline.Caller { return base.With(nil, nil, []string{name}) })) > 0 {
		one.Enough.Permission = all.Permission
	}
	if len(one.Enough.Roles)+len(one.Enough.Scopes)+len(one.Enough.Subjects) > 0 || one.Enough.Permission != "" {
		refused = nil
	}
	return refused, err
}

// acting is the caller with an actor, where an activity requires one: the first of those who
// may use it.
func acting(g *gates.Gate, one *openActivity, base *offline.Caller) *offline.Caller {
	if base.Actor != nil || one.Require.CheckActor(&core.Principal{}) == nil {
		return base
	}
	for _, p := range g.Actors() {
		if one.Require.CheckActor(p) == nil && g.ActorWithout(p, one.Permission) == nil {
			by := *base
			by.Actor = p.Actor
			return &by
		}
	}
	return base
}

func (w *whoCan) print(p *terminal.Printer) {
	line := p.Bold(w.call.Method + " " + mcp.Shown(w.call.Request))
	if len(w.open) == 0 {
		text := w.refusal.Error()
		covered := w.covered || w.call.Path == "" || !errors.Is(w.refusal, core.ErrForbidden)
		switch {
		case w.variant != "":
			text = w.variant
		case !covered:
			text = notCovered
		}
		p.Printf("%s  %s\n  %s\n", p.Bad("nobody"), line, text)
		w.gate.DecidedBy(p)
		if !covered {
			uncovered(p, w.gate.Inspector, w.call)
		}
		p.Notes(w.gate.Notes)
		return
	}
	p.Printf("%s\n", line)
	w.gate.DecidedBy(p)
	for i := range w.open {
		one := &w.open[i]
		p.Printf("\n%s  %s\n  %s\n", p.Name(one.Owner()), p.Dim(tables.Place(one.Place)), tables.Describe(&one.OwnedActivity))
		p.Rows("  ", openers(one))
	}
	p.Notes(w.gate.Notes)
}

// openers lists what opens an activity, a row for each kind.
func openers(f *openActivity) [][]terminal.Cell {
	var rows [][]terminal.Cell
	row := func(what string, names ...string) {
		if len(names) > 0 && names[0] != "" {
			rows = append(rows, []terminal.Cell{terminal.Dim(what), terminal.Plain(strings.Join(names, ", "))})
		}
	}
	switch f.Who {
	case "anybody":
		if len(f.scopes) > 0 {
			row("who", "anybody without a credential", "any valid credential with "+terminal.Listing(f.scopes, "and"))
			row("requires", tables.Requirements(&f.Require))
			return rows
		}
		row("who", "anybody")
	case "any_credential":
		row("who", "any valid credential")
	default:
		row("role", f.Enough.Roles...)
		row("scope", f.Enough.Scopes...)
		row("subject", f.Enough.Subjects...)
		if f.Enough.Permission != "" {
			row("permission", f.Enough.Permission)
		}
	}
	row("actor", f.Enough.Actors...)
	if need := f.requires(); need != "" {
		row("requires", need)
	}
	return rows
}

// requires says what an activity wants of those whom it is granted to.
func (f *openActivity) requires() string {
	need := tables.Requirements(&f.Require)
	if len(f.scopes) == 0 {
		return need
	}
	return strings.TrimSuffix(gates.ScopesRequiredText(f.scopes)+"; "+need, "; ")
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
	tables.ActivityJSON
	// Who is anybody, any valid credential, or a holder of one of the names.
	Who   string      `json:"who"`
	Names *enoughJSON `json:"names,omitempty"`
	// ScopesRequired are needed beside, by the configuration.
	ScopesRequired []string `json:"scopes_required,omitempty"`
	// Actors are those to whom a credential may be delegated that opens the activity.
	Actors []string `json:"actors,omitempty"`
}

func (w *whoCan) forJSON() whoCanJSON {
	out := whoCanJSON{Method: w.call.Method, Target: mcp.Shown(w.call.Request), Path: w.call.Path, Config: w.gate.Name, Activities: []openedForJSON{}}
	if len(w.open) == 0 {
		out.Refusal = cmp.Or(w.variant, w.refusal.Error())
	}
	for i := range w.open {
		one := &w.open[i]
		opened := openedForJSON{ActivityJSON: tables.ActivityForJSON(&one.OwnedActivity), Who: one.Who, ScopesRequired: one.scopes}
		if one.Who == "holders" {
			opened.Names = &enoughJSON{one.Enough.Permission, one.Enough.Roles, one.Enough.Scopes, one.Enough.Subjects, nil}
		}
		opened.Actors = one.Enough.Actors
		out.Activities = append(out.Activities, opened)
	}
	return out
}

func whoOpens(a *permission.OwnedActivity) string {
	switch {
	case a.Open():
		return "anybody"
	case a.Section == permission.InAuthenticated, a.Anonymous:
		return "any_credential"
	}
	return "holders"
}

// --- the other way round

type whatCanOptions struct{ gates.CallFlags }

// WhatCanCommand is gatehouse what-can.
func WhatCanCommand() *cobra.Command {
	var o whatCanOptions
	c := &cobra.Command{
		Use:   "what-can [flags]",
		Short: "List what a caller may do",
		Long: `List every activity that opens calls to a caller, by what, and what it requires
beside. Where other activities decide calls of it that stay closed, an example of
such a call is shown. The exit status is 1 when nothing is open.

With --config, the gate is that of a configuration: an activity is open if the
gate lets the caller through with a request that it covers.`,
		Example: `  gatehouse what-can --role clerk
  gatehouse what-can --scope orders:read --scope users:read
  gatehouse what-can --config gatehouse.yaml --claims token.json
  gatehouse what-can --anonymous`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.Register(c)
	o.Caller.RegisterAnonymous(c)
	return c
}

func (o *whatCanOptions) run(cmd *cobra.Command) error {
	g, caller, err := o.Open(cmd)
	if err != nil {
		return err
	}
	if unknown := g.UnknownNames(&o.Caller); unknown != "" {
		return errors.New(unknown)
	}
	rows, err := gates.NewActivities(g, &o.Request)
	if err != nil {
		return err
	}
	open, refused, err := openTo(cmd.Context(), rows, caller)
	if err != nil {
		return o.Caller.Located(err)
	}
	notes := append(refused.notes(), g.Notes...)
	if why := g.Refusal(caller); why != nil {
		notes = append(notes, why.Error())
	}
	p, err := g.Principal(caller)
	if err != nil {
		return o.Caller.Located(err)
	}
	notes = append(notes, g.WithoutEffect(p, &o.Caller)...)
	if o.Output.JSON() {
		err = terminal.PrintJSON(cmd.OutOrStdout(), whatCanForJSON(open))
	} else {
		p := o.Output.Printer(cmd)
		printOpen(p, open)
		p.Notes(notes)
	}
	if err == nil && len(open) == 0 {
		err = terminal.ErrNo
	}
	return err
}

// openRule is an activity that opens calls to a caller.
type openRule struct {
	permission.OwnedActivity
	*gates.Verdict
}

// refusals count the activities that the table opens and the gate does not, by
// the reason.
type refusals map[string]int

func (r refusals) notes() []string {
	var notes []string
	for _, why := range slices.Sorted(maps.Keys(r)) {
		notes = append(notes, terminal.Plural(r[why], "further activity is", "further activities are")+" not open, because of the gate: "+why)
	}
	return notes
}

func openTo(ctx context.Context, a *gates.Activities, caller *offline.Caller) ([]openRule, refusals, error) {
	p, err := a.Gate.Principal(caller)
	if err != nil {
		return nil, nil, err
	}
	var open []openRule
	refused := refusals{}
	for i, r := range a.Rules {
		v, err := a.Verdict(ctx, i, caller)
		if err != nil {
			return nil, nil, err
		}
		_, granted := a.Gate.GrantsOf(p, &r)
		switch {
		case v.Own:
			open = append(open, openRule{r, v})
		case granted && !a.Reachable(i):
			refused[gates.ErrUnreachable.Error()]++
		case granted && v.Refused != nil:
			refused[v.Refused.Error()]++
		}
	}
	return open, refused, nil
}

func printOpen(p *terminal.Printer, open []openRule) {
	if len(open) == 0 {
		p.Printf("%s\n", p.Bad("nothing"))
	}
	owner := ""
	for i := range open {
		o := &open[i]
		if title := o.Owner() + strings.Join(o.Grants, ""); title != owner || i == 0 {
			owner = title
			if i > 0 {
				p.Printf("\n")
			}
			p.Rows("", [][]terminal.Cell{{{Text: o.Owner(), Paint: "36"}, terminal.Dim(strings.Join(byEach(o.Grants), ", "))}})
		}
		p.Printf("  %s  %s\n", tables.Describe(&o.OwnedActivity), p.Dim(tables.Place(o.Place)))
		if need := tables.Requirements(&o.Require); need != "" {
			p.Printf("    requires %s\n", need)
		}
		if len(o.Except) > 0 {
			p.Printf("    except %s\n", o.Exception())
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

type openJSON struct {
	tables.ActivityJSON
	Grants []string     `json:"grants,omitempty"`
	Except []exceptJSON `json:"except,omitempty"`
}

type exceptJSON struct {
	Owner   string              `json:"owner"`
	Witness *tables.WitnessJSON `json:"witness"`
}

func whatCanForJSON(open []openRule) []openJSON {
	out := []openJSON{}
	for i := range open {
		o := openJSON{ActivityJSON: tables.ActivityForJSON(&open[i].OwnedActivity), Grants: open[i].Grants}
		for _, owner := range open[i].Except {
			o.Except = append(o.Except, exceptJSON{owner, tables.WitnessForJSON(&open[i].Closed)})
		}
		out = append(out, o)
	}
	return out
}
