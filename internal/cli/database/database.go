// Package database has the commands on the database of a fleet: its schema, and the
// permission tables in it.
package database

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/postgres/migrate"
	"gatehouse/core/fleet/postgres/migrations"
	"gatehouse/internal/cli/connection"
	"gatehouse/internal/cli/terminal"
)

// Command is gatehouse db.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "db",
		Short: "Make and change the schema of a fleet's database",
	}
	c.AddCommand(migrateCommand(), rightsCommand())
	return c
}

type migrateOptions struct {
	connection connection.Flags
	to         int64
	status     bool
}

func migrateCommand() *cobra.Command {
	var o migrateOptions
	c := &cobra.Command{
		Use:   "migrate [flags]",
		Short: "Bring the schema of the database to the version that this program needs",
		Long: `Bring the schema of the database to the version that this program needs, and say
what was done. Each migration is one transaction: one that fails leaves nothing
behind. Two commands at once follow each other.

The role of the connection owns the schema and what is in it; nodes use another
role, whose rights gatehouse db rights prints. A node refuses a schema of another
version and goes on with what it has; migrations that take nothing away from the
version before say so, and nodes of that version go on.`,
		Example: `  gatehouse db migrate --database-url postgres://gatehouse_owner@db.example.com/gatehouse
  gatehouse db migrate --status`,
		Args: cobra.NoArgs,
		RunE: o.run,
	}
	o.connection.Register(c)
	c.Flags().Int64Var(&o.to, "to", -1, "`version` to bring the schema to, also an older one, which removes tables with what is in them; 0 removes all (default: the newest)")
	c.Flags().BoolVar(&o.status, "status", false, "list the migrations and stop; exit status 1 if some are missing")
	return c
}

func (o *migrateOptions) run(cmd *cobra.Command, _ []string) error {
	options, err := o.connection.Postgres()
	if err != nil {
		return err
	}
	config, err := options.Config()
	if err != nil {
		return err
	}
	with := migrate.Options{Connection: config, Schema: options.Schema, Files: migrations.Files}
	if o.status {
		return printStatus(cmd, with)
	}
	m, err := migrate.Open(cmd.Context(), with)
	if err != nil {
		return postgres.Advise(err)
	}
	defer m.Close()
	to := o.to
	if to < 0 {
		to = migrations.Newest(migrations.Files)
	}
	steps, err := m.To(cmd.Context(), to)
	for _, s := range steps {
		done := "applied"
		if s.Back {
			done = "removed"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", done, s.Name)
	}
	if err != nil {
		return postgres.Advise(err)
	}
	nothing := ""
	if len(steps) == 0 {
		nothing = "nothing to do: "
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%sthe schema %s has version %d\n", nothing, options.Schema, to)
	return nil
}

func printStatus(cmd *cobra.Command, with migrate.Options) error {
	steps, err := migrate.Status(cmd.Context(), with)
	if err != nil {
		return postgres.Advise(err)
	}
	missing := false
	for _, s := range steps {
		state := "missing"
		if !s.Applied.IsZero() {
			state = "applied"
		}
		missing = missing || s.Applied.IsZero()
		fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", s.Name, state)
	}
	if missing {
		return terminal.ErrNo
	}
	return nil
}

//go:embed rights.sql
var rights string

func rightsCommand() *cobra.Command {
	var node, editor, schema, classic string
	c := &cobra.Command{
		Use:   "rights [flags]",
		Short: "Print the statements that give the roles of nodes and of editors their rights",
		Long: `Print statements that the owner of the schema runs, as with psql, after each
gatehouse db migrate. The roles have to exist, and have no other rights in the schema.

A node reads permission tables, API tokens, service accounts and the roles of
subjects. It writes revocations, removes those whose time is over, and notes when
API tokens were used last.

An editor reads the same, pushes permission tables, makes and changes API tokens and
service accounts, grants roles to subjects and revokes. It can neither change nor
remove a version of a table, a revocation, or what is known of a change of roles.

With --classic-schema, nodes may read the tables or views of that schema as well (the
setting classic_tables.schema); its owner runs that statement.`,
		Example: `  gatehouse db rights | psql postgres://gatehouse_owner@db.example.com/gatehouse`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name := func(n string) string { return pgx.Identifier{n}.Sanitize() }
			fmt.Fprint(cmd.OutOrStdout(), strings.NewReplacer(":schema", name(schema), ":node", name(node), ":editor", name(editor)).Replace(rights))
			if classic != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "-- It reads classic tables.\nGRANT USAGE ON SCHEMA %[1]s TO %[2]s;\nGRANT SELECT ON ALL TABLES IN SCHEMA %[1]s TO %[2]s;\n", name(classic), name(node))
			}
			return nil
		},
	}
	c.Flags().StringVar(&schema, "schema", "gatehouse", "`name` of the schema")
	c.Flags().StringVar(&node, "node", "gatehouse_node", "`role` of the nodes")
	c.Flags().StringVar(&classic, "classic-schema", "", "`name` of the schema of classic tables that nodes follow, where they do")
	c.Flags().StringVar(&editor, "editor", "gatehouse_editor", "`role` of those who push permission tables, grant roles, make API tokens and revoke")
	return c
}
