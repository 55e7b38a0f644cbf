package sqlimport

import (
	"bytes"
	"strings"
	"testing"

	"gatehouse/dev/postgrestest"
	"gatehouse/internal/cli"
)

// gatehouse runs a command line.
func gatehouse(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = cli.Main(args, strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

func TestImportSQLWritesTheTableAndItsNotes(t *testing.T) {
	dsn := postgrestest.Start(t)
	postgrestest.Exec(t, dsn, `
CREATE SCHEMA auth;
CREATE TABLE auth.permissions (id int, name text);
CREATE TABLE auth.activities (id int, method text, url_regex text);
CREATE TABLE auth.permission_activities (permission_id int, activity_id int);
INSERT INTO auth.permissions VALUES (1, 'users:read');
INSERT INTO auth.activities VALUES (1, 'GET', '^/users$');
INSERT INTO auth.permission_activities VALUES (1, 1);
`)
	const table = `# A starting table, made from the tables permissions and activities of a database.

permissions:
  users:read:
    activities:
      # activity 1: "^/users$"
      - GET /users
implicit_scopes: false
`
	status, stdout, stderr := gatehouse("import", "sql", dsn+" search_path=auth")
	if status != 0 || stdout != table || stderr != "" {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
	postgrestest.Exec(t, dsn, `UPDATE auth.activities SET url_regex = '/users$'`)
	status, stdout, stderr = gatehouse("import", "sql", dsn+" search_path=auth")
	if want := "activity 1 (GET \"/users$\"): it is not tied to the beginning with ^, and finds its match at the end of any path\n"; status != 1 || stderr != want || !strings.Contains(stdout, "GET .*/users\n") {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
	status, stdout, stderr = gatehouse("import", "sql", strings.Replace(dsn, "dbname=postgres", "dbname=nowhere", 1))
	if want := "gatehouse: no connection to the database: database \"nowhere\" does not exist\n"; status != 2 || stdout != "" || stderr != want {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
}
