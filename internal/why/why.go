// Package why explains a recorded decision by the permission table of its moment. What it says would have
// been enough has been decided by a gate.
package why

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/audit"
	"gatehouse/core/permission"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/mcp"
	"gatehouse/internal/offline"
)

// Verdict is what a table says of a recorded call.
type Verdict string

// Verdicts. A record has no claims and no headers, so that it may be open what a condition said.
const (
	Allows  Verdict = "allow"
	Denies  Verdict = "deny"
	Unknown Verdict = "unknown"
)

// Answer is a recorded decision, taken apart by the table of its moment.
type Answer struct {
	Verdict Verdict
	// Activities are those that cover the call.
	Activities []Activity
	// Elsewhere says that the refusal on record is not the one of this table: something around the table made
	// it, such as scopes_required, or the table is another one. No way is said then.
	Elsewhere bool
	// VariantOf are activities of whose paths the call's is a variant, so that the table refuses it.
	VariantOf []permission.OwnedActivity
	// Enough are ways that would have opened the call: each by itself. Perhaps are ways that would
	// have, had the condition of the activity held, of which the record tells nothing.
	Enough, Perhaps []Way
}

// Activity is one that covers the call.
type Activity struct {
	inspect.Finding
	// Condition is what the record leaves open; empty: nothing.
	Condition string
}

// Table is a permission table with a gate that has it.
type Table struct {
	inspector *inspect.Inspector
	gate      *offline.Gate
	// now is the moment of the record that is being explained.
	now time.Time
}

// Of makes the table of files.
func Of(files ...*permission.File) (*Table, error) {
	t := &Table{}
	compiled, err := permission.Options{Now: func() time.Time { return t.now }}.Compile(files...)
	if err != nil {
		return nil, err
	}
	t.inspector = inspect.New(compiled, files...)
	// What the gate accepted as a path is one.
	t.gate, err = offline.New(nil, core.PathOptions{AllowSemicolon: true, AllowEncodedSlash: true}, t.inspector)
	return t, err
}

// Explain takes a recorded decision apart. The error, if any, says what the record lacks. It must not
// be called by several goroutines at once.
func (t *Table) Explain(ctx context.Context, r *audit.Record) (*Answer, error) {
	asked, err := r.Request()
	if err != nil {
		return nil, err
	}
	mcp.Recall(asked)
	t.now = r.Time
	e := &explaining{record: r, table: t.inspector, gate: t.gate, call: t.gate.Call(asked), caller: r.Principal()}
	switch {
	case e.call.Path != r.Path:
		return nil, audit.ErrNoPath
	case e.call.Method == mcp.HTTPMethod && t.inspector.IsEndpoint(e.call.Path) && r.MCP == nil:
		return nil, errNoTool
	}
	return e.answer(ctx), nil
}

var errNoTool = errors.New("the record does not name the tool that was called at this endpoint of mcp")

// anyCaller is the subject of a caller of whom nothing is known.
const anyCaller = "the-caller"

type explaining struct {
	record *audit.Record
	table  *inspect.Inspector
	gate   *offline.Gate
	call   *core.Call
	caller *core.Principal
	// decided is what the gate decides about the caller on record.
	decided core.Decision
}

func (e *explaining) answer(ctx context.Context) *Answer {
	x := e.table.Explain(ctx, e.call, e.caller)
	e.decided = e.gate.DecideAs(ctx, e.call.Request, e.caller)
	a := &Answer{VariantOf: x.VariantOf, Activities: make([]Activity, len(x.Matched))}
	for i := range x.Matched {
		a.Activities[i] = Activity{x.Matched[i], openCondition(&x.Matched[i])}
	}
	a.Verdict = e.verdict(a.Activities)
	if a.Elsewhere = e.elsewhere(a.Verdict); a.Elsewhere || a.Verdict == Allows || len(a.VariantOf) > 0 {
		return a
	}
	for i := range a.Activities {
		if one := &a.Activities[i]; one.Decides {
			e.ways(ctx, a, one)
		}
	}
	return a
}

// openCondition is the condition of an activity if it reads what no record holds, and what
// it has a decision point asked, whose answer no record holds either.
func openCondition(f *inspect.Finding) string {
	var open []string
	for _, c := range f.Checks {
		switch {
		case c.Name == "ask":
			open = append(open, "the decision point says yes to "+c.Want)
		case slices.ContainsFunc(c.Reads, notOnRecord):
			open = append(open, c.Want)
		}
	}
	return strings.Join(open, ", and ")
}

// notOnRecord reports whether a record does not hold a value that a condition reads.
func notOnRecord(v condition.Value) bool {
	variable, _, _ := strings.Cut(strings.ReplaceAll(v.Name, "[", "."), ".")
	return !slices.Contains([]string{"path", "host", "method"}, variable)
}

// verdict is what the gate decides about the call, as far as the record tells it.
func (e *explaining) verdict(activities []Activity) Verdict {
	open := slices.ContainsFunc(activities, func(a Activity) bool { return a.Decides && a.Condition != "" })
	sure := func(a Activity) bool { return a.Decides && a.Condition == "" && a.Allows }
	switch allowed := e.decided.Outcome == core.Allow; {
	case e.record.Caller != nil && e.record.Caller.Limited: // the permissions of its owner are not on record
		return Unknown
	case slices.ContainsFunc(activities, sure) && allowed && e.chainKnown():
		return Allows
	case open, !e.record.Wholly(), !e.chainKnown(), allowed:
		return Unknown
	}
	return Denies
}

// scopesRequired begins what a gate says of a caller who lacks a scope of scopes_required, before it
// asks the table.
const scopesRequired = "scopes_required lists "

// elsewhere reports whether the cause on record is not that of the table. Where the record leaves
// something open, the table's may be another one.
func (e *explaining) elsewhere(verdict Verdict) bool {
	r := e.record
	if r.Decision != "deny" || e.caller == nil {
		return false
	}
	if strings.Contains(r.Cause, scopesRequired) {
		return true
	}
	cause := e.decided.Cause
	return verdict == Denies && cause != nil && !audit.IsCut(r.Cause) && cause.Error() != r.Cause
}

// chainKnown reports whether no earlier actor can forbid what the record tells.
func (e *explaining) chainKnown() bool {
	_, chain := e.table.Actors()
	return !chain || e.caller == nil || e.caller.Actor == nil || len(e.record.Caller.Actor.Before) == 0
}

// allowed asks the gate about another caller.
func (e *explaining) allowed(ctx context.Context, p *core.Principal) bool {
	d := e.gate.DecideAs(ctx, e.call.Request, p)
	return d.Outcome == core.Allow
}

// Way is what a caller would have needed beside what the record tells, for one activity.
type Way struct {
	Activity permission.OwnedActivity
	// Credential says that one is needed at all; Kind of which kind it has to be; empty: any.
	Credential bool
	Kind       core.Kind
	// Role, Scope and Permission grant the permission of the activity: one of them, or none is needed.
	Role, Scope, Permission string
	// Scopes are needed beside.
	Scopes []string
	AAL    string
	MaxAge time.Duration
	Proof  core.Proof
	// Condition would have to hold, too; empty: none, or it does.
	Condition string
}

// ways adds the ways by which an activity would have opened the call.
func (e *explaining) ways(ctx context.Context, a *Answer, one *Activity) {
	if e.record.Caller != nil && e.record.Caller.Limited || !e.chainKnown() {
		return // of an owner and of earlier actors is not known what they may
	}
	for _, rest := range e.lacking(one) {
		for _, w := range grants(one, rest) {
			p := w.Apply(e.caller, e.record.Time)
			switch {
			case !w.possible(p):
			case one.Condition != "":
				if w.Condition = one.Condition; e.table.CheckActor(p) == nil && e.holds(one, p) {
					a.Perhaps = append(a.Perhaps, w)
				}
			case e.table.ActivityAllows(e.number(one), e.call, p) == nil && e.allowed(ctx, p):
				a.Enough = append(a.Enough, w)
			}
		}
	}
}

// possible reports whether a credential of the kind can state what the way asks for.
func (w *Way) possible(p *core.Principal) bool {
	if p == nil {
		return true
	}
	info, known := p.Kind.Info()
	return !known || (info.Scopes || w.Scope == "" && len(w.Scopes) == 0) && (w.Proof == "" || slices.Contains(info.Proofs, w.Proof))
}

// number is that of an activity in the table.
func (e *explaining) number(one *Activity) int {
	return slices.IndexFunc(e.table.Activities(), func(a permission.OwnedActivity) bool {
		return a.Place == one.Place && a.String() == one.String() && a.Owner() == one.Owner()
	})
}

// holds reports whether everything of an activity but its condition is met.
func (e *explaining) holds(one *Activity, p *core.Principal) bool {
	if one.Section == permission.InPermission && !e.table.Holds(p, one.Permission) {
		return false
	}
	for _, c := range e.table.Checks(e.number(one), e.call, p) {
		if c.Err != nil && c.Name != "when" && c.Name != "ask" {
			return false
		}
	}
	return true
}

// lacking is what an activity asks for beside a grant and is not met, for each kind of
// credential and each proof that will do.
func (e *explaining) lacking(one *Activity) []Way {
	r := &one.Require
	w := Way{Activity: one.OwnedActivity, Credential: e.caller == nil && (one.Section != permission.InOptional || r.AsksOfCaller())}
	kinds, proofs := []string{""}, []core.Proof{""}
	for _, c := range one.Checks {
		if c.Err == nil {
			continue
		}
		switch c.Name {
		case "credentials":
			kinds = r.Credentials
		case "all_scopes":
			w.Scopes = append(w.Scopes, r.AllScopes...)
		case "any_scope":
			w.Scopes = append(w.Scopes, r.AnyScope[0])
		case "aal":
			w.AAL = r.AAL
		case "max_age":
			w.MaxAge = r.MaxAge
		case "proof":
			proofs = r.Proofs()
		}
	}
	if e.caller != nil {
		has := func(scope string) bool { return slices.Contains(e.caller.Scopes, scope) }
		w.Scopes = slices.DeleteFunc(w.Scopes, has)
	}
	var all []Way
	for _, kind := range kinds {
		for _, proof := range proofs {
			one := w
			one.Kind, one.Proof = core.Kind(kind), proof
			all = append(all, one)
		}
	}
	return all
}

// grants are the ways to the permission of an activity, with the rest.
func grants(one *Activity, rest Way) (ways []Way) {
	if one.Section != permission.InPermission || one.Holds {
		return []Way{rest}
	}
	add := func(names []string, set func(*Way, string)) {
		for _, name := range names {
			w := rest
			set(&w, name)
			ways = append(ways, w)
		}
	}
	add(one.Enough.Roles, func(w *Way, name string) { w.Role = name })
	add(one.Enough.Scopes, func(w *Way, name string) { w.Scope = name })
	add([]string{one.Enough.Permission}, func(w *Way, name string) { w.Permission = name })
	return ways
}

// Apply is the caller that has what the way asks for; nil is one without a credential.
func (w *Way) Apply(caller *core.Principal, now time.Time) *core.Principal {
	if caller == nil && !w.Credential {
		return nil
	}
	p := core.Principal{Subject: anyCaller, Kind: core.KindJWT, Expiry: now.AddDate(1, 0, 0)}
	if caller != nil {
		p = *caller
	}
	p.Roles, p.Scopes, p.Permissions = with(p.Roles, w.Role), with(p.Scopes, append(slices.Clone(w.Scopes), w.Scope)...), with(p.Permissions, w.Permission)
	if w.Kind != "" {
		p.Kind, p.Proof = w.Kind, ""
	}
	if info, known := p.Kind.Info(); known && !info.Scopes {
		p.Scopes = nil
	}
	if w.AAL != "" {
		p.AAL = w.AAL
	}
	if w.MaxAge > 0 {
		p.AuthenticatedAt = now
	}
	if w.Proof != "" {
		p.Proof = w.Proof
	}
	return &p
}

func with(names []string, further ...string) []string {
	names = slices.Clone(names)
	for _, name := range further {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}
