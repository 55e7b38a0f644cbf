package apitoken

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse/core"
)

// Store finds the record of a token. An error that wraps ErrUnknown says that there is
// none, one that wraps ErrDamaged that a record cannot be used; any other that it could
// not be found out. The record must not be changed.
type Store interface {
	Find(ctx context.Context, d Digest) (*Record, error)
}

// Owners knows what the owner of a token may do now. An error that wraps ErrGone says
// that the owner is none any more; any other that it could not be found out.
type Owners interface {
	Grants(ctx context.Context, o Owner) (Grants, error)
}

// What stores and owners say.
var (
	// ErrUnknown: no token has the digest.
	ErrUnknown = errors.New("no such token")
	// ErrDamaged: a record that holds what none may hold.
	ErrDamaged = errors.New("the record of the token cannot be used")
	// ErrGone: an owner who is not known (any more), or is suspended.
	ErrGone = errors.New("the owner is not known or suspended")
)

// Options of an Authenticator.
type Options struct {
	Store  Store
	Owners Owners
	// MaxLifetime is the longest time from creation to expiry that is accepted.
	MaxLifetime time.Duration
	// InsecureNoExpiry accepts tokens that never end.
	InsecureNoExpiry bool
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Authenticator is a core.TokenAuthenticator of API tokens.
type Authenticator struct{ options Options }

var _ core.TokenAuthenticator = (*Authenticator)(nil)

// New makes an authenticator.
func New(o Options) (*Authenticator, error) {
	if o.Store == nil || o.Owners == nil {
		return nil, errors.New("API tokens need a store of tokens and one of owners")
	}
	if o.MaxLifetime <= 0 {
		return nil, errors.New("API tokens need a longest lifetime")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Authenticator{o}, nil
}

// clockSkew is by how much the clock of whoever creates tokens may be ahead.
const clockSkew = 5 * time.Minute

// endless is how long the principal of a token without an end counts.
const endless = time.Hour

// AuthenticateToken finds the token's record and its owner. What is refused is told
// apart in the error alone, which no client sees.
func (a *Authenticator) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	if c.Place != core.BearerToken && c.Place != core.TokenHeader {
		return nil, fmt.Errorf("%w: an API token in the place %.40q; it belongs into the Authorization header or one of token_headers", core.ErrInvalid, c.Place)
	}
	if !WellFormed(c.Value) {
		return nil, fmt.Errorf("%w: the API token is cut short or changed: its length, its alphabet or its checksum is wrong", core.ErrInvalid)
	}
	digest := DigestOf(c.Value)
	r, err := a.options.Store.Find(ctx, digest)
	switch {
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrDamaged):
		return nil, fmt.Errorf("%w: API token: %w", core.ErrInvalid, err)
	case err != nil:
		return nil, fmt.Errorf("look up the API token: %w", err)
	case subtle.ConstantTimeCompare(r.Digest[:], digest[:]) != 1:
		return nil, fmt.Errorf("%w: API token %s: the store found another digest than it was asked for", core.ErrInvalid, r.ID)
	}
	if err := a.usable(r); err != nil {
		return nil, fmt.Errorf("%w: API token %s %w", core.ErrInvalid, r.ID, err)
	}
	of, err := a.options.Owners.Grants(ctx, r.Owner)
	switch {
	case errors.Is(err, ErrGone):
		return nil, fmt.Errorf("%w: API token %s of %s: %w", core.ErrInvalid, r.ID, r.Owner, err)
	case err != nil:
		return nil, fmt.Errorf("look up the owner of API token %s: %w", r.ID, err)
	}
	return a.principal(r, of), nil
}

// usable says why a record does not count now.
func (a *Authenticator) usable(r *Record) error {
	now := a.options.Now()
	if err := r.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	born := r.Created
	if born.After(now) {
		born = now // or a creation in the future would make any lifetime a short one
	}
	switch {
	case !r.Revoked.IsZero():
		return fmt.Errorf("was revoked at %s", r.Revoked.UTC().Format(time.RFC3339))
	case r.Created.After(now.Add(clockSkew)):
		return fmt.Errorf("was created in the future, at %s: compare the clocks", r.Created.UTC().Format(time.RFC3339))
	case r.Expires.IsZero() && a.options.InsecureNoExpiry:
		return nil
	case r.Expires.IsZero():
		return errors.New("has no expiry, which insecure_no_expiry alone accepts")
	case !r.Expires.After(now):
		return fmt.Errorf("expired at %s", r.Expires.UTC().Format(time.RFC3339))
	case r.Expires.Sub(born) > a.options.MaxLifetime+clockSkew:
		return fmt.Errorf("is valid for longer than max_lifetime (%s)", a.options.MaxLifetime)
	}
	return nil
}

// principal is whom a token speaks for, with what both the token and its owner have.
func (a *Authenticator) principal(r *Record, of Grants) *core.Principal {
	p := &core.Principal{
		Kind:        core.KindAPIToken,
		ID:          r.ID,
		Subject:     r.Owner.Subject,
		Issuer:      r.Owner.Issuer,
		Roles:       only(r.Roles, of.Roles),
		Permissions: r.Permissions,
		Scopes:      only(r.Scopes, slices.Concat(of.Scopes, of.Permissions)),
		Limit:       &core.Principal{Roles: of.Roles, Permissions: of.Permissions, Scopes: of.Scopes},
		Networks:    r.Networks,
		Hosts:       r.Hosts,
		IssuedAt:    r.Created,
		Expiry:      r.Expires,
		Claims:      map[string]any{"jti": r.ID, "token_name": r.Name},
	}
	if account := r.Owner.ServiceAccount; account != "" {
		p.Subject, p.ClientID = AccountSubject(account), account
	}
	if p.Expiry.IsZero() {
		p.Expiry = a.options.Now().Add(endless)
	}
	return p
}

// AccountSubject is the subject of a service account's principals.
func AccountSubject(name string) string { return "service-account:" + name }
