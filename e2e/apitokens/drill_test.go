package apitokens

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/dev/redistest"
	"gatehouse/e2e/nodes"
	"gatehouse/internal/cli"
)

var apitokenPattern = regexp.MustCompile(apitoken.Pattern)

// services starts that many forward-auth services with one PostgreSQL and one Redis.
func services(t *testing.T, n int, database, redis string) (addresses []string, config string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(database)
	redisHost, redisPort, _ := net.SplitHostPort(redis)
	var all []nodes.Node
	t.Cleanup(func() { // once all have ended
		for _, node := range all {
			if apitokenPattern.MatchString(node.Log.String()) {
				t.Error("a service logged a token")
			}
		}
	})
	all = nodes.Start(t, n, fmt.Sprintf(`
api_token: {token_store: postgres, cache_ttl: 300}
token_headers: [{name: X-Api-Key}]
postgres: {host: "%s", port: %s, user: tester, database: postgres}
redis: {host: "%s", port: %s, secret: "0123456789abcdef0123456789abcdef", timeout: 1}
permission_table: "permissions: {orders:read: {activities: [GET /orders]}}"
`, host, port, redisHost, redisPort))
	return nodes.Addresses(all), all[n-1].Config
}

func status(t *testing.T, address string, header, value string) int {
	t.Helper()
	response, err := nodes.Ask(address, "/orders?found=in-no-log", core.Header{Name: "X-Forwarded-For", Value: "192.0.2.1"}, core.Header{Name: header, Value: value})
	if err != nil {
		t.Fatal(err)
	}
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
