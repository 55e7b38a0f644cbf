package hosts

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

const (
	audience    = "https://api.example.test"
	hookSecret  = "a-secret-of-the-webhook-of-kratos"
	adminSecret = "a-secret-of-the-operator-for-http"
)

// documented is the block of docs/operations.md behind a line.
func documented(t *testing.T, fence, first string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "```"+fence+"\n"+first)
	block, _, closed := strings.Cut(block, "\n```")
	if !found || !closed {
		t.Fatalf("docs/operations.md has no block %s that begins with %s", fence, first)
	}
	return first + block
}

// passwordHooks are those of the documentation, for a webhook at an address.
func passwordHooks(t *testing.T, address string) []map[string]any {
	t.Helper()
	text := documented(t, "text", "# kratos.yml")
	for from, to := range map[string]string{"https://gateway.example.com": address, "KRATOS_WEBHOOK_SECRET": hookSecret} {
		if !strings.Contains(text, from) {
			t.Fatalf("the block kratos.yml does not hold %s", from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	var kratos struct {
		Selfservice struct {
			Flows struct {
				Settings struct {
					After struct {
						Password struct {
							Hooks []map[string]any
						}
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal([]byte(text), &kratos); err != nil {
		t.Fatal(err)
	}
	return kratos.Selfservice.Flows.Settings.After.Password.Hooks
}

// relay passes requests on to the host that is under test: its address is known before
// the host's is.
func relay(t *testing.T) (address string, to *atomic.Pointer[url.URL]) {
	to = &atomic.Pointer[url.URL]{}
	s := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to.Load())
		r.SetXForwarded()
	}})
	t.Cleanup(s.Close)
	return s.URL, to
}

// providers are real ones that send events to a host.
type providers struct {
	*ory.Hydra
	kratos *ory.Kratos
	relay  string
	to     *atomic.Pointer[url.URL]
}

func startProviders(t *testing.T) *providers {
	p := &providers{Hydra: orytest.Hydra(t, ory.HydraConfig{})}
	p.relay, p.to = relay(t)
	p.kratos = orytest.Kratos(t, ory.KratosConfig{
		PasswordHooks: passwordHooks(t, p.relay),
		Files:         map[string][]byte{"revocation.jsonnet": []byte(documented(t, "jsonnet", "function"))},
	})
	return p
}

func (p *providers) config(t *testing.T, client string) map[string]any {
	return map[string]any{
		"session":       map[string]any{"kratos_url": p.kratos.PublicURL, "cache_ttl": 600},
		"jwt":           map[string]any{"issuers": []any{map[string]any{"issuer": p.Issuer(), "audience": []string{audience}}}},
		"introspection": map[string]any{"introspection_endpoint": p.IntrospectionURL(), "audience": []string{audience}, "cache_ttl": 600},
		"revocation":    map[string]any{},
		"state_dir":     t.TempDir(),
		"revocation_endpoints": map[string]any{
			"back_channel_logout": map[string]any{"issuers": []any{map[string]any{"issuer": p.Issuer(), "client_ids": []string{client}}}},
			"webhooks":            []any{map[string]any{"name": "kratos", "path": "/hooks/kratos", "secret": hookSecret, "action": "verify"}},
			"admin":               map[string]any{"secret": adminSecret},
		},
		"permission_table": "authenticated: [GET /me]",
	}
}

// bench is a host with its providers.
type bench struct {
	*providers
	*running
	t      *testing.T
	client *http.Client
}

func (b *bench) bearer(token string) int {
	return b.status(b.t, b.client, "/me", "Authorization", "Bearer "+token)
}

func (b *bench) session(token string) int {
	return b.status(b.t, b.client, "/me", "X-Session-Token", token)
}

func (b *bench) want(name string, want, got int) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s: %d, want %d", name, got, want)
	}
}

// tell sends an event to the admin endpoint.
func (b *bench) tell(body string) int {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), "POST", b.base+"/revocations", strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminSecret)
	r.Header.Set("Content-Type", "application/json")
	response, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// TestRealProvidersRevokeOnEveryHost has Ory's servers send what they send.
func TestRealProvidersRevokeOnEveryHost(t *testing.T) {
	p := startProviders(t)
	for host := range starts {
		t.Run(host, func(t *testing.T) {
			client := "web-" + host
			onHost(t, host, p.config(t, client), os.DevNull, func(t *testing.T, h *running) {
				to, err := url.Parse(h.base)
				if err != nil {
					t.Fatal(err)
				}
				p.to.Store(to)
				b := &bench{p, h, t, &http.Client{}}
				b.logout(client)
				b.revokedJWT()
				b.passwordChange(host)
			})
		})
	}
}

// logout ends one of two sessions of a person.
func (b *bench) logout(id string) {
	client, err := b.CreateClient(b.t.Context(), ory.Client{
		ID: id, Grants: []string{"authorization_code"}, Scopes: []string{"openid", "orders:read"}, Audience: []string{audience},
		RedirectURIs: []string{"http://127.0.0.1:5555/callback"}, BackChannelLogoutURI: b.relay + "/backchannel-logout", JWT: true,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	var browsers [2]ory.Browser
	var tokens [2]string
	for i := range browsers {
		if browsers[i], err = ory.NewBrowser(); err != nil {
			b.t.Fatal(err)
		}
		token, err := b.AuthorizationCodeIn(b.t.Context(), browsers[i], client, ory.Grant{
			Subject: "user-1", Scopes: client.Scopes, Audience: client.Audience, NameSession: true,
		})
		if err != nil {
			b.t.Fatal(err)
		}
		tokens[i] = token.AccessToken
		b.want("signed in", 200, b.bearer(tokens[i]))
	}
	if err := b.SignOut(b.t.Context(), browsers[0]); err != nil {
		b.t.Fatal(err)
	}
	await(b.t, "the token of the session that was ended is refused", func() bool { return b.bearer(tokens[0]) == 401 })
	b.want("another session of the person", 200, b.bearer(tokens[1]))
}

// revokedJWT has Hydra asked about the JWTs of a client.
func (b *bench) revokedJWT() {
	client, err := b.CreateClient(b.t.Context(), ory.Client{
		Grants: []string{"client_credentials"}, Scopes: []string{"orders:read"}, Audience: []string{audience}, JWT: true,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	var tokens [2]string
	for i := range tokens {
		token, err := b.ClientCredentials(b.t.Context(), client, client.Scopes, client.Audience)
		if err != nil {
			b.t.Fatal(err)
		}
		tokens[i] = token.AccessToken
		b.want("a JWT", 200, b.bearer(tokens[i]))
	}
	if err := b.Revoke(b.t.Context(), client, tokens[0]); err != nil {
		b.t.Fatal(err)
	}
	b.want("a JWT that was revoked at Hydra, before the event", 200, b.bearer(tokens[0]))
	b.want("the event", 204, b.tell(`{"kind": "client", "value": "`+client.ID+`", "action": "verify", "reason": "a token leaked"}`))
	b.want("a JWT that was revoked at Hydra", 401, b.bearer(tokens[0]))
	b.want("another JWT of the client", 200, b.bearer(tokens[1]))
}

// passwordChange has Kratos end the other sessions of a person.
func (b *bench) passwordChange(host string) {
	const password = "correct horse battery 1"
	person, err := b.kratos.CreatePerson(b.t.Context(), ory.Person{Email: host + "@example.test", Password: password})
	if err != nil {
		b.t.Fatal(err)
	}
	var sessions [2]ory.Session
	for i := range sessions {
		if sessions[i], err = b.kratos.SignIn(b.t.Context(), person.Email, password); err != nil {
			b.t.Fatal(err)
		}
		b.want("a session", 200, b.session(sessions[i].Token))
	}
	if err := b.kratos.ChangePassword(b.t.Context(), sessions[0].Token, "correct horse battery 2"); err != nil {
		b.t.Fatal(err)
	}
	b.want("the session in which the password was changed", 200, b.session(sessions[0].Token))
	b.want("another session", 401, b.session(sessions[1].Token))
}

// TestMessagesAreAnsweredAlikeOnEveryHost sends what senders, and others, may send.
func TestMessagesAreAnsweredAlikeOnEveryHost(t *testing.T) {
	const (
		event   = `{"kind": "subject", "value": "nobody"}`
		form    = "application/x-www-form-urlencoded"
		unknown = `{"error":"invalid_token","error_description":"The sender is not authenticated."}`
		noToken = `{"error":"invalid_request","error_description":"The logout token does not hold."}`
		noForm  = `{"error":"invalid_request","error_description":"The request is not a logout request."}`
	)
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	}))
	defer keys.Close()
	issuer := map[string]any{"issuer": "https://id.example.test/", "jwks_uri": keys.URL, "client_ids": []string{"web"}}
	transmitter := map[string]any{"issuer": "https://signals.example.test", "jwks_uri": keys.URL, "audience": []string{"gateway"}}
	config := map[string]any{
		"jwt":        map[string]any{"issuers": []any{map[string]any{"issuer": "https://id.example.test/", "jwks_uri": keys.URL, "audience": []string{audience}}}},
		"revocation": map[string]any{},
		"state_dir":  t.TempDir(),
		"revocation_endpoints": map[string]any{
			"back_channel_logout": map[string]any{"issuers": []any{issuer}},
			"shared_signals":      map[string]any{"transmitters": []any{transmitter}, "secret": hookSecret},
			"webhooks":            []any{map[string]any{"name": "kratos", "path": "/hooks/kratos", "header": "X-Hook-Key", "secret": hookSecret}},
			"admin":               map[string]any{"secret": adminSecret, "previous_secret": hookSecret},
		},
		"permission_table": "public: [POST /app]",
	}
	admin := []string{"Authorization", "Bearer " + adminSecret, "Content-Type", "application/json"}
	eachHost(t, config, os.DevNull, func(t *testing.T, h *running) {
		for name, c := range map[string]struct {
			method, path, body string
			header             []string
			status             int
			answer             string
		}{
			"an event":                    {"POST", "/revocations", event, admin, 204, ""},
			"an event by the old secret":  {"POST", "/revocations", event, []string{"authorization", "bearer " + hookSecret, "Content-Type", "application/json"}, 204, ""},
			"an event of a webhook":       {"POST", "/hooks/kratos", event, []string{"x-hook-key", hookSecret, "Content-Type", "application/json; charset=utf-8"}, 204, ""},
			"no secret":                   {"POST", "/revocations", event, admin[2:], 401, unknown},
			"a wrong secret":              {"POST", "/revocations", event, []string{"Authorization", "Bearer " + hookSecret + "x", "Content-Type", "application/json"}, 401, unknown},
			"the secret of another":       {"POST", "/hooks/kratos", event, admin, 401, unknown},
			"a secret in the query":       {"POST", "/revocations?access_token=" + adminSecret, event, admin[2:], 401, unknown},
			"nobody is named":             {"POST", "/revocations", `{"kind": "subject", "value": ""}`, admin, 400, `{"error":"invalid_request","error_description":"value is absent or empty: the event names nobody"}`},
			"a member twice":              {"POST", "/revocations", `{"kind": "subject", "value": "a", "value": "b"}`, admin, 400, `{"error":"invalid_request","error_description":"the body has a member twice"}`},
			"everybody, by a webhook":     {"POST", "/hooks/kratos", `{"kind": "issuer", "issuer": "https://id.example.test/"}`, []string{"X-Hook-Key", hookSecret, "Content-Type", "application/json"}, 400, `{"error":"invalid_request","error_description":"kind must be one of session, subject"}`},
			"no body":                     {"POST", "/revocations", "", admin, 400, `{"error":"invalid_request","error_description":"the body is cut short"}`},
			"oversize":                    {"POST", "/revocations", strings.Repeat(" ", 64<<10) + event, admin, 413, ""},
			"GET":                         {"GET", "/revocations", "", admin, 405, ""},
			"PUT":                         {"PUT", "/revocations", event, admin, 405, ""},
			"a logout by GET":             {"GET", "/backchannel-logout?logout_token=x", "", nil, 405, ""},
			"a logout token that is none": {"POST", "/backchannel-logout", "logout_token=x", []string{"Content-Type", form}, 400, noToken},
			"a logout token, alg none":    {"POST", "/backchannel-logout", "logout_token=eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUudGVzdC8ifQ.AA", []string{"Content-Type", form}, 400, noToken},
			"a logout token as JSON":      {"POST", "/backchannel-logout", `{"logout_token": "x"}`, []string{"Content-Type", "application/json"}, 400, noForm},
			"no logout token":             {"POST", "/backchannel-logout", "token=x", []string{"Content-Type", form}, 400, noForm},
			"a signal without the secret": {"POST", "/shared-signals", "x", []string{"Content-Type", "application/secevent+jwt"}, 400, `{"description":"The sender is not authenticated.","err":"authentication_failed"}`},
			"a signal that is none":       {"POST", "/shared-signals", "x", []string{"Authorization", "Bearer " + hookSecret, "Content-Type", "application/secevent+jwt"}, 400, `{"description":"The body is not a security event token that can be accepted.","err":"invalid_request"}`},
			"a signal of another issuer":  {"POST", "/shared-signals", "eyJhbGciOiJFZERTQSIsInR5cCI6InNlY2V2ZW50K2p3dCJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUudGVzdC8ifQ.AA", []string{"Authorization", "Bearer " + hookSecret, "Content-Type", "application/secevent+jwt"}, 400, `{"description":"The issuer is not one that is configured.","err":"invalid_issuer"}`},
		} {
			r, err := http.NewRequestWithContext(t.Context(), c.method, h.base+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(c.header); i += 2 {
				r.Header.Set(c.header[i], c.header[i+1])
			}
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != c.status || c.answer != "" && string(body) != c.answer {
				t.Errorf("%s: %d %s, want %d %s", name, response.StatusCode, body, c.status, c.answer)
			}
			if got := response.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%s: Cache-Control is %q", name, got)
			}
		}
	})
}
