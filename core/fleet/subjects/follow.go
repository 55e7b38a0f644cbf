package subjects

import (
	"context"
	"strconv"
	"time"

	"gatehouse/core/cache"
	"gatehouse/core/fleet/postgres"
)

const (
	// channel is where the database tells of changes.
	channel = "subject_roles"
	// firstRetry is the time after changes could not be read; it doubles up to Poll.
	firstRetry = 100 * time.Millisecond
	// maxChanges is how many changes are dropped one by one; beyond it, everything is.
	maxChanges = 1000
)

// follow drops what has changed, as soon as the database tells of it, and looks by
// itself, too.
func (s *store) follow(ctx context.Context) {
	told := s.options.Database.Subscribe(channel)
	defer told.Close()
	wait := firstRetry
	for {
		timer := time.NewTimer(s.options.Poll)
		if s.failed(ctx) {
			timer.Reset(wait)
			wait = min(2*wait, s.options.Poll)
		} else {
			wait = firstRetry
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-told.C:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// failed looks for changes and reports whether they could not be read. What is kept then
// counts for its time, as when nobody tells of changes.
func (s *store) failed(ctx context.Context) bool {
	mark, changed, err := s.changesSince(ctx, s.mark)
	if err != nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mark == 0, mark < s.mark, len(changed) >= maxChanges: // another database has other transactions
		s.changes.Add(1)
		s.dropped.Add(uint64(s.memory.Load().Stats().Entries))
		_ = s.forget() // the limits have been good before
	case len(changed) > 0:
		s.changes.Add(1)
		for _, id := range changed {
			s.drop(id)
		}
	}
	s.mark = mark
	return false
}

// drop removes what is known of an identity; without a name: everything.
func (s *store) drop(id *Identity) {
	if id == nil {
		_ = s.forget()
		return
	}
	s.dropped.Add(1)
	now := s.options.Now()
	_ = s.memory.Load().Set(context.Background(), s.key(*id), cache.Entry{Since: now, Until: now}) // never fails
}

// changesSince returns what transactions from a mark on have changed, and the mark for
// the next time: the oldest transaction that may still be under way. Transactions end
// in another order than they begin in, so that some changes come twice, and none is
// missed.
func (s *store) changesSince(ctx context.Context, mark uint64) (next uint64, changed []*Identity, err error) {
	db := s.options.Database
	err = db.Read(ctx, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, `SELECT pg_snapshot_xmin(s.snapshot)::text, c.id IS NOT NULL, c.issuer, c.is_client, c.name
			FROM (SELECT pg_current_snapshot() AS snapshot) s
			LEFT JOIN (SELECT * FROM `+db.In("subject_role_changes")+` WHERE xid >= $1::text::xid8 AND $1 <> '0' ORDER BY id DESC LIMIT $2) c ON true`,
			strconv.FormatUint(mark, 10), maxChanges)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var xmin string
			var found bool
			var issuer, name *string
			var client *bool
			if err := rows.Scan(&xmin, &found, &issuer, &client, &name); err != nil {
				return err
			}
			if next, err = strconv.ParseUint(xmin, 10, 64); err != nil {
				return err
			}
			switch {
			case !found:
			case issuer == nil || client == nil || name == nil:
				changed = append(changed, nil)
			default:
				changed = append(changed, &Identity{*issuer, *client, *name})
			}
		}
		return rows.Err()
	})
	return next, changed, err
}
