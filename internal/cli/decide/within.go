package decide

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/prove"
	"gatehouse/internal/cli/gates"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

// What can be proven of a new table beside an old one.
const (
	Narrower = "narrower"
	Wider    = "wider"
	Equal    = "equal"
)

// claims say what is proven, in words.
var claims = map[string]string{
	Narrower: "the new table lets nothing pass that the old one refuses",
	Wider:    "the new table refuses nothing that the old one lets pass",
}

// Comparison proves for gatehouse diff what a change does, for all requests and callers.
type Comparison struct {
	Output  *terminal.OutputFlags
	Claim   string
	Timeout time.Duration
}

// ComparedTable is one of the tables, with the flags by which explain finds it; none where
// explain cannot.
type ComparedTable struct {
	*tables.Table
	Flags []string
}

// compared is an answer with the commands that show its counterexample.
type compared struct {
	*prove.Verdict
	claim string
	// passes and refuses are the commands for the table that lets the call pass, and for
	// the other one.
	passes, refuses string
}

// Run answers and prints. The error says how the command ends.
func (c *Comparison) Run(cmd *cobra.Command, older, newer ComparedTable) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), c.Timeout)
	defer cancel()
	was, err := older.prover()
	if err != nil {
		return err
	}
	is, err := newer.prover()
	if err != nil {
		return err
	}
	var answers []*compared
	for _, claim := range []struct {
		name          string
		table, within *prover
	}{{Narrower, is, was}, {Wider, was, is}} {
		if c.Claim != Equal && c.Claim != claim.name {
			continue
		}
		a, err := claim.table.within(ctx, claim.within)
		if err != nil {
			return err
		}
		a.claim = claim.name
		answers = append(answers, a)
	}
	if c.Output.JSON() {
		err = terminal.PrintJSON(cmd.OutOrStdout(), comparedForJSON(answers))
	} else {
		for _, a := range answers {
			a.print(c.Output.Printer(cmd))
		}
	}
	if err != nil {
		return err
	}
	return outcomeOf(answers)
}

// outcomeOf is the exit status of the answers.
func outcomeOf(all []*compared) error {
	var unknown error
	for _, a := range all {
		switch a.Result {
		case prove.Refuted:
			return terminal.ErrNo
		case prove.Unknown:
			unknown = fmt.Errorf("%s: the answer is unknown", a.claim)
		}
	}
	return unknown
}

// prover decides by a gate that has the table and no configuration.
func (t ComparedTable) prover() (*prover, error) {
	g, err := offline.New(nil, core.PathOptions{}, t.Inspector)
	return &prover{&gates.Gate{Gate: g, Table: t.Table}, t.Flags}, err
}

// within answers whether what passes by a table passes by another one, too.
func (p *prover) within(ctx context.Context, other *prover) (*compared, error) {
	version := func(p *prover) prove.Version { return prove.Version{Table: p.Table.Table, Files: p.Files} }
	v, err := prove.Within(ctx, version(p), version(other), prove.Options{
		Path: p.Path(), Accepted: p.accepted(),
		Confirm: func(w *prove.Witness) error {
			if err := p.confirm(ctx, w); err != nil {
				return err
			}
			if other.confirm(ctx, w) == nil {
				return errors.New("the gate of the other table lets the call pass, too")
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	a := &compared{Verdict: v}
	if v.Witness != nil && p.flags != nil && other.flags != nil {
		a.passes, a.refuses = p.command(v.Witness), other.command(v.Witness)
	}
	return a, nil
}

// sides are the activities of the old table and of the new one that decide the witness.
func (a *compared) sides() (was, is []permission.OwnedActivity) {
	if a.claim == Narrower {
		return a.Witness.Before, a.Witness.Deciding
	}
	return a.Witness.Deciding, a.Witness.Before
}

func (a *compared) print(p *terminal.Printer) {
	claim := p.Bold(a.claim) + ": " + claims[a.claim]
	switch a.Result {
	case prove.Proven:
		p.Printf("%s %s: proven\n", p.Mark(true), claim)
		return
	case prove.Unknown:
		p.Printf("%s %s: unknown\n    because    %s\n", p.Warn("?"), claim, a.Reason)
		return
	}
	p.Printf("%s %s: counterexample\n", p.Mark(false), claim)
	p.Printf("    call       %s\n", p.Name(tables.CallText(a.Witness)))
	p.Printf("    caller     %s\n", tables.CallerText(a.Witness.Principal))
	was, is := a.sides()
	printDeciding(p, "was      ", was)
	printDeciding(p, "is       ", is)
	if a.passes != "" {
		p.Printf("    passes by  %s\n", a.passes)
		p.Printf("    refused by %s\n", a.refuses)
	}
}

func printDeciding(p *terminal.Printer, when string, rules []permission.OwnedActivity) {
	if len(rules) == 0 {
		p.Printf("    %s  %s\n", when, p.Dim("not covered"))
	}
	for i := range rules {
		r := &rules[i]
		text := r.Owner() + ": " + tables.Describe(r)
		if need := tables.Requirements(&r.Require); need != "" {
			text += "  requires " + need
		}
		p.Printf("    %s  %s  %s\n", when, text, p.Dim(tables.Place(r.Place)))
	}
}

// --- for programs

type comparisonJSON struct {
	Proven bool           `json:"proven"`
	Claims []comparedJSON `json:"claims"`
}

type comparedJSON struct {
	Claim     string                `json:"claim"`
	Result    string                `json:"result"`
	Reason    string                `json:"reason,omitempty"`
	Call      *provenCallJSON       `json:"call,omitempty"`
	Caller    *tables.WhoJSON       `json:"caller,omitempty"`
	Old       []tables.ActivityJSON `json:"old,omitempty"`
	New       []tables.ActivityJSON `json:"new,omitempty"`
	PassesBy  string                `json:"passes_by,omitempty"`
	RefusedBy string                `json:"refused_by,omitempty"`
}

func comparedForJSON(all []*compared) comparisonJSON {
	out := comparisonJSON{Proven: true, Claims: []comparedJSON{}}
	for _, a := range all {
		out.Proven = out.Proven && a.Result == prove.Proven
		one := comparedJSON{Claim: a.claim, Result: string(a.Result), Reason: a.Reason, PassesBy: a.passes, RefusedBy: a.refuses}
		if a.Witness != nil {
			was, is := a.sides()
			one.Call, one.Caller = provenCallForJSON(a.Witness), tables.WhoForJSON(a.Witness.Principal)
			one.Old, one.New = tables.ActivitiesForJSON(was), tables.ActivitiesForJSON(is)
		}
		out.Claims = append(out.Claims, one)
	}
	return out
}
