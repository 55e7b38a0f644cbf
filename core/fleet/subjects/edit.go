package subjects

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/fleet/postgres"
)

// Row is what the table has of an identity.
type Row struct {
	Identity
	Grants
	Change
}

// Change is who made a state, and why.
type Change struct {
	Author, Reason string
	// Role is the database's role of the connection, and At the database's time.
	Role string
	At   time.Time
}

// Set grants an identity exactly these roles and permissions. It returns what it had
// before.
func Set(ctx context.Context, db *postgres.Client, id Identity, g Grants, by Change) (before Grants, err error) {
	if err := g.check(); err != nil {
		return before, err
	}
	if g.Roles == nil {
		g.Roles = []string{}
	}
	if g.Permissions == nil {
		g.Permissions = []string{}
	}
	table := db.In("subject_roles")
	err = db.Write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT roles, permissions FROM `+table+` WHERE issuer = $1 AND is_client = $2 AND name = $3 FOR UPDATE`, id.Issuer, id.Client, id.Name).Scan(&before.Roles, &before.Permissions)
		if err != nil && err != pgx.ErrNoRows {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO `+table+` (issuer, is_client, name, roles, permissions, author, reason) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (issuer, is_client, name) DO UPDATE SET roles = excluded.roles, permissions = excluded.permissions, author = excluded.author, reason = excluded.reason`,
			id.Issuer, id.Client, id.Name, g.Roles, g.Permissions, by.Author, by.Reason)
		return err
	})
	return before, err
}

// History lists the changes of an identity, the newest first, at most limit.
func History(ctx context.Context, db *postgres.Client, id Identity, limit int) ([]Row, error) {
	return list(ctx, db, `SELECT issuer, is_client, name, coalesce(roles, '{}'), coalesce(permissions, '{}'), author, reason, db_role, changed_at
		FROM `+db.In("subject_role_changes")+` WHERE issuer = $1 AND is_client = $2 AND name = $3 ORDER BY id DESC LIMIT $4`, id.Issuer, id.Client, id.Name, limit)
}

// List lists rows of an issuer, or with "" of all, at most limit, behind an identity.
func List(ctx context.Context, db *postgres.Client, issuer string, limit int) ([]Row, error) {
	return list(ctx, db, `SELECT issuer, is_client, name, roles, permissions, author, reason, '', 'epoch'::timestamptz
		FROM `+db.In("subject_roles")+` WHERE $1 = '' OR issuer = $1 ORDER BY issuer, is_client, name LIMIT $2`, issuer, limit)
}

func list(ctx context.Context, db *postgres.Client, sql string, args ...any) (all []Row, err error) {
	err = db.Read(ctx, func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Row, err error) {
			err = row.Scan(&r.Issuer, &r.Client, &r.Name, &r.Roles, &r.Permissions, &r.Author, &r.Reason, &r.Role, &r.At)
			return r, err
		})
		return err
	})
	return all, err
}

// ListAfter lists subjects, or clients, of an issuer whose names are behind one, in the order
// of their bytes, at most limit. It asks the database each time.
func (s *Store) ListAfter(ctx context.Context, issuer string, client bool, after string, limit int) ([]Row, error) {
	db := s.options.Database.Client
	return list(ctx, db, `SELECT issuer, is_client, name, roles, permissions, author, reason, '', 'epoch'::timestamptz
		FROM `+db.In("subject_roles")+` WHERE issuer = $1 AND is_client = $2 AND name COLLATE "C" > $3 ORDER BY name COLLATE "C" LIMIT $4`, issuer, client, after, limit)
}
