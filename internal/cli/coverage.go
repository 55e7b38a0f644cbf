package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/openapi"
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
	table    tableFlags
	document documentFlags
	output   outputFlags
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
		Args: oneArgument("FILE"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	o.table.register(c)
	o.document.register(c)
	o.output.register(c)
	return c
}

func (o *coverageCommandOptions) run(cmd *cobra.Command, name string) error {
	t, err := o.table.load(cmd)
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
	if o.output.json() {
		err = printJSON(cmd.OutOrStdout(), report.forJSON())
	} else {
		report.print(o.output.printer(cmd))
	}
	if err == nil && !report.clean() {
		err = errNo
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

func (r coverageReport) print(p *printer) {
	r.gaps(p, p.warn("operations that no activity covers"), r.Uncovered, false)
	r.gaps(p, "operations that are covered in part", r.Partly, true)
	if len(r.Unused) > 0 {
		p.printf("%s\n", p.warn("activities that no operation has"))
	}
	for i := range r.Unused {
		a := &r.Unused[i]
		which := ""
		if len(a.Methods) < len(a.OwnedActivity.Methods) {
			which = ": only " + strings.Join(a.Methods, ",")
		}
		p.printf("  %s  %s%s  %s\n", p.name(a.Owner()), describe(&a.OwnedActivity), which, p.dim(place(a.Place)))
	}
	if len(r.Undecided) > 0 {
		p.printf("%s\n", p.warn("activities that are too large to compare"))
	}
	for i := range r.Undecided {
		p.printf("  %s  %s  %s\n", p.name(r.Undecided[i].Owner()), describe(&r.Undecided[i]), p.dim(place(r.Undecided[i].Place)))
	}
	verdict := p.good("everything fits")
	if !r.clean() {
		verdict = plural(len(r.Uncovered)+len(r.Unused)+len(r.Undecided)+len(r.document.Missing), "finding", "findings")
	}
	p.printf("%s in %s and %s\n", verdict, plural(len(r.document.Operations), "operation", "operations"), plural(r.rules, "activity", "activities"))
	for _, note := range r.document.Missing {
		p.printf("%s\n", p.warn(note))
	}
}

func (r coverageReport) gaps(p *printer, title string, gaps []analysis.OperationGap, witness bool) {
	if len(gaps) > 0 {
		p.printf("%s\n", title)
	}
	for _, g := range gaps {
		p.printf("  %s  %s\n", p.name(g.Name), p.dim(r.places[g.Name]))
		if witness {
			p.printf("    not covered: %s\n", g.Witness.String())
		}
	}
}

// --- for programs

type coverageJSON struct {
	Uncovered []operationGapJSON `json:"uncovered"`
	Partly    []operationGapJSON `json:"partly_covered"`
	Unused    []activityGapJSON  `json:"without_operation"`
	Undecided []ruleJSON         `json:"undecided"`
	Missing   []string           `json:"not_read"`
}

type operationGapJSON struct {
	Operation string       `json:"operation"`
	Place     string       `json:"place"`
	Witness   *witnessJSON `json:"witness"`
}

type activityGapJSON struct {
	ruleJSON
	Missing []string `json:"methods_without_operation"`
}

func (r coverageReport) forJSON() coverageJSON {
	out := coverageJSON{
		Uncovered: r.gapsForJSON(r.Uncovered), Partly: r.gapsForJSON(r.Partly), Unused: []activityGapJSON{},
		Undecided: rulesForJSON(r.Undecided), Missing: append([]string{}, r.document.Missing...),
	}
	for i := range r.Unused {
		out.Unused = append(out.Unused, activityGapJSON{ruleForJSON(&r.Unused[i].OwnedActivity), r.Unused[i].Methods})
	}
	return out
}

func (r coverageReport) gapsForJSON(gaps []analysis.OperationGap) []operationGapJSON {
	out := []operationGapJSON{}
	for _, g := range gaps {
		out = append(out, operationGapJSON{g.Name, r.places[g.Name], witnessForJSON(&g.Witness)})
	}
	return out
}
