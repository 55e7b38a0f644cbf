// Package database tests what Gatehouse keeps in PostgreSQL, with the real server.
package database

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/postgres/migrate"
	"gatehouse/core/fleet/postgres/migrations"
	"gatehouse/dev/postgrestest"
	"gatehouse/internal/cli"
)

// gatehouse runs a command line on the database of a server.
func gatehouse(t *testing.T, s *postgrestest.Server, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = cli.Main(append(args, "--database-url", s.URL), strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

// documented are the statements of docs/operations.md that make the roles.
func documented(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(page), "```sql\nCREATE ROLE")
	block, _, found := strings.Cut("CREATE ROLE"+block, "```")
	if !found {
		t.Fatal("the page does not show how the roles are made")
	}
	return strings.Split(strings.TrimSuffix(strings.TrimSpace(block), ";"), ";\n")
}

// migrated is a server with the schema, and with the roles and rights as the
// documentation makes them. Its URL is that of an editor, its DSN that of a superuser.
func migrated(t *testing.T, args ...string) *postgrestest.Server {
	t.Helper()
	return setUp(t, postgrestest.StartServer(t, args...))
}

// setUp makes the schema, the roles and the rights on a server.
func setUp(t *testing.T, s *postgrestest.Server) *postgrestest.Server {
	t.Helper()
	for _, sql := range documented(t) {
		postgrestest.Exec(t, s.DSN, sql)
	}
	s.DSN = strings.Replace(s.DSN, "dbname=postgres", "dbname=gatehouse", 1)
	s.URL = "postgres://gatehouse_owner@" + s.Addr + "/gatehouse?sslmode=disable"
	if status, _, stderr := gatehouse(t, s, "db", "migrate"); status != 0 {
		t.Fatal(stderr)
	}
	var out, errs bytes.Buffer
	if status := cli.Main([]string{"db", "rights"}, strings.NewReader(""), &out, &errs); status != 0 {
		t.Fatal(errs.String())
	}
	postgrestest.Exec(t, strings.Replace(s.DSN, "user=tester", "user=gatehouse_owner", 1), out.String())
	s.URL = "postgres://gatehouse_editor@" + s.Addr + "/gatehouse?sslmode=disable"
	return s
}

// connect makes a client with the rights of a node.
func connect(t *testing.T, s *postgrestest.Server, change func(*postgres.Options)) (*postgres.Client, *coretest.Log) {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	number, _ := strconv.Atoi(port)
	log := &coretest.Log{}
	o := postgres.Options{
		Connection: postgres.Connection{Servers: []postgres.Server{{Host: host, Port: uint16(number)}}, User: "gatehouse_node", Password: "change-me-3", Database: "gatehouse"},
		Timeout:    time.Second, Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	if change != nil {
		change(&o)
	}
	c, err := postgres.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, log
}

// ask asks the database for the number of versions.
func ask(c *postgres.Client) error {
	return c.Read(context.Background(), func(ctx context.Context, q postgres.Querier) error {
		var n int
		return q.QueryRow(ctx, "SELECT count(*) FROM "+c.In("permission_table_versions")).Scan(&n)
	})
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for range 600 {
		if so() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("never: " + what)
}

func TestMigrationSaysWhatItDoes(t *testing.T) {
	s := postgrestest.StartServer(t)
	newest := strconv.FormatInt(migrations.Newest(migrations.Files), 10)
	var applied, missing, present, removed string
	for _, m := range migrations.List(migrations.Files) {
		applied += "applied " + m.Name + "\n"
		missing += m.Name + "  missing\n"
		present += m.Name + "  applied\n"
		removed = "removed " + m.Name + "\n" + removed
	}
	for _, step := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--status"}, 1, missing},
		{nil, 0, applied + "the schema gatehouse has version " + newest + "\n"},
		{nil, 0, "nothing to do: the schema gatehouse has version " + newest + "\n"},
		{[]string{"--status"}, 0, present},
		{[]string{"--to", "0"}, 0, removed + "the schema gatehouse has version 0\n"},
		{[]string{"--to", newest}, 0, applied + "the schema gatehouse has version " + newest + "\n"},
		{[]string{"--schema", "other"}, 0, applied + "the schema other has version " + newest + "\n"},
	} {
		status, stdout, stderr := gatehouse(t, s, append([]string{"db", "migrate"}, step.args...)...)
		if status != step.status || stdout != step.want || stderr != "" {
			t.Errorf("%q: status %d\n%s%s", step.args, status, stdout, stderr)
		}
	}
	status, _, stderr := gatehouse(t, s, "db", "migrate", "--to", "9999")
	if want := "gatehouse: there is no version 9999; this program knows 0 to " + newest + "\n"; status != 2 || stderr != want {
		t.Errorf("status %d\n%s", status, stderr)
	}
}

func TestNumbersOfMigrationsHaveNoGap(t *testing.T) {
	for i, m := range migrations.List(migrations.Files) {
		if m.Version != int64(i+1) {
			t.Errorf("%s is number %d; rename it", m.Name, i+1)
		}
	}
}

func TestTwoMigrationsAtOnceFollowEachOther(t *testing.T) {
	s := postgrestest.StartServer(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	applied := 0
	for range 5 {
		all.Go(func() {
			status, stdout, stderr := gatehouse(t, s, "db", "migrate")
			mu.Lock()
			defer mu.Unlock()
			if status != 0 {
				t.Errorf("status %d\n%s", status, stderr)
			}
			applied += strings.Count(stdout, "applied 00001")
		})
	}
	all.Wait()
	if applied != 1 {
		t.Errorf("%d commands have applied the first migration", applied)
	}
}

func TestMigrationThatFailsHalfwayLeavesNothingBehind(t *testing.T) {
	s := postgrestest.StartServer(t)
	options := postgres.Options{Connection: postgres.Connection{URL: s.URL}}
	config, err := options.Config()
	if err != nil {
		t.Fatal(err)
	}
	good := "-- +goose Up\nCREATE TABLE first (n int);\n-- +goose Down\nDROP TABLE first;\n"
	files := fstest.MapFS{
		"00001_first.sql": {Data: []byte(good)},
		"00002_half.sql":  {Data: []byte("-- +goose Up\nCREATE TABLE half (n int);\nSELECT 1/0;\n-- +goose Down\nDROP TABLE half;\n")},
	}
	run := func() ([]migrate.Step, int64, error) {
		m, err := migrate.Open(t.Context(), migrate.Options{Connection: config, Schema: "gatehouse", Files: files})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		steps, failure := m.To(t.Context(), 2)
		version, err := m.Version(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return steps, version, failure
	}
	steps, version, err := run()
	if err == nil || !strings.HasPrefix(err.Error(), "migration 00002_half.sql: ") || !strings.HasSuffix(err.Error(), "; it left nothing behind") || len(steps) != 1 || version != 1 {
		t.Errorf("steps %v, version %d: %v", steps, version, err)
	}
	files["00002_half.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE half (n int);\n-- +goose Down\nDROP TABLE half;\n")}
	if steps, version, err := run(); err != nil || len(steps) != 1 || version != 2 {
		t.Errorf("after the mending: steps %v, version %d: %v", steps, version, err)
	}
}

// A schema of another version is not used, and the error says what to do.
func TestSchemaOfAnotherVersionIsRefused(t *testing.T) {
	s := migrated(t)
	newest := migrations.Newest(migrations.Files)
	node := strconv.FormatInt(newest, 10)
	for _, of := range []struct{ name, change, want string }{
		{"the same", "SELECT 1", ""},
		{"newer", "INSERT INTO gatehouse.schema_versions (version_id, is_applied) VALUES (999, true)",
			`the schema "gatehouse" of the database has version 999, made by a newer program, and this program needs version ` + node + `; upgrade this program, or take the schema back with gatehouse db migrate --to ` + node + ` of the newer one`},
		{"newer, for newer programs only", "INSERT INTO gatehouse.schema_compatibility VALUES (999, 998)", "has version 999"},
		{"newer, and it says that this one may use it", "UPDATE gatehouse.schema_compatibility SET oldest = " + node, ""},
		{"newer still", "INSERT INTO gatehouse.schema_versions (version_id, is_applied) VALUES (1000, true)", "has version 1000"},
		{"older", "DELETE FROM gatehouse.schema_versions WHERE version_id > 0", `the database has no schema "gatehouse", or not one of Gatehouse; run gatehouse db migrate`},
		{"none", "DROP SCHEMA gatehouse CASCADE", `the database has no schema "gatehouse", or not one of Gatehouse; run gatehouse db migrate`},
	} {
		postgrestest.Exec(t, s.DSN, of.change)
		c, _ := connect(t, s, nil)
		err := ask(c)
		var schema *postgres.SchemaError
		if of.want == "" && err != nil || of.want != "" && (!errors.As(err, &schema) || !strings.Contains(err.Error(), of.want)) {
			t.Errorf("%s: %v", of.name, err)
		}
	}
}

func TestErrorsOfTheDatabaseSayWhatToDo(t *testing.T) {
	s := migrated(t, "-c", "max_connections=10")
	for _, of := range []struct {
		name   string
		before func()
		change func(*postgres.Options)
		want   string
	}{
		{"another database", nil, func(o *postgres.Options) { o.Database = "nowhere" }, "create the database, or name another one in postgres.database"},
		{"another schema", nil, func(o *postgres.Options) { o.Schema = "nowhere" }, "run gatehouse db migrate"},
		{"no rights", func() {
			postgrestest.Exec(t, s.DSN, "REVOKE ALL ON gatehouse.permission_table_versions FROM gatehouse_node")
		}, nil, "give the role its rights: gatehouse db rights prints the statements"},
		{"no right on the schema", func() {
			postgrestest.Exec(t, s.DSN, "REVOKE ALL ON SCHEMA gatehouse FROM gatehouse_node")
		}, nil, "give the role its rights: gatehouse db rights prints the statements"},
		{"wrong password", func() { s.Admit("scram-sha-256") }, func(o *postgres.Options) { o.Password = "hunter2" }, "set user and password of the section postgres"},
		{"not admitted", func() { s.Admit("reject") }, nil, "set user and password of the section postgres"},
		{"stopped", s.Stop, nil, "connection refused"},
	} {
		if of.before != nil {
			of.before()
		}
		c, log := connect(t, s, of.change)
		for range 7 { // also while the breaker is open
			err := ask(c)
			if err == nil || !strings.Contains(err.Error(), of.want) {
				t.Errorf("%s: %v", of.name, err)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(log.String(), "hunter2") {
				t.Errorf("%s: a password is in %v or in the log", of.name, err)
			}
		}
	}
}
