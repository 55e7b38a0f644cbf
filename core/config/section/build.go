package section

import (
	"cmp"
	"crypto/tls"
	"errors"
	"iter"
	"log/slog"
	"reflect"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/cache"
	"gatehouse/core/fair"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/revocation"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// Options are what every authenticator is built with.
type Options struct {
	// Log gets lines about what happens outside of requests.
	Log *slog.Logger
	// Calls is called after every call to an identity provider, which is named
	// after the section that configures it.
	Calls func(provider string, took time.Duration, err error)
	// Now is the clock.
	Now func() time.Time
}

// Builder makes authenticators, each once per content.
type Builder struct {
	options Options
	parts   shared.Values[Part]
}

// NewBuilder makes a builder.
func NewBuilder(o Options) *Builder { return &Builder{options: o} }

// Parts are those in use.
func (b *Builder) Parts() iter.Seq[*Part] { return b.parts.All() }

// ProviderHosts are the hosts of identity providers that have been called.
type ProviderHosts struct{ Up, Down int }

// Hosts counts them by the section that configures them; those are down to which calls
// fail at once.
func (b *Builder) Hosts() map[string]ProviderHosts {
	hosts := map[string]ProviderHosts{}
	for p := range b.Parts() {
		if p.Client == nil {
			continue
		}
		up, down := p.Client.Hosts()
		h := hosts[string(p.Kind)]
		hosts[string(p.Kind)] = ProviderHosts{h.Up + up, h.Down + down}
	}
	return hosts
}

// Caching is where results are kept.
type Caching struct {
	// Cache has the limits of this process.
	Cache
	// Shared is what nodes have in common; nil: nothing. SharedKey identifies it.
	Shared    cache.Shared
	SharedKey shared.Key
	// Redis is that of the fleet, in which all keys begin with RedisPrefix; nil: none.
	Redis       redis.UniversalClient
	RedisPrefix string
	// RedisSecrets are those of the fleet; the first one writes.
	RedisSecrets []string
	// Revoked is what is revoked; nil: nothing is. RevokedKey identifies it.
	Revoked    *revocation.List
	RevokedKey shared.Key
	// Publisher tells all nodes what is revoked; nil where Revoked is.
	Publisher revocation.Publisher
	// Introspection is asked about credentials that are verified locally, where an
	// event wants that; nil: there is none.
	Introspection *Part
	// Gateway are the tokens that the gate issues for itself; nil: none.
	Gateway *Part
	// Database is that of the fleet; nil: none. DatabaseKey identifies it.
	Database    *postgres.Kept
	DatabaseKey shared.Key
	// Users are the users in it, as owners of API tokens; nil: none. UsersKey identifies
	// them.
	Users    apitoken.Owners
	UsersKey shared.Key
	// changed is when the credentials themselves changed last; nil: nobody can tell.
	changed func() time.Time
	// Keep is in use for as long as what is made of it.
	Keep any
}

// databaseKey identifies the database, and the users in it, where they are used.
func (c Caching) databaseKey(used bool) shared.Key {
	if !used {
		return shared.Key{}
	}
	return shared.KeyOf(c.DatabaseKey, c.UsersKey)
}

func (c Caching) limits() cache.Limits {
	return cache.Limits{Entries: c.MaxEntries, Bytes: c.MaxBytes}
}

// keys identify an authenticator: in this process by all that it is made of, and in
// a fleet by what its results depend on.
type keys struct{ part, digest shared.Key }

func (c Caching) key(of ...any) keys {
	digest := shared.KeyOf(of...)
	var asked shared.Key
	if c.Introspection != nil {
		asked = c.Introspection.Key
	}
	return keys{part: shared.KeyOf(digest, c.Cache, c.SharedKey, c.RevokedKey, asked), digest: digest}
}

// part finds or makes the authenticator of a section, and guards it.
func (b *Builder) part(k keys, c Caching, build func() (*Part, error)) (*Part, error) {
	return b.parts.Get(k.part, func() (*Part, error) {
		p, err := build()
		if err != nil {
			return nil, err
		}
		p.Key, p.Digest, p.keep = k.part, k.digest, c.Keep
		o := revocation.GuardOptions{Next: p.Memo, List: c.Revoked, Local: p.Local, Issuer: p.Issuer, Others: p.Others}
		if c.Introspection != nil {
			o.Provider = c.Introspection.Memo
		}
		p.Guard = revocation.NewGuard(o)
		return p, nil
	})
}

// floor is before which moment nothing counts that was learned of a credential; nil:
// there is none.
func (c Caching) floor() func() time.Time {
	switch {
	case c.Revoked == nil:
		return c.changed
	case c.changed == nil:
		return c.Revoked.Floor
	}
	return func() time.Time {
		revoked, changed := c.Revoked.Floor(), c.changed()
		if changed.After(revoked) {
			return changed
		}
		return revoked
	}
}

// memo puts a cache in front of an authenticator. Where several providers are asked,
// providerOf names the one for a credential; else it is nil.
func (b *Builder) memo(next core.TokenAuthenticator, k keys, c Caching, ttl, negative setting.Seconds, o Outbound, providerOf func(core.Credential) string) (*cache.Memo, error) {
	good, err := cache.NewMemory(c.limits(), b.options.Now)
	if err != nil {
		return nil, err
	}
	bad, err := cache.NewMemory(c.limits(), b.options.Now)
	if err != nil {
		return nil, err
	}
	slots, err := slotsFor(max(minCalls, 2*o.MaxConcurrent), providerOf != nil)
	if err != nil {
		return nil, err
	}
	return cache.New(cache.Options{
		Next:        next,
		Positive:    good,
		Negative:    bad,
		Shared:      c.Shared,
		Digest:      string(k.digest[:]),
		TTL:         exactly(ttl),
		NegativeTTL: exactly(negative),
		Timeout:     callsPerToken * o.Timeout.Duration(),
		Slots:       slots,
		Provider:    providerOf,
		Floor:       c.floor(),
		Now:         b.options.Now,
	})
}

// slotsFor are the slots in which credentials are looked at. One client leaves a
// quarter to others, and one of several providers, which may be slow, half of them.
func slotsFor(calls int, several bool) (*fair.Slots, error) {
	o := fair.Options{Slots: calls, PerClient: fair.Share(calls, 3, 4), Waiting: calls}
	if several {
		o.PerProvider = fair.Share(calls, 1, 2)
	}
	return fair.NewSlots(o)
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
func (o Outbound) trust(provider core.Kind) (string, error) {
	return Authorities(o.path(provider), o.CAFile)
}

// Authorities is the text of a file with certificate authorities, which the setting
// at a path names; empty: the system's are trusted.
func Authorities(path, file string) (string, error) {
	if file == "" {
		return "", nil
	}
	text, err := setting.ReadBounded(file, setting.MaxDocument)
	if err != nil {
		return "", At(path, err)
	}
	return string(text), nil
}

func (Outbound) path(provider core.Kind) string { return string(provider) + ".http.ca_file" }

// At is an error at the path of a setting.
func At(path string, err error) error {
	return &setting.Error{Problems: []setting.Problem{{Path: path, Text: err.Error()}}}
}

// errMoved keeps what was made of one content from being known by the digest of another.
var errMoved = errors.New("the file changed while it was read")

// client makes the client of a section, whose authorities have a text, with a certificate of
// its own or nil.
func (b *Builder) client(provider core.Kind, o Outbound, trust string, own *tls.Certificate) (*idp.Client, error) {
	client, err := idp.New(idp.Options{
		Observe:            func(took time.Duration, err error) { b.options.Calls(string(provider), took, err) },
		Timeout:            o.Timeout.Duration(),
		MaxConcurrent:      o.MaxConcurrent,
		CAFile:             o.CAFile,
		Certificate:        own,
		InsecureSkipVerify: !o.SSLVerify,
		Log:                b.options.Log.With("provider", string(provider)),
		Now:                b.options.Now,
	})
	if err != nil {
		return nil, At(o.path(provider), err)
	}
	if again, err := o.trust(provider); err != nil || again != trust {
		return nil, At(o.path(provider), cmp.Or(err, errMoved))
	}
	return client, nil
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
		Roles: MustClaimPaths(roles), RolesGuessed: normal("RolesClaim", roles),
		Permissions: MustClaimPaths(permissions), PermissionsGuessed: normal("PermissionsClaim", permissions),
	}
}

// MustClaimPaths reads what validate has checked.
func MustClaimPaths(list string) []core.ClaimPath {
	paths, err := ClaimPaths(list)
	if err != nil {
		panic(err)
	}
	return paths
}
