// Package sqlimport makes a permission table of the classic tables in
// PostgreSQL: permissions, activities with a method and a regex, and which
// permission has which activities.
package sqlimport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/permission"
	"gatehouse/core/permission/draft"
)

// Import reads the tables through the connection and makes a table of them.
// Rows that a table cannot say as they are are left out, and noted.
func Import(ctx context.Context, conn *pgx.Conn) (*draft.Table, error) {
	// One snapshot: the tables belong together.
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	table, _, err := ImportIn(ctx, tx)
	return table, err
}

// ImportIn reads the tables in a transaction that has one snapshot. Beside the table it
// returns the rows that are not in it as they are, or that have become something else,
// each with the reason: whoever enforces the table as it stands refuses it for them.
func ImportIn(ctx context.Context, tx pgx.Tx) (table *draft.Table, wrong []string, err error) {
	i := &importer{ctx: ctx, tx: tx, table: &draft.Table{ExplicitScopes: true}, names: map[string]string{}}
	i.table.Heading = "A starting table, made from the tables permissions and activities of a database."
	for _, step := range []func() error{i.permissions, i.activities, i.roles} {
		if err := step(); err != nil {
			return nil, nil, err
		}
	}
	return i.table, i.wrong, nil
}

type importer struct {
	ctx   context.Context
	tx    pgx.Tx
	table *draft.Table
	// names of permissions by id.
	names map[string]string
	// valid says that PostgreSQL has accepted all regexes.
	valid bool
	wrong []string
}

// fault notes a row that is not in the table as it is.
func (i *importer) fault(format string, args ...any) {
	i.wrong = append(i.wrong, fmt.Sprintf(format, args...))
	i.table.Note(format, args...)
}

// has reports whether a table with all of these columns can be read.
func (i *importer) has(table string, columns ...string) (bool, error) {
	var found []string
	err := i.tx.QueryRow(i.ctx, `
SELECT coalesce(array_agg(attname::text), '{}') FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, table).Scan(&found)
	missing := slices.ContainsFunc(columns, func(c string) bool { return !slices.Contains(found, c) })
	return !missing, err
}

func (i *importer) need(table string, columns ...string) error {
	ok, err := i.has(table, columns...)
	if err == nil && !ok {
		err = fmt.Errorf("the database has no table %s with the columns %s; choose the schema with search_path in the connection string", table, strings.Join(columns, ", "))
	}
	return err
}

// query calls visit with the columns of each row as text; NULL is empty.
func (i *importer) query(sql string, visit func(row []string)) error {
	rows, err := i.tx.Query(i.ctx, sql)
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]string, error) {
		var columns []string
		err := row.Scan(&columns)
		return columns, err
	})
	for _, row := range list {
		visit(row)
	}
	return err
}

func (i *importer) permissions() error {
	if err := i.need("permissions", "id", "name"); err != nil {
		return err
	}
	description := "''"
	if ok, err := i.has("permissions", "description"); err != nil {
		return err
	} else if ok {
		description = "coalesce(description::text, '')"
	}
	return i.query("SELECT ARRAY[id::text, coalesce(name::text, ''), "+description+"] FROM permissions ORDER BY name, id", i.permission)
}

func (i *importer) permission(row []string) {
	id, name := row[0], row[1]
	clean := cmp.Or(draft.Name(name), "permission-"+draft.Name(id))
	if clean != name {
		i.fault("permission %s: the name %q cannot be one here (RFC 6749 section 3.3, no comma); it became %s", id, name, clean)
	}
	for other, taken := range i.names {
		if taken == clean {
			clean += "-" + draft.Name(id)
			i.fault("permission %s: the name %q is that of permission %s too; it became %s", id, name, other, clean)
			break
		}
	}
	i.names[id] = clean
	i.table.Permission(clean).Description = row[2]
}

func (i *importer) activities() error {
	if err := i.need("activities", "id", "method", "url_regex"); err != nil {
		return err
	}
	if err := i.need("permission_activities", "permission_id", "activity_id"); err != nil {
		return err
	}
	var rows []*row
	byID := map[string]*row{}
	err := i.query("SELECT ARRAY[id::text, coalesce(method::text, ''), coalesce(url_regex::text, '')] FROM activities ORDER BY id", func(columns []string) {
		r := &row{id: columns[0], method: columns[1], regex: columns[2]}
		rows = append(rows, r)
		byID[r.id] = r
	})
	if err != nil {
		return err
	}
	err = i.query("SELECT ARRAY[coalesce(permission_id::text, ''), coalesce(activity_id::text, '')] FROM permission_activities ORDER BY activity_id, permission_id", func(columns []string) {
		switch r, name := byID[columns[1]], i.names[columns[0]]; {
		case r == nil || name == "":
			i.fault("permission_activities: permission %s or activity %s does not exist; the row is left out", columns[0], columns[1])
		case !slices.Contains(r.owners, name):
			r.owners = append(r.owners, name)
		}
	})
	if err != nil {
		return err
	}
	if i.valid, err = i.allValid(); err != nil {
		return err
	}
	for _, r := range rows {
		if err := i.activity(r); err != nil {
			return err
		}
	}
	return nil
}

// row is a row of the table activities.
type row struct {
	id, method, regex string
	owners            []string
}

func (i *importer) activity(r *row) error {
	what := fmt.Sprintf("activity %s (%s %q)", r.id, r.method, r.regex)
	if len(r.owners) == 0 {
		i.table.Note("%s belongs to no permission and is left out", what)
		return nil
	}
	if len(methods(r.method)) == 0 {
		i.fault("%s is left out: it has no method", what)
		return nil
	}
	problem, err := i.invalid(r.regex)
	if err != nil {
		return err
	}
	if problem != "" {
		i.fault("%s is left out: PostgreSQL itself refuses the regex: %s", what, problem)
		return nil
	}
	path, notes, err := convert(r.regex)
	activity := &draft.Activity{Methods: methods(r.method), Path: path, Comment: fmt.Sprintf("activity %s: %q", r.id, r.regex)}
	if err == nil {
		err = activity.Check()
	}
	if err != nil {
		i.fault("%s is left out: %v", what, err)
		return nil
	}
	for _, note := range notes {
		i.table.Note("%s: %s", what, note)
	}
	for _, owner := range r.owners {
		own := *activity
		p := i.table.Permission(owner)
		p.Activities = draft.Add(p.Activities, &own)
	}
	return nil
}

// invalid asks the server whether a regex is one.
func (i *importer) invalid(regex string) (problem string, err error) {
	if i.valid {
		return "", nil
	}
	failed, err := i.try("SELECT count(*) WHERE '/' ~ $1", regex)
	if failed == nil || err != nil {
		return "", err
	}
	return serverMessage(failed), nil
}

// allValid asks the server about all regexes at once.
func (i *importer) allValid() (bool, error) {
	failed, err := i.try("SELECT count(*) FROM activities WHERE '/' ~ url_regex::text")
	return failed == nil, err
}

// try counts with a query that may fail. An error of the query must not end the
// transaction that everything is read in.
func (i *importer) try(sql string, args ...any) (failed, err error) {
	trial, err := i.tx.Begin(i.ctx)
	if err != nil {
		return nil, err
	}
	var n int
	failed = trial.QueryRow(i.ctx, sql, args...).Scan(&n)
	return failed, trial.Rollback(i.ctx)
}

// methods reads a column that holds a method, or several in one of the usual
// ways, or a word for all.
func methods(column string) []string {
	var list []string
	for m := range strings.FieldsFuncSeq(column, func(r rune) bool { return strings.ContainsRune(", |;{}\"", r) }) {
		m = strings.ToUpper(m)
		if m == "*" || m == "ALL" {
			m = permission.AnyMethod
		}
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	if slices.Contains(list, permission.AnyMethod) {
		return []string{permission.AnyMethod}
	}
	return list
}

func (i *importer) roles() error {
	for table, columns := range map[string][]string{"roles": {"id", "name"}, "role_permissions": {"role_id", "permission_id"}} {
		if ok, err := i.has(table, columns...); err != nil || !ok {
			return err
		}
	}
	names := map[string]string{}
	err := i.query("SELECT ARRAY[id::text, coalesce(name::text, '')] FROM roles ORDER BY name, id", func(row []string) {
		if row[1] == "" {
			i.fault("role %s has no name and is left out", row[0])
			return
		}
		names[row[0]] = row[1]
		i.table.Roles = draft.Grant(i.table.Roles, row[1])
	})
	if err != nil {
		return err
	}
	return i.query("SELECT ARRAY[coalesce(role_id::text, ''), coalesce(permission_id::text, '')] FROM role_permissions ORDER BY role_id, permission_id", func(row []string) {
		role, granted := names[row[0]], i.names[row[1]]
		if role == "" || granted == "" {
			i.fault("role_permissions: role %s or permission %s does not exist; the row is left out", row[0], row[1])
			return
		}
		i.table.Roles = draft.Grant(i.table.Roles, role, granted)
	})
}

// serverMessage is the error in the server's own words.
func serverMessage(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Message
	}
	return err.Error()
}
