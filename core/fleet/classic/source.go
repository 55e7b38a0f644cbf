// Package classic follows a permission table that other programs keep in PostgreSQL: the
// classic tables permissions, activities, permission_activities, and, where there are
// any, roles and role_permissions, or read-only views of those names.
//
// They are read in one snapshot and taken over whole or not at all. A regex keeps the
// meaning that it has for PostgreSQL's operator ~.
package classic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/fleet/lastgood"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/permission/live"
	"gatehouse/core/permission/sqlimport"
	"gatehouse/core/permission/tablefile"
)

// Options of a Source.
type Options struct {
	Database *postgres.Kept
	// Schema holds the tables or views.
	Schema string
	// Poll is how often the tables are looked at where nobody tells of changes.
	Poll time.Duration
	// Dir is where the last good table is kept for another start; empty: nowhere.
	Dir string
	Log *slog.Logger
	// Now is the clock; nil: the system's.
	Now func() time.Time
}

// Source is a live.Source of classic tables.
type Source struct {
	options Options
	reader  *postgres.Client // with more time; the database of options keeps it open
	copies  lastgood.Copies
	told    *postgres.Subscription

	begun bool
	wait  time.Duration
	// state is what the tables looked like when they were read last.
	state string
	last  *content
	live.Condition
}

// content is the tables as the text of a permission table.
type content struct {
	text    []byte
	version string
}

var (
	_ live.Keeper   = (*Source)(nil)
	_ live.Reporter = (*Source)(nil)
)

const (
	// channel is where a trigger may tell of changes.
	channel = "classic_tables"
	// firstRetry is the time after a failure; it doubles up to Poll.
	firstRetry = time.Second
	// readTime is how many time limits of the database one look may take.
	readTime = 10
	// firstTime is how long the first look may take where there is a copy.
	firstTime = 3 * time.Second
)

// New makes a source. It listens until it is closed.
func New(o Options) (*Source, error) {
	if o.Database == nil || o.Schema == "" || o.Poll <= 0 {
		return nil, errors.New("want a database, a schema and the time between two looks")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Source{
		options: o, reader: o.Database.Times(readTime), told: o.Database.Subscribe(channel), wait: firstRetry,
		copies: lastgood.In(o.Dir, "classic", o.Database.Name(), o.Schema),
	}, nil
}

// Close ends listening.
func (s *Source) Close() { s.told.Close() }

// Names say which tables of which database are read.
func (s *Source) Names() []string {
	return []string{fmt.Sprintf("postgres %s, tables of schema %s", s.options.Database.Name(), s.options.Schema)}
}

// Next returns what the tables hold as soon as that is another version.
func (s *Source) Next(ctx context.Context, version string) (live.Content, error) {
	for pause := time.Duration(0); ; pause = s.options.Poll {
		if s.begun && pause == 0 {
			pause = s.wait
		}
		if err := s.rest(ctx, pause); err != nil {
			return live.Content{}, err
		}
		c, err := s.look(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return live.Content{}, ctx.Err()
		case err == nil:
			s.Confirmed()
		default:
			s.Failed(s.options.Now())
		}
		if err != nil && !s.begun {
			c, err = s.copied(err)
			s.begun = true
		}
		if err != nil {
			s.wait = min(2*s.wait, s.options.Poll)
			return live.Content{}, err
		}
		s.begun, s.wait, s.last = true, min(firstRetry, s.options.Poll), c
		if c.version != version {
			files, v, err := tablefile.ParseAll(tablefile.Text{Name: s.Names()[0], Content: c.text})
			return live.Content{Version: v, Files: files}, err
		}
	}
}

// rest waits, or until somebody tells of a change.
func (s *Source) rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.told.C:
	case <-timer.C:
	}
	return nil
}

// look reads the tables if they look otherwise than before.
func (s *Source) look(ctx context.Context) (c *content, err error) {
	if !s.begun && s.copies.Exist() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, firstTime)
		defer cancel()
	}
	state := ""
	err = s.reader.Write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		for _, sql := range []string{"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL search_path TO " + pgx.Identifier{s.options.Schema}.Sanitize() + ", pg_catalog"} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		if state, err = stateOf(ctx, tx); err != nil || s.last != nil && state == s.state {
			return err
		}
		c, err = read(ctx, tx)
		return err
	})
	if err != nil {
		s.state = ""
		return nil, fmt.Errorf("%s: %w", s.Names()[0], err)
	}
	s.state = state
	if c == nil {
		return s.last, nil
	}
	return c, nil
}

// stateOf sums up the tables: the number of rows, and the hashes of those in any order.
func stateOf(ctx context.Context, tx pgx.Tx) (state string, err error) {
	var parts []string
	for _, table := range []string{"permissions", "activities", "permission_activities", "roles", "role_permissions"} {
		var exists bool
		if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&exists); err != nil {
			return "", err
		}
		sum := "none"
		if exists {
			if err := tx.QueryRow(ctx, "SELECT count(*)::text || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM "+table+" t").Scan(&sum); err != nil {
				return "", err
			}
		}
		parts = append(parts, sum)
	}
	return strings.Join(parts, ", "), nil
}

// read makes the text of a permission table of the rows. One that cannot be taken as it
// stands is an error.
func read(ctx context.Context, tx pgx.Tx) (*content, error) {
	table, wrong, err := sqlimport.ImportIn(ctx, tx)
	switch {
	case err != nil:
		return nil, err
	case len(wrong) > 0:
		return nil, fmt.Errorf("%d rows cannot be taken as they are, so that none is: %s", len(wrong), strings.Join(first(wrong, 10), "; "))
	}
	table.Heading, table.Notes = "", nil
	text, err := table.YAML()
	if err != nil {
		return nil, err
	}
	return contentOf(text), nil
}

func first(list []string, n int) []string {
	if len(list) > n {
		return append(list[:n:n], "and more")
	}
	return list
}

func contentOf(text []byte) *content {
	return &content{text, tablefile.Version(tablefile.Text{Content: text})}
}

// Loaded is told that a version is in force, and keeps its copy.
func (s *Source) Loaded(version string) {
	if s.last == nil || s.last.version != version {
		return
	}
	if kept, err := s.copies.Read(1); err == nil && kept != nil && contentOf(kept.Texts[0]).version == version {
		return
	}
	if err := s.copies.Write(lastgood.Copy{Texts: [][]byte{s.last.text}}, s.options.Now()); err != nil {
		s.options.Log.Error("the last good permission table is not kept for another start", "files", s.Names(), "error", err.Error())
	}
}

// copied is the copy that is used while the database cannot be read.
func (s *Source) copied(cause error) (*content, error) {
	kept, err := s.copies.Read(1)
	if err != nil {
		s.options.Log.Error("the copy of the last good permission table is not used", "files", s.Names(), "error", err.Error())
	}
	if kept == nil {
		return nil, cause
	}
	s.options.Log.Warn("the permission table cannot be read from its database; the last good copy is used", "files", s.Names(), "error", cause.Error())
	s.Copied(kept.At)
	return contentOf(kept.Texts[0]), nil
}
