package scaling

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	configfleet "gatehouse/core/config/fleet"
	"gatehouse/core/fleet/apitokens"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/tables"
	"gatehouse/core/permission/tablefile"
	"gatehouse/core/revocation"
	"gatehouse/core/setting"
	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
	"gatehouse/internal/cli"
)

// meter is what has been asked of all systems.
type meter struct {
	redis, postgres, provider traffic
	executed                  executed
}

// meter reads what has been asked, once nothing is under way.
func (r *rig) meter(providers ...*wire) (m meter) {
	m = meter{redis: r.redis.settled(), postgres: r.postgres.settled(), executed: r.executed()}
	m.provider.asked = map[string]int{}
	for _, w := range providers {
		now := w.now()
		m.provider.up += now.up
		m.provider.down += now.down
		m.provider.asked["call"] += now.total()
	}
	return m
}

func (m meter) since(before meter) meter {
	return meter{m.redis.since(before.redis), m.postgres.since(before.postgres), m.provider.since(before.provider), m.executed.since(before.executed)}
}

// costs has something happen that many times, and compares what that asks of all systems
// with the model.
func (r *rig) costs(want cost, times int, do func(), providers ...*wire) {
	r.Helper()
	before := r.meter(providers...)
	do()
	r.compare(want, times, r.meter(providers...).since(before))
}

func (r *rig) compare(want cost, times int, got meter) {
	r.Helper()
	per := func(n int) int { return int(math.Round(float64(n) / float64(times))) }
	measured := cost{
		event: want.event, sent: map[string]int{}, inScripts: map[string]int{},
		redis: size{per(got.redis.up), per(got.redis.down)}, micros: 1e6 * got.executed.seconds / float64(times),
		statements: per(got.postgres.asked["statement"]), postgres: size{per(got.postgres.up), per(got.postgres.down)},
		calls: per(got.provider.total()), provider: size{per(got.provider.up), per(got.provider.down)},
	}
	for name, n := range got.redis.asked {
		if n = per(n); n > 0 { // a look may find what a node was about to be told
			measured.sent[name] = n
		}
	}
	for name, n := range got.executed.commands {
		if n = per(n - got.redis.asked[name]); n > 0 {
			measured.inScripts[name] = n
		}
	}
	r.Logf("%s, %d times: sends %v, scripts execute %v, %v bytes, %.0f µs; %d statements, %v bytes; %d calls, %v bytes; %d and %d connections",
		want.event, times, measured.sent, measured.inScripts, measured.redis, measured.micros,
		measured.statements, measured.postgres, measured.calls, measured.provider, got.redis.opened, got.postgres.opened)
	if !maps.Equal(measured.sent, want.sent) || !maps.Equal(measured.inScripts, want.inScripts) {
		r.Errorf("%s: sends %v to Redis, and its scripts execute %v; the model says %v and %v", want.event, measured.sent, measured.inScripts, want.sent, want.inScripts)
	}
	if measured.statements != want.statements || measured.calls != want.calls {
		r.Errorf("%s: %d statements and %d calls, the model says %d and %d", want.event, measured.statements, measured.calls, want.statements, want.calls)
	}
	near(r, want.event, "Redis", measured.redis, want.redis)
	near(r, want.event, "PostgreSQL", measured.postgres, want.postgres)
	near(r, want.event, "the provider", measured.provider, want.provider)
}

// near compares bytes. Names, numbers and moments have other lengths on other days.
func near(t testing.TB, event, system string, got, want size) {
	t.Helper()
	off := func(got, want int) bool { return math.Abs(float64(got-want)) > 20+0.05*float64(want) }
	if off(got.up, want.up) || off(got.down, want.down) {
		t.Errorf("%s: %d bytes to and %d from %s, the model says %d and %d", event, got.up, got.down, system, want.up, want.down)
	}
}

// everywhere asks some nodes about all of some credentials.
func everywhere(nodes []*node, credentials []core.Header, want int) func() {
	return func() {
		for _, n := range nodes {
			for _, c := range credentials {
				n.want(want, "/orders", c)
			}
		}
	}
}

const each = 25 // credentials for an event

func TestLoginsCostWhatTheModelSays(t *testing.T) {
	r := newRig(t)
	hydra, kratos := orytest.Hydra(t, ory.HydraConfig{AccessTokenLifespan: 24 * time.Hour}), orytest.Kratos(t, ory.KratosConfig{})
	toHydra, toKratos := newWire(t, hydra.AdminURL, requests), newWire(t, kratos.PublicURL, requests)
	nodes := startNodes(t, 3, redisSettings(r.redis.addr)+fmt.Sprintf(`
introspection: {introspection_endpoint: "http://%s/admin/oauth2/introspect", audience: [api], cache_ttl: 600, negative_cache_ttl: 300}
session: {kratos_url: "http://%s", cache_ttl: 600}
failed_attempts: {count: 1000000}
permission_table: "authenticated: [GET /orders]"
`, toHydra.addr, toKratos.addr))
	tokens, sessions := tokensOf(t, hydra), sessionsOf(t, kratos)
	var invalid []core.Header
	for i := range each {
		invalid = append(invalid, bearer(fmt.Sprintf("ory_at_%080d", i)))
	}
	for i, n := range nodes { // connects, and loads the scripts
		n.want(200, "/orders", tokens[0])
		n.want(200, "/orders", sessions[0])
		n.want(401, "/orders", bearer(fmt.Sprint("ory_at_warm", i)))
	}
	first, others := nodes[:1], nodes[1:]
	tokens, sessions = tokens[1:], sessions[1:]
	valid := func(of func(cost) cost) {
		t.Helper()
		r.costs(of(tokenFirst), each, everywhere(first, tokens, 200), toHydra, toKratos)
		r.costs(of(tokenOther), 2*each, everywhere(others, tokens, 200), toHydra, toKratos)
		r.costs(of(sessionFirst), each, everywhere(first, sessions, 200), toHydra, toKratos)
		r.costs(of(sessionOther), 2*each, everywhere(others, sessions, 200), toHydra, toKratos)
		r.costs(remembered, 6*each, everywhere(nodes, append(tokens, sessions...), 200), toHydra, toKratos)
	}
	valid(func(c cost) cost { return c.plus(stranger) })
	near(t, "a token and a session", "memory of Redis", size{r.keyMemory("gatehouse:credential:*"), 0}, size{(tokenFirst.kept + sessionFirst.kept) / 2, 0})
	clock.by.Add(int64(11 * time.Minute)) // what was remembered is forgotten
	defer clock.by.Store(0)
	if err := r.direct.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	valid(func(c cost) cost { return c })
	r.costs(invalidFirst, each, everywhere(first, invalid, 401), toHydra, toKratos)
	r.costs(invalidAgain, each, everywhere(first, invalid, 401), toHydra, toKratos)
	r.costs(invalidOther, 2*each, everywhere(others, invalid, 401), toHydra, toKratos)
}

// keyMemory is the memory of an average key in Redis.
func (r *rig) keyMemory(pattern string) (bytes int) {
	r.Helper()
	keys, err := r.direct.Keys(r.Context(), pattern).Result()
	if err != nil || len(keys) == 0 {
		r.Fatal(len(keys), err)
	}
	for _, key := range keys {
		bytes += int(r.direct.MemoryUsage(r.Context(), key).Val())
	}
	return bytes / len(keys)
}

// tokensOf are one more than an event takes.
func tokensOf(t *testing.T, hydra *ory.Hydra) (all []core.Header) {
	t.Helper()
	client, err := hydra.CreateClient(t.Context(), ory.Client{Grants: []string{"client_credentials"}, Scopes: []string{"orders"}, Audience: []string{"api"}})
	for i := 0; i <= each && err == nil; i++ {
		var token ory.Token
		token, err = hydra.ClientCredentials(t.Context(), client, []string{"orders"}, []string{"api"})
		all = append(all, bearer(token.AccessToken))
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sessionsOf(t *testing.T, kratos *ory.Kratos) (all []core.Header) {
	t.Helper()
	const password = "a long password of ada"
	person, err := kratos.CreatePerson(t.Context(), ory.Person{Email: "ada@example.test", Password: password, Roles: []string{"clerk"}})
	for i := 0; i <= each && err == nil; i++ {
		var session ory.Session
		session, err = kratos.SignIn(t.Context(), person.Email, password)
		all = append(all, core.Header{Name: "X-Session-Token", Value: session.Token})
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// now reads what has been asked, whether or not more is under way.
func (r *rig) now() meter {
	return meter{redis: r.redis.now(), postgres: r.postgres.now(), executed: r.executed()}
}

// atMost compares what happens at intervals, which is less on a machine that is busy.
func (r *rig) atMost(want cost, times float64, got meter) {
	r.Helper()
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"commands sent to Redis", got.redis.total(), total(want.sent)},
		{"commands executed by Redis", got.executed.total(), want.executed()},
		{"bytes to Redis", got.redis.up, want.redis.up},
		{"bytes from Redis", got.redis.down, want.redis.down},
		{"statements", got.postgres.asked["statement"], want.statements},
		{"bytes to PostgreSQL", got.postgres.up, want.postgres.up},
		{"bytes from PostgreSQL", got.postgres.down, want.postgres.down},
		{"connections to Redis", got.redis.opened, want.redisConnections},
		{"connections to PostgreSQL", got.postgres.opened, want.postgresConnections},
	} {
		measured := float64(c.got) / times
		r.Logf("%s: %.1f %s, the model says %d", want.event, measured, c.what, c.want)
		if measured > 1.2*float64(c.want) || measured < 0.5*float64(c.want) {
			r.Errorf("%s: %.1f %s, the model says %d", want.event, measured, c.what, c.want)
		}
	}
}

// pushTable pushes the first version of the table main.
func (r *rig) pushTable() {
	r.Helper()
	r.pushVersion(100)
}

// pushVersion pushes the next version, of that many bytes.
func (r *rig) pushVersion(bytes int) {
	r.Helper()
	text := fmt.Sprintf("authenticated: [GET /orders]\npublic: [GET /%d]\n", r.version)
	text += strings.Repeat("# a comment, as long as others\n", bytes)[:bytes-len(text)]
	_, err := tables.NewStore(r.client()).Push(r.Context(), tables.Version{
		Name: "main", Base: r.version, Author: "ada", Reason: "a test", Program: "test",
		Files: []tablefile.Text{{Name: "table.yaml", Content: []byte(text)}},
	})
	if err != nil {
		r.Fatal(err)
	}
	r.version++
}

// client uses the database past the wire.
func (r *rig) client() *postgres.Client {
	r.Helper()
	c, err := postgres.New(postgres.Options{Connection: postgres.Connection{URL: r.postgresServer.URL}, Timeout: 10 * time.Second})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(c.Close)
	return c
}

// apiTokens makes that many.
func (r *rig) makeTokens(n int) (all []core.Header) {
	r.Helper()
	keeper := apitokens.NewKeeper(r.client())
	manager := manage.New(manage.Options{Keeper: keeper, Owners: keeper, MaxLifetime: 365 * 24 * time.Hour, Now: time.Now})
	err := manager.SetAccount(r.Context(), "nightly", manage.Account{Grants: apitoken.Grants{Permissions: []string{"orders"}}}, "test")
	for i := 0; i < n && err == nil; i++ {
		var token string
		token, _, err = manager.Create(r.Context(), manage.Request{
			Name: "test", Owner: apitoken.Owner{ServiceAccount: "nightly"}, Grants: apitoken.Grants{Permissions: []string{"orders"}}, Lifetime: time.Hour, By: "test",
		})
		all = append(all, bearer(token))
	}
	if err != nil {
		r.Fatal(err)
	}
	return all
}

const quiet = ", poll_interval: 3600" // in postgres: only what happens is asked about

func TestAPITokensCostWhatTheModelSays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	settings := redisSettings(r.redis.addr) + postgresSettings(r.postgres.addr, quiet) + `
api_token: {token_store: postgres, cache_ttl: 300, last_used_interval: %d}
permission_table: "permissions: {orders: {activities: [GET /orders]}}"
`
	all := r.makeTokens(101)
	nodes := startNodes(t, 3, fmt.Sprintf(settings, 3600))
	everywhere(nodes, all[:1], 200)()
	r.costs(apiTokenMiss.plus(stranger), 3*each, everywhere(nodes, all[1:each+1], 200))
	writer := startNodes(t, 1, fmt.Sprintf(settings, 15)) // longer than it takes to ask about all of them
	everywhere(writer, all[1:], 200)()
	r.costs(lastUses, 1, func() { time.Sleep(16 * time.Second) })
}

// subjects is a fake of an authorization server: a token is the name of its subject.
func subjects(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"active": true, "sub": r.FormValue("token"), "iss": issuer, "aud": "api", "exp": time.Now().Add(time.Hour).Unix()})
	}))
	t.Cleanup(server.Close)
	return server.URL
}

const issuer = "https://login.example.test/"

// setRoles gives a subject a role.
func (r *rig) setRoles(subject, role string) {
	r.Helper()
	var out bytes.Buffer
	args := []string{"roles", "set", subject, "--issuer", issuer, "--reason", "a test", "--role", role, "--database-url", r.postgresServer.URL}
	if status := cli.Main(args, strings.NewReader(""), &out, &out); status != 0 {
		r.Fatal(out.String())
	}
}

func TestRolesCostWhatTheModelSays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const changes = 5
	nodes := startNodes(t, 3, postgresSettings(r.postgres.addr, quiet)+fmt.Sprintf(`
introspection: {introspection_endpoint: "%s", audience: [api], issuer: "%s", cache_ttl: 3600}
subject_roles: {cache_ttl: 3600}
permission_table: "authenticated: [GET /orders]"
`, subjects(t), issuer))
	var all []core.Header
	for i := range each {
		subject := fmt.Sprintf("subject-%04d", i)
		r.setRoles(subject, "clerk")
		all = append(all, bearer(subject))
	}
	everywhere(nodes, []core.Header{bearer("warm")}, 200)()
	r.costs(rolesMiss, 3*each, everywhere(nodes, all, 200))
	r.costs(rolesChange, 3*changes, func() {
		for i := range changes {
			r.setRoles(fmt.Sprintf("subject-%04d", i), "boss")
			r.postgres.settled() // or one look would find several changes
		}
	})
}

func TestTablesCostWhatTheModelSays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.pushTable()
	nodes := startNodes(t, 3, postgresSettings(r.postgres.addr, quiet)+`
session: {kratos_url: "http://127.0.0.1:1"}
permission_table_name: main
`)
	for _, bytes := range []int{1000, 100_000, 1_000_000} {
		before := r.meter()
		r.pushVersion(bytes)
		for _, n := range nodes {
			for range 1000 {
				if n.ask(fmt.Sprint("/", r.version-1)) == 200 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			n.want(200, fmt.Sprint("/", r.version-1))
		}
		got := r.meter().since(before)
		got.postgres.down -= bytes * len(nodes)
		r.compare(tableVersion, len(nodes), got)
	}
}

// sender sends revocations as the command line does.
func sender(t *testing.T, s configfleet.Sections) *configfleet.Sender {
	t.Helper()
	s.Revocation = &configfleet.Revocation{Retention: 86400, Leeway: 10}
	sender, err := configfleet.NewBuilder(configfleet.Options{Now: time.Now}).Sender(s, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sender.Close)
	return sender
}

func send(t *testing.T, by *configfleet.Sender, n int) {
	t.Helper()
	for i := range n {
		e := revocation.Event{Kind: revocation.Token, Value: revocation.TokenDigest(fmt.Sprint("token", time.Now().UnixNano(), i)), Source: "test", Reason: "a test"}
		if err := by.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // or nodes would read several at once
	}
}

func address(addr string) (host string, port int) {
	host, text, _ := strings.Cut(addr, ":")
	_, _ = fmt.Sscan(text, &port)
	return host, port
}

// Nodes look at the stream all the time. What a revocation costs is what comes to that.
func TestRevocationsByRedisCostWhatTheModelSays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	nodes := startNodes(t, 5, redisSettings(r.redis.addr)+"session: {kratos_url: \"http://127.0.0.1:1\"}\nrevocation: {}\npermission_table: \"authenticated: [GET /orders]\"\n")
	toRedis := newWire(t, r.redisServer.Addr, commands)
	host, port := address(toRedis.addr)
	by := sender(t, configfleet.Sections{Redis: &configfleet.Redis{Host: host, Port: port, Secret: setting.Secret(secret), KeyPrefix: "gatehouse:", PoolSize: 1, Timeout: setting.Seconds(5), ConnectTimeout: setting.Seconds(5), WaitReplicas: -1}})
	send(t, by, 1)
	time.Sleep(3 * time.Second) // the nodes have settled
	const looking = 5 * time.Second
	before := r.redis.now()
	time.Sleep(looking)
	idle := r.redis.now().since(before)
	looks := idle.asked["evalsha"]
	if idle.asked["xread"]-looks > len(nodes) || looks-idle.asked["xread"] > len(nodes) || idle.total() > 2*looks+2*len(nodes) {
		t.Errorf("without revocations nodes send %v; want a look and a wait a second", idle.asked)
	}
	const events = 40
	before, sentBefore, executedBefore := r.redis.now(), toRedis.now(), r.executed()
	send(t, by, events)
	got, sent, executed := r.redis.now().since(before), toRedis.now().since(sentBefore), r.executed().since(executedBefore)
	share := float64(got.asked["evalsha"]) / float64(looks)
	got.up -= int(share * float64(idle.up))
	got.down -= int(share * float64(idle.down))
	got.asked["xread"] -= got.asked["evalsha"]
	delete(got.asked, "evalsha")
	delete(got.asked, "info") // which is looked at every minute
	r.compare(revocationFromRedis, events*len(nodes), meter{redis: got, executed: executedOnly(got.asked)})
	nodesLooks := int(math.Round(share * float64(looks)))
	of := executedOnly(maps.Clone(sent.asked))
	of.commands["xinfo|stream"] = executed.commands["xinfo|stream"] - nodesLooks
	of.commands["time"] = executed.commands["time"] - nodesLooks
	of.commands["xadd"] = executed.commands["xadd"]
	r.compare(revocationByRedis, events, meter{redis: sent, executed: of})
}

// executedOnly is what is executed of commands that are no scripts.
func executedOnly(commands map[string]int) executed { return executed{commands: commands} }

func TestRevocationsByPostgreSQLCostWhatTheModelSays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	nodes := startNodes(t, 5, postgresSettings(r.postgres.addr, quiet)+"session: {kratos_url: \"http://127.0.0.1:1\"}\nrevocation: {}\npermission_table: \"authenticated: [GET /orders]\"\n")
	toPostgres := newWire(t, r.postgresServer.Addr, statements)
	host, port := address(toPostgres.addr)
	by := sender(t, configfleet.Sections{Postgres: &configfleet.Postgres{Host: host, Port: port, User: "tester", Database: "postgres", Schema: "gatehouse", Timeout: 5, ConnectTimeout: 5, PoolSize: 1, PollInterval: 3600}})
	send(t, by, 1)
	time.Sleep(2 * time.Second)
	const events = 20
	before, sentBefore := r.meter(), toPostgres.now()
	for range events {
		send(t, by, 1)
		r.postgres.settled()
	}
	r.compare(revocationFromTable, events*len(nodes), r.meter().since(before))
	r.compare(revocationByTable, events, meter{postgres: toPostgres.now().since(sentBefore)})
}

// everything are the settings of a node that has all that nodes share.
func (r *rig) everything() string {
	return redisSettings(r.redis.addr) + postgresSettings(r.postgres.addr, "") + `
session: {kratos_url: "http://127.0.0.1:1"}
revocation: {}
subject_roles: {}
api_token: {token_store: postgres}
permission_table_name: main
`
}

// A node looks at intervals, and later than that on a machine that is busy.
func TestIdleNodesCostWhatTheModelSays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.pushTable()
	const nodes, seconds = 10, 20
	first := startNode(t, r.everything()) // Redis has its scripts from then on
	first.await()
	before := r.meter()
	all := make([]*node, nodes)
	var starting sync.WaitGroup
	for i := range all { // at the same time, so that none is idle while others start
		starting.Go(func() { all[i] = startNode(t, r.everything()) })
	}
	starting.Wait()
	time.Sleep(5 * time.Second)
	r.atMost(start, nodes, r.now().since(before))
	before = r.now()
	time.Sleep(seconds * time.Second)
	r.atMost(idleMinute, (nodes+1)*seconds/60.0, r.now().since(before))
	t.Logf("%d nodes have %d connections to Redis and %d to PostgreSQL", nodes+1, r.redis.open.Load(), r.postgres.open.Load())

	// What is in force is read at the start.
	const kept = 200
	for i := range kept {
		e := revocation.Event{Kind: revocation.Token, Value: revocation.TokenDigest(fmt.Sprint(i)), Source: "test", Reason: "a test"}
		if err := all[0].Revoke(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	late := *r
	late.redis, late.postgres = newWire(t, r.redisServer.Addr, commands), newWire(t, r.postgresServer.Addr, statements)
	startNodes(t, 1, late.everything())
	time.Sleep(5 * time.Second)
	got := late.now()
	near(t, keptRevocation.event, "Redis", size{0, (got.redis.down - start.redis.down) / kept}, keptRevocation.redis)
	near(t, keptRevocation.event, "PostgreSQL", size{0, (got.postgres.down - start.postgres.down) / kept}, keptRevocation.postgres)
}
