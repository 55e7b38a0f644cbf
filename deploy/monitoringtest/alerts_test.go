package monitoringtest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/dev/postgrestest"
	"gatehouse/dev/redistest"
	"gatehouse/internal/cli"
)

// drill is a fault, and the alerts that tell of it.
type drill struct {
	alerts []string
	// start starts the nodes, which are well.
	start func(t *testing.T) []*node
	// fault breaks something, during is the traffic while it is broken, mend repairs it.
	fault, during, mend func(t *testing.T, nodes []*node)
	// told changes what a node has said, for what no test brings about.
	told func(text []byte) []byte
}

var tokens atomic.Int64

// token is one that no node knows yet.
func token(prefix string) string { return fmt.Sprintf("%s-token-%d", prefix, tokens.Add(1)) }

func nothing(*testing.T, []*node) {}

// times asks every node n times, each time with a token that it does not know.
func times(n int, prefix string, header ...string) func(*testing.T, []*node) {
	return func(_ *testing.T, nodes []*node) {
		for _, one := range nodes {
			for range n {
				one.ask(append([]string{"Authorization", "Bearer " + token(prefix)}, header...)...)
			}
		}
	}
}

// metric tells whether a node says that a metric is above zero.
func (n *node) metric(series string) bool {
	found := regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(series)+`.* ([0-9.e+-]+)$`).FindAllSubmatch(n.scrape().text, -1)
	return slices.ContainsFunc(found, func(m [][]byte) bool { return string(m[1]) != "0" })
}

func awaitMetric(t *testing.T, n *node, series string, above bool) {
	t.Helper()
	await(t, fmt.Sprintf("%s above zero: %v", series, above), func() bool { return n.metric(series) == above })
}

const (
	client = "203.0.113.9"
	secret = "0123456789abcdef0123456789abcdef"
)

// drills are faults by name.
func drills(t *testing.T, p *fakeProvider) map[string]drill {
	one := func(settings map[string]any) func(t *testing.T) []*node {
		return func(t *testing.T) []*node { return []*node{startNode(t, t.Name(), p.gate(settings), nil)} }
	}
	known := []string{"X-Forwarded-For", client}
	file := func(name string) string { return filepath.Join(t.TempDir(), name) }
	settings, table := file("gate.yaml"), file("table.yaml")
	goodSettings, goodTable := asJSON(t, p.gate(nil)), "authenticated: [GET /orders]\n"
	write(t, settings, goodSettings)
	write(t, table, goodTable)
	unread, reader := pipe(t)
	redis := redistest.Start(t)
	withRedis := map[string]any{"redis": redisSection(redis.Addr), "revocation": map[string]any{}}
	fed := func(t *testing.T) []*node {
		nodes := one(withRedis)(t)
		awaitMetric(t, nodes[0], `gatehouse_revocation_feeds{feed="redis",state="up"}`, true)
		awaitMetric(t, nodes[0], "gatehouse_revocations_missing", false)
		return nodes
	}
	postgres, inPostgres := database(t)
	return map[string]drill{
		"a provider that ends connections": {
			alerts: []string{"GatehouseUnavailable", "GatehouseProviderDown"},
			start:  one(nil),
			fault:  func(*testing.T, []*node) { p.mode.Store(away) },
			during: times(5, "good", known...),
			mend: func(t *testing.T, nodes []*node) {
				p.mode.Store(well)
				await(t, "the provider is asked again", func() bool { return nodes[0].with(token("good")) == 200 })
			},
		},
		"a provider that is slow": {
			alerts: []string{"GatehouseSlowDecisions"},
			start:  one(nil),
			fault:  func(*testing.T, []*node) { p.mode.Store(slow) },
			during: times(1, "good", known...),
			mend:   func(*testing.T, []*node) { p.mode.Store(well) },
		},
		"more verifications than there are slots for": {
			alerts: []string{"GatehouseProviderOverloaded"},
			start:  one(nil),
			told:   raise("gatehouse_cache_busy_total{provider=\"introspection\"}"),
		},
		"a panic": {
			alerts: []string{"GatehousePanic"},
			start:  one(nil),
			told:   raise("gatehouse_authenticator_panics_total{provider=\"introspection\"}"),
		},
		"a configuration with an error": {
			alerts: []string{"GatehouseConfigurationError", "GatehouseConfigurationStale"},
			start: func(t *testing.T) []*node {
				return []*node{startNode(t, t.Name(), map[string]any{"file": settings}, nil)}
			},
			fault: func(t *testing.T, nodes []*node) {
				write(t, settings, "introspection: {}\n")
				awaitMetric(t, nodes[0], "gatehouse_configuration_stale_seconds", true)
			},
			mend: func(t *testing.T, nodes []*node) {
				write(t, settings, goodSettings)
				awaitMetric(t, nodes[0], "gatehouse_configuration_stale_seconds", false)
			},
		},
		"a table with an error": {
			alerts: []string{"GatehouseTableError"},
			start:  one(map[string]any{"permission_table": nil, "permission_table_files": []string{table}}),
			fault: func(t *testing.T, nodes []*node) {
				write(t, table, "authenticated: [get /orders]\n")
				awaitMetric(t, nodes[0], `gatehouse_table_loads_total{result="error"`, true)
			},
			mend: func(t *testing.T, _ []*node) { write(t, table, goodTable) },
		},
		"nodes with different tables": {
			alerts: []string{"GatehouseTablesDiffer"},
			start: func(t *testing.T) (nodes []*node) {
				for i := range 2 {
					nodes = append(nodes, startNode(t, fmt.Sprint(t.Name(), i), p.gate(map[string]any{"permission_table": nil, "permission_table_files": []string{table}}), nil))
				}
				return nodes
			},
			told: func(text []byte) []byte { // of the first node, as if its disk were another one
				return regexp.MustCompile(`(gatehouse_table_loaded_timestamp_seconds\{.*version=")`).ReplaceAll(text, []byte("${1}other"))
			},
		},
		"a table whose database is away": {
			alerts: []string{"GatehouseTableSourceFailing"},
			start:  one(inPostgres),
			fault: func(t *testing.T, nodes []*node) {
				postgres.Stop()
				awaitMetric(t, nodes[0], "gatehouse_table_source_failing_seconds", true)
			},
			mend: func(t *testing.T, nodes []*node) {
				postgres.Restart()
				awaitMetric(t, nodes[0], "gatehouse_table_source_failing_seconds", false)
			},
		},
		"Redis that is away": {
			alerts: []string{"GatehouseRedisDown", "GatehouseRevocationsBlind"},
			start:  fed,
			fault: func(t *testing.T, nodes []*node) {
				redis.Stop()
				awaitMetric(t, nodes[0], "gatehouse_revocations_blind_seconds", true)
				await(t, "Redis is given up", func() bool {
					nodes[0].with(token("good"))
					return nodes[0].metric(`gatehouse_redis_servers{state="down"}`)
				})
			},
			during: times(2, "good", known...),
			mend: func(t *testing.T, nodes []*node) {
				redis.Restart()
				awaitMetric(t, nodes[0], "gatehouse_revocations_blind_seconds", false)
				await(t, "Redis is asked again", func() bool {
					nodes[0].with(token("good"))
					return !nodes[0].metric(`gatehouse_redis_servers{state="down"}`)
				})
			},
		},
		"no list of revocations": {
			alerts: []string{"GatehouseRevocationsMissing"},
			start:  fed,
			told:   raise("gatehouse_revocations_missing"),
		},
		"somebody who tries tokens": {
			alerts: []string{"GatehouseClientsLimited"},
			start:  one(map[string]any{"failed_attempts": map[string]any{"count": 5, "time_window": 3600}}),
			during: times(10, "bad", "X-Forwarded-For", "198.51.100.7"),
		},
		"clients without an address": {
			alerts: []string{"GatehouseUnknownClients"},
			start:  one(nil),
			during: times(5, "bad"),
		},
		"more refusals than admissions": {
			alerts: []string{"GatehouseRefusalsRise"},
			start:  one(map[string]any{"failed_attempts": map[string]any{"count": 0}}),
			during: times(100, "bad", known...),
		},
		"a cache that is too small": {
			alerts: []string{"GatehouseCacheTooSmall"},
			start:  one(map[string]any{"cache": map[string]any{"max_entries": 100}}),
			during: times(150, "good", known...),
		},
		"a log that nobody reads": {
			alerts: []string{"GatehouseLogLinesDropped", "GatehouseRefusalsRise"},
			start: func(t *testing.T) []*node {
				return []*node{startNode(t, t.Name(), p.gate(map[string]any{"failed_attempts": map[string]any{"count": 0}}), unread)}
			},
			during: func(t *testing.T, nodes []*node) {
				before := nodes[0].scrape()
				await(t, "lines are dropped", func() bool {
					times(200, "bad", known...)(t, nodes)
					return droppedLines(nodes[0].scrape().text) > droppedLines(before.text)
				})
			},
			mend: func(t *testing.T, _ []*node) { go io.Copy(io.Discard, reader) },
		},
		"audit records that nobody takes": {
			alerts: []string{"GatehouseAuditRecordsDropped"},
			start:  one(map[string]any{"audit": map[string]any{"syslog": map[string]any{"host": "127.0.0.1", "port": 1, "sock_type": "tcp"}, "queue": map[string]any{"max_entries": 1}}}),
			during: times(20, "good", known...),
		},
		"a process that has ended": {
			alerts: []string{"GatehouseDown"},
			start:  one(nil),
			fault:  func(_ *testing.T, nodes []*node) { nodes[0].stop() },
			mend: func(t *testing.T, nodes []*node) {
				*nodes[0] = *startNode(t, nodes[0].name, p.gate(nil), nil)
			},
		},
	}
}

var droppedLine = regexp.MustCompile(`gatehouse_log_lines_dropped_total\{level="other"\} ([0-9.e+]+)`)

func droppedLines(text []byte) (n float64) {
	if m := droppedLine.FindSubmatch(text); m != nil {
		fmt.Sscan(string(m[1]), &n)
	}
	return n
}

// raise says that a counter or a gauge that is 0 has become 1.
func raise(series string) func([]byte) []byte {
	return func(text []byte) []byte {
		if !bytes.Contains(text, []byte("\n"+series+" 0\n")) {
			panic("no node says " + series + " 0")
		}
		return bytes.Replace(text, []byte("\n"+series+" 0\n"), []byte("\n"+series+" 1\n"), 1)
	}
}

// pipe is one whose other end nobody reads yet.
func pipe(t *testing.T) (unread, reader *os.File) {
	t.Helper()
	reader, unread, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close(); unread.Close() })
	return unread, reader
}

func redisSection(address string) map[string]any {
	host, port, _ := strings.Cut(address, ":")
	return map[string]any{"host": host, "port": number(port), "secret": secret, "timeout": 1}
}

func number(text string) (n int) {
	fmt.Sscan(text, &n)
	return n
}

// database has a permission table, and is what a gate is told of it.
func database(t *testing.T) (*postgrestest.Server, map[string]any) {
	t.Helper()
	s := postgrestest.StartServer(t)
	run := func(stdin string, args ...string) {
		var out, errs bytes.Buffer
		if status := cli.Main(append(args, "--database-url", s.URL), strings.NewReader(stdin), &out, &errs); status != 0 {
			t.Fatal(errs.String())
		}
	}
	table := filepath.Join(t.TempDir(), "table.yaml")
	write(t, table, "authenticated: [GET /orders]\n")
	run("", "db", "migrate")
	run("", "push", "--name", "shop", "--reason", "first", "--allow-findings", table)
	host, port, _ := strings.Cut(s.Addr, ":")
	return s, map[string]any{
		"postgres":         map[string]any{"host": host, "port": number(port), "user": "tester", "database": "postgres", "poll_interval": 1, "ssl": false},
		"permission_table": nil, "permission_table_name": "shop",
	}
}

func scrapeAll(nodes []*node, told func([]byte) []byte) (all []scrape) {
	for i, n := range nodes {
		s := n.scrape()
		if told != nil && i == 0 {
			s.text = told(s.text)
		}
		all = append(all, s)
	}
	return all
}

func TestEachAlertFiresAtItsFaultAndClears(t *testing.T) {
	r := newRecorder(t)
	p := startProvider(t)
	tried := map[string]bool{}
	all := drills(t, p)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		d := all[name]
		for _, alert := range d.alerts {
			tried[alert] = true
		}
		t.Run(name, func(t *testing.T) { r.tries(t, d) })
	}
	for _, rule := range r.group.AlertingRules() {
		if !tried[rule.Name()] {
			t.Errorf("no fault here makes %s fire", rule.Name())
		}
	}
	checkAnnotations(t, r)
	checkDashboard(t, r)
}

// tries has a fault happen between quiet times.
func (r *recorder) tries(t *testing.T, d drill) {
	for _, step := range []*func(*testing.T, []*node){&d.fault, &d.during, &d.mend} {
		if *step == nil {
			*step = nothing
		}
	}
	quiet := times(3, "good", "X-Forwarded-For", client)
	nodes := d.start(t)
	quiet(t, nodes)
	r.fired = map[string]bool{}
	r.hold(10*time.Minute, scrapeAll(nodes, nil))
	if len(r.fired) > 0 {
		t.Errorf("before the fault there are alerts: %v", slices.Sorted(maps.Keys(r.fired)))
	}
	r.fired = map[string]bool{}
	d.fault(t, nodes)
	var scrapes [][]scrape
	for range 8 {
		d.during(t, nodes)
		scrapes = append(scrapes, scrapeAll(nodes, d.told))
	}
	r.hold(24*time.Minute, scrapes...)
	if got := slices.Sorted(maps.Keys(r.fired)); !slices.Equal(got, slices.Sorted(slices.Values(d.alerts))) {
		t.Errorf("alerts %v, want %v", got, d.alerts)
	}
	d.mend(t, nodes)
	quiet(t, nodes)
	r.hold(30*time.Minute, scrapeAll(nodes, nil))
	if left := r.firing(); len(left) > 0 {
		t.Errorf("when all is well again there are alerts: %v", slices.Sorted(maps.Keys(left)))
	}
	r.hold(10*time.Minute, nil) // the nodes are gone
	if left := r.firing(); len(left) > 0 {
		t.Errorf("at the end there are alerts: %v", slices.Sorted(maps.Keys(left)))
	}
}

// checkAnnotations sees that an alert says what is wrong and where to read on.
func checkAnnotations(t *testing.T, r *recorder) {
	for _, rule := range r.group.AlertingRules() {
		annotations := rule.Annotations()
		for _, name := range []string{"summary", "description", "runbook_url"} {
			if annotations.Get(name) == "" {
				t.Errorf("%s has no %s", rule.Name(), name)
			}
		}
		if severity := rule.Labels().Get("severity"); severity != "critical" && severity != "warning" {
			t.Errorf("%s has the severity %q", rule.Name(), severity)
		}
		page, anchor, _ := strings.Cut(annotations.Get("runbook_url"), "#")
		text, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Error(err)
			continue
		}
		if anchor != "" && !slices.Contains(anchors(string(text)), anchor) {
			t.Errorf("%s: %s has no section %s", rule.Name(), page, anchor)
		}
	}
}

var notInAnchors = regexp.MustCompile(`[^a-z0-9 _-]`)

// anchors are those of the headings of a page.
func anchors(text string) (all []string) {
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "#") {
			title := notInAnchors.ReplaceAllString(strings.ToLower(strings.TrimLeft(line, "# ")), "")
			all = append(all, strings.ReplaceAll(title, " ", "-"))
		}
	}
	return all
}
