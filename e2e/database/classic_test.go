package database

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/fleet/classic"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/permission/live"
	"gatehouse/dev/postgrestest"
)

// classicTables are those that another program keeps, with names of its own.
const classicTables = `
CREATE TABLE perm (id int PRIMARY KEY, code text); CREATE TABLE act (id int PRIMARY KEY, method text, url_regex text); CREATE TABLE perm_act (perm int, act int);
INSERT INTO perm VALUES (1, 'users:read'); INSERT INTO act VALUES (1, 'GET', '^/users$'); INSERT INTO perm_act VALUES (1, 1);`

type classicNode struct {
	*live.Live
	log  *coretest.Log
	stop func()
}

func followClassic(t *testing.T, s *postgrestest.Server, dir string) *classicNode {
	t.Helper()
	client, log := connect(t, s, nil)
	source, err := classic.New(classic.Options{Database: &postgres.Kept{Client: client}, Schema: "gatehouse_classic", Poll: 2 * time.Second, Dir: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	first, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l, _ := live.Open(first, live.Options{Source: source, Log: slog.New(slog.NewTextHandler(log, nil))})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { l.Run(ctx); source.Close(); close(done) }()
	n := &classicNode{l, log, func() { stop(); <-done }}
	t.Cleanup(n.stop)
	return n
}

// allows reports whether a permission is enough for a call.
func (n *classicNode) allows(path, permission string) bool {
	call := &core.Call{Request: &core.Request{Method: "GET", Target: path, Host: "a.test"}, Path: path}
	access := n.Match(context.Background(), call)
	return access != nil && access.Allows(context.Background(), call, &core.Principal{Permissions: []string{permission}}) == nil
}

func TestClassicTablesAreFollowedByViewsAsTheyStand(t *testing.T) {
	s := migrated(t)
	postgrestest.Exec(t, s.DSN, classicTables)
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, views, _ := strings.Cut(string(text), "```sql\nCREATE SCHEMA gatehouse_classic;")
	views, _, _ = strings.Cut(views, "```")
	postgrestest.Exec(t, s.DSN, "CREATE SCHEMA gatehouse_classic;"+views)
	dir := t.TempDir()
	n := followClassic(t, s, dir)
	if !n.allows("/users", "users:read") || n.allows("/users/7", "users:read") || n.allows("/users", "other") {
		t.Fatalf("the first table: %s", n.log)
	}
	// Unanchored, as PostgreSQL reads it.
	postgrestest.Exec(t, s.DSN, `UPDATE act SET url_regex = '/users'`)
	eventually(t, "a change is followed", func() bool { return n.allows("/x/users/7", "users:read") })
	// A change of a table without a trigger.
	postgrestest.Exec(t, s.DSN, `UPDATE perm SET code = 'users:write'`)
	eventually(t, "a change that nobody tells of is followed", func() bool { return n.allows("/users", "users:write") })
	for sql, want := range map[string]string{
		`INSERT INTO act VALUES (2, 'GET', '^/a(?!b)$'); INSERT INTO perm_act VALUES (1, 2)`: "activity 2",
		`INSERT INTO act VALUES (3, 'GET', '(')`:                                             "",
		`INSERT INTO perm_act VALUES (1, 99)`:                                                "activity 99 does not exist",
		`INSERT INTO perm VALUES (5, 'users:write')`:                                         "permission 5",
	} {
		postgrestest.Exec(t, s.DSN, sql+`; INSERT INTO act VALUES (100, 'GET', '^/late$'); INSERT INTO perm_act VALUES (1, 100)`)
		if want == "" {
			eventually(t, "an activity that nobody has matters to nobody", func() bool { return n.allows("/late", "users:write") })
		} else {
			eventually(t, "the log names "+want, func() bool { return strings.Contains(n.log.String(), want) })
			if n.allows("/late", "users:write") || !n.allows("/users", "users:write") {
				t.Errorf("%s: a part is in force", sql)
			}
		}
		postgrestest.Exec(t, s.DSN, `DELETE FROM act WHERE id > 1; DELETE FROM perm_act WHERE act > 1; DELETE FROM perm WHERE id > 1`)
		eventually(t, "what is taken back is followed", func() bool { return !n.allows("/late", "users:write") })
	}
	postgrestest.Exec(t, s.DSN, `INSERT INTO act VALUES (7, 'GET', '^/healed$'); INSERT INTO perm_act VALUES (1, 7)`)
	eventually(t, "what is mended is followed", func() bool { return n.allows("/healed", "users:write") })
	// The database goes away, and the node starts again.
	n.stop()
	s.Stop()
	again := followClassic(t, s, dir)
	eventually(t, "the copy is in force", func() bool { return again.allows("/healed", "users:write") })
	s.Restart()
	postgrestest.Exec(t, s.DSN, `DELETE FROM perm_act`)
	eventually(t, "the database is followed again", func() bool { return !again.allows("/healed", "users:write") })
}
