package fleet

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/dev/redistest"
	"gatehouse/e2e/nodes"
)

// introspectionServer is a fake of an authorization server that takes its time.
func introspectionServer(t *testing.T, calls *atomic.Int64) string {
	return introspectionServerWith(t, calls, 200*time.Millisecond)
}

func introspectionServerWith(t *testing.T, calls *atomic.Int64, delay time.Duration) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		time.Sleep(delay)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"active": strings.HasPrefix(r.FormValue("token"), "gold"), "sub": "ada", "aud": "api", "exp": time.Now().Add(time.Hour).Unix(),
		})
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// startServices starts that many nodes that share a Redis, with further settings of their
// gate, and returns the addresses at which they are asked.
func startServices(t *testing.T, n int, provider, redisAddr string, settings ...string) []string {
	t.Helper()
	host, port, _ := strings.Cut(redisAddr, ":")
	return nodes.Addresses(nodes.Start(t, n, fmt.Sprintf(`
introspection: {introspection_endpoint: "%s", audience: [api]}
redis: {host: "%s", port: %s, secret: "%s", timeout: 1}
permission_table: "authenticated: [GET /orders]"
%s
`, provider, host, port, secret, strings.Join(settings, "\n"))))
}

// decision asks a service about a call with a token.
func decision(t *testing.T, address, token string) int {
	t.Helper()
	return decisionFor(t, address, "", token).status
}

type answer struct {
	status     int
	retryAfter string
}

// decisionFor is that for a client, whose address the proxy has added.
func decisionFor(t *testing.T, address, client, token string) answer {
	t.Helper()
	header := []core.Header{nodes.Bearer(token)}
	if client != "" {
		header = append(header, core.Header{Name: "X-Forwarded-For", Value: client})
	}
	response, err := nodes.Ask(address, "/orders", header...)
	if err != nil {
		t.Error(err)
		return answer{}
	}
	return answer{response.StatusCode, response.Header.Get("Retry-After")}
}

func TestThousandConcurrentMissesOverTenProcessesMakeTwoIntrospectionsAtMost(t *testing.T) {
	var calls atomic.Int64
	provider := introspectionServer(t, &calls)
	// 1,000 calls with one invalid token are above the limit on failed attempts.
	services := startServices(t, 10, provider, redistest.Start(t).Addr, "failed_attempts: {count: 0}")
	for token, want := range map[string]int{"gold": http.StatusOK, "lead": http.StatusUnauthorized} {
		before := calls.Load()
		var callers sync.WaitGroup
		for _, address := range services {
			for range 100 {
				callers.Go(func() {
					if got := decision(t, address, token); got != want {
						t.Errorf("%s: status %d, want %d", token, got, want)
					}
				})
			}
		}
		callers.Wait()
		if got := calls.Load() - before; got < 1 || got > 2 {
			t.Errorf("%s: %d introspections", token, got)
		} else {
			t.Logf("1,000 concurrent calls with %s over 10 processes: %d introspections", token, got)
		}
	}
}

// The fleet goes on while Redis stops, and shares again when it is back.
func TestFleetGoesOnWhileRedisIsAway(t *testing.T) {
	var calls atomic.Int64
	provider := introspectionServer(t, &calls)
	server := redistest.Start(t)
	services := startServices(t, 2, provider, server.Addr)
	for _, away := range []struct {
		name      string
		fail, fix func()
	}{
		{"stopped", server.Stop, server.Restart},
		{"frozen", server.Freeze, server.Thaw},
	} {
		away.fail()
		for i, address := range append(services, services...) {
			if got := decision(t, address, fmt.Sprint("gold", away.name, i)); got != http.StatusOK {
				t.Errorf("%s: status %d", away.name, got)
			}
			if got := decision(t, address, fmt.Sprint("lead", away.name, i)); got != http.StatusUnauthorized {
				t.Errorf("%s: garbage has status %d", away.name, got)
			}
		}
		away.fix()
		shared(t, away.name, services, &calls)
	}
}

// shared waits until a second node makes no call for what the first has learned.
func shared(t *testing.T, name string, services []string, calls *atomic.Int64) {
	t.Helper()
	for i := range 50 {
		before := calls.Load()
		for _, address := range services {
			if got := decision(t, address, fmt.Sprint("gold-again-", name, i)); got != http.StatusOK {
				t.Fatal(got)
			}
		}
		if calls.Load()-before == 1 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("%s: the nodes share nothing afterwards", name)
}
