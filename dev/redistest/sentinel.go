package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// StartReplica starts a replica of a server and waits until it has its content.
func StartReplica(t testing.TB, master *Server, args ...string) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(master.Addr)
	s := StartAt(t, host, append(args, "--replicaof", host+" "+port)...)
	s.info("replication", "master_link_status:up")
	return s
}

// Group is a master with a replica, and the sentinels that watch them.
type Group struct {
	Name      string
	Servers   []*Server
	Sentinels []*Server
}

// downAfter is when sentinels take a server for dead.
const downAfter = 500 * time.Millisecond

// StartGroup starts a master and a replica with three sentinels at an address of this
// machine.
func StartGroup(t testing.TB, address string, args ...string) *Group {
	t.Helper()
	master := StartAt(t, address, args...)
	g := &Group{Name: "fleet", Servers: []*Server{master, StartReplica(t, master, args...)}}
	for range 3 {
		g.Sentinels = append(g.Sentinels, startSentinel(t, g.Name, master, 2))
	}
	for _, s := range g.Sentinels {
		s.info("sentinel", fmt.Sprintf("master0:name=%s,status=ok,address=%s,slaves=1,sentinels=3", g.Name, master.Addr))
	}
	return g
}

// StartSentinel starts a sentinel that watches a master of that name alone.
func StartSentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	return startSentinel(t, name, master, 1)
}

func startSentinel(t testing.TB, name string, master *Server, quorum int) *Server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sentinel.conf")
	host, port, _ := net.SplitHostPort(master.Addr)
	text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s %[4]d\nsentinel down-after-milliseconds %[1]s %[5]d\nsentinel failover-timeout %[1]s 3000\n",
		name, host, port, quorum, downAfter.Milliseconds())
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return StartAt(t, host, path, "--sentinel")
}

// Addresses of the sentinels.
func (g *Group) Addresses() (all []string) {
	for _, s := range g.Sentinels {
		all = append(all, s.Addr)
	}
	return all
}

// Master is the server that the sentinels name.
func (g *Group) Master() *Server {
	addr := g.masterAddr()
	i := slices.IndexFunc(g.Servers, func(s *Server) bool { return s.Addr == addr })
	if i < 0 {
		g.Sentinels[0].t.Fatalf("the sentinels name %q", addr)
	}
	return g.Servers[i]
}

func (g *Group) masterAddr() string {
	i := slices.IndexFunc(g.Sentinels, func(s *Server) bool { return s.cmd != nil })
	c := goredis.NewSentinelClient(&goredis.Options{Addr: g.Sentinels[i].Addr, DisableIdentity: true})
	defer c.Close()
	at, err := c.GetMasterAddrByName(context.Background(), g.Name).Result()
	if err != nil {
		g.Sentinels[0].t.Fatal(err)
	}
	return net.JoinHostPort(at[0], at[1])
}

// AwaitFailover waits until another server than the given one is the master.
func (g *Group) AwaitFailover(former *Server) (master *Server) {
	former.t.Helper()
	for range 3000 {
		if g.masterAddr() != former.Addr {
			master = g.Master()
			master.info("replication", "role:master")
			return master
		}
		time.Sleep(10 * time.Millisecond)
	}
	former.t.Fatal("the sentinels promote no replica")
	return nil
}

// AwaitReplica waits until the master has a replica again, so that it can fail.
func (g *Group) AwaitReplica() {
	g.Sentinels[0].t.Helper()
	master := g.Master()
	for _, s := range g.Servers {
		if s != master {
			s.info("replication", "master_link_status:up")
		}
	}
	for _, s := range g.Sentinels {
		s.info("sentinel", fmt.Sprintf("master0:name=%s,status=ok,address=%s,slaves=1,sentinels=3", g.Name, master.Addr))
	}
}
