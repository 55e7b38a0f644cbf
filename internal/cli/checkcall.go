package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/internal/check/gate"
	"gatehouse/internal/cli/decide"
	"gatehouse/internal/cli/gates"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

// checkedCall is a call that every gate of the files decides.
type checkedCall struct {
	line    string
	request gates.RequestFlags
	caller  gates.CallerFlags
}

func (k *checkedCall) register(c *cobra.Command) {
	c.Flags().StringVar(&k.line, "call", "", "`\"METHOD PATH\"` of a call; shows what each gate makes of it for the caller that the flags describe")
	k.request.Register(c)
	k.caller.Register(c)
}

// given tells that there is a call, and refuses what goes with one if not.
func (k *checkedCall) given(cmd *cobra.Command) (bool, error) {
	if k.line != "" {
		return true, nil
	}
	for _, name := range append([]string{"anonymous", "host", "header", "peer", "scheme"}, gates.CallerFlagNames...) {
		if cmd.Flags().Changed(name) {
			return false, fmt.Errorf("--%s goes with --call, the call that is made, as in: --call 'GET /users/7'", name)
		}
	}
	return false, nil
}

// gateDecision is what one gate decides.
type gateDecision struct {
	gate gate.Gate
	*offline.Outcome
	// failure says why nothing was decided.
	failure string
}

// decide makes the call at every gate.
func (k *checkedCall) decide(cmd *cobra.Command, gates []gate.Gate) ([]gateDecision, error) {
	method, target, _ := strings.Cut(k.line, " ")
	r, err := k.request.Request(method, strings.TrimSpace(target))
	if err != nil {
		return nil, fmt.Errorf("--call: %w", err)
	}
	caller, err := k.caller.Caller(cmd)
	if err != nil {
		return nil, err
	}
	var decisions []gateDecision
	for _, gate := range gates {
		d := gateDecision{gate: gate}
		if d.Outcome, err = decideAt(cmd, gate, r, caller); err != nil {
			d.failure = err.Error()
		}
		decisions = append(decisions, d)
	}
	return decisions, nil
}

func decideAt(cmd *cobra.Command, gate gate.Gate, r *core.Request, caller *offline.Caller) (*offline.Outcome, error) {
	if gate.Table == nil {
		return nil, fmt.Errorf("its permission table is not here; --root DIR looks for it in DIR")
	}
	compiled, err := permission.Compile(gate.Table...)
	if err != nil {
		return nil, err
	}
	g, err := offline.New(gate.Config, core.PathOptions{}, inspect.New(compiled, gate.Table...))
	if err != nil {
		return nil, err
	}
	request := *r
	return g.Decide(cmd.Context(), &request, caller)
}

func (k *checkedCall) print(p *terminal.Printer, decisions []gateDecision) {
	for _, d := range decisions {
		p.Printf("\n%s at %s: ", p.Bold(k.line), d.gate.Place)
		switch {
		case d.failure != "":
			p.Printf("%s\n", p.Warn(d.failure))
			continue
		case d.Allowed():
			p.Printf("%s\n", p.Good("allowed"))
		default:
			p.Printf("%s\n", p.Bad(fmt.Sprintf("denied %d %s", d.Status, d.Reason)))
		}
		decide.Explanation{Printer: p, Outcome: d.Outcome}.Effect()
	}
}

type checkedCallJSON struct {
	File     string              `json:"file"`
	Line     int                 `json:"line"`
	Column   int                 `json:"column"`
	Failure  string              `json:"failure,omitempty"`
	Allowed  bool                `json:"allowed"`
	Status   int                 `json:"status,omitempty"`
	Reason   string              `json:"reason,omitempty"`
	Response []decide.HeaderJSON `json:"response_headers,omitempty"`
	Strip    []string            `json:"strip_headers,omitempty"`
	Set      []decide.HeaderJSON `json:"upstream_headers,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
}

func checkedCalls(decisions []gateDecision) []checkedCallJSON {
	var out []checkedCallJSON
	for _, d := range decisions {
		one := checkedCallJSON{File: d.gate.File, Line: d.gate.Line, Column: d.gate.Column, Failure: d.failure}
		if d.Outcome != nil {
			one.Allowed, one.Status, one.Reason = d.Allowed(), d.Status, d.Reason
			one.Response, one.Strip, one.Set, one.Groups = decide.HeadersForJSON(d.Header), d.Strip, decide.HeadersForJSON(d.Set), d.Groups
		}
		out = append(out, one)
	}
	return out
}
