package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis/diff"
	"gatehouse/internal/cli/database"
	"gatehouse/internal/cli/decide"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
)

type diffCommandOptions struct {
	output terminal.OutputFlags
	failOn terminal.Choice
	stored database.Diff
	proven decide.Comparison
}

func diffCommand() *cobra.Command {
	var o diffCommandOptions
	c := &cobra.Command{
		Use:   "diff [flags] OLD [NEW]",
		Short: "Show what a change to a permission table lets in and shuts out",
		Long: `Compare what two tables mean: which calls the change lets in and shuts out, for
whom, each with a witness. Two tables that mean the same are equal however they
are written; the comparison is exact, not sampled. Conditions (when) are compared
by meaning: equality, membership, has() and what joins them. A change that a
condition makes comes with a caller who shows it. Where it depends on other parts,
of which only the text is known, calls may differ, and the reason is printed; where
nobody is let in, the change may shut out.

OLD and NEW are each a file, a folder of files, several files separated by
commas, or - for standard input; or, with a fleet's database, the number of a version
or the word newest. (A file with such a name is written as ./7.) A version alone is
compared with the newest one. Callers are looked at one name at a time: a
caller with several roles or scopes may do what each of them may. What concerns
everybody is not repeated for each name.

With --prove, one claim is answered instead, for all requests and all callers, conditions
included: narrower, that the new table lets nothing pass that the old one refuses; wider,
that it refuses nothing that the old one lets pass; equal, both. The answer is proven; or a
counterexample, a call and a caller about whom the gates of the two tables decide otherwise;
or unknown, with the reason. The exit status is 0, 1 or 2 then.`,
		Example: `  gatehouse diff permissions.old.yaml permissions.yaml
  git show main:permissions.yaml | gatehouse diff - permissions.yaml
  gatehouse diff --fail-on widening base.yaml,orders.yaml tables/
  git show main:permissions.yaml | gatehouse diff --prove narrower - permissions.yaml
  gatehouse diff newest permissions.yaml
  gatehouse diff 11 12`,
		Args:              twoTables,
		ValidArgsFunction: terminal.CompleteTables,
		RunE:              o.run,
	}
	o.output.Register(c)
	o.stored.Register(c)
	o.failOn = terminal.Choice{Value: "any", Of: []string{"any", "widening"}}
	o.failOn.Register(c, "fail-on", "", "which changes give exit status 1; widening is what lets calls in or may do so")
	prove := terminal.Choice{Of: []string{decide.Narrower, decide.Wider, decide.Equal}}
	prove.Register(c, "prove", "", "answer whether the new table is that beside the old one, for all requests and callers, in the place of listing changes")
	c.Flags().DurationVar(&o.proven.Timeout, "timeout", time.Minute, "`time` for the answers of --prove; what is not answered by then is unknown")
	o.proven.Output = &o.output
	c.PreRunE = func(*cobra.Command, []string) error {
		o.proven.Claim = prove.Value
		return nil
	}
	return c
}

func twoTables(_ *cobra.Command, args []string) error {
	if len(args) == 1 && database.IsVersion(args[0]) {
		return nil
	}
	if len(args) != 2 {
		return fmt.Errorf("got %s; give the OLD table and the NEW one", terminal.Plural(len(args), "argument", "arguments"))
	}
	if args[0] == "-" && args[1] == "-" {
		return fmt.Errorf("both tables are standard input; name a file for one of them")
	}
	return nil
}

func (o *diffCommandOptions) run(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		args = append(args, database.Newest)
	}
	older, err := o.load(cmd, args[0])
	if err != nil {
		return err
	}
	newer, err := o.load(cmd, args[1])
	if err != nil {
		return err
	}
	if o.proven.Claim != "" {
		return o.proven.Run(cmd, decide.ComparedTable{Table: older, Flags: explainFlags(args[0])}, decide.ComparedTable{Table: newer, Flags: explainFlags(args[1])})
	}
	was, err := versionOf(cmd, older)
	if err != nil {
		return err
	}
	is, err := versionOf(cmd, newer)
	if err != nil {
		return err
	}
	d, err := diff.Diff(was, is)
	if err != nil {
		return err
	}
	if o.output.JSON() {
		err = terminal.PrintJSON(cmd.OutOrStdout(), diffForJSON(d))
	} else {
		differencePrinter{o.output.Printer(cmd)}.print(d)
	}
	if err == nil && (d.Widening() || o.failOn.Value == "any" && !d.Empty()) {
		err = terminal.ErrNo
	}
	return err
}

func (o *diffCommandOptions) load(cmd *cobra.Command, arg string) (*tables.Table, error) {
	if database.IsVersion(arg) {
		return o.stored.Table(cmd, arg)
	}
	return tables.Load(cmd.InOrStdin(), strings.Split(arg, ",")...)
}

func versionOf(cmd *cobra.Command, t *tables.Table) (diff.Version, error) {
	confirm, err := decide.ComparedTable{Table: t}.Confirm(cmd.Context())
	return diff.Version{Table: t.Table, Files: t.Files, Confirm: confirm}, err
}

// explainFlags are those by which gatehouse explain finds a table: none where it is no file.
func explainFlags(arg string) (flags []string) {
	if arg == "-" || database.IsVersion(arg) {
		return nil
	}
	for _, name := range strings.Split(arg, ",") {
		flags = append(flags, "--table", name)
	}
	return flags
}

type differencePrinter struct{ *terminal.Printer }

func (p differencePrinter) print(d *diff.Difference) {
	if d.Empty() {
		p.Printf("%s\n", p.Good("no difference"))
		return
	}
	title := map[diff.Direction]string{
		diff.LetsIn:     p.Warn("lets in"),
		diff.MayDiffer:  p.Warn("may differ"),
		diff.ShutsOut:   p.Name("shuts out"),
		diff.MayShutOut: p.Name("may shut out"),
		diff.Names:      p.Name("names the caller to the upstream from now on"),
		diff.Unnames:    p.Warn("names the caller to the upstream no longer"),
	}
	for _, direction := range []diff.Direction{diff.LetsIn, diff.MayDiffer, diff.ShutsOut, diff.MayShutOut, diff.Names, diff.Unnames} {
		groups := groupChanges(d.Changes, direction)
		if len(groups) > 0 {
			p.Printf("%s\n", title[direction])
		}
		for _, g := range groups {
			p.group(g)
		}
	}
	if d.Invalid != [2]string{} {
		p.Printf("%s\n      %s  %s\n      %s  %s\n", p.Name("invalid_credential"), p.Dim("was"), d.Invalid[0], p.Dim("is "), d.Invalid[1])
	}
	if d.Chain != [2]bool{} {
		p.Printf("%s\n      %s  %t\n      %s  %t\n", p.Name("actor_chain"), p.Dim("was"), d.Chain[0], p.Dim("is "), d.Chain[1])
	}
	if len(d.Undecided) > 0 {
		p.Printf("%s\n", p.Warn("too large to decide"))
		for i := range d.Undecided {
			p.rule("  ", &d.Undecided[i], true)
		}
	}
}

// changeGroup is a list of changes that several callers share.
type changeGroup struct {
	who     []diff.Who
	changes []diff.Change
}

func groupChanges(all []diff.Change, direction diff.Direction) []*changeGroup {
	var people []*changeGroup
	for _, c := range all {
		if c.Direction != direction {
			continue
		}
		i := slices.IndexFunc(people, func(g *changeGroup) bool { return g.who[0] == c.Who })
		if i < 0 {
			i = len(people)
			people = append(people, &changeGroup{who: []diff.Who{c.Who}})
		}
		people[i].changes = append(people[i].changes, c)
	}
	var groups []*changeGroup
	known := map[string]*changeGroup{}
	for _, g := range people {
		key := g.key()
		if same := known[key]; same != nil {
			same.who = append(same.who, g.who...)
			continue
		}
		known[key] = g
		groups = append(groups, g)
	}
	return groups
}

func (g *changeGroup) key() string {
	var b strings.Builder
	for i := range g.changes {
		c := g.changes[i]
		fmt.Fprintf(&b, "%s %s", c.Methods, c.Witness.String())
		for _, list := range [][]diff.Decider{c.Old, c.New} {
			for _, r := range list {
				fmt.Fprintf(&b, " %s %t", r.Place, r.Granted)
			}
		}
	}
	return b.String()
}

func (p differencePrinter) group(g *changeGroup) {
	p.Printf("  %s\n", p.Bold(people(g.who)))
	for i := range g.changes {
		c := &g.changes[i]
		call := c.Witness
		call.Method = strings.Join(c.Methods, ",")
		p.Printf("    %s\n", p.Name(call.String()))
		p.side("was", c.Old)
		p.side("is ", c.New)
		p.shown(c)
	}
}

// shown says who shows a change, or why it is not known.
func (p differencePrinter) shown(c *diff.Change) {
	if c.Caller != nil {
		p.Printf("      %s  %s\n      %s  %s\n", p.Dim("as "), tables.CallText(c.Shown()), p.Dim("by "), tables.CallerText(c.Caller.Principal))
	}
	if c.BothWays {
		p.Printf("      %s\n", p.Warn("wider for some callers, narrower for others"))
	}
	if c.Reason != "" {
		p.Printf("      %s  %s\n", p.Dim("why"), c.Reason)
	}
}

// people joins callers, those of one kind together.
func people(list []diff.Who) string {
	var parts []string
	for _, kind := range []diff.WhoKind{diff.Anybody, diff.Credential, diff.ByRole, diff.ByScope, diff.BySubject, diff.ByActor, diff.ByPermission} {
		var names []string
		for _, w := range list {
			if w.Kind == kind {
				names = append(names, cmp.Or(w.Name, w.String()))
			}
		}
		switch {
		case len(names) == 0:
		case kind == diff.Anybody || kind == diff.Credential:
			parts = append(parts, names[0])
		default:
			parts = append(parts, string(kind)+" "+terminal.Listing(names, "and"))
		}
	}
	return strings.Join(parts, ", ")
}

func (p differencePrinter) side(when string, rules []diff.Decider) {
	if len(rules) == 0 {
		p.Printf("      %s  %s\n", p.Dim(when), p.Dim("not covered"))
	}
	for i := range rules {
		p.rule("      "+p.Dim(when)+"  ", &rules[i].OwnedActivity, rules[i].Granted)
	}
}

func (p differencePrinter) rule(indent string, r *permission.OwnedActivity, granted bool) {
	text := r.Owner() + ": " + tables.Describe(r)
	if !granted {
		text += "  " + p.Dim("not granted")
	} else if need := tables.Requirements(&r.Require); need != "" {
		text += "  requires " + need
	}
	p.Printf("%s%s  %s\n", indent, text, p.Dim(tables.Place(r.Place)))
}

// --- for programs

type diffJSON struct {
	Equal     bool                  `json:"equal"`
	Widening  bool                  `json:"widening"`
	Changes   []changeJSON          `json:"changes"`
	Undecided []tables.ActivityJSON `json:"undecided"`
	// Invalid are invalid_credential in the old table and in the new one.
	Invalid []string `json:"invalid_credential,omitempty"`
	// ActorChain is actor_chain in the old table and in the new one, where that has changed.
	ActorChain []bool `json:"actor_chain,omitempty"`
}

type changeJSON struct {
	Direction string              `json:"direction"`
	Who       whoJSON             `json:"who"`
	Methods   []string            `json:"methods"`
	Witness   *tables.WitnessJSON `json:"witness"`
	Old       []deciderJSON       `json:"old"`
	New       []deciderJSON       `json:"new"`
	// Shown is a caller who shows the change where requirements were compared by meaning.
	Shown    *decide.ShownJSON `json:"shown,omitempty"`
	BothWays bool              `json:"both_ways,omitempty"`
	Reason   string            `json:"reason,omitempty"`
}

type deciderJSON struct {
	tables.ActivityJSON
	Granted bool `json:"granted"`
}

type whoJSON struct {
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
}

func diffForJSON(d *diff.Difference) diffJSON {
	out := diffJSON{Equal: d.Empty(), Widening: d.Widening(), Changes: []changeJSON{}, Undecided: tables.ActivitiesForJSON(d.Undecided)}
	if d.Invalid != [2]string{} {
		out.Invalid = d.Invalid[:]
	}
	if d.Chain != [2]bool{} {
		out.ActorChain = d.Chain[:]
	}
	for i := range d.Changes {
		c := &d.Changes[i]
		out.Changes = append(out.Changes, changeJSON{
			string(c.Direction), whoJSON{string(c.Who.Kind), c.Who.Name}, c.Methods,
			tables.WitnessForJSON(&c.Witness), decidersForJSON(c.Old), decidersForJSON(c.New), nil, c.BothWays, c.Reason,
		})
		if c.Caller != nil {
			out.Changes[i].Shown = decide.ShownForJSON(c.Shown())
		}
	}
	return out
}

func decidersForJSON(list []diff.Decider) []deciderJSON {
	out := []deciderJSON{}
	for i := range list {
		out = append(out, deciderJSON{tables.ActivityForJSON(&list[i].OwnedActivity), list[i].Granted})
	}
	return out
}
