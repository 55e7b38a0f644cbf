// Package apitokens keeps API tokens and service accounts in the PostgreSQL of a fleet.
package apitokens

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/fleet/postgres"
)

// format is that of the rows that are read and written.
const format = 1

// channel is told of changes, and usersChannel of those to what users may do.
const channel, usersChannel = "api_tokens", "subject_roles"

// Options of a Store.
type Options struct {
	Database *postgres.Kept
	// Users knows what users may do now, without a cache of its own; nil: tokens of users
	// do not count.
	Users apitoken.Owners
	// UseInterval is how often it is written when tokens were used last.
	UseInterval time.Duration
	Log         *slog.Logger
	Now         func() time.Time
}

// Store finds tokens and service accounts.
type Store struct {
	options Options
	*state
}

// state has no reference to the Store, so that one which nobody uses can end.
type state struct {
	changed atomic.Int64 // when, in nanoseconds
	uses    uses
}

var (
	_ apitoken.Store  = (*Store)(nil)
	_ apitoken.Owners = (*Store)(nil)
)

// Open makes a store, which follows changes until nobody has it any more.
func Open(o Options) *Store {
	s := &Store{options: o, state: &state{uses: uses{database: o.Database, log: o.Log}}}
	ctx, stop := context.WithCancel(context.Background())
	changes := o.Database.Subscribe(channel)
	users := o.Database.Subscribe(usersChannel)
	go follow(ctx, s.state, changes, users, o)
	runtime.AddCleanup(s, func(stop context.CancelFunc) { stop() }, stop)
	return s
}

// follow ends with the store.
func follow(ctx context.Context, s *state, changes, users *postgres.Subscription, o Options) {
	defer changes.Close()
	defer users.Close()
	change := func() { s.changed.Store(o.Now().UnixNano()) }
	write := time.NewTicker(o.UseInterval)
	defer write.Stop()
	for {
		select {
		case <-ctx.Done():
			s.uses.write(context.Background())
			return
		case <-changes.C:
			change()
		case <-users.C:
			change()
		case <-write.C:
			s.uses.write(ctx)
		}
	}
}

// Changed is when something changed last of which this node was told. What was found
// before does not count.
func (s *Store) Changed() time.Time { return time.Unix(0, s.changed.Load()) }

const columns = `id, format, digest, name, coalesce(subject, ''), issuer, coalesce(service_account, ''),
	roles, permissions, scopes, networks::text[], hosts, created_at, created_by, expires_at, revoked_at`

// Find finds the record of a token.
func (s *Store) Find(ctx context.Context, d apitoken.Digest) (*apitoken.Record, error) {
	var found []*apitoken.Record
	err := s.options.Database.Read(ctx, func(ctx context.Context, q postgres.Querier) (err error) {
		rows, _ := q.Query(ctx, "SELECT "+columns+", NULL::timestamptz FROM "+s.options.Database.In("api_tokens")+" WHERE digest = $1 LIMIT 2", d[:])
		found, err = pgx.CollectRows(rows, record)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, apitoken.ErrUnknown
	case len(found) > 1: // which the database does not allow
		return nil, fmt.Errorf("%w: two rows have its digest (%s and %s)", apitoken.ErrDamaged, found[0].ID, found[1].ID)
	}
	return found[0], nil
}

// errNewer says that a row is not for this program.
func errNewer(what string, of int) error {
	return fmt.Errorf("%s was written by a newer version of Gatehouse (format %d, this one reads %d): update this node", what, of, format)
}

// record reads a row. What is NULL grants nothing, and a moment that never comes is none.
func record(row pgx.CollectableRow) (*apitoken.Record, error) {
	var r apitoken.Record
	var form int
	var digest []byte
	var networks []string
	var created, expires, revoked, used pgtype.Timestamptz
	err := row.Scan(&r.ID, &form, &digest, &r.Name, &r.Owner.Subject, &r.Owner.Issuer, &r.Owner.ServiceAccount,
		&r.Roles, &r.Permissions, &r.Scopes, &networks, &r.Hosts, &created, &r.CreatedBy, &expires, &revoked, &used)
	switch {
	case err != nil:
		return nil, err
	case form != format:
		return nil, errNewer("the row of API token "+r.ID, form)
	case len(digest) != len(r.Digest):
		return nil, fmt.Errorf("the row of API token %s has a digest of %d bytes", r.ID, len(digest))
	}
	copy(r.Digest[:], digest)
	if networks != nil {
		r.Networks = make([]netip.Prefix, len(networks)) // one that cannot be read holds nobody
		for i, text := range networks {
			r.Networks[i], _ = netip.ParsePrefix(text)
		}
	}
	r.Created, r.Expires, r.LastUsed = moment(created), moment(expires), moment(used)
	if revoked.Valid {
		r.Revoked = revoked.Time
		if r.Revoked.IsZero() || revoked.InfinityModifier != pgtype.Finite {
			r.Revoked = r.Created.Add(time.Nanosecond)
		}
	}
	return &r, nil
}

func moment(t pgtype.Timestamptz) time.Time {
	if !t.Valid || t.InfinityModifier != pgtype.Finite {
		return time.Time{}
	}
	return t.Time
}

// Grants are those of an owner now.
func (s *Store) Grants(ctx context.Context, o apitoken.Owner) (apitoken.Grants, error) {
	if o.ServiceAccount != "" {
		return account(ctx, s.options.Database.Client, o.ServiceAccount)
	}
	if s.options.Users == nil {
		return apitoken.Grants{}, fmt.Errorf("%w: nothing says what users may do now: the section subject_roles is missing", apitoken.ErrGone)
	}
	return s.options.Users.Grants(ctx, o)
}

func account(ctx context.Context, database *postgres.Client, name string) (apitoken.Grants, error) {
	var g apitoken.Grants
	var form int
	var suspended bool
	err := database.Read(ctx, func(ctx context.Context, q postgres.Querier) error {
		return q.QueryRow(ctx, "SELECT format, roles, permissions, scopes, suspended FROM "+database.In("service_accounts")+" WHERE name = $1", name).
			Scan(&form, &g.Roles, &g.Permissions, &g.Scopes, &suspended)
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return apitoken.Grants{}, fmt.Errorf("%w: there is no service account %s", apitoken.ErrGone, name)
	case err != nil:
		return apitoken.Grants{}, err
	case form != format:
		return apitoken.Grants{}, errNewer("the service account "+name, form)
	case suspended:
		return apitoken.Grants{}, fmt.Errorf("%w: the service account %s is suspended", apitoken.ErrGone, name)
	}
	return g, nil
}

// Used notes that a token was accepted.
func (s *Store) Used(p *core.Principal) {
	if p.Kind == core.KindAPIToken {
		s.uses.note(p.ID, s.options.Now())
	}
}
