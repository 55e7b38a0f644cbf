package database

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/coretest"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/revocations/durable"
	"gatehouse/dev/postgrestest"
	"gatehouse/e2e/revocationtest"
)

// revoker is a node that follows the revocations in a database.
type revoker struct {
	*durable.Table
	list *revocationtest.List
	log  *coretest.Log
}

func newRevoker(t *testing.T, s *postgrestest.Server) *revoker {
	t.Helper()
	db, log := connect(t, s, nil)
	return newRevokerOf(t, db, log)
}

// newRevokerOf is newRevoker with a client.
func newRevokerOf(t *testing.T, db *postgres.Client, log *coretest.Log) *revoker {
	t.Helper()
	n := &revoker{
		durable.New(durable.Options{Database: db, Log: slog.New(slog.NewTextHandler(log, nil))}),
		revocationtest.NewList(0), log,
	}
	revocationtest.Follow(t, n, n.list)
	return n
}

func (n *revoker) revoke(t *testing.T, subjects ...string) {
	t.Helper()
	revocationtest.Revoke(t, n, subjects...)
}

// agree waits until all nodes are current and refuse all that was revoked.
func agree(t *testing.T, nodes []*revoker, subjects ...string) {
	t.Helper()
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("node %d is current and refuses %q", i, subjects), func() bool {
			return n.list.Knows(subjects...)
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
	if n := nodes[1].list.Losses.Load(); n != 0 {
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
		if err := n.Publish(ctx, revocationtest.Event("eve")); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		cancel()
		c.mend()
		eventually(t, name+" is over", func() bool { return n.Publish(t.Context(), revocationtest.Event(name)) == nil })
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
				eventually(t, "the loss is found", func() bool { return n.list.Losses.Load() == 1 })
			}
			agree(t, nodes, "ada", "bob", "cid")
			eventually(t, "the table is complete again", func() bool {
				fresh := newRevoker(t, s)
				agree(t, []*revoker{fresh})
				return fresh.list.Refuses("ada") && fresh.list.Refuses("bob") && fresh.list.Refuses("cid")
			})
		})
	}
}

func TestRevocationsInTheDatabaseAreNeitherChangedNorRemovedBeforeTheirTime(t *testing.T) {
	s := migrated(t)
	n := newRevoker(t, s)
	agree(t, []*revoker{n})
	n.revoke(t, "ada")
	over := revocationtest.Event("over")
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

// A node that cannot tell all that a row revokes keeps what it has, takes what it knows,
// asks anew about cached callers and says so.
func TestRowOfANewerVersionIsSaidAndBreaksNothing(t *testing.T) {
	s := migrated(t)
	nodes := []*revoker{newRevoker(t, s), newRevoker(t, s)}
	agree(t, nodes)
	nodes[0].revoke(t, "ada")
	revoked := []string{"ada"}
	agree(t, nodes, revoked...)
	for name, c := range map[string]struct {
		format         int
		kind, value    string
		revokes, wants string
	}{
		"a newer format":                  {2, "subject", "eve", "eve", "it has the format 2, and this one reads 1"},
		"another kind":                    {1, "device", "phone", "", `the event is of the kind "device"`},
		"another kind, of a newer format": {3, "device", "tablet", "", "newer version: upgrade this node"},
		"a subject without a name":        {2, "subject", "", "", "the event names no subject"},
	} {
		lost := []uint64{nodes[0].Lost.Load(), nodes[1].Lost.Load()}
		at := time.Now()
		postgrestest.Exec(t, s.DSN, fmt.Sprintf(`INSERT INTO gatehouse.revocations (id, format, kind, value, issuer, verify, at, until, source, reason)
			VALUES ('%s', %d, '%s', '%s', '', false, now(), now() + interval '1 hour', '', '')`, name, c.format, c.kind, c.value))
		if c.revokes != "" {
			revoked = append(revoked, c.revokes)
		}
		for i, n := range nodes {
			eventually(t, name+": it is counted", func() bool { return n.Lost.Load() == lost[i]+1 })
			eventually(t, name+": it is said", func() bool {
				return strings.Contains(n.log.String(), "a revocation in PostgreSQL was written by a newer version: upgrade this node") && strings.Contains(strings.ReplaceAll(n.log.String(), `\"`, `"`), c.wants)
			})
			if n.list.Floor().Before(at) {
				t.Errorf("%s: callers that were cached before still count", name)
			}
		}
		nodes[1].revoke(t, "after "+name)
		revoked = append(revoked, "after "+name)
		agree(t, nodes, revoked...)
	}
	late := newRevoker(t, s)
	agree(t, []*revoker{late}, revoked...)
	events, err := late.Events(t.Context())
	if len(events) != len(revoked) || err == nil {
		t.Errorf("the list shows %d events, want %d and that it is not all: %v", len(events), len(revoked), err)
	}
	if got := rowsOf(t, s); got != len(revoked)+3 {
		t.Errorf("the table has %d rows, want %d: rows of newer versions stay, and none is written again", got, len(revoked)+3)
	}
}

// rowsOf is how many revocations the table has.
func rowsOf(t *testing.T, s *postgrestest.Server) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM gatehouse.revocations").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
