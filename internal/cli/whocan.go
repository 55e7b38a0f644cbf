package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
)

type whoCanOptions struct {
	table  tableFlags
	call   callFlags
	output outputFlags
}

func whoCanCommand() *cobra.Command {
	var o whoCanOptions
	c := &cobra.Command{
		Use:   "who-can [flags] METHOD PATH",
		Short: "List who may make a call",
		Long: `List everybody who may make a call: the roles, scopes and permissions that open
it, and what the call requires beside them. The exit status is 1 when nobody may.

PATH is a raw request target, which is read exactly as a gate reads it.`,
		Example: `  gatehouse who-can GET /users/7
  gatehouse who-can --table base.yaml --table orders.yaml POST /orders/7/cancel`,
		Args:              methodAndPath,
		ValidArgsFunction: completeMethod,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0], args[1]) },
	}
	o.table.register(c)
	o.call.registerPath(c)
	o.call.registerHost(c)
	o.output.register(c)
	return c
}

func (o *whoCanOptions) run(cmd *cobra.Command, method, target string) error {
	t, err := o.table.load(cmd)
	if err != nil {
		return err
	}
	call, err := o.call.call(method, target)
	if err != nil && !isRefusedPath(err) {
		return err
	}
	e := &permission.Explanation{Refusal: err}
	if err == nil {
		e = t.Explain(call, &core.Principal{})
	}
	var deciding []permission.Finding
	for _, f := range e.Matched {
		if f.Decides {
			deciding = append(deciding, f)
		}
	}
	if o.output.json() {
		err = printJSON(cmd.OutOrStdout(), whoCanForJSON(call, e, deciding))
	} else {
		err = nil
		o.print(o.output.printer(cmd), t, call, e, deciding)
	}
	if err == nil && len(deciding) == 0 {
		err = errNo
	}
	return err
}

func (o *whoCanOptions) print(p *printer, t *table, call *core.Call, e *permission.Explanation, deciding []permission.Finding) {
	line := p.bold(call.Method + " " + call.Target)
	if len(deciding) == 0 {
		x := explanation{p, t, e, call, nil}
		p.printf("%s  %s\n  %s\n", p.bad("nobody"), line, x.refusal())
		if !isRefusedPath(e.Refusal) {
			x.uncovered()
		}
		return
	}
	p.printf("%s\n", line)
	for i := range deciding {
		f := &deciding[i]
		p.printf("\n%s  %s\n  %s\n", p.name(f.Owner()), p.dim(place(f.Place)), describe(&f.Rule))
		p.rows("  ", openers(f))
	}
}

// openers lists what opens an activity, a row for each kind.
func openers(f *permission.Finding) [][]cell {
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
		row("permission", f.Enough.Permission)
	}
	if need := requirements(&f.Require); need != "" {
		row("requires", need)
	}
	return rows
}

type whoCanJSON struct {
	Method     string          `json:"method"`
	Target     string          `json:"target"`
	Path       string          `json:"path,omitempty"`
	Refusal    string          `json:"refusal,omitempty"`
	Activities []openedForJSON `json:"activities"`
}

type openedForJSON struct {
	ruleJSON
	// Who is anybody, any valid credential, or a holder of one of the names.
	Who   string      `json:"who"`
	Names *enoughJSON `json:"names,omitempty"`
}

func whoCanForJSON(call *core.Call, e *permission.Explanation, deciding []permission.Finding) whoCanJSON {
	out := whoCanJSON{Method: call.Method, Target: call.Target, Path: call.Path, Activities: []openedForJSON{}}
	if len(deciding) == 0 {
		out.Refusal = e.Refusal.Error()
	}
	for i := range deciding {
		f := &deciding[i]
		opened := openedForJSON{ruleJSON: ruleForJSON(&f.Rule), Who: whoOpens(f.Section)}
		if f.Section == permission.InPermission {
			opened.Names = &enoughJSON{f.Enough.Permission, f.Enough.Roles, f.Enough.Scopes}
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
	table  tableFlags
	caller callerFlags
	output outputFlags
}

func whatCanCommand() *cobra.Command {
	var o whatCanOptions
	c := &cobra.Command{
		Use:   "what-can [flags]",
		Short: "List what a caller may do",
		Long: `List every activity that is open to a caller, by what, and what it requires
beside. Where a stricter part of the table takes calls from an activity, an
example of such a call is shown. The exit status is 1 when nothing is open.`,
		Example: `  gatehouse what-can --role clerk
  gatehouse what-can --scope orders:read --scope users:read
  gatehouse what-can --anonymous`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.table.register(c)
	o.caller.register(c)
	o.caller.complete(c, &o.table)
	o.output.register(c)
	return c
}

func (o *whatCanOptions) run(cmd *cobra.Command) error {
	t, err := o.table.load(cmd)
	if err != nil {
		return err
	}
	caller, err := o.caller.principal(cmd)
	if err != nil {
		return err
	}
	if unknown := t.unknownNames(&o.caller); unknown != "" {
		return errors.New(unknown)
	}
	open, err := t.openTo(caller)
	if err != nil {
		return err
	}
	if o.output.json() {
		err = printJSON(cmd.OutOrStdout(), whatCanForJSON(open))
	} else {
		printOpen(o.output.printer(cmd), open)
	}
	if err == nil && len(open) == 0 {
		err = errNo
	}
	return err
}

// unknownNames finds names that the table does not define, which would
// otherwise silently grant nothing.
func (t *table) unknownNames(f *callerFlags) string {
	permissions, roles, scopes := t.Names()
	for _, list := range []struct {
		kind         string
		given, known []string
	}{{"role", f.roles, roles}, {"scope", f.scopes, scopes}, {"permission", f.permissions, permissions}} {
		for _, name := range list.given {
			if !slices.Contains(list.known, name) {
				return "the table has no " + list.kind + " " + name + permission.DidYouMean(name, list.known)
			}
		}
	}
	return ""
}

// openRule is an activity that is open to a caller.
type openRule struct {
	permission.Rule
	Grants []string
	// Except are activities that take calls from this one and that the caller
	// may not perform.
	Except []analysis.Guard
}

func (t *table) openTo(caller *core.Principal) ([]openRule, error) {
	guards, err := analysis.Guards(t.Rules())
	if err != nil {
		return nil, err
	}
	var open []openRule
	for i, r := range t.Rules() {
		grants, ok := t.GrantsOf(caller, &r)
		if !ok {
			continue
		}
		o := openRule{Rule: r, Grants: grants}
		for _, g := range guards[i] {
			if _, also := t.GrantsOf(caller, &g.Rule); !also || requirements(&g.Require) != "" {
				o.Except = append(o.Except, g)
			}
		}
		open = append(open, o)
	}
	return open, nil
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
		p.printf("  %s  %s\n", describe(&o.Rule), p.dim(place(o.Place)))
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
		o := openJSON{ruleJSON: ruleForJSON(&open[i].Rule), Grants: open[i].Grants}
		for _, g := range open[i].Except {
			o.Except = append(o.Except, exceptJSON{g.Owner(), witnessForJSON(&g.Shared)})
		}
		out = append(out, o)
	}
	return out
}
