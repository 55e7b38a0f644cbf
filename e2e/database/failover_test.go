package database

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gatehouse/core/config/fleet"
	"gatehouse/core/coretest"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/subjects"
	"gatehouse/core/fleet/tables"
	"gatehouse/dev/postgrestest"
	"gatehouse/e2e/revocationtest"
)

// urlOf is a connection of an editor to whichever of the servers is the primary.
func urlOf(servers ...*postgrestest.Server) string {
	var places []string
	for _, s := range servers {
		places = append(places, s.Addr)
	}
	return "postgres://gatehouse_editor@" + strings.Join(places, ",") + "/gatehouse?sslmode=disable&target_session_attrs=read-write&connect_timeout=1"
}

// opened makes a client for the time of the test.
func opened(t *testing.T, o postgres.Options) *postgres.Client {
	t.Helper()
	c, err := postgres.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// A standby is promoted, and nodes follow it: the table, what is pushed there, what it
// tells of, and what was revoked. What is away, frozen or a standby now is passed over.
func TestNodesFollowAStandbyThatIsPromoted(t *testing.T) {
	for _, of := range []struct {
		name string
		fail func(*postgrestest.Server)
		// polling: the connection that listens is tried after half a minute only.
		polling string
	}{
		{"stopped", (*postgrestest.Server).Stop, "# no polling"},
		{"frozen", (*postgrestest.Server).Freeze, ""},
	} {
		t.Run(of.name, func(t *testing.T) {
			first := migrated(t)
			second := postgrestest.StartStandby(t, first)
			n := startNodeWith(t, first, "standby_hosts: ['"+second.Addr+"'], password: change-me-3", named+of.polling)
			before := push(t, tables.NewStore(editor(t, first)), "main", opening("/1"))
			eventually(t, "the first table is in force", func() bool { return n.opens("/1") })
			r := newRevokerOf(t, opened(t, section(t, first, func(p *fleet.Postgres) { p.SSL, p.StandbyHosts = false, []string{second.Addr} })), &coretest.Log{})
			agree(t, []*revoker{r})
			second.Follows(first)

			of.fail(first)
			if !n.opens("/1") {
				t.Error("the last good table is not in force")
			}
			second.Promote()
			client := opened(t, postgres.Options{Connection: postgres.Connection{URL: urlOf(first, second)}, Timeout: 20 * time.Second})
			v := push(t, tables.NewStore(client), "main", opening("/2"))
			if v.Number != before.Number+1 {
				t.Errorf("version %d after %d", v.Number, before.Number)
			}
			// What was pushed while a node did not listen, it finds when it listens again.
			eventually(t, "the table of the new primary is in force", func() bool { return n.opens("/2") && !n.opens("/1") })
			push(t, tables.NewStore(client), "main", opening("/3"))
			eventually(t, "the next version is in force", func() bool { return n.opens("/3") })
			eventually(t, "a revocation is taken", func() bool { return r.Publish(t.Context(), revocationtest.Event("ada")) == nil })
			agree(t, []*revoker{r}, "ada")
			if t.Failed() {
				t.Log(n.log)
			}
		})
	}
}

// A standby alone is refused, unless nodes are told to read from one.
func TestStandbyIsReadFromOnlyWhereTheSettingsSaySo(t *testing.T) {
	primary := migrated(t)
	push(t, tables.NewStore(editor(t, primary)), "main", opening("/1"))
	standby := postgrestest.StartStandby(t, primary)
	standby.Follows(primary)
	n := startNode(t, standby, named)
	if n.opens("/1") || !strings.Contains(n.log.String(), "server is in standby mode") || !strings.Contains(n.log.String(), "name the primary in postgres.host or postgres.standby_hosts, or set postgres.target_session_attrs") {
		t.Error(n.log)
	}
	reads := startNodeWith(t, standby, "password: change-me-3, target_session_attrs: any", named)
	if !reads.opens("/1") {
		t.Error(reads.log)
	}
	push(t, tables.NewStore(editor(t, primary)), "main", opening("/2"))
	eventually(t, "the standby is followed by asking", func() bool { return reads.opens("/2") })
	if status, _, stderr := gatehouse(t, &postgrestest.Server{URL: strings.Replace(primary.URL, primary.Addr, standby.Addr, 1)}, "roles", "set", "ada", "--issuer", "x", "--role", "a", "--reason", "r"); status == 0 || !strings.Contains(stderr, "name the primary") {
		t.Errorf("%d: %s", status, stderr)
	}
}

// The whole database behind PgBouncer, which gives each transaction another connection.
func TestPoolerThatPassesNoNotificationsOnIsSaidAndPollingTakesOver(t *testing.T) {
	s := migrated(t)
	if _, err := exec.LookPath("pgbouncer"); err != nil {
		if _, err := exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			t.Fatal("no PgBouncer found; apt-get install pgbouncer, or set " + postgrestest.Skip + "=1")
		}
	}
	const warning = "passes no notifications on; let nodes connect to the server or to a pool in session mode, or lower postgres.poll_interval"
	for _, mode := range []string{"transaction", "session"} {
		by := postgrestest.StartBouncer(t, s, mode)
		direct := tables.NewStore(editor(t, s))
		name := "table-" + mode
		settings := "permission_table_name: " + name + "\n"
		if mode == "session" {
			settings += "# no polling"
		}
		push(t, direct, name, opening("/0"))
		n := startNode(t, by, settings)
		for i := range 5 {
			push(t, direct, name, opening(fmt.Sprint("/", i+1)))
			eventually(t, mode+": a version is in force", func() bool { return n.opens(fmt.Sprint("/", i+1)) && !n.opens(fmt.Sprint("/", i)) })
		}
		if mode == "transaction" {
			eventually(t, "the log names the pooler", func() bool { return strings.Contains(n.log.String(), warning) })
		} else if strings.Contains(n.log.String(), "pooler") {
			t.Errorf("%s: %s", mode, n.log)
		}
		// The same statements again and again, on other connections each time.
		pushed := push(t, tables.NewStore(editor(t, by)), name, opening("/7"))
		eventually(t, mode+": what is pushed by the pooler is in force", func() bool { return n.version() == pushed.ID() })
		setRoles(t, &postgrestest.Server{URL: strings.Replace(s.URL, s.Addr, by.Addr, 1)}, "ada", mode)
		store := roleStore(t, by, func(o *subjects.StoreOptions) { o.Poll = 100 * time.Millisecond })
		eventually(t, mode+": roles are read", func() bool { return rolesNow(t, store, ada) == mode })
		r := newRevoker(t, by)
		r.revoke(t, "by-"+mode)
		agree(t, []*revoker{r}, "by-"+mode)
		s.Disconnect()
		next := push(t, tables.NewStore(editor(t, s)), name, opening("/8"))
		eventually(t, mode+": connections that the server ended are replaced", func() bool { return n.version() == next.ID() })
		if t.Failed() {
			t.Log(n.log)
		}
	}
}
