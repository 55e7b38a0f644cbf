package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"gatehouse/internal/check"
	"gatehouse/internal/check/document"
	"gatehouse/internal/check/finding"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

type checkCommandOptions struct {
	options  check.Options
	as       terminal.Choice
	roots    []string
	docs     string
	output   terminal.OutputFlags
	call     checkedCall
	rules    bool
	silenced bool
}

func checkCommand() *cobra.Command {
	var o checkCommandOptions
	c := &cobra.Command{
		Use:   "check [flags] FILE...",
		Short: "Find errors and open doors in the files of a gateway",
		Long: `Check configurations without a gateway: gatehouse.yaml, forwardauth.yaml,
kong.yml, files of decK, apisix.yaml, adc.yaml, config.yaml of APISIX, resources
of Kubernetes and permission tables. What a file is, its content tells.

Every error is reported at once, with its place and what to do, and so is what
opens a door: a route without the plugin, a plugin that the gateway may skip, a
check that is switched off. The files that a configuration names are checked too.

With --call, what each gate makes of a call is shown: its response to the client,
or the headers of the request to the upstream.

To accept a warning, add a comment with a reason, on the same line or on the one
before, or name its rule with --allow:

    # lint:ignore insecure-any-audience: the issuer serves this API alone
    insecure_any_audience: true`,
		Example: `  gatehouse check kong.yml
  gatehouse check --root /etc/gatehouse=deploy/ apisix.yaml config.yaml
  gatehouse check --output sarif kubernetes/*.yaml
  gatehouse check --claims token.json --call 'GET /users/7' gatehouse.yaml
  gatehouse check --rules`,
		ValidArgsFunction: completeConfigurations,
		RunE:              o.run,
	}
	f := c.Flags()
	o.as = terminal.Choice{Value: "", Of: kindsOfFiles()}
	o.as.Register(c, "as", "", "what the files are, where their content does not tell")
	f.StringArrayVar(&o.roots, "root", nil, "`DIR` that holds the gateway's file system, or FROM=DIR for a part of it, for the files that a configuration names")
	f.StringSliceVar(&o.options.Allow, "allow", nil, "`rule` that is to find nothing; repeat it for more")
	f.StringVar(&o.options.KongVersion, "kong-version", "", "`version` of the Kong that the files are for")
	f.StringVar(&o.docs, "docs-url", "", "`URL` of the folder docs, to which the rules in SARIF then refer (helpUri)")
	f.BoolVar(&o.rules, "rules", false, "list the rules and stop")
	f.BoolVar(&o.silenced, "silenced", false, "print the accepted warnings too, with their reasons")
	_ = c.MarkFlagDirname("root")
	_ = c.RegisterFlagCompletionFunc("allow", cobra.FixedCompletions(ruleNames(), cobra.ShellCompDirectiveNoFileComp))
	o.call.register(c)
	o.output.Register(c, "text", "json", "sarif")
	return c
}

func kindsOfFiles() []string {
	var names []string
	for _, k := range check.Kinds {
		names = append(names, string(k.Kind))
	}
	return names
}

func ruleNames() []string {
	var names []string
	for _, r := range finding.Rules {
		names = append(names, r.Name)
	}
	return names
}

func completeConfigurations(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
}

func (o *checkCommandOptions) run(cmd *cobra.Command, args []string) error {
	if o.rules {
		return o.listRules(cmd)
	}
	files, err := o.read(cmd, args)
	if err != nil {
		return err
	}
	report := check.Files(files, o.options)
	var decisions []gateDecision
	if called, err := o.call.given(cmd); err != nil {
		return err
	} else if called {
		if decisions, err = o.call.decide(cmd, report.Gates); err != nil {
			return err
		}
	}
	switch o.output.Format.Value {
	case "json":
		out := checkReportForJSON(report, args)
		out.Calls = checkedCalls(decisions)
		err = terminal.PrintJSON(cmd.OutOrStdout(), out)
	case "sarif":
		err = terminal.PrintJSON(cmd.OutOrStdout(), finding.SARIF(report.Findings, report.Silenced, o.docs))
	default:
		o.print(o.output.Printer(cmd), report, args)
		o.call.print(o.output.Printer(cmd), decisions)
	}
	if err == nil && report.Failed() {
		err = terminal.ErrNo
	}
	return err
}

// read reads the files that are named.
func (o *checkCommandOptions) read(cmd *cobra.Command, args []string) ([]check.File, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("no file is named; give the files of a gateway, as in: gatehouse check kong.yml")
	}
	o.options.As = check.Kind(o.as.Value)
	var err error
	if o.options.Roots, err = offline.ParseRoots(o.roots); err != nil {
		return nil, err
	}
	for _, rule := range o.options.Allow {
		if !slices.Contains(ruleNames(), rule) {
			return nil, fmt.Errorf("--allow: there is no rule %q; gatehouse check --rules lists them", rule)
		}
	}
	names, err := tables.Files(args)
	if err != nil {
		return nil, err
	}
	files := make([]check.File, len(names))
	for i, name := range names {
		content, err := terminal.ReadInput(cmd.InOrStdin(), name, document.MaxSize)
		if err != nil {
			return nil, err
		}
		files[i] = check.File{Name: tables.ShownName(name), Content: content}
	}
	return files, nil
}

func (o *checkCommandOptions) listRules(cmd *cobra.Command) error {
	if o.output.JSON() {
		return terminal.PrintJSON(cmd.OutOrStdout(), finding.Rules)
	}
	p := o.output.Printer(cmd)
	var rows [][]terminal.Cell
	for _, r := range finding.Rules {
		rows = append(rows, []terminal.Cell{{Text: r.Name, Paint: "36"}, {Text: string(r.Severity), Paint: paintOf(r.Severity)}, terminal.Plain(r.Doc)})
	}
	p.Rows("", rows)
	return nil
}

func paintOf(s finding.Severity) string {
	return map[finding.Severity]string{finding.Error: "31", finding.Warning: "33", finding.Note: "2"}[s]
}

func (o *checkCommandOptions) print(p *terminal.Printer, r *check.Report, args []string) {
	count := map[finding.Severity]int{}
	for _, f := range r.Findings {
		count[f.Severity]++
		p.Printf("%s: %s %s: %s\n", p.Bold(f.Place.String()), p.Paint(paintOf(f.Severity), string(f.Severity)), f.Rule, f.Text)
	}
	if o.silenced {
		for _, f := range r.Silenced {
			p.Printf("%s: %s %s: %s\n    accepted  %s\n", p.Bold(f.Place.String()), p.Paint(paintOf(f.Severity), string(f.Severity)), f.Rule, f.Text, f.Reason)
		}
	}
	summary := p.Good("no errors and no warnings")
	if r.Failed() {
		summary = terminal.Plural(count[finding.Error], "error", "errors") + ", " + terminal.Plural(count[finding.Warning], "warning", "warnings")
	}
	if count[finding.Note] > 0 {
		summary += ", " + terminal.Plural(count[finding.Note], "note", "notes")
	}
	if len(r.Silenced) > 0 {
		summary += fmt.Sprintf(", %d accepted", len(r.Silenced))
	}
	p.Printf("%s in %s\n", summary, terminal.Plural(len(args), "file", "files"))
}

// --- for programs

type checkReportJSON struct {
	Files    []checkedJSON      `json:"files"`
	Findings []checkFindingJSON `json:"findings"`
	Silenced []checkFindingJSON `json:"silenced"`
	Calls    []checkedCallJSON  `json:"calls,omitempty"`
}

type checkedJSON struct {
	File string     `json:"file"`
	Kind check.Kind `json:"kind"`
}

type checkFindingJSON struct {
	Rule     string           `json:"rule"`
	Severity finding.Severity `json:"severity"`
	File     string           `json:"file"`
	Line     int              `json:"line"`
	Column   int              `json:"column"`
	Text     string           `json:"text"`
	Reason   string           `json:"reason,omitempty"`
}

func checkReportForJSON(r *check.Report, args []string) checkReportJSON {
	out := checkReportJSON{Files: []checkedJSON{}, Findings: checkFindings(r.Findings), Silenced: checkFindings(r.Silenced)}
	for _, name := range args {
		if kind, ok := r.Kinds[tables.ShownName(name)]; ok {
			out.Files = append(out.Files, checkedJSON{tables.ShownName(name), kind})
		}
	}
	return out
}

func checkFindings(list []finding.Finding) []checkFindingJSON {
	out := []checkFindingJSON{}
	for _, f := range list {
		out = append(out, checkFindingJSON{f.Rule, f.Severity, f.File, f.Line, f.Column, f.Text, f.Reason})
	}
	return out
}
