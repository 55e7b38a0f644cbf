package permission

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/report"
)

// allows decides one activity for one principal. Logging in again is asked
// for last: it would be in vain where something else is missing too.
func (a *compiledActivity) allows(t *Table, call *core.Call, p *core.Principal) error {
	if a.section == InPermission && !t.holds(p, a.permission) {
		// A permission would be in vain where the condition does not hold.
		if a.require != nil {
			if err := a.require.checkOthers(call, p); err != nil {
				return err
			}
		}
		return t.lacks(a)
	}
	if a.require == nil {
		return nil
	}
	return a.require.check(call, p, a.scopes, t.now())
}

// requirements are compiled requirements.
type requirements struct {
	Requirements
	condition *condition.Condition
}

// newRequirements copies, so that a later change to the model does not reach the
// table.
func newRequirements(r *Requirements, c *condition.Condition) *requirements {
	compiled := &requirements{*r, c}
	for _, list := range []*[]string{&compiled.AllScopes, &compiled.AnyScope, &compiled.Credentials} {
		*list = slices.Clone(*list)
	}
	return compiled
}

func (r *requirements) check(call *core.Call, p *core.Principal, enough []string, now time.Time) error {
	if err := r.checkOthers(call, p); err != nil {
		return err
	}
	if err := r.checkScopes(p, enough); err != nil {
		return err
	}
	return r.checkStepUp(p, now)
}

// checkOthers checks what neither a scope nor another sign-in changes.
func (r *requirements) checkOthers(call *core.Call, p *core.Principal) error {
	if len(r.Credentials) > 0 && !slices.Contains(r.Credentials, string(p.Kind)) {
		return fmt.Errorf("%w: the credential is of kind %s, and only %s will do", core.ErrForbidden, p.Kind, strings.Join(r.Credentials, ", "))
	}
	return r.checkCondition(call, p)
}

// ruledOut reports whether no scope opens a call, whatever the caller has beside.
// The principal is nil where there is none yet: then only what the call itself
// contradicts is ruled out.
func (r *requirements) ruledOut(call *core.Call, p *core.Principal) bool {
	switch {
	case r == nil:
		return false
	case p != nil:
		return r.checkOthers(call, p) != nil
	}
	return r.When != "" && (r.condition == nil || r.condition.RuledOut(call))
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

func (r *requirements) checkCondition(call *core.Call, p *core.Principal) error {
	switch {
	case r.When == "":
		return nil
	case r.condition == nil: // a condition that was not compiled cannot hold
		return fmt.Errorf("%w: condition %s was not compiled", core.ErrForbidden, report.Quote(r.When))
	}
	return r.condition.Holds(call, p)
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

// rank orders refusals by how little is left to be done.
func rank(err error) int {
	switch err.(type) {
	case *core.StepUp:
		return 2
	case *core.InsufficientScope:
		return 1
	}
	return 0
}
