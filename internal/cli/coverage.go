package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/openapi"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
)

func coverageCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "coverage",
		Short: "Compare a permission table with an API description",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(coverageOpenAPICommand())
	return c
}

type coverageCommandOptions struct {
	table    tables.Flags
	document documentFlags
	output   terminal.OutputFlags
}

func coverageOpenAPICommand() *cobra.Command {
	var o coverageCommandOptions
	c := &cobra.Command{
		Use:   "openapi [flags] FILE",
		Short: "Find operations that no activity covers, and activities that no operation has",
		Long: `Compare a permission table with an OpenAPI 3.0 or 3.1 document, YAML or JSON, - is
standard input. Operations that no activity covers are denied to everybody;
activities that no operation has open what is not documented, or nothing.

Paths are compared by intersecting regexes, not by sampling. Operations that are
covered in part are listed with a call that is not covered, and are no findings:
a table often accepts fewer values of a parameter. Hosts and requirements take
no part. HEAD counts as offered where GET is.`,
		Example: `  gatehouse coverage openapi --table permissions.yaml openapi.yaml
  gatehouse coverage openapi --base-path /v1 openapi.json`,
		Args: terminal.OneArgument("FILE"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	o.table.Register(c)
	o.document.register(c)
	o.output.Register(c)
	return c
}

func (o *coverageCommandOptions) run(cmd *cobra.Command, name string) error {
	t, err := o.table.Load(cmd)
	if err != nil {
		return err
	}
	d, err := o.document.read(cmd, name)
	if err != nil {
		return err
	}
	var operations []analysis.Operation
	places := map[string]string{}
	for _, op := range d.Operations {
		operations = append(operations, analysis.Operation{Name: op.String(), Method: op.Method, Regex: op.Regex})
		places[op.String()] = op.Place
	}
	c, err := analysis.Cover(t.Activities(), operations)
	if err != nil {
		return err
	}
	report := coverageReport{c, d, places, len(t.Activities())}
	if o.output.JSON() {
		err = terminal.PrintJSON(cmd.OutOrStdout(), report.forJSON())
	} else {
		report.print(o.output.Printer(cmd))
	}
	if err == nil && !report.clean() {
		err = terminal.ErrNo
	}
	return err
}

type coverageReport struct {
	*analysis.Coverage
	document *openapi.Document
	places   map[string]string
	rules    int
}

func (r coverageReport) clean() bool { return r.Clean() && len(r.document.Missing) == 0 }

func (r coverageReport) print(p *terminal.Printer) {
	r.gaps(p, p.Warn("operations that no activity covers"), r.Uncovered, false)
	r.gaps(p, "operations that are covered in part", r.Partly, true)
	if len(r.Unused) > 0 {
		p.Printf("%s\n", p.Warn("activities that no operation has"))
	}
	for i := range r.Unused {
		a := &r.Unused[i]
		which := ""
		if len(a.Methods) < len(a.OwnedActivity.Methods) {
			which = ": only " + strings.Join(a.Methods, ",")
		}
		p.Printf("  %s  %s%s  %s\n", p.Name(a.Owner()), tables.Describe(&a.OwnedActivity), which, p.Dim(tables.Place(a.Place)))
	}
	if len(r.Undecided) > 0 {
		p.Printf("%s\n", p.Warn("activities that are too large to compare"))
	}
	for i := range r.Undecided {
		p.Printf("  %s  %s  %s\n", p.Name(r.Undecided[i].Owner()), tables.Describe(&r.Undecided[i]), p.Dim(tables.Place(r.Undecided[i].Place)))
	}
	verdict := p.Good("everything fits")
	if !r.clean() {
		verdict = terminal.Plural(len(r.Uncovered)+len(r.Unused)+len(r.Undecided)+len(r.document.Missing), "finding", "findings")
	}
	p.Printf("%s in %s and %s\n", verdict, terminal.Plural(len(r.document.Operations), "operation", "operations"), terminal.Plural(r.rules, "activity", "activities"))
	for _, note := range r.document.Missing {
		p.Printf("%s\n", p.Warn(note))
	}
}

func (r coverageReport) gaps(p *terminal.Printer, title string, gaps []analysis.OperationGap, witness bool) {
	if len(gaps) > 0 {
		p.Printf("%s\n", title)
	}
	for _, g := range gaps {
		p.Printf("  %s  %s\n", p.Name(g.Name), p.Dim(r.places[g.Name]))
		if witness {
			p.Printf("    not covered: %s\n", g.Witness.String())
		}
	}
}

// --- for programs

type coverageJSON struct {
	Uncovered []operationGapJSON    `json:"uncovered"`
	Partly    []operationGapJSON    `json:"partly_covered"`
	Unused    []activityGapJSON     `json:"without_operation"`
	Undecided []tables.ActivityJSON `json:"undecided"`
	Missing   []string              `json:"not_read"`
}

type operationGapJSON struct {
	Operation string              `json:"operation"`
	Place     string              `json:"place"`
	Witness   *tables.WitnessJSON `json:"witness"`
}

type activityGapJSON struct {
	tables.ActivityJSON
	Missing []string `json:"methods_without_operation"`
}

func (r coverageReport) forJSON() coverageJSON {
	out := coverageJSON{
		Uncovered: r.gapsForJSON(r.Uncovered), Partly: r.gapsForJSON(r.Partly), Unused: []activityGapJSON{},
		Undecided: tables.ActivitiesForJSON(r.Undecided), Missing: append([]string{}, r.document.Missing...),
	}
	for i := range r.Unused {
		out.Unused = append(out.Unused, activityGapJSON{tables.ActivityForJSON(&r.Unused[i].OwnedActivity), r.Unused[i].Methods})
	}
	return out
}

func (r coverageReport) gapsForJSON(gaps []analysis.OperationGap) []operationGapJSON {
	out := []operationGapJSON{}
	for _, g := range gaps {
		out = append(out, operationGapJSON{g.Name, r.places[g.Name], tables.WitnessForJSON(&g.Witness)})
	}
	return out
}
