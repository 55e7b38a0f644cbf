package live

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gatehouse/core"
	"gatehouse/core/account"
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
	Anonymous       Outcome = "anonymous" // allowed without a credential, which is looked for
	Allowed         Outcome = "allowed"
	Denied          Outcome = "denied"
	NeedsCredential Outcome = "needs_credential"
	Failed          Outcome = "failed" // the shadow table panicked, or its decision point did not answer
)

// compare compares what two tables decide about a call as far as it is known now,
// and returns an access that compares the rest when the caller is known. Nothing
// that the shadow table does, or fails to do, changes the decision.
func (l *Live) compare(ctx context.Context, call *core.Call, enforced core.Access, table *permission.Table) core.Access {
	var shadow core.Access
	would := Failed
	was, named := withoutCaller(ctx, call, enforced), call.MCP
	if !completes(func() {
		shadow = table.Match(ctx, call)
		would = withoutCaller(ctx, call, shadow)
	}) {
		shadow, would = nil, Failed
	}
	call.MCP = named
	switch {
	case (was == NeedsCredential || was == Anonymous) && would != Public && would != Failed:
		compared := &comparedAccess{enforced, shadow, l}
		if open, ok := enforced.(core.AnonymousAccess); ok {
			return &comparedAnonymous{compared, open}
		}
		return compared
	case was != would:
		l.differs(call, enforced, shadow, was, would)
	}
	return enforced
}

// withoutCaller is the outcome of an access before the caller is known.
func withoutCaller(ctx context.Context, call *core.Call, a core.Access) Outcome {
	if a == nil {
		return Uncovered
	}
	if a.Public() {
		return Public
	}
	if open, ok := a.(core.AnonymousAccess); ok && open.AllowsAnonymous(ctx, call) == nil {
		return Anonymous
	}
	return NeedsCredential
}

// comparedAccess is an enforced access with a shadow, which may be nil.
type comparedAccess struct {
	core.Access
	shadow core.Access
	live   *Live
}

var (
	_ core.ProvenAccess   = (*comparedAccess)(nil)
	_ account.Accountable = (*comparedAccess)(nil)
)

// Proofs are those of the enforced access.
func (c *comparedAccess) Proofs() []core.Proof {
	if proven, ok := c.Access.(core.ProvenAccess); ok {
		return proven.Proofs()
	}
	return nil
}

// Account is that of the enforced access.
func (c *comparedAccess) Account(call *core.Call, p *core.Principal) account.Account {
	if accountable, ok := c.Access.(account.Accountable); ok {
		return accountable.Account(call, p)
	}
	return account.Account{}
}

// Allows decides by the enforced access.
func (c *comparedAccess) Allows(ctx context.Context, call *core.Call, p *core.Principal) error {
	err := c.Access.Allows(ctx, call, p)
	said := call.Said
	was, would := outcomeOf(err), Denied
	if c.shadow != nil && !completes(func() { would = shadowOf(c.shadow.Allows(ctx, call, p)) }) {
		would = Failed
	}
	call.Said = said
	if was != would {
		c.live.differs(call, c.Access, c.shadow, was, would)
	}
	return err
}

// comparedAnonymous is a comparedAccess that a caller without a credential may have.
type comparedAnonymous struct {
	*comparedAccess
	enforced core.AnonymousAccess
}

var _ core.AnonymousAccess = (*comparedAnonymous)(nil)

// AllowsAnonymous decides by the enforced access.
func (c *comparedAnonymous) AllowsAnonymous(ctx context.Context, call *core.Call) error {
	err := c.enforced.AllowsAnonymous(ctx, call)
	was, would := NeedsCredential, Uncovered
	if err == nil {
		was = Anonymous
	}
	if c.shadow != nil && !completes(func() { would = withoutCaller(ctx, call, c.shadow) }) {
		would = Failed
	}
	if (was == Anonymous) != (would == Anonymous) || would == Failed {
		c.live.differs(call, c.Access, c.shadow, was, would)
	}
	return err
}

// IgnoresInvalid decides by the enforced access. That only one of the two ignores a
// credential is a difference where a caller without one may make the call.
func (c *comparedAnonymous) IgnoresInvalid(call *core.Call, explicit bool) bool {
	ignores := c.enforced.IgnoresInvalid(call, explicit)
	shadow, ok := c.shadow.(core.AnonymousAccess)
	if !ok || shadow.IgnoresInvalid(call, explicit) == ignores {
		return ignores
	}
	was, would, open := Denied, Anonymous, shadow
	if ignores {
		was, would, open = Anonymous, Denied, c.enforced
	}
	allowed := false
	if completes(func() { allowed = open.AllowsAnonymous(context.Background(), call) == nil }) && allowed {
		c.live.differs(call, c.Access, c.shadow, was, would)
	}
	return ignores
}

func outcomeOf(err error) Outcome {
	if err != nil {
		return Denied
	}
	return Allowed
}

// shadowOf is outcomeOf for a shadow, which may not be able to tell.
func shadowOf(err error) Outcome {
	for _, known := range []error{nil, core.ErrForbidden, core.ErrInvalid, core.ErrMissing} {
		if errors.Is(err, known) {
			return outcomeOf(err)
		}
	}
	return Failed
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
