package fleet

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gatehouse/core/authn/attempts"
	"gatehouse/dev/redistest"
)

// cost is what Redis has done so far.
type cost struct {
	commands           map[string]int
	in, out, mem, cpus float64 // bytes, and seconds of a processor
	clients            float64
}

func costOf(t *testing.T, server *redistest.Server) cost {
	t.Helper()
	c := server.Client()
	defer c.Close()
	info, err := c.InfoMap(t.Context(), "commandstats", "stats", "memory", "cpu", "clients").Result()
	if err != nil {
		t.Fatal(err)
	}
	number := func(section, name string) float64 {
		n, err := strconv.ParseFloat(info[section][name], 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	now := cost{
		commands: map[string]int{},
		in:       number("Stats", "total_net_input_bytes"), out: number("Stats", "total_net_output_bytes"),
		mem: number("Memory", "used_memory"), clients: number("Clients", "connected_clients"),
		cpus: number("CPU", "used_cpu_user") + number("CPU", "used_cpu_sys"),
	}
	for name, text := range info["Commandstats"] {
		var calls int
		_, _ = fmt.Sscanf(text, "calls=%d", &calls)
		now.commands[strings.TrimPrefix(name, "cmdstat_")] = calls
	}
	return now
}

// The model of docs/scaling.md: what Redis executes for each event, commands of scripts
// included.
var model = map[string]map[string]int{
	"a credential on the first node":              {"get": 3, "pttl": 2, "set": 2, "del": 1, "evalsha": 1},
	"the same credential on another node":         {"get": 1, "pttl": 1},
	"look-up of failed attempts for a credential": {"evalsha": 2, "time": 2, "get": 2},
	"a failed attempt":                            {"evalsha": 2, "time": 2, "get": 2, "set": 2},
	"a refusal of what the node knows":            {},
}

// TestCostsOfAFleetAreThoseOfTheModel runs nodes with the real caches and counts against
// a real Redis, and compares what Redis counts with the model. GATEHOUSE_NODES says how
// many nodes.
func TestCostsOfAFleetAreThoseOfTheModel(t *testing.T) {
	const credentials = 100
	count := 20
	if text := os.Getenv("GATEHOUSE_NODES"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	server := redistest.Start(t)
	next := &provider{}
	rate := attempts.Rate{Count: 1000, Window: 1000 * 60 * 60 * 1e9}
	nodes := make([]*node, count)
	counts := make([]*counting, count)
	for i := range nodes {
		nodes[i] = newNode(t, server.Addr, next, secret)
		counts[i] = newCounting(t, at(server), rate, nil)
		nodes[i].mustKnow(t, fmt.Sprint(token, "-warm-", i)) // connects, and loads the scripts
		counts[i].count(t, -1, 0)
	}
	everywhere := func(from, to int, do func(node, k int)) {
		var wait sync.WaitGroup
		for i := from; i < to; i++ {
			wait.Go(func() {
				for k := range credentials {
					do(i, k)
				}
			})
		}
		wait.Wait()
	}
	name := func(k int) string { return fmt.Sprint(token, "-", k) }
	for _, step := range []struct {
		event string
		times int
		do    func()
	}{
		{"a credential on the first node", credentials, func() { everywhere(0, 1, func(i, k int) { nodes[i].mustKnow(t, name(k)) }) }},
		{"the same credential on another node", credentials * (count - 1), func() { everywhere(1, count, func(i, k int) { nodes[i].mustKnow(t, name(k)) }) }},
		{"look-up of failed attempts for a credential", credentials * count, func() {
			everywhere(0, count, func(i, k int) { counts[i].count(t, 1_000_000+k, 0); counts[i].count(t, 2_000_000+k, 0) })
		}},
		{"a failed attempt", credentials, func() {
			everywhere(0, 1, func(i, k int) { counts[i].count(t, 3_000_000+k, 1000); counts[i].count(t, 4_000_000+k, 1) })
		}},
		{"a refusal of what the node knows", credentials, func() {
			everywhere(0, 1, func(i, k int) {
				_ = counts[i].Known(attemptKey(3_000_000 + k))
			})
		}},
	} {
		before := costOf(t, server)
		step.do()
		after := costOf(t, server)
		n := float64(step.times)
		for command, want := range model[step.event] {
			if got := after.commands[command] - before.commands[command]; got != want*step.times {
				t.Errorf("%s: %d times %s, the model says %d", step.event, got, command, want*step.times)
			}
		}
		t.Logf("%-45s %7d times: %5.0f bytes to Redis, %5.0f from it, %5.1f µs of its processor, %6.0f bytes kept each",
			step.event, step.times, (after.in-before.in)/n, (after.out-before.out)/n, 1e6*(after.cpus-before.cpus)/n, (after.mem-before.mem)/n)
	}
	next.wantCalls(t, int64(count+credentials))
	end := costOf(t, server)
	t.Logf("%d nodes have %.0f connections; Redis uses %.1f MB", count, end.clients, end.mem/1e6)
}
