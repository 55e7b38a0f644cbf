package redistest

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/dev/ports"
)

// Cluster is a Redis Cluster: masters with a third of the slots each, and a replica of
// the first one.
type Cluster struct {
	Masters []*Server
	Replica *Server
	// IDs of the masters in the Cluster.
	IDs []string
}

const (
	clusterMasters = 3
	clusterSlots   = 16384
)

// StartCluster starts a Cluster and waits until it serves every slot.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	args = append(args, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0")
	c := &Cluster{Replica: startNode(t, args)}
	for i := range clusterMasters {
		m := startNode(t, args)
		m.Do("CLUSTER", "ADDSLOTSRANGE", i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1)
		m.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		c.Masters, c.IDs = append(c.Masters, m), append(c.IDs, m.Do("CLUSTER", "MYID").(string))
	}
	for _, m := range append(c.Masters[1:], c.Replica) {
		host, port, _ := net.SplitHostPort(m.Addr)
		c.Masters[0].Do("CLUSTER", "MEET", host, port, m.bus.Port())
	}
	for _, s := range append(c.Masters[:clusterMasters:clusterMasters], c.Replica) {
		s.await("to know the others", func(client *goredis.Client) bool {
			nodes, err := client.ClusterNodes(context.Background()).Result()
			return err == nil && strings.Count(nodes, "\n") == clusterMasters+1 && strings.Count(nodes, " connected") == clusterMasters+1 && !strings.Contains(nodes, "handshake")
		})
	}
	c.Replica.Do("CLUSTER", "REPLICATE", c.IDs[0])
	c.Replica.info("replication", "master_link_status:up")
	c.AwaitReady()
	return c
}

// startNode starts a server with a port among its Cluster, beside that of clients.
func startNode(t testing.TB, args []string) *Server {
	s := prepare(t, "127.0.0.1")
	bus, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Release)
	s.bus, s.args = bus, append(slices.Clone(args), "--cluster-port", strconv.Itoa(bus.Port()))
	s.Restart()
	return s
}

// AwaitReady waits until each node that runs takes the Cluster for whole.
func (c *Cluster) AwaitReady() {
	for _, s := range append(c.Masters[:clusterMasters:clusterMasters], c.Replica) {
		if s.cmd != nil {
			s.await("to be of a whole Cluster", func(client *goredis.Client) bool {
				info, err := client.ClusterInfo(context.Background()).Result()
				return err == nil && strings.HasPrefix(info, "cluster_state:ok")
			})
		}
	}
}

// Move gives the slot of a key to another master, with what is in it, as an operator
// does who rebalances.
func (c *Cluster) Move(key string) {
	slot := c.Masters[0].Do("CLUSTER", "KEYSLOT", key).(int64)
	from := c.owner(int(slot))
	to := (from + 1) % clusterMasters
	source, target := c.Masters[from], c.Masters[to]
	host, port, _ := net.SplitHostPort(target.Addr)
	target.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", c.IDs[from])
	source.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", c.IDs[to])
	keys := source.Do("CLUSTER", "GETKEYSINSLOT", slot, 1000).([]any)
	if len(keys) > 0 {
		source.Do(append([]any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}, keys...)...)
	}
	target.Do("CLUSTER", "SETSLOT", slot, "NODE", c.IDs[to])
	source.Do("CLUSTER", "SETSLOT", slot, "NODE", c.IDs[to])
}

// owner is the master that serves a slot, as it says itself: slots that were moved are
// not where they were at the start.
func (c *Cluster) owner(slot int) int {
	for i, m := range c.Masters {
		client := m.Client()
		shards, err := client.ClusterShards(context.Background()).Result()
		client.Close()
		if err != nil {
			m.t.Fatal(err)
		}
		for _, shard := range shards {
			serves := func(r goredis.SlotRange) bool { return r.Start <= int64(slot) && int64(slot) <= r.End }
			is := func(n goredis.Node) bool { return n.ID == c.IDs[i] && n.Role == "master" }
			if slices.ContainsFunc(shard.Slots, serves) && slices.ContainsFunc(shard.Nodes, is) {
				return i
			}
		}
	}
	c.Masters[0].t.Fatalf("no master serves the slot %d", slot)
	return 0
}
