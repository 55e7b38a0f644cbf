// Package nodes starts forward-auth services as the nodes of a fleet, for tests.
package nodes

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/dev/fixture"
	"gatehouse/dev/ports"
)

// Node is a service that runs until the test ends.
type Node struct {
	// Address is where it is asked, and Config the path of its settings.
	Address, Config string
	// Log is what it logs; a test that fails shows it.
	Log *coretest.Log
}

// Start starts that many services in a package of e2e, all with the same settings of
// their one gate, as YAML. They listen when it returns.
func Start(t testing.TB, n int, gate string) []Node {
	t.Helper()
	return StartEach(t, slices.Repeat([]string{gate}, n)...)
}

// StartEach is Start of services that differ in their gate.
func StartEach(t testing.TB, gates ...string) []Node {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "gatehouse-forwardauth")
	if err := fixture.Build("../..", "gatehouse/plugins/forwardauth", binary); err != nil {
		t.Fatal(err)
	}
	addresses, err := ports.Addresses(len(gates))
	if err != nil {
		t.Fatal(err)
	}
	all := make([]Node, len(gates))
	for i, address := range addresses {
		all[i] = start(t, binary, address, filepath.Join(dir, fmt.Sprint(i, ".yaml")), gates[i])
	}
	for _, node := range all {
		node.await(t)
	}
	return all
}

func start(t testing.TB, binary, address, config, gate string) Node {
	t.Helper()
	own := "" // what the gate itself serves
	if strings.Contains(gate, "admin: {") {
		own = ", {dialect: direct, gate: main}"
	}
	text := fmt.Sprintf(`listen: [{address: "%s"}]
trusted_proxies: [127.0.0.1]
endpoints: [{path: /auth, dialect: traefik, gate: main}%s]
gates:
  main:
    %s
`, address, own, strings.ReplaceAll(strings.TrimSpace(gate), "\n", "\n    "))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	node := Node{address, config, &coretest.Log{}}
	service := exec.Command(binary, "-config", config)
	service.Stderr = node.Log
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = service.Process.Kill()
		_ = service.Wait()
		if t.Failed() {
			t.Logf("%s logged\n%s", address, node.Log)
		}
	})
	return node
}

func (n Node) await(t testing.TB) {
	t.Helper()
	for range 600 {
		if response, err := http.Get("http://" + n.Address + "/auth"); err == nil {
			response.Body.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s does not listen", n.Address)
}

// Addresses are those of nodes.
func Addresses(all []Node) []string {
	addresses := make([]string, len(all))
	for i, node := range all {
		addresses[i] = node.Address
	}
	return addresses
}

// Ask asks the node at an address about a call by GET to a target, as Traefik does. The
// body of the response is closed.
func Ask(address, target string, header ...core.Header) (*http.Response, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+address+"/auth", nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("X-Forwarded-Method", "GET")
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("X-Forwarded-Host", "api.example.test")
	r.Header.Set("X-Forwarded-Uri", target)
	for _, h := range header {
		r.Header.Set(h.Name, h.Value)
	}
	response, err := http.DefaultClient.Do(r)
	if err == nil {
		response.Body.Close()
	}
	return response, err
}

// Bearer is the header of a call with a token.
func Bearer(token string) core.Header {
	return core.Header{Name: "Authorization", Value: "Bearer " + token}
}
