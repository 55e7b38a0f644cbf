package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/dev/postgrestest"
	"gatehouse/dev/redistest"
	"gatehouse/internal/cli"
	"gatehouse/internal/doctor"
)

// examineFleet is what gatehouse doctor says of the Redis and the PostgreSQL of a
// configuration, one finding on each line.
func examineFleet(t *testing.T, sections string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatehouse.yaml")
	text := "jwt: {issuers: [{issuer: https://issuer.test, audience: [api], jwks_file: keys.json}]}\nrevocation: {}\n" + sections
	if !strings.Contains(sections, "permission_table") {
		text += "permission_table: \"authenticated: [GET /orders]\"\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if status := cli.Main([]string{"doctor", "--output", "json", "--config", path}, strings.NewReader(""), &out, &errs); status > 1 {
		t.Fatal(errs.String())
	}
	var report struct{ Findings []doctor.Finding }
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range report.Findings {
		lines = append(lines, fmt.Sprintf("%s %s: %s", f.Severity, f.Check, f.Text))
	}
	if all := out.String(); strings.Contains(all, secret) || strings.Contains(all, "pw-of-nodes") {
		t.Errorf("a secret is shown: %s", all)
	}
	return strings.Join(lines, "\n")
}

func TestDoctorExaminesRedis(t *testing.T) {
	server := redistest.Start(t)
	examine := func(addr, settings string) string { return examineFleet(t, slowRedisSection(addr, settings)) }
	want := func(name, found string, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if !strings.Contains(found, text) {
				t.Errorf("%s: found\n%s\nwant %s", name, found, text)
			}
		}
	}
	found := examine(server.Addr, "")
	want("all is well", found, "ok redis: Redis ", "ok clock: ")
	if strings.Contains(found, "error") || strings.Contains(found, "warning") {
		t.Errorf("all is well, and found is\n%s", found)
	}
	if n := server.Do("DBSIZE"); n != int64(0) {
		t.Errorf("the doctor has written %v keys", n)
	}
	server.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	want("evicts", examine(server.Addr, ""), "warning redis: maxmemory-policy is allkeys-lru")
	server.SetUser("node", "on", ">pw-of-nodes", "~gatehouse:*", "+time")
	want("may not see its settings", examine(server.Addr, ", username: node, password: pw-of-nodes"), "note redis: responds in ")
	want("a wrong password", examine(server.Addr, ", username: node, password: pw-of-nodes-2"), "error redis: ", "set username and password")
	replica := redistest.StartReplica(t, server)
	want("a replica", examine(replica.Addr, ""), "error redis: is a replica")
	server.Stop()
	want("stopped", examine(server.Addr, ""), "error redis: ", "start Redis")
}

func TestDoctorExaminesPostgreSQL(t *testing.T) {
	s := postgrestest.StartServer(t)
	section := func(user string) string {
		return postgresSection(s, ", user: "+user+", password: pw-of-nodes, database: postgres") +
			"permission_table_name: shop\napi_token: {token_store: postgres}\nsubject_roles: {}\n"
	}
	want := func(name, found string, text string) {
		t.Helper()
		if !strings.Contains(found, text) {
			t.Errorf("%s: found\n%s\nwant %s", name, found, text)
		}
	}
	sql := func(text string) { postgrestest.Exec(t, s.DSN, text) }
	run := func(args ...string) string {
		var out, errs bytes.Buffer
		if status := cli.Main(args, strings.NewReader(""), &out, &errs); status != 0 {
			t.Fatal(errs.String())
		}
		return out.String()
	}
	want("no schema", examineFleet(t, section("tester")), "error postgres: the database has no schema")
	run("db", "migrate", "--database-url", s.URL)
	sql("CREATE ROLE gatehouse_node LOGIN PASSWORD 'pw-of-nodes'; CREATE ROLE gatehouse_editor")
	sql(run("db", "rights"))
	found := examineFleet(t, section("gatehouse_node"))
	want("all is well", found, "ok postgres: PostgreSQL ")
	if strings.Contains(found, "error") || strings.Contains(found, "warning") {
		t.Errorf("all is well, and found is\n%s", found)
	}
	for table, right := range map[string]string{
		"permission_table_versions": "SELECT", "revocations": "INSERT", "api_tokens": "SELECT", "service_accounts": "SELECT",
		"api_token_uses": "UPDATE", "subject_roles": "SELECT", "subject_role_changes": "SELECT",
	} {
		sql(fmt.Sprintf("REVOKE %s ON gatehouse.%s FROM gatehouse_node", right, table))
		want("a right is missing", examineFleet(t, section("gatehouse_node")), fmt.Sprintf("the user of the section postgres lacks %s on %s", right, table))
		sql(fmt.Sprintf("GRANT %s ON gatehouse.%s TO gatehouse_node", right, table))
	}
	s.Stop()
	want("stopped", examineFleet(t, section("gatehouse_node")), "error postgres: ")
}
