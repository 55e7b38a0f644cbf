package postgrestest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// StartStandby starts a server that follows another one (streaming replication), with the
// same databases and roles.
func StartStandby(t testing.TB, primary *Server) *Server {
	t.Helper()
	s := prepare(t, primary.address, primary.args...)
	s.run("pg_basebackup", "-D", s.data(), "-d", primary.DSN, "-R", "--checkpoint=fast", "--no-sync")
	s.begin()
	return s
}

// Follows waits until a standby has everything that its primary has committed.
func (s *Server) Follows(primary *Server) {
	s.t.Helper()
	position := s.one(primary.DSN, "SELECT pg_current_wal_lsn()::text")
	for range 500 {
		if s.one(s.DSN, "SELECT (pg_last_wal_replay_lsn() >= '"+position+"')::text") == "true" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatal("the standby does not follow")
}

// Promote makes a primary of a standby.
func (s *Server) Promote() {
	s.t.Helper()
	if s.one(s.DSN, "SELECT pg_promote(true, 60)::text") != "true" {
		s.t.Fatal("the standby is not promoted")
	}
}

// one returns the one value of a query.
func (s *Server) one(dsn, sql string) (value string) {
	s.t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	check(s.t, err)
	defer conn.Close(context.Background())
	check(s.t, conn.QueryRow(context.Background(), sql).Scan(&value))
	return value
}
