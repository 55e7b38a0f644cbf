package scaling

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
)

// events is how many happen on each node.
func events(t *testing.T) int {
	t.Helper()
	text := os.Getenv("GATEHOUSE_EVENTS")
	if text == "" {
		return 300
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// atOnce asks all nodes about all credentials, as fast as they respond.
func atOnce(nodes []*node, credentials []core.Header, want int) {
	var under sync.WaitGroup
	for _, n := range nodes {
		for part := range 16 {
			under.Go(func() {
				for i := part; i < len(credentials); i += 16 {
					n.want(want, "/orders", credentials[i])
				}
			})
		}
	}
	under.Wait()
}

// TestWhatEventsTakeOfRedisAndPostgreSQL prints what a processor can do. GATEHOUSE_EVENTS
// makes it more exact.
func TestWhatEventsTakeOfRedisAndPostgreSQL(t *testing.T) {
	r := newRig(t)
	hydra, _ := providers(t, &calls{})
	nodes := startNodes(t, 4, redisSettings(r.redisServer.Addr)+postgresSettings(r.postgresServer.Addr, quiet)+fmt.Sprintf(`
introspection: {introspection_endpoint: "%s", audience: [api], issuer: "%s", cache_ttl: 600}
failed_attempts: {count: 1000000}
cache: {max_entries: 1000000}
permission_table: "authenticated: [GET /orders]"
`, hydra, issuer))
	completed := startNodes(t, 4, postgresSettings(r.postgresServer.Addr, quiet)+fmt.Sprintf(`
introspection: {introspection_endpoint: "%s", audience: [api], issuer: "%s", cache_ttl: 3600}
subject_roles: {cache_ttl: 600}
cache: {max_entries: 1000000}
permission_table: "authenticated: [GET /orders]"
`, hydra, issuer))
	var valid, invalid []core.Header
	for i := range events(t) {
		valid = append(valid, bearer(fmt.Sprintf("ory_at_token-%075d", i)))
		invalid = append(invalid, bearer(fmt.Sprintf("ory_at_%080d", i)))
	}
	clock.by.Store(0)
	defer clock.by.Store(0)
	measure := func(event string, nodes []*node, credentials []core.Header, want int) {
		t.Helper()
		before, begun := r.executed(), time.Now()
		atOnce(nodes, credentials, want)
		took, got := time.Since(begun).Seconds(), r.executed().since(before)
		n := float64(len(nodes) * len(credentials))
		t.Logf("%-60s %7.0f times, %6.0f a second; %5.1f µs of a processor of Redis", event, n, n/took, 1e6*got.seconds/n)
	}
	measure(tokenFirst.event+", and look-up", nodes[:1], valid, 200)
	measure(tokenOther.event+", and look-up", nodes[1:], valid, 200)
	clock.by.Store(int64(11 * time.Minute))
	if err := r.direct.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	measure(tokenFirst.event, nodes[:1], valid, 200)
	measure(tokenOther.event, nodes[1:], valid, 200)
	measure(invalidFirst.event, nodes[:1], invalid, 401)
	measure(invalidAgain.event, nodes[:1], invalid, 401)
	measure("a credential without Redis, and its roles", completed, valid, 200)
	clock.by.Store(int64(22 * time.Minute))
	measure(rolesMiss.event, completed, valid, 200)
}

func TestConnectionsToRedisAreAtMostThoseOfTheSettings(t *testing.T) {
	r := newRig(t)
	hydra, _ := providers(t, &calls{})
	nodes := startNodes(t, 2, strings.Replace(redisSettings(r.redis.addr), "timeout", "keepalive_pool_size: 5, timeout", 1)+fmt.Sprintf(`
introspection: {introspection_endpoint: "%s", audience: [api], issuer: "%s"}
revocation: {}
permission_table: "authenticated: [GET /orders]"
`, hydra, issuer))
	var valid []core.Header
	for i := range 500 {
		valid = append(valid, bearer(fmt.Sprintf("ory_at_token-%075d", i)))
	}
	atOnce(nodes, valid, 200)
	if most := r.redis.busiest.Load(); most < 2*5 || most > 2*(5+4) {
		t.Errorf("%d connections of 2 nodes, want 5 of each, and 4 for revocations at most", most)
	}
}

// Of 20 connections nodes want 36, or 16, with those that listen.
func TestMoreConnectionsThanPostgreSQLAdmits(t *testing.T) {
	for _, size := range []int{8, 3} {
		t.Run(fmt.Sprint("pool_size ", size), func(t *testing.T) { connections(t, size) })
	}
}

func connections(t *testing.T, size int) {
	r := newRig(t, "-c", "max_connections=20", "-c", "superuser_reserved_connections=0")
	hydra, _ := providers(t, &calls{})
	nodes := startNodes(t, 4, postgresSettings(r.postgres.addr, fmt.Sprintf("%s, pool_size: %d", quiet, size))+fmt.Sprintf(`
introspection: {introspection_endpoint: "%s", audience: [api], issuer: "%s", http: {timeout: 30, max_concurrent: 10000}}
subject_roles: {}
permission_table: "authenticated: [GET /orders]"
`, hydra, issuer))
	var mu sync.Mutex
	var under sync.WaitGroup
	statuses := map[int]int{}
	for _, n := range nodes {
		for i := range 300 {
			under.Go(func() {
				status := n.ask("/orders", bearer(fmt.Sprintf("ory_at_token-%075d", i)))
				mu.Lock()
				defer mu.Unlock()
				statuses[status]++
			})
		}
	}
	under.Wait()
	t.Logf("4 nodes with pool_size %d, %d connections at most, 20 admitted: calls by their status %v", size, r.postgres.busiest.Load(), statuses)
	fits := 4*(size+1) <= 20
	if statuses[200]+statuses[503] != 4*300 || fits && statuses[200] != 4*300 {
		t.Errorf("calls by their status: %v", statuses)
	}
	if most := r.postgres.busiest.Load(); fits && most > int64(4*(size+1)) {
		t.Errorf("%d connections, want %d at most", most, 4*(size+1))
	}
}
