package bench

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// postgres answers by SQL: permissions own activities, and the regex of each
// activity that the caller's permissions own is tried. The regexes are
// anchored here; the classic forgets that ~ is not.
type postgres struct {
	conn *pgx.Conn
	ids  []int32
	// of is the number of the permission that a request needs.
	of map[string]int
}

const classicSQL = `
SELECT COUNT(*) FROM permission_activities pa
JOIN activities a ON pa.activity_id = a.id
WHERE a.method = $1 AND $2 ~ a.url_regex AND pa.permission_id = ANY($3)`

const classicTables = `
CREATE TABLE permissions (id integer PRIMARY KEY, name text UNIQUE);
CREATE TABLE activities (id integer PRIMARY KEY, method text, url_regex text);
CREATE TABLE permission_activities (permission_id integer, activity_id integer, PRIMARY KEY (permission_id, activity_id));
CREATE INDEX ON activities (method)`

// held is how many permissions the caller of the SQL engine holds. A list of
// all of them would be most of the work.
const held = 100

// newPostgres fills the empty database that dsn names.
func newPostgres(ctx context.Context, dsn string, w *Workload) (*postgres, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, classicTables); err != nil {
		return nil, err
	}
	p := &postgres{conn: conn, of: map[string]int{}}
	var permissions, activities, links [][]any
	for _, a := range w.Activities {
		if _, known := p.of[a.Permission]; !known {
			p.of[a.Permission] = len(permissions)
			permissions = append(permissions, []any{len(permissions), a.Permission})
			p.ids = append(p.ids, int32(len(p.ids)))
		}
		for _, method := range a.Methods {
			links = append(links, []any{p.of[a.Permission], len(activities)})
			activities = append(activities, []any{len(activities), method, "^(?:" + a.Path + ")$"})
		}
	}
	for table, rows := range map[string][][]any{"permissions": permissions, "activities": activities, "permission_activities": links} {
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{table}, columns[table], pgx.CopyFromRows(rows)); err != nil {
			return nil, err
		}
	}
	_, err = conn.Exec(ctx, "ANALYZE")
	return p, err
}

var columns = map[string][]string{
	"permissions":           {"id", "name"},
	"activities":            {"id", "method", "url_regex"},
	"permission_activities": {"permission_id", "activity_id"},
}

// allowed asks for a caller who holds the permission that the request is
// about, among others.
func (p *postgres) allowed(r *Request) bool {
	first := max(0, min(p.of[r.Permission]-held/2, len(p.ids)-held))
	ids := p.ids[first:min(first+held, len(p.ids))]
	var n int
	err := p.conn.QueryRow(context.Background(), classicSQL, r.Method, r.Path, ids).Scan(&n)
	return err == nil && n > 0
}
