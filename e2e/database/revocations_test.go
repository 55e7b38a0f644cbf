package database

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/revocations/durable"
	"gatehouse/core/revocation"
	"gatehouse/dev/postgrestest"
)

// revoker is a node that follows the revocations in a database.
type revoker struct {
	*durable.Table
	list *watchedList
	log  *coretest.Log
}

// watchedList tells what it was told.
type watchedList struct {
	*revocation.List
	current atomic.Bool
	lost    atomic.Int64
}

func (l *watchedList) Current() {
	l.List.Current()
	l.current.Store(true)
}

func (l *watchedList) Blind(cause error) {
	l.current.Store(false)
	l.List.Blind(cause)
}

func (l *watchedList) Lost(cause error) {
	l.current.Store(false)
	l.lost.Add(1)
	l.List.Lost(cause)
}

func newRevoker(t *testing.T, s *postgrestest.Server) *revoker {
	t.Helper()
	db, log := connect(t, s, nil)
	list := revocation.New(revocation.Options{Fed: true})
	n := &revoker{
		durable.New(durable.Options{Database: db, Log: slog.New(slog.NewTextHandler(log, nil))}),
		&watchedList{List: list}, log,
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Follow(ctx, n.list)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return n
}

func revoked(subject string) revocation.Event {
	return revocation.Event{ID: "id-" + subject, Kind: revocation.Subject, Value: subject, Source: "test"}
}

func (n *revoker) revoke(t *testing.T, subjects ...string) {
	t.Helper()
	for _, s := range subjects {
		if err := n.Publish(t.Context(), revoked(s)); err != nil {
			t.Fatal(err)
		}
	}
}

func (n *revoker) refuses(subject string) bool {
	_, refused := n.list.Revoked(&core.Principal{Subject: subject, IssuedAt: time.Now().Add(-time.Minute)}, "token")
	return refused
}

// agree waits until all nodes are current and refuse all that was revoked.
func agree(t *testing.T, nodes []*revoker, subjects ...string) {
	t.Helper()
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("node %d is current and refuses %q", i, subjects), func() bool {
			return n.list.current.Load() && !slices.ContainsFunc(subjects, func(s string) bool { return !n.refuses(s) })
		})
	}
}

// attempt runs a statement by itself.
func attempt(t *testing.T, dsn, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	return err
}

func TestDatabaseCarriesRevocationsToEveryNodeAndThoseThatStartLater(t *testing.T) {
	s := migrated(t)
	nodes := []*revoker{newRevoker(t, s), newRevoker(t, s)}
	agree(t, nodes)
	nodes[0].revoke(t, "ada", "bob", "ada")
	agree(t, append(nodes, newRevoker(t, s)), "ada", "bob")
	if n := nodes[1].list.lost.Load(); n != 0 {
		t.Errorf("lost %d times", n)
	}
	if got := nodes[1].list.All(); len(got) != 2 || got[0].Until.Sub(got[0].At) != 24*time.Hour || got[0].At.Before(time.Now().Add(-time.Minute)) {
		t.Errorf("%+v", got)
	}
}

func TestRevokeFailsUnlessTheDatabaseHasCommittedIt(t *testing.T) {
	s := migrated(t)
	n := newRevoker(t, s)
	agree(t, []*revoker{n})
	for name, c := range map[string]struct {
		fail, mend func()
		want       string
	}{
		"stopped": {s.Stop, s.Restart, ""},
		"frozen":  {s.Freeze, s.Thaw, "in time"},
		"full":    {s.Fill, s.Empty, "standby"},
		"no right": {
			func() { postgrestest.Exec(t, s.DSN, "REVOKE INSERT ON gatehouse.revocations FROM gatehouse_node") },
			func() { postgrestest.Exec(t, s.DSN, "GRANT INSERT ON gatehouse.revocations TO gatehouse_node") }, "gatehouse db rights",
		},
	} {
		c.fail()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		if err := n.Publish(ctx, revoked("eve")); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		cancel()
		c.mend()
		eventually(t, name+" is over", func() bool { return n.Publish(t.Context(), revoked(name)) == nil })
		agree(t, []*revoker{n}, name)
	}
}

// A failover to a standby that lags, or a backup that was restored.
func TestTableThatWentBackIsFoundAndCompletedByTheNodes(t *testing.T) {
	for name, goBack := range map[string]string{
		"the last row is gone":          "DELETE FROM gatehouse.revocations WHERE number = (SELECT max(number) FROM gatehouse.revocations)",
		"a row of another id":           "DELETE FROM gatehouse.revocations WHERE id = 'id-cid'; INSERT INTO gatehouse.revocations (number, id, format, kind, value, issuer, verify, at, until, source, reason) VALUES (3, 'other', 1, 'subject', 'other', '', false, now(), now() + interval '1 hour', '', '')",
		"all rows and the numbers gone": "DELETE FROM gatehouse.revocations; SELECT setval('gatehouse.revocation_numbers', 1)",
	} {
		t.Run(name, func(t *testing.T) {
			s := migrated(t)
			nodes := []*revoker{newRevoker(t, s), newRevoker(t, s)}
			agree(t, nodes)
			nodes[0].revoke(t, "ada", "bob", "cid")
			agree(t, nodes, "ada", "bob", "cid")
			postgrestest.Exec(t, s.DSN, "SET session_replication_role = replica; "+goBack)
			s.Disconnect() // as by a failover
			for _, n := range nodes {
				eventually(t, "the loss is found", func() bool { return n.list.lost.Load() == 1 })
			}
			agree(t, nodes, "ada", "bob", "cid")
			eventually(t, "the table is complete again", func() bool {
				fresh := newRevoker(t, s)
				agree(t, []*revoker{fresh})
				return fresh.refuses("ada") && fresh.refuses("bob") && fresh.refuses("cid")
			})
		})
	}
}

func TestRevocationsInTheDatabaseAreNeitherChangedNorRemovedBeforeTheirTime(t *testing.T) {
	s := migrated(t)
	n := newRevoker(t, s)
	agree(t, []*revoker{n})
	n.revoke(t, "ada")
	over := revoked("over")
	over.At, over.Until = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	if err := n.Publish(t.Context(), over); err != nil {
		t.Fatal(err)
	}
	n.revoke(t, "bob")
	owner := strings.Replace(s.DSN, "user=tester", "user=gatehouse_owner", 1)
	for _, statement := range []string{
		"DELETE FROM gatehouse.revocations WHERE id = 'id-ada'",
		"UPDATE gatehouse.revocations SET until = now()",
		"TRUNCATE gatehouse.revocations",
	} {
		if err := attempt(t, owner, statement); err == nil || !strings.Contains(err.Error(), "revocations are never changed") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if err := attempt(t, owner, "DELETE FROM gatehouse.revocations WHERE until < now()"); err != nil {
		t.Error(err)
	}
	agree(t, []*revoker{n, newRevoker(t, s)}, "ada", "bob")
}

// Numbers follow the order of commits, or a reader would miss what is committed late.
func TestRevocationThatIsCommittedLateIsNotMissed(t *testing.T) {
	s := migrated(t)
	n := newRevoker(t, s)
	agree(t, []*revoker{n})
	db, _ := connect(t, s, func(o *postgres.Options) { o.Timeout = 10 * time.Second })
	slow := make(chan error)
	go func() {
		slow <- db.Write(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO gatehouse.revocations (id, format, kind, value, issuer, verify, at, until, source, reason)
				VALUES ('slow', 1, 'subject', 'slow', '', false, now(), now() + interval '1 hour', '', ''); SELECT pg_sleep(0.7)`)
			return err
		})
	}()
	time.Sleep(200 * time.Millisecond)
	n.revoke(t, "quick")
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
	agree(t, []*revoker{n}, "quick", "slow")
}
