// Package offline decides requests as a gate does, with a caller that the
// command line or a file of expectations describes instead of a credential.
//
// The gate is that of a configuration, made by the code that makes it on every
// host. Only its authenticator is another one: it returns the caller, as the
// configured section reads them from the given claims.
package offline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/config"
	"gatehouse/core/config/section"
	"gatehouse/core/extract"
	"gatehouse/core/permission"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/subject"
)

// Gate is a gate whose caller is given.
type Gate struct {
	table  *inspect.Inspector
	config *config.Config
	// isDefault says that there is no configuration: all defaults.
	isDefault bool
	// issuers are those of JWTs that are verified locally, the gate itself among them.
	issuers []section.Issuer
	builder *config.Builder
	gate    *core.Gate
	// extractor finds credentials as the gate does.
	extractor *extract.Extractor
	now       func() time.Time
}

// New makes the gate of a configuration, with this permission table. A nil
// configuration stands for the defaults, with these path options.
func New(c *config.Config, path core.PathOptions, table *inspect.Inspector) (*Gate, error) {
	g := &Gate{table: table, config: c, now: time.Now}
	if c == nil {
		g.config, g.isDefault = defaultConfig(), true
		g.config.Path = section.Path(path)
	}
	if g.config.JWT != nil {
		g.issuers = slices.Clip(g.config.JWT.Issuers)
	}
	if own := g.config.GatewayToken; own != nil {
		g.issuers = append(g.issuers, own.AsIssuer())
	}
	g.builder = config.NewBuilder(config.BuilderOptions{Now: g.now})
	var err error
	if g.extractor, err = g.config.Extractor(); err != nil {
		return nil, err
	}
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
dpop: {}
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
	// Table is what the permission table says; nil where the target was refused,
	// or where the gate itself responds.
	Table *inspect.Explanation
	// Assumed are the claims that the gate demands and the given ones lack.
	Assumed []string
}

// Asks are the questions that a decision point would be asked, and on whose answers the
// decision depends; none where it depends on none, or where they are answered.
func (o *Outcome) Asks() []authzen.Evaluation {
	if needed, ok := errors.AsType[*ask.Needed](o.Cause); ok {
		return needed.Questions
	}
	return nil
}

// Decider is the decision point of the configuration.
func (g *Gate) Decider() (ask.Decider, error) {
	d, err := g.builder.Decider(g.config)
	if err == nil && d == nil {
		return nil, errors.New("the configuration has no section authzen")
	}
	return d, err
}

// Allowed reports whether the request reaches the upstream.
func (o *Outcome) Allowed() bool { return o.Outcome == core.Allow }

// Responds reports whether the request is one to an endpoint of the gate itself. Status is
// zero where a tool cannot tell what that responds, such as a sign-in.
func (o *Outcome) Responds() bool { return o.Outcome == core.Respond }

// Upstream is what the upstream receives of an allowed request's headers.
func (o *Outcome) Upstream() []core.Header {
	var headers []core.Header
	for _, h := range o.Call.Header {
		named := func(name string) bool { return strings.EqualFold(name, h.Name) }
		if !slices.ContainsFunc(o.Strip, named) && !slices.ContainsFunc(o.Set, func(s core.Header) bool { return named(s.Name) }) {
			headers = append(headers, h)
		}
	}
	return append(headers, o.Set...)
}

// ByTable reports whether the permission table denies the request, and not the
// gate around it.
func (o *Outcome) ByTable() bool {
	return o.Cause != nil && o.Table != nil && o.Table.Refusal != nil && o.Cause.Error() == o.Table.Refusal.Error()
}

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
	o.Call.Path, err = g.canonical(r.Target)
	if err == nil && o.Status == http.StatusServiceUnavailable && slices.Contains(g.gate.Endpoints(), o.Call.Path) {
		o.Decision = core.Decision{Outcome: core.Respond, Reason: "endpoint", Rule: o.Call.Path}
	}
	if err == nil && !o.Responds() {
		o.Table = g.table.Explain(ctx, o.Call, who.principal)
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
	return cause(&d)
}

// Principal is the caller to the gate; nil for one without a valid credential.
func (g *Gate) Principal(c *Caller) (*core.Principal, error) {
	who, err := g.identify(c)
	if err != nil {
		return nil, err
	}
	return who.principal, nil
}

// Refusal is why the credential of a caller does not hold at the gate; nil where
// it does, and for a caller without one.
func (g *Gate) Refusal(c *Caller) error {
	who, err := g.identify(c)
	if err != nil {
		return err
	}
	return who.refusal
}

// Path are the path options of the gate.
func (g *Gate) Path() core.PathOptions { return core.PathOptions(g.config.Path) }

// ScopesRequired are the scopes that every call needs whose caller has a
// credential, unless it is public.
func (g *Gate) ScopesRequired() []string { return g.config.ScopesRequired }

// CannotState lists what no credential of a kind states at this gate: scopes,
// roles or permissions. Such names of a caller do not count. An empty kind stands
// for every kind that the configuration accepts, an empty issuer for every one.
func (g *Gate) CannotState(kind core.Kind, issuer string) (what []string) {
	if g.isDefault && kind == core.KindSPIFFE {
		return []string{"scopes", "roles", "permissions"}
	}
	if g.isDefault {
		if info, known := kind.Info(); known && !info.Scopes {
			return []string{"scopes"}
		}
		return nil
	}
	stated := map[string]bool{}
	for _, s := range g.statements() {
		if (kind == "" || s.kind == kind) && (issuer == "" || s.issuer == "" || s.issuer == issuer || g.isOwn(s.issuer) && g.configured(issuer) == nil) {
			stated["scopes"] = stated["scopes"] || s.scopes
			stated["roles"] = stated["roles"] || s.roles
			stated["permissions"] = stated["permissions"] || s.permissions
		}
	}
	for _, name := range []string{"scopes", "roles", "permissions"} {
		if !stated[name] {
			what = append(what, name)
		}
	}
	return what
}

// Workloads are callers by the patterns of SPIFFE IDs of the table, in order: one for each,
// of whom the table knows the least beside the pattern. Where the configuration
// accepts no workloads there are none.
func (g *Gate) Workloads() iter.Seq2[string, *core.Principal] {
	return func(yield func(string, *core.Principal) bool) {
		if !g.isDefault && g.config.SPIFFE == nil {
			return
		}
		examples := permission.SubjectExamples(g.table.Table)
		for _, pattern := range slices.Sorted(maps.Keys(examples)) {
			least := slices.MinFunc(examples[pattern], func(a, b *core.Principal) int {
				return len(g.table.Permissions(a)) - len(g.table.Permissions(b))
			})
			if !yield(pattern, least) {
				return
			}
		}
	}
}

// Actors are callers by the patterns of actors of the table, in order: one for each, whom the
// table knows least of beside the pattern.
func (g *Gate) Actors() iter.Seq2[string, *core.Principal] {
	return func(yield func(string, *core.Principal) bool) {
		var required []*subject.Pattern
		for _, a := range g.table.Activities() {
			required = append(required, a.Require.ActorPatterns()...)
		}
		examples := permission.ActorExamples(required, g.table.Table)
		for _, pattern := range slices.Sorted(maps.Keys(examples)) {
			least := slices.MinFunc(examples[pattern], func(a, b *core.Principal) int {
				return len(g.table.Permissions(a)) - len(g.table.Permissions(b))
			})
			if g.table.CheckActor(least) == nil && !yield(pattern, least) {
				return
			}
		}
	}
}

// Variants are the callers that a description may stand for: one of each kind and
// issuer that the gate accepts, where neither they nor claims are given.
func (g *Gate) Variants(c *Caller) []*Caller {
	variants := []*Caller{c}
	if c.Anonymous || c.Claims != nil {
		return variants
	}
	add := func(kind core.Kind, issuer string, proven bool) {
		if (c.Kind == "" || c.Kind == kind) && (c.Issuer == "" || issuer == "" || c.Issuer == issuer) {
			one := *c
			one.Kind, one.Issuer, one.DPoP = kind, cmp.Or(issuer, c.Issuer), c.DPoP || proven
			variants = append(variants, &one)
		}
	}
	if g.isDefault {
		for _, info := range core.Kinds() {
			add(info.Kind, "", false)
		}
		return variants
	}
	for _, s := range g.statements() {
		add(s.kind, s.issuer, s.proven)
	}
	return variants
}

// States reports whether a caller's credential can state all names that the
// description gives them.
func (g *Gate) States(c *Caller, p *core.Principal) bool {
	if p == nil {
		return false
	}
	cannot := g.CannotState(p.Kind, p.Issuer)
	for what, names := range map[string][]string{"scopes": c.Scopes, "roles": c.Roles, "permissions": c.Permissions} {
		if len(names) > 0 && slices.Contains(cannot, what) {
			return false
		}
	}
	return true
}

// statement says what the credentials of one section state.
type statement struct {
	kind                       core.Kind
	issuer                     string // empty for any
	scopes, roles, permissions bool
	// proven says that only tokens which come by DPoP are accepted.
	proven bool
}

func (g *Gate) statements() []statement {
	var all []statement
	if s := g.config.Session; s != nil {
		all = append(all, statement{kind: core.KindSession, roles: s.RolesClaim != "", permissions: s.PermissionsClaim != ""})
	}
	if i := g.config.Introspection; i != nil {
		all = append(all, statement{core.KindIntrospection, "", true, i.RolesClaim != "", i.PermissionsClaim != "", i.DPoPRequired})
	}
	if m := g.config.MTLS; m != nil {
		all = append(all, statement{core.KindMTLS, "", false, m.StatesRoles(), false, false})
	}
	for _, i := range g.issuers {
		all = append(all, statement{core.KindJWT, i.Issuer, i.ScopesClaim != "", i.RolesClaim != "", i.PermissionsClaim != "", i.DPoPRequired})
	}
	if s := g.config.SPIFFE; s != nil {
		all = append(all, statement{kind: core.KindSPIFFE}) // permission tables say what workloads may do
	}
	if g.config.SPIFFE != nil {
		all = append(all, statement{kind: core.KindSPIFFE}) // permission tables say what workloads may do
	}
	for _, info := range core.Kinds() {
		known := slices.ContainsFunc(all, func(s statement) bool { return s.kind == info.Kind })
		if _, accepted := g.config.PlaceOf(info.Kind); accepted && !known {
			all = append(all, statement{info.Kind, "", info.Scopes, true, true, false})
		}
	}
	return all
}

// Opens reports whether an activity, its requirements aside, opens a request to
// a caller: refused is nil, or what the gate refuses it for. The error, if any,
// says what is wrong with the description of the caller.
func (g *Gate) Opens(ctx context.Context, r *core.Request, rule *permission.OwnedActivity, c *Caller) (refused, err error) {
	who, err := g.identify(c)
	if err != nil {
		return nil, err
	}
	alone, err := g.with(&activity{g.table, rule})
	if err != nil {
		return nil, err
	}
	d := alone.Check(who.in(ctx), g.withCredential(r, who))
	return cause(&d), nil
}

// errOwn is why no activity decides a request to an endpoint of the gate.
var errOwn = errors.New("the gate itself responds to such a request")

// cause is why a request does not reach the upstream; nil where it does.
func cause(d *core.Decision) error {
	switch d.Outcome {
	case core.Respond:
		return errOwn
	case core.Allow: // which has a cause where a credential was ignored
		return nil
	}
	return d.Cause
}

// everythingPublic is a policy that leaves only the gate's own refusals.
type everythingPublic struct{}

func (everythingPublic) Match(context.Context, *core.Call) core.Access { return publicAccess{} }
func (everythingPublic) Permissions(*core.Principal) []string          { return nil }

type publicAccess struct{}

func (publicAccess) Public() bool                                { return true }
func (publicAccess) Scopes(*core.Call, *core.Principal) []string { return nil }
func (publicAccess) Rule() string                                { return "public" }
func (publicAccess) Refusal() error                              { return nil }
func (publicAccess) CheckBody(*core.Call, int) error             { return nil }
func (publicAccess) Allows(context.Context, *core.Call, *core.Principal) error {
	return nil
}

// activity is a policy of one activity without its requirements, which covers
// every call.
type activity struct {
	table *inspect.Inspector
	rule  *permission.OwnedActivity
}

func (a *activity) Match(context.Context, *core.Call) core.Access { return a }
func (a *activity) Permissions(p *core.Principal) []string        { return a.table.Permissions(p) }
func (a *activity) Public() bool                                  { return a.rule.Section == permission.InPublic }
func (a *activity) Scopes(*core.Call, *core.Principal) []string   { return nil }
func (a *activity) Rule() string                                  { return a.rule.Owner() }
func (*activity) Refusal() error                                  { return nil }
func (*activity) CheckBody(*core.Call, int) error                 { return nil }

func (a *activity) Allows(_ context.Context, _ *core.Call, p *core.Principal) error {
	if _, ok := a.table.GrantsOf(p, a.rule); !ok {
		return fmt.Errorf("%w: %w", core.ErrForbidden, ErrNotGranted)
	}
	return nil
}

var _ core.AnonymousAccess = (*activity)(nil)

func (a *activity) AllowsAnonymous(context.Context, *core.Call) error {
	if _, ok := a.table.GrantsOf(nil, a.rule); !ok {
		return core.ErrMissing
	}
	return nil
}

func (a *activity) IgnoresInvalid(_ *core.Call, explicit bool) bool {
	return a.table.IgnoresInvalid(explicit)
}

// ErrNotGranted is the refusal of an activity that nothing grants to a caller.
var ErrNotGranted = errors.New("the activity is not granted")
