package database

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/cache"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/subjects"
	"gatehouse/dev/postgrestest"
)

const rolesIssuer = "https://id.test"

var ada = subjects.Identity{Issuer: rolesIssuer, Name: "ada"}

// roleStore makes a store with the rights of a node.
func roleStore(t *testing.T, s *postgrestest.Server, change func(*subjects.StoreOptions)) *subjects.Store {
	t.Helper()
	client, _ := connect(t, s, nil)
	o := subjects.StoreOptions{
		Database: &postgres.Kept{Client: client}, TTL: time.Hour, Poll: time.Hour, Limits: cache.Limits{Entries: 1000},
	}
	if change != nil {
		change(&o)
	}
	store, err := subjects.NewStore(o)
	if err != nil {
		t.Fatal(err)
	}
	if o.Poll == time.Hour {
		eventually(t, "the node listens", client.Listening)
	}
	return store
}

func setRoles(t *testing.T, s *postgrestest.Server, name string, roles ...string) {
	t.Helper()
	args := []string{"roles", "set", name, "--issuer", rolesIssuer, "--reason", "a test", "--author", "eve"}
	for _, r := range roles {
		args = append(args, "--role", r)
	}
	if status, _, stderr := gatehouse(t, s, args...); status != 0 {
		t.Fatal(stderr)
	}
}

func rolesNow(t *testing.T, store *subjects.Store, id subjects.Identity) string {
	t.Helper()
	g, err := store.Grants(t.Context(), id)
	if err != nil {
		return "error"
	}
	return strings.Join(g.Roles, ",")
}

func TestRolesAreReadOnceAndAnewAfterAChange(t *testing.T) {
	s := migrated(t)
	store := roleStore(t, s, nil)
	if got := rolesNow(t, store, ada); got != "" {
		t.Errorf("before any row: %q", got)
	}
	setRoles(t, s, "ada", "clerk", "boss")
	eventually(t, "the change counts", func() bool { return rolesNow(t, store, ada) == "boss,clerk" })
	before := store.Stats()
	for range 100 {
		rolesNow(t, store, ada)
	}
	if after := store.Stats(); after.Misses != before.Misses || after.Hits != before.Hits+100 {
		t.Errorf("100 further requests: %+v, then %+v", before, after)
	}
	// A change of another subject makes nobody ask anew.
	bob := subjects.Identity{Issuer: rolesIssuer, Name: "bob"}
	rolesNow(t, store, bob)
	before = store.Stats()
	setRoles(t, s, "bob", "clerk")
	eventually(t, "the change counts", func() bool { return rolesNow(t, store, bob) == "clerk" })
	asked := store.Stats().Misses
	rolesNow(t, store, ada)
	if store.Stats().Misses != asked {
		t.Error("a change of bob's roles dropped those of ada")
	}
	// Taken back, and removed by somebody who knows SQL.
	setRoles(t, s, "ada")
	eventually(t, "the roles are gone", func() bool { return rolesNow(t, store, ada) == "" })
	editor := strings.Replace(s.DSN, "user=tester", "user=gatehouse_editor", 1)
	postgrestest.Exec(t, editor, `DELETE FROM gatehouse.subject_roles WHERE name = 'bob'`)
	eventually(t, "the row is gone", func() bool { return rolesNow(t, store, bob) == "" })
	setRoles(t, s, "ada", "boss")
	eventually(t, "the change counts", func() bool { return rolesNow(t, store, ada) == "boss" })
	postgrestest.Exec(t, s.DSN, `TRUNCATE gatehouse.subject_roles`)
	eventually(t, "all rows are gone", func() bool { return rolesNow(t, store, ada) == "" })
}

func TestConcurrentMissesOfOneSubjectMakeOneQuery(t *testing.T) {
	s := migrated(t)
	setRoles(t, s, "ada", "clerk")
	store := roleStore(t, s, nil)
	eventually(t, "changes are known", func() bool { rolesNow(t, store, ada); return store.Stats().Hits > 0 })
	ted := subjects.Identity{Issuer: rolesIssuer, Name: "ted"}
	before := store.Stats().Misses
	s.Freeze()
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() { rolesNow(t, store, ted) })
	}
	time.Sleep(100 * time.Millisecond)
	s.Thaw()
	all.Wait()
	if asked := store.Stats().Misses - before; asked != 1 {
		t.Errorf("%d queries", asked)
	}
}

// The transaction that changes comes to its end after one that began later.
func TestChangeOfATransactionThatEndsLateIsNotMissed(t *testing.T) {
	s := migrated(t)
	setRoles(t, s, "ada", "boss")
	store := roleStore(t, s, nil)
	eventually(t, "the roles count", func() bool { return rolesNow(t, store, ada) == "boss" })
	client, _ := connect(t, s, func(o *postgres.Options) { o.User, o.Timeout = "gatehouse_editor", 10*time.Second })
	bob := subjects.Identity{Issuer: rolesIssuer, Name: "bob"}
	err := client.Write(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE gatehouse.subject_roles SET roles = '{}', author = 'x', reason = 'y' WHERE name = 'ada'`); err != nil {
			return err
		}
		setRoles(t, s, "bob", "clerk")
		eventually(t, "the later change counts", func() bool { return rolesNow(t, store, bob) == "clerk" })
		if got := rolesNow(t, store, ada); got != "boss" {
			t.Errorf("before the commit: %q", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the earlier change counts", func() bool { return rolesNow(t, store, ada) == "" })
}

func TestLastKnownRolesCountOnlyForTheirTimeWhileTheDatabaseIsAway(t *testing.T) {
	for name, fault := range map[string]struct{ begin, end func(*postgrestest.Server) }{
		"stopped": {(*postgrestest.Server).Stop, (*postgrestest.Server).Restart},
		"frozen":  {(*postgrestest.Server).Freeze, (*postgrestest.Server).Thaw},
		"refuses": {func(s *postgrestest.Server) { s.Admit("reject"); s.Disconnect() }, func(s *postgrestest.Server) { s.Admit("trust") }},
	} {
		t.Run(name, func(t *testing.T) {
			s := migrated(t)
			setRoles(t, s, "ada", "clerk")
			const ttl = 2 * time.Second
			strict := roleStore(t, s, func(o *subjects.StoreOptions) { o.TTL = ttl })
			lenient := roleStore(t, s, func(o *subjects.StoreOptions) { o.TTL, o.MaxStale = ttl, time.Hour })
			for _, store := range []*subjects.Store{strict, lenient} {
				eventually(t, "the roles count", func() bool { return rolesNow(t, store, ada) == "clerk" })
			}
			fault.begin(s)
			// Whom nobody has asked about cannot be completed, whatever is configured.
			for _, store := range []*subjects.Store{strict, lenient} {
				if got := rolesNow(t, store, subjects.Identity{Issuer: rolesIssuer, Name: "bob"}); got != "error" {
					t.Errorf("a subject that is not known: %q", got)
				}
			}
			eventually(t, "the roles count no more", func() bool { return rolesNow(t, strict, ada) == "error" })
			eventually(t, "that they are stale is counted", func() bool {
				if got := rolesNow(t, lenient, ada); got != "clerk" {
					t.Errorf("with max_stale: %q", got)
				}
				return lenient.Stats().Stale > 0
			})
			fault.end(s)
			setRoles(t, s, "ada", "boss")
			for _, store := range []*subjects.Store{strict, lenient} {
				eventually(t, "the database is asked again", func() bool { return rolesNow(t, store, ada) == "boss" })
			}
		})
	}
}

func TestChangeWhileNobodyListensIsFoundWhenTheConnectionIsBack(t *testing.T) {
	s := migrated(t)
	setRoles(t, s, "ada", "boss")
	store := roleStore(t, s, nil)
	eventually(t, "the roles count", func() bool { return rolesNow(t, store, ada) == "boss" })
	s.Admit("reject")
	s.Disconnect()
	// By a socket, which the node does not use.
	postgrestest.Exec(t, s.DSN, `UPDATE gatehouse.subject_roles SET roles = '{}', author = 'x', reason = 'y'`)
	s.Admit("trust")
	eventually(t, "the change counts", func() bool { return rolesNow(t, store, ada) == "" })
}

func TestRowsThatNoProgramWroteGrantNothing(t *testing.T) {
	s := migrated(t)
	postgrestest.Exec(t, s.DSN, `ALTER TABLE gatehouse.subject_roles DROP CONSTRAINT subject_roles_pkey, DROP CONSTRAINT subject_roles_roles_check, DROP CONSTRAINT subject_roles_permissions_check,
		ALTER roles DROP NOT NULL, ALTER permissions DROP NOT NULL`)
	store := roleStore(t, s, nil)
	for i, of := range []struct{ roles, permissions, want string }{
		{`'{"a,b"}'`, `'{}'`, "error"},
		{`'{""}'`, `'{}'`, "error"},
		{`'{"a b"}'`, `'{}'`, "error"},
		{`E'{"a\nb"}'`, `'{}'`, "error"},
		{`'{a}'`, `'{"b c"}'`, "error"},
		{`NULL`, `'{}'`, "error"},
		{`'{a}'`, `NULL`, "error"},
		{`ARRAY['a', NULL]`, `'{}'`, "error"},
		{`'{{a,b},{c,d}}'`, `'{}'`, "a,b,c,d"},
		{`(SELECT array_agg('r' || n) FROM generate_series(1, 1001) n)`, `'{}'`, "error"},
		{`ARRAY[repeat('x', 1001)]`, `'{}'`, "error"},
		{`'{a,a}'`, `'{}'`, "a,a"},
		{`'{}'`, `'{}'`, ""},
	} {
		id := subjects.Identity{Issuer: rolesIssuer, Name: fmt.Sprint("s", i)}
		postgrestest.Exec(t, s.DSN, `INSERT INTO gatehouse.subject_roles VALUES ('`+rolesIssuer+`', false, '`+id.Name+`', `+of.roles+`, `+of.permissions+`, 'x', 'y')`)
		eventually(t, of.roles+", "+of.permissions+": "+of.want, func() bool { return rolesNow(t, store, id) == of.want })
	}
	// Two rows of one subject: neither counts, and both do not.
	for range 2 {
		postgrestest.Exec(t, s.DSN, `INSERT INTO gatehouse.subject_roles VALUES ('`+rolesIssuer+`', false, 'twice', '{a}', '{}', 'x', 'y')`)
	}
	eventually(t, "two rows are refused", func() bool {
		return rolesNow(t, store, subjects.Identity{Issuer: rolesIssuer, Name: "twice"}) == "error"
	})
}

// The longest list that a row may have counts, and a role is not the permission of its name.
func TestManyRolesCountAndNoneIsAPermission(t *testing.T) {
	s := migrated(t)
	var all []string
	for i := range 1000 {
		all = append(all, fmt.Sprintf("r%03d", i))
	}
	setRoles(t, s, "ada", all...)
	store := roleStore(t, s, nil)
	eventually(t, "all roles count", func() bool { return rolesNow(t, store, ada) == strings.Join(all, ",") })
	setRoles(t, s, "ada", "orders:write", "boss")
	eventually(t, "the roles count", func() bool { return rolesNow(t, store, ada) == "boss,orders:write" })
	if g, err := store.Grants(t.Context(), ada); err != nil || len(g.Permissions) != 0 {
		t.Errorf("permissions %q: %v", g.Permissions, err)
	}
}

func TestWhoChangesRolesCannotChangeTheHistory(t *testing.T) {
	s := migrated(t)
	setRoles(t, s, "ada", "boss")
	setRoles(t, s, "ada")
	for _, sql := range []string{
		"UPDATE gatehouse.subject_role_changes SET author = 'mallory'", "DELETE FROM gatehouse.subject_role_changes",
		"INSERT INTO gatehouse.subject_role_changes (author, db_role, reason) VALUES ('a', 'b', 'c')", "TRUNCATE gatehouse.subject_role_changes",
		"TRUNCATE gatehouse.subject_roles",
	} {
		if err := attemptAs(s, "gatehouse_editor", sql); err == nil {
			t.Errorf("%s: done", sql)
		}
	}
	for _, sql := range []string{"INSERT INTO gatehouse.subject_roles VALUES ('i', false, 'n', '{}', '{}', 'a', 'r')", "DELETE FROM gatehouse.subject_roles"} {
		if err := attemptAs(s, "gatehouse_node", sql); err == nil {
			t.Errorf("a node: %s: done", sql)
		}
	}
	status, stdout, stderr := gatehouse(t, s, "roles", "get", "ada", "--issuer", rolesIssuer)
	if status != 0 {
		t.Fatal(stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(lines) != 4 || lines[1] != "  nothing" || !strings.HasSuffix(lines[2], "eve (role gatehouse_editor)  a test: nothing") || !strings.HasSuffix(lines[3], "a test: roles boss") {
		t.Errorf("got\n%s", stdout)
	}
	if status, stdout, _ := gatehouse(t, s, "roles", "get", "ada", "--client", "--issuer", rolesIssuer); status != 1 || !strings.Contains(stdout, "nothing") {
		t.Errorf("a client of that name: status %d, %s", status, stdout)
	}
	setRoles(t, s, "bob\x1b[2J", "boss")
	_, stdout, _ = gatehouse(t, s, "roles", "list")
	if stdout != "subject ada of https://id.test  nothing\nsubject \"bob\\x1b[2J\" of https://id.test  roles boss\n" {
		t.Errorf("list: %q", stdout)
	}
	for _, args := range [][]string{
		{"roles", "set", "ada", "--issuer", rolesIssuer}, {"roles", "set", "ada", "--reason", "x"}, {"roles", "set", "--issuer", rolesIssuer, "--reason", "x"},
		{"roles", "set", "ada", "--issuer", rolesIssuer, "--reason", "x", "--role", "a b"}, {"roles", "set", "ada", "--issuer", rolesIssuer, "--reason", " "},
		{"roles", "set", "", "--issuer", rolesIssuer, "--reason", "x"},
	} {
		if status, _, stderr := gatehouse(t, s, args...); status != 2 || stderr == "" {
			t.Errorf("%q: status %d", args, status)
		}
	}
}

func attemptAs(s *postgrestest.Server, role, sql string) error {
	o := postgres.Options{Connection: postgres.Connection{URL: "postgres://" + role + "@" + s.Addr + "/gatehouse?sslmode=disable"}}
	c, err := postgres.New(o)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Read(context.Background(), func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, sql)
		if err != nil {
			return err
		}
		rows.Close()
		return rows.Err()
	})
}
