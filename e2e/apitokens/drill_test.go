package apitokens

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
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

// services starts that many forward-auth services with one PostgreSQL and further sections.
func services(t *testing.T, n int, database, sections string, settings ...string) (addresses []string, config string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(database)
	var all []nodes.Node
	t.Cleanup(func() { // once all have ended
		for _, node := range all {
			if apitokenPattern.MatchString(node.Log.String()) {
				t.Error("a service logged a token")
			}
		}
	})
	all = nodes.Start(t, n, fmt.Sprintf(`
api_token: {%s}
token_headers: [{name: X-Api-Key}]
postgres: {host: "%s", port: %s, user: tester, database: postgres}
permission_table: "permissions: {orders:read: {activities: [GET /orders]}}"
%s`, strings.Join(append(settings, "token_store: postgres", "cache_ttl: 300"), ", "), host, port, sections))
	return nodes.Addresses(all), all[n-1].Config
}

func redisSection(address string) string {
	host, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf(`redis: {host: "%s", port: %s, secret: "0123456789abcdef0123456789abcdef", timeout: 1}`, host, port)
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
	r.account("nightly", apitoken.Grants{Permissions: []string{"orders:read"}}, false)
	redis := redisSection(redistest.Start(t).Addr)
	for name, c := range map[string]struct {
		sections string
		silent   bool // the database tells nobody that a token has changed
	}{
		"without Redis":                           {"", false},
		"with Redis":                              {redis, false},
		"by the event in PostgreSQL alone":        {"revocation: {}", true},
		"by the event in Redis and in PostgreSQL": {"revocation: {}\n" + redis, true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.silent {
				r.exec("ALTER TABLE api_tokens DISABLE TRIGGER tell")
				defer r.exec("ALTER TABLE api_tokens ENABLE TRIGGER tell")
			}
			r.drill(t, c.sections)
		})
	}
}

func (r *rig) drill(t *testing.T, sections string) {
	nodes, config := services(t, 3, r.server.Addr, sections)
	want := manage.Request{Name: "report", Owner: nightly, Grants: apitoken.Grants{Permissions: []string{"orders:read"}}}
	leaked, _ := r.create(want)
	other, _ := r.create(want)
	for _, node := range nodes {
		await(t, "the node is ready", func() bool { return status(t, node, "Authorization", "Bearer "+leaked) == http.StatusOK })
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
	code, out := token(report, "revoke", "--config", config, "-")
	if code != 0 {
		t.Fatal(out)
	}
	said := time.Since(begun)
	if apitokenPattern.MatchString(out) {
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

// token is gatehouse token, with what it prints.
func token(stdin string, args ...string) (code int, out string) {
	var all bytes.Buffer
	code = cli.Main(append([]string{"token"}, args...), strings.NewReader(stdin), &all, &all)
	return code, all.String()
}

// A token is not said to be revoked where nodes that have it cached may not know it.
func TestRevocationThatNodesCannotBeToldOfIsAnError(t *testing.T) {
	r := newRig(t)
	r.account("nightly", apitoken.Grants{}, false)
	redis := redistest.Start(t)
	host, port, _ := net.SplitHostPort(r.server.Addr)
	config := filepath.Join(t.TempDir(), "gatehouse.yaml")
	if err := os.WriteFile(config, []byte(fmt.Sprintf(`
api_token: {token_store: postgres}
postgres: {host: "%s", port: %s, user: tester, database: postgres}
permission_table: "authenticated: [GET /]"
revocation: {}
`, host, port)+redisSection(redis.Addr)), 0o600); err != nil {
		t.Fatal(err)
	}
	secret, old := r.create(manage.Request{Owner: nightly})
	_, rotated := r.create(manage.Request{Owner: nightly})
	redis.Stop()
	code, out := token("", "revoke", "--config", config, old.ID)
	if code != 2 || !strings.Contains(out, "nodes that have it cached could not be told") || !strings.Contains(out, "revoke it again") {
		t.Errorf("%d: %s", code, out)
	}
	if found, err := r.manager.Find(t.Context(), secret); err != nil || found.Revoked.IsZero() {
		t.Errorf("where it is kept it is not revoked: %+v, %v", found, err)
	}
	code, out = token("", "rotate", "--overlap", "0", "--config", config, rotated.ID)
	if code != 2 || !strings.Contains(out, "could not be told") || len(apitokenPattern.FindAllString(out, -1)) != 1 {
		t.Errorf("the new token is not printed beside the error: %d", code)
	}
	redis.Restart()
	await(t, "again", func() bool { code, _ := token("", "revoke", "--config", config, old.ID); return code == 0 })
	r.server.Stop()
	if code, out := token("", "revoke", "--config", config, old.ID); code != 2 {
		t.Errorf("without the database: %d: %s", code, out)
	}
}
