package fleet

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core/config/fleet"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation"
	"gatehouse/core/setting"
	"gatehouse/dev/redistest"
)

// revocationConfig has a process keep what it has learned of a token for an hour, so that
// only a revocation ends it.
const revocationConfig = `
revocation: {}
`

func revokeByToken(t *testing.T, addr, token string) {
	t.Helper()
	if err := tryToRevoke(t, addr, token); err != nil {
		t.Fatal(err)
	}
}

// tryToRevoke publishes as the command line does.
func tryToRevoke(t *testing.T, addr, token string) error {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	var number int
	fmt.Sscan(port, &number)
	sender, err := fleet.NewBuilder(fleet.Options{Now: time.Now}).Sender(fleet.Sections{
		Redis:      &fleet.Redis{Host: host, Port: number, Secret: setting.Secret(secret), KeyPrefix: "gatehouse:", PoolSize: 1, Timeout: setting.Seconds(1), ConnectTimeout: setting.Seconds(1), WaitReplicas: -1},
		Revocation: &fleet.Revocation{Retention: 86400, Leeway: 10},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	return sender.Publish(t.Context(), revocation.Event{Kind: revocation.Token, Value: revocation.TokenDigest(token), Source: "test"})
}

// accepted waits until all services let a token pass.
func accepted(t *testing.T, services []string, token string) {
	t.Helper()
	for _, address := range services {
		eventually(t, address+" lets "+token+" pass", func() bool { return decision(t, address, token) == http.StatusOK })
	}
}

// refusedAfter is how long it takes each service to refuse a token.
func refusedAfter(t *testing.T, services []string, token string) []time.Duration {
	t.Helper()
	begun := time.Now()
	took := make([]time.Duration, len(services))
	var wait sync.WaitGroup
	for i, address := range services {
		wait.Go(func() {
			eventually(t, address+" refuses "+token, func() bool {
				refused := decision(t, address, token) == http.StatusUnauthorized
				took[i] = time.Since(begun)
				return refused
			})
		})
	}
	wait.Wait()
	return took
}

func TestRevocationReachesTwentyProcesses(t *testing.T) {
	var calls atomic.Int64
	provider := introspectionServer(t, &calls)
	server := redistest.Start(t)
	services := startServices(t, 20, provider, server.Addr, revocationConfig)
	accepted(t, services, "gold-first") // and all of them follow the stream
	revokeByToken(t, server.Addr, "gold-first")
	refusedAfter(t, services, "gold-first")
	var all []time.Duration
	for i := range 10 {
		token := fmt.Sprint("gold", i)
		accepted(t, services, token)
		revokeByToken(t, server.Addr, token)
		all = append(all, refusedAfter(t, services, token)...)
	}
	slices.Sort(all)
	t.Logf("from the acknowledgement to the refusal on each of 20 processes, %d times: median %v, p99 %v, longest %v",
		len(all), all[len(all)/2], all[len(all)*99/100], all[len(all)-1])
	for i := range 10 {
		for _, address := range services {
			if got := decision(t, address, fmt.Sprint("gold", i)); got != http.StatusUnauthorized {
				t.Errorf("a revoked token has status %d at %s", got, address)
			}
		}
	}
}

// watch asks all services about all tokens again and again. What was revoked and refused
// everywhere once must pass nowhere, whatever happens meanwhile.
type watch struct {
	t        *testing.T
	mu       sync.Mutex
	services []string
	revoked  []string
	good     string

	asked, passed, refused atomic.Int64 // of the revoked ones that passed, of the good one that was refused
}

func (w *watch) run(until <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-until:
			return
		default:
		}
		w.mu.Lock()
		address, revoked := w.services[i%len(w.services)], w.revoked[i%len(w.revoked)]
		w.mu.Unlock()
		w.asked.Add(1)
		if got := decision(w.t, address, revoked); got == http.StatusOK {
			w.passed.Add(1)
		}
		if got := decision(w.t, address, w.good); got == http.StatusUnauthorized || got == http.StatusForbidden {
			w.refused.Add(1)
		}
	}
}

func (w *watch) add(service, revoked string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if service != "" {
		w.services = append(w.services, service)
	}
	if revoked != "" {
		w.revoked = append(w.revoked, revoked)
	}
}

func TestRevokedTokenPassesOnNoNodeWhateverBecomesOfRedis(t *testing.T) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	server := redistest.Start(t)
	config := fmt.Sprintf("revocation: {}\njwt: {issuers: [{issuer: \"%s\", audience: [\"%s\"]}]}\n", issuer.URL, coretest.Audience)
	provider := introspectionServer(t, new(atomic.Int64))
	services := startServices(t, 3, provider, server.Addr, config)
	number := 0
	token := func() string {
		number++
		return issuer.Token(map[string]any{"jti": fmt.Sprint("token", number)})
	}
	revoke := func() string {
		revoked := token()
		accepted(t, services, revoked)
		revokeByToken(t, server.Addr, revoked)
		refusedAfter(t, services, revoked)
		return revoked
	}
	w := &watch{t: t, services: services, good: token()}
	accepted(t, services, w.good)
	w.add("", revoke())
	ended := make(chan struct{})
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() { w.run(ended) })
	}
	redisDoes := func(args ...any) { command(args...)(t, server) }
	for _, fault := range []struct {
		name       string
		fail, mend func()
		starts     bool // a process starts meanwhile
	}{
		{"frozen", server.Freeze, server.Thaw, false},
		{"stopped and empty", server.Stop, server.Restart, true},
		{"flushed", func() { redisDoes("FLUSHALL") }, nil, true},
		{"deleted", func() { redisDoes("DEL", streamKey) }, nil, false},
		{"trimmed", func() { redisDoes("XTRIM", streamKey, "MAXLEN", 1) }, nil, false},
		{"full", func() { redisDoes("CONFIG", "SET", "maxmemory", 1, "maxmemory-policy", "volatile-ttl") }, func() { redisDoes("CONFIG", "SET", "maxmemory", 0) }, false},
		{"evicting", func() { redisDoes("CONFIG", "SET", "maxmemory-policy", "allkeys-lru") }, func() { redisDoes("CONFIG", "SET", "maxmemory-policy", "noeviction") }, false},
	} {
		before := w.asked.Load()
		fault.fail()
		if fault.starts {
			started := startServices(t, 1, provider, server.Addr, config)[0]
			w.add(started, "")
			services = append(services, started)
		}
		eventually(t, "some requests", func() bool { return w.asked.Load() > before+200 })
		if fault.mend != nil {
			fault.mend()
		}
		begun := time.Now()
		accepted(t, services, w.good)
		revoked := token()
		eventually(t, "a revocation is acknowledged again", func() bool { return tryToRevoke(t, server.Addr, revoked) == nil })
		refusedAfter(t, services, revoked)
		t.Logf("%s: all %d nodes agree %v after its end", fault.name, len(services), time.Since(begun).Round(10*time.Millisecond))
		w.add("", revoked)
	}
	close(ended)
	running.Wait()
	t.Logf("%d requests with a revoked token: %d passed; %d with a good one were refused", w.asked.Load(), w.passed.Load(), w.refused.Load())
	if w.passed.Load()+w.refused.Load() > 0 {
		t.Fail()
	}
}
