// Package durable takes revocations to all nodes of a fleet by a table in PostgreSQL,
// where they stay until no credential that they name can be valid.
//
// Nodes are told of new rows by LISTEN and ask for them at an interval. A table that
// went back, as after a failover to a standby that lags, is found to have done so: the
// node forgets what it has learned of credentials and writes again what it holds and the
// table does not.
package durable

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/fleet/postgres"
	"gatehouse/core/revocation"
)

// Options of a Table.
type Options struct {
	Database *postgres.Client
	// Life is how long an event is kept that does not say how long it matters. Default
	// 24 h.
	Life time.Duration
	// Poll is how often the table is read beside notifications; without them it is read
	// every second at the latest. Default 10 s.
	Poll time.Duration
	// Log gets lines about what an operator has to know; nil: none.
	Log *slog.Logger
	// Counters count what happens; nil: nobody looks.
	Counters *Counters
}

func (o Options) withDefaults() Options {
	if o.Life == 0 {
		o.Life = 24 * time.Hour
	}
	if o.Poll == 0 {
		o.Poll = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Counters == nil {
		o.Counters = &Counters{}
	}
	return o
}

// Counters of one table or of several. The zero value is ready for use.
type Counters struct {
	// Published and Read are events, Restored those that were lost and are there again.
	Published, Read, Restored atomic.Uint64
	// Lost is how often events may have been missed.
	Lost atomic.Uint64
}

// Table is that of one fleet.
type Table struct {
	options Options
	db      *postgres.Client
	*Counters
	inflow revocation.Inflow
}

var _ revocation.Publisher = (*Table)(nil)

// New makes a table. Nothing is called yet.
func New(o Options) *Table {
	o = o.withDefaults()
	return &Table{options: o, db: o.Database, Counters: o.Counters}
}

// format is how a row is read. A node that meets another one cannot tell what it revokes.
const format = 1

// Publish writes events, and returns once they are committed.
func (t *Table) Publish(ctx context.Context, events ...revocation.Event) error {
	_, err := t.Write(ctx, events...)
	return err
}

// Write is Publish, and returns the events as they are kept: with their id, and their
// moment by the clock of the database.
func (t *Table) Write(ctx context.Context, events ...revocation.Event) ([]revocation.Event, error) {
	kept := revocation.Identified(events)
	err := t.db.Write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return t.insert(ctx, tx, kept)
	})
	if err != nil {
		return nil, fmt.Errorf("revocation is not committed: %w", err)
	}
	t.Published.Add(uint64(len(kept)))
	return kept, nil
}

// insert writes events that are not there yet.
func (t *Table) insert(ctx context.Context, tx pgx.Tx, events []revocation.Event) error {
	var now time.Time
	if err := tx.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now); err != nil {
		return err
	}
	rows := &pgx.Batch{}
	for i := range events {
		e := &events[i]
		*e = e.Stamped(now, t.options.Life)
		if err := e.Check(); err != nil {
			return err
		}
		// To the microsecond, as the database keeps it: what is read back is the same.
		e.At, e.Until = e.At.Truncate(time.Microsecond), e.Until.Truncate(time.Microsecond)
		rows.Queue("INSERT INTO "+t.db.In("revocations")+` (id, format, kind, value, issuer, verify, at, until, source, reason)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING`,
			e.ID, format, string(e.Kind), e.Value, e.Issuer, e.Verify, e.At, e.Until, short(e.Source), short(e.Reason))
	}
	return tx.SendBatch(ctx, rows).Close()
}

// short is as much of a text for logs as a row has room for.
func short(text string) string {
	runes := []rune(text)
	return string(runes[:min(len(runes), 200)])
}
