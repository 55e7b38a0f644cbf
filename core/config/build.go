package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/cache"
	"gatehouse/core/identity"
	"gatehouse/core/login"
	"gatehouse/core/permission/live"
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
	// Now is the clock; nil: the system's.
	Now func() time.Time
}

// Builder makes gates and the parts they are made of, each once per content.
// Gateways hand the same configuration over again for every route, worker and
// reload; key sets, caches and compiled tables must outlive that, so they are
// kept here for as long as anything uses them.
type Builder struct {
	options BuilderOptions
	gates   shared.Values[core.Gate]
	tables  shared.Values[table]
	parts   shared.Values[part]
	counted cache.Totals
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
	return &Builder{options: o}
}

// Recorder follows every decision; nil: none.
func (b *Builder) Recorder() core.Recorder { return b.options.Recorder }

// Log gets lines about what happens outside of requests.
func (b *Builder) Log() *slog.Logger { return b.options.Log }

// Gate returns the gate of a configuration given inline. On an error the host
// must deny every request of the route; the error says what is wrong and holds
// no secret.
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
	gate, err := b.assemble(c)
	b.options.Loads(err)
	return gate, err
}

func (b *Builder) assemble(c *Config) (*core.Gate, error) {
	policy, tableKey, err := b.table(c)
	if err != nil {
		return nil, err
	}
	authenticator, authKey, err := b.authenticator(c)
	if err != nil {
		return nil, err
	}
	return b.gates.Get(shared.KeyOf(c, tableKey, authKey), func() (*core.Gate, error) {
		return b.build(c, authenticator, policy)
	})
}

// build makes everything of a gate but its authenticator and its policy.
func (b *Builder) build(c *Config, authenticator core.Authenticator, policy core.Policy) (*core.Gate, error) {
	extractor, err := c.Extractor()
	if err != nil {
		return nil, err
	}
	headers, err := c.identity(extractor, b.headerAbsent)
	if err != nil {
		return nil, err
	}
	endpoints, resources, err := c.endpoints()
	if err != nil {
		return nil, err
	}
	loginPage, err := c.Login.build()
	if err != nil {
		return nil, err
	}
	return core.New(core.Options{
		Path:           core.PathOptions(c.Path),
		Endpoints:      endpoints,
		Extractor:      extractor,
		Authenticator:  authenticator,
		Policy:         policy,
		ScopesRequired: c.ScopesRequired,
		Identity:       headers,
		Realm:          c.Realm,
		Scheme:         c.scheme(),
		Resources:      resources,
		Login:          loginPage,
		Recorder:       b.options.Recorder,
		Now:            b.options.Now,
	})
}

// identity is what the upstream learns of a caller.
func (c *Config) identity(extractor *core.Extractor, absent func(header, claims string)) (*identity.Headers, error) {
	options := identity.Options{Claims: c.UpstreamHeaders, Join: c.HeaderLists, TooLong: c.HeaderTooLong, Absent: absent, Strip: c.stripped(), Groups: mustClaimPaths(c.AuthenticatedGroupsClaim)}
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
func (b *Builder) headerAbsent(header, claims string) {
	b.options.Log.Warn("an upstream header is not sent: the credential has none of its claims; this is said once", "header", header, "claims", claims)
}

// Extractor looks everywhere a credential may sit that this configuration can
// verify.
func (c *Config) Extractor() (*core.Extractor, error) {
	var places []core.Place
	for _, s := range c.sections() {
		places = append(places, s.places()...)
	}
	if c.TokenCookie != "" {
		places = append(places, core.Place{Name: core.TokenCookie, Cookie: c.TokenCookie, Chunked: true})
	}
	for _, h := range c.TokenHeaders {
		places = append(places, core.Place{Name: core.TokenHeader, Header: h.Name, Scheme: h.Prefix})
	}
	return core.NewExtractor(places...)
}

// stripped are the headers that no upstream gets from a client. Token headers are
// among them: an upstream behind Cloudflare or Google reads a caller out of them.
func (c *Config) stripped() []string {
	names := slices.Clone(c.StripHeaders)
	for _, h := range c.TokenHeaders {
		if !strings.EqualFold(h.Name, core.BearerTokenPlace.Header) { // that is left to hide_credentials
			names = append(names, h.Name)
		}
	}
	return names
}

// scheme is Bearer where a bearer token would help.
func (c *Config) scheme() core.Scheme {
	if slices.ContainsFunc(c.sections(), section.judgesBearer) {
		return core.SchemeBearer
	}
	return core.SchemeSession
}

// build returns nil, and not a nil pointer, where there is no login page.
func (l *Login) build() (core.Login, error) {
	if l == nil {
		return nil, nil
	}
	u, err := url.Parse(l.URL)
	if err != nil {
		return nil, errors.New("login.url: is not a URL")
	}
	return &login.Page{URL: u, ReturnTo: l.ReturnToParameter, Scheme: l.Scheme}, nil
}

// authenticator routes each credential to the section that judges it.
func (b *Builder) authenticator(c *Config) (core.Authenticator, shared.Key, error) {
	parts, err := b.partsOf(c)
	if err != nil {
		return nil, shared.Key{}, err
	}
	routes, keys := make([]authn.Route, len(parts)), make([]shared.Key, len(parts))
	for i, p := range parts {
		routes[i], keys[i] = p.route, p.key
		routes[i].By = p // keeps the part in use
	}
	router, err := authn.New(routes...)
	return router, shared.KeyOf(keys), err
}

func (b *Builder) partsOf(c *Config) ([]*part, error) {
	var parts []*part
	for _, s := range c.sections() {
		p, err := s.build(b, c.Cache)
		var complete *setting.Error
		switch {
		case errors.As(err, &complete):
			return nil, err
		case err != nil:
			return nil, fmt.Errorf("%s: %w", s.kind(), err)
		}
		parts = append(parts, p)
	}
	slices.SortStableFunc(parts, func(a, b *part) int { return cmp.Compare(a.order, b.order) })
	return parts, nil
}

// memo puts a cache in front of an authenticator.
func (b *Builder) memo(next core.TokenAuthenticator, k shared.Key, limits Cache, ttl, negative setting.Seconds, o Outbound) (*cache.Memo, error) {
	good, err := cache.NewMemory(cache.Limits{Entries: limits.MaxEntries, Bytes: limits.MaxBytes}, b.options.Now)
	if err != nil {
		return nil, err
	}
	bad, err := cache.NewMemory(cache.Limits{Entries: limits.MaxEntries, Bytes: limits.MaxBytes}, b.options.Now)
	if err != nil {
		return nil, err
	}
	return cache.New(cache.Options{
		Next:        next,
		Positive:    good,
		Negative:    bad,
		Digest:      string(k[:]),
		TTL:         exactly(ttl),
		NegativeTTL: exactly(negative),
		Timeout:     callsPerToken * o.Timeout.Duration(),
		MaxCalls:    max(minCalls, 2*o.MaxConcurrent),
		Now:         b.options.Now,
	})
}

const (
	// callsPerToken is how many calls to a provider, one after the other,
	// the result for one credential may take: discovery by two standards, and
	// the key set.
	callsPerToken = 3
	// minCalls is how many unknown credentials may be looked at at once. Most
	// of them wait for a provider, JWTs only for a processor.
	minCalls = 1024
)

// trust is the text of the file with the trusted authorities, so that an
// edited file makes another client.
func (o Outbound) trust() (string, error) {
	if o.CAFile == "" {
		return "", nil
	}
	text, err := setting.ReadBounded(o.CAFile, setting.MaxDocument)
	if err != nil {
		return "", fmt.Errorf("http.ca_file: %w", err)
	}
	return string(text), nil
}

func (b *Builder) client(provider core.Kind, o Outbound) (*idp.Client, error) {
	return idp.New(idp.Options{
		Observe:            func(took time.Duration, err error) { b.options.Calls(string(provider), took, err) },
		Timeout:            o.Timeout.Duration(),
		MaxConcurrent:      o.MaxConcurrent,
		CAFile:             o.CAFile,
		InsecureSkipVerify: !o.SSLVerify,
		Now:                b.options.Now,
	})
}

// exactly keeps a zero from being read as "unset" by the packages that have
// defaults of their own.
func exactly(s setting.Seconds) time.Duration { return max(s.Duration(), time.Nanosecond) }

// grants are where a section's credentials state roles and permissions. Paths that
// are the section's default are a guess; gateways fill it in, so that a path that
// somebody wrote cannot be told from it otherwise.
func grants(section any, roles, permissions string) claims.Paths {
	normal := func(name, text string) bool {
		field, _ := reflect.TypeOf(section).FieldByName(name)
		return field.Tag.Get("default") == text
	}
	return claims.Paths{
		Roles: mustClaimPaths(roles), RolesGuessed: normal("RolesClaim", roles),
		Permissions: mustClaimPaths(permissions), PermissionsGuessed: normal("PermissionsClaim", permissions),
	}
}

// mustClaimPaths reads what validate has checked.
func mustClaimPaths(list string) []core.ClaimPath {
	paths, err := claimPaths(list)
	if err != nil {
		panic(err)
	}
	return paths
}
