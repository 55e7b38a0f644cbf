package signin

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/dev/redistest"
)

const (
	origin        = "https://app.example.test"
	sessionSecret = "0123456789abcdef0123456789abcdef"
	formerSecret  = "fedcba9876543210fedcba9876543210"
	cookieName    = "__Host-gatehouse"
)

// fleet are gates with sessions in one Redis, and the provider where people sign in.
type fleet struct {
	t        testing.TB
	clock    *coretest.Clock
	provider *coretest.FakeProvider
	tokens   *coretest.Issuer
	redis    map[string]any
	log      *coretest.Log
}

// at is the section redis of a server.
func at(s *redistest.Server) map[string]any {
	host, port, _ := net.SplitHostPort(s.Addr)
	number, _ := strconv.Atoi(port)
	return map[string]any{"host": host, "port": number}
}

func newFleet(t testing.TB, redis map[string]any) *fleet {
	clock := coretest.NewClock()
	f := &fleet{t, clock, coretest.NewFakeProvider(t, clock), coretest.NewIssuer(t, clock), redis, &coretest.Log{}}
	f.provider.Behave(coretest.Behaviour{EndsFamilyAtReuse: true})
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(f.log)
		}
	})
	return f
}

// node is a gate of a process of its own, with changes to its settings of sessions and
// further sections.
func (f *fleet) node(changes map[string]any, more map[string]any) *core.Gate {
	f.t.Helper()
	gate, err := config.NewBuilder(config.BuilderOptions{Log: slog.New(slog.NewTextHandler(f.log, nil)), Now: f.clock.Now}).Gate([]byte(f.settings(changes, more)))
	if err != nil {
		f.t.Fatal(err)
	}
	return gate
}

func (f *fleet) settings(changes map[string]any, more map[string]any) string {
	return coretest.JSON(f.t, coretest.Merged(map[string]any{
		"permission_table": "public: [GET /open]\nauthenticated: [GET /orders]",
		"redis":            coretest.Merged(map[string]any{"timeout": 1, "secret": "a secret of the whole fleet, long enough"}, f.redis),
		"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": f.tokens.URL, "audience": []any{coretest.Audience}}}},
		"login": map[string]any{"oidc": map[string]any{
			"providers":    []any{map[string]any{"discovery": f.provider.DiscoveryURL(), "client_id": "web", "client_secret": "hunter2"}},
			"redirect_uri": origin + "/callback",
			"session":      coretest.Merged(map[string]any{"storage": "redis", "secret": []string{sessionSecret}}, changes),
		}},
	}, more))
}

// cookies are those of a browser.
type cookies map[string]string

// send makes a request to a gate, and keeps the cookies of its response.
func (f *fleet) send(gate *core.Gate, jar cookies, target string, header ...core.Header) core.Decision {
	f.t.Helper()
	f.clock.Advance(time.Millisecond)
	r := &core.Request{Method: http.MethodGet, Target: strings.TrimPrefix(target, origin), Host: "app.example.test", Header: append(header, core.Header{Name: "Accept", Value: "text/html"})}
	for name, value := range jar {
		r.Header = append(r.Header, core.Header{Name: "Cookie", Value: name + "=" + value})
	}
	d := gate.Check(f.t.Context(), r)
	for _, h := range slices.Concat(d.Header, d.ResponseHeader) {
		pair, attributes, _ := strings.Cut(h.Value, ";")
		if name, value, ok := strings.Cut(pair, "="); ok && h.Name == "Set-Cookie" {
			if jar[name] = value; strings.Contains(attributes, "Max-Age=0") {
				delete(jar, name)
			}
		}
	}
	return d
}

func location(d core.Decision) string {
	for _, h := range d.Header {
		if h.Name == "Location" {
			return h.Value
		}
	}
	return ""
}

// try signs a new browser in at a gate, and returns the decision on the callback.
func (f *fleet) try(gate *core.Gate) (cookies, core.Decision) {
	f.t.Helper()
	jar := cookies{}
	start := f.send(gate, jar, "/orders")
	at := f.send(gate, jar, location(start))
	stay := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := stay.Get(location(at))
	if err != nil {
		f.t.Fatalf("start %d %v, %d %v: %v", start.Status, start.Cause, at.Status, at.Cause, err)
	}
	response.Body.Close()
	return jar, f.send(gate, jar, response.Header.Get("Location"))
}

func (f *fleet) signIn(gate *core.Gate) cookies {
	f.t.Helper()
	jar, d := f.try(gate)
	if location(d) != origin+"/orders" || jar[cookieName] == "" {
		f.t.Fatalf("the sign-in ends with %d at %q: %v", d.Status, location(d), d.Cause)
	}
	f.passes(gate, jar)
	return jar
}

func (f *fleet) passes(gate *core.Gate, jar cookies) {
	f.t.Helper()
	if d := f.send(gate, jar, "/orders"); d.Outcome != core.Allow || d.Principal.Kind != core.KindOIDC || d.Principal.Subject != "user-1" {
		f.t.Fatalf("%d %v", d.Status, d.Cause)
	}
}

// wants is the decision on a session that does not count: 302 leads to the sign-in.
func (f *fleet) wants(status int, what string, gate *core.Gate, jar cookies) {
	f.t.Helper()
	if d := f.send(gate, jar, "/orders"); d.Outcome == core.Allow || d.Status != status {
		f.t.Errorf("%s: %d %v, want %d", what, d.Status, d.Cause, status)
	}
}

// othersGoOn checks that no request but one with the cookie of a session depends on Redis.
func (f *fleet) othersGoOn(what string, gate *core.Gate) {
	f.t.Helper()
	bearer := core.Header{Name: "Authorization", Value: "Bearer " + f.tokens.Token(nil)}
	if d := f.send(gate, cookies{}, "/orders", bearer); d.Outcome != core.Allow {
		f.t.Errorf("%s: a token gets %d %v", what, d.Status, d.Cause)
	}
	if d := f.send(gate, cookies{}, "/open"); d.Outcome != core.Allow {
		f.t.Errorf("%s: a public route gets %d %v", what, d.Status, d.Cause)
	}
	f.wants(http.StatusFound, what+": a browser without a session", gate, cookies{})
}

// keysOf are the keys of sessions in Redis.
func keysOf(t *testing.T, s *redistest.Server) []string {
	t.Helper()
	c := s.Client()
	defer c.Close()
	all, err := c.Keys(t.Context(), "gatehouse:sign-in:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSessionsAreRefusedWhileRedisIsAwayAndNothingElseIs(t *testing.T) {
	all := func(s *redistest.Server) { s.SetUser("gate", "reset", "on", ">password", "~gatehouse:*", "+@all") }
	for name, fault := range map[string]struct {
		fail, mend func(*redistest.Server)
		signIn     int // status of a sign-in meanwhile
		after      int // status of the session when Redis is back; 0: it passes
	}{
		"stopped, and started again with nothing in it": {(*redistest.Server).Stop, func(s *redistest.Server) { s.Restart(); all(s) }, 503, 302},
		"frozen":                      {(*redistest.Server).Freeze, (*redistest.Server).Thaw, 503, 0},
		"the user may not GET":        {func(s *redistest.Server) { s.SetUser("gate", "-get") }, all, 303, 0},
		"the keys are another user's": {func(s *redistest.Server) { s.SetUser("gate", "resetkeys", "~other:*") }, all, 503, 0},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			all(server)
			f := newFleet(t, coretest.Merged(at(server), map[string]any{"username": "gate", "password": "password"}))
			gate := f.node(nil, nil)
			ada := f.signIn(gate)
			fault.fail(server)
			for range 7 { // more than open the breaker
				f.wants(http.StatusServiceUnavailable, "a session", gate, ada)
			}
			if len(ada) == 0 || ada[cookieName] == "" {
				t.Error("the cookie is deleted because of an outage")
			}
			f.othersGoOn(name, gate)
			if d := f.send(gate, ada, "/open"); d.Outcome != core.Allow {
				t.Errorf("a public route with the cookie gets %d %v", d.Status, d.Cause)
			}
			if d := f.send(gate, ada, "/logout"); d.Status != 503 {
				t.Errorf("a logout gets %d, and has ended nothing", d.Status)
			}
			if _, d := f.try(gate); d.Status != fault.signIn {
				t.Errorf("a sign-in ends with %d", d.Status)
			}
			ada = cookies{cookieName: ada[cookieName]}
			fault.mend(server)
			back := func() bool {
				d := f.send(gate, cookies{cookieName: ada[cookieName]}, "/orders")
				return fault.after == 0 && d.Outcome == core.Allow || fault.after != 0 && d.Status == fault.after
			}
			eventually(t, "the session to be as it was", back)
			f.signIn(gate)
		})
	}
}

// What is in Redis can still be read when nothing more fits into it.
func TestSessionsLiveOnInARedisThatIsFull(t *testing.T) {
	server := redistest.Start(t)
	f := newFleet(t, at(server))
	gate := f.node(map[string]any{"idling_timeout": 600}, nil)
	ada := f.signIn(gate)
	server.Fill()
	f.passes(gate, ada)
	f.clock.Advance(2 * time.Minute) // the use would be noted
	f.passes(gate, ada)
	if !strings.Contains(f.log.String(), "the use of a session cannot be noted") {
		t.Error("the log does not say that nothing can be noted")
	}
	if _, d := f.try(gate); d.Status != 503 {
		t.Errorf("a sign-in that cannot be kept ends with %d", d.Status)
	}
	f.othersGoOn("full", gate)
	server.Empty()
	f.signIn(gate)
	f.passes(gate, ada)
}

// Redis is not trusted with sessions: whoever can write there makes none, and moves none.
func TestSessionThatSomebodyHasChangedInRedisIsRefused(t *testing.T) {
	server := redistest.Start(t)
	f := newFleet(t, at(server))
	gate := f.node(nil, nil)
	raw := func(key string) string { return server.Do("GET", key).(string) }
	foreign := f.node(map[string]any{"secret": []string{formerSecret}}, nil)
	f.signIn(foreign)
	theirs := raw(keysOf(t, server)[0])
	server.Do("FLUSHALL")
	mallory := f.signIn(gate)
	own := raw(keysOf(t, server)[0])
	f.passes(gate, mallory)
	for attack, change := range map[string]func(key, value string){
		"nothing":                           func(key, _ string) { server.Do("SET", key, "") },
		"a byte changed":                    func(key, v string) { server.Do("SET", key, v[:len(v)/2]+string(v[len(v)/2]^1)+v[len(v)/2+1:]) },
		"truncated":                         func(key, v string) { server.Do("SET", key, v[:len(v)-1]) },
		"longer":                            func(key, v string) { server.Do("APPEND", key, "\x00") },
		"no session":                        func(key, _ string) { server.Do("SET", key, `{"id":"x","iss":"x","sub":"admin"}`) },
		"a megabyte":                        func(key, _ string) { server.Do("SET", key, strings.Repeat("A", 1<<20)) },
		"the session of another":            func(key, _ string) { server.Do("SET", key, own) },
		"sealed with another secret":        func(key, _ string) { server.Do("SET", key, theirs) },
		"another type":                      func(key, _ string) { server.Do("DEL", key); server.Do("RPUSH", key, "x") },
		"deleted":                           func(key, _ string) { server.Do("DEL", key) },
		"renamed to what a cookie is named": func(key, _ string) { server.Do("RENAME", key, "gatehouse:sign-in:AAAA") },
	} {
		before := keysOf(t, server)
		ada := f.signIn(gate)
		i := slices.IndexFunc(keysOf(t, server), func(key string) bool { return !slices.Contains(before, key) })
		key := keysOf(t, server)[i]
		change(key, raw(key))
		want := http.StatusFound
		if attack == "another type" {
			want = http.StatusServiceUnavailable // Redis does not say what is there
		}
		f.wants(want, attack, gate, ada)
		server.Do("DEL", key)
	}
	f.passes(gate, mallory)
}

// A cookie names a session, and nothing else does.
func TestOnlyTheCookieOfASessionInRedisNamesIt(t *testing.T) {
	server := redistest.Start(t)
	f := newFleet(t, at(server))
	gate := f.node(nil, nil)
	ada := f.signIn(gate)
	value, key := ada[cookieName], keysOf(t, server)[0]
	handle := strings.TrimPrefix(key, "gatehouse:sign-in:")
	for attack, cookie := range map[string]string{
		"the name of the session in Redis": handle, "a byte less": value[:len(value)-1], "a byte more": value + "A", "twice": value + value,
		"empty": "", "other letters": strings.ToLower(value), "padded": value + "=", "oversized": strings.Repeat("A", 16<<10), "a path": "../" + value, "a pattern": "*",
	} {
		f.wants(http.StatusFound, attack, gate, cookies{cookieName: cookie})
	}
	f.passes(gate, ada)
	if strings.Contains(key, value) || bytes.Contains([]byte(fmt.Sprint(server.Do("GET", key))), []byte("user-1")) {
		t.Error("Redis holds the cookie, or reads the session")
	}
}

func TestSecretOfSessionsInRedisIsRotated(t *testing.T) {
	server := redistest.Start(t)
	f := newFleet(t, at(server))
	former := f.node(map[string]any{"secret": []string{formerSecret}}, nil)
	both := f.node(map[string]any{"secret": []string{sessionSecret, formerSecret}}, nil)
	latter := f.node(nil, nil)
	ada := f.signIn(former)
	f.passes(both, ada)
	f.wants(http.StatusFound, "a node that has only the new secret", latter, ada)
	f.clock.Advance(10 * time.Minute) // its use is noted: the new secret seals it
	f.passes(both, ada)
	f.passes(latter, ada)
	f.wants(http.StatusFound, "a node that has only the former secret", former, ada)
}

// A logout counts on every node at once: without a section revocation no node remembers
// a session, with one it is told.
func TestLogoutOnOneNodeEndsTheSessionOnTheOther(t *testing.T) {
	for name, more := range map[string]map[string]any{"without revocation": nil, "with revocation": {"revocation": map[string]any{}}} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			f := newFleet(t, at(server))
			first, second := f.node(nil, more), f.node(nil, more)
			eventually(t, "the nodes to follow revocations", func() bool { return f.send(second, cookies{}, "/open").Outcome == core.Allow })
			ada, other := f.signIn(first), f.signIn(second)
			f.passes(second, ada)
			copied := cookies{cookieName: ada[cookieName]}
			if d := f.send(first, ada, "/logout"); d.Status != http.StatusSeeOther || len(ada) != 0 {
				t.Errorf("%d, cookies %v: %v", d.Status, ada, d.Cause)
			}
			f.wants(http.StatusFound, "the node of the logout", first, copied)
			if more == nil {
				f.wants(http.StatusFound, "the other node", second, copied)
			} else {
				eventually(t, "the other node to refuse it", func() bool { return f.send(second, copied, "/orders").Outcome != core.Allow })
			}
			f.passes(first, other)
			f.passes(second, other)
		})
	}
}

// refreshes is how often the provider was given a refresh token.
func (f *fleet) refreshes() int { return f.provider.CallsTo(coretest.TokenPath) }

// Where a provider ends all tokens of a session whose refresh token comes twice, two
// nodes must not both use it.
func TestTwoNodesUseARefreshTokenOnce(t *testing.T) {
	for name, topology := range map[string]func(t *testing.T) map[string]any{
		"one server": func(t *testing.T) map[string]any { return at(redistest.Start(t)) },
		"a Cluster": func(t *testing.T) map[string]any {
			var addresses []string
			for _, m := range redistest.StartCluster(t).Masters {
				addresses = append(addresses, m.Addr)
			}
			return map[string]any{"cluster_nodes": addresses}
		},
		"behind sentinels": func(t *testing.T) map[string]any {
			g := redistest.StartGroup(t, "127.0.0.1")
			return map[string]any{"sentinel_nodes": g.Addresses(), "sentinel_master": g.Name}
		},
		"by TLS": func(t *testing.T) map[string]any {
			server, ca := redistest.StartTLS(t)
			return coretest.Merged(at(server), map[string]any{"ssl": true, "ca_file": ca})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, topology(t))
			nodes := []*core.Gate{f.node(nil, nil), f.node(nil, nil)}
			eventually(t, "Redis to respond", func() bool { _, d := f.try(nodes[0]); return location(d) == origin+"/orders" })
			ada := f.signIn(nodes[0])
			for round := range 3 {
				before := f.refreshes()
				f.clock.Advance(4*time.Minute + time.Second)
				var under sync.WaitGroup
				for i := range 40 {
					under.Go(func() { f.passes(nodes[i%2], cookies{cookieName: ada[cookieName]}) })
				}
				under.Wait()
				eventually(t, "the tokens to be renewed", func() bool {
					f.clock.Advance(20 * time.Millisecond) // a call that a busy machine was slow for is tried again after a while
					f.passes(nodes[1], ada)
					return f.refreshes() > before
				})
				f.clock.Advance(time.Minute) // without the new tokens nobody passes: each node waits for them
				for _, node := range nodes {
					f.passes(node, ada)
				}
				if got := f.refreshes() - before; got != 1 {
					t.Fatalf("round %d: %d refreshes", round, got)
				}
				if _, known := f.provider.LastRequestTo(t, coretest.TokenPath).PostForm["refresh_token"]; !known {
					t.Fatal("no refresh")
				}
			}
		})
	}
}

// Sessions live on where sentinels have made a replica the master.
func TestSessionsSurviveAFailover(t *testing.T) {
	g := redistest.StartGroup(t, "127.0.0.1")
	f := newFleet(t, map[string]any{"sentinel_nodes": g.Addresses(), "sentinel_master": g.Name})
	gate := f.node(nil, nil)
	eventually(t, "Redis to respond", func() bool { _, d := f.try(gate); return location(d) == origin+"/orders" })
	ada := f.signIn(gate)
	former := g.Master()
	former.Do("WAIT", 1, 5000) // for the replica to have the session
	former.Stop()
	f.wants(http.StatusServiceUnavailable, "while there is no master", gate, ada)
	g.AwaitFailover(former)
	eventually(t, "the session to count again", func() bool { return f.send(gate, ada, "/orders").Outcome == core.Allow })
	f.signIn(gate)
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}
