package scaling

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/dev/postgrestest"
	"gatehouse/dev/redistest"
	"gatehouse/internal/cli"
)

const secret = "0123456789abcdef0123456789abcdef"

// rig has the servers that nodes share, each behind a wire.
type rig struct {
	*testing.T
	redisServer     *redistest.Server
	postgresServer  *postgrestest.Server
	redis, postgres *wire
	direct          *goredis.Client // past the wire
	version         int64           // of the table main, that was pushed last
}

func newRig(t *testing.T, postgresArgs ...string) *rig {
	t.Helper()
	r := &rig{T: t, redisServer: redistest.Start(t), postgresServer: postgrestest.StartServer(t, postgresArgs...)}
	r.redis = newWire(t, r.redisServer.Addr, commands)
	r.postgres = newWire(t, r.postgresServer.Addr, statements)
	r.direct = r.redisServer.Client()
	t.Cleanup(func() { r.direct.Close() })
	var errs bytes.Buffer
	if status := cli.Main([]string{"db", "migrate", "--database-url", r.postgresServer.URL}, strings.NewReader(""), &errs, &errs); status != 0 {
		t.Fatal(errs.String())
	}
	return r
}

// redisSettings are the section of nodes whose commands pass a wire, or go straight to a
// server.
func redisSettings(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf("redis: {host: \"%s\", port: %s, secret: \"%s\", timeout: 5}\n", host, port, secret)
}

// postgresSettings are those of PostgreSQL, with further settings of the section.
func postgresSettings(addr, more string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf("postgres: {host: \"%s\", port: %s, user: tester, database: postgres, timeout: 30, connect_timeout: 30%s}\n", host, port, more)
}

// clock is that of nodes, which a test can put forward.
var clock ahead

type ahead struct{ by atomic.Int64 }

func (a *ahead) now() time.Time { return time.Now().Add(time.Duration(a.by.Load())) }

// node is the engine of one node, with caches, connections and lists of its own.
type node struct {
	*config.Builder
	t    testing.TB
	gate *config.Followed
	log  *coretest.Log
}

func startNode(t testing.TB, settings string) *node {
	t.Helper()
	n := &node{t: t, log: &coretest.Log{}}
	n.Builder = config.NewBuilder(config.BuilderOptions{Log: slog.New(slog.NewTextHandler(n.log, nil)), Now: clock.now})
	var err error
	if n.gate, err = n.Follow([]byte(settings), config.Terms{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runtime.KeepAlive(n) }) // what nobody refers to ends
	return n
}

func startNodes(t testing.TB, n int, settings string) []*node {
	t.Helper()
	all := make([]*node, n)
	for i := range all {
		all[i] = startNode(t, settings)
	}
	for _, n := range all {
		n.await()
	}
	return all
}

// await waits until the node would be ready.
func (n *node) await() {
	n.t.Helper()
	for range 1200 {
		if len(n.Waiting()) == 0 {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	n.t.Fatalf("a node waits for %v\n%s", n.Waiting(), n.log)
}

// ask has the node decide a call, and returns the status for the client; 200 where the
// call is admitted.
func (n *node) ask(target string, headers ...core.Header) int {
	return n.askFrom(netip.MustParseAddr("192.0.2.1"), target, headers...)
}

// askFrom is ask for a client.
func (n *node) askFrom(peer netip.Addr, target string, headers ...core.Header) int {
	now, err := n.gate.Current()
	if err != nil {
		n.t.Error(err)
		return 0
	}
	d := now.Check(context.Background(), &core.Request{Method: "GET", Target: target, Host: "api.example.test", Header: headers, Peer: peer})
	if d.Outcome == core.Allow {
		return 200
	}
	return d.Status
}

// want fails the test where the node decides otherwise.
func (n *node) want(status int, target string, headers ...core.Header) {
	n.t.Helper()
	if got := n.ask(target, headers...); got != status {
		n.t.Errorf("status %d, want %d\n%s", got, status, n.log)
	}
}

func bearer(token string) core.Header {
	return core.Header{Name: "Authorization", Value: "Bearer " + token}
}

// executed is what Redis has executed, commands of scripts included, and the seconds of a
// processor and the bytes of memory that it took.
type executed struct {
	commands map[string]int
	seconds  float64
	memory   float64
}

func (r *rig) executed() executed {
	r.Helper()
	info, err := r.direct.InfoMap(r.Context(), "commandstats", "memory", "cpu").Result()
	if err != nil {
		r.Fatal(err)
	}
	number := func(section, name string) float64 {
		n, err := strconv.ParseFloat(info[section][name], 64)
		if err != nil {
			r.Fatal(err)
		}
		return n
	}
	now := executed{map[string]int{}, number("CPU", "used_cpu_user") + number("CPU", "used_cpu_sys"), number("Memory", "used_memory")}
	for name, text := range info["Commandstats"] {
		var calls int
		_, _ = fmt.Sscanf(text, "calls=%d", &calls)
		if name = strings.TrimPrefix(name, "cmdstat_"); name != "info" { // this function
			now.commands[name] = calls
		}
	}
	return now
}

func (e executed) since(before executed) executed {
	d := executed{map[string]int{}, e.seconds - before.seconds, e.memory - before.memory}
	for name, n := range e.commands {
		if n -= before.commands[name]; n > 0 {
			d.commands[name] = n
		}
	}
	return d
}

func (e executed) total() (n int) {
	for _, k := range e.commands {
		n += k
	}
	return n
}
