package database

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/dev/postgrestest"
	"gatehouse/internal/cli"
)

// block is the first block of SQL of a page behind a text.
func block(t *testing.T, page, behind string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), behind)
	_, rest, begins := strings.Cut(rest, "```sql\n")
	sql, _, ends := strings.Cut(rest, "```")
	if !found || !begins || !ends {
		t.Fatalf("%s has no SQL behind %q", page, behind)
	}
	return sql
}

// classicServer has classic tables, the documented views of them, and, where told so, the
// documented trigger.
func classicServer(t *testing.T, trigger bool) *postgrestest.Server {
	t.Helper()
	s := migrated(t)
	postgrestest.Exec(t, s.DSN, classicTables)
	views, tells, _ := strings.Cut(block(t, "../../docs/operations.md", "## A permission table in classic tables"), "-- Optional")
	if trigger {
		views += "--" + tells
	}
	postgrestest.Exec(t, s.DSN, views)
	return s
}

// Whatever becomes of the database, a node goes on with the last good table and follows
// again by itself, by asking or by a trigger.
func TestFaultsOfTheDatabaseKeepTheLastGoodClassicTable(t *testing.T) {
	for name, trigger := range map[string]bool{"polling": false, "trigger": true} {
		s := classicServer(t, trigger)
		n := followClassic(t, s, t.TempDir())
		if !n.allows("/users", "users:read") {
			t.Fatal(n.log)
		}
		for i, fault := range []struct {
			name       string
			fail, heal func()
		}{
			{"frozen", s.Freeze, s.Thaw},
			{"stopped", s.Stop, s.Restart},
			{"cut", s.Disconnect, nil},
			{"without rights", func() { postgrestest.Exec(t, s.DSN, "REVOKE ALL ON gatehouse_classic.activities FROM gatehouse_node") },
				func() { postgrestest.Exec(t, s.DSN, "GRANT SELECT ON gatehouse_classic.activities TO gatehouse_node") }},
			{"without a view", func() { postgrestest.Exec(t, s.DSN, "ALTER VIEW gatehouse_classic.activities RENAME TO gone") },
				func() { postgrestest.Exec(t, s.DSN, "ALTER VIEW gatehouse_classic.gone RENAME TO activities") }},
		} {
			fault.fail()
			for range 10 {
				if !n.allows("/users", "users:read") || n.allows("/users", "other") || n.allows("/other", "users:read") {
					t.Errorf("%s, %s: another table is in force", name, fault.name)
				}
				time.Sleep(100 * time.Millisecond)
			}
			if fault.heal != nil {
				fault.heal()
			}
			path := "/healed" + strings.Repeat("x", i)
			postgrestest.Exec(t, s.DSN, "INSERT INTO act VALUES (50, 'GET', '^"+path+"$') ON CONFLICT (id) DO UPDATE SET url_regex = excluded.url_regex; INSERT INTO perm_act SELECT 1, 50 WHERE NOT EXISTS (SELECT FROM perm_act WHERE act = 50)")
			eventually(t, name+", "+fault.name+": the tables are followed", func() bool { return n.allows(path, "users:read") })
		}
		if t.Failed() {
			t.Log(n.log)
		}
	}
}

// A row that cannot be taken refuses the whole, and is named; one that is mended makes the
// whole count.
func TestClassicRowThatCannotBeTakenIsNamedAndRefusesAll(t *testing.T) {
	s := classicServer(t, true)
	n := followClassic(t, s, "")
	for _, of := range []struct{ row, want string }{
		{"INSERT INTO act VALUES (7, 'GET', '('); INSERT INTO perm_act VALUES (1, 7)", `activity 7 (GET "(")`},
		{"INSERT INTO act VALUES (7, 'GET', '^/a(?!b)$'); INSERT INTO perm_act VALUES (1, 7)", `activity 7 (GET "^/a(?!b)$")`},
		{"INSERT INTO act VALUES (7, 'GET', '^/a{2,1}$'); INSERT INTO perm_act VALUES (1, 7)", `activity 7 (GET "^/a{2,1}$")`},
		{"INSERT INTO act VALUES (7, 'GET', E'^/a\\\\mb$'); INSERT INTO perm_act VALUES (1, 7)", "activity 7 (GET "},
		{"INSERT INTO act VALUES (7, 'G(T', '^/a$'); INSERT INTO perm_act VALUES (1, 7)", `activity 7 (G(T "^/a$")`},
		{"INSERT INTO act VALUES (7, '', '^/a$'); INSERT INTO perm_act VALUES (1, 7)", `it has no method`},
		{"INSERT INTO act VALUES (7, NULL, '^/a$'); INSERT INTO perm_act VALUES (1, 7)", `it has no method`},
		{"INSERT INTO perm_act VALUES (1, 99)", "activity 99 does not exist"},
		{"INSERT INTO perm_act VALUES (NULL, 1)", "permission  or activity 1 does not exist"},
		{"INSERT INTO perm VALUES (7, 'a b')", `permission 7: the name "a b"`},
		{"INSERT INTO perm VALUES (7, NULL)", `permission 7: the name ""`},
		{"INSERT INTO perm VALUES (7, 'users:read')", `permission 7: the name "users:read"`},
	} {
		before := len(n.log.String())
		postgrestest.Exec(t, s.DSN, "BEGIN; "+of.row+"; INSERT INTO act VALUES (8, 'GET', '^/late$'); INSERT INTO perm_act VALUES (1, 8); COMMIT")
		eventually(t, "the log names "+of.want, func() bool {
			return strings.Contains(strings.ReplaceAll(n.log.String()[before:], `\"`, `"`), of.want)
		})
		if n.allows("/late", "users:read") || !n.allows("/users", "users:read") {
			t.Errorf("%s: a part is in force", of.row)
		}
		postgrestest.Exec(t, s.DSN, "BEGIN; DELETE FROM act WHERE id = 7; DELETE FROM perm_act WHERE act IN (7, 99) OR perm IS NULL; DELETE FROM perm WHERE id = 7; COMMIT")
		eventually(t, of.row+": mended, the rest counts", func() bool { return n.allows("/late", "users:read") })
		postgrestest.Exec(t, s.DSN, "BEGIN; DELETE FROM perm_act WHERE act = 8; DELETE FROM act WHERE id = 8; COMMIT")
		eventually(t, "what was removed is closed", func() bool { return !n.allows("/late", "users:read") })
	}
}

// A writer that commits each row by itself is seen in the middle: rows that fit nothing
// refuse the whole, and what is committed counts as it is.
func TestClassicTablesOfAWriterWithoutATransaction(t *testing.T) {
	s := classicServer(t, true)
	n := followClassic(t, s, "")
	postgrestest.Exec(t, s.DSN, "INSERT INTO perm_act VALUES (1, 60), (1, 61)")
	eventually(t, "the log names the row", func() bool {
		return strings.Contains(n.log.String(), "activity 60 does not exist") || strings.Contains(n.log.String(), "activity 61 does not exist")
	})
	postgrestest.Exec(t, s.DSN, "INSERT INTO act VALUES (60, 'GET', '^/a$')")
	time.Sleep(300 * time.Millisecond)
	if n.allows("/a", "users:read") || !n.allows("/users", "users:read") {
		t.Error("a part is in force")
	}
	postgrestest.Exec(t, s.DSN, "INSERT INTO act VALUES (61, 'GET', '^/b$')")
	eventually(t, "both are in force", func() bool { return n.allows("/a", "users:read") && n.allows("/b", "users:read") })
	// In one transaction nothing is seen before its end, and then all of it.
	postgrestest.Exec(t, s.DSN, "BEGIN; DELETE FROM perm_act; INSERT INTO perm_act VALUES (1, 1), (1, 60), (1, 61); SELECT pg_sleep(1); COMMIT")
	if !n.allows("/users", "users:read") || !n.allows("/a", "users:read") {
		t.Error("what was never committed is in force")
	}
}

// The example of import sql: tables of another shape get there by views.
func TestImportSQLReadsTheViewsOfTheDocumentation(t *testing.T) {
	s := migrated(t)
	postgrestest.Exec(t, s.DSN, `CREATE TABLE acl (id int, right_name text, verb text, path text);
		INSERT INTO acl VALUES (1, 'users:read', 'GET', '/users'), (2, 'users:read', 'GET', '/users/[0-9]+'), (3, 'users:write', 'POST', '/users')`)
	postgrestest.Exec(t, s.DSN, block(t, "../../docs/cli.md", "## import sql"))
	var out, errs bytes.Buffer
	if status := cli.Main([]string{"import", "sql", "postgres://tester@" + s.Addr + "/gatehouse?sslmode=disable&search_path=gatehouse_classic"}, strings.NewReader(""), &out, &errs); status != 0 {
		t.Fatalf("%d: %s", status, errs.String())
	}
	for _, want := range []string{"users:read:", "GET /users\n", "GET /users/[0-9]+", "users:write:", "POST /users"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, out.String())
		}
	}
	n := followClassic(t, s, "")
	if !n.allows("/users/7", "users:read") || n.allows("/users/7/x", "users:read") || n.allows("/users", "users:write") {
		t.Errorf("nodes do not follow the same views: %s", n.log)
	}
}
