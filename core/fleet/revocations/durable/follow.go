package durable

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/fleet/postgres"
	"gatehouse/core/revocation"
)

const (
	// pollWithout is how often the table is read at least while no notifications come.
	pollWithout = time.Second
	// spread is within what time nodes begin to write again what was lost, each at its
	// own moment.
	spread = 500 * time.Millisecond
	// restorePause is the time between two attempts to do so.
	restorePause = 5 * time.Second
	// removeEvery is how often rows whose time is over are removed, by one of the nodes.
	removeEvery = 10 * time.Minute
	// pageSize is how many rows are read or written at once.
	pageSize = 500
	// clockSlack is by how much the clock of a node may be behind that of the database.
	clockSlack = time.Minute
)

// Follow fills a list with what is in the table, until the context ends.
func (t *Table) Follow(ctx context.Context, list revocation.Fed) {
	told := t.db.Subscribe("revocations")
	defer told.Close()
	f := &follower{Table: t, list: list, removeAt: time.Now().Add(jitter(removeEvery))}
	f.forget()
	for ctx.Err() == nil {
		err := f.sync(ctx)
		if ctx.Err() != nil {
			return
		}
		t.tell(err)
		if err == nil {
			list.Current()
		} else {
			list.Blind(err)
		}
		f.wait(ctx, told)
	}
}

func jitter(d time.Duration) time.Duration { return mathrand.N(d) }

// Inflow is whether revocations come in.
func (t *Table) Inflow() *revocation.Inflow { return &t.inflow }

func (t *Table) tell(err error) { t.inflow.Tell(t.options.Log, "PostgreSQL", err) }

// follower is the state of Follow.
type follower struct {
	*Table
	list revocation.Fed

	// last is the row that was read last; its number is 0 where none was.
	last row
	// covered is what the table says from its beginning on, while some of what this node
	// holds may be missing there; nil: nothing is. It is written again from due on.
	covered  revocation.Coverage
	due      time.Time
	removeAt time.Time
}

// row is one of the table.
type row struct {
	number int64
	format int
	event  revocation.Event
}

// forget has the table read from its beginning.
func (f *follower) forget() {
	f.last, f.covered, f.due = row{}, revocation.Coverage{}, time.Now().Add(jitter(spread))
}

// wait returns when there may be something new.
func (f *follower) wait(ctx context.Context, told *postgres.Subscription) {
	listening := f.db.Listening()
	pause := f.options.Poll
	if !listening {
		pause = min(pause, pollWithout)
	}
	for end := time.Now().Add(pause); time.Now().Before(end) && f.db.Listening() == listening; {
		left := min(time.Until(end), pollWithout)
		if f.covered != nil {
			left = min(left, max(time.Until(f.due), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return
		case <-told.C:
			return
		case <-time.After(left):
		}
		if f.covered != nil && time.Now().After(f.due) {
			return
		}
	}
}

// errWentBack is of a table that does not hold any more what it did.
var errWentBack = errors.New("the table of revocations in PostgreSQL does not hold any more what it did: a standby without the last rows has become the primary, or an old state was restored")

// sync reads all that is new, and writes what is missing.
func (f *follower) sync(ctx context.Context) error {
	err := f.readOn(ctx)
	if errors.Is(err, errWentBack) {
		f.Lost.Add(1)
		f.list.Lost(err, 0)
		f.forget()
		err = f.readOn(ctx)
	}
	if err != nil {
		return err
	}
	f.restore(ctx)
	return f.remove(ctx)
}

// readOn reads from the last row to the end.
func (f *follower) readOn(ctx context.Context) error {
	for {
		rows, err := f.page(ctx)
		if err != nil {
			return err
		}
		if err := f.follows(rows); err != nil {
			return err
		}
		for _, r := range rows {
			if r.number == f.last.number {
				continue
			}
			if err := f.take(r); err != nil {
				return err
			}
		}
		if len(rows) < pageSize {
			return nil
		}
	}
}

// page reads the last row once more, and those after it.
func (f *follower) page(ctx context.Context) (rows []row, err error) {
	err = f.db.Read(ctx, func(ctx context.Context, q postgres.Querier) error {
		result, err := q.Query(ctx, "SELECT number, format, id, kind, value, issuer, verify, at, until, source, reason FROM "+f.db.In("revocations")+
			" WHERE number >= $1 ORDER BY number LIMIT $2", f.last.number, pageSize)
		if err != nil {
			return err
		}
		rows, err = pgx.CollectRows(result, scan)
		return err
	})
	return rows, err
}

func scan(from pgx.CollectableRow) (r row, err error) {
	e := &r.event
	err = from.Scan(&r.number, &r.format, &e.ID, &e.Kind, &e.Value, &e.Issuer, &e.Verify, &e.At, &e.Until, &e.Source, &e.Reason)
	return r, err
}

// follows returns an error where the last row is not there any more, although its time
// is not over.
func (f *follower) follows(rows []row) error {
	switch {
	case f.last.number == 0:
		return nil
	case len(rows) == 0:
		return errWentBack
	case rows[0].number == f.last.number && rows[0].event.ID == f.last.event.ID:
		return nil
	case rows[0].number > f.last.number && f.last.event.Until.Before(time.Now().Add(clockSlack)):
		return nil
	}
	return errWentBack
}

// errNewer is why a node cannot tell what a row revokes.
var errNewer = errors.New("a revocation in PostgreSQL was written by a newer version: upgrade this node")

// take keeps the event of a row, of a newer one as far as this version knows it: it
// rather revokes too much. One for which the list has no room is to be read again.
func (f *follower) take(r row) error {
	err := f.list.Add(r.event)
	if err == nil && r.format != format {
		err = fmt.Errorf("it has the format %d, and this one reads %d", r.format, format)
	}
	if err != nil {
		f.list.Lost(err, 0)
	}
	switch {
	case errors.Is(err, revocation.ErrFull):
		return err
	case err != nil:
		f.Lost.Add(1)
		f.options.Log.Error("a revocation is not understood, and may not take full effect on this node", "error", fmt.Errorf("%w: %w", errNewer, err))
	}
	f.last = r
	f.Read.Add(1)
	if f.covered != nil {
		f.covered.Note(r.event)
	}
	return nil
}

// restore writes again what this node holds and the table does not.
func (f *follower) restore(ctx context.Context) {
	if f.covered == nil || time.Now().Before(f.due) {
		return
	}
	missing := slices.DeleteFunc(f.list.All(), f.held)
	for batch := range slices.Chunk(missing, pageSize) {
		err := f.db.Write(ctx, func(ctx context.Context, tx pgx.Tx) error { return f.insert(ctx, tx, batch) })
		if err != nil {
			f.due = time.Now().Add(restorePause)
			f.options.Log.Error("revocations that PostgreSQL does not hold are not written again", "error", err)
			return
		}
		f.Restored.Add(uint64(len(batch)))
	}
	f.covered = nil
}

// held reports whether the table says all that an event does, to the microsecond.
func (f *follower) held(e revocation.Event) bool {
	e.At, e.Until = e.At.Truncate(time.Microsecond), e.Until.Truncate(time.Microsecond)
	return f.covered.Holds(e)
}

// remove removes rows whose time is over.
func (f *follower) remove(ctx context.Context) error {
	if time.Now().Before(f.removeAt) {
		return nil
	}
	f.removeAt = time.Now().Add(removeEvery/2 + jitter(removeEvery))
	return f.db.Write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		table := f.db.In("revocations")
		_, err := tx.Exec(ctx, "DELETE FROM "+table+" WHERE until < now() - $1::interval AND number < (SELECT max(number) FROM "+table+")", clockSlack)
		return err
	})
}
