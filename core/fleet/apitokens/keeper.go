package apitokens

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/fleet/postgres"
)

// Keeper changes tokens and service accounts.
type Keeper struct{ database *postgres.Client }

var _ manage.Keeper = Keeper{}

// NewKeeper keeps tokens in a database.
func NewKeeper(c *postgres.Client) Keeper { return Keeper{c} }

// Grants are those of a service account.
func (k Keeper) Grants(ctx context.Context, o apitoken.Owner) (apitoken.Grants, error) {
	return account(ctx, k.database, o.ServiceAccount)
}

const uniqueViolation = "23505"

// Add adds a record.
func (k Keeper) Add(ctx context.Context, r *apitoken.Record) error {
	return k.database.Write(ctx, func(ctx context.Context, tx pgx.Tx) error { return k.insert(ctx, tx, r) })
}

func (k Keeper) insert(ctx context.Context, tx pgx.Tx, r *apitoken.Record) error {
	_, err := tx.Exec(ctx, `INSERT INTO `+k.database.In("api_tokens")+` (id, format, digest, name, subject, issuer, service_account,
		roles, permissions, scopes, networks, hosts, created_at, created_by, expires_at)
		VALUES ($1, $2, $3, $4, nullif($5, ''), $6, nullif($7, ''), $8, $9, $10, $11::cidr[], $12, $13, $14, $15)`,
		r.ID, format, r.Digest[:], r.Name, r.Owner.Subject, r.Owner.Issuer, r.Owner.ServiceAccount,
		list(r.Roles), list(r.Permissions), list(r.Scopes), r.Networks, r.Hosts, r.Created, r.CreatedBy, nullable(r))
	var server *pgconn.PgError
	if errors.As(err, &server) && server.Code == uniqueViolation {
		return fmt.Errorf("the database: %w: %s", manage.ErrExists, r.ID)
	}
	return err
}

func nullable(r *apitoken.Record) any {
	if r.Expires.IsZero() {
		return nil
	}
	return r.Expires
}

// list is never NULL.
func list(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

// List are all records, by their creation.
func (k Keeper) List(ctx context.Context) (all []*apitoken.Record, err error) {
	err = k.database.Read(ctx, func(ctx context.Context, q postgres.Querier) error {
		rows, _ := q.Query(ctx, "SELECT "+columns+", u.used_at FROM "+k.database.In("api_tokens")+" t LEFT JOIN "+k.database.In("api_token_uses")+" u ON u.token_id = t.id ORDER BY created_at, id")
		all, err = pgx.CollectRows(rows, record)
		return err
	})
	return all, err
}

// Update changes when a record ends or was revoked, and nothing else of it, and adds
// others, in one transaction.
func (k Keeper) Update(ctx context.Context, id string, change func(*apitoken.Record) error, add ...*apitoken.Record) error {
	table := k.database.In("api_tokens")
	return k.database.Write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, "SELECT "+columns+", NULL::timestamptz FROM "+table+" WHERE id = $1 FOR UPDATE", id)
		r, err := pgx.CollectExactlyOneRow(rows, record)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return apitoken.ErrUnknown
		case err != nil:
			return err
		}
		if err := change(r); err != nil {
			return err
		}
		var revoked any
		if !r.Revoked.IsZero() {
			revoked = r.Revoked
		}
		_, err = tx.Exec(ctx, "UPDATE "+table+" SET expires_at = $2, revoked_at = $3 WHERE id = $1", id, nullable(r), revoked)
		for _, r := range add {
			err = cmp.Or(err, k.insert(ctx, tx, r))
		}
		return err
	})
}

// SetAccount makes or changes a service account.
func (k Keeper) SetAccount(ctx context.Context, name string, a manage.Account, by string) error {
	return k.database.Write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO `+k.database.In("service_accounts")+` AS had (name, format, roles, permissions, scopes, suspended, changed_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (name) DO UPDATE SET format = excluded.format, roles = excluded.roles, permissions = excluded.permissions, scopes = excluded.scopes,
				suspended = excluded.suspended, changed_by = excluded.changed_by, changed_at = now()`,
			name, format, list(a.Roles), list(a.Permissions), list(a.Scopes), a.Suspended, by)
		return err
	})
}
