package decide

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/permission/callers"
	"gatehouse/core/permission/prove"
	"gatehouse/internal/cli/gates"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

type proveCommandOptions struct {
	gate    gates.Flags
	output  terminal.OutputFlags
	timeout time.Duration
}

// ProveCommand is gatehouse prove.
func ProveCommand() *cobra.Command {
	var o proveCommandOptions
	c := &cobra.Command{
		Use:   "prove [flags] FILE...",
		Short: "Prove what a permission table can never do, for all requests and all callers",
		Long: `Answer the properties in files of expectations, for all requests and all callers:

    table: [permissions.yaml]
    properties:
      - why: only human resources read the files of human resources
        calls: [GET /files/hr/.*]
        need: {any_role: [hr]}
      - why: nobody deletes the audit log
        calls: [DELETE /audit/.*]
        need: nobody

A property says what everybody has who passes some calls. The answer is proven; or a
counterexample, a call and a caller that the gate lets pass, with the command that shows
it; or unknown, with the reason. Conditions are decided by equality, membership, has() and
what joins them; of other parts only the text is known.

The table and the configuration are named as for gatehouse test. With --config, the
callers are those that the configuration accepts.

The exit status is 0 where all is proven, 1 where there is a counterexample, and 2 where an
answer is unknown.`,
		Example: `  gatehouse prove permissions.test.yaml
  gatehouse prove --table permissions.yaml --output json properties/*.yaml`,
		ValidArgsFunction: terminal.CompleteTables,
		RunE:              o.run,
	}
	o.gate.Register(c)
	o.output.Register(c)
	c.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "`time` for all answers; what is not answered by then is unknown")
	return c
}

func (o *proveCommandOptions) run(cmd *cobra.Command, args []string) error {
	files, err := readExpectations(cmd, args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	run := testRun{options: &testCommandOptions{gate: o.gate}, gates: map[string]*testedGate{}}
	var answers []answer
	for _, f := range files {
		if len(f.Properties) == 0 {
			return fmt.Errorf("%s has no properties; list them under properties", f.Name)
		}
		g, err := run.gate(cmd, f)
		if err != nil {
			return err
		}
		p := prover{g.Gate, o.named(f.Name, f.Tables)}
		found, err := p.answers(ctx, f.Properties)
		if err != nil {
			return err
		}
		answers = append(answers, found...)
	}
	if o.output.JSON() {
		err = terminal.PrintJSON(cmd.OutOrStdout(), answersForJSON(answers))
	} else {
		printAnswers(o.output.Printer(cmd), answers)
	}
	return cmp.Or(err, outcome(answers))
}

// named are the flags by which explain finds the same gate.
func (o *proveCommandOptions) named(file string, written []string) (flags []string) {
	names := o.gate.Table.Paths
	if len(names) == 0 {
		names = inFolderOf(file, written)
	}
	for _, name := range names {
		flags = append(flags, "--table", name)
	}
	for _, flag := range []struct{ name, value string }{{"--config", o.gate.Source.File}, {"--route", o.gate.Source.Route}, {"--gate", o.gate.Source.Gate}} {
		if flag.value != "" {
			flags = append(flags, flag.name, flag.value)
		}
	}
	return flags
}

// outcome is the exit status of the answers.
func outcome(answers []answer) error {
	unknown := 0
	for _, a := range answers {
		switch a.Result {
		case prove.Refuted:
			return terminal.ErrNo
		case prove.Unknown:
			unknown++
		}
	}
	if unknown == 0 {
		return nil
	}
	return fmt.Errorf("%s: the answer is unknown", terminal.Plural(unknown, "property", "properties"))
}

// prover answers properties about the table of a gate.
type prover struct {
	*gates.Gate
	flags []string
}

// answer is a verdict with the command that shows its counterexample.
type answer struct {
	prove.Verdict
	command string
}

func (p *prover) answers(ctx context.Context, properties []prove.Property) ([]answer, error) {
	verdicts, err := prove.Run(ctx, p.Table.Table, p.Files, properties, prove.Options{
		Path: p.Path(), Accepted: p.accepted(), ScopesRequired: p.ScopesRequired(),
		Confirm: func(w *prove.Witness) error { return p.confirm(ctx, w) },
	})
	if err != nil {
		return nil, err
	}
	answers := make([]answer, len(verdicts))
	for i, v := range verdicts {
		answers[i].Verdict = v
		if v.Witness != nil {
			answers[i].command = p.command(v.Witness)
		}
	}
	return answers, nil
}

// accepted are the credentials that the gate accepts.
func (p *prover) accepted() callers.Accepted {
	a := callers.Accepted{CannotState: func(k core.Kind) []string { return p.CannotState(k, "") }}
	for _, c := range p.Variants(&offline.Caller{}) {
		if c.Kind != "" {
			a.Kinds = append(a.Kinds, c.Kind)
		}
	}
	return a
}

// confirm has the gate decide a witness as gatehouse explain does.
func (p *prover) confirm(ctx context.Context, w *prove.Witness) error {
	c, err := callerOf(w)
	if err != nil {
		return err
	}
	o, err := p.Decide(ctx, w.Request(gates.AnyHost), c)
	switch {
	case err != nil:
		return err
	case o.Responds():
		return errors.New("an endpoint of the gate itself responds")
	case !o.Allowed():
		return o.Cause
	}
	return nil
}

// callerOf is the caller of a witness, as the flags of explain describe them.
func callerOf(w *prove.Witness) (*offline.Caller, error) {
	c := offline.Describe(w.Principal, time.Now())
	if w.Principal == nil {
		return c, nil
	}
	if w.Principal.Proof == core.ProofMTLS {
		c.Chain = []*x509.Certificate{{Raw: []byte("any certificate")}}
	}
	if c.Claims == nil {
		return c, nil
	}
	text, err := json.Marshal(c.Claims)
	if err == nil {
		c.Claims, err = offline.DecodeClaims(text)
	}
	return c, err
}

// command is the line by which gatehouse explain shows a witness.
func (p *prover) command(w *prove.Witness) string {
	args := append([]string{"gatehouse", "explain"}, p.flags...)
	args = append(args, p.pathFlags()...)
	add := func(flag, value string) {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	add("--host", w.Host)
	for _, h := range w.Header {
		add("--header", h.Name+": "+h.Value)
	}
	if w.Peer.IsValid() {
		add("--peer", w.Peer.String())
	}
	begin := ""
	if w.Principal == nil {
		args = append(args, "--anonymous")
	} else {
		begin = callerFlags(w.Principal, add)
		if w.Principal.Proof == core.ProofDPoP {
			args = append(args, "--dpop")
		}
	}
	args = append(args, w.Method, w.Target())
	for i := range args {
		args[i] = quoted(args[i])
	}
	return begin + strings.Join(args, " ")
}

// pathFlags are those by which explain reads paths as the gate does, where no
// configuration says it.
func (p *prover) pathFlags() (flags []string) {
	if p.Name != "" {
		return nil
	}
	for _, f := range []struct {
		name string
		on   bool
	}{{"--allow-semicolon", p.Path().AllowSemicolon}, {"--allow-double-slash", p.Path().AllowDoubleSlash}, {"--allow-encoded-slash", p.Path().AllowEncodedSlash}} {
		if f.on {
			flags = append(flags, f.name)
		}
	}
	return flags
}

// callerFlags adds the flags for a caller, and returns what writes their claims.
func callerFlags(p *core.Principal, add func(flag, value string)) (begin string) {
	add("--kind", string(p.Kind))
	add("--sub", p.Subject)
	add("--client-id", p.ClientID)
	add("--issuer", p.Issuer)
	add("--aal", p.AAL)
	if !p.AuthenticatedAt.IsZero() {
		add("--auth-age", tables.Age(p).String())
	}
	for _, list := range []struct {
		flag  string
		names []string
	}{{"--role", p.Roles}, {"--scope", p.Scopes}, {"--permission", p.Permissions}} {
		for _, name := range list.names {
			add(list.flag, name)
		}
	}
	if p.Proof == core.ProofMTLS {
		add("--certificate", "client.pem")
	}
	claims := offline.Describe(p, time.Now()).Claims
	if claims == nil {
		return ""
	}
	text, err := json.Marshal(claims)
	if err != nil { // it was made of texts, lists and maps
		return ""
	}
	add("--claims", "-")
	return "echo " + quoted(string(text)) + " | "
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// quoted writes an argument for a POSIX shell.
func quoted(arg string) string {
	if plainWord.MatchString(arg) {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

func printAnswers(p *terminal.Printer, answers []answer) {
	count := map[prove.Result]int{}
	for i := range answers {
		count[answers[i].Result]++
		printAnswer(p, &answers[i])
	}
	parts := []string{fmt.Sprintf("%d proven", count[prove.Proven])}
	if n := count[prove.Refuted]; n > 0 {
		parts = append(parts, p.Bad(fmt.Sprintf("%d with a counterexample", n)))
	}
	if n := count[prove.Unknown]; n > 0 {
		parts = append(parts, p.Warn(fmt.Sprintf("%d unknown", n)))
	}
	p.Printf("%s: %s\n", terminal.Plural(len(answers), "property", "properties"), strings.Join(parts, ", "))
}

func printAnswer(p *terminal.Printer, a *answer) {
	at := p.Bold(tables.Place(a.Place))
	switch a.Result {
	case prove.Proven:
		p.Printf("%s %s: %s: proven\n", p.Mark(true), at, a.Why)
	case prove.Unknown:
		p.Printf("%s %s: %s: unknown\n    because  %s\n", p.Warn("?"), at, a.Why, a.Reason)
	case prove.Refuted:
		p.Printf("%s %s: %s: counterexample\n", p.Mark(false), at, a.Why)
		p.Printf("    call     %s\n", p.Name(tables.CallText(a.Witness)))
		p.Printf("    caller   %s\n", tables.CallerText(a.Witness.Principal))
		for i := range a.Witness.Deciding {
			rule := &a.Witness.Deciding[i]
			p.Printf("    decides  %s: %s  %s\n", rule.Owner(), tables.Describe(rule), p.Dim(tables.Place(rule.Place)))
		}
		p.Printf("    shown by %s\n", a.command)
	}
}

// --- for programs

type answersJSON struct {
	Proven     bool         `json:"proven"`
	Properties []answerJSON `json:"properties"`
}

type answerJSON struct {
	File    string          `json:"file"`
	Line    int             `json:"line"`
	Why     string          `json:"why"`
	Result  string          `json:"result"`
	Reason  string          `json:"reason,omitempty"`
	Call    *provenCallJSON `json:"call,omitempty"`
	Caller  *tables.WhoJSON `json:"caller,omitempty"`
	Decides []string        `json:"decides,omitempty"`
	Command string          `json:"command,omitempty"`
}

type provenCallJSON struct {
	Method string       `json:"method"`
	Target string       `json:"target"`
	Host   string       `json:"host,omitempty"`
	Header []HeaderJSON `json:"headers,omitempty"`
	Peer   string       `json:"peer,omitempty"`
}

func answersForJSON(answers []answer) answersJSON {
	out := answersJSON{Proven: true, Properties: []answerJSON{}}
	for i := range answers {
		a := &answers[i]
		out.Proven = out.Proven && a.Result == prove.Proven
		one := answerJSON{File: a.Place.File, Line: a.Place.Line, Why: a.Why, Result: string(a.Result), Reason: a.Reason, Command: a.command}
		if w := a.Witness; w != nil {
			one.Call, one.Caller = provenCallForJSON(w), tables.WhoForJSON(w.Principal)
			for n := range w.Deciding {
				one.Decides = append(one.Decides, w.Deciding[n].Owner()+": "+tables.Describe(&w.Deciding[n]))
			}
		}
		out.Properties = append(out.Properties, one)
	}
	return out
}

func provenCallForJSON(w *prove.Witness) *provenCallJSON {
	call := &provenCallJSON{Method: w.Method, Target: w.Target(), Host: w.Host, Header: HeadersForJSON(w.Header)}
	if w.Peer.IsValid() {
		call.Peer = w.Peer.String()
	}
	return call
}
