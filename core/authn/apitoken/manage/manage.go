// Package manage makes, lists, rotates and revokes API tokens, wherever they are kept.
package manage

import (
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
	// Add adds a record whose id and digest none has yet.
	Add(ctx context.Context, r *apitoken.Record) error
	// List are all records, by their creation.
	List(ctx context.Context) ([]*apitoken.Record, error)
	// Update changes a record, and nothing if the change is refused. ErrUnknown: there
	// is none with the id.
	Update(ctx context.Context, id string, change func(*apitoken.Record) error) error
	// SetAccount makes or changes a service account.
	SetAccount(ctx context.Context, name string, a Account, by string) error
}

// ErrElsewhere is what Options.Owners says of owners whom the nodes alone know.
var ErrElsewhere = errors.New("the owner is known to nodes alone")

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
	if err := m.checkLifetime(want.Lifetime); err != nil {
		return "", nil, err
	}
	token = apitoken.Generate()
	now := m.options.Now().UTC().Truncate(time.Second)
	r = &apitoken.Record{
		ID: newID(), Digest: apitoken.DigestOf(token), Name: want.Name, Owner: want.Owner, Grants: want.Grants,
		Networks: want.Networks, Hosts: want.Hosts, Created: now, CreatedBy: want.By,
	}
	if want.Lifetime > 0 {
		r.Expires = now.Add(want.Lifetime)
	}
	if err := r.Check(); err != nil {
		return "", nil, err
	}
	if err := m.checkOwner(ctx, r); err != nil {
		return "", nil, err
	}
	if err := m.options.Keeper.Add(ctx, r); err != nil {
		return "", nil, err
	}
	return token, r, nil
}

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
		return fmt.Errorf("%s does not have %s; a token never has more than its owner", r.Owner, strings.Join(beyond, ", "))
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

// Rotate makes another token like one, which itself ends after the overlap.
func (m *Manager) Rotate(ctx context.Context, old *apitoken.Record, lifetime, overlap time.Duration, by string) (token string, r *apitoken.Record, err error) {
	now := m.options.Now()
	if !old.Revoked.IsZero() {
		return "", nil, fmt.Errorf("%s is revoked; create another token", old.ID)
	}
	if lifetime == 0 && !old.Expires.IsZero() {
		lifetime = old.Expires.Sub(old.Created)
	}
	token, r, err = m.Create(ctx, Request{Name: old.Name, Owner: old.Owner, Grants: old.Grants, Networks: old.Networks, Hosts: old.Hosts, Lifetime: lifetime, By: by})
	if err != nil {
		return "", nil, err
	}
	if overlap <= 0 {
		if err := m.Revoke(ctx, old); err != nil {
			return "", nil, fmt.Errorf("%s was made, and %s is not revoked: %w", r.ID, old.ID, err)
		}
		return token, r, nil
	}
	end := now.Add(overlap).UTC().Truncate(time.Second)
	err = m.options.Keeper.Update(ctx, old.ID, func(r *apitoken.Record) error {
		if r.Expires.IsZero() || r.Expires.After(end) {
			r.Expires = end
		}
		return nil
	})
	if err != nil {
		return "", nil, fmt.Errorf("%s was made, and the end of %s was not moved: %w", r.ID, old.ID, err)
	}
	return token, r, nil
}

// Revoke ends a token for ever: first where it is kept, then on all nodes.
func (m *Manager) Revoke(ctx context.Context, r *apitoken.Record) error {
	now := m.options.Now().UTC()
	err := m.options.Keeper.Update(ctx, r.ID, func(r *apitoken.Record) error {
		if r.Revoked.IsZero() {
			r.Revoked = now.Truncate(time.Second)
		}
		return nil
	})
	if err != nil || m.options.Publisher == nil {
		return err
	}
	until := r.Expires
	if until.IsZero() {
		until = now.Add(m.options.MaxLifetime)
	}
	err = m.options.Publisher.Publish(ctx, revocation.Event{
		ID: "api_token:" + r.ID, Kind: revocation.Token, Value: r.Digest.String(), At: now, Until: until, Source: "gatehouse token revoke", Reason: "API token " + r.ID,
	})
	if err != nil {
		return fmt.Errorf("%s is revoked where it is kept, and nodes that have it cached could not be told: %w", r.ID, err)
	}
	return nil
}

// SetAccount makes or changes a service account.
func (m *Manager) SetAccount(ctx context.Context, name string, a Account, by string) error {
	if err := errors.Join(apitoken.CheckAccountName(name), a.Grants.Check()); err != nil {
		return err
	}
	return m.options.Keeper.SetAccount(ctx, name, a, by)
}
