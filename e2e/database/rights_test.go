package database

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/fleet/subjects"
	"gatehouse/core/fleet/tables"
	"gatehouse/dev/postgrestest"
	"gatehouse/internal/cli"
)

// rightsOf are those on the tables of a schema, of every role but its owner.
func rightsOf(t *testing.T, s *postgrestest.Server, schema string) map[string]string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, _ := conn.Query(t.Context(), `SELECT grantee || ' ' || table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type)
		FROM information_schema.role_table_grants WHERE table_schema = $1 AND grantee NOT IN ('gatehouse_owner', 'tester') GROUP BY 1`, schema)
	all := map[string]string{}
	var key, value string
	if _, err := pgx.ForEachRow(rows, []any{&key, &value}, func() error { all[key] = value; return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// Both roles do all that they are for, and have no other right.
func TestRolesWorkWithTheRightsTheyAreGivenAndHaveNoOther(t *testing.T) {
	s := migrated(t)
	want := map[string]string{
		"gatehouse_node schema_versions":             "SELECT",
		"gatehouse_node schema_compatibility":        "SELECT",
		"gatehouse_node permission_table_versions":   "SELECT",
		"gatehouse_node revocations":                 "DELETE INSERT SELECT", // a trigger keeps those whose time is not over
		"gatehouse_node api_tokens":                  "SELECT",
		"gatehouse_node service_accounts":            "SELECT",
		"gatehouse_node api_token_uses":              "INSERT SELECT UPDATE",
		"gatehouse_node subject_roles":               "SELECT",
		"gatehouse_node subject_role_changes":        "SELECT",
		"gatehouse_editor schema_versions":           "SELECT",
		"gatehouse_editor schema_compatibility":      "SELECT",
		"gatehouse_editor permission_table_versions": "INSERT SELECT",
		"gatehouse_editor revocations":               "INSERT SELECT",
		"gatehouse_editor api_tokens":                "INSERT SELECT UPDATE",
		"gatehouse_editor service_accounts":          "INSERT SELECT UPDATE",
		"gatehouse_editor api_token_uses":            "SELECT",
		"gatehouse_editor subject_roles":             "DELETE INSERT SELECT UPDATE",
		"gatehouse_editor subject_role_changes":      "SELECT",
	}
	if got := rightsOf(t, s, "gatehouse"); !maps.Equal(got, want) {
		t.Errorf("the rights are\n%q\nwant\n%q", got, want)
	}
	// The editor pushes, revokes, makes tokens and grants roles; the node reads all of it,
	// and notes revocations and last uses.
	push(t, tables.NewStore(editor(t, s)), "main", opening("/1"))
	setRoles(t, s, "ada", "clerk")
	k := newTokens(t, s)
	token := k.create(t)
	n := startNode(t, s, named)
	eventually(t, "the table is in force", func() bool { return n.opens("/1") })
	store := roleStore(t, s, func(o *subjects.StoreOptions) { o.Poll = 100 * time.Millisecond })
	eventually(t, "roles are read", func() bool { return rolesNow(t, store, ada) == "clerk" })
	k.use(t, token)
	eventually(t, "the last use is written", func() bool {
		all, err := k.keeper.List(t.Context())
		return err == nil && len(all) == 1 && !all[0].LastUsed.IsZero()
	})
	r := newRevoker(t, s)
	r.revoke(t, "ada")
	agree(t, []*revoker{r}, "ada")
	// What else somebody with the password of a node, or of an editor, would try.
	for role, statements := range map[string][]string{
		"gatehouse_node": {
			"INSERT INTO permission_table_versions (name, version) VALUES ('main', 2)",
			"UPDATE subject_roles SET roles = '{boss}'", "INSERT INTO subject_roles SELECT * FROM subject_roles", "DELETE FROM subject_roles",
			"DELETE FROM subject_role_changes", "UPDATE api_tokens SET revoked_at = NULL", "INSERT INTO api_tokens SELECT * FROM api_tokens",
			"UPDATE service_accounts SET roles = '{boss}'", "UPDATE revocations SET until = now()", "TRUNCATE revocations", "DELETE FROM api_token_uses",
			"CREATE TABLE mine (a int)", "CREATE OR REPLACE FUNCTION tell_nodes() RETURNS trigger LANGUAGE sql AS ''", "ALTER TABLE revocations DISABLE TRIGGER ALL",
			"DROP TABLE revocations", "UPDATE schema_versions SET version_id = 99", "SELECT setval('revocation_numbers', 1)",
		},
		"gatehouse_editor": {
			"UPDATE permission_table_versions SET reason = 'x'", "DELETE FROM permission_table_versions", "DELETE FROM revocations", "UPDATE revocations SET until = now()",
			"DELETE FROM subject_role_changes", "INSERT INTO subject_role_changes (author) VALUES ('x')", "DELETE FROM api_tokens", "UPDATE api_token_uses SET used_at = now()",
			"CREATE TABLE mine (a int)", "ALTER TABLE permission_table_versions DISABLE TRIGGER ALL", "INSERT INTO schema_compatibility VALUES (99, 1)",
			"SELECT setval('revocation_numbers', 1)",
		},
	} {
		for _, sql := range statements {
			var server *pgconn.PgError
			err := attempt(t, strings.Replace(s.DSN, "user=tester", "user="+role, 1), "SET search_path = gatehouse; "+sql)
			if !errors.As(err, &server) || server.Code != "42501" {
				t.Errorf("%s: %s: %v", role, sql, err)
			}
		}
	}
	if err := attempt(t, strings.Replace(s.DSN, "user=tester", "user=gatehouse_node", 1), "DELETE FROM gatehouse.revocations"); err == nil || !strings.Contains(err.Error(), "removed once their time is over") {
		t.Errorf("a node removes a revocation that is in force: %v", err)
	}
}

// The rights on classic tables are printed, too, and are to read alone.
func TestRightsOnClassicTablesAreToReadAlone(t *testing.T) {
	s := migrated(t)
	postgrestest.Exec(t, s.DSN, "CREATE SCHEMA \"old tables\"; CREATE TABLE \"old tables\".permissions (id int)")
	var out, errs bytes.Buffer
	if status := cli.Main([]string{"db", "rights", "--classic-schema", "old tables"}, strings.NewReader(""), &out, &errs); status != 0 {
		t.Fatal(errs.String())
	}
	postgrestest.Exec(t, s.DSN, out.String())
	if got := rightsOf(t, s, "old tables"); !maps.Equal(got, map[string]string{"gatehouse_node permissions": "SELECT"}) {
		t.Errorf("%q", got)
	}
}
