package config

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/coretest"
	"gatehouse/core/observe"
)

const apiTable = `
implicit_scopes: true
roles: {clerk: [orders:read], admin: [orders:write, role:clerk]}
permissions:
  orders:read: {activities: [GET /orders]}
  orders:write: {activities: [POST /orders]}
authenticated: [GET /me]
public: [GET /public]
`

// apiGate is a gate that accepts API tokens and, at a fake of an authorization server
// and of Kratos, all else.
type apiGate struct {
	t     *testing.T
	gate  *core.Gate
	path  string
	token string
	asked *coretest.Server
	log   *coretest.Log
}

func tokenRow(id, token, rest string) string {
	return fmt.Sprintf("- {id: %s, digest: '%s', created: 2026-01-01T00:00:00Z, %s}\n", id, apitoken.DigestOf(token), rest)
}

func newAPIGate(t *testing.T, section, users, row string) *apiGate {
	t.Helper()
	g := &apiGate{t: t, path: filepath.Join(t.TempDir(), "tokens.yaml"), token: apitoken.Generate(), log: &coretest.Log{}}
	g.asked = coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"active":true,"sub":"intruder","exp":4102444800}`)
	}))
	g.write(users, row)
	begun := time.Now()
	log := slog.New(slog.NewTextHandler(g.log, nil))
	var err error
	g.gate, err = NewBuilder(BuilderOptions{Log: log, Recorder: observe.NewLog(log), Now: func() time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).Add(time.Since(begun)) }}).Gate([]byte(fmt.Sprintf(`
%s
session: {kratos_url: %q, bearer_token: true}
introspection: {introspection_endpoint: %q, insecure_any_audience: true}
token_cookie: jwt-token
token_query_parameter: access_token
token_headers: [{name: X-Api-Key}]
upstream_headers: {X-User-Id: sub, X-Permissions: permissions, X-Roles: roles, X-Kind: kind}
failed_attempts: {count: 3, time_window: 60}
permission_table: %q
`, strings.ReplaceAll(section, "FILE", g.path), g.asked.URL, g.asked.URL, apiTable)))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *apiGate) write(users, row string) {
	g.t.Helper()
	text := "version: 1\nusers:\n" + users
	if row != "" {
		text += "tokens:\n" + tokenRow("t1", g.token, row)
	}
	if err := os.WriteFile(g.path+".new", []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(g.path+".new", g.path); err != nil {
		g.t.Fatal(err)
	}
}

func (g *apiGate) check(method, target, client, host string, lines ...core.Header) core.Decision {
	g.t.Helper()
	r := &core.Request{Method: method, Target: target, Host: host, Header: lines}
	if client != "" {
		r.Peer = netip.MustParseAddr(client)
	}
	d := g.gate.Check(g.t.Context(), r)
	if d.Outcome == core.Allow {
		d.Status = 200
	}
	for _, text := range []string{string(d.Body), fmt.Sprint(d.Header), fmt.Sprint(d.Cause), g.log.String()} {
		if strings.Contains(text, g.token) {
			g.t.Errorf("%s %s: the token is in %.200q", method, target, text)
		}
	}
	return d
}

func (g *apiGate) with(method, target string) core.Decision {
	g.t.Helper()
	return g.check(method, target, "192.0.2.1", "api.test", core.Header{Name: "Authorization", Value: "Bearer " + g.token})
}

const (
	apiSection = "api_token: {token_file: 'FILE'}"
	adaRow     = "subject: ada, expires: 2026-06-01T00:00:00Z"
)

func TestAPITokenNeverGoesToAnotherAuthenticator(t *testing.T) {
	for _, section := range []string{apiSection, ""} { // also where none is accepted
		g := newAPIGate(t, section, "- {subject: ada}\n", "")
		for i, line := range []core.Header{
			{Name: "Authorization", Value: "Bearer " + g.token},
			{Name: "X-Api-Key", Value: g.token},
			{Name: "X-Session-Token", Value: g.token},
			{Name: "Cookie", Value: "jwt-token=" + g.token},
			{Name: "Cookie", Value: "ory_kratos_session=" + g.token},
			{Name: "Cookie", Value: "jwt-token=" + g.token + "; jwt-token=" + apitoken.Generate()},
		} {
			if d := g.check("GET", "/me", fmt.Sprint("192.0.2.", i), "api.test", line); d.Status != http.StatusUnauthorized {
				t.Errorf("%q %s: %d, %v", section, line.Name, d.Status, d.Cause)
			}
		}
		handshake := []core.Header{{Name: "Connection", Value: "Upgrade"}, {Name: "Upgrade", Value: "websocket"}, {Name: "Sec-WebSocket-Version", Value: "13"}, {Name: "Sec-WebSocket-Key", Value: "dGhlIHNhbXBsZSBub25jZQ=="}}
		if d := g.check("GET", "/me?a=1&access_token="+g.token, "192.0.2.100", "api.test", handshake...); d.Status != http.StatusUnauthorized {
			t.Errorf("%q in the query: %d, %v", section, d.Status, d.Cause)
		}
		if n := g.asked.Calls(); n > 0 {
			t.Errorf("%q: an identity provider was asked about an API token, %d times", section, n)
		}
	}
	g := newAPIGate(t, apiSection, "- {subject: ada}\n", "")
	for i, value := range []string{"GTH_" + g.token[4:], "Gth_x", "gth_", g.token[:30], g.token + "x"} {
		if d := g.check("GET", "/me", fmt.Sprint("192.0.2.", i), "api.test", core.Header{Name: "Authorization", Value: "Bearer " + value}); d.Status != http.StatusUnauthorized {
			t.Errorf("%s: %d", value[:4], d.Status)
		}
	}
	if n := g.asked.Calls(); n > 0 {
		t.Errorf("an identity provider was asked about what looks like an API token, %d times", n)
	}
}

func TestOtherCredentialNeverGoesToTheAPITokens(t *testing.T) {
	g := newAPIGate(t, apiSection, "- {subject: ada}\n", "")
	if d := g.check("GET", "/me", "192.0.2.1", "", core.Header{Name: "Authorization", Value: "Bearer opaque"}); d.Status != 200 || d.Principal.Kind != core.KindIntrospection {
		t.Errorf("%d, %v", d.Status, d.Cause)
	}
	digest := apitoken.DigestOf(g.token).String() // what is in the store is no token
	if d := g.check("GET", "/orders", "192.0.2.1", "", core.Header{Name: "Authorization", Value: "Bearer " + digest}); d.Status == 200 || d.Principal != nil && d.Principal.Kind == core.KindAPIToken {
		t.Errorf("a digest: %d, %v", d.Status, d.Cause)
	}
}

func TestAPITokenWithWhiteSpaceIsRefused(t *testing.T) {
	g := newAPIGate(t, apiSection, "- {subject: ada}\n", adaRow)
	for i, value := range []string{g.token[:20] + " " + g.token[20:], g.token + "\t" + g.token, g.token + "\n", "\u00a0" + g.token, g.token + "\u200b"} {
		d := g.check("GET", "/me", fmt.Sprint("192.0.2.", i), "", core.Header{Name: "Authorization", Value: "Bearer " + value})
		if d.Status != http.StatusBadRequest && d.Status != http.StatusUnauthorized {
			t.Errorf("%d: %d", i, d.Status)
		}
	}
	if d := g.check("GET", "/me", "192.0.2.9", "", core.Header{Name: "X-Api-Key", Value: "  " + g.token + "  "}); d.Status != 200 { // RFC 9110 section 5.5
		t.Errorf("white space around the value: %d, %v", d.Status, d.Cause)
	}
}

// The permissions come from the table: of those that the token names, or its roles
// grant, only the ones that its owner has now count.
func TestTokenNeverHasMoreThanItsOwnerAtUse(t *testing.T) {
	for name, c := range map[string]struct {
		user, row            string
		read, write          int
		permissions, roleSet string
	}{
		"role of both":                     {"roles: [admin, clerk]", "roles: [clerk]", 200, 403, "orders:read", "clerk"},
		"permission by the owner's role":   {"roles: [admin]", "permissions: [orders:read]", 200, 403, "orders:read", ""},
		"permission of neither":            {"roles: [clerk]", "permissions: [orders:write]", 403, 403, "", ""},
		"role beyond the owner":            {"roles: [clerk]", "roles: [admin]", 403, 403, "", ""},
		"role beyond, permission not":      {"roles: [clerk]", "roles: [admin], permissions: [orders:read]", 200, 403, "orders:read", ""},
		"scope beyond the owner":           {"roles: [clerk]", "scopes: [orders:write]", 403, 403, "", ""},
		"scope that the owner has":         {"permissions: [orders:read]", "scopes: [orders:read]", 200, 403, "orders:read", ""},
		"nothing named":                    {"roles: [admin]", "name: empty", 403, 403, "", ""},
		"nothing left of the owner":        {"suspended: false", "roles: [admin], permissions: [orders:write], scopes: [orders:read]", 403, 403, "", ""},
		"permission that nothing mentions": {"roles: [admin]", "permissions: [orders]", 403, 403, "", ""},
	} {
		g := newAPIGate(t, apiSection, "- {subject: ada, "+c.user+"}\n", adaRow+", "+c.row)
		if d := g.with("GET", "/orders"); d.Status != c.read {
			t.Errorf("%s: read %d, want %d: %v", name, d.Status, c.read, d.Cause)
		}
		if d := g.with("POST", "/orders"); d.Status != c.write {
			t.Errorf("%s: write %d, want %d: %v", name, d.Status, c.write, d.Cause)
		}
		d := g.with("GET", "/me")
		told := map[string]string{}
		for _, h := range d.Upstream.Set {
			told[h.Name] = h.Value
		}
		if d.Status != 200 || told["X-User-Id"] != "ada" || told["X-Kind"] != "api_token" || told["X-Permissions"] != c.permissions || told["X-Roles"] != c.roleSet {
			t.Errorf("%s: %d, the upstream learns %v, want permissions %q and roles %q", name, d.Status, told, c.permissions, c.roleSet)
		}
	}
}

func TestOwnerWhoLostARoleOrIsSuspendedTakesItFromACachedToken(t *testing.T) {
	g := newAPIGate(t, apiSection, "- {subject: ada, roles: [admin]}\n", adaRow+", roles: [admin]")
	becomes := func(want int) {
		t.Helper()
		var d core.Decision
		for range 200 {
			if d = g.with("POST", "/orders"); d.Status == want {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatalf("%d, want %d: %v", d.Status, want, d.Cause)
	}
	becomes(200)
	g.write("- {subject: ada, roles: [clerk]}\n", adaRow+", roles: [admin]")
	becomes(403)
	g.write("- {subject: ada, roles: [admin], suspended: true}\n", adaRow+", roles: [admin]")
	becomes(401)
	if body := string(g.with("POST", "/orders").Body); strings.Contains(body, "suspended") || strings.Contains(body, "t1") {
		t.Errorf("the client learns %s", body)
	}
}

// All refusals look alike to the client.
func TestClientLearnsNotWhyATokenIsRefused(t *testing.T) {
	shown := func(d core.Decision) string {
		text := string(d.Body)
		if i := strings.Index(text, `"request_id"`); i > 0 {
			text = text[:i]
		}
		return fmt.Sprint(d.Status, text, d.Header)
	}
	want := ""
	for name, row := range map[string]string{
		"unknown": "", "expired": "subject: ada, expires: 2026-02-28T23:59:59Z", "revoked": adaRow + ", revoked: 2026-02-01T00:00:00Z", "owner gone": "subject: eve, expires: 2026-06-01T00:00:00Z",
		"other network": adaRow + ", networks: [10.0.0.0/8]", "other host": adaRow + ", hosts: [other.test]", "too long a life": "subject: ada, expires: 2028-01-01T00:00:00Z",
	} {
		d := newAPIGate(t, apiSection, "- {subject: ada}\n", row).with("GET", "/me")
		if want == "" {
			want = shown(d)
		}
		if d.Status != http.StatusUnauthorized || shown(d) != want {
			t.Errorf("%s: %s, want %s", name, shown(d), want)
		}
	}
}

// Whoever found a token and may not use it must not keep its owner from using it.
func TestStrangerWithATokenOfAnotherNetworkDoesNotLockItsOwnerOut(t *testing.T) {
	g := newAPIGate(t, "api_token: {token_file: 'FILE', cache_ttl: 0}", "- {subject: ada}\n", adaRow+", networks: [10.0.0.0/8]")
	line := core.Header{Name: "Authorization", Value: "Bearer " + g.token}
	last := 0
	for range 10 {
		last = g.check("GET", "/me", "203.0.113.5", "", line).Status
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the stranger gets %d, want 429", last)
	}
	if d := g.check("GET", "/me", "10.1.2.3", "", line); d.Status != 200 {
		t.Errorf("the owner gets %d: %v", d.Status, d.Cause)
	}
}

func TestTokenThatFailsOftenIsLimitedWhereverItSits(t *testing.T) {
	g := newAPIGate(t, apiSection, "- {subject: ada}\n", "")
	last := 0
	for i := range 4 { // one more than it may
		name, value := "Authorization", "Bearer "+g.token
		if i%2 == 0 {
			name, value = "X-Api-Key", g.token
		}
		last = g.check("GET", "/me", fmt.Sprint("198.51.100.", i), "", core.Header{Name: name, Value: value}).Status
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("%d, want 429", last)
	}
}

func TestTokenFileThatIsMissingIsUnavailableAndNotARefusal(t *testing.T) {
	g := newAPIGate(t, "api_token: {token_file: 'FILE.missing'}", "- {subject: ada}\n", adaRow)
	if d := g.with("GET", "/me"); d.Status != http.StatusServiceUnavailable {
		t.Errorf("%d, %v", d.Status, d.Cause)
	}
}
