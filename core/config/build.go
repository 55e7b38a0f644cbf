package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/mtls"
	"gatehouse/core/cache"
	"gatehouse/core/config/answer"
	"gatehouse/core/config/asking"
	"gatehouse/core/config/audit"
	"gatehouse/core/config/decision"
	"gatehouse/core/config/fleet"
	"gatehouse/core/config/proof"
	"gatehouse/core/config/revoke"
	"gatehouse/core/config/section"
	"gatehouse/core/config/tables"
	"gatehouse/core/config/tablesource"
	"gatehouse/core/config/token"
	"gatehouse/core/extract"
	"gatehouse/core/follow"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/identity"
	"gatehouse/core/observe"
	"gatehouse/core/permission/live"
	"gatehouse/core/secondrun"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// BuilderOptions are what a host gives to every gate. A function that is nil is
// not called.
type BuilderOptions struct {
	// Recorder follows every decision; nil: none.
	Recorder core.Recorder
	// Log gets lines about what happens outside of requests; nil: none.
	Log *slog.Logger
	// Calls is called after every call to an identity provider, which is named
	// after the section that configures it.
	Calls func(provider string, took time.Duration, err error)
	// Loads is called for every configuration: with nil where it loads, else
	// with the error.
	Loads func(error)
	// Reloads is called for every set of permission table files that loads or
	// fails to, Differences for every call that a shadow table decides otherwise.
	Reloads     func(live.Reload)
	Differences func(live.Difference)
	// Evaluations is called for every answer of a decision point: permit, deny, search or error.
	Evaluations func(result string)
	// HeaderAbsent is called for every admitted caller whose credential has none of
	// the claims of an upstream header.
	HeaderAbsent func(header, claims string)
	// Now is the clock; nil: the system's.
	Now func() time.Time
	// Version is that of the program, for telemetry.
	Version string
}

// Builder makes gates and the parts they are made of, each once per content.
// Gateways hand the same configuration over again for every route, worker and
// reload; key sets, caches and compiled tables must outlive that, so they are
// kept here for as long as anything uses them.
type Builder struct {
	options  BuilderOptions
	followed shared.Values[Followed]
	gates    shared.Values[core.Gate]
	tables   *tables.Builder
	sections *section.Builder
	fleet    *fleet.Builder
	upstream *token.Builder
	asking   *asking.Builder
	revoking *revoke.Builder
	proofs   proof.Builder
	counted  cache.Totals
	answers  *secondrun.Answers
	audit    *audit.Builder
	// interval is how often the files of configurations are looked at.
	interval time.Duration
}

// NewBuilder makes a builder; a process needs one.
func NewBuilder(o BuilderOptions) *Builder {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Loads == nil {
		o.Loads = func(error) {}
	}
	if o.Calls == nil {
		o.Calls = func(string, time.Duration, error) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Builder{
		options: o, interval: follow.Interval, answers: secondrun.NewAnswers(),
		audit:    audit.NewBuilder(audit.Options{Log: o.Log, Now: o.Now, Version: o.Version}),
		sections: section.NewBuilder(section.Options{Log: o.Log, Calls: o.Calls, Now: o.Now}),
		revoking: revoke.NewBuilder(revoke.Options{Log: o.Log, Calls: o.Calls, Now: o.Now}),
		upstream: token.NewBuilder(token.Options{Log: o.Log, Calls: o.Calls, Now: o.Now}),
		asking:   asking.NewBuilder(asking.Options{Log: o.Log, Calls: o.Calls, Now: o.Now}),
		fleet:    fleet.NewBuilder(fleet.Options{Log: o.Log, Now: o.Now}),
		tables:   tables.NewBuilder(tables.Options{Log: o.Log, Now: o.Now, Reloads: o.Reloads, Differences: o.Differences}),
	}
}

// Recorder follows every decision; nil: none.
func (b *Builder) Recorder() core.Recorder { return b.options.Recorder }

// Log gets lines about what happens outside of requests.
func (b *Builder) Log() *slog.Logger { return b.options.Log }

// Gate returns the gate of a configuration given inline, by its files as they are now.
func (b *Builder) Gate(raw []byte) (*core.Gate, error) {
	c, err := Load(raw)
	if err != nil {
		b.options.Loads(err)
		return nil, err
	}
	return b.Build(c)
}

// Build returns the gate of a configuration that Load has read.
func (b *Builder) Build(c *Config) (*core.Gate, error) {
	now, err := b.assemble(c)
	b.options.Loads(err)
	if err != nil {
		return nil, err
	}
	return now.Gate, nil
}

// Refuse denies a request for which there is no gate.
func (b *Builder) Refuse(ctx context.Context, r *core.Request, cause error) core.Decision {
	d := core.Refusal(r, cause)
	if b.options.Recorder != nil {
		core.Record(ctx, b.options.Recorder, core.Event{Request: r, Decision: &d})
	}
	return d
}

// tableSource is where the permission table is.
func (c *Config) tableSource() tablesource.Settings {
	return tablesource.Settings{
		Inline: c.PermissionTable, Files: c.PermissionTableFiles, Name: c.PermissionTableName, Bundle: c.Bundle, Classic: c.ClassicTables,
		ShadowFiles: c.ShadowTableFiles, ShadowName: c.ShadowTableName, Postgres: c.Postgres, StateDir: c.StateDir,
	}
}

func (b *Builder) assemble(c *Config) (*Current, error) {
	from, err := c.tableSource().Open(b.fleet)
	if err != nil {
		return nil, err
	}
	from.Archive = b.audit.Archive(c.Audit)
	point, err := b.asking.Point(c.AuthZEN, c.Cache, &from)
	if err != nil {
		return nil, err
	}
	policy, tableKey, err := b.tables.Table(from)
	if err != nil {
		return nil, err
	}
	parts, err := b.partsOf(c)
	if err != nil {
		return nil, err
	}
	authenticator, authKey, err := b.authenticator(c, parts)
	if err != nil {
		return nil, err
	}
	own, ownKey, err := b.ownEndpoints(c, parts)
	if err != nil {
		return nil, err
	}
	create, askedKey, err := b.creation(c)
	if err != nil {
		return nil, err
	}
	upstreamToken, tokenKey, err := b.upstream.Build(c.UpstreamToken, c.Cache)
	if err != nil {
		return nil, err
	}
	recorder, auditKey, err := b.recorder(c, policy)
	if err != nil {
		return nil, err
	}
	gate, err := b.gates.Get(shared.KeyOf(c, tableKey, authKey, ownKey, askedKey, tokenKey, auditKey), func() (*core.Gate, error) {
		return b.build(c, parts, authenticator, policy, upstreamToken, own, recorder, create)
	})
	if err != nil {
		return nil, err
	}
	return &Current{gate, c, c.Consumers.Mapping(c.Session), parts, policy, point, c.CertificateHeader.Reader(), slices.AppendSeq(c.stripped(), maps.Keys(c.UpstreamHeaders))}, nil
}

// recorder follows the decisions of one gate, beside what follows all.
func (b *Builder) recorder(c *Config, policy core.Policy) (core.Recorder, shared.Key, error) {
	records, key, err := b.audit.Recorder(c.Audit, policy)
	switch {
	case err != nil:
		return nil, key, err
	case records == nil:
		return b.options.Recorder, key, nil
	case b.options.Recorder == nil:
		return records, key, nil
	}
	return observe.Recorders{b.options.Recorder, records}, key, nil
}

// fleetSections are those by which the nodes of a fleet agree.
func (c *Config) fleetSections() fleet.Sections {
	return fleet.Sections{Cache: c.Cache, Redis: c.Redis, Postgres: c.Postgres, Revocation: c.Revocation, StateDir: c.StateDir}
}

// ownEndpoints take what others say is revoked, manage API tokens and issue tokens of the
// gate.
func (b *Builder) ownEndpoints(c *Config, parts []*section.Part) ([]core.Endpoint, shared.Key, error) {
	tokens, tokensKey, err := b.fleet.TokenAPI(c.APIToken, c.SubjectRoles, c.fleetSections())
	if err != nil {
		return nil, tokensKey, err
	}
	exchange, exchangeKey, err := b.exchange(c, parts)
	tokens, tokensKey = append(tokens, exchange...), shared.KeyOf(tokensKey, exchangeKey)
	if err != nil || c.RevocationEndpoints == nil {
		return tokens, tokensKey, err
	}
	publisher, key, err := b.fleet.Publisher(c.fleetSections())
	if err != nil {
		return nil, key, err
	}
	endpoints, key, err := b.revoking.Build(c.RevocationEndpoints, publisher, key)
	return append(endpoints, tokens...), shared.KeyOf(key, tokensKey), err
}

// creation makes the gate of a configuration, with its decision point if there is one.
func (b *Builder) creation(c *Config) (func(core.Options) (*core.Gate, error), shared.Key, error) {
	around := decision.Around{Answered: b.options.Evaluations, Log: b.options.Log}
	key, err := shared.Key{}, error(nil)
	if c.DecisionPoint != nil {
		around.Granted, key, err = b.fleet.Subjects(c.SubjectRoles, c.Postgres, c.Cache)
	}
	return c.DecisionPoint.Creation(around), key, err
}

// exchange is the endpoint at which apps get tokens of the gate.
func (b *Builder) exchange(c *Config, parts []*section.Part) ([]core.Endpoint, shared.Key, error) {
	if c.GatewayToken == nil || c.GatewayToken.Exchange == nil {
		return nil, shared.Key{}, nil
	}
	limit, err := b.fleet.Limit(c.FailedAttempts, c.Redis)
	if err != nil {
		return nil, shared.Key{}, err
	}
	caching, err := b.caching(c)
	if err != nil {
		return nil, shared.Key{}, err
	}
	var own *section.Part
	if i := slices.IndexFunc(parts, func(p *section.Part) bool { return token.TokensOf(p) != nil }); i >= 0 {
		own = parts[i]
	}
	return c.GatewayToken.Endpoint(token.Around{
		Sections: b.sections, Caching: caching, Own: own, Introspection: partOf(parts, core.KindIntrospection),
		Limit: func(router *authn.Router, digest string) core.Authenticator { return limit.Around(router, digest) },
	})
}

// offlineEndpoints are the same for tools that keep nothing.
func (c *Config) offlineEndpoints() []core.Endpoint {
	return slices.Concat(c.RevocationEndpoints.Offline(), c.DecisionPoint.Offline(), revoke.Offline(c.APIToken.AdminPaths(), "GET", "POST"))
}

// build makes everything of a gate but its authenticator, its policy, the token for the
// upstream and the endpoints of its own.
func (b *Builder) build(c *Config, parts []*section.Part, authenticator core.Authenticator, policy core.Policy, upstream token.Built, own []core.Endpoint, recorder core.Recorder, create func(core.Options) (*core.Gate, error)) (*core.Gate, error) {
	extractor, err := c.Extractor()
	if err != nil {
		return nil, err
	}
	headers, err := c.identity(extractor, upstream, b.headerAbsent)
	if err != nil {
		return nil, err
	}
	endpoints, resources, err := c.endpoints()
	if err != nil {
		return nil, err
	}
	signIn, err := c.Login.Build(partOf(parts, core.KindOIDC), partOf(parts, core.KindSession), b.options.Log)
	if err != nil {
		return nil, err
	}
	answers, err := answer.Build(c.ErrorPages, c.CORS, b.options.Log)
	if err != nil {
		return nil, err
	}
	return create(core.Options{
		Answers:         answers,
		Path:            core.PathOptions(c.Path),
		Endpoints:       slices.Concat(endpoints, upstream.Endpoints(c.GatewayToken, tokensOf(parts)), b.answers.Around(shared.KeyOf(c), slices.Concat(own, signIn.Endpoints))),
		Extractor:       extractor,
		Authenticator:   resources.Around(c.CrossSiteWrites.Around(c.ClientCertificate.Around(signIn.Attend(mtls.Around(authenticator))))),
		Policy:          policy,
		MaxBody:         c.maxMCPBody(),
		ScopesRequired:  c.ScopesRequired,
		Identity:        headers,
		TokenParameter:  c.TokenParameter,
		Realm:           c.Realm,
		Scheme:          c.scheme(),
		ProofAlgorithms: c.DPoP.ProofAlgorithms(),
		Metadata:        resources.Of,
		Login:           signIn.Login,
		Recorder:        recorder,
		Now:             b.options.Now,
	})
}

// identity is what the upstream learns of a caller.
func (c *Config) identity(extractor *extract.Extractor, upstream token.Built, absent func(header, claims string, first bool)) (*identity.Headers, error) {
	options := identity.Options{Claims: c.UpstreamHeaders, Join: c.HeaderLists, TooLong: c.HeaderTooLong, Absent: absent, Sources: upstream.Sources(extractor), Strip: c.stripped(), Groups: section.MustClaimPaths(c.AuthenticatedGroupsClaim), Ignored: extractor, Anonymous: c.AnonymousHeader}
	if c.HideCredentials {
		options.Hide = extractor
	}
	headers, err := identity.New(options)
	if err != nil {
		return nil, fmt.Errorf("upstream_headers: %w", err)
	}
	return headers, nil
}

// headerAbsent tells of a claim that may be misspelt.
func (b *Builder) headerAbsent(header, claims string, first bool) {
	if first {
		b.options.Log.Warn("an upstream header is not sent: the credential has none of its claims; this is said once", "header", header, "claims", claims)
	}
	if b.options.HeaderAbsent != nil {
		b.options.HeaderAbsent(header, claims)
	}
}

// Extractor looks everywhere a credential may sit that this configuration can
// verify.
func (c *Config) Extractor() (*extract.Extractor, error) {
	places := c.DPoP.Places()
	for _, s := range c.sections() {
		places = append(places, c.ClientCertificate.Places(s)...)
	}
	if c.TokenCookie != "" {
		places = append(places, extract.Place{Name: core.TokenCookie, Cookie: c.TokenCookie, Chunked: true})
	}
	for _, h := range c.TokenHeaders {
		places = append(places, extract.Place{Name: core.TokenHeader, Header: h.Name, Scheme: h.Prefix})
	}
	if c.TokenParameter != "" {
		places = append(places, extract.Place{Name: core.TokenParameter, Parameter: c.TokenParameter})
	}
	return extract.New(places...)
}

// stripped are the headers that no upstream gets from a client. Token headers are
// among them: an upstream behind Cloudflare or Google reads a caller out of them.
func (c *Config) stripped() []string {
	names := slices.Concat(c.StripHeaders, c.Consumers.Headers(), c.CertificateHeader.Names())
	for _, h := range c.TokenHeaders {
		if !strings.EqualFold(h.Name, extract.BearerTokenPlace.Header) { // that is left to hide_credentials
			names = append(names, h.Name)
		}
	}
	return names
}

// scheme is Bearer where a bearer token would help.
func (c *Config) scheme() core.Scheme {
	if slices.ContainsFunc(c.sections(), section.Section.JudgesBearer) {
		return core.SchemeBearer
	}
	return core.SchemeSession
}

// authenticator routes each credential to the section that judges it.
func (b *Builder) authenticator(c *Config, parts []*section.Part) (core.Authenticator, shared.Key, error) {
	routes, keys, digests := make([]authn.Route, len(parts)), make([]shared.Key, len(parts)), make([]shared.Key, len(parts))
	for i, p := range parts {
		routes[i], keys[i], digests[i] = p.Route, p.Key, p.Digest
		routes[i].By = p // keeps the part in use
	}
	if c.APIToken == nil && len(routes) > 0 {
		routes = slices.Insert(routes, 0, section.NoAPITokens())
	}
	router, err := authn.New(routes...)
	if err != nil {
		return nil, shared.Key{}, err
	}
	limit, err := b.fleet.Limit(c.FailedAttempts, c.Redis)
	if err != nil {
		return nil, shared.Key{}, err
	}
	digest := shared.KeyOf(digests)
	authenticator, key, err := b.fleet.Completed(limit.Around(router, string(digest[:])), shared.KeyOf(keys), c.SubjectRoles, c.Postgres, c.Cache)
	if err != nil {
		return nil, key, err
	}
	return b.proofs.Build(c.DPoP, authenticator, key, func() (section.Caching, error) { return b.fleet.Caching(c.fleetSections()) }, b.options.Now)
}

// caching is where the sections of a configuration keep results.
func (b *Builder) caching(c *Config) (section.Caching, error) {
	caching, err := b.fleet.Caching(c.fleetSections())
	if err != nil {
		return caching, err
	}
	if caching.Database, caching.DatabaseKey, err = b.fleet.Database(c.Postgres); err != nil {
		return caching, err
	}
	caching.Users, caching.UsersKey, err = b.fleet.Users(c.SubjectRoles, c.Postgres, c.Cache)
	return caching, err
}

func (b *Builder) partsOf(c *Config) ([]*section.Part, error) {
	caching, err := b.caching(c)
	if err != nil {
		return nil, err
	}
	var parts []*section.Part
	order := c.sections() // introspection, which others may ask, before them; sessions, which may be tokens of the gate, last
	if slices.Reverse(order); c.Login.Section() != nil {
		order = append(order[1:], order[0])
	}
	for _, s := range order {
		p, err := s.Build(b.sections, caching)
		var complete *setting.Error
		switch {
		case errors.As(err, &complete):
			return nil, err
		case err != nil:
			return nil, fmt.Errorf("%s: %w", s.Kind(), err)
		}
		if p.Kind == core.KindIntrospection {
			caching.Introspection = p
		}
		if token.TokensOf(p) != nil {
			caching.Gateway = p
		}
		parts = append(parts, p)
	}
	slices.SortStableFunc(parts, func(a, b *section.Part) int { return cmp.Compare(a.Order, b.Order) })
	return parts, nil
}

// tokensOf are those that the gate issues for itself; nil: there are none.
func tokensOf(parts []*section.Part) *gatewaytoken.Tokens {
	for _, p := range parts {
		if tokens := token.TokensOf(p); tokens != nil {
			return tokens
		}
	}
	return nil
}

// partOf is that of a kind; nil: there is none.
func partOf(parts []*section.Part, kind core.Kind) *section.Part {
	for _, p := range parts {
		if p.Kind == kind {
			return p
		}
	}
	return nil
}
