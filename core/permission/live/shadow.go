package live

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission"
)

// Difference is a call that the shadow table decides differently from the
// enforced one.
type Difference struct {
	Method, Path string
	// Enforced and Shadow are the outcomes.
	Enforced, Shadow Outcome
	// EnforcedRule and ShadowRule name what decided, if anything did.
	EnforcedRule, ShadowRule string
}

// Outcome is what a table decides about a call.
type Outcome string

// The outcomes. NeedsCredential stands for a call that a table covers and that
// only known callers may make, where the caller was not looked for.
const (
	Uncovered       Outcome = "uncovered"
	Public          Outcome = "public"
	Allowed         Outcome = "allowed"
	Denied          Outcome = "denied"
	NeedsCredential Outcome = "needs_credential"
	Failed          Outcome = "failed" // the shadow table panicked
)

// compare compares what two tables decide about a call as far as it is known now,
// and returns an access that compares the rest when the caller is known. Nothing
// that the shadow table does, or fails to do, changes the decision.
func (l *Live) compare(ctx context.Context, call *core.Call, enforced core.Access, table *permission.Table) core.Access {
	var shadow core.Access
	if !completes(func() { shadow = table.Match(ctx, call) }) {
		l.differs(call, enforced, nil, withoutCaller(enforced), Failed)
		return enforced
	}
	was, would := withoutCaller(enforced), withoutCaller(shadow)
	switch {
	case was == NeedsCredential && would != Public:
		return &comparedAccess{enforced, shadow, l}
	case was != would:
		l.differs(call, enforced, shadow, was, would)
	}
	return enforced
}

// withoutCaller is the outcome of an access before the caller is known.
func withoutCaller(a core.Access) Outcome {
	switch {
	case a == nil:
		return Uncovered
	case a.Public():
		return Public
	}
	return NeedsCredential
}

// comparedAccess is an enforced access with a shadow, which may be nil.
type comparedAccess struct {
	core.Access
	shadow core.Access
	live   *Live
}

var _ core.Access = (*comparedAccess)(nil)

// Allows decides by the enforced access.
func (c *comparedAccess) Allows(ctx context.Context, call *core.Call, p *core.Principal) error {
	err := c.Access.Allows(ctx, call, p)
	was, would := outcomeOf(err), Denied
	if c.shadow != nil && !completes(func() { would = outcomeOf(c.shadow.Allows(ctx, call, p)) }) {
		would = Failed
	}
	if was != would {
		c.live.differs(call, c.Access, c.shadow, was, would)
	}
	return err
}

func outcomeOf(err error) Outcome {
	if err != nil {
		return Denied
	}
	return Allowed
}

// completes runs f and reports whether it did not panic.
func completes(f func()) (done bool) {
	defer func() {
		if !done {
			recover()
		}
	}()
	f()
	return true
}

func (l *Live) differs(call *core.Call, enforced, shadow core.Access, was, would Outcome) {
	d := Difference{Method: call.Method, Path: call.Path, Enforced: was, Shadow: would, EnforcedRule: ruleOf(enforced), ShadowRule: ruleOf(shadow)}
	if l.options.OnDifference != nil {
		l.options.OnDifference(d)
	}
	if l.logged.first(d, l.options.Now()) {
		l.options.Log.Warn("the shadow permission table decides otherwise", "method", d.Method, "path", d.Path,
			"enforced", d.Enforced, "enforced_rule", d.EnforcedRule, "shadow", d.Shadow, "shadow_rule", d.ShadowRule)
	}
}

func ruleOf(a core.Access) string {
	if a == nil {
		return ""
	}
	return a.Rule()
}

// differenceLog bounds what clients can write into the log: each kind of
// difference is logged once in a period, and a fixed number of kinds at most.
type differenceLog struct {
	mu    sync.Mutex
	since time.Time
	kinds map[string]bool
}

const (
	logPeriod = time.Minute
	logKinds  = 100
)

func (s *differenceLog) first(d Difference, now time.Time) bool {
	kind := fmt.Sprintf("%s %s\n%s\n%s", d.Enforced, d.Shadow, d.EnforcedRule, d.ShadowRule)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.since) >= logPeriod || s.kinds == nil {
		s.since, s.kinds = now, map[string]bool{}
	}
	if s.kinds[kind] || len(s.kinds) == logKinds {
		return false
	}
	s.kinds[kind] = true
	return true
}
