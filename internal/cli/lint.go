package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/core/permission/analysis"
)

type lintCommandOptions struct {
	output   outputFlags
	rules    bool
	silenced bool
}

func lintCommand() *cobra.Command {
	var o lintCommandOptions
	c := &cobra.Command{
		Use:   "lint [flags] FILE...",
		Short: "Find probable mistakes in a permission table",
		Long: `Find probable mistakes in a permission table: activities that are redundant or
never decide, regexes that match more than they seem to, public activities that
overlap guarded ones. Several files are merged into one table.

Overlaps are found by intersecting the regexes, not by sampling. Each comes with
a witness, a call that shows it; try it with gatehouse explain.

To accept a finding, add a comment with a reason, on the same line or on the one
before:

    # lint:ignore crosses-segments: the importer owns everything below
    - POST /import/.*`,
		Example: `  gatehouse lint permissions.yaml
  gatehouse lint base.yaml orders.yaml
  gatehouse lint --output json tables/
  gatehouse lint --rules`,
		ValidArgsFunction: completeTables,
		RunE:              o.run,
	}
	o.output.register(c)
	c.Flags().BoolVar(&o.rules, "rules", false, "list the rules and stop")
	c.Flags().BoolVar(&o.silenced, "silenced", false, "print the silenced findings too, with their reasons")
	return c
}

func completeTables(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

func (o *lintCommandOptions) run(cmd *cobra.Command, args []string) error {
	if o.rules {
		return o.listRules(cmd)
	}
	if len(args) == 0 {
		return fmt.Errorf("no file is named; give the files of one table, as in: gatehouse lint %s", defaultTable)
	}
	t, err := loadTable(cmd.InOrStdin(), args...)
	if err != nil {
		return err
	}
	report, err := analysis.Lint(t.Table, t.files, t.texts)
	if err != nil {
		return err
	}
	if o.output.json() {
		err = printJSON(cmd.OutOrStdout(), lintForJSON(report))
	} else {
		o.print(o.output.printer(cmd), t, report)
	}
	if err == nil && len(report.Findings) > 0 {
		err = errNo
	}
	return err
}

func (o *lintCommandOptions) listRules(cmd *cobra.Command) error {
	if o.output.json() {
		return printJSON(cmd.OutOrStdout(), analysis.LintRules)
	}
	p := o.output.printer(cmd)
	var rows [][]cell
	for _, r := range analysis.LintRules {
		rows = append(rows, []cell{{r.Name, "36"}, plain(r.Doc)})
	}
	p.rows("", rows)
	return nil
}

func (o *lintCommandOptions) print(p *printer, t *table, report *analysis.Report) {
	for i := range report.Findings {
		p.finding(&report.Findings[i])
	}
	if o.silenced {
		for i := range report.Silenced {
			p.finding(&report.Silenced[i])
		}
	}
	summary := plural(len(report.Findings), "finding", "findings")
	if len(report.Findings) == 0 {
		summary = p.good("no findings")
	}
	if len(report.Silenced) > 0 {
		summary += fmt.Sprintf(", %d silenced", len(report.Silenced))
	}
	p.printf("%s in %s\n", summary, plural(len(t.Activities()), "activity", "activities"))
}

func (p *printer) finding(f *analysis.Finding) {
	p.printf("%s: %s: %s\n", p.bold(place(f.Place)), p.warn(f.Rule), f.Text)
	if f.Witness != nil {
		p.printf("    witness  %s\n", p.name(f.Witness.String()))
	}
	if f.Other != nil {
		p.printf("    beside   %s\n", place(*f.Other))
	}
	if f.Reason != "" {
		p.printf("    silenced %s\n", f.Reason)
	}
}

// --- for programs

type lintJSON struct {
	Findings []findingJSON `json:"findings"`
	Silenced []findingJSON `json:"silenced"`
}

type findingJSON struct {
	Rule    string       `json:"rule"`
	File    string       `json:"file"`
	Line    int          `json:"line"`
	Column  int          `json:"column"`
	Text    string       `json:"text"`
	Witness *witnessJSON `json:"witness,omitempty"`
	Beside  string       `json:"beside,omitempty"`
	Reason  string       `json:"reason,omitempty"`
}

// witnessJSON is a call that shows something.
type witnessJSON struct {
	Method string `json:"method"`
	Host   string `json:"host,omitempty"`
	Path   string `json:"path"`
	Target string `json:"target"`
}

func witnessForJSON(c *analysis.Call) *witnessJSON {
	if c == nil {
		return nil
	}
	return &witnessJSON{c.Method, c.Host, c.Path, c.Target()}
}

func lintForJSON(r *analysis.Report) lintJSON {
	return lintJSON{findingsForJSON(r.Findings), findingsForJSON(r.Silenced)}
}

func findingsForJSON(list []analysis.Finding) []findingJSON {
	out := []findingJSON{}
	for i := range list {
		f := &list[i]
		finding := findingJSON{f.Rule, f.File, f.Line, f.Column, f.Text, witnessForJSON(f.Witness), "", f.Reason}
		if f.Other != nil {
			finding.Beside = place(*f.Other)
		}
		out = append(out, finding)
	}
	return out
}
