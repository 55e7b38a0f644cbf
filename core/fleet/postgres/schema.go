package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/fleet/postgres/migrations"
)

// SchemaError says that the schema of a database is of another version than the
// program needs.
type SchemaError struct {
	Schema string
	// Has is the version of the schema, 0 if there is none. Needs is the program's.
	Has, Needs int64
}

func (e *SchemaError) Error() string {
	switch {
	case e.Has == 0:
		return fmt.Sprintf("the database has no schema %q, or not one of Gatehouse; run gatehouse db migrate", e.Schema)
	case e.Has < e.Needs:
		return fmt.Sprintf("the schema %q of the database has version %d and this program needs version %d; run gatehouse db migrate of this program", e.Schema, e.Has, e.Needs)
	}
	return fmt.Sprintf("the schema %q of the database has version %d, made by a newer program, and this program needs version %d; upgrade this program, or take the schema back with gatehouse db migrate --to %d of the newer one", e.Schema, e.Has, e.Needs, e.Needs)
}

// checkSchema compares the version of a schema with the one that is needed. A newer
// one will do if its migrations say so.
func checkSchema(ctx context.Context, conn *pgx.Conn, schema string, needs int64) error {
	table := func(name string) string { return pgx.Identifier{schema, name}.Sanitize() }
	var has, oldest int64
	err := conn.QueryRow(ctx, `SELECT coalesce(max(v.version_id), 0), coalesce(max(c.oldest), max(v.version_id), 0)
		FROM (SELECT max(version_id) AS version_id FROM `+table(migrations.VersionTable)+`) v
		LEFT JOIN `+table("schema_compatibility")+` c ON c.version = v.version_id`).Scan(&has, &oldest)
	var server *pgconn.PgError
	switch {
	case errors.As(err, &server) && (server.Code == undefinedTable || server.Code == invalidSchema):
		return &SchemaError{schema, 0, needs}
	case err != nil:
		return err
	case has != needs && (has < needs || oldest > needs):
		return &SchemaError{schema, has, needs}
	}
	return nil
}
