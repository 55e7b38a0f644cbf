package forwardauth

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/dev/postgrestest"
	"gatehouse/dev/redistest"
	"gatehouse/e2e/vector"
)

// Soak is the environment variable with the time for which TestTwoGatewaysOneFleet
// repeats its faults, such as 30m. Without it each fault comes once.
const Soak = "GATEHOUSE_FLEET_SOAK"

// tally is what the nodes of a fleet did wrong, counted.
type tally struct {
	mu       sync.Mutex
	requests int
	wrong    map[mistake]int
	said     []string
}

// mistake is a way in which a node can be wrong.
type mistake string

const (
	right     mistake = ""
	forbidden mistake = "forbidden requests that reached an upstream"
	identity  mistake = "wrong identities" // another one than the caller's reached the upstream
	mixed     mistake = "table versions mixed in one decision"
	outage    mistake = "5xx that no document allows"
	other     mistake = "other differences"
)

const saidAtMost = 8 // of each

// count adds a request, and what is wrong with what came of it.
func (c *tally) count(is mistake, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	if is == right {
		return
	}
	if c.wrong == nil {
		c.wrong = map[mistake]int{}
	}
	if c.wrong[is]++; c.wrong[is] <= saidAtMost {
		c.said = append(c.said, string(is)+": "+fmt.Sprintf(format, args...))
	}
}

// countVector adds what came of a vector that should have been admitted, or not.
func (c *tally) countVector(admit bool, o outcome) {
	is := right
	switch {
	case !admit && o.arrived > 0:
		is = forbidden
	case o.arrived > 0 && slices.ContainsFunc(o.problems, func(p string) bool { return strings.Contains(p, "the upstream received") }):
		is = identity
	case len(o.problems) > 0 && o.status >= 500:
		is = outage
	case len(o.problems) > 0:
		is = other
	}
	c.count(is, "%s: %s", o.where, strings.Join(o.problems, "; "))
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf("%d requests", c.requests)
	for _, m := range []mistake{forbidden, identity, mixed, outage, other} {
		text += fmt.Sprintf("; %s: %d", m, c.wrong[m])
	}
	return text
}

// fault is what happens to a fleet.
type fault struct {
	name string
	// away is what nodes do not reach meanwhile, as the documentation's table has it.
	away string
	// strike and mend; without mend nothing is to be done. The vectors pass at least
	// once in between.
	strike, mend func(t *testing.T, f *fleetEnvironment)
	// lasts tells whether more is to come of it; nil: no.
	lasts func(f *fleetEnvironment) bool
}

// promoting lasts until the sentinels name another master.
func promoting(f *fleetEnvironment) bool { return f.redis.Master() == f.former }

func faults() []fault {
	type env = *fleetEnvironment
	return []fault{
		{name: "nothing", strike: func(*testing.T, env) {}},
		{"PostgreSQL is stopped, and starts again", database, func(_ *testing.T, f env) { f.postgres.Stop() }, func(_ *testing.T, f env) { f.postgres.Restart() }, nil},
		{"the master of Redis is killed, and the sentinels promote the replica", "", func(_ *testing.T, f env) {
			f.former = f.redis.Master()
			f.former.Stop()
		}, func(_ *testing.T, f env) { f.former.Restart() }, promoting},
		{"PostgreSQL is frozen", database, func(_ *testing.T, f env) { f.postgres.Freeze() }, func(_ *testing.T, f env) { f.postgres.Thaw() }, nil},
		{"PostgreSQL is restarted", database, func(_ *testing.T, f env) { f.postgres.Stop(); f.postgres.Restart() }, nil, nil},
		{"PostgreSQL is full", "", func(_ *testing.T, f env) { f.postgres.Fill() }, func(_ *testing.T, f env) { f.postgres.Empty() }, nil},
		{"PostgreSQL has no connection left", database, func(_ *testing.T, f env) {
			f.postgres.Disconnect()
			f.free = f.postgres.Occupy()
		}, func(_ *testing.T, f env) { f.free() }, nil},
		{"the network of a node of each kind is cut from Redis and PostgreSQL", both, func(_ *testing.T, f env) { f.network.Cut() }, func(_ *testing.T, f env) { f.network.Mend() }, nil},
		{"Redis is full", "", func(_ *testing.T, f env) { f.redis.Master().Fill() }, func(_ *testing.T, f env) { f.redis.Master().Empty() }, nil},
		{"Redis is flushed", "", func(_ *testing.T, f env) { f.redis.Master().Do("FLUSHALL") }, nil, nil},
		{"the master of Redis is frozen, and the sentinels promote the replica", "", func(_ *testing.T, f env) {
			f.redis.AwaitReplica()
			f.former = f.redis.Master()
			f.former.Freeze()
		}, func(_ *testing.T, f env) { f.former.Thaw() }, promoting},
		{"every Redis is frozen", "Redis", func(_ *testing.T, f env) {
			f.redis.AwaitReplica()
			f.eachRedis((*redistest.Server).Freeze)
		}, func(_ *testing.T, f env) { f.eachRedis((*redistest.Server).Thaw) }, nil},
		{"every Redis is stopped, and PostgreSQL, too", both, func(_ *testing.T, f env) {
			f.eachRedis((*redistest.Server).Stop)
			f.postgres.Stop()
		}, func(_ *testing.T, f env) {
			f.redis.Master().Restart()
			f.eachRedis(func(s *redistest.Server) {
				if s != f.redis.Master() {
					s.Restart()
				}
			})
			f.postgres.Restart()
		}, nil},
		{"PostgreSQL is stopped for good, and its standby promoted", database, func(t *testing.T, f env) {
			if f.standby == nil {
				return // once is all that a standby can do
			}
			// What is acknowledged from now on is on the standby, too.
			postgrestest.Exec(t, f.postgres.DSN, "ALTER SYSTEM SET synchronous_standby_names = '*'")
			postgrestest.Exec(t, f.postgres.DSN, "SELECT pg_reload_conf()")
			f.standby.Follows(f.postgres)
			f.postgres.Stop()
			f.standby.Promote()
			f.postgres, f.standby = f.standby, nil
			f.shared.at(f.postgres.Addr)
		}, nil, nil},
	}
}

func (f *fleetEnvironment) eachRedis(do func(*redistest.Server)) {
	for _, s := range f.redis.Servers {
		do(s)
	}
}

// TestTwoGatewaysOneFleet: nodes of Kong, of APISIX and of forward-auth share a Redis
// with sentinels and a PostgreSQL: results, revocations, permission tables, API tokens and
// roles. What happens to those makes no node open, down, or wrong: the shared vectors pass
// on each one meanwhile, every decision is of one table, what was revoked stays so, and
// 503 comes only where the documentation says.
func TestTwoGatewaysOneFleet(t *testing.T) {
	f := startFleet(t)
	suite, err := vector.Load(os.DirFS("../vectors"))
	if err != nil {
		t.Fatal(err)
	}
	known := differences(t, suite)
	var soak time.Duration
	if text := os.Getenv(Soak); text != "" {
		if soak, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", Soak, err)
		}
	}
	w, all := newWatched(t, f), &tally{}
	for _, n := range f.nodes {
		f.begin(t, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	stop := func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(stop)
	for _, n := range f.nodes {
		running.Go(func() { w.follow(ctx, n, all) })
	}
	running.Go(func() { f.shared.keepPushing(ctx) })
	for i, end := 0, time.Now().Add(soak); ; {
		for _, fault := range faults() {
			f.suffer(t, fault, suite, known, w, all, fmt.Sprint(i))
			i++
		}
		if time.Now().After(end) {
			break
		}
	}
	stop()
	f.compareWithUpstreams(t, all)
	t.Logf("%s; versions of the table: %d; revoked credentials, none of which passes: %d", all, f.shared.newest(), len(w.revoked))
	for row, n := range w.seen {
		t.Logf("503 while %s is away, for %s: %d", row[0], row[1], n)
	}
	for row := range w.documented {
		if w.seen[row] == 0 {
			t.Errorf("docs/operations.md says that %s gets 503 while %s is away: none did", row[1], row[0])
		}
	}
	if len(all.wrong) > 0 {
		t.Errorf("%s:\n%s", all, strings.Join(all.said, "\n"))
	}
	t.Run("the counters count", func(t *testing.T) { f.testCounters(t, suite, known, w) })
}

// begin waits until a node has what is shared.
func (f *fleetEnvironment) begin(t *testing.T, n *fleetNode) {
	t.Helper()
	eventually(t, n.name+" has the table of the database", func() bool {
		response, err := n.ask(t.Context(), pathOfTable, "editor-ada-watched")
		return err == nil && response.Status == http.StatusOK
	})
	eventually(t, n.name+" knows what is revoked", func() bool { return n.status(t, pathOfAll, f.shared.jwt("joe")) == http.StatusOK })
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// suffer goes through a fault: the vectors pass, and credentials are revoked meanwhile, and
// afterwards the nodes agree again.
func (f *fleetEnvironment) suffer(t *testing.T, fault fault, suite *vector.Suite, known map[[2]string]difference, w *watched, all *tally, name string) {
	t.Helper()
	v := f.shared.newVictims(name)
	f.shared.setClerk("new"+name, true)
	fresh := f.shared.newToken()
	for _, n := range f.nodes { // each node knows them, and would go on for an hour
		for _, token := range v.tokens {
			n.must(t, http.StatusOK, pathOfAll, token)
		}
	}
	start := time.Now()
	w.setAway(fault.away)
	fault.strike(t, f)
	acknowledged := make(chan time.Time, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if f.shared.publish(ctx, f, v.events...) == nil {
				acknowledged <- time.Now()
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		close(acknowledged)
	}()
	// Nobody has seen these before.
	for _, n := range f.nodes {
		w.judge(t.Context(), n, all, probe{apiToken, pathOfClerk, fresh, http.StatusOK, "service-account:nightly"})
		w.judge(t.Context(), n, all, probe{newcomer, pathOfClerk, "none-new" + name + "-" + n.name, http.StatusOK, "new" + name})
	}
	passes, last := 0, false
	for ; !last; passes++ { // the last one begins after all has come
		last = fault.lasts == nil || !fault.lasts(f)
		if time.Since(start) > time.Minute {
			t.Fatalf("%s: lasts a minute and longer", fault.name)
		}
		f.pass(t.Context(), suite, known, all, f.nodes...)
	}
	if fault.away == both && f.postgres.Stopped() {
		f.startAlone(t, suite, known, w, all, name)
	}
	took := time.Since(start)
	if fault.mend != nil {
		fault.mend(t, f)
	}
	mended := time.Now()
	at, ok := <-acknowledged
	if !ok {
		t.Fatalf("%s: no revocation is acknowledged", fault.name)
	}
	if at.Before(mended) {
		at = mended
	}
	revoked := f.agreeOn(t, at, "refuses what was revoked", func(n *fleetNode) bool {
		return !slices.ContainsFunc(v.tokens, func(token string) bool { return n.status(t, pathOfAll, token) != http.StatusUnauthorized })
	})
	w.revoke(v.tokens)
	for f.shared.pushNext(t.Context()) != nil && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	version, pushed := f.shared.newest(), time.Now()
	table := f.agreeOn(t, pushed, "has the newest table", func(n *fleetNode) bool {
		response, err := n.ask(t.Context(), pathOfTable, "editor-ada-watched")
		seen, ok := versionSeen(response)
		return err == nil && ok && seen >= version
	})
	f.shared.setClerk("new"+name, false)
	changed := time.Now()
	role := f.agreeOn(t, changed, "knows the changed role", func(n *fleetNode) bool {
		return n.status(t, pathOfClerk, "none-new"+name+"-"+n.name) == http.StatusForbidden
	})
	shared := f.agree(t)
	w.setAway("")
	t.Logf("%s: the vectors %d times on %d nodes in %v; all nodes agree on revocations %v after the fault and the acknowledgement, on a table %v after a push, on a role %v after its change, on a result %v later",
		fault.name, passes, len(f.nodes), took.Round(time.Millisecond), revoked, table, role, shared.Round(time.Millisecond))
}

// startAlone starts nodes while nothing of what they share is there: with the folder that
// a node has left behind, and with a copy of it, they go on; one that has nothing responds 503.
func (f *fleetEnvironment) startAlone(t *testing.T, suite *vector.Suite, known map[[2]string]difference, w *watched, all *tally, name string) {
	t.Helper()
	own, copied := f.nodes[0].state, filepath.Join(t.TempDir(), "state")
	if err := os.CopyFS(copied, os.DirFS(own)); err != nil {
		t.Fatal(err)
	}
	for kind, state := range map[string]string{"own": own, "heir": copied} {
		n := f.startKong(t, kind+"-"+name, false, func(config map[string]any) { config["state_dir"] = state })
		f.pass(t.Context(), suite, known, all, n)
		for _, token := range w.everRevoked() {
			if got := n.status(t, pathOfAll, token); got != http.StatusUnauthorized && got != http.StatusServiceUnavailable {
				t.Errorf("%s: a revoked credential has status %d", n.name, got)
			}
		}
		n.must(t, http.StatusForbidden, "/fleet/unknown", f.shared.jwt("joe"))
	}
	empty := f.startKong(t, "empty-"+name, false, nil)
	for _, path := range []string{pathOfAll, pathOfTable} {
		empty.must(t, http.StatusServiceUnavailable, path, f.shared.jwt("joe"))
	}
	if got := empty.status(t, "/hello/public", ""); got < 400 {
		t.Errorf("%s: a path that is public in a table that the node does not have: status %d", empty.name, got)
	}
}

// agreeOn waits until something holds on every node, and returns how long that takes.
func (f *fleetEnvironment) agreeOn(t *testing.T, since time.Time, what string, holds func(*fleetNode) bool) time.Duration {
	t.Helper()
	for _, n := range f.nodes {
		eventually(t, n.name+" "+what, func() bool { return holds(n) })
	}
	return time.Since(since).Round(time.Millisecond)
}

// compareWithUpstreams counts what arrived at an upstream and what no client was told of.
func (f *fleetEnvironment) compareWithUpstreams(t *testing.T, all *tally) {
	for _, n := range f.nodes {
		for _, r := range n.watched.Received() {
			token := strings.TrimPrefix(strings.Join(r.Values("Authorization"), "|"), "Bearer ")
			if r.Target == pathOfTable && strings.HasPrefix(token, "guest") || token == "forged" {
				all.count(forbidden, "%s: the upstream received %s", n.name, token)
			}
		}
	}
}

// testCounters shows that each counter finds what it counts.
func (f *fleetEnvironment) testCounters(t *testing.T, suite *vector.Suite, known map[[2]string]difference, w *watched) {
	forgetful, astray, lame := f.startKong(t, "forgetful", false, func(config map[string]any) {
		delete(config, "revocation")
	}), f.startKong(t, "astray", false, func(config map[string]any) {
		config["upstream_headers"] = map[string]any{"X-User-Id": "kind", "X-User-Email": "sub"}
	}), f.startKong(t, "lame", false, func(config map[string]any) {
		config["postgres"] = map[string]any{"host": "127.0.0.1", "port": 1, "user": "nobody"}
	})
	// Without a gateway in between, whatever a client says reaches the upstream.
	open := &fleetNode{name: "open", host: astray.host, watched: astray.watched}
	open.send = func(ctx context.Context, request []byte) (vector.Response, error) {
		request = bytes.Replace(request, []byte("Connection: close"), []byte("Connection: close\r\nX-User-Permissions: p1,p2\r\nX-User-Id: eve"), 1)
		return vector.Send(ctx, astray.watched.Addr().String(), request)
	}
	for node, counted := range map[*fleetNode][]mistake{
		forgetful: {forbidden}, astray: {identity}, lame: {outage}, open: {forbidden, identity, mixed},
	} {
		wrong, newest := &tally{}, int64(0)
		if node == forgetful || node == astray {
			f.begin(t, node)
		}
		for i := range len(w.revoked) * 2 {
			w.once(t.Context(), node, wrong, i, &newest)
		}
		if node == astray {
			f.pass(t.Context(), suite, known, wrong, node)
		}
		t.Logf("%s: %s", node.name, wrong)
		for _, m := range counted {
			if wrong.wrong[m] == 0 {
				t.Errorf("%s, which is wrong: %s", node.name, wrong)
			}
		}
	}
}

// pass replays the vectors on nodes, on all at once, and counts.
func (f *fleetEnvironment) pass(ctx context.Context, suite *vector.Suite, known map[[2]string]difference, c *tally, nodes ...*fleetNode) {
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() {
			for _, v := range suite.Vectors {
				class := v.ClassOn(n.host.name)
				if d, differs := known[[2]string{v.Name, n.host.name}]; differs {
					class = d.Class
				}
				o := n.exchange(ctx, suite, v, known)
				o.where = n.name + ": " + v.Source + " " + strconv.Quote(v.Name)
				c.countVector(class == vector.Allow, o)
			}
		})
	}
	all.Wait()
}

// agree waits until what one node has learned is known to all, and returns how long
// that takes: a token that every node is asked about is introspected once.
func (f *fleetEnvironment) agree(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	for i := 0; ; i++ {
		before := f.introspections.Load()
		token := fmt.Sprintf("editor-ada-%d-%d", start.UnixNano(), i)
		for _, n := range f.nodes {
			n.must(t, http.StatusOK, "/fleet/shared", token)
		}
		if f.introspections.Load()-before == 1 {
			return time.Since(start)
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("the nodes share nothing: %d introspections of one token on %d nodes", f.introspections.Load()-before, len(f.nodes))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// must sends a request with a bearer token to a node.
func (n *fleetNode) must(t *testing.T, want int, path, token string) {
	t.Helper()
	if got := n.status(t, path, token); got != want {
		t.Errorf("%s: GET %s has status %d, want %d", n.name, path, got, want)
	}
}

func (n *fleetNode) status(t *testing.T, path, token string) int {
	t.Helper()
	response, err := n.ask(t.Context(), path, token)
	if err != nil {
		t.Errorf("%s: %v", n.name, err)
	}
	return response.Status
}
