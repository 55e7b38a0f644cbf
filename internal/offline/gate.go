// Package offline decides requests as a gate does, with a caller that the
// command line or a file of expectations describes instead of a credential.
//
// The gate is that of a configuration, made by the code that makes it on every
// host. Only its authenticator is another one: it returns the caller, as the
// configured section reads them from the given claims.
package offline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/permission"
)

// Gate is a gate whose caller is given.
type Gate struct {
	// Table explains the permission table of the gate.
	Table *permission.Inspector

	config *config.Config
	// assumed says that there is no configuration: all defaults.
	assumed bool
	builder *config.Builder
	gate    *core.Gate
	now     func() time.Time
}

// New makes the gate of a configuration, with this permission table. A nil
// configuration stands for the defaults, with these path options.
func New(c *config.Config, path core.PathOptions, table *permission.Inspector) (*Gate, error) {
	g := &Gate{Table: table, config: c, now: time.Now}
	if c == nil {
		g.config, g.assumed = defaultConfig(), true
		g.config.Path = config.Path(path)
	}
	g.builder = config.NewBuilder(config.BuilderOptions{Now: g.now})
	var err error
	g.gate, err = g.with(table)
	return g, err
}

func (g *Gate) with(policy core.Policy) (*core.Gate, error) {
	return g.builder.GateWith(g.config, given{}, policy)
}

// defaultConfig accepts every kind of credential and has no settings beside.
func defaultConfig() *config.Config {
	c, err := config.Load([]byte(`
session: {kratos_url: "http://kratos.invalid"}
jwt: {issuers: [{issuer: "` + anyIssuer + `", insecure_any_audience: true, token_types: [at+jwt]}]}
introspection: {introspection_endpoint: "http://introspection.invalid", insecure_any_audience: true}
permission_table: "{}"
`))
	if err != nil {
		panic(err)
	}
	return c
}

// Outcome is a decision with what led to it.
type Outcome struct {
	core.Decision
	// Call is the request as it was decided, with the caller's credential. Its
	// Path is empty where the target was refused.
	Call *core.Call
	// Caller is nil for one without a valid credential.
	Caller *core.Principal
	// Table is what the permission table says; nil where the target was refused.
	Table *permission.Explanation
	// Assumed are the claims that the gate demands and the given ones lack.
	Assumed []string
}

// Allowed reports whether the request reaches the upstream.
func (o *Outcome) Allowed() bool { return o.Outcome == core.Allow }

// Decide decides a request of a caller. The error, if any, says what is wrong
// with the description of the caller.
func (g *Gate) Decide(ctx context.Context, r *core.Request, c *Caller) (*Outcome, error) {
	who, err := g.identify(c)
	if err != nil {
		return nil, err
	}
	r = g.withCredential(r, who)
	o := &Outcome{Call: &core.Call{Request: r}, Caller: who.principal, Assumed: who.assumed}
	o.Decision = g.gate.Check(who.in(ctx), r)
	if o.Call.Path, err = g.canonical(r.Target); err == nil {
		o.Table = g.Table.Explain(o.Call, who.principal)
	}
	return o, nil
}

func (g *Gate) canonical(target string) (string, error) {
	return core.Canonical(target, core.PathOptions(g.config.Path))
}

// Call makes a call that no caller is known of. Its Path is empty where the
// target is refused.
func (g *Gate) Call(r *core.Request) *core.Call {
	path, _ := g.canonical(r.Target)
	return &core.Call{Request: r, Path: path}
}

// Inadmissible returns why the gate refuses a request whoever makes it, or nil
// where that depends on the caller.
func (g *Gate) Inadmissible(ctx context.Context, r *core.Request) error {
	open, err := g.with(everythingPublic{})
	if err != nil {
		return err
	}
	d := open.Check(ctx, r)
	return d.Cause
}

// Path are the path options of the gate.
func (g *Gate) Path() core.PathOptions { return core.PathOptions(g.config.Path) }

// ScopesRequired are the scopes that every call needs unless it is public.
func (g *Gate) ScopesRequired() []string { return g.config.ScopesRequired }

// Opens reports whether an activity, its requirements aside, opens a request to
// a caller: nil, or what the gate refuses it for.
func (g *Gate) Opens(ctx context.Context, r *core.Request, rule *permission.Rule, c *Caller) error {
	who, err := g.identify(c)
	if err != nil {
		return err
	}
	alone, err := g.with(&activity{g.Table, rule})
	if err != nil {
		return err
	}
	d := alone.Check(who.in(ctx), g.withCredential(r, who))
	return d.Cause
}

// everythingPublic is a policy that leaves only the gate's own refusals.
type everythingPublic struct{}

func (everythingPublic) Match(context.Context, *core.Call) core.Access { return publicAccess{} }
func (everythingPublic) Permissions(*core.Principal) []string          { return nil }

type publicAccess struct{}

func (publicAccess) Public() bool     { return true }
func (publicAccess) Scopes() []string { return nil }
func (publicAccess) Rule() string     { return "public" }
func (publicAccess) Allows(context.Context, *core.Call, *core.Principal) error {
	return nil
}

// activity is a policy of one activity without its requirements, which covers
// every call.
type activity struct {
	table *permission.Inspector
	rule  *permission.Rule
}

func (a *activity) Match(context.Context, *core.Call) core.Access { return a }
func (a *activity) Permissions(p *core.Principal) []string        { return a.table.Permissions(p) }
func (a *activity) Public() bool                                  { return a.rule.Section == permission.InPublic }
func (a *activity) Scopes() []string                              { return nil }
func (a *activity) Rule() string                                  { return a.rule.Owner() }

func (a *activity) Allows(_ context.Context, _ *core.Call, p *core.Principal) error {
	if _, ok := a.table.GrantsOf(p, a.rule); !ok {
		return fmt.Errorf("%w: %w", core.ErrForbidden, ErrNotGranted)
	}
	return nil
}

// ErrNotGranted is the refusal of an activity that nothing grants to a caller.
var ErrNotGranted = errors.New("the activity is not granted")
