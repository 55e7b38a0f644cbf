package hosts

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/authn/apitoken/tokenfile"
	"gatehouse/core/config"
)

const tokenSecret = "0123456789abcdef0123456789abcdef"

// tokens are API tokens in a file, by what is special about them.
type tokens struct {
	path   string
	secret map[string]string
}

func makeTokens(t *testing.T) tokens {
	t.Helper()
	all := tokens{filepath.Join(t.TempDir(), "tokens.yaml"), map[string]string{}}
	k := tokenfile.NewKeeper(all.path)
	start := time.Now()
	now := start
	m := manage.New(manage.Options{Keeper: k, MaxLifetime: 24 * time.Hour, Now: func() time.Time { return now }})
	account := func(name string, suspended bool, permissions ...string) {
		if err := m.SetAccount(t.Context(), name, manage.Account{Grants: apitoken.Grants{Permissions: permissions}, Suspended: suspended}, "test"); err != nil {
			t.Fatal(err)
		}
	}
	account("nightly", false, "orders:read")
	account("suspended", true, "orders:read")
	account("poor", false)
	make := func(name, owner string, networks []netip.Prefix, hosts ...string) *apitoken.Record {
		token, r, err := m.Create(t.Context(), manage.Request{
			Owner: apitoken.Owner{ServiceAccount: owner}, Grants: apitoken.Grants{Permissions: []string{"orders:read"}}, Networks: networks, Hosts: hosts, Lifetime: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
		all.secret[name] = token
		return r
	}
	network := func(text string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(text)} }
	make("good", "nightly", nil)
	make("here", "nightly", append(network("127.0.0.0/8"), network("203.0.113.0/24")...), "app.test")
	make("elsewhere", "nightly", network("10.0.0.0/8"))
	make("other host", "nightly", nil, "other.test")
	make("suspended owner", "suspended", nil)
	make("owner without the permission", "poor", nil)
	make("owner who is gone", "ghost", nil)
	if err := m.Revoke(t.Context(), make("revoked", "nightly", nil)); err != nil {
		t.Fatal(err)
	}
	now = start.Add(-2 * time.Hour)
	make("expired", "nightly", nil)
	now = start
	good := all.secret["good"]
	all.secret["unknown"] = apitoken.Generate()
	all.secret["bad checksum"] = good[:len(good)-1] + string(good[len(good)-1]^1)
	all.secret["cut short"] = good[:len(good)-1]
	all.secret["another case"] = "GTH_" + good[4:]
	all.secret["digest"] = apitoken.DigestOf(good).String()
	return all
}

func (a tokens) config() map[string]any {
	return map[string]any{
		"api_token":        map[string]any{"token_file": a.path, "admin": map[string]any{"secret": tokenSecret}},
		"token_headers":    []any{map[string]any{"name": "X-Api-Key"}},
		"permission_table": "permissions: {orders:read: {activities: [GET /orders]}, orders:write: {activities: [GET /write]}}",
	}
}

func TestAPITokensAreJudgedAlikeOnEveryHost(t *testing.T) {
	all := makeTokens(t)
	output := filepath.Join(t.TempDir(), "log")
	bearer := func(name string) [2]string { return [2]string{"Authorization", "Bearer " + all.secret[name]} }
	key := func(name string) [2]string { return [2]string{"X-Api-Key", all.secret[name]} }
	cases := map[string]struct {
		path   string
		want   int
		header [][2]string
	}{
		"none":                         {"/orders", 401, nil},
		"good":                         {"/orders", 200, [][2]string{bearer("good")}},
		"good, in the named header":    {"/orders", 200, [][2]string{key("good")}},
		"beyond its permissions":       {"/write", 403, [][2]string{bearer("good")}},
		"on a path without a rule":     {"/other", 403, [][2]string{bearer("good")}},
		"bad checksum":                 {"/orders", 401, [][2]string{bearer("bad checksum")}},
		"cut short":                    {"/orders", 401, [][2]string{bearer("cut short")}},
		"another case":                 {"/orders", 401, [][2]string{bearer("another case")}},
		"unknown":                      {"/orders", 401, [][2]string{bearer("unknown")}},
		"digest":                       {"/orders", 401, [][2]string{bearer("digest")}},
		"expired":                      {"/orders", 401, [][2]string{bearer("expired")}},
		"revoked":                      {"/orders", 401, [][2]string{bearer("revoked")}},
		"revoked, in the named header": {"/orders", 401, [][2]string{key("revoked")}},
		"suspended owner":              {"/orders", 401, [][2]string{bearer("suspended owner")}},
		"owner who is gone":            {"/orders", 401, [][2]string{bearer("owner who is gone")}},
		"owner without the permission": {"/orders", 403, [][2]string{bearer("owner without the permission")}},
		"right network and host":       {"/orders", 200, [][2]string{bearer("here")}},
		"wrong network":                {"/orders", 401, [][2]string{bearer("elsewhere")}},
		"wrong host":                   {"/orders", 401, [][2]string{bearer("other host")}},
		"wrong host, forged":           {"/orders", 401, [][2]string{bearer("other host"), {"X-Host", "other.test"}, {"Forwarded", "host=other.test"}}},
		"spoofed X-Forwarded-For":      {"/orders", 401, [][2]string{bearer("elsewhere"), {"X-Forwarded-For", "10.1.2.3"}}},
		"spoofed list of addresses":    {"/orders", 401, [][2]string{bearer("elsewhere"), {"X-Forwarded-For", "10.1.2.3, 10.1.2.4"}}},
		"spoofed Forwarded":            {"/orders", 401, [][2]string{bearer("elsewhere"), {"Forwarded", "for=10.1.2.3"}, {"X-Client-Ip", "10.1.2.3"}, {"True-Client-Ip", "10.1.2.3"}}},
		"both headers":                 {"/orders", 400, [][2]string{bearer("good"), key("good")}},
		"both headers, one bad":        {"/orders", 400, [][2]string{bearer("unknown"), key("good")}},
		"two tokens":                   {"/orders", 400, [][2]string{bearer("good"), bearer("good")}},
		"two in the named header":      {"/orders", 400, [][2]string{key("good"), key("unknown")}},
		"another scheme":               {"/orders", 401, [][2]string{{"Authorization", "Basic " + all.secret["good"]}}},
		"in a cookie":                  {"/orders", 401, [][2]string{{"Cookie", "token=" + all.secret["good"]}}},
		"in another header":            {"/orders", 401, [][2]string{{"X-Token", all.secret["good"]}}},
	}
	eachHost(t, all.config(), output, func(t *testing.T, h *running) {
		for round := range 2 { // the second one out of the cache
			for name, c := range cases {
				r, err := http.NewRequest("GET", "http://app.test"+c.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, line := range c.header {
					r.Header.Add(line[0], line[1])
				}
				response, err := http.DefaultClient.Do(h.call(r))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(response.Body)
				response.Body.Close()
				if response.StatusCode != c.want || err != nil {
					t.Errorf("%s, round %d: %d, want %d: %s", name, round+1, response.StatusCode, c.want, body)
				}
				if strings.Contains(string(body)+fmt.Sprint(response.Header), "gth_") {
					t.Errorf("%s: the response holds a token", name)
				}
			}
		}
	})
	t.Run("core", func(t *testing.T) {
		gate, err := config.NewBuilder(config.BuilderOptions{}).Gate([]byte(asJSON(t, all.config())))
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range cases {
			request := &core.Request{Method: "GET", Target: c.path, Host: "app.test", Peer: netip.MustParseAddr("127.0.0.1")}
			for _, line := range c.header {
				request.Header = append(request.Header, core.Header{Name: line[0], Value: line[1]})
			}
			d := gate.Check(t.Context(), request)
			if got := d.Status; d.Outcome == core.Allow && c.want != 200 || d.Outcome != core.Allow && got != c.want {
				t.Errorf("%s: %s with %d, want %d: %v", name, d.Outcome, got, c.want, d.Cause)
			}
		}
	})
	text, err := os.ReadFile(output)
	if err != nil || !strings.Contains(string(text), "reason=") {
		t.Fatalf("there is no log to search: %v", err)
	}
	for name, secret := range all.secret {
		if strings.Contains(string(text), secret) {
			t.Errorf("the log holds the token %q", name)
		}
	}
}

func TestTokensAreManagedByHTTPOnEveryHost(t *testing.T) {
	all := makeTokens(t)
	eachHost(t, all.config(), filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) {
		ask := func(method, path, secret, body string) (int, map[string]any) {
			t.Helper()
			r, err := http.NewRequest(method, h.base+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Host = "app.test"
			r.Header.Set("Authorization", "Bearer "+secret)
			r.Header.Set("Content-Type", "application/json")
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var document map[string]any
			_ = json.NewDecoder(response.Body).Decode(&document)
			return response.StatusCode, document
		}
		const create = `{"service_account": "nightly", "permissions": ["orders:read"]}`
		for _, secret := range []string{"", "wrong", strings.Repeat("x", 32), all.secret["good"]} {
			for path, body := range map[string]string{"": create, "/revoke": `{"id": "x"}`, "/rotate": `{"id": "x"}`, "/accounts": `{"name": "evil"}`} {
				if status, _ := ask("POST", "/api-tokens"+path, secret, body); status != 401 {
					t.Errorf("%s with the secret %.5q: %d", path, secret, status)
				}
			}
			if status, _ := ask("GET", "/api-tokens", secret, ""); status != 401 {
				t.Errorf("the list with the secret %.5q: %d", secret, status)
			}
		}
		if status, _ := ask("POST", "/api-tokens", tokenSecret, `{"name": "`+strings.Repeat("x", 100<<10)+`"}`); status != 413 {
			t.Errorf("a large body: %d", status)
		}
		status, made := ask("POST", "/api-tokens", tokenSecret, create)
		token, _ := made["token"].(string)
		if status != 201 || !apitoken.WellFormed(token) {
			t.Fatalf("create: %d %v", status, made["title"])
		}
		is := func(token string, want int) func() bool {
			return func() bool {
				return h.status(t, http.DefaultClient, "/orders", "Authorization", "Bearer "+token) == want
			}
		}
		await(t, "the new token is good", is(token, 200))
		status, rotated := ask("POST", "/api-tokens/rotate", tokenSecret, fmt.Sprintf(`{"id": %q, "overlap": 0}`, made["id"]))
		fresh, _ := rotated["token"].(string)
		if status != 201 {
			t.Fatalf("rotate: %d %v", status, rotated)
		}
		await(t, "the one of the rotation is good", is(fresh, 200))
		await(t, "the rotated one is refused", is(token, 401))
		if status, _ := ask("POST", "/api-tokens/revoke", tokenSecret, fmt.Sprintf(`{"report": "found: %s"}`, fresh)); status != 200 {
			t.Errorf("revoke: %d", status)
		}
		await(t, "the reported one is refused", is(fresh, 401))
		if status, list := ask("GET", "/api-tokens?service_account=nightly", tokenSecret, ""); status != 200 || len(list["tokens"].([]any)) < 2 {
			t.Errorf("list: %d %v", status, list)
		}
	})
}
