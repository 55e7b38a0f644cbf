// Package require holds what a call needs beside a permission: checked for one
// caller, and compared with what another activity requires.
package require

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/subject"
)

// Requirements are what a call needs in addition to the permission. All that are
// set must hold; the zero value requires nothing.
type Requirements struct {
	AllScopes []string
	AnyScope  []string
	// AAL is the least assurance level, such as "aal2".
	AAL string
	// MaxAge is the greatest age of the authentication.
	MaxAge time.Duration
	// Credentials are the kinds of authentication that are good enough.
	Credentials []string
	// Proof is how the caller must have proven to hold the key that the credential is
	// bound to: one of ProofNames.
	Proof string
	// Actor is who may act for the subject of a delegated credential (RFC 8693 section
	// 4.1): NoActor or AnyActor alone, or patterns of ids (subject.ParseActor).
	Actor []string
	// When is a CEL condition.
	When string
	// Asks are questions that a decision point has to answer with yes, as they are written
	// (package ask).
	Asks []authzen.Evaluation
}

// Empty reports whether nothing is required.
func (r *Requirements) Empty() bool {
	return len(r.AllScopes)+len(r.AnyScope)+len(r.Credentials)+len(r.Actor)+len(r.Asks) == 0 && r.AAL == "" && r.MaxAge == 0 && r.Proof == "" && r.When == ""
}

// Conditional reports whether a condition or the answer of a decision point is required, of
// which the text alone does not tell what it means.
func (r *Requirements) Conditional() bool { return r.When != "" || len(r.Asks) > 0 }

// AsksOfCaller reports whether something is required, conditions and asks aside, that a
// caller without a credential does not have.
func (r *Requirements) AsksOfCaller() bool {
	rest := *r
	rest.When, rest.Asks = "", nil
	if rest.forbidsActor() {
		rest.Actor = nil
	}
	return !rest.Empty()
}

// AssuranceLevels are the values of Requirements.AAL, the least first.
var AssuranceLevels = []string{"aal1", "aal2", "aal3"}

// AnyProof is the Requirements.Proof that every proof of possession meets.
const AnyProof = "any"

// ProofNames are the values of Requirements.Proof.
func ProofNames() []string {
	var names []string
	for _, proof := range core.Proofs() {
		names = append(names, string(proof))
	}
	return append(names, AnyProof)
}

// Proofs are those that are good enough; none: none is needed.
func (r *Requirements) Proofs() []core.Proof {
	switch r.Proof {
	case "":
		return nil
	case AnyProof:
		return core.Proofs()
	}
	return []core.Proof{core.Proof(r.Proof)}
}

// Compiled are compiled requirements.
type Compiled struct {
	Requirements
	Condition *condition.Condition
	actors    []*subject.Pattern // of Requirements.Actor
	// Questions are the asks.
	Questions []*ask.Ask
}

// New copies, so that a later change to the model does not reach the
// table. Asks that are not given deny.
func New(r *Requirements, c *condition.Condition, asks ...*ask.Ask) *Compiled {
	compiled := &Compiled{*r, c, r.ActorPatterns(), asks}
	for _, list := range []*[]string{&compiled.AllScopes, &compiled.AnyScope, &compiled.Credentials, &compiled.Actor} {
		*list = slices.Clone(*list)
	}
	return compiled
}

// AsksOfCaller reports whether a requirement or the condition asks for something
// that a caller without a credential never has.
func (r *Compiled) AsksOfCaller() bool {
	return r != nil && (r.Requirements.AsksOfCaller() || r.Condition != nil && r.Condition.AsksOfCaller() || slices.ContainsFunc(r.Questions, (*ask.Ask).AsksOfCaller))
}

// Check returns nil when a principal meets everything; enough are the scopes that
// a refusal for a scope names. Where nothing but answers of a decision point is lacking,
// the error is an *ask.Needed.
func (r *Compiled) Check(call *core.Call, p *core.Principal, enough []string, now time.Time) error {
	if err := r.CheckOthers(call, p); err != nil {
		return err
	}
	if err := r.checkScopes(p, enough); err != nil {
		return err
	}
	if err := r.checkProof(p); err != nil {
		return err
	}
	if err := r.checkStepUp(p, now); err != nil {
		return err
	}
	return r.checkAsks(call, p)
}

// checkAsks makes the questions that have to be answered.
func (r *Compiled) checkAsks(call *core.Call, p *core.Principal) error {
	if len(r.Questions) != len(r.Asks) { // asks that were not compiled cannot be answered
		return fmt.Errorf("%w: an ask was not compiled", core.ErrForbidden)
	}
	if len(r.Questions) == 0 {
		return nil
	}
	needed := &ask.Needed{}
	for _, a := range r.Questions {
		q, err := a.Question(call, p)
		if err != nil {
			return err
		}
		needed.Questions = append(needed.Questions, q)
	}
	return needed
}

// CheckOthers checks what neither a scope nor another sign-in changes.
func (r *Compiled) CheckOthers(call *core.Call, p *core.Principal) error {
	if len(r.Credentials) > 0 && !slices.Contains(r.Credentials, string(p.Kind)) {
		return fmt.Errorf("%w: the credential is of kind %s, and only %s will do", core.ErrForbidden, p.Kind, strings.Join(r.Credentials, ", "))
	}
	if err := r.checkActor(p, r.actors); err != nil {
		return err
	}
	return r.checkCondition(call, p)
}

// RuledOut reports whether no scope opens a call, whatever the caller has beside.
// The principal is nil where there is none yet: then only what the call itself
// contradicts is ruled out.
func (r *Compiled) RuledOut(call *core.Call, p *core.Principal) bool {
	switch {
	case r == nil:
		return false
	case p != nil:
		return r.CheckOthers(call, p) != nil
	}
	return r.When != "" && (r.Condition == nil || r.Condition.RuledOut(call))
}

func (r *Requirements) checkScopes(p *core.Principal, enough []string) error {
	for _, scope := range r.AllScopes {
		if !slices.Contains(p.Scopes, scope) {
			return &core.InsufficientScope{Scopes: enough, Detail: "the activity also needs scope " + scope}
		}
	}
	has := func(scope string) bool { return slices.Contains(p.Scopes, scope) }
	if len(r.AnyScope) > 0 && !slices.ContainsFunc(r.AnyScope, has) {
		return &core.InsufficientScope{Scopes: enough, Detail: "the activity also needs one of the scopes " + strings.Join(r.AnyScope, ", ")}
	}
	return nil
}

func (r *Requirements) checkProof(p *core.Principal) error {
	if enough := r.Proofs(); len(enough) > 0 && !slices.Contains(enough, p.Proof) {
		return &core.NeedsProof{Of: enough, Has: p.Proof}
	}
	return nil
}

func (r *Compiled) checkCondition(call *core.Call, p *core.Principal) error {
	switch {
	case r.When == "":
		return nil
	case r.Condition == nil: // a condition that was not compiled cannot hold
		return fmt.Errorf("%w: condition %s was not compiled", core.ErrForbidden, report.Quote(r.When))
	}
	return r.Condition.Holds(call, p)
}

// clockSkew is how far ahead an identity provider's clock may be.
const clockSkew = time.Minute

func (r *Requirements) checkStepUp(p *core.Principal, now time.Time) error {
	var need core.StepUp
	if r.AAL != "" && level(p.AAL) < level(r.AAL) {
		need.AAL = r.AAL
	}
	if r.MaxAge > 0 {
		age := now.Sub(p.AuthenticatedAt)
		if p.AuthenticatedAt.IsZero() || age > r.MaxAge || age < -clockSkew {
			need.MaxAge = r.MaxAge
		}
	}
	if need != (core.StepUp{}) {
		return &need
	}
	return nil
}

// level orders assurance levels; one that is not known is below all.
func level(aal string) int { return slices.Index(AssuranceLevels, aal) }

// Part is one requirement alone.
type Part struct {
	// Name is the key in the file, Want its value.
	Name, Want string
	Compiled
}

// Parts are the requirements that are set, each alone.
func (r *Compiled) Parts() []Part {
	only := func(of Requirements) Compiled { return Compiled{Requirements: of, actors: r.actors} }
	asks := make([]string, len(r.Asks))
	for i := range r.Asks {
		asks[i] = ask.Describe(r.Asks[i])
	}
	all := []Part{
		{"credentials", strings.Join(r.Credentials, " or "), only(Requirements{Credentials: r.Credentials})},
		{"all_scopes", strings.Join(r.AllScopes, " and "), only(Requirements{AllScopes: r.AllScopes})},
		{"any_scope", strings.Join(r.AnyScope, " or "), only(Requirements{AnyScope: r.AnyScope})},
		{"actor", strings.Join(r.Actor, " or "), only(Requirements{Actor: r.Actor})},
		{"when", r.When, Compiled{Requirements: Requirements{When: r.When}, Condition: r.Condition}},
		{"ask", strings.Join(asks, " and "), Compiled{Requirements: Requirements{Asks: r.Asks}, Questions: r.Questions}},
		{"proof", r.Proof, only(Requirements{Proof: r.Proof})},
		{"aal", r.AAL, only(Requirements{AAL: r.AAL})},
		{"max_age", ShortDuration(r.MaxAge), only(Requirements{MaxAge: r.MaxAge})},
	}
	return slices.DeleteFunc(all, func(p Part) bool { return p.Empty() })
}

// ShortDuration writes a duration without the parts that are zero: 15m.
func ShortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
