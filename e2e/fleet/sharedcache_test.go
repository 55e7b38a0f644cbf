package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/cache"
	"gatehouse/core/fleet/redis"
	"gatehouse/core/fleet/sharedcache"
	"gatehouse/dev/redistest"
)

const (
	secret = "0123456789abcdef0123456789abcdef"
	token  = "gold-9d1f2c7b-not-to-be-found"
	email  = "ada@example.test"
)

// provider judges tokens, and counts how often it is asked.
type provider struct {
	calls atomic.Int64
	delay time.Duration
}

func (p *provider) AuthenticateToken(_ context.Context, c core.Credential) (*core.Principal, error) {
	p.calls.Add(1)
	time.Sleep(p.delay)
	if !strings.HasPrefix(c.Value, "gold") {
		return nil, fmt.Errorf("%w: unknown", core.ErrInvalid)
	}
	return &core.Principal{
		Subject: "ada", Scopes: []string{"orders:read"}, Expiry: time.Now().Add(time.Hour),
		Claims: map[string]any{"email": email, "n": []any{"x"}},
	}, nil
}

// node is what one gateway node has: a connection of its own and a cache of its own.
type node struct {
	*cache.Memo
	redis  *redis.Client
	shared *sharedcache.Store
}

func newNode(t *testing.T, addr string, next core.TokenAuthenticator, secrets ...string) *node {
	t.Helper()
	return newNodeWith(t, redis.Options{Addresses: []string{addr}, Timeout: 200 * time.Millisecond}, next, secrets...)
}

func newNodeWith(t *testing.T, o redis.Options, next core.TokenAuthenticator, secrets ...string) *node {
	t.Helper()
	client, err := redis.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	shared, err := sharedcache.New(sharedcache.Options{Redis: client, Secrets: secrets, Prefix: "gatehouse:"})
	if err != nil {
		t.Fatal(err)
	}
	memory := func() cache.Store {
		m, err := cache.NewMemory(cache.Limits{Entries: 1000}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	memo, err := cache.New(cache.Options{Next: next, Positive: memory(), Negative: memory(), Shared: shared, Digest: "same"})
	if err != nil {
		t.Fatal(err)
	}
	return &node{memo, client, shared}
}

func (n *node) ask(t *testing.T, value string) (*core.Principal, error) {
	t.Helper()
	return n.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: value})
}

func (n *node) mustKnow(t *testing.T, value string) {
	t.Helper()
	p, err := n.ask(t, value)
	if err != nil || p.Subject != "ada" || len(p.Scopes) != 1 || p.Claims["email"] != email {
		t.Errorf("%+v, %v", p, err)
	}
}

func (p *provider) wantCalls(t *testing.T, want int64) {
	t.Helper()
	if got := p.calls.Load(); got != want {
		t.Errorf("the provider was asked %d times, want %d", got, want)
	}
}

func TestNodeUsesWhatAnotherHasLearned(t *testing.T) {
	server := redistest.Start(t)
	next := &provider{}
	newNode(t, server.Addr, next, secret).mustKnow(t, token)
	other := newNode(t, server.Addr, next, secret)
	other.mustKnow(t, token)
	next.wantCalls(t, 1)

	for range 2 { // a refusal too
		if p, err := newNode(t, server.Addr, next, secret).ask(t, "lead"); !errors.Is(err, core.ErrInvalid) || p != nil {
			t.Errorf("%+v, %v", p, err)
		}
	}
	next.wantCalls(t, 2)
	if got := other.shared.Stats(); got.Hits != 1 || got.Failures != 0 {
		t.Errorf("%+v", got)
	}
}

func TestConcurrentMissesOfOneTokenOverTenNodesMakeOneCall(t *testing.T) {
	server := redistest.Start(t)
	next := &provider{delay: 300 * time.Millisecond}
	var callers sync.WaitGroup
	for range 10 {
		n := newNode(t, server.Addr, next, secret)
		for range 100 {
			callers.Go(func() { n.mustKnow(t, token) })
		}
	}
	callers.Wait()
	next.wantCalls(t, 1)
}

// A node that dies while it asks must not keep the others from asking.
func TestClaimOfANodeThatDiedEnds(t *testing.T) {
	server := redistest.Start(t)
	next := &provider{}
	dead := newNode(t, server.Addr, next, secret)
	claimed, _, err := dead.shared.Claim(t.Context(), "same", core.Credential{Place: core.BearerToken, Value: token}, 300*time.Millisecond)
	if err != nil || !claimed {
		t.Fatalf("claimed %v, %v", claimed, err)
	}
	newNode(t, server.Addr, next, secret).mustKnow(t, token)
	next.wantCalls(t, 1)
}

// The longest claim there is ends when those who wait for it give up, and whoever writes
// to Redis can make one that never ends.
func TestClaimThatLastsRefusesNobody(t *testing.T) {
	server := redistest.Start(t)
	next := &provider{}
	n := newNode(t, server.Addr, next, secret)
	claimed, _, err := n.shared.Claim(t.Context(), "same", core.Credential{Place: core.BearerToken, Value: token}, time.Hour)
	if err != nil || !claimed {
		t.Fatalf("claimed %v, %v", claimed, err)
	}
	n.mustKnow(t, token)
	next.wantCalls(t, 1)
}

func TestSecretIsChangedNodeByNode(t *testing.T) {
	server := redistest.Start(t)
	const newer = "a-newer-secret-of-more-than-32-bytes"
	next := &provider{}
	newNode(t, server.Addr, next, secret).mustKnow(t, token)
	newNode(t, server.Addr, next, newer, secret).mustKnow(t, token) // reads with both
	next.wantCalls(t, 1)
	newNode(t, server.Addr, next, newer).mustKnow(t, token) // cannot read, and writes
	next.wantCalls(t, 2)
	newNode(t, server.Addr, next, secret, newer).mustKnow(t, token)
	next.wantCalls(t, 2)
	if _, err := sharedcache.New(sharedcache.Options{Redis: newNode(t, server.Addr, next, secret).redis, Secrets: []string{"short"}}); err == nil {
		t.Error("a secret that can be guessed was accepted")
	}
}

// content is everything that Redis holds.
func content(t *testing.T, server *redistest.Server) map[string][]byte {
	t.Helper()
	c := server.Client()
	defer c.Close()
	names, err := c.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, name := range names {
		if all[name], err = c.Get(t.Context(), name).Bytes(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestRedisHoldsNeitherCredentialNorIdentity(t *testing.T) {
	server := redistest.Start(t)
	next := &provider{}
	newNode(t, server.Addr, next, secret).mustKnow(t, token)
	all := content(t, server)
	if len(all) != 1 {
		t.Errorf("%d keys, want that of one credential", len(all))
	}
	for name, value := range all {
		for _, text := range []string{token, email, "ada", "orders:read", "sub", "Subject", secret} {
			if strings.Contains(name, text) || bytes.Contains(value, []byte(text)) {
				t.Errorf("%q: %q shows %s", name, value, text)
			}
		}
	}
}

// Whoever can write to Redis can delay, and can make nobody somebody else.
func TestWhoWritesToRedisMakesNoPrincipal(t *testing.T) {
	server := redistest.Start(t)
	next := &provider{}
	nameOf := func(value string) (name string) {
		t.Helper()
		before := content(t, server)
		_, _ = newNode(t, server.Addr, next, secret).ask(t, value)
		for n := range content(t, server) {
			if _, old := before[n]; !old {
				name = n
			}
		}
		return name
	}
	good, bad := nameOf(token), nameOf("lead")
	asked := next.calls.Load()
	c := server.Client()
	defer c.Close()
	value, err := c.Get(t.Context(), good).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(value)
	flipped[len(flipped)-1] ^= 1
	for attack, forged := range map[string][]byte{
		"a value moved to another name": value,
		"a bit changed":                 flipped,
		"plain text":                    []byte(`{"Principal":{"Subject":"root"},"Life":3600000000000,"Until":"2999-01-01T00:00:00Z"}`),
		"nothing":                       {},
		"one byte":                      {0},
		"a megabyte":                    make([]byte, 1<<20),
	} {
		if err := c.Set(t.Context(), bad, forged, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		n := newNode(t, server.Addr, next, secret)
		if p, err := n.ask(t, "lead"); !errors.Is(err, core.ErrInvalid) || p != nil {
			t.Errorf("%s: %+v, %v", attack, p, err)
		}
		if n.shared.Stats().Unopened == 0 {
			t.Errorf("%s: is not counted", attack)
		}
		asked++
		next.wantCalls(t, asked)
	}
	if err := c.Del(t.Context(), bad).Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.LPush(t.Context(), bad, "a list").Err(); err != nil {
		t.Fatal(err)
	}
	if p, err := newNode(t, server.Addr, next, secret).ask(t, "lead"); !errors.Is(err, core.ErrInvalid) || p != nil {
		t.Errorf("another type: %+v, %v", p, err)
	}
}

// A value counts until its time is over by the clock too: whoever can write to
// Redis can make it last there.
func TestValueThatIsMadeToLastEndsInItsTime(t *testing.T) {
	server := redistest.Start(t)
	client := newNode(t, server.Addr, &provider{}, secret).redis
	now := time.Now()
	store, err := sharedcache.New(sharedcache.Options{Redis: client, Secrets: []string{secret}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	c := core.Credential{Place: core.BearerToken, Value: token}
	e := cache.Entry{Principal: &core.Principal{Subject: "ada"}, Until: now.Add(time.Minute)}
	if err := store.Set(t.Context(), "d", c, e); err != nil {
		t.Fatal(err)
	}
	plain := server.Client()
	defer plain.Close()
	for name := range content(t, server) {
		if err := plain.Expire(t.Context(), name, 24*time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got, found, err := store.Get(t.Context(), "d", c); err != nil || !found || got.Until.After(now.Add(time.Minute)) {
		t.Errorf("%+v %v %v, want it until its time at most", got, found, err)
	}
	now = now.Add(2 * time.Minute)
	if got, found, err := store.Get(t.Context(), "d", c); err != nil || found {
		t.Errorf("%+v %v %v after its time", got, found, err)
	}
	for name := range content(t, server) {
		if err := plain.Persist(t.Context(), name).Err(); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(-2 * time.Minute)
	if got, found, err := store.Get(t.Context(), "d", c); err != nil || found {
		t.Errorf("%+v %v %v, want nothing that has no end", got, found, err)
	}
}

// failures are what becomes of Redis.
var failures = map[string]func(*redistest.Server){
	"stopped": (*redistest.Server).Stop,
	"frozen":  (*redistest.Server).Freeze,
	"full": func(s *redistest.Server) {
		c := s.Client()
		defer c.Close()
		c.ConfigSet(context.Background(), "maxmemory", "1")
	},
	"password": func(s *redistest.Server) {
		c := s.Client()
		defer c.Close()
		c.ConfigSet(context.Background(), "requirepass", "another")
		c.Do(context.Background(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
	},
	"no right": func(s *redistest.Server) {
		c := s.Client()
		defer c.Close()
		c.Do(context.Background(), "ACL", "SETUSER", "default", "-@all")
	},
	"flushed": func(s *redistest.Server) {
		c := s.Client()
		defer c.Close()
		c.FlushAll(context.Background())
	},
}

// In each the fleet is slower, and neither open nor down.
func TestRedisThatFailsIsSlowerAndNeverOpenNeverDown(t *testing.T) {
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			next := &provider{}
			nodes := []*node{newNode(t, server.Addr, next, secret), newNode(t, server.Addr, next, secret)}
			nodes[0].mustKnow(t, token)
			fail(server)
			for i := range 20 {
				n := nodes[i%2]
				n.mustKnow(t, token)
				n.mustKnow(t, fmt.Sprint("gold", i))
				if p, err := n.ask(t, fmt.Sprint("lead", i)); !errors.Is(err, core.ErrInvalid) || p != nil {
					t.Errorf("garbage: %+v, %v", p, err)
				}
			}
			if name == "frozen" {
				server.Thaw()
			}
		})
	}
}

func TestRedisThatComesBackIsUsedAgain(t *testing.T) {
	server := redistest.Start(t)
	next := &provider{}
	n := newNode(t, server.Addr, next, secret)
	server.Stop()
	for i := range 10 {
		n.mustKnow(t, fmt.Sprint("gold", i))
	}
	if n.redis.Available() {
		t.Error("the breaker is closed although nothing responds")
	}
	server.Restart()
	for i := 0; !n.redis.Available() || len(content(t, server)) == 0; i++ {
		if i > 100 {
			t.Fatal("Redis is not used again")
		}
		n.mustKnow(t, fmt.Sprint("gold again", i))
		time.Sleep(50 * time.Millisecond)
	}
}

// The rights that the description of redis.username lists are enough.
func TestUserWithTheDocumentedRightsIsEnough(t *testing.T) {
	server := redistest.Start(t)
	server.SetUser("gatehouse", append([]string{"on", ">" + aclPassword, "~gatehouse:*"}, documentedRights(t)...)...)
	client, err := redis.New(redis.Options{Addresses: []string{server.Addr}, Username: "gatehouse", Password: aclPassword, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	store, err := sharedcache.New(sharedcache.Options{Redis: client, Secrets: []string{secret}, Prefix: "gatehouse:"})
	if err != nil {
		t.Fatal(err)
	}
	c := core.Credential{Place: core.BearerToken, Value: token}
	for range 2 { // the second claim needs what the first one has released
		claimed, release, err := store.Claim(t.Context(), "d", c, time.Minute)
		if err != nil || !claimed {
			t.Fatalf("claimed %v, %v", claimed, err)
		}
		release()
	}
	if err := store.Set(t.Context(), "d", c, cache.Entry{Principal: &core.Principal{Subject: "ada"}, Until: time.Now().Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	if _, found, err := store.Get(t.Context(), "d", c); err != nil || !found {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestErrorOfRedisSaysWhatToDo(t *testing.T) {
	for setting, want := range map[string]string{"--requirepass": "set username and password", "--maxmemory": "raise maxmemory"} {
		t.Run(setting, func(t *testing.T) {
			server := redistest.Start(t, setting, "1")
			var log bytes.Buffer
			client, err := redis.New(redis.Options{Addresses: []string{server.Addr}, Timeout: time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			for range 3 {
				if client.Set(t.Context(), "a", "b", time.Minute).Err() == nil {
					t.Error("the command was executed")
				}
			}
			if got := log.String(); strings.Count(got, want) != 1 {
				t.Errorf("logged %q, want %q once", got, want)
			}
		})
	}
}
