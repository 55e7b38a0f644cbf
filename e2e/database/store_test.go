package database

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/tables"
	"gatehouse/core/permission/tablefile"
	"gatehouse/dev/postgrestest"
)

// editor is a client with the rights of those who push.
func editor(t *testing.T, s *postgrestest.Server) *postgres.Client {
	t.Helper()
	c, _ := connect(t, s, func(o *postgres.Options) { o.User, o.Password = "gatehouse_editor", "change-me-2" })
	return c
}

// push writes the next version of a table.
func push(t *testing.T, store *tables.Store, name, text string) *tables.Version {
	t.Helper()
	base := int64(0)
	if all, err := store.History(context.Background(), name, 1); err != nil {
		t.Fatal(err)
	} else if len(all) > 0 {
		base = all[0].Number
	}
	v, err := store.Push(context.Background(), tables.Version{Name: name, Base: base, Author: "ada", Reason: "test", Program: "test", Files: []tablefile.Text{{Name: "t.yaml", Content: []byte(text)}}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestOfManyPushesAtOnceOneWins(t *testing.T) {
	store := tables.NewStore(editor(t, migrated(t)))
	for base := range int64(3) {
		var all sync.WaitGroup
		results := make([]error, 8)
		for i := range results {
			all.Go(func() {
				_, results[i] = store.Push(t.Context(), tables.Version{
					Name: "main", Base: base, Author: fmt.Sprint("author ", i), Reason: "mine", Program: "test",
					Files: []tablefile.Text{{Name: "t.yaml", Content: fmt.Appendf(nil, "public: [GET /%d]", i)}},
				})
			})
		}
		all.Wait()
		winner := -1
		for i, err := range results {
			var moved *tables.MovedError
			switch {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Errorf("base %d: %d and %d have won", base, winner, i)
			case !errors.As(err, &moved) || moved.Newest == nil || moved.Newest.Number != base+1:
				t.Errorf("base %d: %v", base, err)
			}
		}
		v, err := store.Newest(t.Context(), "main", nil)
		if err != nil || v.Number != base+1 || winner < 0 || v.Author != fmt.Sprint("author ", winner) || string(v.Files[0].Content) != fmt.Sprintf("public: [GET /%d]", winner) {
			t.Errorf("base %d: %d has won, and the newest is %+v: %v", base, winner, v, err)
		}
	}
}

// Neither those who push nor the owner of the schema can change what was.
func TestHistoryCannotBeChanged(t *testing.T) {
	s := migrated(t)
	push(t, tables.NewStore(editor(t, s)), "main", "public: [GET /a]")
	const insert = `INSERT INTO gatehouse.permission_table_versions (name, version, format, digest, file_names, file_texts, base, author, reason, program, db_role, pushed_at, bytes)
		VALUES ('main', %s, 1, repeat('x', 32)::bytea, '{t.yaml}', '{x}', 0, 'a', 'r', 'p', 'gatehouse_owner', '2001-01-01', 0)`
	for _, role := range []string{"gatehouse_editor", "gatehouse_owner"} {
		conn, err := pgx.Connect(t.Context(), "postgres://"+role+"@"+s.Addr+"/gatehouse?sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		for _, sql := range []string{
			"UPDATE gatehouse.permission_table_versions SET reason = 'another'",
			"DELETE FROM gatehouse.permission_table_versions",
			"TRUNCATE gatehouse.permission_table_versions",
			fmt.Sprintf(insert, "1"), fmt.Sprintf(insert, "3"), fmt.Sprintf(insert, "9223372036854775807"), fmt.Sprintf(insert, "-1"),
		} {
			if _, err := conn.Exec(t.Context(), sql); err == nil {
				t.Errorf("%s may: %s", role, sql)
			}
		}
	}
	// Role, time and size of a version are the database's.
	postgrestest.Exec(t, strings.Replace(s.DSN, "user=tester", "user=gatehouse_editor", 1), fmt.Sprintf(insert, "2"))
	all, err := tables.NewStore(editor(t, s)).History(t.Context(), "main", 1)
	if err != nil || all[0].Number != 2 || all[0].Role != "gatehouse_editor" || all[0].At.Year() == 2001 {
		t.Errorf("%+v: %v", all[0], err)
	}
}

// What is not what was pushed, or is of a newer program, is no table, and an error says so.
func TestVersionThatCannotBeUsed(t *testing.T) {
	s := migrated(t)
	store := tables.NewStore(editor(t, s))
	damage := func(sql string) {
		postgrestest.Exec(t, s.DSN, "ALTER TABLE gatehouse.permission_table_versions DISABLE TRIGGER ALL; UPDATE gatehouse.permission_table_versions SET "+sql+"; ALTER TABLE gatehouse.permission_table_versions ENABLE TRIGGER ALL")
	}
	for i, of := range []struct{ sql, want string }{
		{"file_texts = ARRAY['public: [GET /b]'::bytea]", "the files are not those that were pushed: their digest is another one"},
		{"file_names = ARRAY['u.yaml']", "the files are not those that were pushed: their digest is another one"},
		{"file_texts = ARRAY[NULL::bytea]", "the files are not those that were pushed: their digest is another one"},
		{"digest = repeat('x', 32)::bytea", "the files are not those that were pushed: their digest is another one"},
		{"format = 2, program = 'v99'", "it has format 2, written by gatehouse v99, and this program reads format 1 at most; upgrade this program"},
	} {
		name := fmt.Sprint("t", i)
		push(t, store, name, "public: [GET /a]")
		damage(of.sql + " WHERE name = '" + name + "'")
		for _, read := range []func() (*tables.Version, error){
			func() (*tables.Version, error) { return store.Newest(t.Context(), name, nil) },
			func() (*tables.Version, error) { return store.Version(t.Context(), name, 1) },
		} {
			var unreadable *tables.UnreadableError
			if v, err := read(); !errors.As(err, &unreadable) || v != nil || err.Error() != "version 1 of table "+name+" cannot be used: "+of.want {
				t.Errorf("%s: %+v, %v", of.sql, v, err)
			}
		}
	}
}

func TestTableThatIsTooLargeIsNotPushed(t *testing.T) {
	store := tables.NewStore(editor(t, migrated(t)).Times(10))
	file := func(name string, size int) tablefile.Text {
		return tablefile.Text{Name: name, Content: make([]byte, size)}
	}
	for _, of := range []struct {
		name  string
		files []tablefile.Text
		want  string
	}{
		{"the largest", []tablefile.Text{file("a.yaml", tables.MaxSize-1), file("b.yaml", 1)}, ""},
		{"one byte more", []tablefile.Text{file("a.yaml", tables.MaxSize), file("b.yaml", 1)}, "the files have more than 16 MiB; split the table"},
		{"no file", nil, "0 files, want 1 to 1000"},
		{"a path", []tablefile.Text{file("../a.yaml", 1)}, `"../a.yaml" is no name of a file of a table`},
		{"a hidden file", []tablefile.Text{file(".bashrc", 1)}, `".bashrc" is no name of a file of a table`},
	} {
		_, err := store.Push(t.Context(), tables.Version{Name: "main", Author: "a", Reason: "r", Files: of.files})
		if of.want == "" && err != nil || of.want != "" && (err == nil || !strings.HasPrefix(err.Error(), of.want)) {
			t.Errorf("%s: %v", of.name, err)
		}
	}
	if v, err := store.Newest(t.Context(), "main", nil); err != nil || len(v.Files) != 2 {
		t.Errorf("the largest table is not read: %v", err)
	}
}
