package section

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/api"
	"gatehouse/core/authn/apitoken/tokenfile"
	"gatehouse/core/authn/claims"
	"gatehouse/core/extract"
	"gatehouse/core/fleet/apitokens"
	"gatehouse/core/setting"
)

// APIToken accepts API tokens of users and of service accounts.
type APIToken struct {
	Store            string          `config:"token_store" default:"file" one_of:"file,postgres" doc:"Where the tokens are kept: in token_file, or in the database of the section postgres, which all nodes of a fleet share."`
	TokenFile        string          `config:"token_file" doc:"Path of the file with the digests of the tokens and with their owners, which gatehouse token writes. A change takes effect within a second; while the file has an error, the last good one stays in force."`
	MaxLifetime      setting.Seconds `config:"max_lifetime" default:"31536000" between:"60,315360000" doc:"Longest time from the creation of a token to its expiry that is accepted, in seconds."`
	InsecureNoExpiry bool            `config:"insecure_no_expiry" default:"false" doc:"Accepts tokens that never expire, too."`
	LastUsedInterval setting.Seconds `config:"last_used_interval" default:"60" between:"1,3600" doc:"How often a node writes into the database when tokens were used last, in seconds."`
	CacheTTL         setting.Seconds `config:"cache_ttl" default:"10" between:"0,300" doc:"How long a valid token is cached, in seconds, at the longest. A change of which the node learns counts at once. 0 looks a token up on every request."`
	NegativeCacheTTL setting.Seconds `config:"negative_cache_ttl" default:"5" between:"0,300" doc:"How long the refusal of a token is cached, in seconds."`
	Admin            *APITokenAdmin  `config:"admin" doc:"The operator's own endpoints: what gatehouse token does, by HTTP; leave out for none. The gateway must route their paths through the gate."`
}

// APITokenAdmin is the API by which tokens are managed.
type APITokenAdmin struct {
	Path             string         `config:"path" default:"/api-tokens" doc:"Where the list is, as a path; PATH/rotate, PATH/revoke and PATH/accounts are below it."`
	Secret           setting.Secret `config:"secret" required:"true" secret:"true" doc:"Bearer token for the Authorization header, at least 32 bytes. Whoever has it makes tokens of anybody. Takes a literal value, $env://NAME or $file:///path."`
	PreviousSecret   setting.Secret `config:"previous_secret" secret:"true" doc:"A former or a coming secret that is accepted, too, so that it can be changed without a gap."`
	Rate             int            `config:"requests_per_minute" default:"600" between:"1,1000000" doc:"How many authenticated requests are served within a minute; further ones get 429 with Retry-After."`
	PostgresUser     string         `config:"postgres_user" doc:"Role of the database that changes tokens, with the rights of an editor, which gatehouse db rights prints. Left out: postgres.user, which then needs them, too."`
	PostgresPassword setting.Secret `config:"postgres_password" secret:"true" doc:"Password of postgres_user. Takes a literal value, $env://NAME or $file:///path."`
}

// check reports what no single tag can say.
func (a *APITokenAdmin) check(v Validator, inDatabase bool) {
	canonical, err := core.Canonical(a.Path, core.PathOptions{})
	if err != nil || canonical != a.Path || strings.HasSuffix(a.Path, "/") {
		v.Add("api_token.admin.path", "must be a path such as /api-tokens, without escapes, dot segments, double slashes and a final slash")
	}
	if a.PostgresUser != "" && !inDatabase {
		v.Add("api_token.admin.postgres_user", "needs token_store: postgres")
	}
	if a.PostgresPassword != "" && a.PostgresUser == "" {
		v.Add("api_token.admin.postgres_password", "needs postgres_user")
	}
}

// AdminPaths are those of the endpoints.
func (a *APIToken) AdminPaths() []string {
	if a == nil || a.Admin == nil {
		return nil
	}
	return api.Paths(a.Admin.Path)
}

var _ Section = (*APIToken)(nil)

func (*APIToken) Kind() core.Kind         { return core.KindAPIToken }
func (*APIToken) Places() []extract.Place { return nil }
func (*APIToken) JudgesBearer() bool      { return true }

func (a *APIToken) Check(v Validator) {
	if a.Admin != nil {
		a.Admin.check(v, a.InDatabase())
	}
	switch inDatabase := a.InDatabase(); {
	case !inDatabase && a.TokenFile == "":
		v.Add("api_token.token_file", "is needed: the file that gatehouse token create writes; or set token_store: postgres")
	case inDatabase && a.TokenFile != "":
		v.Add("api_token.token_file", "cannot be set beside token_store: postgres")
	}
}

// InDatabase reports whether the tokens are in the database of the section postgres.
func (a *APIToken) InDatabase() bool { return a.Store == "postgres" }

// lookups is how API tokens are looked up: not at a provider that may be slow.
var lookups = Outbound{Timeout: 1, MaxConcurrent: minCalls}

func (a *APIToken) Build(b *Builder, c Caching) (*Part, error) {
	c.Shared = nil // which is no nearer than the store itself
	judging := *a
	judging.Admin = nil // who makes tokens changes nothing of how they are judged
	k := c.key(a.Kind(), judging, c.databaseKey(a.InDatabase()))
	return b.part(k, c, func() (*Part, error) {
		o := a.options(b.options.Now)
		var used func(*core.Principal)
		if a.InDatabase() {
			store := apitokens.Open(apitokens.Options{Database: c.Database, Users: c.Users, UseInterval: a.LastUsedInterval.Duration(), Log: b.options.Log, Now: b.options.Now})
			o.Store, o.Owners, used, c.changed = store, store, store.Used, store.Changed
		} else {
			store := tokenfile.Open(a.TokenFile, b.options.Log, b.options.Now)
			o.Store, o.Owners, c.changed = store, store, store.Changed
		}
		next, err := apitoken.New(o)
		if err != nil {
			return nil, err
		}
		memo, err := b.memo(next, k, c, a.CacheTTL, a.NegativeCacheTTL, lookups, nil)
		if err != nil {
			return nil, err
		}
		return &Part{Memo: memo, Kind: a.Kind(), Order: apiTokensFirst, Route: authn.Route{Title: "API tokens", Judges: judgesAPIToken, Accepted: used}}, nil
	})
}

func (a *APIToken) options(now func() time.Time) apitoken.Options {
	return apitoken.Options{MaxLifetime: a.MaxLifetime.Duration(), InsecureNoExpiry: a.InsecureNoExpiry, Now: now}
}

// judgesAPIToken takes every credential that begins like an API token, wherever it sat:
// it is a secret that no identity provider is to see.
func judgesAPIToken(c core.Credential) (parsed any, ok bool) { return nil, apitoken.HasPrefix(c.Value) }

// NoAPITokens refuses API tokens where no section accepts them, rather than to have them
// introspected.
func NoAPITokens() authn.Route {
	return authn.Route{By: noAPITokens{}, Judges: func(c core.Credential) (any, bool) { return nil, apitoken.WellFormed(c.Value) }}
}

type noAPITokens struct{}

func (noAPITokens) AuthenticateToken(context.Context, core.Credential) (*core.Principal, error) {
	return nil, fmt.Errorf("%w: an API token, which is not accepted here: the configuration has no section api_token", core.ErrInvalid)
}

func (a *APIToken) Refused() error { return nil }

// Principal reads the claims that tools describe a token by.
func (a *APIToken) Principal(b *Builder, document map[string]any, _ string) (*core.Principal, error) {
	set := claims.Set(document)
	p := &core.Principal{Kind: a.Kind()}
	var err error
	if p.Issuer, err = set.Text("iss"); err == nil {
		p.Expiry, err = set.Expiry(b.options.Now())
	}
	if err == nil {
		err = set.Principal(claims.Paths{}.WithDefaults(), p)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: API token %w", core.ErrInvalid, err)
	}
	return p, nil
}
