package decide

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/expectation"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/strictyaml"
	"gatehouse/internal/cli/gates"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

type testCommandOptions struct {
	gate        gates.Flags
	output      terminal.OutputFlags
	minCoverage percent
	all         bool
}

// percent is a flag from 0 to 100.
type percent float64

func (p *percent) String() string { return fmt.Sprintf("%g", float64(*p)) }
func (p *percent) Type() string   { return "percent" }

// Set is called by the flag parser.
func (p *percent) Set(text string) error {
	var v float64
	if _, err := fmt.Sscanf(strings.TrimSuffix(text, "%")+"\n", "%g\n", &v); err != nil || v < 0 || v > 100 {
		return errors.New("write a number from 0 to 100")
	}
	*p = percent(v)
	return nil
}

// TestCommand is gatehouse test.
func TestCommand() *cobra.Command {
	var o testCommandOptions
	c := &cobra.Command{
		Use:   "test [flags] FILE...",
		Short: "Check a permission table against a file of expectations",
		Long: `Decide every call in the given files and compare the decision with the expected
one. A file says who calls what, whether that must be allowed, and why:

    table: [permissions.yaml]
    expect:
      - who: {roles: [clerk]}
        calls: [GET /users, GET /users/7]
        allowed: true
        why: clerks look customers up
      - who: anonymous
        method: DELETE
        path: /users/7
        allowed: false
        why: nobody deletes without a name

who takes scopes, roles, permissions, claims (those of a token), sub, client_id,
issuer, kind, aal, authenticated_ago, dpop, actor and certificate; an expectation also takes host, scheme,
peer and headers. The table is the one that the file names, from its own folder,
or the one of --table.

A file may name the configuration of the gate that decides, as config: with route:
or gate: where it holds several; --config replaces it. Its permission table counts
unless the file or --table names one. An expectation then checks the response to a
denied call by status and response_headers, and what the upstream receives of an
allowed one by upstream_headers.

Where an activity asks a decision point, answer: true or answer: false says what
it answers to every question of the call; nobody is asked.

Coverage is the share of activities that took part in a decision.`,
		Example: `  gatehouse test permissions.test.yaml
  gatehouse test --table permissions.yaml --min-coverage 100 tests/*.yaml`,
		ValidArgsFunction: terminal.CompleteTables,
		RunE:              o.run,
	}
	o.gate.Register(c)
	c.Flags().Var(&o.minCoverage, "min-coverage", "least `percent` of activities that expectations must touch")
	c.Flags().BoolVarP(&o.all, "verbose", "v", false, "print the expectations that hold too")
	o.output.Register(c)
	return c
}

func (o *testCommandOptions) run(cmd *cobra.Command, args []string) error {
	files, err := readExpectations(cmd, args)
	if err != nil {
		return err
	}
	run := testRun{options: o, gates: map[string]*testedGate{}}
	for _, f := range files {
		if err := run.file(cmd, f); err != nil {
			return err
		}
	}
	if o.output.JSON() {
		err = terminal.PrintJSON(cmd.OutOrStdout(), run.forJSON())
	} else {
		run.print(o.output.Printer(cmd))
	}
	if err == nil && (run.failed() > 0 || run.coverage() < float64(o.minCoverage)) {
		err = terminal.ErrNo
	}
	return err
}

// Expect compares the decisions of a table in files with expectations, and prints what
// comes otherwise. It ends with terminal.ErrNo if something does.
func Expect(cmd *cobra.Command, table, expectations []string) error {
	var o testCommandOptions
	o.gate.Table.Paths = table
	return o.run(cmd, expectations)
}

func readExpectations(cmd *cobra.Command, args []string) ([]*expectation.File, error) {
	if len(args) == 0 {
		return nil, errors.New("no file is named; give the files with expectations, as in: gatehouse test permissions.test.yaml")
	}
	var files []*expectation.File
	var problems report.Problems
	for _, name := range args {
		text, err := terminal.ReadInput(cmd.InOrStdin(), name, strictyaml.MaxFile)
		if err != nil {
			return nil, err
		}
		file, err := expectation.Parse(tables.ShownName(name), text)
		var found report.Problems
		switch {
		case errors.As(err, &found):
			problems = append(problems, found...)
		case err != nil:
			return nil, err
		}
		files = append(files, file)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return files, nil
}

// testRun is what came of all expectations.
type testRun struct {
	options *testCommandOptions
	results []testResult
	gates   map[string]*testedGate
	order   []*testedGate
}

// testedGate is a gate with the activities that decided so far.
type testedGate struct {
	*gates.Gate
	touched map[report.Place]bool
}

// testResult is one expectation with the decision.
type testResult struct {
	expectation.Expectation
	*offline.Outcome
}

func (r *testResult) holds() bool { return len(r.differences()) == 0 }

// differences lists what came otherwise than expected.
func (r *testResult) differences() []string {
	if questions := r.Outcome.Asks(); questions != nil {
		return []string{"want " + verdict(r.Expectation.Allowed) + ", and the decision point decides: state answer: true or false; it would be asked " + ask.Key(questions[0])}
	}
	if r.Expectation.Allowed != r.Outcome.Allowed() {
		return []string{"want " + verdict(r.Expectation.Allowed) + ", got " + verdict(r.Outcome.Allowed())}
	}
	var all []string
	if want := r.Expectation.Status; want != 0 && want != r.Outcome.Status {
		all = append(all, fmt.Sprintf("want status %d, got %d", want, r.Outcome.Status))
	}
	all = append(all, headerDifferences("upstream", r.Expectation.Upstream, r.Outcome.Upstream())...)
	return append(all, headerDifferences("response", r.Response, slices.Concat(r.Header, r.ResponseHeader))...)
}

// headerDifferences compares the headers that are wanted with those that came.
func headerDifferences(where string, want, got []core.Header) []string {
	var all []string
	for _, w := range want {
		var values []string
		for _, g := range got {
			if strings.EqualFold(g.Name, w.Name) {
				values = append(values, g.Value)
			}
		}
		if came := strings.Join(values, ", "); came != w.Value {
			all = append(all, fmt.Sprintf("want %s header %s: %s, got %s", where, w.Name, orNone(w.Value), orNone(came)))
		}
	}
	return all
}

func orNone(value string) string { return cmp.Or(value, "none") }

func (r *testRun) file(cmd *cobra.Command, f *expectation.File) error {
	g, err := r.gate(cmd, f)
	if err != nil {
		return err
	}
	for _, e := range f.List {
		result, err := g.decide(cmd.Context(), e)
		if err != nil {
			return err
		}
		r.results = append(r.results, result)
		if result.Table == nil {
			continue
		}
		for _, m := range result.Table.Matched {
			if m.Decides {
				g.touched[m.Place] = true
			}
		}
	}
	return nil
}

// gate makes the gate of a file, once for all files with the same.
func (r *testRun) gate(cmd *cobra.Command, f *expectation.File) (*testedGate, error) {
	flags := r.options.gate
	if len(flags.Table.Paths) == 0 {
		flags.Table.Paths = inFolderOf(f.Name, f.Tables)
	}
	if flags.Source.File == "" && f.Config != "" {
		flags.Source.File = inFolderOf(f.Name, []string{f.Config})[0]
		flags.Source.Route, flags.Source.Gate = cmp.Or(flags.Source.Route, f.Route), cmp.Or(flags.Source.Gate, f.Gate)
	}
	if len(flags.Table.Paths) == 0 && flags.Source.File == "" {
		return nil, fmt.Errorf("%s names no table; write table: [%s] into it, or use --table", f.Name, tables.DefaultName)
	}
	key := fmt.Sprintf("%q", append([]string{flags.Source.File, flags.Source.Route, flags.Source.Gate}, flags.Table.Paths...))
	if r.gates[key] == nil {
		g, err := flags.Open(cmd)
		if err != nil {
			return nil, err
		}
		r.gates[key] = &testedGate{g, map[report.Place]bool{}}
		r.order = append(r.order, r.gates[key])
	}
	return r.gates[key], nil
}

// inFolderOf are files that another one names from its own folder.
func inFolderOf(file string, names []string) []string {
	var paths []string
	for _, name := range names {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(file), name)
		}
		paths = append(paths, name)
	}
	return paths
}

func (g *testedGate) decide(ctx context.Context, e expectation.Expectation) (testResult, error) {
	request := gates.RequestFlags{Host: e.Host, Scheme: terminal.Choice{Value: e.Scheme}}
	r, err := request.Request(e.Method, e.Target)
	if err != nil {
		return testResult{}, report.Problems{{Place: e.Place, Text: err.Error()}}
	}
	r.Header, r.Peer = e.Headers, e.Peer
	caller, err := expectedCaller(&e.Who)
	if err == nil && e.Who.Certificate != "" {
		at := e.Who.CertificatePlace
		if err := gates.CertificateOf(caller, inFolderOf(at.File, []string{e.Who.Certificate})[0]); err != nil {
			return testResult{}, report.Problems{{Place: at, Text: "who: certificate: " + err.Error()}}
		}
	}
	if err == nil {
		var o *offline.Outcome
		if e.Answer != nil {
			ctx = ask.WithStated(ctx, ask.Always(*e.Answer))
		}
		if o, err = g.Decide(ctx, r, caller); err == nil {
			return testResult{e, o}, nil
		}
	}
	return testResult{}, report.Problems{{Place: e.Who.ClaimsPlace, Text: "who: claims: " + err.Error()}}
}

// expectedCaller is the caller of an expectation.
func expectedCaller(w *expectation.Caller) (*offline.Caller, error) {
	c := &offline.Caller{
		Anonymous: w.Anonymous, Kind: w.Kind, Scopes: w.Scopes, Roles: w.Roles, Permissions: w.Permissions,
		Subject: w.Subject, ClientID: w.ClientID, Issuer: w.Issuer, AAL: w.AAL, AuthAge: -1, DPoP: w.DPoP, Actor: w.Actor,
	}
	if w.AuthenticatedAgo > 0 {
		c.AuthAge = w.AuthenticatedAgo
	}
	if w.Claims == nil {
		return c, nil
	}
	var err error
	c.Claims, err = offline.DecodeClaims(w.Claims)
	return c, err
}

func (r *testRun) failed() int {
	n := 0
	for i := range r.results {
		if !r.results[i].holds() {
			n++
		}
	}
	return n
}

func (r *testRun) activities() (touched, all int, untouched []permission.OwnedActivity) {
	for _, t := range r.order {
		for _, rule := range t.Activities() {
			all++
			if t.touched[rule.Place] {
				touched++
			} else {
				untouched = append(untouched, rule)
			}
		}
	}
	return touched, all, untouched
}

// coverage is in percent. A table without activities is covered.
func (r *testRun) coverage() float64 {
	touched, all, _ := r.activities()
	if all == 0 {
		return 100
	}
	return 100 * float64(touched) / float64(all)
}

func (r *testRun) print(p *terminal.Printer) {
	for i := range r.results {
		if result := &r.results[i]; !result.holds() || r.options.all {
			printResult(p, result)
		}
	}
	touched, all, untouched := r.activities()
	if len(untouched) > 0 {
		p.Printf("no expectation touches\n")
		for i := range untouched {
			p.Printf("  %s: %s  %s\n", untouched[i].Owner(), tables.Describe(&untouched[i]), p.Dim(tables.Place(untouched[i].Place)))
		}
	}
	verdict := p.Good("all hold")
	if failed := r.failed(); failed > 0 {
		verdict = p.Bad(terminal.Plural(failed, "fails", "fail"))
	}
	coverage := fmt.Sprintf("%.0f%%", r.coverage())
	if r.coverage() < float64(r.options.minCoverage) {
		coverage = p.Bad(coverage + ", less than " + r.options.minCoverage.String() + "%")
	}
	p.Printf("%s, %s; %d of %s touched (%s)\n", terminal.Plural(len(r.results), "expectation", "expectations"), verdict, touched, terminal.Plural(all, "activity", "activities"), coverage)
}

func printResult(p *terminal.Printer, r *testResult) {
	came := verdict(r.Outcome.Allowed())
	if differences := r.differences(); len(differences) > 0 {
		came = strings.Join(differences, "; ")
	}
	p.Printf("%s %s: %s by %s: %s\n", p.Mark(r.holds()), p.Bold(tables.Place(r.Expectation.Place)), p.Name(r.Expectation.Method+" "+r.Expectation.Target), r.Who.String(), came)
	if r.holds() {
		return
	}
	p.Printf("    why      %s\n", r.Why)
	p.Printf("    because  %s\n", because(r.Outcome))
}

func verdict(allowed bool) string {
	if allowed {
		return "allowed"
	}
	return "denied"
}

// because says in one line why a call is decided as it is.
func because(o *offline.Outcome) string {
	switch {
	case o.Responds():
		return "an endpoint of the gate itself"
	case !o.Allowed():
		return o.Cause.Error()
	}
	for i := range o.Table.Matched {
		f := &o.Table.Matched[i]
		if !f.Decides || !f.Allows {
			continue
		}
		text := f.Owner() + ": " + tables.Describe(&f.OwnedActivity) + "  " + tables.Place(f.Place)
		if len(f.Grants) > 0 {
			text += ", by " + f.Grants[0]
		}
		return text
	}
	return ""
}

// --- for programs

type testJSON struct {
	Expectations []resultJSON          `json:"expectations"`
	Failed       int                   `json:"failed"`
	Activities   int                   `json:"activities"`
	Touched      int                   `json:"touched"`
	Coverage     float64               `json:"coverage"`
	Untouched    []tables.ActivityJSON `json:"untouched"`
}

type resultJSON struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Method  string `json:"method"`
	Target  string `json:"target"`
	Who     string `json:"who"`
	Why     string `json:"why"`
	Want    bool   `json:"want"`
	Allowed bool   `json:"allowed"`
	Holds   bool   `json:"holds"`
	Because string `json:"because"`
	// Status is that of the response to a denied call.
	Status      int      `json:"status,omitempty"`
	Differences []string `json:"differences,omitempty"`
}

func (r *testRun) forJSON() testJSON {
	out := testJSON{Expectations: []resultJSON{}, Failed: r.failed(), Coverage: r.coverage()}
	var untouched []permission.OwnedActivity
	out.Touched, out.Activities, untouched = r.activities()
	out.Untouched = tables.ActivitiesForJSON(untouched)
	for i := range r.results {
		t := &r.results[i]
		at := t.Expectation.Place
		out.Expectations = append(out.Expectations, resultJSON{
			at.File, at.Line, at.Column, t.Method, t.Target, t.Who.String(), t.Why,
			t.Expectation.Allowed, t.Outcome.Allowed(), t.holds(), because(t.Outcome), t.Outcome.Status, t.differences(),
		})
	}
	return out
}
