package forwardauth

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/e2e/vector"
)

// Soak is the environment variable with the time for which TestTwoGatewaysOneFleet
// repeats its faults, such as 30m. Without it each fault comes once.
const Soak = "GATEHOUSE_FLEET_SOAK"

// tally is what the nodes of a fleet did wrong, counted.
type tally struct {
	mu       sync.Mutex
	requests int
	// forbidden are requests that reached an upstream and must not have; identities
	// those that reached it with another identity than the caller's; mixed those that
	// were decided by parts of two tables.
	forbidden, identities, mixed int
	// outages are responses of status 500 and above that no document allows.
	outages int
	// others are all other differences from the vectors.
	others int
	said   []string
}

const saidAtMost = 20

// count adds what came of a vector that should have been admitted, or not.
func (c *tally) count(admit bool, o outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	switch {
	case !admit && o.arrived > 0:
		c.forbidden++
	case o.arrived > 0 && slices.ContainsFunc(o.problems, func(p string) bool { return strings.Contains(p, "the upstream received") }):
		c.identities++
	case len(o.problems) > 0 && o.status >= 500:
		c.outages++
	case len(o.problems) > 0:
		c.others++
	}
	for _, p := range o.problems {
		if len(c.said) < saidAtMost {
			c.said = append(c.said, o.where+": "+p)
		}
	}
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%d requests; forbidden requests that reached an upstream: %d; wrong identities: %d; table versions mixed in one decision: %d; 5xx that no document allows: %d; other differences from the vectors: %d",
		c.requests, c.forbidden, c.identities, c.mixed, c.outages, c.others)
}

func (c *tally) wrong() int { return c.forbidden + c.identities + c.mixed + c.outages + c.others }

// fault is what happens to a fleet.
type fault struct {
	name string
	// strike and mend; without mend nothing is to be done. The vectors pass at least
	// once in between.
	strike, mend func(t *testing.T, f *fleetEnvironment)
	// lasts tells whether more is to come of it; nil: no.
	lasts func(f *fleetEnvironment) bool
}

// promoting lasts until the sentinels name another master.
func promoting(f *fleetEnvironment) bool { return f.redis.Master() == f.former }

func faults() []fault {
	return []fault{
		{name: "nothing", strike: func(*testing.T, *fleetEnvironment) {}},
		{"PostgreSQL is stopped, and starts again", func(_ *testing.T, f *fleetEnvironment) { f.postgres.Stop() }, func(_ *testing.T, f *fleetEnvironment) { f.postgres.Restart() }, nil},
		{"the master of Redis is killed, and the sentinels promote the replica", func(_ *testing.T, f *fleetEnvironment) {
			f.former = f.redis.Master()
			f.former.Stop()
		}, func(_ *testing.T, f *fleetEnvironment) { f.former.Restart() }, promoting},
		{"PostgreSQL is frozen", func(_ *testing.T, f *fleetEnvironment) { f.postgres.Freeze() }, func(_ *testing.T, f *fleetEnvironment) { f.postgres.Thaw() }, nil},
		{"PostgreSQL is full", func(_ *testing.T, f *fleetEnvironment) { f.postgres.Fill() }, func(_ *testing.T, f *fleetEnvironment) { f.postgres.Empty() }, nil},
		{"the network of a node of each kind is cut from Redis and PostgreSQL", func(_ *testing.T, f *fleetEnvironment) { f.network.Cut() }, func(_ *testing.T, f *fleetEnvironment) { f.network.Mend() }, nil},
		{"Redis is full", func(_ *testing.T, f *fleetEnvironment) { f.redis.Master().Fill() }, func(_ *testing.T, f *fleetEnvironment) { f.redis.Master().Empty() }, nil},
		{"Redis is flushed", func(_ *testing.T, f *fleetEnvironment) { f.redis.Master().Do("FLUSHALL") }, nil, nil},
		{"the master of Redis is frozen, and the sentinels promote the replica", func(_ *testing.T, f *fleetEnvironment) {
			f.redis.AwaitReplica()
			f.former = f.redis.Master()
			f.former.Freeze()
		}, func(_ *testing.T, f *fleetEnvironment) { f.former.Thaw() }, promoting},
		{"every Redis is stopped, and PostgreSQL, too", func(_ *testing.T, f *fleetEnvironment) {
			for _, s := range f.redis.Servers {
				s.Stop()
			}
			f.postgres.Stop()
		}, func(_ *testing.T, f *fleetEnvironment) {
			f.redis.Master().Restart()
			for _, s := range f.redis.Servers {
				if s != f.redis.Master() {
					s.Restart()
				}
			}
			f.postgres.Restart()
		}, nil},
	}
}

// TestTwoGatewaysOneFleet: nodes of Kong, of APISIX and of forward-auth share a Redis
// with sentinels and a PostgreSQL. What happens to those makes no node open, down, or
// wrong: the shared vectors pass on each one meanwhile.
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
	all := &tally{}
	for end := time.Now().Add(soak); ; {
		for _, fault := range faults() {
			start := time.Now()
			fault.strike(t, f)
			passes, last := 0, false
			for ; !last; passes++ { // the last one begins after all has come
				last = fault.lasts == nil || !fault.lasts(f)
				f.pass(t.Context(), suite, known, all, f.nodes...)
			}
			took := time.Since(start)
			if fault.mend != nil {
				fault.mend(t, f)
			}
			t.Logf("%s: the vectors %d times on %d nodes in %v; then the fleet shares again after %v",
				fault.name, passes, len(f.nodes), took.Round(time.Millisecond), f.agree(t).Round(time.Millisecond))
		}
		if time.Now().After(end) {
			break
		}
	}
	t.Log(all)
	if all.wrong() > 0 {
		t.Errorf("%s:\n%s", all, strings.Join(all.said, "\n"))
	}

	t.Run("the counters count", func(t *testing.T) {
		old, astray := f.startKong(t, "old", false, func(config map[string]any) {
			config["permission_table"] = "public: ['ANY /.*']\n"
		}), f.startKong(t, "astray", false, func(config map[string]any) {
			config["upstream_headers"] = map[string]any{"X-User-Id": "kind", "X-User-Email": "sub"}
		})
		for node, counted := range map[*fleetNode]func(*tally) int{
			old:    func(c *tally) int { return c.forbidden },
			astray: func(c *tally) int { return c.identities },
		} {
			wrong := &tally{}
			f.pass(t.Context(), suite, known, wrong, node)
			t.Logf("%s: %s", node.name, wrong)
			if counted(wrong) == 0 {
				t.Errorf("%s, which is wrong: %s", node.name, wrong)
			}
		}
	})
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
				c.count(class == vector.Allow, o)
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
		token := fmt.Sprintf("gold-%d-%d", start.UnixNano(), i)
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
	response, err := n.send(t.Context(), []byte("GET "+path+" HTTP/1.1\r\nHost: fleet.test\r\nConnection: close\r\nAuthorization: Bearer "+token+"\r\n\r\n"))
	if err != nil {
		t.Errorf("%s: %v", n.name, err)
	}
	return response.Status
}
