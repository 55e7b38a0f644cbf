// Package sqlimport tests the import of permission tables with a real PostgreSQL
// server, which decides what a regex means there.
package sqlimport

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/sqlimport"
	"gatehouse/core/permission/tablefile"
	"gatehouse/dev/postgrestest"
)

// regexes are what people write into url_regex, and what they better had not.
var regexes = []string{
	`^/users$`, `/users`, `^/users`, `users$`, ``, `^/users/[0-9]+$`, `^/a|b$`, `^(/a|/b)$`, `(^/a|b$)`, `^/a$|^/b$`, `a|`, `^/users/.*$`,
	`^/users/*$`, `^/users/+$`, `^/users/?$`, `/{2}`, `^/a/{2}b`, `^/users/{id}$`, `^/users/:id$`, `^/files/[^/]+\.(png|jpg)$`, `^/v[12]/x{2,3}?$`,
	`(?i)^/users$`, `(?i)/a|/b`, `^/\d+/\w*$`, `^/[\w.-]+$`, `^/[[:alpha:]]+$`, `^/[]x]$`, `^/[^]x]$`, `^/[a[]$`, `^/a\$$`, `^/a\\$`, `^/a[$]$`, `^/a\.b$`, `^/é+$`,
	`\A/users\Z`, `^/a.*b$`, `^/(?:a|b)+/c$`, `^/a{3}$`, `^/a{2,}$`, `^/a??b$`, `^/[a-c]-[+--]$`, `^/a/b/?`, `^/((a)|(b))?c$`, `^.$`, `/$`, `^`, `$`, `^$`, `^/a(b|)c$`, `}`,
	`^/[\]\-\\]+$`, `^/[\d/]+$`, `^/a\/b$`, `^/[/]+a$`,
	// Not known to mean the same, or nothing at all.
	`^/users/(?!admin)[^/]+$`, `^/(a)\1$`, `\musers`, `\yusers`, `***=/users`, `(?n)^/users`, `^/[[.a.]]$`, `^/\x61$`, `^/(?<id>x)$`, `^/a**`, `*a`, `(a`, `a)`, `[a`, `\`, `^users$`, `^/[[:<:]]a$`, `\Qa`,
}

var paths = []string{
	"/", "/a", "/b", "/ab", "/c", "/ac", "/bc", "/abc", "/A", "/users", "/users/", "/users/7", "/users/x", "/users/admin", "/Users", "/x/users", "/users/7/x", "/x/users/7", "/usersx",
	"/users/{id}", "/users/:id", "/files/a.png", "/files/apng", "/files/a/b.jpg", "/v1/xx", "/v1/xxx", "/v1/xxxx", "/12/ab", "/12/", "/a.b", "/a-b", "/]", "/x", "/[", "/a$", "/a[$]", "/aXb",
	"/é", "/éé", "/e", "/a/b", "/a/b/", "/a/b/c", "/b/c", "/ab/c", "/aa", "/aaa", "/aaaa", "/a-+", "/b--", "/a/c", "/{", "/}", "/-", "/]-", "/1/2", "/id", "/a*", "/é/7",
}

// TestImportedRegexCoversWhatPostgresCovers imports every regex as an activity of
// a permission of its own and compares its matches with a real server's.
func TestImportedRegexCoversWhatPostgresCovers(t *testing.T) {
	dsn := postgrestest.Start(t)
	postgrestest.Exec(t, dsn, schema)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	converted := 0
	for i, imported := range importRegexes(t, conn) {
		if imported == nil {
			continue
		}
		converted++
		are := regexes[i]
		re2 := regexp.MustCompile(`\A(?:` + imported.path + `)\z`)
		for _, p := range paths {
			var want bool
			if err := conn.QueryRow(ctx, "SELECT $1 ~ $2", p, are).Scan(&want); err != nil {
				t.Errorf("%q became %q, and PostgreSQL refuses it: %v", are, imported.path, err)
				break
			}
			if got := re2.MatchString(p); got != want && !(imported.asciiOnly && strings.Contains(p, "é")) {
				t.Errorf("%q became %q: %q gives %v, in PostgreSQL %v", are, imported.path, p, got, want)
			}
		}
	}
	if converted < 50 {
		t.Errorf("%d regexes were converted, want 50 at least", converted)
	}
}

// imported is a regex that became the path of an activity.
type imported struct {
	path string
	// asciiOnly: a note announces that \w and its like match ASCII only.
	asciiOnly bool
}

// importRegexes imports the regexes; nil stands for one that is left out.
func importRegexes(t *testing.T, conn *pgx.Conn) []*imported {
	t.Helper()
	ctx := context.Background()
	for i, are := range regexes {
		for sql, args := range map[string][]any{
			"INSERT INTO permissions (id, name) VALUES ($1, $2)":                    {i, fmt.Sprintf("p%d", i)},
			"INSERT INTO activities (id, method, url_regex) VALUES ($1, 'GET', $2)": {i, are},
			"INSERT INTO permission_activities VALUES ($1, $1)":                     {i},
		} {
			if _, err := conn.Exec(ctx, sql, args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	table, err := sqlimport.Import(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]*imported, len(regexes))
	for i := range regexes {
		for _, activity := range table.Permission(fmt.Sprintf("p%d", i)).Activities {
			list[i] = &imported{path: activity.Path}
		}
	}
	for _, note := range table.Notes {
		var i int
		if _, err := fmt.Sscanf(note, "activity %d ", &i); err != nil {
			t.Fatalf("note %q: %v", note, err)
		}
		if list[i] == nil {
			t.Log(note)
		} else if strings.Contains(note, "ASCII only") {
			list[i].asciiOnly = true
		}
	}
	return list
}

const schema = `
CREATE TABLE permissions (id serial PRIMARY KEY, name text, description text);
CREATE TABLE activities (id serial PRIMARY KEY, method varchar(20), url_regex text);
CREATE TABLE permission_activities (permission_id int, activity_id int);
CREATE TABLE roles (id serial PRIMARY KEY, name text);
CREATE TABLE role_permissions (role_id int, permission_id int);
`

func TestImport(t *testing.T) {
	dsn := postgrestest.Start(t)
	t.Run("missing tables", func(t *testing.T) { testMissingTables(t, dsn) })
	postgrestest.Exec(t, dsn, schema+`
INSERT INTO permissions (name, description) VALUES ('users:read', 'See users'), ('users write', NULL), ('users:read', 'again'), (NULL, E'no name\n# at all'), ('idle', '');
INSERT INTO activities (method, url_regex) VALUES
  ('GET', '^/users$'), ('HEAD', '^/users$'), ('get', '^/users/[0-9]+$'), ('POST,PUT', '/users'), ('*', '^/(a)\1$'), ('GET', '(('), ('', '^/none$'), ('DELETE', '^/orphan$'), ('GET', '^/a b$');
INSERT INTO permission_activities VALUES (1, 1), (1, 2), (1, 3), (1, 3), (2, 4), (2, 5), (2, 6), (2, 7), (4, 9), (3, 1), (1, 99);
INSERT INTO roles (name) VALUES ('clerk'), ('nobody'), (NULL);
INSERT INTO role_permissions VALUES (1, 1), (1, 1), (1, 2), (3, 1), (1, 77);
`)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	table, err := sqlimport.Import(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	text, err := table.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(text); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	file, err := tablefile.Parse("table", text)
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	for call, allowed := range map[string]bool{"GET /users": true, "HEAD /users": true, "GET /users/7": true, "GET /users/x": false, "POST /x/users/y": true, "DELETE /orphan": false, "GET /none": false} {
		method, path, _ := strings.Cut(call, " ")
		c := &core.Call{Request: &core.Request{Method: method, Target: path, Host: "h"}, Path: path}
		access := compiled.Match(context.Background(), c)
		if got := access != nil && access.Allows(context.Background(), c, &core.Principal{Roles: []string{"clerk"}, Kind: core.KindJWT}) == nil; got != allowed {
			t.Errorf("%s: allowed %v, want %v", call, got, allowed)
		}
		if access != nil && access.Allows(context.Background(), c, &core.Principal{Scopes: []string{"users:read"}, Kind: core.KindJWT}) == nil {
			t.Errorf("%s: a scope opens it, and the database knew no scopes", call)
		}
	}
}

const want = `# A starting table, made from the tables permissions and activities of a database.
#
# To be looked at before this table is used:
# - permission 2: the name "users write" cannot be one here (RFC 6749 section 3.3, no comma); it became users-write
# - permission 3: the name "users:read" is that of permission 1 too; it became users:read-3
# - permission 4: the name "" cannot be one here (RFC 6749 section 3.3, no comma); it became permission-4
# - permission_activities: permission 1 or activity 99 does not exist; the row is left out
# - activity 4 (POST,PUT "/users"): it is tied to neither end, and finds its match anywhere in a path
# - activity 5 (* "^/(a)\\1$") is left out: \1 means something else in RE2, or nothing
# - activity 6 (GET "((") is left out: PostgreSQL itself refuses the regex: invalid regular expression: parentheses () not balanced
# - activity 7 ( "^/none$") is left out: it has no method
# - activity 8 (DELETE "^/orphan$") belongs to no permission and is left out
# - role 3 has no name and is left out
# - role_permissions: role 1 or permission 77 does not exist; the row is left out
# - role_permissions: role 3 or permission 1 does not exist; the row is left out

permissions:
  idle:
    activities: []
  users-write:
    activities:
      # activity 4: "/users"
      - POST,PUT .*/users.*
  users:read:
    description: See users
    activities:
      # activity 1: "^/users$"
      # activity 2: "^/users$"
      - GET,HEAD /users
      # activity 3: "^/users/[0-9]+$"
      - GET /users/[0-9]+
  users:read-3:
    description: again
    activities:
      # activity 1: "^/users$"
      - GET /users
  permission-4:
    description: "no name\n# at all"
    activities:
      # activity 9: "^/a b$"
      - methods: [GET]
        path: /a b
implicit_scopes: false
roles:
  clerk: ['users:read', users-write]
  nobody: []
`

func testMissingTables(t *testing.T, dsn string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn+" search_path=bare")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	_, err = sqlimport.Import(ctx, conn)
	if want := "the database has no table permissions with the columns id, name; choose the schema with search_path in the connection string"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	postgrestest.Exec(t, dsn, "CREATE SCHEMA bare; CREATE TABLE bare.permissions (id int, name text); CREATE TABLE bare.activities (id int, path text)")
	if _, err = sqlimport.Import(ctx, conn); err == nil || !strings.Contains(err.Error(), "activities with the columns id, method, url_regex") {
		t.Errorf("error %v", err)
	}
}
