package apitokens

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/dev/fixture"
	"gatehouse/dev/ports"
	"gatehouse/dev/redistest"
	"gatehouse/internal/cli"
)

var apitokenPattern = regexp.MustCompile(apitoken.Pattern)

// services starts that many forward-auth services with one PostgreSQL and one Redis.
func services(t *testing.T, n int, database, redis string) (addresses []string, config string) {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "gatehouse-forwardauth")
	if err := fixture.Build("../..", "gatehouse/plugins/forwardauth", binary); err != nil {
		t.Fatal(err)
	}
	addresses, err := ports.Addresses(n)
	if err != nil {
		t.Fatal(err)
	}
	for i, address := range addresses {
		host, port, _ := net.SplitHostPort(database)
		redisHost, redisPort, _ := net.SplitHostPort(redis)
		config = filepath.Join(dir, fmt.Sprint(i, ".yaml"))
		text := fmt.Sprintf(`
listen: [{address: "%s"}]
trusted_proxies: [127.0.0.1]
endpoints: [{path: /auth, dialect: traefik, gate: main}]
gates:
  main:
    api_token: {token_store: postgres, cache_ttl: 300}
    token_headers: [{name: X-Api-Key}]
    postgres: {host: "%s", port: %s, user: tester, database: postgres}
    redis: {host: "%s", port: %s, secret: "0123456789abcdef0123456789abcdef", timeout: 1}
    permission_table: "permissions: {orders:read: {activities: [GET /orders]}}"
`, address, host, port, redisHost, redisPort)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		service := exec.Command(binary, "-config", config)
		log := &bytes.Buffer{}
		service.Stderr = log
		if err := service.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = service.Process.Kill()
			_ = service.Wait()
			if apitokenPattern.Match(log.Bytes()) {
				t.Error("a service logged a token")
			}
		})
		await(t, address+" listens", func() bool {
			response, err := http.Get("http://" + address + "/auth")
			if err == nil {
				response.Body.Close()
			}
			return err == nil
		})
	}
	return addresses, config
}

func status(t *testing.T, address string, header, value string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+address+"/auth", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{"X-Forwarded-Method": "GET", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "api.example.test", "X-Forwarded-Uri": "/orders?found=in-no-log", "X-Forwarded-For": "192.0.2.1", header: value} {
		r.Header.Set(name, v)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// TestLeakedTokenIsDeadOnEveryNodeOnceItIsReported is the drill of
// docs/api-tokens.md: a scanner finds a token, the command gets the report.
func TestLeakedTokenIsDeadOnEveryNodeOnceItIsReported(t *testing.T) {
	r := newRig(t)
	nodes, config := services(t, 4, r.server.Addr, redistest.Start(t).Addr)
	r.account("nightly", apitoken.Grants{Permissions: []string{"orders:read"}}, false)
	want := manage.Request{Name: "report", Owner: nightly, Grants: apitoken.Grants{Permissions: []string{"orders:read"}}}
	leaked, _ := r.create(want)
	other, _ := r.create(want)
	for _, node := range nodes {
		for range 3 { // cached for five minutes
			if got := status(t, node, "Authorization", "Bearer "+leaked); got != http.StatusOK {
				t.Fatalf("before the report: %d", got)
			}
		}
	}
	report := "config.js:12: const key = \"" + leaked + "\" // found by a scanner\n"
	if found := apitokenPattern.FindAllString(report, -1); len(found) != 1 || found[0] != leaked {
		t.Fatalf("the pattern finds %d tokens", len(found))
	}
	begun := time.Now()
	var out, errs bytes.Buffer
	if code := cli.Main([]string{"token", "revoke", "--config", config, "-"}, strings.NewReader(report), &out, &errs); code != 0 {
		t.Fatal(errs.String())
	}
	said := time.Since(begun)
	if apitokenPattern.MatchString(out.String() + errs.String()) {
		t.Error("the command prints the token")
	}
	for _, node := range nodes {
		await(t, node+" refuses it", func() bool { return status(t, node, "Authorization", "Bearer "+leaked) == http.StatusUnauthorized })
	}
	t.Logf("from the report to dead on %d nodes: %s, of which the command took %s", len(nodes), time.Since(begun).Round(time.Millisecond), said.Round(time.Millisecond))
	for _, node := range nodes {
		if got := status(t, node, "X-Api-Key", leaked); got != http.StatusUnauthorized {
			t.Errorf("in the other header: %d", got)
		}
		if got := status(t, node, "Authorization", "Bearer "+other); got != http.StatusOK {
			t.Errorf("another token of the account: %d", got)
		}
	}
}
