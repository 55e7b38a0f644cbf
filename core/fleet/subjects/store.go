// Package subjects completes principals by what the database of a fleet grants to a
// subject or a client, so that a change takes effect without a new credential.
package subjects

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"

	"gatehouse/core"
	"gatehouse/core/cache"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/keyedhash"
)

// StoreOptions of a Store.
type StoreOptions struct {
	Database *postgres.Kept
	// TTL is how long grants are used without asking again. Changes are told of and
	// count at once; this is for when nobody tells.
	TTL time.Duration
	// MaxStale is for how much longer they are used while the database is away.
	MaxStale time.Duration
	// Poll is how often changes are looked for that nobody told of.
	Poll time.Duration
	// Limits of the cache.
	Limits cache.Limits
	// Counters count what happens; nil: nobody else looks.
	Counters *Counters
	Log      *slog.Logger
	// Now is the clock; nil: the system's.
	Now func() time.Time
}

// Store is a Granter: the table subject_roles behind a cache. It ends when nobody refers
// to it any more.
type Store struct{ *store }

type store struct {
	options StoreOptions
	hash    *keyedhash.Hash
	flights singleflight.Group
	*Counters

	// mu orders what is kept and what changes: grants that were read before a change
	// are not kept after it.
	mu      sync.Mutex
	changes atomic.Uint64
	memory  atomic.Pointer[cache.Memory]
	// mark is the first transaction whose changes may not be known; 0: none is.
	mark uint64
}

var _ Granter = (*Store)(nil)

// Counters of one store or of several. The zero value is ready for use.
type Counters struct{ hits, misses, failures, stale, dropped atomic.Uint64 }

// Stats are for metrics. Counters only grow.
type Stats struct {
	// Hits were found in memory, Misses were asked of the database, Failures could not
	// be. Stale were used beyond their time because of that.
	Hits, Misses, Failures, Stale uint64
	// Dropped were removed from memory because of a change.
	Dropped uint64
}

// NewStore makes a store and follows the changes of the table.
func NewStore(o StoreOptions) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Database == nil || o.TTL <= 0 || o.MaxStale < 0 || o.Poll <= 0 {
		return nil, errors.New("want a database, and times above zero")
	}
	if o.Counters == nil {
		o.Counters = &Counters{}
	}
	s := &store{options: o, Counters: o.Counters, hash: keyedhash.New(nil)}
	if err := s.forget(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	go s.follow(ctx)
	kept := &Store{s}
	runtime.AddCleanup(kept, func(stop context.CancelFunc) { stop() }, stop)
	return kept, nil
}

// Stats returns what happened so far.
func (s *Counters) Stats() Stats {
	return Stats{s.hits.Load(), s.misses.Load(), s.failures.Load(), s.stale.Load(), s.dropped.Load()}
}

func (s *store) key(id Identity) cache.Key {
	return s.hash.Sum(id.Issuer, strconv.FormatBool(id.Client), id.Name)
}

// Grants returns what an identity is granted: nothing, where no row says otherwise.
func (s *store) Grants(ctx context.Context, id Identity) (Grants, error) {
	key, changes := s.key(id), s.changes.Load()
	e, found, _ := s.memory.Load().Get(ctx, key)
	if found && e.Principal != nil && s.options.Now().Sub(e.Since) < s.options.TTL {
		s.hits.Add(1)
		return grantsOf(e.Principal), nil
	}
	g, err := s.load(ctx, id, key, changes)
	if err == nil {
		return g, nil
	}
	if found && e.Principal != nil && ctx.Err() == nil {
		s.stale.Add(1)
		return grantsOf(e.Principal), nil
	}
	return Grants{}, err
}

func grantsOf(p *core.Principal) Grants { return Grants{p.Roles, p.Permissions} }

// load asks the database once for all who wait since the same change. It is detached
// from who came first.
func (s *store) load(ctx context.Context, id Identity, key cache.Key, changes uint64) (Grants, error) {
	flight := string(binary.BigEndian.AppendUint64(key[:], changes))
	done := s.flights.DoChan(flight, func() (any, error) {
		since := s.options.Now()
		g, err := Read(context.WithoutCancel(ctx), s.options.Database.Client, id)
		if err != nil {
			s.failures.Add(1)
			return g, err
		}
		s.misses.Add(1)
		s.keep(key, changes, cache.Entry{
			Principal: &core.Principal{Roles: g.Roles, Permissions: g.Permissions},
			Since:     since, Until: since.Add(s.options.TTL + s.options.MaxStale),
		})
		return g, nil
	})
	select {
	case r := <-done:
		return r.Val.(Grants), r.Err
	case <-ctx.Done():
		return Grants{}, ctx.Err()
	}
}

// keep keeps what was read, unless something has changed since.
func (s *store) keep(key cache.Key, changes uint64, e cache.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes.Load() == changes {
		_ = s.memory.Load().Set(context.Background(), key, e) // never fails
	}
}

const (
	// maxNames and maxName bound what one row grants.
	maxNames = 1000
	maxName  = 1000
)

// Read returns what an identity is granted now.
func Read(ctx context.Context, db *postgres.Client, id Identity) (g Grants, err error) {
	var found []nullable
	err = db.Read(ctx, func(ctx context.Context, q postgres.Querier) (err error) {
		rows, _ := q.Query(ctx, `SELECT roles, permissions FROM `+db.In("subject_roles")+` WHERE issuer = $1 AND is_client = $2 AND name = $3 LIMIT 2`, id.Issuer, id.Client, id.Name)
		found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[nullable])
		return err
	})
	if err == nil {
		g, err = only(found)
	}
	if err == nil {
		err = g.check()
	}
	if err != nil {
		return Grants{}, fmt.Errorf("%s: %w", id, err)
	}
	return g, nil
}

// nullable is a row as it may be where somebody has changed the table.
type nullable struct{ Roles, Permissions *[]string }

// only is what the one row of an identity grants; without a row that is nothing. What
// cannot be told from more or from less is an error.
func only(found []nullable) (Grants, error) {
	switch {
	case len(found) == 0:
		return Grants{}, nil
	case len(found) > 1: // which the database does not allow
		return Grants{}, errors.New("the table subject_roles has two rows of it; remove one")
	case found[0].Roles == nil || found[0].Permissions == nil:
		return Grants{}, errors.New("roles or permissions of its row in subject_roles are NULL; write {} for none")
	}
	return Grants{*found[0].Roles, *found[0].Permissions}, nil
}

// check refuses names that no credential could state.
func (g Grants) check() error {
	for _, list := range [][]string{g.Roles, g.Permissions} {
		if len(list) > maxNames {
			return fmt.Errorf("%d names in one list; at most %d", len(list), maxNames)
		}
		for _, name := range list {
			if err := CheckName(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// CheckName refuses a name of a role or a permission that no table could have.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a name of %d bytes; want 1 to %d", len(name), maxName)
	}
	for _, r := range name {
		if r <= ' ' || r == 0x7f || r == ',' || r == '"' || r == '\\' {
			return fmt.Errorf("the name %.40q holds %q, which no role or permission can have", name, r)
		}
	}
	return nil
}

// forget drops everything. Callers hold mu or are alone.
func (s *store) forget() error {
	memory, err := cache.NewMemory(s.options.Limits, s.options.Now)
	if err == nil {
		s.memory.Store(memory)
	}
	return err
}
