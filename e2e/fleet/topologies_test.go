package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/config/fleet"
	"gatehouse/core/coretest"
	"gatehouse/core/fleet/redis"
	"gatehouse/dev/authority"
	"gatehouse/dev/redistest"
)

// goesOn asks for credentials that nobody has asked about, and insists on the right
// answer whatever Redis does.
func (n *node) goesOn(t *testing.T, tag string, i int) {
	t.Helper()
	n.mustKnow(t, fmt.Sprint("gold ", tag, i))
	if p, err := n.ask(t, fmt.Sprint("lead ", tag, i)); !errors.Is(err, core.ErrInvalid) || p != nil {
		t.Errorf("garbage: %+v, %v", p, err)
	}
}

// without asks until the other node uses again what this one has learned, and returns
// how long that took.
func (n *node) without(t *testing.T, other *node, tag string) time.Duration {
	t.Helper()
	start := time.Now()
	for i := 0; ; i++ {
		n.goesOn(t, tag, i)
		hits := other.shared.Stats().Hits
		other.goesOn(t, tag, i)
		if other.shared.Stats().Hits == hits+2 {
			return time.Since(start)
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("%s: nothing is shared again", tag)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// pair are two nodes that share a Redis.
func pair(t *testing.T, o redis.Options) (a, b *node) {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 50 * time.Millisecond
	}
	next := &provider{}
	a, b = newNodeWith(t, o, next, secret), newNodeWith(t, o, next, secret)
	a.without(t, b, "start") // the first connection takes a moment
	return a, b
}

// TestFailoverIsFollowed: the sentinels promote the replica, and the clients follow.
func TestFailoverIsFollowed(t *testing.T) {
	for name, fault := range map[string]struct{ fail, mend func(*redistest.Server) }{
		"master killed":                {(*redistest.Server).Stop, (*redistest.Server).Restart},
		"master frozen":                {(*redistest.Server).Freeze, (*redistest.Server).Thaw},
		"master and a sentinel killed": {(*redistest.Server).Stop, (*redistest.Server).Restart},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := redistest.StartGroup(t, "127.0.0.1")
			a, b := pair(t, redis.Options{Addresses: g.Addresses(), Master: g.Name})
			former := g.Master()
			if strings.Contains(name, "sentinel") {
				g.Sentinels[0].Stop() // the first one that a client asks
			}
			fault.fail(former)
			t.Logf("the nodes were without Redis for %v", a.without(t, b, "failed").Round(time.Millisecond))
			if g.AwaitFailover(former) == former {
				t.Error("it is still the master")
			}
			fault.mend(former) // it takes itself for the master for a moment
			for i := range 20 {
				a.goesOn(t, "back", i)
				b.goesOn(t, "back", i)
			}
			a.without(t, b, "back")
			if len(content(t, g.Master())) == 0 {
				t.Error("the new master holds nothing")
			}
		})
	}
}

// missed asks both nodes about some credentials, and returns how many were not shared.
func (n *node) missed(t *testing.T, other *node, tag string, credentials int) int {
	t.Helper()
	before := other.shared.Stats().Hits
	for i := range credentials {
		n.goesOn(t, tag, i)
		other.goesOn(t, tag, i)
	}
	return 2*credentials - int(other.shared.Stats().Hits-before)
}

// TestClusterIsFollowed: slots move, a master dies with and without a replica.
func TestClusterIsFollowed(t *testing.T) {
	const credentials = 40 // on all masters
	c := redistest.StartCluster(t)
	a, b := pair(t, redis.Options{Addresses: []string{c.Masters[0].Addr, c.Masters[1].Addr}, Cluster: true})
	for i := range credentials {
		a.goesOn(t, "moved", i)
	}
	for _, m := range c.Masters {
		keys := content(t, m)
		if len(keys) == 0 {
			t.Error("a master holds nothing")
		}
		for key := range keys {
			c.Move(key)
			break
		}
	}
	if got := a.missed(t, b, "moved", credentials); got > 0 {
		t.Errorf("%d of %d lookups missed after slots have moved", got, 2*credentials)
	}

	c.Masters[0].Stop() // has a replica
	start, last := time.Now(), time.Now()
	for round := 0; time.Since(last) < 3*time.Second; round++ {
		if a.missed(t, b, fmt.Sprint("failover", round), credentials) > 0 {
			last = time.Now()
		}
		if time.Since(start) > 30*time.Second {
			t.Fatal("nothing of the dead master is shared again")
		}
	}
	t.Logf("a master killed: the nodes were without a part of Redis for %v", last.Sub(start).Round(time.Millisecond))
	c.Masters[1].Stop() // has none: the Cluster serves nothing
	for i := range 20 {
		a.goesOn(t, "half", i)
		b.goesOn(t, "half", i)
	}
}

func trusting(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("no certificate")
	}
	return pool
}

// A connection that is not that to Redis shares nothing, lets nobody in, and the log
// says why.
func TestOnlyRedisWithTheRightCertificateIsUsed(t *testing.T) {
	server, ca := redistest.StartTLS(t)
	plain := redistest.Start(t)
	trust, other := trusting(t, ca), authority.New(t).Pool()
	for name, c := range map[string]struct {
		server *redistest.Server
		tls    *tls.Config
		want   string // in the log; empty: it is used
	}{
		"right":            {server, &tls.Config{RootCAs: trust}, ""},
		"right name":       {server, &tls.Config{RootCAs: trust, ServerName: redistest.TLSName}, ""},
		"not verified":     {server, &tls.Config{InsecureSkipVerify: true}, ""},
		"wrong authority":  {server, &tls.Config{RootCAs: other}, "certificate signed by unknown authority"},
		"system's":         {server, &tls.Config{}, "certificate signed by unknown authority"},
		"wrong name":       {server, &tls.Config{RootCAs: trust, ServerName: "other.test"}, "certificate is valid for redis.test, not other.test"},
		"no TLS asked for": {server, nil, "redis.ssl"},
		"no TLS there":     {plain, &tls.Config{RootCAs: trust}, "redis.ssl"},
	} {
		t.Run(name, func(t *testing.T) {
			var log coretest.Log
			o := redis.Options{Addresses: []string{c.server.Addr}, TLS: c.tls, Timeout: 200 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil))}
			if c.want == "" {
				pair(t, o)
				return
			}
			n := newNodeWith(t, o, &provider{}, secret)
			for i := range 20 {
				n.goesOn(t, name, i)
			}
			if !strings.Contains(log.String(), c.want) {
				t.Errorf("the log says\n%s\nwant %q in it", log.String(), c.want)
			}
			if got := n.shared.Stats(); got.Hits > 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// documentedRights are those that the description of redis.username lists, as rules of
// ACL SETUSER.
func documentedRights(t *testing.T) (rights []string) {
	t.Helper()
	field, _ := reflect.TypeFor[fleet.Redis]().FieldByName("Username")
	text := field.Tag.Get("doc")
	_, after, found := strings.Cut(text, "The user needs ")
	list, _, ends := strings.Cut(after, " on keys")
	if !found || !ends {
		t.Fatalf("the description of redis.username lists no rights: %s", text)
	}
	for _, command := range regexp.MustCompile(`[A-Z]+( [A-Z]+)?`).FindAllString(list, -1) {
		rights = append(rights, "+"+strings.ReplaceAll(strings.ToLower(command), " ", "|"))
	}
	return rights
}

const aclPassword = "a-password"

func asUser(addr string, log *coretest.Log) redis.Options {
	return redis.Options{Addresses: []string{addr}, Username: "gatehouse", Password: aclPassword, Timeout: 200 * time.Millisecond, Log: slog.New(slog.NewTextHandler(log, nil))}
}

// The rights that the description of redis.username lists are enough, and one that is
// missing is named in the log, lets nobody in and refuses nobody.
func TestMissingRightAtRedisIsNamed(t *testing.T) {
	rights := documentedRights(t)
	server := redistest.Start(t)
	base := []string{"reset", "on", ">" + aclPassword, "~gatehouse:*"}
	server.SetUser("gatehouse", append(base, rights...)...)
	var log coretest.Log
	pair(t, asUser(server.Addr, &log))
	if strings.Contains(log.String(), "NOPERM") {
		t.Errorf("with all rights: %s", log.String())
	}
	for _, user := range append(rights, "another password", "other keys", "off", "no user") {
		t.Run("without "+user, func(t *testing.T) {
			server.SetUser("gatehouse", append(base, rights...)...)
			want := "give the user the rights"
			switch user {
			case "another password":
				server.SetUser("gatehouse", "resetpass", ">other")
				want = "set username and password"
			case "other keys":
				server.SetUser("gatehouse", "resetkeys", "~other:*")
			case "off":
				server.SetUser("gatehouse", "off")
				want = "set username and password"
			case "no user":
				server.Do("ACL", "DELUSER", "gatehouse")
				want = "set username and password"
			default:
				server.SetUser("gatehouse", "-"+user[1:])
			}
			var log coretest.Log
			next := &provider{}
			for _, n := range []*node{newNodeWith(t, asUser(server.Addr, &log), next, secret), newNodeWith(t, asUser(server.Addr, &log), next, secret)} {
				for i := range 10 {
					n.goesOn(t, user, i)
				}
			}
			if !strings.Contains(log.String(), want) && !optional(user) {
				t.Errorf("the log says\n%s\nwant %q in it", log.String(), want)
			}
			if strings.Contains(log.String(), aclPassword) {
				t.Error("the password is in the log")
			}
		})
	}
}

// optional are rights that a node asks for only after something else has failed, or for
// something else than cached credentials.
func optional(right string) bool {
	return right == "+eval" || right == "+script|load" || right == "+time"
}

// Rights beside those on keys are documented, too.
func TestRightsAreEnoughElsewhere(t *testing.T) {
	rights := append([]string{"on", ">" + aclPassword, "~gatehouse:*"}, documentedRights(t)...)
	t.Run("another database", func(t *testing.T) {
		server := redistest.Start(t)
		server.SetUser("gatehouse", append(rights, "+select")...)
		var log coretest.Log
		o := asUser(server.Addr, &log)
		o.Database = 3
		pair(t, o)
	})
	t.Run("sentinels", func(t *testing.T) {
		g := redistest.StartGroup(t, "127.0.0.1")
		for _, s := range g.Sentinels {
			s.SetUser("watcher", "on", ">"+aclPassword, "&*", "+sentinel|get-master-addr-by-name", "+sentinel|sentinels", "+sentinel|replicas", "+subscribe")
			s.SetUser("default", "-@all", "+sentinel", "+publish", "+subscribe", "+ping", "+hello", "+auth", "+info", "+acl", "&*", "resetpass", ">another")
		}
		var log coretest.Log
		pair(t, redis.Options{Addresses: g.Addresses(), Master: g.Name, SentinelUsername: "watcher", SentinelPassword: aclPassword, Log: slog.New(slog.NewTextHandler(&log, nil))})
		n := newNodeWith(t, redis.Options{Addresses: g.Addresses(), Master: g.Name, SentinelUsername: "watcher", SentinelPassword: "wrong", Log: slog.New(slog.NewTextHandler(&log, nil))}, &provider{}, secret)
		for i := range 20 {
			n.goesOn(t, "wrong", i)
		}
		if !strings.Contains(log.String(), "sentinel_password") {
			t.Error(log.String())
		}
	})
	t.Run("Cluster", func(t *testing.T) {
		c := redistest.StartCluster(t)
		for _, m := range append(c.Masters, c.Replica) {
			m.SetUser("gatehouse", append(rights, "+cluster|slots")...)
		}
		var log coretest.Log
		o := asUser(c.Masters[0].Addr, &log)
		o.Cluster = true
		a, b := pair(t, o)
		for i := range 50 {
			a.goesOn(t, "cluster", i)
			b.goesOn(t, "cluster", i)
		}
		if got := b.shared.Stats(); got.Failures > 0 || got.Hits < 100 {
			t.Errorf("%+v; %s", got, log.String())
		}
	})
}
