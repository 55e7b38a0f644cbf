package database

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"gatehouse/dev/postgrestest"
	"gatehouse/e2e/nodes"
)

// startGates starts that many forward-auth services whose callers are completed by the
// database, and returns the addresses at which they are asked.
func startGates(t *testing.T, n int, s *postgrestest.Server) []string {
	t.Helper()
	// A fake of an authorization server: a token is the name of its subject.
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"active": true, "sub": r.FormValue("token"), "iss": rolesIssuer, "aud": "api", "exp": time.Now().Add(time.Hour).Unix()})
	}))
	t.Cleanup(provider.Close)
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return nodes.Addresses(nodes.Start(t, n, fmt.Sprintf(`
introspection: {introspection_endpoint: "%s", audience: [api], issuer: "%s"}
postgres: {host: "%s", port: %s, user: gatehouse_node, password: change-me-3}
subject_roles: {cache_ttl: 3600}
permission_table: |
  permissions: {orders: {activities: [GET /orders]}}
  roles: {clerk: [orders]}
`, provider.URL, rolesIssuer, host, port)))
}

// decided is the status of a call of a subject at a node; 0: none.
func decided(t *testing.T, address, subject string) int {
	t.Helper()
	response, err := nodes.Ask(address, "/orders", nodes.Bearer(subject))
	if err != nil {
		return 0
	}
	return response.StatusCode
}

// agreed waits until all nodes decide alike, and returns how long that took.
func agreed(t *testing.T, nodes []string, subject string, want int) time.Duration {
	t.Helper()
	begin := time.Now()
	for _, node := range nodes {
		for decided(t, node, subject) != want {
			if time.Since(begin) > 30*time.Second {
				t.Fatalf("%s decides %d, want %d", node, decided(t, node, subject), want)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	return time.Since(begin)
}

// The credential stays the same all the time, and is cached by each node.
func TestRolesReachEveryProcessWithoutANewToken(t *testing.T) {
	s := migrated(t)
	nodes := startGates(t, 20, s)
	agreed(t, nodes, "ada", http.StatusForbidden)
	var slowest time.Duration
	for range 5 {
		setRoles(t, s, "ada", "clerk")
		slowest = max(slowest, agreed(t, nodes, "ada", http.StatusOK))
		setRoles(t, s, "ada")
		slowest = max(slowest, agreed(t, nodes, "ada", http.StatusForbidden))
	}
	t.Logf("after 10 changes of roles, %d processes agreed within %s at the latest", len(nodes), slowest)
	// A namesake of another kind gets nothing.
	if status, _, stderr := gatehouse(t, s, "roles", "set", "ada", "--client", "--issuer", rolesIssuer, "--role", "clerk", "--reason", "x"); status != 0 {
		t.Fatal(stderr)
	}
	setRoles(t, s, "bob", "clerk")
	agreed(t, nodes, "bob", http.StatusOK)
	for _, node := range nodes {
		if got := decided(t, node, "ada"); got != http.StatusForbidden {
			t.Errorf("a subject that is named as a client: status %d", got)
		}
	}
	time.Sleep(time.Second) // a change that is told of later than it is read drops what was read
	agreed(t, nodes, "bob", http.StatusOK)
	// Without the database, whom a node has completed goes on, and nobody else does.
	s.Stop()
	for _, node := range nodes {
		if got := decided(t, node, "bob"); got != http.StatusOK {
			t.Errorf("a caller who has been completed: status %d", got)
		}
		if got := decided(t, node, "ted"); got != http.StatusServiceUnavailable {
			t.Errorf("a caller who cannot be completed: status %d", got)
		}
	}
	s.Restart()
	agreed(t, nodes, "ted", http.StatusForbidden)
}
