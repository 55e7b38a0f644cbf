package fleet

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gatehouse/dev/fixture"
	"gatehouse/dev/postgrestest"
	"gatehouse/dev/redistest"
	"gatehouse/e2e/nodes"
)

// commandLine is the program with which an operator revokes, on a machine without a node.
type commandLine struct {
	t      *testing.T
	binary string
}

func buildCommandLine(t *testing.T) *commandLine {
	t.Helper()
	c := &commandLine{t, filepath.Join(t.TempDir(), "gatehouse")}
	if err := fixture.Build("../..", "gatehouse/cmd/gatehouse", c.binary); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *commandLine) run(stdin string, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	command := exec.Command(c.binary, args...)
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &errs
	err := command.Run()
	if status = command.ProcessState.ExitCode(); status < 0 {
		c.t.Error(err)
	}
	return status, out.String(), errs.String()
}

// config is the configuration of a gate in a file.
func (c *commandLine) config(gate string) string {
	c.t.Helper()
	path := filepath.Join(c.t.TempDir(), "gatehouse.yaml")
	if err := os.WriteFile(path, []byte(gate), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// migrated is a database with the schema. Its rights are not the matter here.
func (c *commandLine) migrated() *postgrestest.Server {
	c.t.Helper()
	s := postgrestest.StartServer(c.t)
	if status, _, stderr := c.run("", "db", "migrate", "--database-url", s.URL); status != 0 {
		c.t.Fatal(stderr)
	}
	return s
}

func redisSection(addr, settings string) string {
	host, port, _ := strings.Cut(addr, ":")
	return fmt.Sprintf("redis: {host: %q, port: %s, secret: %q, timeout: 1%s}\n", host, port, secret, settings)
}

// slowRedisSection lets Redis take its time: a busy machine must not look like a server
// that does not respond.
func slowRedisSection(addr, settings string) string {
	return strings.Replace(redisSection(addr, settings), "timeout: 1", "timeout: 5", 1)
}

func postgresSection(s *postgrestest.Server, settings string) string {
	host, port, _ := strings.Cut(s.Addr, ":")
	return fmt.Sprintf("postgres: {host: %q, port: %s%s}\n", host, port, cmp.Or(settings, ", user: tester, database: postgres"))
}

func revocationGate(provider, ways string) string {
	return fmt.Sprintf("introspection: {introspection_endpoint: %q, audience: [api]}\nrevocation: {}\npermission_table: \"authenticated: [GET /orders]\"\n%s", provider, ways)
}

// TestRevokeByTheCommandLine runs the program on what the nodes of fleets share.
func TestRevokeByTheCommandLine(t *testing.T) {
	var calls atomic.Int64
	provider, c := introspectionServerWith(t, &calls, 0), buildCommandLine(t)
	t.Run("reaches all nodes", func(t *testing.T) { c.reachesAll(t, provider) })
	t.Run("fails unless Redis has it where nodes read it", func(t *testing.T) { c.failsAtRedis(t, provider) })
	t.Run("fails unless PostgreSQL has committed it", func(t *testing.T) { c.failsAtPostgreSQL(t, provider) })
}

func (c *commandLine) reachesAll(t *testing.T, provider string) {
	database := c.migrated()
	fleets := []struct {
		name, sections string
		places         []string
	}{
		{"Redis", redisSection(redistest.Start(t).Addr, ""), []string{"Redis 127."}},
		{"PostgreSQL", postgresSection(database, ""), []string{"PostgreSQL 127."}},
		{"both", redisSection(redistest.Start(t).Addr, "") + postgresSection(database, ""), []string{"Redis 127.", "PostgreSQL 127."}},
	}
	var gates []string
	for _, f := range fleets {
		gates = append(gates, revocationGate(provider, f.sections))
	}
	c.refusesWithoutANode(t, c.config(gates[0]))
	services := nodes.Addresses(nodes.StartEach(t, append(gates, gates...)...))
	outputs := make([]string, len(fleets))
	for i, f := range fleets {
		config, token := c.config(gates[i]), "gold-"+f.name
		accepted(t, []string{services[i], services[i+len(fleets)]}, token)
		eventually(t, "the nodes have begun", func() bool {
			status, _, _ := c.run("", "revocations", "--config", config)
			return status == 0
		})
		status, stdout, stderr := c.run(token, "revoke", "--token", "-", "--reason", "leaked", "--config", config)
		if status != 0 || !strings.Contains(stdout, "1 name is revoked") || stderr != "" {
			t.Fatalf("%s: status %d\n%s%s", f.name, status, stdout, stderr)
		}
		refusedAfter(t, []string{services[i], services[i+len(fleets)]}, token)
		_, outputs[i], _ = c.run("", "revocations", "--config", config)
		if got := strings.Count(outputs[i], "leaked"); got < len(f.places) {
			t.Errorf("%s: the list has the event %d times\n%s", f.name, got, outputs[i])
		}
		for _, place := range f.places {
			if !strings.Contains(stdout, place) || !strings.Contains(outputs[i], place) {
				t.Errorf("%s: %s is not named:\n%s%s", f.name, place, stdout, outputs[i])
			}
		}
		if strings.Contains(stdout+outputs[i], token) {
			t.Errorf("%s: the token is printed", f.name)
		}
	}
	eventually(t, "what was revoked before the first node is refused", func() bool { return decision(t, services[0], "gold-before-all") == http.StatusUnauthorized })
	for i, later := range nodes.Addresses(nodes.StartEach(t, gates...)) {
		eventually(t, "a node that starts later refuses the token", func() bool { return decision(t, later, "gold-"+fleets[i].name) == http.StatusUnauthorized })
		accepted(t, []string{later, services[i]}, "gold-of-another")
	}
}

// refusesWithoutANode revokes where no node has begun a stream: nobody can tell whether
// nodes will read what is written.
func (c *commandLine) refusesWithoutANode(t *testing.T, config string) {
	t.Helper()
	if status, _, stderr := c.run("gold", "revoke", "--token", "-", "--config", config); status != 2 || !strings.Contains(stderr, "--begin-stream") {
		t.Errorf("no node has begun a stream: status %d\n%s", status, stderr)
	}
	if status, _, _ := c.run("", "revocations", "--config", config); status != 2 {
		t.Errorf("something was written: status %d", status)
	}
	if status, _, stderr := c.run("gold-before-all", "revoke", "--token", "-", "--begin-stream", "--config", config); status != 0 {
		t.Error(stderr)
	}
}

// failing is a fleet of one node, and why the command line cannot revoke there.
type failing struct {
	// settings of the command line's section, which the node's has not.
	settings string
	// fail breaks the server, and mend takes that back.
	fail, mend func()
	// want is in the error.
	want string
}

func (c *commandLine) refuses(t *testing.T, name string, f failing, config, service string) {
	t.Helper()
	good := "gold-good-" + strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", "")
	accepted(t, []string{service}, good)
	if f.fail != nil {
		f.fail()
	}
	status, stdout, stderr := c.run(good, "revoke", "--token", "-", "--config", config)
	if status != 2 || strings.Contains(stdout, "revoked") || !strings.Contains(stderr, "NOT revoked") || !strings.Contains(stderr, f.want) {
		t.Errorf("%s: status %d, want an error with %q\n%s%s", name, status, f.want, stdout, stderr)
	}
	if strings.Contains(stderr, secret) || strings.Contains(stderr, good) {
		t.Errorf("%s: the error holds a secret", name)
	}
	if f.mend != nil {
		f.mend()
	}
}

func (c *commandLine) failsAtRedis(t *testing.T, provider string) {
	server := redistest.Start(t)
	service := nodes.Addresses(nodes.Start(t, 1, revocationGate(provider, redisSection(server.Addr, ""))))[0]
	eventually(t, "the node has begun the stream", func() bool { return server.Do("EXISTS", streamKey) == int64(1) })
	replica := redistest.StartReplica(t, server)
	var writer []string
	for _, right := range append(streamRights(t), "~gatehouse:*", "on", ">pw") {
		writer = append(writer, fmt.Sprint(right))
	}
	server.SetUser("writer", append(writer, "-xadd")...)
	server.SetUser("reader", append(writer, "-evalsha", "-eval")...)
	server.SetUser("master", append(writer, "-wait")...)
	other := strings.Repeat("another-secret-", 3)
	broken := map[string]failing{}
	var waiting sync.WaitGroup // each takes as long as Redis is given
	at := func(settings string) string {
		return c.config(revocationGate(provider, slowRedisSection(server.Addr, settings)))
	}
	for name, f := range map[string]failing{
		"wrong password":      {settings: `, username: writer, password: "no"`, want: "set username and password of the section redis"},
		"no right to write":   {settings: `, username: writer, password: pw`, want: "the rights that the description of redis.username lists"},
		"no right to look":    {settings: `, username: reader, password: pw`, want: "the rights that the description of redis.username lists"},
		"no right to wait":    {settings: `, username: master, password: pw, wait_replicas: 1`, want: "the rights that the description of redis.username lists"},
		"too few replicas":    {settings: `, wait_replicas: 2`, want: "1 of 2 replicas of Redis have acknowledged it"},
		"another key prefix":  {settings: `, key_prefix: "gatehose:"`, want: "there is no stream of revocations in Redis"},
		"another database":    {settings: `, database: 3`, want: "there is no stream of revocations in Redis"},
		"TLS, which it lacks": {settings: `, ssl: true`, want: "set redis.ssl if Redis wants TLS, and only then"},
		"full":                {fail: server.Fill, mend: server.Empty, want: "raise maxmemory"},
		"frozen":              {fail: server.Freeze, mend: server.Thaw, want: "Redis does not respond"},
	} {
		if f.fail == nil { // nobody else sees it
			config := at(f.settings)
			waiting.Go(func() { c.refuses(t, name, f, config, service) })
			continue
		}
		broken[name] = f
	}
	waiting.Wait()
	for name, f := range broken {
		c.refuses(t, name, f, c.config(revocationGate(provider, redisSection(server.Addr, ""))), service)
	}
	c.refuses(t, "replica", failing{want: "this is a replica: configure the master, or the sentinels"}, c.config(revocationGate(provider, slowRedisSection(replica.Addr, ""))), service)
	// The nodes would not open what is written.
	before := server.Do("XLEN", streamKey)
	wrong := c.config(strings.Replace(revocationGate(provider, slowRedisSection(server.Addr, "")), secret, other, 1))
	c.refuses(t, "another secret", failing{want: "redis.secret is not theirs"}, wrong, service)
	if after := server.Do("XLEN", streamKey); after != before {
		t.Errorf("with another secret something was written: %v entries, then %v", before, after)
	}
	// A secret that is coming, which the nodes do not know yet, is not written with.
	coming := strings.Replace(revocationGate(provider, slowRedisSection(server.Addr, fmt.Sprintf(", previous_secret: %q", secret))), secret, other, 1)
	accepted(t, []string{service}, "gold-coming")
	if status, _, stderr := c.run("gold-coming", "revoke", "--token", "-", "--config", c.config(coming)); status != 0 {
		t.Error(stderr)
	}
	refusedAfter(t, []string{service}, "gold-coming")
	c.refuses(t, "stopped", failing{fail: server.Stop, want: "start Redis, or correct its host and port"}, at(""), service)
}

func (c *commandLine) failsAtPostgreSQL(t *testing.T, provider string) {
	s := c.migrated()
	sql := func(text string) func() { return func() { postgrestest.Exec(t, s.DSN, text) } }
	sql("CREATE ROLE reader LOGIN PASSWORD 'pw'; GRANT USAGE ON SCHEMA gatehouse TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA gatehouse TO reader")()
	server := redistest.Start(t)
	both := revocationGate(provider, redisSection(server.Addr, "")+postgresSection(s, ""))
	services := nodes.Addresses(nodes.StartEach(t, revocationGate(provider, postgresSection(s, "")), both))
	newer := "INSERT INTO gatehouse.%[1]s (version_id, is_applied) SELECT max(version_id) + 1, true FROM gatehouse.%[1]s"
	back := "DELETE FROM gatehouse.%[1]s WHERE version_id = (SELECT max(version_id) FROM gatehouse.%[1]s)"
	version := func(text string) func() { return sql(fmt.Sprintf(text, "schema_versions")) }
	for name, f := range map[string]failing{
		"no right to write": {settings: ", user: reader, password: pw, database: postgres", want: "gatehouse db rights prints the statements"},
		"no such role":      {settings: ", user: nobody, database: postgres", want: "set user and password of the section postgres"},
		"no such database":  {settings: ", user: tester, database: elsewhere", want: "create the database, or name another one"},
		"no schema":         {settings: ", user: tester, database: postgres, schema: elsewhere", want: "run gatehouse db migrate"},
		"a newer schema":    {fail: version(newer), mend: version(back), want: "made by a newer program"},
		"read-only":         {fail: s.Fill, mend: s.Empty, want: "name the primary in postgres.host, or make room"},
		"frozen":            {fail: s.Freeze, mend: s.Thaw, want: "PostgreSQL did not respond in time"},
	} {
		c.refuses(t, name, f, c.config(revocationGate(provider, postgresSection(s, f.settings))), services[0])
	}
	// Redis alone is not enough where PostgreSQL is the durable copy, and the other way round.
	eventually(t, "the node has begun the stream", func() bool { return server.Do("EXISTS", streamKey) == int64(1) })
	c.refuses(t, "Redis away", failing{fail: server.Stop, mend: server.Restart, want: "it is kept in PostgreSQL, and reaches the nodes that reach that"}, c.config(both), services[1])
	eventually(t, "the node has begun the stream anew", func() bool { return server.Do("EXISTS", streamKey) == int64(1) })
	c.refuses(t, "PostgreSQL away", failing{fail: s.Stop, want: "nodes that run now learn of it by Redis; revoke again once PostgreSQL keeps it"}, c.config(both), services[1])
	refusedAfter(t, services[1:], "gold-good-PostgreSQL-away")
}
