package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/core/authn/attempts"
	fleetattempts "gatehouse/core/fleet/attempts"
	"gatehouse/core/fleet/redis"
	"gatehouse/dev/redistest"
)

// slowRate frees an attempt in a minute: none during a test.
var slowRate = attempts.Rate{Count: 10, Window: 10 * time.Minute}

// counting is what one node counts with.
type counting struct {
	*fleetattempts.Store
	counts *fleetattempts.Counters
	redis  fleetattempts.Redis
}

func newCounting(t *testing.T, o redis.Options, rate attempts.Rate, use func(*redis.Client) fleetattempts.Redis) *counting {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 200 * time.Millisecond
	}
	client, err := redis.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	local, err := attempts.NewMemory(rate, 1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	if use == nil {
		use = func(c *redis.Client) fleetattempts.Redis { return c }
	}
	counts, used := &fleetattempts.Counters{}, use(client)
	s, err := fleetattempts.New(fleetattempts.Options{Redis: used, Local: local, Rate: rate, Prefix: "gatehouse:", Counters: counts})
	if err != nil {
		t.Fatal(err)
	}
	return &counting{s, counts, used}
}

func at(server *redistest.Server) redis.Options {
	return redis.Options{Addresses: []string{server.Addr}}
}

func (c *counting) count(t *testing.T, k, n int) time.Duration {
	t.Helper()
	wait, err := c.Count(t.Context(), attemptKey(k), n)
	if err != nil {
		t.Fatal(err)
	}
	return wait
}

func attemptKey(n int) (k attempts.Key) {
	copy(k[:], fmt.Sprint("key ", n))
	return k
}

// timed asks Redis for its time before and after every script, in one transaction.
type timed struct {
	fleetattempts.Redis
	client        *redis.Client
	before, after time.Time
}

func (r *timed) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *goredis.Cmd {
	pipe := r.client.TxPipeline()
	before := pipe.Time(ctx)
	reply := pipe.EvalSha(ctx, sha, keys, args...)
	after := pipe.Time(ctx)
	_, _ = pipe.Exec(ctx)
	r.before, r.after = before.Val(), after.Val()
	return reply
}

// What Redis counts is what the memory of one process counts, at the times that Redis has
// by its clock.
func TestRedisCountsAsTheMemoryOfOneProcess(t *testing.T) {
	server := redistest.Start(t)
	for i, rate := range []attempts.Rate{{Count: 5, Window: time.Second}, {Count: 7, Window: time.Second}, {Count: 1, Window: time.Second}, {Count: 1000000, Window: time.Second}, {Count: 600, Window: time.Minute}} {
		var clock *timed
		node := newCounting(t, at(server), rate, func(c *redis.Client) fleetattempts.Redis {
			clock = &timed{Redis: c, client: c}
			return clock
		})
		var now time.Time
		reference, err := attempts.NewMemory(rate, 1000, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		node.count(t, -1, 1) // loads the script
		each := rate.Window / time.Duration(rate.Count)
		var slack time.Duration // between the two times, and what is rounded
		for step := range 150 {
			k := 2*i + random.IntN(2)
			n := []int{0, 1, 1, 1, 2, rate.Count, -1, -3}[random.IntN(8)]
			if random.IntN(3) == 0 {
				time.Sleep(min(time.Duration(random.Int64N(int64(2*each))), 20*time.Millisecond))
			}
			got := ask(t, node, rate, k, n)
			now = clock.before
			slack += clock.after.Sub(clock.before) + 2*time.Microsecond
			want, err := reference.Count(t.Context(), attemptKey(k), n)
			if err != nil {
				t.Fatal(err)
			}
			if (got - want).Abs() > slack {
				t.Fatalf("%+v, seed %d, step %d: count %d of key %d: Redis says wait %s, memory %s (within %s)", rate, seed, step, n, k, got, want, slack)
			}
		}
		if slack > each/2 && rate.Count < 1000 {
			t.Logf("%+v: compared within %s only", rate, slack)
		}
	}
}

// ask is what Redis says alone: neither what the node counts nor what it remembers. A
// count of nothing is asked for with a node that remembers nothing.
func ask(t *testing.T, node *counting, rate attempts.Rate, k, n int) time.Duration {
	t.Helper()
	local, err := attempts.NewMemory(rate, 1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := fleetattempts.New(fleetattempts.Options{Redis: node.redis, Local: local, Rate: rate, Prefix: "gatehouse:"})
	if err != nil {
		t.Fatal(err)
	}
	wait, err := s.Count(t.Context(), attemptKey(k), n)
	if err != nil {
		t.Fatal(err)
	}
	return wait
}

func TestFailedAttemptsOverNodesAreLimitedAsOne(t *testing.T) {
	server := redistest.Start(t)
	var nodes []*counting
	for range 5 {
		nodes = append(nodes, newCounting(t, at(server), slowRate, nil))
	}
	passed := 0
	for i := range 40 {
		n := nodes[i%len(nodes)]
		if n.count(t, 1, 0) == 0 {
			passed++
			n.count(t, 1, 1)
		}
	}
	if passed != slowRate.Count {
		t.Errorf("%d attempts passed on five nodes, want %d", passed, slowRate.Count)
	}
	for _, n := range nodes {
		if wait := n.count(t, 1, 0); wait <= 0 || wait > time.Minute {
			t.Errorf("a node has it wait %s", wait)
		}
		if wait := n.count(t, 2, 0); wait != 0 {
			t.Errorf("another key waits %s", wait)
		}
	}
}

// A guesser with an account of his own would else take his failures back on every node.
func TestOneGoodCredentialTakesFailuresBackOnceInAFleet(t *testing.T) {
	server := redistest.Start(t)
	var nodes []*counting
	for range 5 {
		n := newCounting(t, at(server), slowRate, nil)
		n.count(t, 1, 2) // each has seen the client fail
		nodes = append(nodes, n)
	}
	good := attemptKey(1000)
	for _, n := range nodes {
		if err := n.Return(t.Context(), attemptKey(1), good, 3); err != nil {
			t.Fatal(err)
		}
	}
	fresh := newCounting(t, at(server), slowRate, nil)
	for range 3 {
		if wait := fresh.count(t, 1, 0); wait > 0 {
			t.Fatalf("less than three attempts were taken back: wait %s", wait)
		}
		fresh.count(t, 1, 1)
	}
	if wait := fresh.count(t, 1, 0); wait == 0 {
		t.Error("one credential has taken attempts back more than once")
	}
	if err := nodes[0].Return(t.Context(), attemptKey(1), attemptKey(1001), 3); err != nil {
		t.Fatal(err)
	}
	if wait := newCounting(t, at(server), slowRate, nil).count(t, 1, 0); wait != 0 {
		t.Errorf("another credential takes nothing back: wait %s", wait)
	}
}

// A flood costs Redis nothing once its limit is known.
func TestRefusalsOfAFloodDoNotAskRedis(t *testing.T) {
	server := redistest.Start(t)
	one, other := newCounting(t, at(server), slowRate, nil), newCounting(t, at(server), slowRate, nil)
	one.count(t, 1, slowRate.Count)
	before := scripts(t, server)
	for range 10_000 {
		if one.count(t, 1, 0) == 0 || other.count(t, 1, 0) == 0 {
			t.Fatal("the client is not limited")
		}
	}
	// The other node asks anew each second.
	if asked := scripts(t, server) - before; asked > 20 {
		t.Errorf("20,000 refusals made %d scripts", asked)
	}
	if other.counts.Stats().Remembered < 9_000 {
		t.Errorf("%+v", other.counts.Stats())
	}
}

// scripts is how many Redis has executed.
func scripts(t *testing.T, server *redistest.Server) int {
	t.Helper()
	return calledOf(t, server, "evalsha") + calledOf(t, server, "eval")
}

// calledOf is how often Redis has executed a command.
func calledOf(t *testing.T, server *redistest.Server, command string) (calls int) {
	t.Helper()
	c := server.Client()
	defer c.Close()
	info, err := c.InfoMap(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Sscanf(info["Commandstats"]["cmdstat_"+command], "calls=%d", &calls)
	return calls
}

func TestGoodCredentialOfAClientWithoutFailuresCostsNothingMore(t *testing.T) {
	server := redistest.Start(t)
	n := newCounting(t, at(server), slowRate, nil)
	n.count(t, 1, 0)
	before := n.counts.Stats().Asked
	if err := n.Return(t.Context(), attemptKey(1), attemptKey(2), 10); err != nil {
		t.Fatal(err)
	}
	if asked := n.counts.Stats().Asked - before; asked != 0 || len(content(t, server)) != 0 {
		t.Errorf("Redis was asked %d times and holds %d keys", asked, len(content(t, server)))
	}
}

func TestRedisHoldsNeitherAddressNorFailedCredential(t *testing.T) {
	server := redistest.Start(t)
	hash, err := fleetattempts.Hash(secret)
	if err != nil {
		t.Fatal(err)
	}
	n := newCounting(t, at(server), slowRate, nil)
	for _, text := range []string{"192.0.2.1", token} {
		if _, err := n.Count(t.Context(), hash.Sum("client", text), 1); err != nil {
			t.Fatal(err)
		}
		if err := n.Return(t.Context(), hash.Sum("client", text), hash.Sum("credential", text), 1); err != nil {
			t.Fatal(err)
		}
	}
	c := server.Client()
	defer c.Close()
	for name, value := range content(t, server) {
		if left := c.PTTL(t.Context(), name).Val(); left <= 0 || left > 31*time.Minute {
			t.Errorf("%s ends in %s", name, left)
		}
		for _, text := range []string{"192.0.2", token, "192", secret} {
			if strings.Contains(name, text) || strings.Contains(string(value), text) && text != "192" {
				t.Errorf("%q: %q shows %s", name, value, text)
			}
		}
	}
	if other, _ := fleetattempts.Hash(strings.Repeat("x", 32)); other.Sum("a") == hash.Sum("a") {
		t.Error("names do not depend on the secret")
	}
}

// Whatever becomes of Redis, a node limits at least as it does alone.
func TestRedisThatFailsLeavesEachNodeItsOwnLimit(t *testing.T) {
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			n := newCounting(t, at(server), slowRate, nil)
			n.count(t, 1, slowRate.Count/2)
			fail(server)
			passed := slowRate.Count / 2
			for range 3 * slowRate.Count {
				if wait, _ := n.Count(t.Context(), attemptKey(1), 0); wait > 0 {
					continue
				}
				passed++
				_, _ = n.Count(t.Context(), attemptKey(1), 1)
			}
			if passed != slowRate.Count {
				t.Errorf("%d attempts passed, want %d", passed, slowRate.Count)
			}
			if wait, _ := n.Count(t.Context(), attemptKey(2), 0); wait != 0 {
				t.Errorf("another client waits %s", wait)
			}
			if name == "frozen" {
				server.Thaw()
			}
		})
	}
}

// Two Redis servers whose clocks differ, as after a failover, and whoever writes to one
// of them lock nobody out for longer than an attempt takes.
func TestValueOfAnotherClockLimitsForOneAttemptAtMost(t *testing.T) {
	server := redistest.Start(t)
	n := newCounting(t, at(server), slowRate, nil)
	n.count(t, 1, 1)
	c := server.Client()
	defer c.Close()
	var name string
	for name = range content(t, server) {
	}
	for _, value := range []any{time.Now().AddDate(10, 0, 0).UnixMicro(), "1e300", "inf", "-inf", "nan", "", "garbage", "-5", "0x10", strings.Repeat("9", 400)} {
		if err := c.Set(t.Context(), name, value, 0).Err(); err != nil {
			t.Fatal(err)
		}
		wait := newCounting(t, at(server), slowRate, nil).count(t, 1, 0)
		if each := slowRate.Window / time.Duration(slowRate.Count); wait < 0 || wait > each {
			t.Errorf("%.40v: wait %s, want at most %s", value, wait, each)
		}
	}
	c.Del(t.Context(), name)
	c.LPush(t.Context(), name, "a list")
	if wait, err := n.Count(t.Context(), attemptKey(1), 0); wait != 0 || err == nil {
		t.Errorf("another type: wait %s, %v", wait, err)
	}
}

func TestCountsOfAFleetNeedOnlyTheDocumentedRights(t *testing.T) {
	server := redistest.Start(t)
	rights := documentedRights(t)
	for _, lacking := range append([]string{""}, rights...) {
		server.SetUser("gatehouse", append([]string{"reset", "on", ">" + aclPassword, "~gatehouse:*"}, rights...)...)
		if lacking != "" {
			server.SetUser("gatehouse", "-"+lacking[1:])
		}
		o := at(server)
		o.Username, o.Password = "gatehouse", aclPassword
		n := newCounting(t, o, slowRate, nil)
		key := attemptKey(len(lacking))
		_, err := n.Count(t.Context(), key, 1)
		if err == nil {
			err = n.Return(t.Context(), key, key, 1)
		}
		if lacking == "" && err != nil {
			t.Errorf("with the documented rights: %v", err)
		}
		for range slowRate.Count { // without one of them the node limits by itself
			_, _ = n.Count(t.Context(), key, 1)
		}
		if wait, _ := n.Count(t.Context(), key, 0); wait == 0 {
			t.Errorf("without %s: not limited", lacking)
		}
	}
}

func TestClusterCountsFailedAttempts(t *testing.T) {
	server := redistest.Start(t, "--cluster-enabled", "yes")
	plain := server.Client()
	defer plain.Close()
	if err := plain.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	o := at(server)
	o.Cluster, o.Timeout = true, time.Second
	one, other := newCounting(t, o, slowRate, nil), newCounting(t, o, slowRate, nil)
	for range 50 { // a Cluster takes a moment until it agrees
		if _, err := one.Count(t.Context(), attemptKey(0), 0); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for k := range 20 {
		one.count(t, k, slowRate.Count)
		if wait := other.count(t, k, 0); wait == 0 {
			t.Errorf("key %d: the other node does not know", k)
		}
		if err := one.Return(t.Context(), attemptKey(k), attemptKey(100+k), 3); err != nil {
			t.Error(err)
		}
	}
}

func TestFailedAttemptsAtTheSameTimeOnManyNodes(t *testing.T) {
	server := redistest.Start(t)
	var wait sync.WaitGroup
	for range 5 {
		n := newCounting(t, at(server), attempts.Rate{Count: 1000, Window: time.Hour}, nil)
		for range 10 {
			wait.Go(func() {
				for range 18 {
					n.count(t, 1, 1)
				}
			})
		}
	}
	wait.Wait()
	last := newCounting(t, at(server), attempts.Rate{Count: 1000, Window: time.Hour}, nil)
	if wait := last.count(t, 1, 99); wait != 0 {
		t.Errorf("999 attempts: wait %s", wait)
	}
	if wait := last.count(t, 1, 1); wait == 0 {
		t.Error("of 1000 attempts some were lost")
	}
}
