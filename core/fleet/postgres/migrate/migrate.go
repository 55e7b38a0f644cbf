// Package migrate brings the schema of a database to the version that this program
// needs, or to another one. Only the command line imports it.
package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"gatehouse/core/fleet/postgres/migrations"
)

// Options of a Migration.
type Options struct {
	// Connection is that of the role that owns the schema.
	Connection *pgx.ConnConfig
	Schema     string
	// Files are the migrations: those of this program, but in tests.
	Files fs.FS
}

// Step is one migration.
type Step struct {
	Version int64
	Name    string // of its file
	// Back tells that it was undone.
	Back bool
	Took time.Duration
	// Applied is when a migration was applied that the database has; zero: it has not.
	Applied time.Time
}

// Migration changes the schema of one database.
type Migration struct {
	options Options
	db      *sql.DB
	lock    *sql.Conn
	goose   *goose.Provider
}

// Open connects, and waits for its turn: two migrations at once follow each other. The
// schema is made if there is none.
func Open(ctx context.Context, o Options) (*Migration, error) {
	config := o.Connection.Copy()
	// Migrations name their tables without a schema.
	config.RuntimeParams["search_path"] = pgx.Identifier{o.Schema}.Sanitize()
	m := &Migration{options: o, db: stdlib.OpenDB(*config)}
	if err := m.begin(ctx); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Migration) begin(ctx context.Context) (err error) {
	if m.lock, err = m.db.Conn(ctx); err != nil {
		return err
	}
	// It ends with the connection, whatever becomes of this process.
	if _, err = m.lock.ExecContext(ctx, "SELECT pg_advisory_lock(hashtext('gatehouse migration'), hashtext($1))", m.options.Schema); err != nil {
		return err
	}
	// IF NOT EXISTS asks for a right that the owner of a schema may lack.
	var exists bool
	if err = m.lock.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", m.options.Schema).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err = m.lock.ExecContext(ctx, "CREATE SCHEMA "+pgx.Identifier{m.options.Schema}.Sanitize()); err != nil {
			return err
		}
	}
	m.goose, err = goose.NewProvider(goose.DialectPostgres, m.db, m.options.Files,
		goose.WithTableName(m.options.Schema+"."+migrations.VersionTable), goose.WithDisableGlobalRegistry(true))
	return err
}

// Close ends the connection, and so the turn.
func (m *Migration) Close() {
	if m.lock != nil {
		m.lock.Close()
	}
	m.db.Close()
}

// Version is the version of the schema; 0: it is empty.
func (m *Migration) Version(ctx context.Context) (int64, error) { return m.goose.GetDBVersion(ctx) }

// To brings the schema to a version, and returns what it did, also with an error. Each
// migration is one transaction: one that fails leaves nothing behind.
func (m *Migration) To(ctx context.Context, version int64) ([]Step, error) {
	newest := migrations.Newest(m.options.Files)
	has, err := m.Version(ctx)
	switch {
	case err != nil:
		return nil, err
	case has > newest:
		return nil, fmt.Errorf("the schema %q has version %d and this program knows %d at most; use the program that made it", m.options.Schema, has, newest)
	case version > newest || version < 0:
		return nil, fmt.Errorf("there is no version %d; this program knows 0 to %d", version, newest)
	case version == has:
		return nil, nil
	}
	var results []*goose.MigrationResult
	if version > has {
		results, err = m.goose.UpTo(ctx, version)
	} else {
		results, err = m.goose.DownTo(ctx, version)
	}
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		results = partial.Applied
		err = fmt.Errorf("migration %s: %w; it left nothing behind", path.Base(partial.Failed.Source.Path), partial.Err)
	}
	steps := make([]Step, len(results))
	for i, r := range results {
		steps[i] = Step{Version: r.Source.Version, Name: path.Base(r.Source.Path), Back: r.Direction == "down", Took: r.Duration}
	}
	return steps, err
}

// Status lists the migrations that this program knows, and changes nothing.
func Status(ctx context.Context, o Options) ([]Step, error) {
	conn, err := pgx.ConnectConfig(ctx, o.Connection)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	applied := map[int64]time.Time{}
	table := pgx.Identifier{o.Schema, migrations.VersionTable}.Sanitize()
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&exists); err != nil {
		return nil, err
	}
	if exists {
		var version int64
		var at time.Time
		rows, _ := conn.Query(ctx, "SELECT version_id, max(tstamp) FROM "+table+" GROUP BY version_id")
		if _, err := pgx.ForEachRow(rows, []any{&version, &at}, func() error { applied[version] = at; return nil }); err != nil {
			return nil, err
		}
	}
	var steps []Step
	for _, m := range migrations.List(o.Files) {
		steps = append(steps, Step{Version: m.Version, Name: m.Name, Applied: applied[m.Version]})
	}
	return steps, nil
}
