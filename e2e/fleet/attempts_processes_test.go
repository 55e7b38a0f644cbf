package fleet

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"gatehouse/dev/redistest"
)

const (
	free     = 12 // of failed attempts
	settings = "failed_attempts: {count: 12, time_window: 3600, allow: [203.0.113.0/24, 2001:db8:a::/48]}"
)

// guesses makes failed attempts at the services in turn, and returns how many were no 429.
func guesses(t *testing.T, services []string, n int, client func(i int) string, credential func(i int) string) (passed int) {
	t.Helper()
	for i := range n {
		switch got := decisionFor(t, services[i%len(services)], client(i), credential(i)); {
		case got.status == http.StatusUnauthorized:
			passed++
		case got.status != http.StatusTooManyRequests || got.retryAfter == "" || got.retryAfter == "0":
			t.Errorf("attempt %d: %+v", i, got)
		}
	}
	return passed
}

func always(text string) func(int) string { return func(int) string { return text } }

func each(format string) func(int) string {
	return func(i int) string { return fmt.Sprintf(format, i) }
}

func TestFailedAttemptsSpreadOverProcessesAreLimitedAsOne(t *testing.T) {
	var calls atomic.Int64
	provider := introspectionServerWith(t, &calls, 0)
	server := redistest.Start(t)
	services := startServices(t, 3, provider, server.Addr, settings)

	if got := guesses(t, services, 30, always("198.51.100.7"), each("guess%d")); got != free {
		t.Errorf("%d guesses of one client passed on three processes, want %d", got, free)
	}
	if got := guesses(t, services, 30, each("192.0.2.%d"), always("dead")); got != free {
		t.Errorf("%d attempts with one credential passed, want %d", got, free)
	}
	if got := guesses(t, services, 30, each("2001:db8:1:2::%x"), each("other%d")); got != free {
		t.Errorf("%d guesses of one IPv6 network passed, want %d", got, free)
	}
	if got := guesses(t, services, 30, always("::ffff:198.51.100.7"), each("mapped%d")); got != 0 {
		t.Errorf("%d guesses passed because of an address in another form", got)
	}
	if got := decisionFor(t, services[0], "198.51.100.8", "gold-other"); got.status != http.StatusOK {
		t.Errorf("another client: %+v", got)
	}
	for _, allowed := range []string{"203.0.113.9", "::ffff:203.0.113.9", "2001:db8:a:b::1"} {
		if got := guesses(t, services, 30, always(allowed), each("office-%d")); got != 30 {
			t.Errorf("%s: %d of 30 attempts of an allowed client passed", allowed, got)
		}
	}
	// A client cannot give itself an allowed address: the proxy has added the last one.
	if got := guesses(t, services, 30, always("203.0.113.9, 198.51.100.9"), each("spoofed-%d")); got != free {
		t.Errorf("%d guesses passed with an address that the client wrote", got)
	}
}

func TestFailedAttemptsWhileRedisIsAwayAreLimitedByEachProcess(t *testing.T) {
	var calls atomic.Int64
	provider := introspectionServerWith(t, &calls, 0)
	for _, name := range []string{"stopped", "full"} {
		fail := failures[name]
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			services := startServices(t, 3, provider, server.Addr, settings)
			if got := guesses(t, services, 6, always("198.51.100.7"), each(name+"-before-%d")); got != 6 {
				t.Fatalf("%d guesses passed", got)
			}
			fail(server)
			got := guesses(t, services, 60, always("198.51.100.7"), each(name+"-guess-%d"))
			if got < free-6 || got > len(services)*free-6 {
				t.Errorf("%d guesses passed, want those of each process at most", got)
			}
			if got := decisionFor(t, services[0], "198.51.100.8", "gold-"+name); got.status != http.StatusOK {
				t.Errorf("another client: %+v", got)
			}
		})
	}
}

// A credential that one node knows to be good is not held up on another one because its
// client is limited, and looking for that does not cost Redis a call for every guess.
func TestLimitOfAClientHoldsUpNoCredentialThatAnotherProcessKnows(t *testing.T) {
	var calls atomic.Int64
	provider := introspectionServerWith(t, &calls, 0)
	server := redistest.Start(t)
	services := startServices(t, 2, provider, server.Addr, settings)
	const client = "198.51.100.7"
	if got := decisionFor(t, services[0], client, "gold-known"); got.status != http.StatusOK {
		t.Fatal(got)
	}
	guesses(t, services[:1], 30, always(client), each("guess%d"))
	asked := calls.Load()
	if got := decisionFor(t, services[1], client, "gold-new"); got.status != http.StatusTooManyRequests {
		t.Errorf("a new credential tells whether a guess is right: %+v", got)
	}
	if got := decisionFor(t, services[1], client, "gold-known"); got.status != http.StatusOK || calls.Load() != asked {
		t.Errorf("what another process knows: %+v, %d calls to the provider", got, calls.Load()-asked)
	}
	before := calledOf(t, server, "get")
	if got := guesses(t, services[1:], 2000, always(client), each("flood%d")); got > 10 { // what the credential has given back
		t.Errorf("%d guesses passed", got)
	}
	if looks := calledOf(t, server, "get") - before; looks > 1000 { // 20 a second, and two commands each
		t.Errorf("2000 refusals made Redis look %d times", looks)
	}
}
