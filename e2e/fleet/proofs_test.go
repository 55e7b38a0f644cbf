package fleet

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core/authn/dpop/uses"
	"gatehouse/core/fleet/proofs"
	"gatehouse/core/fleet/redis"
	"gatehouse/dev/redistest"
)

// newProofs is what one node remembers of used proofs.
func newProofs(t *testing.T, server *redistest.Server, tolerant bool) *proofs.Store {
	t.Helper()
	o := at(server)
	o.Timeout = 200 * time.Millisecond
	client, err := redis.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	local, err := uses.NewMemory(100, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s, err := proofs.New(proofs.Options{Redis: client, Local: local, Prefix: "gatehouse:", Tolerant: tolerant, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestProofThatOneNodeHasSeenIsAReplayOnAnother(t *testing.T) {
	server := redistest.Start(t)
	first, second := newProofs(t, server, false), newProofs(t, server, true)
	until := time.Now().Add(time.Minute)
	for _, c := range []struct {
		name                  string
		node                  *proofs.Store
		thumbprint, id, asked string
		want                  bool
	}{
		{"the first use", first, "key", "a", "request 1", true},
		{"a replay on another node", second, "key", "a", "request 2", false},
		{"a replay on the same node", first, "key", "a", "request 3", false},
		{"a replay by a host that names no request", second, "key", "a", "", false},
		{"the second run of the request on another node", second, "key", "a", "request 1", true},
		{"a replay after that", second, "key", "a", "request 2", false},
		{"the id of another key", second, "other key", "a", "request 2", true},
		{"another id", second, "key", "b", "", true},
		{"its replay, of no request either", first, "key", "b", "", false},
		{"parts that join to the same text", first, "ke", "yb", "", true},
	} {
		if got, err := c.node.Use(t.Context(), c.thumbprint, c.id, c.asked, until); got != c.want || err != nil {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	c := server.Client()
	defer c.Close()
	keys, err := c.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 4 {
		t.Errorf("keys %q, %v", keys, err)
	}
	for _, key := range keys {
		if left := c.TTL(t.Context(), key).Val(); !strings.HasPrefix(key, "gatehouse:proof:") || left < 55*time.Second || left > 66*time.Second {
			t.Errorf("%s is kept for %v", key, left)
		}
	}
}

func TestProofIsUsedByOneOfManyNodesAtOnce(t *testing.T) {
	server := redistest.Start(t)
	var admitted atomic.Int32
	var wait sync.WaitGroup
	for range 8 {
		node := newProofs(t, server, false)
		for range 8 {
			wait.Go(func() {
				first, err := node.Use(t.Context(), "key", "a", "", time.Now().Add(time.Minute))
				if err != nil {
					t.Error(err)
				}
				if first {
					admitted.Add(1)
				}
			})
		}
	}
	wait.Wait()
	if n := admitted.Load(); n != 1 {
		t.Errorf("%d requests were admitted by one proof", n)
	}
}

func TestProofsAreRefusedWhileRedisIsAwayUnlessThatIsTolerated(t *testing.T) {
	for name, faults := range map[string]func(*redistest.Server){
		"stopped": (*redistest.Server).Stop, "frozen": (*redistest.Server).Freeze, "full": (*redistest.Server).Fill,
	} {
		server := redistest.Start(t)
		strict, tolerant := newProofs(t, server, false), newProofs(t, server, true)
		until := time.Now().Add(time.Minute)
		if first, err := tolerant.Use(t.Context(), "key", "before", "", until); !first || err != nil {
			t.Fatalf("%s, before: %v, %v", name, first, err)
		}
		faults(server)
		if first, err := strict.Use(t.Context(), "key", "a", "", until); first || err == nil || !strings.Contains(err.Error(), "dpop.fault_tolerant") {
			t.Errorf("%s, strict: %v, %v", name, first, err)
		}
		for _, c := range []struct {
			id   string
			want bool
		}{{"b", true}, {"b", false}, {"before", false}} {
			if first, err := tolerant.Use(t.Context(), "key", c.id, "", until); first != c.want || err != nil {
				t.Errorf("%s, tolerated, %s: %v, %v", name, c.id, first, err)
			}
		}
	}
}

func TestProofIsRememberedWhereRedisHasLostIt(t *testing.T) {
	server := redistest.Start(t)
	node := newProofs(t, server, false)
	until := time.Now().Add(time.Minute)
	if first, err := node.Use(t.Context(), "key", "a", "", until); !first || err != nil {
		t.Fatal(first, err)
	}
	c := server.Client()
	defer c.Close()
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if first, err := node.Use(t.Context(), "key", "a", "", until); first || err != nil {
		t.Errorf("a replay: %v, %v", first, err)
	}
}
