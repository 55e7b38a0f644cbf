package postgrestest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// attempt runs a statement on a connection of its own by TCP.
func attempt(s *Server, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(ctx, sql)
	return err
}

func code(err error) string {
	var of *pgconn.PgError
	if errors.As(err, &of) {
		return of.Code
	}
	return ""
}

func TestServerFailsAsServersDo(t *testing.T) {
	s := StartServer(t, "-c", "max_connections=10")
	must := func(sql string) {
		t.Helper()
		if err := attempt(s, sql); err != nil {
			t.Fatal(err)
		}
	}
	must("CREATE TABLE kept (n int)")
	open, err := pgx.Connect(t.Context(), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close(context.Background())

	s.Fill()
	for what, err := range map[string]error{"a new connection": attempt(s, "INSERT INTO kept VALUES (1)"), "an open connection": func() error {
		_, err := open.Exec(t.Context(), "INSERT INTO kept VALUES (1)")
		return err
	}()} {
		if code(err) != "25006" {
			t.Errorf("full, %s: %v", what, err)
		}
	}
	s.Empty()
	must("INSERT INTO kept VALUES (1)")

	free := s.Occupy()
	if err := attempt(s, "SELECT 1"); code(err) != "53300" {
		t.Errorf("occupied: %v", err)
	}
	free()

	s.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	if _, err := open.Exec(ctx, "SELECT 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("frozen, an open connection: %v", err)
	}
	cancel()
	if err := attempt(s, "SELECT 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("frozen, a new connection: %v", err)
	}
	s.Thaw()
	must("SELECT * FROM kept")

	s.Admit("scram-sha-256")
	if err := attempt(s, "SELECT 1"); err == nil {
		t.Error("who has no password is admitted")
	}
	Exec(t, s.DSN, "ALTER USER tester PASSWORD 'pw'")
	with := *s
	with.URL = strings.Replace(s.URL, "tester@", "tester:wrong@", 1)
	if err := attempt(&with, "SELECT 1"); code(err) != "28P01" {
		t.Errorf("a wrong password: %v", err)
	}
	s.Admit("trust")

	s.Stop()
	if err := attempt(s, "SELECT 1"); err == nil {
		t.Error("it responds although it was stopped")
	}
	s.Restart()
	must("INSERT INTO kept SELECT 1 / count(*) FROM kept") // what was committed is there
}
