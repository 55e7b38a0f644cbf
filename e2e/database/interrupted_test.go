package database

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/fleet/tables"
	"gatehouse/dev/postgrestest"
)

// begun is a push of an editor that has written its version and not committed it.
func begun(t *testing.T, s *postgrestest.Server, name string, number int64) (*pgx.Conn, pgx.Tx) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), strings.Replace(s.DSN, "user=tester", "user=gatehouse_editor", 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO gatehouse.permission_table_versions (name, version, format, digest, file_names, file_texts, base, author, reason, program)
		SELECT name, $2::bigint, format, digest, file_names, ARRAY['public: [GET /open]'::bytea], $2::bigint - 1, 'eve', 'half', 'p' FROM gatehouse.permission_table_versions WHERE name = $1 AND version = 1`, name, number); err != nil {
		t.Fatal(err)
	}
	return conn, tx
}

// Whoever goes away in the middle of a push has pushed nothing, and is in nobody's way.
func TestPushThatIsInterruptedLeavesNothing(t *testing.T) {
	s := migrated(t)
	for i, of := range []struct {
		name string
		end  func(*pgx.Conn, pgx.Tx)
	}{
		{"the client is killed", func(conn *pgx.Conn, _ pgx.Tx) { _ = conn.PgConn().Conn().Close() }},
		{"the client gives up", func(_ *pgx.Conn, tx pgx.Tx) { _ = tx.Rollback(t.Context()) }},
		{"the connection is ended by the server", func(*pgx.Conn, pgx.Tx) { s.Disconnect() }},
		{"the server is killed", func(*pgx.Conn, pgx.Tx) { s.Stop(); s.Restart() }},
	} {
		for _, name := range []string{fmt.Sprint("table", i), tables.ShadowOf(fmt.Sprint("table", i))} {
			store := tables.NewStore(editor(t, s).Times(20))
			first := push(t, store, name, opening("/1"))
			conn, tx := begun(t, s, name, 2)
			if v, err := store.Newest(t.Context(), name, nil); err != nil || v.ID() != first.ID() {
				t.Errorf("%s: what is not committed is read: %+v, %v", of.name, v, err)
			}
			of.end(conn, tx)
			next := push(t, store, name, opening("/2"))
			if all, err := store.History(t.Context(), name, 10); err != nil || len(all) != 2 || all[0].ID() != next.ID() || next.Number != 2 || all[0].Author != "ada" {
				t.Errorf("%s: %+v, %v", of.name, all, err)
			}
		}
	}
}

// A push waits for one that is under way, and loses if that is committed.
func TestPushDuringAnotherOneIsToldWhatCameBetween(t *testing.T) {
	s := migrated(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "t.yaml")
	if err := os.WriteFile(file, []byte(opening("/mine")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, shadow := range []bool{false, true} {
		name, flags := "main", []string{"--name", "main", "--reason", "r", "--author", "ada", "--base"}
		if shadow {
			name, flags = tables.ShadowOf(name), append([]string{"--shadow"}, flags...)
		}
		store := tables.NewStore(editor(t, s))
		push(t, store, name, opening("/1"))
		_, tx := begun(t, s, name, 2)
		var status int
		var stderr string
		var wait sync.WaitGroup
		wait.Go(func() {
			status, _, stderr = gatehouse(t, s, append(append([]string{"push"}, flags...), "1", file)...)
		})
		eventually(t, "the push waits", func() bool {
			return one(t, s, "SELECT count(*)::text FROM pg_locks WHERE NOT granted") != "0"
		})
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait.Wait()
		if status != 1 || !strings.Contains(stderr, "table "+name+" is at version 2, pushed by eve") {
			t.Errorf("%s: status %d: %s", name, status, stderr)
		}
		// A rollback and a push from the same base: one of them wins.
		push(t, store, name, opening("/3"))
		results := make([]int, 2)
		for i, args := range [][]string{append(append([]string{"push"}, flags...), "3", file), append(append([]string{"rollback"}, flags...), "3", "1")} {
			wait.Go(func() { results[i], _, _ = gatehouse(t, s, args...) })
		}
		wait.Wait()
		if results[0]+results[1] != 1 {
			t.Errorf("%s: a push and a rollback at once: %v", name, results)
		}
		if all, err := store.History(t.Context(), name, 10); err != nil || len(all) != 4 {
			t.Errorf("%s: %d versions, %v", name, len(all), err)
		}
	}
}

func one(t *testing.T, s *postgrestest.Server, sql string) (value string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// A version that a newer program wrote is listed, and neither read nor taken for another
// one; an older one can be put in force again over it.
func TestCommandsOnAVersionOfANewerProgram(t *testing.T) {
	s := migrated(t)
	for _, shadow := range []string{"", "--shadow"} {
		name := "main"
		if shadow != "" {
			name = tables.ShadowOf(name)
		}
		run := func(args ...string) (int, string) {
			if shadow != "" {
				args = append(args, shadow)
			}
			status, stdout, stderr := gatehouse(t, s, args...)
			return status, stdout + stderr
		}
		push(t, tables.NewStore(editor(t, s)), name, opening("/1"))
		postgrestest.Exec(t, s.DSN, fmt.Sprintf(`INSERT INTO gatehouse.permission_table_versions (name, version, format, digest, file_names, file_texts, base, author, reason, program, bytes)
			SELECT name, 2, 2, repeat('x', 32)::bytea, file_names, ARRAY['public: [GET /open]'::bytea], 1, 'eve', 'newer', 'v99', 0 FROM gatehouse.permission_table_versions WHERE name = '%s'`, name))
		newer := "it has format 2, written by gatehouse v99, and this program reads format 1 at most; upgrade this program"
		for _, of := range []struct {
			args   []string
			status int
			want   string
		}{
			{[]string{"history"}, 0, "eve (role tester)"},
			{[]string{"diff", "1", "2"}, 2, newer},
			{[]string{"pull", "--into", t.TempDir()}, 2, newer},
			{[]string{"pull", "--version", "1", "--into", t.TempDir()}, 0, "version 1 of table " + name},
			{[]string{"rollback", "--reason", "r", "2"}, 2, newer},
			{[]string{"rollback", "--reason", "r", "--base", "1", "1"}, 1, "is at version 2, pushed by eve"},
			{[]string{"rollback", "--reason", "r", "1"}, 0, "pushed version 3 of table " + name},
		} {
			if status, printed := run(of.args...); status != of.status || !strings.Contains(printed, of.want) {
				t.Errorf("%s %q: status %d: %s", name, of.args, status, printed)
			}
		}
	}
}
