package tables

import (
	"strings"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/analysis/lint"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/passing"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/require"
	"gatehouse/internal/cli/terminal"
)

// Place writes where a rule stands.
func Place(p report.Place) string { return p.String() }

// Describe writes an activity on one line, with all that narrows it.
func Describe(r *permission.OwnedActivity) string {
	text := r.String()
	if len(r.Hosts) > 0 {
		text += "  on " + terminal.Listing(r.Hosts, "and")
	}
	if r.Override {
		text += "  override"
	}
	return text
}

// Requirements writes everything that an activity requires on one line.
func Requirements(r *require.Requirements) string {
	var parts []string
	add := func(name string, list []string, word string) {
		if len(list) > 0 {
			parts = append(parts, RequirementText(name, terminal.Listing(list, word)))
		}
	}
	add("credentials", r.Credentials, "or")
	add("all_scopes", r.AllScopes, "and")
	add("any_scope", r.AnyScope, "or")
	if r.AAL != "" {
		parts = append(parts, RequirementText("aal", r.AAL))
	}
	add("actor", r.Actor, "or")
	if r.Proof != "" {
		parts = append(parts, RequirementText("proof", r.Proof))
	}
	if r.MaxAge > 0 {
		parts = append(parts, RequirementText("max_age", require.ShortDuration(r.MaxAge)))
	}
	if r.When != "" {
		parts = append(parts, "when "+r.When)
	}
	for _, q := range r.Asks {
		parts = append(parts, RequirementText("ask", ask.Describe(q)))
	}
	return strings.Join(parts, "; ")
}

// RequirementText words one requirement by its key in the file.
func RequirementText(name, want string) string {
	switch name {
	case "aal":
		return "assurance level " + want
	case "max_age":
		return "an authentication no older than " + want
	case "proof":
		return proofText(want)
	case "actor":
		return actorText(want)
	case "credentials":
		return "a credential of kind " + want
	case "all_scopes":
		return "the further scopes " + want
	case "any_scope":
		return "a further scope, " + want
	case "ask":
		return "the decision point to say yes to " + want
	}
	return "a call for which " + want
}

// actorText words who must act, or that nobody may.
func actorText(want string) string {
	switch want {
	case require.NoActor:
		return "a credential that is not delegated"
	case require.AnyActor:
		return "a credential that is delegated to an actor"
	}
	return "the actor " + want
}

// proofText words a proof of possession.
func proofText(want string) string {
	switch core.Proof(want) {
	case core.ProofMTLS:
		return "a client certificate that the credential is bound to (mtls)"
	case core.ProofDPoP:
		return "a DPoP proof of the key that the credential is bound to (dpop)"
	}
	return "a proof of the key that the credential is bound to, by mtls or dpop"
}

// Description is what a file says about a permission.
func (t *Table) Description(name string) string {
	for _, f := range t.Files {
		for i := range f.Permissions {
			if f.Permissions[i].Name == name {
				return f.Permissions[i].Description
			}
		}
	}
	return ""
}

// PrintFinding prints what lint has found.
func PrintFinding(p *terminal.Printer, f *lint.Finding) {
	p.Printf("%s: %s: %s\n", p.Bold(Place(f.Place)), p.Warn(f.Rule), f.Text)
	if f.Witness != nil {
		p.Printf("    witness  %s\n", p.Name(f.Witness.String()))
	}
	if f.Caller != nil {
		w := &passing.Witness{Call: *f.Witness, Example: f.Caller}
		p.Printf("    passes   %s, for %s\n", CallText(w), CallerText(f.Caller.Principal))
	}
	if f.Other != nil {
		p.Printf("    beside   %s\n", Place(*f.Other))
	}
	if f.Reason != "" {
		p.Printf("    silenced %s\n", f.Reason)
	}
}

// --- for programs

// ActivityJSON is an activity in the output of any command.
type ActivityJSON struct {
	File       string       `json:"file"`
	Line       int          `json:"line"`
	Column     int          `json:"column"`
	Section    string       `json:"section"`
	Permission string       `json:"permission,omitempty"`
	Methods    []string     `json:"methods"`
	Path       string       `json:"path"`
	Hosts      []string     `json:"hosts,omitempty"`
	Override   bool         `json:"override,omitempty"`
	Require    *requireJSON `json:"require,omitempty"`
}

type requireJSON struct {
	AllScopes   []string  `json:"all_scopes,omitempty"`
	AnyScope    []string  `json:"any_scope,omitempty"`
	AAL         string    `json:"aal,omitempty"`
	MaxAge      string    `json:"max_age,omitempty"`
	Credentials []string  `json:"credentials,omitempty"`
	Proof       string    `json:"proof,omitempty"`
	Actor       []string  `json:"actor,omitempty"`
	When        string    `json:"when,omitempty"`
	Ask         []askJSON `json:"ask,omitempty"`
}

// askJSON is a question as it is written.
type askJSON struct {
	Subject  *authzen.Entity `json:"subject,omitempty"`
	Action   authzen.Action  `json:"action"`
	Resource authzen.Entity  `json:"resource"`
	Context  map[string]any  `json:"context,omitempty"`
}

func asksForJSON(asks []authzen.Evaluation) (list []askJSON) {
	for _, q := range asks {
		one := askJSON{Action: q.Action, Resource: q.Resource, Context: q.Context}
		if q.Subject.Type+q.Subject.ID != "" || len(q.Subject.Properties) > 0 {
			one.Subject = &q.Subject
		}
		list = append(list, one)
	}
	return list
}

// ActivityForJSON is an activity for programs.
func ActivityForJSON(r *permission.OwnedActivity) ActivityJSON {
	out := ActivityJSON{
		File: r.Place.File, Line: r.Place.Line, Column: r.Place.Column,
		Section: r.Section.String(), Permission: r.Permission,
		Methods: r.Methods, Path: r.ShownPath(), Hosts: r.Hosts, Override: r.Override,
	}
	if need := &r.Require; Requirements(need) != "" {
		out.Require = &requireJSON{AllScopes: need.AllScopes, AnyScope: need.AnyScope, AAL: need.AAL, Credentials: need.Credentials, Proof: need.Proof, Actor: need.Actor, When: need.When, Ask: asksForJSON(need.Asks)}
		if need.MaxAge > 0 {
			out.Require.MaxAge = require.ShortDuration(need.MaxAge)
		}
	}
	return out
}

// WitnessJSON is a call that shows something.
type WitnessJSON struct {
	Method string `json:"method"`
	Host   string `json:"host,omitempty"`
	Path   string `json:"path"`
	Target string `json:"target"`
}

// WitnessForJSON is a call for programs; nil: none.
func WitnessForJSON(c *analysis.Call) *WitnessJSON {
	if c == nil {
		return nil
	}
	path := c.Path
	if mcp.IsPath(path) {
		path = mcp.FromPath(path).Endpoint
	}
	return &WitnessJSON{c.Method, c.Host, path, c.Target()}
}

// ActivitiesForJSON are activities for programs.
func ActivitiesForJSON(list []permission.OwnedActivity) []ActivityJSON {
	out := []ActivityJSON{}
	for i := range list {
		out = append(out, ActivityForJSON(&list[i]))
	}
	return out
}
