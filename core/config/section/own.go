package section

import (
	"log/slog"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/claims"
	"gatehouse/core/setting"
)

// Own describes an authenticator that another package makes, and that calls no identity
// provider about a credential.
type Own struct {
	Kind  core.Kind
	Title string
	// Judges reports whether it judges a credential.
	Judges func(core.Credential) (parsed any, ok bool)
	// Candidate is as that of authn.Route; nil: there is no such condition.
	Candidate func(core.Credential) bool
	// Others is as that of revocation.GuardOptions; nil: there are none.
	Others func(*core.Principal) []core.Principal
	// Order is as that of Part: OwnJWTsNext, TheRestLast, or none.
	Order int
	// Changed is when what results depend on changed last: what was learned before does not
	// count. nil: it does not change.
	Changed func() time.Time
	// Waiting is as that of Part.
	Waiting func() []string
	// Local says that nobody is asked about a credential.
	Local bool
	// TTL and NegativeTTL are how long principals and refusals are cached.
	TTL, NegativeTTL setting.Seconds
	// Make makes it, and what is kept with it.
	Make func() (by core.TokenAuthenticator, made any, err error)
}

// Own finds or makes the part of an authenticator that depends on these values.
func (b *Builder) Own(o Own, c Caching, of ...any) (*Part, error) {
	c.Shared = nil        // what a node has looked up, the others look up as fast
	c.Introspection = nil // no provider knows such a credential, and none is to learn it
	c.changed = o.Changed
	k := c.key(append([]any{o.Kind}, of...)...)
	return b.part(k, c, func() (*Part, error) {
		by, made, err := o.Make()
		if err != nil {
			return nil, err
		}
		memo, err := b.memo(by, k, c, o.TTL, o.NegativeTTL, lookups, nil)
		if err != nil {
			return nil, err
		}
		return &Part{
			Memo: memo, Kind: o.Kind, Order: o.Order, Local: o.Local, Made: made, Others: o.Others, Waiting: o.Waiting,
			Route: authn.Route{Title: o.Title, Judges: o.Judges, Candidate: o.Candidate},
		}, nil
	})
}

// Observe is called after every call to the provider of a kind.
func (b *Builder) Observe(provider core.Kind) func(time.Duration, error) {
	return func(took time.Duration, err error) { b.options.Calls(string(provider), took, err) }
}

// Now is the clock of what is built.
func (b *Builder) Now() func() time.Time { return b.options.Now }

// Log gets lines about what happens outside of requests.
func (b *Builder) Log() *slog.Logger { return b.options.Log }

// Grants are where the credentials of a section state roles and permissions. Paths that
// are the section's default are a guess.
func Grants(section any, roles, permissions string) claims.Paths {
	return grants(section, roles, permissions)
}
