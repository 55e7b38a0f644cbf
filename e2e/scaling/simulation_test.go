package scaling

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	configfleet "gatehouse/core/config/fleet"
	"gatehouse/core/setting"
)

// calls are the moments at which the providers were asked of each credential that is good.
type calls struct {
	sync.Mutex
	at map[string][]time.Time
}

func (c *calls) note(credential string) {
	c.Lock()
	defer c.Unlock()
	if c.at == nil {
		c.at = map[string][]time.Time{}
	}
	c.at[credential] = append(c.at[credential], time.Now())
}

// since counts the credentials that were asked of after a moment, and the calls for them
// that came within a time after the one before.
func (c *calls) since(moment time.Time, within time.Duration) (credentials, again int) {
	c.Lock()
	defer c.Unlock()
	for _, at := range c.at {
		at = slices.DeleteFunc(slices.Clone(at), func(t time.Time) bool { return t.Before(moment) })
		if len(at) > 0 {
			credentials++
		}
		for i := 1; i < len(at); i++ {
			if at[i].Sub(at[i-1]) < within {
				again++
			}
		}
	}
	return credentials, again
}

// providers are fakes of Hydra and Kratos. A credential is the name of its subject, and
// the responses are as long as the real ones.
func providers(t *testing.T, called *calls) (hydra, kratos string) {
	respond := func(w http.ResponseWriter, document map[string]any) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(document)
	}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.FormValue("token")
		if !strings.Contains(token, "token") {
			respond(w, map[string]any{"active": false})
			return
		}
		called.note(token)
		now := time.Now()
		respond(w, map[string]any{
			"active": true, "sub": token, "iss": issuer, "aud": []string{"api"}, "client_id": "5f6e4a1c-2d5e-4b39-a1b7-0c5f2f1f3a77", "scope": "orders",
			"exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "nbf": now.Unix(), "token_type": "Bearer", "token_use": "access_token",
		})
	}))
	k := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now().UTC()
		moment := now.Format(time.RFC3339Nano)
		subject := r.Header.Get("X-Session-Token")
		called.note(subject)
		respond(w, map[string]any{
			"id": subject, "active": true, "expires_at": now.Add(time.Hour).Format(time.RFC3339Nano), "authenticated_at": moment, "issued_at": moment,
			"authenticator_assurance_level": "aal1", "authentication_methods": []any{map[string]any{"method": "password", "aal": "aal1", "completed_at": moment}},
			"identity": map[string]any{
				"id": subject, "schema_id": "default", "schema_url": "http://127.0.0.1:4433/schemas/ZGVmYXVsdA", "state": "active", "state_changed_at": moment,
				"traits":          map[string]any{"email": subject + "@example.test", "name": "Ada"},
				"metadata_public": map[string]any{"roles": []string{"clerk"}}, "created_at": moment, "updated_at": moment, "organization_id": nil,
				"verifiable_addresses": []any{map[string]any{"id": "6c14d7c0-0f4c-4b0e-9d5b-0e3c7cf3a1a2", "value": subject + "@example.test", "verified": false, "via": "email", "status": "sent", "created_at": moment, "updated_at": moment}},
			},
		})
	}))
	t.Cleanup(h.Close)
	t.Cleanup(k.Close)
	return h.URL, k.URL
}

// simulated is a fleet under load.
type simulated struct {
	*rig
	simulation
	hydra, kratos *wire
	called        calls
	running       []*node
	credentials   [3][]core.Header // sessions, tokens, API tokens
	asked         atomic.Int64
	// Changes of each kind.
	revoked, changed, pushed atomic.Int64
	// wrong are decisions that were other than they ought to be.
	wrong map[string]int
	mu    sync.Mutex
	took  []time.Duration
}

// simulation is what is simulated.
type simulation struct {
	fleet
	seconds float64
}

func (s *simulation) settings() map[string]*float64 {
	all := s.fleet.settings()
	all["seconds"] = &s.seconds
	return all
}

// small is a simulation in which the time of a credential passes six times as fast as in
// the fleet that is assumed: it comes six times as often, and its result is kept a sixth as
// long.
func small(t *testing.T) simulation {
	t.Helper()
	f := assumed.of(5)
	f.rate, f.each, f.ttl, f.apiTTL, f.rolesTTL = 60, 3, 5, 5, 5
	f.roleChanges, f.versions, f.tableSize = 0.5, 0.1, 20_000
	s := simulation{f, 16}
	given(t, s.settings())
	return s
}

func simulate(t *testing.T) *simulated {
	t.Helper()
	of := small(t)
	f := of.fleet
	s := &simulated{rig: newRig(t, "-c", "max_connections=2000"), simulation: of, wrong: map[string]int{}}
	hydra, kratos := providers(t, &s.called)
	s.hydra, s.kratos = newWire(t, hydra, requests), newWire(t, kratos, requests)
	s.pushTable()
	active := func(share float64) int { return int(share * f.rate * f.nodes / f.each) }
	for i := range active(f.sessions) {
		s.credentials[0] = append(s.credentials[0], core.Header{Name: "X-Session-Token", Value: fmt.Sprintf("session-%024d", i)})
	}
	for i := range active(f.tokens) {
		s.credentials[1] = append(s.credentials[1], bearer(fmt.Sprintf("ory_at_token-%075d", i)))
	}
	s.credentials[2] = s.makeTokens(active(f.apiTokens))
	s.running = startNodes(t, int(f.nodes), redisSettings(s.redis.addr)+postgresSettings(s.postgres.addr, "")+fmt.Sprintf(`
introspection: {introspection_endpoint: "http://%s", audience: [api], issuer: "%s", cache_ttl: %v}
session: {kratos_url: "http://%s", cache_ttl: %v}
api_token: {token_store: postgres, cache_ttl: %v}
subject_roles: {cache_ttl: %v}
revocation: {}
failed_attempts: {count: 1000000}
cache: {max_entries: 1000000, max_bytes: 1000000000}
permission_table_name: main
`, s.hydra.addr, issuer, f.ttl, s.kratos.addr, f.ttl, f.apiTTL, f.rolesTTL))
	for _, n := range s.running { // a node that has just started asks of each whether it has failed
		s.introduce(n)
	}
	return s
}

// anybody is a client.
func anybody() netip.Addr {
	n := rand.Uint32()
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// introduce asks a node about all credentials.
func (s *simulated) introduce(n *node) {
	var under sync.WaitGroup
	for part := range 8 {
		under.Go(func() {
			for _, all := range s.credentials {
				for i := part; i < len(all); i += 8 {
					n.askFrom(anybody(), "/orders", all[i])
				}
			}
		})
	}
	under.Wait()
}

// pick is a credential by the shares, and the status that it deserves.
func (s *simulated) pick() (core.Header, int) {
	share := rand.Float64() * (s.sessions + s.tokens + s.apiTokens + s.invalid)
	for i, of := range []float64{s.sessions, s.tokens, s.apiTokens} {
		if share -= of; share < 0 {
			return s.credentials[i][rand.IntN(len(s.credentials[i]))], 200
		}
	}
	return bearer(fmt.Sprintf("ory_at_%080d", rand.Int64())), 401
}

// load sends requests at random moments, whether or not earlier ones have ended, until the
// time is over and all have ended.
func (s *simulated) load(seconds float64) {
	var under sync.WaitGroup
	begun, due := time.Now(), 0.0
	for {
		due += rand.ExpFloat64() / (s.rate * s.nodes)
		if due > seconds {
			break
		}
		time.Sleep(time.Until(begun.Add(time.Duration(due * 1e9))))
		credential, want := s.pick()
		n := s.running[rand.IntN(len(s.running))]
		under.Go(func() {
			before := time.Now()
			got := n.askFrom(anybody(), "/orders", credential)
			s.asked.Add(1)
			s.mu.Lock()
			defer s.mu.Unlock()
			if got != want {
				s.wrong[fmt.Sprintf("%d instead of %d", got, want)]++
			}
			s.took = append(s.took, time.Since(before))
		})
	}
	under.Wait()
}

// busy reports whether the machine was too busy for so many requests, and forgets those
// that got 503 or 429 because of that.
func (s *simulated) busy() bool {
	s.Helper()
	unavailable := 0
	for _, text := range []string{"503 instead of 200", "503 instead of 401", "429 instead of 200", "429 instead of 401"} {
		unavailable += s.wrong[text]
		delete(s.wrong, text)
	}
	if unavailable > 0 {
		s.Logf("%d of %d requests got 503 or 429: the machine is busy", unavailable, s.asked.Load())
	}
	return int64(unavailable) > s.asked.Load()/200
}

// check fails the test where something was not as it is on each node by itself.
func (s *simulated) check(busy bool) {
	s.Helper()
	if len(s.wrong) > 0 {
		s.Errorf("of %d decisions some were other than they ought to be: %v", s.asked.Load(), s.wrong)
	}
	if busy { // connections end slowly
		return
	}
	if most := s.redis.busiest.Load(); most > int64(s.nodes*redisConnections) {
		s.Errorf("%d connections to Redis, want %v for each node at most", most, redisConnections)
	}
	// Some end while others begin; what takes too long is cancelled by a connection of its own.
	if most := s.postgres.busiest.Load(); most > int64(s.nodes*(postgresConnections+1)) {
		s.Errorf("%d connections to PostgreSQL, want %v for each node at most", most, postgresConnections)
	}
}

// changes are what happens beside requests, until the test is done with it.
func (s *simulated) changes(until <-chan struct{}) {
	host, port := address(s.redisServer.Addr)
	host2, port2 := address(s.postgresServer.Addr)
	by := sender(s.T, configfleet.Sections{
		Redis:    &configfleet.Redis{Host: host, Port: port, Secret: setting.Secret(secret), KeyPrefix: "gatehouse:", PoolSize: 1, Timeout: 5, ConnectTimeout: 5, WaitReplicas: -1},
		Postgres: &configfleet.Postgres{Host: host2, Port: port2, User: "tester", Database: "postgres", Schema: "gatehouse", Timeout: 5, ConnectTimeout: 5, PoolSize: 1, PollInterval: 3600},
	})
	all := s.revocations + s.roleChanges + s.versions
	for i, due := 0, time.Now(); ; i++ {
		due = due.Add(time.Duration(rand.ExpFloat64() / all * 1e9))
		select {
		case <-until:
			return
		case <-time.After(time.Until(due)):
		}
		switch which := rand.Float64() * all; {
		case which < s.revocations:
			send(s.T, by, 1)
			s.revoked.Add(1)
		case which < s.revocations+s.roleChanges:
			s.setRoles(fmt.Sprint("somebody-", i), "clerk")
			s.changed.Add(1)
		default:
			s.pushVersion(int(s.tableSize))
			s.pushed.Add(1)
		}
	}
}

// TestFleetUnderLoadAsksForWhatTheModelSays runs nodes under an open load. What is scaled
// down is in docs/scaling.md.
func TestFleetUnderLoadAsksForWhatTheModelSays(t *testing.T) {
	s := simulate(t)
	until, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		s.changes(until)
	}()
	s.load(3*s.ttl + 2/s.each) // so that credentials are at all points of their time
	before, asked := s.sum(), s.asked.Load()
	revoked, changed, pushed := s.revoked.Load(), s.changed.Load(), s.pushed.Load()
	s.mu.Lock()
	s.took = nil
	s.mu.Unlock()
	begun := time.Now()
	s.load(s.seconds)
	seconds := time.Since(begun).Seconds()
	got := s.sum().since(before)
	of := s.fleet
	of.revocations = float64(s.revoked.Load()-revoked) / seconds
	of.roleChanges = float64(s.changed.Load()-changed) / seconds
	of.versions = float64(s.pushed.Load()-pushed) / seconds
	close(until)
	<-ended
	of.rate = float64(s.asked.Load()-asked) / seconds / of.nodes
	of.each *= of.rate / s.rate
	want := of.demand()
	t.Logf("%.0f nodes with %.1f requests a second each, for %.0f s; %d connections to Redis, %d to PostgreSQL at most", of.nodes, of.rate, seconds, s.redis.busiest.Load(), s.postgres.busiest.Load())
	busy := s.busy()
	for _, row := range []struct {
		what            string
		measured, model float64
	}{
		{"calls to Kratos", float64(got.kratos.total()), want.kratos},
		{"calls to Hydra", float64(got.hydra.total()), want.hydra},
		{"commands to Redis", float64(got.redis.total()), want.sent},
		{"bytes to Redis", float64(got.redis.up), want.redisUp},
		{"bytes from Redis", float64(got.redis.down), want.redisDown},
		{"statements to PostgreSQL", float64(got.postgres.total()), want.statements},
		{"bytes to PostgreSQL", float64(got.postgres.up), want.postgresUp},
		{"bytes from PostgreSQL", float64(got.postgres.down), want.postgresDown},
	} {
		measured := row.measured / seconds
		t.Logf("| %s | %.0f | %.0f | %+.0f%% |", row.what, row.model, measured, 100*(measured/row.model-1))
		if !busy && (measured < 0.8*row.model || measured > 1.2*row.model) {
			t.Errorf("%.0f %s a second, the model says %.0f", measured, row.what, row.model)
		}
	}
	slices.Sort(s.took)
	t.Logf("Redis used %.2f processors, the model says %.2f; half of the decisions took %v, 99%% %v; wrong decisions: %v",
		got.executed.seconds/seconds, want.redisProcessors, s.took[len(s.took)/2], s.took[len(s.took)*99/100], s.wrong)
	s.check(busy)
	if busy {
		t.Skip("the machine is too busy to compare rates")
	}
}

// passed is what has passed all wires.
type passed struct {
	redis, postgres, hydra, kratos traffic
	executed                       executed
}

func (s *simulated) sum() passed {
	return passed{s.redis.now(), s.postgres.now(), s.hydra.now(), s.kratos.now(), s.executed()}
}

func (p passed) since(before passed) passed {
	return passed{
		p.redis.since(before.redis), p.postgres.since(before.postgres), p.hydra.since(before.hydra), p.kratos.since(before.kratos),
		p.executed.since(before.executed),
	}
}

// TestLostEpochAsksForEveryCredentialOnce has the stream of revocations go away under
// load. Every node forgets what it has learned of credentials, all at the same time. What
// the providers see is one call for each credential that is in use, and no second one.
func TestLostEpochAsksForEveryCredentialOnce(t *testing.T) {
	s := simulate(t)
	count := func() float64 { now := s.sum(); return float64(now.hydra.total() + now.kratos.total()) }
	of := s.demand()
	usual := of.hydra + of.kratos
	s.load(3*s.ttl + 2/s.each)
	before, lost := count(), time.Now()
	if err := s.direct.Del(t.Context(), "gatehouse:revocations").Err(); err != nil {
		t.Fatal(err)
	}
	var ended atomic.Bool
	var perSecond []float64
	var watching sync.WaitGroup
	watching.Go(func() {
		for last := before; !ended.Load(); {
			time.Sleep(time.Second)
			now := count()
			perSecond, last = append(perSecond, now-last), now
		}
	})
	s.load(s.ttl - 1/s.each)
	active := (s.sessions + s.tokens) * s.rate * s.nodes / s.each
	if len(os.Getenv("GATEHOUSE_SCALING")) > 0 { // to see how the calls even out
		s.load(5 * s.ttl)
	}
	ended.Store(true)
	watching.Wait()
	t.Logf("usually %.0f calls a second; %.0f credentials are in use; calls in each second after the stream was lost: %.0f", usual, active, perSecond)
	busy := s.busy()
	// A result that was learned while the nodes noticed may end a little earlier.
	asked, again := s.called.since(lost, time.Duration(0.8*s.ttl*1e9))
	if float64(asked) < 0.7*active {
		t.Errorf("%d credentials were asked of after the stream was lost; want most of %.0f", asked, active)
	}
	if float64(again) > 0.1*active && !busy {
		t.Errorf("%d calls for credentials whose result had not ended; want one call for each of %.0f", again, active)
	}
	s.check(busy)
}
