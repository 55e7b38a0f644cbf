package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/core/permission/analysis/lint"
	"gatehouse/core/permission/passing"
	"gatehouse/internal/cli/decide"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
)

type lintCommandOptions struct {
	table    tables.Flags
	output   terminal.OutputFlags
	rules    bool
	silenced bool
}

func lintCommand() *cobra.Command {
	var o lintCommandOptions
	c := &cobra.Command{
		Use:   "lint [flags] [FILE...]",
		Short: "Find probable mistakes in a permission table",
		Long: `Find probable mistakes in a permission table: activities by which a call passes
without the permission, requirement or condition that another one puts on it,
activities that are redundant or never decide, regexes that match more than they
seem to. Several files are merged into one table.

Overlaps are found by intersecting the regexes, not by sampling. Each comes with
a witness, a call that shows it; try it with gatehouse explain. Conditions are compared
by what they mean, as gatehouse diff does.

To accept a finding, add a comment with a reason, on the same line or on the one
before:

    # lint:ignore crosses-segments: the importer owns everything below
    - POST /import/.*`,
		Example: `  gatehouse lint
  gatehouse lint --table permissions.yaml
  gatehouse lint base.yaml orders.yaml
  gatehouse lint --output json tables/
  gatehouse lint --rules`,
		ValidArgsFunction: terminal.CompleteTables,
		RunE:              o.run,
	}
	o.table.Register(c)
	o.output.Register(c)
	c.Flags().BoolVar(&o.rules, "rules", false, "list the rules and stop")
	c.Flags().BoolVar(&o.silenced, "silenced", false, "print the silenced findings too, with their reasons")
	return c
}

func (o *lintCommandOptions) run(cmd *cobra.Command, args []string) error {
	if o.rules {
		return o.listRules(cmd)
	}
	o.table.Paths = append(o.table.Paths, args...)
	t, err := o.table.Load(cmd)
	if err != nil {
		return err
	}
	report, err := lint.Lint(t.Table, t.Files, t.Texts)
	if err != nil {
		return err
	}
	if o.output.JSON() {
		err = terminal.PrintJSON(cmd.OutOrStdout(), lintForJSON(report))
	} else {
		o.print(o.output.Printer(cmd), t, report)
	}
	if err == nil && len(report.Findings) > 0 {
		err = terminal.ErrNo
	}
	return err
}

func (o *lintCommandOptions) listRules(cmd *cobra.Command) error {
	if o.output.JSON() {
		return terminal.PrintJSON(cmd.OutOrStdout(), lint.LintRules)
	}
	p := o.output.Printer(cmd)
	var rows [][]terminal.Cell
	for _, r := range lint.LintRules {
		rows = append(rows, []terminal.Cell{{Text: r.Name, Paint: "36"}, terminal.Plain(r.Doc)})
	}
	p.Rows("", rows)
	return nil
}

func (o *lintCommandOptions) print(p *terminal.Printer, t *tables.Table, report *lint.Report) {
	for i := range report.Findings {
		tables.PrintFinding(p, &report.Findings[i])
	}
	if o.silenced {
		for i := range report.Silenced {
			tables.PrintFinding(p, &report.Silenced[i])
		}
	}
	summary := terminal.Plural(len(report.Findings), "finding", "findings")
	if len(report.Findings) == 0 {
		summary = p.Good("no findings")
	}
	if len(report.Silenced) > 0 {
		summary += fmt.Sprintf(", %d silenced", len(report.Silenced))
	}
	p.Printf("%s in %s\n", summary, terminal.Plural(len(t.Activities()), "activity", "activities"))
}

// --- for programs

type lintJSON struct {
	Findings []findingJSON `json:"findings"`
	Silenced []findingJSON `json:"silenced"`
}

type findingJSON struct {
	Rule    string              `json:"rule"`
	File    string              `json:"file"`
	Line    int                 `json:"line"`
	Column  int                 `json:"column"`
	Text    string              `json:"text"`
	Witness *tables.WitnessJSON `json:"witness,omitempty"`
	Shown   *decide.ShownJSON   `json:"shown,omitempty"`
	Beside  string              `json:"beside,omitempty"`
	Reason  string              `json:"reason,omitempty"`
}

func lintForJSON(r *lint.Report) lintJSON {
	return lintJSON{findingsForJSON(r.Findings), findingsForJSON(r.Silenced)}
}

func findingsForJSON(list []lint.Finding) []findingJSON {
	out := []findingJSON{}
	for i := range list {
		f := &list[i]
		finding := findingJSON{f.Rule, f.File, f.Line, f.Column, f.Text, tables.WitnessForJSON(f.Witness), nil, "", f.Reason}
		if f.Caller != nil {
			finding.Shown = decide.ShownForJSON(&passing.Witness{Call: *f.Witness, Example: f.Caller})
		}
		if f.Other != nil {
			finding.Beside = tables.Place(*f.Other)
		}
		out = append(out, finding)
	}
	return out
}
