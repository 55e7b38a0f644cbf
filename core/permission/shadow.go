package permission

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gatehouse/core"
)

// Difference is a call that the shadow table decides otherwise than the
// enforced one did.
type Difference struct {
	Method, Path string
	// Enforced and Shadow are the outcomes.
	Enforced, Shadow Outcome
	// EnforcedRule and ShadowRule name what decided, if anything did.
	EnforcedRule, ShadowRule string
}

// Outcome is what a table says to a call.
type Outcome string

// The outcomes. NeedsCredential stands for a call that a table covers and that
// only known callers may make, where nobody asked who calls.
const (
	Uncovered       Outcome = "uncovered"
	Public          Outcome = "public"
	Allowed         Outcome = "allowed"
	Denied          Outcome = "denied"
	NeedsCredential Outcome = "needs_credential"
	Failed          Outcome = "failed" // the shadow table panicked
)

// beside compares what two tables say to a call as far as it is known now, and
// returns an access that compares the rest when the caller is known. Nothing
// that the shadow table says, or fails to say, changes the answer.
func (l *Live) beside(ctx context.Context, call *core.Call, enforced core.Access, table *Table) core.Access {
	var shadow core.Access
	if !guarded(func() { shadow = table.Match(ctx, call) }) {
		l.differs(call, enforced, nil, standing(enforced), Failed)
		return enforced
	}
	was, would := standing(enforced), standing(shadow)
	switch {
	case was == NeedsCredential && would != Public:
		return &besides{enforced, shadow, l}
	case was != would:
		l.differs(call, enforced, shadow, was, would)
	}
	return enforced
}

// standing is what an access says before the caller is known.
func standing(a core.Access) Outcome {
	switch {
	case a == nil:
		return Uncovered
	case a.Public():
		return Public
	}
	return NeedsCredential
}

// besides is an enforced access with a shadow, which may be nil.
type besides struct {
	core.Access
	shadow core.Access
	live   *Live
}

var _ core.Access = (*besides)(nil)

// Allows is the enforced answer.
func (b *besides) Allows(ctx context.Context, call *core.Call, p *core.Principal) error {
	err := b.Access.Allows(ctx, call, p)
	was, would := verdict(err), Denied
	if b.shadow != nil && !guarded(func() { would = verdict(b.shadow.Allows(ctx, call, p)) }) {
		would = Failed
	}
	if was != would {
		b.live.differs(call, b.Access, b.shadow, was, would)
	}
	return err
}

func verdict(err error) Outcome {
	if err != nil {
		return Denied
	}
	return Allowed
}

// guarded runs f and reports whether it came to its end.
func guarded(f func()) (done bool) {
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
	if l.said.first(d, l.options.Now()) {
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

// sayings keeps the log readable while strangers send requests: each kind of
// difference is logged once in a minute, and so many kinds at the most.
type sayings struct {
	mu    sync.Mutex
	since time.Time
	kinds map[string]bool
}

const (
	sayAgain  = time.Minute
	sayAtMost = 100
)

func (s *sayings) first(d Difference, now time.Time) bool {
	kind := fmt.Sprintf("%s %s\n%s\n%s", d.Enforced, d.Shadow, d.EnforcedRule, d.ShadowRule)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.since) >= sayAgain || s.kinds == nil {
		s.since, s.kinds = now, map[string]bool{}
	}
	if s.kinds[kind] || len(s.kinds) == sayAtMost {
		return false
	}
	s.kinds[kind] = true
	return true
}
