// Package manage makes, lists, rotates and revokes API tokens, wherever they are kept.
package manage

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/revocation"
)

// Keeper keeps records. What it returns nil for is durable.
type Keeper interface {
	// Add adds a record whose id and digest none has yet, else ErrExists.
	Add(ctx context.Context, r *apitoken.Record) error
	// List are all records, by their creation.
	List(ctx context.Context) ([]*apitoken.Record, error)
	// Update changes a record and adds others in one step: all of it or, where the change
	// is refused or fails, nothing. ErrUnknown: there is none with the id.
	Update(ctx context.Context, id string, change func(*apitoken.Record) error, add ...*apitoken.Record) error
	// SetAccount makes or changes a service account.
	SetAccount(ctx context.Context, name string, a Account, by string) error
}

// ErrElsewhere is what Options.Owners says of owners whom the nodes alone know.
var ErrElsewhere = errors.New("the owner is known to nodes alone")

// ErrExists is what a Keeper says of a record whose id or digest another has.
var ErrExists = errors.New("there is a token with this id or digest")

// Account is what a service account may do.
type Account struct {
	apitoken.Grants
	Suspended bool
}

// Options of a Manager.
type Options struct {
	Keeper Keeper
	// Owners knows owners; a token of none that it knows is not made.
	Owners apitoken.Owners
	// Publisher tells all nodes at once of what was revoked; nil: they find out by
	// themselves.
	Publisher revocation.Publisher
	// Source names in events who has revoked.
	Source string
	// MaxLifetime is the longest life of a token.
	MaxLifetime time.Duration
	// NoExpiry allows tokens that never end.
	NoExpiry bool
	Now      func() time.Time
}

// Manager manages tokens.
type Manager struct{ options Options }

// New makes a manager.
func New(o Options) *Manager { return &Manager{o} }

// Request is the token that somebody wants.
type Request struct {
	// ID names it; empty: one is made.
	ID    string
	Name  string
	Owner apitoken.Owner
	apitoken.Grants
	Networks []netip.Prefix
	Hosts    []string
	// Lifetime is how long it is valid; 0: for ever.
	Lifetime time.Duration
	By       string
}

// Create makes a token. It is returned once, and kept nowhere.
func (m *Manager) Create(ctx context.Context, want Request) (token string, r *apitoken.Record, err error) {
	token, r, err = m.generate(ctx, want)
	if err != nil {
		return "", nil, err
	}
	if err := m.options.Keeper.Add(ctx, r); err != nil {
		return "", nil, err
	}
	return token, r, nil
}

// generate makes a token and the record that is to be kept of it.
func (m *Manager) generate(ctx context.Context, want Request) (token string, r *apitoken.Record, err error) {
	if err := m.checkLifetime(want.Lifetime); err != nil {
		return "", nil, &Refusal{err}
	}
	token = apitoken.Generate()
	now := m.options.Now().UTC().Truncate(time.Second)
	r = &apitoken.Record{
		ID: cmp.Or(want.ID, newID()), Digest: apitoken.DigestOf(token), Name: want.Name, Owner: want.Owner, Grants: want.Grants,
		Networks: want.Networks, Hosts: want.Hosts, Created: now, CreatedBy: want.By,
	}
	if want.Lifetime > 0 {
		r.Expires = now.Add(want.Lifetime)
	}
	if err := r.Check(); err != nil {
		return "", nil, &Refusal{err}
	}
	if apitoken.HasPrefix(r.ID) {
		return "", nil, refused("the id begins like a token")
	}
	return token, r, m.checkOwner(ctx, r)
}

// Refusal is what is wrong with what somebody wants, in words for them. Any other error
// says that it could not be done.
type Refusal struct{ Err error }

func (r *Refusal) Error() string { return r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

func refused(format string, args ...any) error { return &Refusal{fmt.Errorf(format, args...)} }

func (m *Manager) checkLifetime(life time.Duration) error {
	switch {
	case life == 0 && !m.options.NoExpiry:
		return errors.New("a token needs an expiry; only insecure_no_expiry does without")
	case life < 0:
		return errors.New("the expiry is not in the future")
	case life > m.options.MaxLifetime:
		return fmt.Errorf("the token would be valid for %s; the longest life is %s (max_lifetime)", life, m.options.MaxLifetime)
	}
	return nil
}

// checkOwner refuses names that could never count. Permissions that the owner has by a
// role are known to permission tables alone.
func (m *Manager) checkOwner(ctx context.Context, r *apitoken.Record) error {
	if m.options.Owners == nil {
		return nil
	}
	of, err := m.options.Owners.Grants(ctx, r.Owner)
	switch {
	case errors.Is(err, ErrElsewhere):
		return nil
	case errors.Is(err, apitoken.ErrGone):
		return &Refusal{err}
	case err != nil:
		return err
	}
	var beyond []string
	for _, list := range []struct {
		what       string
		names, has []string
	}{{"role", r.Roles, of.Roles}, {"scope", r.Scopes, slices.Concat(of.Scopes, of.Permissions)}} {
		for _, name := range list.names {
			if !slices.Contains(list.has, name) {
				beyond = append(beyond, list.what+" "+name)
			}
		}
	}
	if len(beyond) > 0 {
		return refused("%s does not have %s; a token never has more than its owner", r.Owner, strings.Join(beyond, ", "))
	}
	return nil
}

// newID names a token to people. It reveals nothing of it.
func newID() string { return strings.ToLower(rand.Text()[:16]) }

// List are all tokens.
func (m *Manager) List(ctx context.Context) ([]*apitoken.Record, error) {
	return m.options.Keeper.List(ctx)
}

// Find finds a record by an id or by the token itself.
func (m *Manager) Find(ctx context.Context, what string) (*apitoken.Record, error) {
	all, err := m.options.Keeper.List(ctx)
	if err != nil {
		return nil, err
	}
	digest, isToken := apitoken.DigestOf(what), apitoken.WellFormed(what)
	for _, r := range all {
		if r.ID == what || isToken && r.Digest == digest {
			return r, nil
		}
	}
	return nil, apitoken.ErrUnknown
}

// Rotate makes another token like one, which itself ends after the overlap: both in one
// step, or neither. A token beside an error was made, and nodes could not be told that the
// old one is revoked.
func (m *Manager) Rotate(ctx context.Context, old *apitoken.Record, lifetime, overlap time.Duration, by string) (token string, r *apitoken.Record, err error) {
	if lifetime == 0 && !old.Expires.IsZero() {
		lifetime = old.Expires.Sub(old.Created)
	}
	token, r, err = m.generate(ctx, Request{Name: old.Name, Owner: old.Owner, Grants: old.Grants, Networks: old.Networks, Hosts: old.Hosts, Lifetime: lifetime, By: by})
	if err != nil {
		return "", nil, err
	}
	now := m.options.Now()
	err = m.options.Keeper.Update(ctx, old.ID, func(old *apitoken.Record) error { return end(old, now, overlap) }, r)
	if err != nil {
		return "", nil, err
	}
	if overlap <= 0 {
		err = m.tell(ctx, old)
	}
	return token, r, err
}

// end has a token end after an overlap, if it does not end before.
func end(r *apitoken.Record, now time.Time, overlap time.Duration) error {
	at := now.Add(overlap).UTC().Truncate(time.Second)
	switch {
	case !r.Revoked.IsZero():
		return refused("%s is revoked; create another token", r.ID)
	case overlap <= 0:
		r.Revoked = at
	case !at.After(r.Created):
		return refused("%s was created in the future; compare the clocks", r.ID)
	case r.Expires.IsZero() || r.Expires.After(at):
		r.Expires = at
	}
	return nil
}

// Revoke ends a token for ever: first where it is kept, then on all nodes.
func (m *Manager) Revoke(ctx context.Context, r *apitoken.Record) error {
	now := m.options.Now().UTC().Truncate(time.Second)
	err := m.options.Keeper.Update(ctx, r.ID, func(r *apitoken.Record) error {
		if r.Revoked.IsZero() {
			r.Revoked = now
		}
		return nil
	})
	if err != nil {
		return err
	}
	return m.tell(ctx, r)
}

// ErrNotTold is of a token that is revoked where it is kept alone.
var ErrNotTold = errors.New("nodes that have it cached could not be told, and may accept it until cache_ttl is over; revoke it again")

// tell tells all nodes that a token is revoked.
func (m *Manager) tell(ctx context.Context, r *apitoken.Record) error {
	if m.options.Publisher == nil {
		return nil
	}
	until := r.Expires
	if until.IsZero() {
		until = m.options.Now().Add(m.options.MaxLifetime)
	}
	err := m.options.Publisher.Publish(ctx, revocation.Event{
		ID: rand.Text(), Kind: revocation.Token, Value: r.Digest.String(), Until: until, Source: m.options.Source, Reason: "API token " + r.ID,
	})
	if err != nil {
		return fmt.Errorf("%s is revoked where it is kept, and %w: %w", r.ID, ErrNotTold, err)
	}
	return nil
}

// SetAccount makes or changes a service account.
func (m *Manager) SetAccount(ctx context.Context, name string, a Account, by string) error {
	if err := errors.Join(apitoken.CheckAccountName(name), a.Grants.Check()); err != nil {
		return &Refusal{err}
	}
	return m.options.Keeper.SetAccount(ctx, name, a, by)
}
