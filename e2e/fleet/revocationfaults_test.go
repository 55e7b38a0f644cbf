package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core/config/fleet"
	"gatehouse/core/fleet/redis"
	"gatehouse/core/fleet/revocations"
	"gatehouse/core/revocation"
	"gatehouse/dev/redistest"
	"gatehouse/e2e/revocationtest"
)

// publishes reports why a revocation is not acknowledged, within a time.
func publishes(t *testing.T, n *revoker, within time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return n.Publish(ctx, revocationtest.Event("somebody"))
}

func TestRevokeFailsUnlessRedisAcknowledgesIt(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		fail func(*testing.T, *redistest.Server)
		want string
	}{
		"stopped": {fail: func(_ *testing.T, s *redistest.Server) { s.Stop() }, want: "Redis does not respond"},
		"frozen": {fail: func(t *testing.T, s *redistest.Server) {
			s.Freeze()
			t.Cleanup(s.Thaw)
		}, want: "Redis does not respond"},
		"full":                  {args: []string{"--maxmemory", "1"}, want: "raise maxmemory"},
		"another password":      {args: []string{"--requirepass", "another"}, want: "set username and password"},
		"no right":              {fail: command("ACL", "SETUSER", "default", "-xadd"), want: "redis.username"},
		"no key":                {fail: command("ACL", "SETUSER", "default", "resetkeys", "~other:*"), want: "redis.username"},
		"a replica":             {fail: command("REPLICAOF", "127.0.0.1", "1"), want: "configure the master"},
		"evicts":                {args: []string{"--maxmemory-policy", "allkeys-lru"}, want: "set maxmemory-policy to volatile-ttl"},
		"evicts what is rare":   {args: []string{"--maxmemory-policy", "allkeys-lfu", "--maxmemory", "100mb"}, want: "set maxmemory-policy to volatile-ttl"},
		"evicts by chance":      {args: []string{"--maxmemory-policy", "allkeys-random"}, want: "set maxmemory-policy to volatile-ttl"},
		"written by a stranger": {fail: command("XADD", streamKey, "1-1", "entry", "x"), want: "does not open"},
		"another type":          {fail: command("SET", streamKey, "x"), want: "no stream"},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t, c.args...)
			if c.fail != nil {
				c.fail(t, server)
			}
			err := publishes(t, newPublisher(t, server.Addr), time.Second)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%v shows the secret", err)
			}
		})
	}
}

func command(args ...any) func(*testing.T, *redistest.Server) {
	return func(t *testing.T, s *redistest.Server) {
		t.Helper()
		c := s.Client()
		defer c.Close()
		if err := c.Do(context.Background(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// A revocation that no replica has would be lost with the master.
func TestRevokeFailsUnlessReplicasAcknowledgeIt(t *testing.T) {
	master := redistest.Start(t)
	one := func(o *nodeOptions) {
		o.revocations.Replicas, o.revocations.ReplicaTime = 1, 200*time.Millisecond
	}
	node := newRevoker(t, master.Addr)
	var unacknowledged *revocations.ErrUnacknowledged
	if err := publishes(t, newPublisher(t, master.Addr, one), time.Second); !errors.As(err, &unacknowledged) || unacknowledged.Want != 1 {
		t.Errorf("without a replica: %v", err)
	}
	agree(t, []*revoker{node}, "somebody") // it reaches the nodes all the same
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := redistest.Start(t, "--replicaof", host+" "+port)
	eventually(t, "a replica acknowledges", func() bool { return publishes(t, newPublisher(t, master.Addr, one), time.Second) == nil })
	replica.Freeze()
	defer replica.Thaw()
	if err := publishes(t, newPublisher(t, master.Addr, one), time.Second); !errors.As(err, &unacknowledged) {
		t.Errorf("with a frozen replica: %v", err)
	}
}

// Revocations are dropped by a Redis that evicts keys which have no end.
func TestRedisThatEvictsRevocationsIsRefusedAtTheStart(t *testing.T) {
	server := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	n := newRevoker(t, server.Addr)
	eventually(t, "the policy is refused", func() bool { return errors.Is(n.Inflow().Problem(), revocations.ErrEvicts) })
	if n.list.IsCurrent.Load() || len(content(t, server)) != 0 {
		t.Error("the stream is used all the same")
	}
	if got := n.log.String(); strings.Count(got, "volatile-ttl") != 1 || !strings.Contains(got, "level=ERROR") {
		t.Errorf("logged %q", got)
	}
	command("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")(t, server)
	agree(t, []*revoker{n})
	if err := n.Inflow().Problem(); err != nil {
		t.Error(err)
	}
}

func TestPolicyThatIsChangedLaterIsFoundWhenNodesConnectAgain(t *testing.T) {
	server := redistest.Start(t)
	n := newRevoker(t, server.Addr)
	agree(t, []*revoker{n})
	command("CONFIG", "SET", "maxmemory-policy", "allkeys-random")(t, server)
	command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")(t, server)
	eventually(t, "the policy is refused", func() bool { return errors.Is(n.Inflow().Problem(), revocations.ErrEvicts) })
	if n.list.IsCurrent.Load() {
		t.Error("the list says that it is complete")
	}
	command("CONFIG", "SET", "maxmemory-policy", "noeviction")(t, server)
	agree(t, []*revoker{n})
}

// The rights that the description of redis.username lists are enough for revocations.
func TestUserWithTheDocumentedRightsCanRevoke(t *testing.T) {
	rights := streamRights(t)
	server := redistest.Start(t)
	command(append([]any{"ACL", "SETUSER", "gatehouse", "on", ">pw", "~gatehouse:*"}, rights...)...)(t, server)
	user := func(o *nodeOptions) { o.Username, o.Password = "gatehouse", "pw" }
	n := newRevoker(t, server.Addr, user)
	agree(t, []*revoker{n})
	n.revoke(t, "ada")
	withReplica := newPublisher(t, server.Addr, user, func(o *nodeOptions) { o.revocations.Replicas, o.revocations.ReplicaTime = 1, time.Millisecond })
	if err := publishes(t, withReplica, time.Second); !errors.As(err, new(*revocations.ErrUnacknowledged)) {
		t.Error(err)
	}
	command("DEL", streamKey)(t, server)
	agree(t, []*revoker{n, newRevoker(t, server.Addr, user)}, "ada", "somebody")
	for _, right := range rights {
		name := strings.TrimPrefix(fmt.Sprint(right), "+")
		if slices.Contains([]string{"get", "set", "pttl", "del", "xtrim", "eval", "script|load"}, name) { // needed at other times
			continue
		}
		t.Run("without "+name, func(t *testing.T) {
			command("ACL", "SETUSER", "gatehouse", "-"+name)(t, server)
			defer command("ACL", "SETUSER", "gatehouse", "+"+name)(t, server)
			p := newRevoker(t, server.Addr, user, func(o *nodeOptions) { o.revocations.Replicas, o.revocations.ReplicaTime = 1, time.Millisecond })
			err := publishes(t, p, time.Second)
			fine := errors.As(err, new(*revocations.ErrUnacknowledged))
			if name == "info" {
				if !fine || !strings.Contains(p.log.String(), "maxmemory-policy") {
					t.Errorf("%v, and logged %q, want a warning", err, p.log)
				}
				return
			}
			if name == "xread" || name == "xrange" { // only who follows needs it
				eventually(t, "it is said", func() bool {
					return p.Inflow().Problem() != nil && strings.Contains(p.Inflow().Problem().Error(), "redis.username")
				})
				return
			}
			if fine || err == nil || !strings.Contains(err.Error(), "redis.username") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// streamRights are those that the description of redis.username lists for revocations.
func streamRights(t *testing.T) []any {
	t.Helper()
	field, _ := reflect.TypeFor[fleet.Redis]().FieldByName("Username")
	_, after, _ := strings.Cut(field.Tag.Get("doc"), "with a section revocation also ")
	list, _, ends := strings.Cut(after, ". ")
	if !ends {
		t.Fatal("the description of redis.username lists no rights for revocations")
	}
	var rights []any
	for _, right := range documentedRights(t) {
		rights = append(rights, right)
	}
	for _, command := range regexp.MustCompile(`[A-Z]+( [A-Z]+)?`).FindAllString(list, -1) {
		rights = append(rights, "+"+strings.ReplaceAll(strings.ToLower(command), " ", "|"))
	}
	return rights
}

// While the stream cannot be reached, the list is blind; then it goes on where it was.
func TestNodesGoOnWhereTheyWereOnceRedisResponds(t *testing.T) {
	server := redistest.Start(t)
	nodes := []*revoker{newRevoker(t, server.Addr), newRevoker(t, server.Addr)}
	agree(t, nodes)
	nodes[0].revoke(t, "ada")
	agree(t, nodes, "ada")
	server.Freeze()
	for _, n := range nodes {
		eventually(t, "the list is blind", func() bool { return !n.list.IsCurrent.Load() && n.Inflow().Problem() != nil })
	}
	server.Thaw()
	agree(t, nodes, "ada")
	newPublisher(t, server.Addr).revoke(t, "bob")
	agree(t, nodes, "ada", "bob")
	command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")(t, server)
	newPublisher(t, server.Addr).revoke(t, "cid")
	agree(t, nodes, "ada", "bob", "cid")
	for _, n := range nodes {
		if got := n.list.Losses.Load(); got != 0 {
			t.Errorf("lost %d times, and nothing was\n%s", got, n.log)
		}
	}
	server.Stop()
	for _, n := range nodes {
		eventually(t, "the list is blind", func() bool { return !n.list.IsCurrent.Load() })
	}
	server.Restart() // empty
	agree(t, append(nodes, newRevoker(t, server.Addr)), "ada", "bob", "cid")
	for _, n := range nodes {
		if n.list.Losses.Load() == 0 {
			t.Error("the loss is not found")
		}
	}
}

// Redis is full of something else: what was revoked stays so, and nodes say that nothing
// can be added.
func TestRevocationsStayWhileRedisIsFull(t *testing.T) {
	server := redistest.Start(t, "--maxmemory-policy", "noeviction")
	nodes := []*revoker{newRevoker(t, server.Addr), newRevoker(t, server.Addr)}
	agree(t, nodes)
	nodes[0].revoke(t, "ada")
	agree(t, nodes, "ada")
	command("CONFIG", "SET", "maxmemory", "1")(t, server)
	if err := publishes(t, nodes[0], time.Second); err == nil || !strings.Contains(err.Error(), "raise maxmemory") {
		t.Error(err)
	}
	agree(t, append(nodes, newRevoker(t, server.Addr)), "ada")
	command("CONFIG", "SET", "maxmemory", "0")(t, server)
	newPublisher(t, server.Addr).revoke(t, "bob")
	agree(t, nodes, "ada", "bob")
}

// A node with another secret must not take the stream for a broken one.
func TestNodeWithAnotherSecretBreaksNothing(t *testing.T) {
	server := redistest.Start(t)
	other := func(o *nodeOptions) { o.revocations.Secrets = []string{"another-secret-of-more-than-32-bytes"} }
	n := newRevoker(t, server.Addr)
	agree(t, []*revoker{n})
	n.revoke(t, "ada")
	stranger := newRevoker(t, server.Addr, other)
	eventually(t, "it says what is wrong", func() bool {
		return stranger.Inflow().Problem() != nil && strings.Contains(stranger.Inflow().Problem().Error(), "redis.secret")
	})
	time.Sleep(5 * time.Second) // it does not change its mind
	if stranger.list.IsCurrent.Load() || stranger.counters.Epochs.Load() != 0 || n.list.Losses.Load() != 0 {
		t.Error("it has begun a stream of its own, or says that its list is complete")
	}
	if err := publishes(t, newPublisher(t, server.Addr, other), time.Second); err == nil || !strings.Contains(err.Error(), "does not open") {
		t.Error(err)
	}
	agree(t, []*revoker{n}, "ada")
}

func TestSecretOfRevocationsIsChangedNodeByNode(t *testing.T) {
	server := redistest.Start(t)
	const newer = "a-newer-secret-of-more-than-32-bytes"
	secrets := func(s ...string) func(*nodeOptions) {
		return func(o *nodeOptions) { o.revocations.Secrets = s }
	}
	old := newRevoker(t, server.Addr, secrets(secret))
	agree(t, []*revoker{old})
	old.revoke(t, "ada")
	reads := newRevoker(t, server.Addr, secrets(secret, newer))
	agree(t, []*revoker{old, reads}, "ada")
	old.stop()
	writes := newRevoker(t, server.Addr, secrets(newer, secret))
	agree(t, []*revoker{reads, writes}, "ada")
	writes.revoke(t, "bob")
	agree(t, []*revoker{reads, writes}, "ada", "bob")
	if reads.list.Losses.Load()+writes.list.Losses.Load() != 0 {
		t.Error("the change of a secret counts as a loss")
	}
}

// What ended is removed, and nothing else; that is no loss to anybody.
func TestEntriesAreKeptUntilTheirTimeIsOver(t *testing.T) {
	server := redistest.Start(t)
	fast := func(o *nodeOptions) { o.revocations.TrimEvery = 100 * time.Millisecond }
	nodes := []*revoker{newRevoker(t, server.Addr, fast), newRevoker(t, server.Addr, fast)}
	agree(t, nodes)
	p := newPublisher(t, server.Addr)
	for i := range 5 {
		e := revocationtest.Event(fmt.Sprint("over", i))
		e.At, e.Until = time.Now().Add(-time.Hour), time.Now().Add(-5*time.Minute)
		if err := p.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	p.revoke(t, "ada", "bob")
	eventually(t, "what is over is removed", func() bool { return len(entries(t, server)) <= 4 })
	agree(t, append(nodes, newRevoker(t, server.Addr)), "ada", "bob")
	time.Sleep(time.Second)
	if got := entries(t, server); len(got) > 4 { // two revocations and who has removed what
		t.Errorf("%d entries", len(got))
	}
	for _, n := range nodes {
		if n.list.Losses.Load() != 0 {
			t.Errorf("lost\n%s", n.log)
		}
	}
	p.revoke(t, "cid")
	agree(t, nodes, "ada", "bob", "cid")
}

// An event that comes twice is one, as after a response that got lost.
func TestEventThatIsPublishedTwiceIsOne(t *testing.T) {
	server := redistest.Start(t)
	n := newRevoker(t, server.Addr)
	agree(t, []*revoker{n})
	n.revoke(t, "ada", "ada")
	agree(t, []*revoker{n}, "ada")
	if got := n.list.All(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// A Cluster has one slot for all that the scripts touch.
func TestClusterCarriesRevocations(t *testing.T) {
	server := redistest.Start(t, "--cluster-enabled", "yes")
	plain := server.Client()
	defer plain.Close()
	if err := plain.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	cluster := func(o *nodeOptions) { o.Cluster = true }
	nodes := []*revoker{newRevoker(t, server.Addr, cluster), newRevoker(t, server.Addr, cluster)}
	agree(t, nodes)
	newPublisher(t, server.Addr, cluster).revoke(t, "ada")
	agree(t, nodes, "ada")
	if err := plain.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	agree(t, nodes, "ada")
}

func TestSentinelsTellTheMasterOfRevocations(t *testing.T) {
	master := redistest.Start(t)
	sentinel := redistest.StartSentinel(t, "main", master)
	byName := func(o *nodeOptions) { o.Options = redis.Options{Addresses: []string{sentinel.Addr}, Master: "main"} }
	nodes := []*revoker{newRevoker(t, "", byName)}
	agree(t, nodes)
	newPublisher(t, "", byName).revoke(t, "ada")
	agree(t, append(nodes, newRevoker(t, master.Addr)), "ada")
}

// A list that is full must not say that it is complete.
func TestListThatIsFullIsNotComplete(t *testing.T) {
	server := redistest.Start(t)
	small := newPublisher(t, server.Addr)
	small.list.List = revocationtest.NewList(2).List
	n := newRevoker(t, server.Addr)
	agree(t, []*revoker{n})
	n.revoke(t, "ada", "bob", "cid", "dan")
	go small.Follow(t.Context(), small.list)
	eventually(t, "it says that it is full", func() bool { return errors.Is(small.Inflow().Problem(), revocation.ErrFull) })
	if small.list.IsCurrent.Load() || small.list.Losses.Load() == 0 {
		t.Error("a list says that it is complete, and had no room")
	}
}
