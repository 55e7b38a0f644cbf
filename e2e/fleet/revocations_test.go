package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/core/coretest"
	"gatehouse/core/fleet/redis"
	"gatehouse/core/fleet/revocations"
	"gatehouse/dev/redistest"
	"gatehouse/e2e/revocationtest"
)

const streamKey = "gatehouse:revocations"

// revoker is what one node has to learn of revocations.
type revoker struct {
	*revocations.Stream
	list     *revocationtest.List
	counters *revocations.Counters
	log      *coretest.Log
	stop     context.CancelFunc
}

type nodeOptions struct {
	redis.Options
	revocations revocations.Options
}

// newRevoker starts a node that follows the stream.
func newRevoker(t *testing.T, addr string, change ...func(*nodeOptions)) *revoker {
	t.Helper()
	n := newPublisher(t, addr, change...)
	n.stop = revocationtest.Follow(t, n, n.list)
	return n
}

// newPublisher makes what the command line has: it publishes and follows nothing.
func newPublisher(t *testing.T, addr string, change ...func(*nodeOptions)) *revoker {
	t.Helper()
	log := &coretest.Log{}
	counters := &revocations.Counters{}
	o := nodeOptions{redis.Options{Addresses: []string{addr}}, revocations.Options{
		Secrets: []string{secret}, Prefix: "gatehouse:", SettleTime: 100 * time.Millisecond, Counters: counters, Log: slog.New(slog.NewTextHandler(log, nil)),
	}}
	for _, c := range change {
		c(&o)
	}
	client, err := redis.NewPatient(o.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	o.revocations.Redis = client
	stream, err := revocations.New(o.revocations)
	if err != nil {
		t.Fatal(err)
	}
	return &revoker{stream, revocationtest.NewList(0), counters, log, func() {}}
}

func (n *revoker) revoke(t *testing.T, subjects ...string) {
	t.Helper()
	revocationtest.Revoke(t, n, subjects...)
}

// eventually waits for what takes a node a moment.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 1000 {
		if is() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("not within 20 s: %s", what)
}

// agree waits until all nodes are current and refuse all that was revoked.
func agree(t *testing.T, nodes []*revoker, subjects ...string) {
	t.Helper()
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("node %d refuses %q and is current: %v\n%s", i, subjects, n.Inflow().Problem(), n.log), func() bool {
			return n.list.Knows(subjects...)
		})
	}
}

// entries are those of the stream as Redis holds them.
func entries(t *testing.T, server *redistest.Server) []goredis.XMessage {
	t.Helper()
	c := server.Client()
	defer c.Close()
	all, err := c.XRange(t.Context(), streamKey, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRevocationReachesEveryNodeAndThoseThatStartLater(t *testing.T) {
	server := redistest.Start(t)
	var nodes []*revoker
	for range 5 {
		nodes = append(nodes, newRevoker(t, server.Addr))
	}
	agree(t, nodes)
	newPublisher(t, server.Addr).revoke(t, "ada", "bob")
	nodes[2].revoke(t, "eve")
	agree(t, nodes, "ada", "bob", "eve")
	agree(t, []*revoker{newRevoker(t, server.Addr)}, "ada", "bob", "eve")
	for _, n := range nodes {
		if n.list.Refuses("zoe") {
			t.Error("somebody is refused who was not revoked")
		}
		if got := n.list.Losses.Load(); got != 0 {
			t.Errorf("the list was lost %d times\n%s", got, n.log)
		}
	}
	for _, e := range entries(t, server) {
		for _, text := range []string{"ada", "bob", "subject", "test", secret} {
			if strings.Contains(fmt.Sprint(e), text) {
				t.Errorf("Redis shows %s: %v", text, e)
			}
		}
	}
}

// A node that starts with a list from its disk publishes what the stream has lost.
func TestNodePublishesWhatItHoldsAndTheStreamDoesNot(t *testing.T) {
	server := redistest.Start(t)
	n := newRevoker(t, server.Addr)
	n.revoke(t, "ada")
	agree(t, []*revoker{n}, "ada")
	holds := newPublisher(t, server.Addr)
	e := revocationtest.Event("bob")
	e.At, e.Until = time.Now(), time.Now().Add(time.Hour)
	if err := holds.list.Add(e); err != nil {
		t.Fatal(err)
	}
	go holds.Follow(t.Context(), holds.list)
	agree(t, []*revoker{n, holds}, "ada", "bob")
	if got := holds.counters.Restored.Load(); got != 1 {
		t.Errorf("%d events were published again, want one", got)
	}
}

// The moment of a revocation is by the clock of Redis, which nodes share.
func TestRevocationHasTheMomentOfRedis(t *testing.T) {
	server := redistest.Start(t)
	n := newRevoker(t, server.Addr)
	before := time.Now()
	n.revoke(t, "ada")
	agree(t, []*revoker{n}, "ada")
	e := n.list.All()[0]
	if e.At.Before(before.Add(-time.Second)) || e.At.After(time.Now().Add(time.Second)) || !e.Until.Equal(e.At.Add(24*time.Hour)) {
		t.Errorf("%+v", e)
	}
}

// attack is what somebody can do who writes to Redis, or an operator by mistake.
type attack func(ctx context.Context, c *goredis.Client, key string) error

// attacks by name. Those of later show to who reads the stream from its beginning only:
// whoever has read it has lost nothing.
var attacks = map[string]attack{
	"forged": func(ctx context.Context, c *goredis.Client, key string) error {
		return c.XAdd(ctx, &goredis.XAddArgs{Stream: key, ID: "*", Values: []any{"entry", `{"v":1,"events":[]}`}}).Err()
	},
	"forged with the next number":     forgery(1, func(string) []any { return []any{"entry", "forged"} }),
	"replayed":                        forgery(1, func(last string) []any { return []any{"entry", last} }),
	"replayed with a number left out": forgery(5, func(last string) []any { return []any{"entry", last} }),
	"without a value":                 forgery(1, func(string) []any { return []any{"other", ""} }),
	"with more values":                forgery(1, func(last string) []any { return []any{"a", "b", "entry", last, "c", "d"} }),
	"of two megabytes":                forgery(1, func(string) []any { return []any{"entry", strings.Repeat("x", 2<<20)} }),
	"the greatest id": func(ctx context.Context, c *goredis.Client, key string) error {
		return c.XAdd(ctx, &goredis.XAddArgs{Stream: key, ID: "18446744073709551615-18446744073709551615", Values: []any{"entry", "x"}}).Err()
	},
	"the last one replaced":   rebuilt(func(m []goredis.XMessage) []goredis.XMessage { m[len(m)-1].Values = m[1].Values; return m }),
	"all replaced by garbage": rebuilt(garbage),
	"first removed":           removed(func(int) int { return 0 }),
	"one removed":             removed(func(n int) int { return n / 2 }),
	"last removed":            removed(func(n int) int { return n - 1 }),
	"trimmed": func(ctx context.Context, c *goredis.Client, key string) error {
		return c.XTrimMaxLen(ctx, key, 2).Err()
	},
	"trimmed to one": func(ctx context.Context, c *goredis.Client, key string) error {
		return c.XTrimMaxLen(ctx, key, 1).Err()
	},
	"emptied": func(ctx context.Context, c *goredis.Client, key string) error {
		return c.XTrimMaxLen(ctx, key, 0).Err()
	},
	"deleted": func(ctx context.Context, c *goredis.Client, key string) error { return c.Del(ctx, key).Err() },
	"expired": func(ctx context.Context, c *goredis.Client, key string) error {
		return c.PExpire(ctx, key, time.Millisecond).Err()
	},
	"flushed": func(ctx context.Context, c *goredis.Client, _ string) error { return c.FlushAll(ctx).Err() },
	"renamed": func(ctx context.Context, c *goredis.Client, key string) error {
		return c.Rename(ctx, key, key+"-elsewhere").Err()
	},
	"another type": func(ctx context.Context, c *goredis.Client, key string) error {
		return c.Set(ctx, key, "text", 0).Err()
	},
	"a list": func(ctx context.Context, c *goredis.Client, key string) error {
		c.Del(ctx, key)
		return c.LPush(ctx, key, "x").Err()
	},
	"the end cut off":                   rebuilt(func(m []goredis.XMessage) []goredis.XMessage { return m[:len(m)-1] }),
	"the beginning cut off":             rebuilt(func(m []goredis.XMessage) []goredis.XMessage { return m[2:] }),
	"the end cut off down to the first": rebuilt(func(m []goredis.XMessage) []goredis.XMessage { return m[:1] }),
	"an empty stream of the same key": func(ctx context.Context, c *goredis.Client, key string) error {
		c.Del(ctx, key)
		return c.XGroupCreateMkStream(ctx, key, "g", "$").Err()
	},
}

var later = map[string]attack{
	"reordered": rebuilt(func(m []goredis.XMessage) []goredis.XMessage {
		m[1].Values, m[2].Values = m[2].Values, m[1].Values
		return m
	}),
	"one replaced by another": rebuilt(func(m []goredis.XMessage) []goredis.XMessage { m[2].Values = m[1].Values; return m }),
	"garbage before the last": rebuilt(func(m []goredis.XMessage) []goredis.XMessage { garbage(m[:len(m)-1]); return m }),
}

func garbage(m []goredis.XMessage) []goredis.XMessage {
	for i := range m {
		m[i].Values = map[string]any{"entry": "garbage"}
	}
	return m
}

// forgery adds an entry whose number is that much higher than the last one.
func forgery(ahead int, values func(last string) []any) attack {
	return func(ctx context.Context, c *goredis.Client, key string) error {
		last, err := c.XRevRangeN(ctx, key, "+", "-", 1).Result()
		if err != nil {
			return err
		}
		var epoch, number int
		if _, err := fmt.Sscanf(last[0].ID, "%d-%d", &epoch, &number); err != nil {
			return err
		}
		return c.XAdd(ctx, &goredis.XAddArgs{Stream: key, ID: fmt.Sprintf("%d-%d", epoch, number+ahead), Values: values(fmt.Sprint(last[0].Values["entry"]))}).Err()
	}
}

// rebuilt puts another stream in the place of the one that is there, at once.
func rebuilt(change func([]goredis.XMessage) []goredis.XMessage) attack {
	return func(ctx context.Context, c *goredis.Client, key string) error {
		all, err := c.XRange(ctx, key, "-", "+").Result()
		if err != nil {
			return err
		}
		_, err = c.TxPipelined(ctx, func(p goredis.Pipeliner) error {
			p.Del(ctx, key)
			for _, m := range change(all) {
				p.XAdd(ctx, &goredis.XAddArgs{Stream: key, ID: m.ID, Values: m.Values})
			}
			return nil
		})
		return err
	}
}

func removed(which func(length int) int) attack {
	return func(ctx context.Context, c *goredis.Client, key string) error {
		all, err := c.XRange(ctx, key, "-", "+").Result()
		if err != nil {
			return err
		}
		return c.XDel(ctx, key, all[which(len(all))].ID).Err()
	}
}

func TestWhoWritesToRedisUnmakesNoRevocation(t *testing.T) {
	server := redistest.Start(t)
	var wait sync.WaitGroup
	for i, set := range []map[string]attack{attacks, later} {
		for name, attack := range set {
			wait.Go(func() {
				t.Run(name, func(t *testing.T) {
					server := server
					if name == "flushed" {
						server = redistest.Start(t)
					}
					underAttack(t, server, name, attack, i == 0)
				})
			})
		}
	}
	wait.Wait()
}

// underAttack has nodes of one fleet find and mend what somebody did to their stream, and
// a node that starts at that moment say that it has a list only when that is complete.
func underAttack(t *testing.T, server *redistest.Server, name string, attack attack, found bool) {
	prefix := func(o *nodeOptions) { o.revocations.Prefix, o.revocations.SettleTime = name+":", 0 }
	nodes := []*revoker{newRevoker(t, server.Addr, prefix), newRevoker(t, server.Addr, prefix)}
	agree(t, nodes)
	subjects := []string{"ada", "bob", "cid", "dan", "eve"}
	newPublisher(t, server.Addr, prefix).revoke(t, subjects...)
	agree(t, nodes, subjects...)
	c := server.Client()
	defer c.Close()
	if err := attack(t.Context(), c, name+":revocations"); err != nil {
		t.Fatal(err)
	}
	fresh := newRevoker(t, server.Addr, prefix)
	eventually(t, "the new node is current", fresh.list.IsCurrent.Load)
	for _, s := range subjects {
		if !fresh.list.Refuses(s) {
			t.Errorf("a node says that its list is complete, and does not know of %s\n%s", s, fresh.log)
		}
	}
	for _, n := range nodes {
		if found && (n.list.Losses.Load() == 0 || n.counters.Lost.Load() == 0) {
			t.Error("the loss is not found, or not counted")
		}
	}
	nodes = append(nodes, fresh, newRevoker(t, server.Addr, prefix))
	agree(t, nodes, subjects...)
	newPublisher(t, server.Addr, prefix).revoke(t, "zoe") // and it goes on
	agree(t, nodes, append(subjects, "zoe")...)
	if n := begun(nodes); n > 2 {
		t.Errorf("%d streams were begun", n)
	}
}

// begun is how many streams nodes have begun.
func begun(nodes []*revoker) (n uint64) {
	for _, node := range nodes {
		n += node.counters.Epochs.Load()
	}
	return n
}

// restored is how many events nodes have published again.
func restored(nodes []*revoker) (n uint64) {
	for _, node := range nodes {
		n += node.counters.Restored.Load()
	}
	return n
}

func TestTwentyNodesThatPublishAgainEndInOneStream(t *testing.T) {
	server := redistest.Start(t)
	var nodes []*revoker
	var subjects []string
	for range 20 {
		nodes = append(nodes, newRevoker(t, server.Addr))
	}
	agree(t, nodes)
	for i, n := range nodes { // each knows one that no other does, as from a list on its disk
		subject := fmt.Sprint("subject", i)
		e := revocationtest.Event(subject)
		e.At, e.Until = time.Now(), time.Now().Add(time.Hour)
		if err := n.list.Add(e); err != nil {
			t.Fatal(err)
		}
		subjects = append(subjects, subject)
	}
	for i := range 300 {
		subjects = append(subjects, fmt.Sprint("common", i))
	}
	c := server.Client()
	defer c.Close()
	var wait sync.WaitGroup
	for part := range slices.Chunk(subjects[20:], 30) {
		wait.Go(func() { newPublisher(t, server.Addr).revoke(t, part...) })
	}
	wait.Wait()
	agree(t, nodes, subjects[20:]...)
	before, restoredBefore := begun(nodes), restored(nodes)
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	agree(t, nodes, subjects...)
	if n := begun(nodes) - before; n != 1 {
		t.Errorf("%d streams were begun, want one", n)
	}
	if got := restored(nodes) - restoredBefore; got != uint64(len(subjects)) {
		t.Errorf("%d events were published again, want each of %d once", got, len(subjects))
	}
	all := entries(t, server)
	time.Sleep(3 * time.Second) // it has come to rest
	if now := entries(t, server); len(now) != len(all) || now[0].ID != all[0].ID || len(now) > 30 {
		t.Errorf("the stream goes on: %d entries from %s, then %d from %s", len(all), all[0].ID, len(now), now[0].ID)
	}
	agree(t, []*revoker{newRevoker(t, server.Addr)}, subjects...)
}
