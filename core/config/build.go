package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/introspection"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/authn/session"
	"gatehouse/core/cache"
	"gatehouse/core/permission/live"
)

// BuilderOptions are what a host gives to every gate.
type BuilderOptions struct {
	// Recorder is told of every decision; nil for none.
	Recorder core.Recorder
	// Log is told of what happens outside of requests; nil for silence.
	Log *slog.Logger
	// Calls is told of every call to a provider, which is named after the
	// section that configures it; nil for nobody.
	Calls func(provider string, took time.Duration, err error)
	// Loads is told of every configuration that loads, with nil, or fails to;
	// nil for nobody.
	Loads func(error)
	// Reloads is told of every permission table file set that loads or fails
	// to, Differences of every call that a shadow table decides otherwise; nil
	// for nobody.
	Reloads     func(live.Reload)
	Differences func(live.Difference)
	// Now is the clock; nil for the system's.
	Now func() time.Time
}

// Builder makes gates and the parts they are made of, each once per content.
// Gateways hand the same configuration over again for every route, worker and
// reload; key sets, caches and compiled tables must outlive that, so they are
// kept here for as long as anything uses them.
type Builder struct {
	BuilderOptions
	gates          shared[core.Gate]
	tables         shared[table]
	sessions       shared[cache.Memo]
	introspections shared[cache.Memo]
	jwts           shared[verifier]
	counted        counted
}

// verifier is a JWT verifier behind its cache.
type verifier struct {
	*cache.Memo
	keys *jwt.Verifier
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
	return &Builder{BuilderOptions: o}
}

// Gate returns the gate of a configuration given inline. On an error the host
// must deny every request of the route; the error says what is wrong and holds
// no secret.
func (b *Builder) Gate(raw []byte) (*core.Gate, error) {
	c, err := Load(raw)
	if err != nil {
		b.Loads(err)
		return nil, err
	}
	return b.Build(c)
}

// Build returns the gate of a configuration that Load has read.
func (b *Builder) Build(c *Config) (*core.Gate, error) {
	gate, err := b.assemble(c)
	b.Loads(err)
	return gate, err
}

func (b *Builder) assemble(c *Config) (*core.Gate, error) {
	secret, err := c.secret()
	if err != nil {
		return nil, &Error{Mistakes: []Mistake{{"introspection.client_secret", err.Error()}}}
	}
	policy, tableKey, err := b.table(c)
	if err != nil {
		return nil, err
	}
	authenticator, authKey, err := b.authenticator(c, secret)
	if err != nil {
		return nil, err
	}
	return b.gates.get(contentKey(c, tableKey, authKey), func() (*core.Gate, error) {
		return b.build(c, authenticator, policy)
	})
}

// build makes everything of a gate but its authenticator and its policy.
func (b *Builder) build(c *Config, authenticator core.Authenticator, policy core.Policy) (*core.Gate, error) {
	extractor := c.Extractor()
	var hide *core.Extractor
	if c.HideCredentials {
		hide = &extractor
	}
	groups, strip := c.groups()
	identity, err := core.NewIdentityHeaders(c.UpstreamHeaders, strip, hide)
	if err != nil {
		return nil, fmt.Errorf("upstream_headers: %w", err)
	}
	login, err := c.Login.build()
	if err != nil {
		return nil, err
	}
	return core.New(core.Options{
		Path:           core.PathOptions(c.Path),
		Extractor:      extractor,
		Authenticator:  authenticator,
		Policy:         policy,
		ScopesRequired: c.ScopesRequired,
		Identity:       identity,
		Groups:         groups,
		Realm:          c.Realm,
		Scheme:         c.scheme(),
		Login:          login,
		Recorder:       b.Recorder,
		Now:            b.Now,
	})
}

// Extractor looks everywhere a credential may sit that this configuration can
// verify.
func (c *Config) Extractor() core.Extractor {
	e := core.Extractor{TokenCookie: c.TokenCookie}
	if c.Session != nil {
		e.SessionCookie = c.Session.CookieName
		e.SessionToken = c.Session.SessionToken
	}
	return e
}

// scheme is Bearer where a bearer token would help.
func (c *Config) scheme() core.Scheme {
	if c.JWT == nil && c.Introspection == nil && !c.Session.BearerToken {
		return core.SchemeSession
	}
	return core.SchemeBearer
}

// groups returns the claims that hold groups, and the headers to strip: where
// there are groups, nobody but the gateway's plugins may tell the upstream.
func (c *Config) groups() ([]core.ClaimPath, []string) {
	if c.AuthenticatedGroupsClaim == "" {
		return nil, c.StripHeaders
	}
	return mustClaimPaths(c.AuthenticatedGroupsClaim), append(slices.Clone(c.StripHeaders), core.AuthenticatedGroupsHeader)
}

func (l *Login) build() (*core.Login, error) {
	if l == nil {
		return nil, nil
	}
	u, err := url.Parse(l.URL)
	if err != nil {
		return nil, errors.New("login.url: is not a URL")
	}
	return &core.Login{URL: u, ReturnTo: l.ReturnToParameter, Scheme: l.Scheme}, nil
}

// key identifies a part by everything it was made of.
type key = [32]byte

func (b *Builder) authenticator(c *Config, secret string) (core.Authenticator, key, error) {
	var o authn.Options
	var keys []key
	if c.Session != nil {
		memo, k, err := b.session(c)
		if err != nil {
			return nil, key{}, fmt.Errorf("session: %w", err)
		}
		o.Session, o.SessionBearer = memo, c.Session.BearerToken
		keys = append(keys, k)
	}
	if c.JWT != nil {
		v, k, err := b.jwt(c)
		if err != nil {
			return nil, key{}, fmt.Errorf("jwt: %w", err)
		}
		o.JWT, o.Knows = v, v.keys.Knows
		keys = append(keys, k)
	}
	if c.Introspection != nil {
		memo, k, err := b.introspection(c, secret)
		if err != nil {
			return nil, key{}, fmt.Errorf("introspection: %w", err)
		}
		o.Introspection, o.IntrospectJWT = memo, authn.JWTMode(c.Introspection.JWT)
		keys = append(keys, k)
	}
	router, err := authn.New(o)
	return router, contentKey(keys), err
}

func (b *Builder) session(c *Config) (*cache.Memo, key, error) {
	s := c.Session
	trust, err := s.Outbound.trust()
	if err != nil {
		return nil, key{}, err
	}
	k := contentKey(s, c.Cache, trust)
	memo, err := b.sessions.get(k, func() (*cache.Memo, error) {
		client, err := b.client("session", s.Outbound)
		if err != nil {
			return nil, err
		}
		next, err := session.New(s.options(client, b.Now))
		if err != nil {
			return nil, err
		}
		return b.memo(next, k, c.Cache, s.CacheTTL, s.NegativeCacheTTL, s.Outbound)
	})
	return memo, k, err
}

func (s *Session) options(client *idp.Client, now func() time.Time) session.Options {
	return session.Options{
		URL:         s.KratosURL,
		Client:      client,
		CookieName:  s.CookieName,
		RequiredAAL: s.RequiredAAL,
		Claims:      claims.Paths{Roles: mustClaimPaths(s.RolesClaim), Permissions: mustClaimPaths(s.PermissionsClaim)},
		Now:         now,
	}
}

func (b *Builder) introspection(c *Config, secret string) (*cache.Memo, key, error) {
	i := c.Introspection
	trust, err := i.Outbound.trust()
	if err != nil {
		return nil, key{}, err
	}
	k := contentKey(i, secret, c.Cache, trust)
	memo, err := b.introspections.get(k, func() (*cache.Memo, error) {
		client, err := b.client("introspection", i.Outbound)
		if err != nil {
			return nil, err
		}
		next, err := introspection.New(i.options(client, secret, b.Now))
		if err != nil {
			return nil, err
		}
		return b.memo(next, k, c.Cache, i.CacheTTL, i.NegativeCacheTTL, i.Outbound)
	})
	return memo, k, err
}

func (i *Introspection) options(client *idp.Client, secret string, now func() time.Time) introspection.Options {
	return introspection.Options{
		URL:                         i.Endpoint,
		Client:                      client,
		Auth:                        introspection.Auth(i.AuthMethod),
		ClientID:                    i.ClientID,
		ClientSecret:                secret,
		Issuer:                      i.Issuer,
		Audiences:                   i.Audience,
		InsecureAcceptMissingExpiry: i.InsecureNoExpiry,
		Leeway:                      exactly(i.Leeway),
		Claims:                      claims.Paths{Roles: mustClaimPaths(i.RolesClaim), Permissions: mustClaimPaths(i.PermissionsClaim)},
		Now:                         now,
	}
}

func (b *Builder) jwt(c *Config) (*verifier, key, error) {
	j := c.JWT
	files, err := j.files()
	if err != nil {
		return nil, key{}, err
	}
	k := contentKey(j, c.Cache, files)
	v, err := b.jwts.get(k, func() (*verifier, error) {
		client, err := b.client("jwt", j.Outbound)
		if err != nil {
			return nil, err
		}
		next, err := jwt.New(jwt.Options{Issuers: j.trusted(), Client: client, Leeway: exactly(j.Leeway), Log: b.Log, Now: b.Now})
		if err != nil {
			return nil, err
		}
		memo, err := b.memo(next, k, c.Cache, j.CacheTTL, j.NegativeCacheTTL, j.Outbound)
		if err != nil {
			return nil, err
		}
		next.Waiting() // has the keys fetched before the first token comes
		return &verifier{memo, next}, nil
	})
	return v, k, err
}

func (j *JWT) trusted() []jwt.Issuer {
	issuers := make([]jwt.Issuer, len(j.Issuers))
	for n, i := range j.Issuers {
		issuers[n] = jwt.Issuer{
			Issuer:               i.Issuer,
			JWKSURL:              i.JWKSURI,
			JWKSFile:             i.JWKSFile,
			Audiences:            i.Audience,
			InsecureSkipAudience: i.InsecureAnyAudience,
			Algorithms:           i.Algorithms,
			Types:                i.TokenTypes,
			Claims:               claims.Paths{Scopes: mustClaimPaths(i.ScopesClaim), Roles: mustClaimPaths(i.RolesClaim), Permissions: mustClaimPaths(i.PermissionsClaim)},
			RefreshAfter:         j.JWKSCacheTTL.Duration(),
			MaxAge:               (j.JWKSCacheTTL + j.JWKSMaxStale).Duration(),
			MinInterval:          j.JWKSMinRefresh.Duration(),
		}
	}
	return issuers
}

// memo puts a cache in front of an authenticator.
func (b *Builder) memo(next core.Authenticator, k key, c Cache, ttl, negative Seconds, o Outbound) (*cache.Memo, error) {
	good, err := cache.NewMemory(c.MaxEntries, b.Now)
	if err != nil {
		return nil, err
	}
	bad, err := cache.NewMemory(c.MaxEntries, b.Now)
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
		Timeout:     callsPerQuestion * o.Timeout.Duration(),
		MaxFlights:  max(minFlights, 2*o.MaxConcurrent),
		Now:         b.Now,
	})
}

const (
	// callsPerQuestion is how many calls to a provider, one after the other,
	// the answer to one credential may take: discovery by two standards, and
	// the key set.
	callsPerQuestion = 3
	// minFlights is how many unknown credentials may be looked at at once. Most
	// of them wait for a provider, JWTs only for a processor.
	minFlights = 1024
)

// trust is the text of the file with the trusted authorities, so that an
// edited file makes another client.
func (o Outbound) trust() (string, error) {
	if o.CAFile == "" {
		return "", nil
	}
	text, err := readBounded(o.CAFile, maxConfig)
	if err != nil {
		return "", fmt.Errorf("http.ca_file: %w", err)
	}
	return string(text), nil
}

// files is the text of every file that the verifier reads.
func (j *JWT) files() ([]string, error) {
	trust, err := j.Outbound.trust()
	if err != nil {
		return nil, err
	}
	texts := []string{trust}
	for n, i := range j.Issuers {
		if i.JWKSFile == "" {
			continue
		}
		text, err := readBounded(i.JWKSFile, maxConfig)
		if err != nil {
			return nil, fmt.Errorf("issuers[%d].jwks_file: %w", n, err)
		}
		texts = append(texts, i.JWKSFile, string(text))
	}
	return texts, nil
}

func (b *Builder) client(provider string, o Outbound) (*idp.Client, error) {
	return idp.New(idp.Options{
		Observe:            func(took time.Duration, err error) { b.Calls(provider, took, err) },
		Timeout:            o.Timeout.Duration(),
		MaxConcurrent:      o.MaxConcurrent,
		CAFile:             o.CAFile,
		InsecureSkipVerify: !o.SSLVerify,
	})
}

// exactly keeps a zero from being read as "unset" by the packages that have
// defaults of their own.
func exactly(s Seconds) time.Duration { return max(s.Duration(), time.Nanosecond) }

// mustClaimPaths reads what validate has checked.
func mustClaimPaths(list string) []core.ClaimPath {
	paths, err := claimPaths(list)
	if err != nil {
		panic(err)
	}
	return paths
}

// secret resolves the client secret: a literal, $env://NAME or $file:///path.
func (c *Config) secret() (string, error) {
	if c.Introspection == nil {
		return "", nil
	}
	return resolve(string(c.Introspection.ClientSecret))
}

// contentKey identifies settings by what they say. Secrets hide from JSON, so
// they are passed beside the settings they belong to.
func contentKey(parts ...any) key {
	texts := make([]string, len(parts))
	for i, part := range parts {
		text, err := json.Marshal(part)
		if err != nil { // settings are strings, numbers, lists and maps of them
			panic(err)
		}
		texts[i] = string(text)
	}
	return digest(texts...)
}

// digest hashes texts with their lengths, so that no two lists of texts are
// hashed alike.
func digest(texts ...string) (sum key) {
	h := sha256.New()
	for _, text := range texts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		h.Write([]byte(text))
	}
	h.Sum(sum[:0])
	return sum
}
