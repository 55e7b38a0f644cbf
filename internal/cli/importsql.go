package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"gatehouse/core/permission/sqlimport"
	"gatehouse/internal/cli/terminal"
)

// connectTimeout is how long a database may take for its first response, unless
// the connection string has a connect_timeout.
const connectTimeout = 10 * time.Second

func importSQLCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sql [flags] DSN",
		Short: "Make a first table from permissions and activities in PostgreSQL",
		Long: `Make a first permission table from the classic tables of a PostgreSQL
database. The table goes to standard output and loads as it is.

    permissions            id, name, and description if there is one
    activities             id, method, url_regex
    permission_activities  permission_id, activity_id
    roles                  id, name                 if there
    role_permissions       role_id, permission_id   if there

DSN is a connection string or URL as psql takes it. Leave the password out of
it and in PGPASSWORD or the password file, where other users cannot see it. The
tables are read in one read-only transaction.

A regex covers what it covers in SQL (url ~ url_regex), which finds a match
anywhere in a path unless the regex is tied to its ends with ^ and $. Such rows,
and rows that cannot be said as they are, are listed on top of the table and on
standard error; the exit status is then 1.`,
		Example: `  gatehouse import sql postgres://reader@db.example.com/access > permissions.yaml
  gatehouse import sql "host=/run/postgresql dbname=access search_path=auth"`,
		Args:              terminal.OneArgument("DSN"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return importSQL(cmd, args[0]) },
	}
}

func importSQL(cmd *cobra.Command, dsn string) error {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		// The library's message repeats the string, and a password in it.
		return errors.New("the DSN cannot be read; write it as in: postgres://user@host:5432/database")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	conn, err := pgx.ConnectConfig(cmd.Context(), config)
	if err != nil {
		return fmt.Errorf("no connection to the database: %s", reasonOf(err))
	}
	defer func() { _ = conn.Close(context.WithoutCancel(cmd.Context())) }()
	table, err := sqlimport.Import(cmd.Context(), conn)
	if err != nil {
		return err
	}
	return printDraft(cmd, table)
}

// reasonOf is what the server said, or else what kept it from being reached.
func reasonOf(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Message
	}
	last := err
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(next) {
		last = next
	}
	return last.Error()
}
