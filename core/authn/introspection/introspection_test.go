package introspection_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/introspection"
	"gatehouse/core/cache"
	"gatehouse/core/coretest"
)

const (
	token        = "ory_at_secret-token.0123456789"
	clientSecret = "p@ss:w/rd +&%"
)

type bench struct {
	t      *testing.T
	clock  *coretest.Clock
	server *coretest.FakeIntrospection
	auth   *introspection.Authenticator
}

func setup(t *testing.T, change func(*introspection.Options)) *bench {
	t.Helper()
	clock := coretest.NewClock()
	server := coretest.NewFakeIntrospection(t)
	o := introspection.Options{URL: server.URL + "/introspect", Client: coretest.Client(t), Now: clock.Now}
	if change != nil {
		change(&o)
	}
	auth, err := introspection.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t, clock, server, auth}
}

// response is what Ory Hydra says about a good token, with changes.
func (b *bench) response(changes map[string]any) map[string]any {
	now := b.clock.Now()
	return coretest.Merged(map[string]any{
		"active": true, "scope": "orders:read orders:write", "client_id": "web", "sub": "user-1",
		"exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "nbf": now.Unix(), "aud": []string{coretest.Audience},
		"iss": "http://hydra.test/", "token_type": "Bearer", "token_use": "access_token",
		"ext": map[string]any{"roles": []string{"editor"}, "uid": json.Number("9223372036854775807")},
	}, changes)
}

func (b *bench) ask(changes map[string]any) (*core.Principal, error) {
	b.t.Helper()
	b.server.Know(token, b.response(changes))
	return b.askAgain()
}

func (b *bench) askAgain() (*core.Principal, error) {
	b.t.Helper()
	p, err := b.auth.AuthenticateToken(b.t.Context(), core.Credential{Place: core.BearerToken, Value: token})
	if err != nil && (strings.Contains(err.Error(), token) || strings.Contains(err.Error(), clientSecret)) {
		b.t.Errorf("the error holds a secret: %v", err)
	}
	return p, err
}

func (b *bench) refuses(name string, changes map[string]any) {
	b.t.Helper()
	if p, err := b.ask(changes); !errors.Is(err, core.ErrInvalid) {
		b.t.Errorf("%s: %+v, %v", name, p, err)
	}
}

func (b *bench) accepts(name string, changes map[string]any) {
	b.t.Helper()
	if _, err := b.ask(changes); err != nil {
		b.t.Errorf("%s: %v", name, err)
	}
}

func TestPrincipalOfAToken(t *testing.T) {
	b := setup(t, nil)
	p, err := b.ask(map[string]any{"username": "ada"})
	if err != nil {
		t.Fatal(err)
	}
	got := coretest.JSON(t, []any{p.Subject, p.ClientID, p.Kind, p.Issuer, p.Scopes, p.Roles, p.Claims["username"], p.Claims["ext"]})
	want := `["user-1","web","introspection","http://hydra.test/",["orders:read","orders:write"],["editor"],"ada",{"roles":["editor"],"uid":9223372036854775807}]`
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if !p.Expiry.Equal(b.clock.Now().Add(time.Hour)) {
		t.Errorf("expiry %s", p.Expiry)
	}
}

func TestIntrospectionRequest(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*introspection.Options)
		basic  string
		form   string
		header string
	}{
		"none": {nil, "", "token=" + token + "&token_type_hint=access_token", ""},
		"bearer": {func(o *introspection.Options) { o.Key = clientSecret },
			"", "token=" + token + "&token_type_hint=access_token", "Authorization: Bearer " + clientSecret},
		"a header": {func(o *introspection.Options) {
			o.Key, o.KeyHeader = clientSecret, "X-Api-Key"
		},
			"", "token=" + token + "&token_type_hint=access_token", "X-Api-Key: " + clientSecret},
		"basic": {func(o *introspection.Options) {
			o.Authentication = clientauth.Options{Method: clientauth.SecretBasic, ClientID: "gate:way", Secret: clientSecret}
		},
			"gate%3Away:p%40ss%3Aw%2Frd+%2B%26%25", "token=" + token + "&token_type_hint=access_token", ""},
		"post": {func(o *introspection.Options) {
			o.Authentication = clientauth.Options{Method: clientauth.SecretPost, ClientID: "gateway", Secret: clientSecret}
		},
			"", "client_id=gateway&client_secret=p%40ss%3Aw%2Frd+%2B%26%25&token=" + token + "&token_type_hint=access_token", ""},
	} {
		b := setup(t, test.change)
		b.accepts(name, nil)
		sent := b.server.LastRequest(t)
		user, password, _ := sent.BasicAuth()
		if basic := strings.TrimSuffix(user+":"+password, ":"); basic != test.basic {
			t.Errorf("%s: Basic %q, want %q", name, basic, test.basic)
		}
		if form := sent.PostForm.Encode(); form != test.form {
			t.Errorf("%s: form %q, want %q", name, form, test.form)
		}
		if name, value, _ := strings.Cut(test.header, ": "); name != "" && sent.Header.Get(name) != value {
			t.Errorf("%s: %s: %q, want %q", test.header, name, sent.Header.Get(name), value)
		}
		if sent.Method != http.MethodPost || sent.URL.RequestURI() != "/introspect" {
			t.Errorf("%s: %s %s", name, sent.Method, sent.URL)
		}
		if _, sent := sent.Header["Idempotency-Key"]; sent {
			t.Errorf("%s: a header that only marks the request was sent", name)
		}
	}
}

func TestClientAuthenticationThatCannotWork(t *testing.T) {
	for want, o := range map[string]introspection.Options{
		"a header is for a key":                     {KeyHeader: "X-Api-Key"},
		`"X Key" is not the name of a header`:       {Key: "k", KeyHeader: "X Key"},
		"the header Content-Type cannot hold a key": {Key: "k", KeyHeader: "Content-Type"},
		"a character that no header can hold":       {Key: "k\r\nX-Admin: 1"},
		"client_secret_basic needs a client id":     {Authentication: clientauth.Options{Secret: "k"}},
		"is no method":                              {Authentication: clientauth.Options{Method: "basic", ClientID: "a", Secret: "k"}},
	} {
		o.URL, o.Client = "http://hydra.test/introspect", coretest.Client(t)
		if _, err := introspection.New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Admin") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A provider that asks for a pause gets one; what is cached is served meanwhile.
func TestCachedTokensAreServedWhileTheProviderAsksForAPause(t *testing.T) {
	clock := coretest.NewClock()
	server := coretest.NewFakeIntrospection(t)
	client, err := idp.New(idp.Options{Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := introspection.New(introspection.Options{URL: server.URL, Client: client, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	good, _ := cache.NewMemory(cache.Limits{Entries: 100}, clock.Now)
	bad, _ := cache.NewMemory(cache.Limits{Entries: 100}, clock.Now)
	memo, err := cache.New(cache.Options{Next: auth, Positive: good, Negative: bad, Digest: "d", TTL: time.Minute, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(value string) error {
		_, err := memo.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: value})
		return err
	}
	server.Know("cached", (&bench{clock: clock}).response(nil))
	server.Know("other", (&bench{clock: clock}).response(nil))
	if err := ask("cached"); err != nil {
		t.Fatal(err)
	}
	server.Instead(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "20")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	for range 10 {
		if err := ask("other"); err == nil || errors.Is(err, core.ErrInvalid) {
			t.Errorf("a token that is not cached: %v", err)
		}
	}
	if n := server.Calls(); n != 2 {
		t.Errorf("%d calls, want that of the cached token and the one that was told to wait", n)
	}
	if err := ask("cached"); err != nil {
		t.Errorf("a cached token: %v", err)
	}
	server.Heal()
	clock.Advance(21 * time.Second)
	if err := ask("other"); err != nil {
		t.Errorf("after the pause: %v", err)
	}
}

func TestInactiveToken(t *testing.T) {
	b := setup(t, nil)
	b.refuses("inactive", map[string]any{"active": false})
	b.server.Know(token, map[string]any{"active": false})
	if _, err := b.askAgain(); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// Only the boolean counts. An response that says something else about activity
// is not a response, so nobody is let in and nobody's token is called bad.
func TestActiveThatIsNotABoolean(t *testing.T) {
	b := setup(t, nil)
	for _, active := range []any{"true", 1, []bool{true}, map[string]any{}, nil} {
		p, err := b.ask(map[string]any{"active": active})
		if err == nil || errors.Is(err, core.ErrInvalid) {
			t.Errorf("active %v: %+v, %v", active, p, err)
		}
	}
}

func TestRefreshTokenByIntrospection(t *testing.T) {
	b := setup(t, nil)
	b.accepts("an access token", nil)
	b.accepts("a server that does not name the use", map[string]any{"token_use": nil})
	b.refuses("Hydra's refresh token", map[string]any{"token_use": "refresh_token"})
	b.refuses("Keycloak's refresh token", map[string]any{"token_use": nil, "typ": "Refresh"})
	b.refuses("a use that is not a string", map[string]any{"token_use": []string{"access_token"}})
}

func TestIDTokenByIntrospection(t *testing.T) {
	b := setup(t, nil)
	b.refuses("token_use", map[string]any{"token_use": "id_token"})
	b.refuses("typ", map[string]any{"token_use": nil, "typ": "ID"})
	b.refuses("at_hash", map[string]any{"at_hash": "x"})
}

func TestBoundTokenWithoutItsProof(t *testing.T) {
	b := setup(t, nil)
	b.refuses("token_type DPoP", map[string]any{"token_type": "DPoP"})
	b.refuses("token_type N_A", map[string]any{"token_type": "N_A"})
	b.refuses("cnf", map[string]any{"cnf": map[string]any{"jkt": "x"}})
	b.accepts("bearer in lower case", map[string]any{"token_type": "bearer"})
	b.accepts("no token_type", map[string]any{"token_type": nil})
}

// A server may leave out of its response who acts, as it may leave out the key of a bound
// token: then the token itself says so, and is not its subject's whole power.
func TestDelegatedTokenWhoseResponseLeavesTheActorOut(t *testing.T) {
	b := setup(t, nil)
	encode := func(claims string) string { return base64.RawURLEncoding.EncodeToString([]byte(claims)) }
	jwt := func(claims string) string { return encode(`{"alg":"RS256"}`) + "." + encode(claims) + ".c2ln" }
	for name, c := range map[string]struct {
		token   string
		changes map[string]any
		want    string
	}{
		"the response":            {jwt(`{}`), map[string]any{"act": map[string]any{"sub": "a"}}, "http://hydra.test/#a"},
		"the response, below ext": {jwt(`{}`), map[string]any{"ext": map[string]any{"act": map[string]any{"sub": "a"}}}, "http://hydra.test/#a"},
		"an opaque token":         {token, map[string]any{"act": map[string]any{"sub": "a"}}, "http://hydra.test/#a"},
		"the token":               {jwt(`{"act":{"sub":"b"}}`), nil, "http://hydra.test/#b"},
		"the token, below ext":    {jwt(`{"ext":{"act":{"sub":"b"}}}`), nil, "http://hydra.test/#b"},
		"both":                    {jwt(`{"act":{"sub":"b"}}`), map[string]any{"act": map[string]any{"sub": "a"}}, "http://hydra.test/#a"},
		"null in the response":    {jwt(`{"act":{"sub":"b","act":{"client_id":"c"}}}`), map[string]any{"act": nil}, "http://hydra.test/#b http://hydra.test/?client_id=c"},
		"the token, malformed":    {jwt(`{"act":"b"}`), nil, "refused"},
		"none":                    {jwt(`{}`), nil, ""},
	} {
		b.server.Know(c.token, b.response(c.changes))
		p, err := b.auth.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: c.token})
		got := "refused"
		if err == nil {
			var ids []string
			for _, a := range p.Actor.Chain() {
				ids = append(ids, a.String())
			}
			got = strings.Join(ids, " ")
		}
		if got != c.want || err != nil && !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %q (%v), want %q", name, got, err, c.want)
		}
	}
}

func TestTokenOfAnotherIssuer(t *testing.T) {
	b := setup(t, func(o *introspection.Options) { o.Issuer = "http://hydra.test/" })
	b.accepts("ours", nil)
	b.refuses("another", map[string]any{"iss": "http://other.test/"})
	b.refuses("no trailing slash", map[string]any{"iss": "http://hydra.test"})
	b.refuses("none", map[string]any{"iss": nil})
	b.refuses("a list", map[string]any{"iss": []string{"http://hydra.test/"}})
}

func TestTokenForAnotherAudience(t *testing.T) {
	b := setup(t, func(o *introspection.Options) { o.Audiences = []string{coretest.Audience} })
	b.accepts("ours", nil)
	b.refuses("another", map[string]any{"aud": []string{"https://other.test"}})
	b.refuses("an empty list", map[string]any{"aud": []string{}})
	b.refuses("none", map[string]any{"aud": nil})
}

func TestTimes(t *testing.T) {
	b := setup(t, nil)
	now := b.clock.Now().Unix()
	b.refuses("expired", map[string]any{"exp": now})
	b.refuses("no exp", map[string]any{"exp": nil})
	b.refuses("exp as a string", map[string]any{"exp": "9999999999"})
	b.refuses("nbf in the future", map[string]any{"nbf": now + 60})
	b.refuses("iat in the future", map[string]any{"iat": now + 60})

	b = setup(t, func(o *introspection.Options) {
		o.InsecureAcceptMissingExpiry = true
	})
	p, err := b.ask(map[string]any{"exp": nil})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Expiry.Sub(b.clock.Now()); got != 30*time.Second {
		t.Errorf("a token without exp counts for %s", got)
	}
	b.refuses("expired all the same", map[string]any{"exp": now})
	b.refuses("exp of the wrong type all the same", map[string]any{"exp": "never"})
}

func TestCredentialWithoutASubject(t *testing.T) {
	b := setup(t, nil)
	b.refuses("neither sub nor client_id", map[string]any{"sub": nil, "client_id": nil})
	b.accepts("a client for itself", map[string]any{"sub": nil})
}

func TestIntrospectedIDTokensPassOnlyWhereTheSettingsSaySo(t *testing.T) {
	id := map[string]any{"at_hash": "x", "token_use": nil}
	b := setup(t, nil)
	b.refuses("at_hash", id)
	b = setup(t, func(o *introspection.Options) { o.InsecureIDTokens = true })
	b.accepts("at_hash, knowingly", id)
	b.refuses("a refresh token", map[string]any{"token_use": "refresh_token"})
}

func TestRolesOfAnotherShape(t *testing.T) {
	odd := map[string]any{"ext": map[string]any{"roles": 7}}
	b := setup(t, nil)
	b.accepts("by the default path, which grants nothing", odd)
	b = setup(t, func(o *introspection.Options) { o.Claims.Roles = claims.MustPaths("ext.roles") })
	b.refuses("by a configured path", odd)
}

func TestOutageIsNotTheCallersFault(t *testing.T) {
	for name, break_ := range map[string]func(*coretest.FakeIntrospection){
		"our secret is wrong": func(s *coretest.FakeIntrospection) { s.Fail(401, `{"active":false}`) },
		"we may not ask":      func(s *coretest.FakeIntrospection) { s.Fail(403, `{"active":false}`) },
		"a bad request":       func(s *coretest.FakeIntrospection) { s.Fail(400, `{}`) },
		"status 500":          func(s *coretest.FakeIntrospection) { s.Fail(500, `{"active":true}`) },
		"a 201":               func(s *coretest.FakeIntrospection) { s.Fail(201, `{"active":true,"sub":"x","exp":9999999999}`) },
		"an empty object":     func(s *coretest.FakeIntrospection) { s.Fail(200, `{}`) },
		"a list":              func(s *coretest.FakeIntrospection) { s.Fail(200, `[{"active":true}]`) },
		"active twice": func(s *coretest.FakeIntrospection) {
			s.Fail(200, `{"active":false,"active":true,"sub":"x","exp":9999999999}`)
		},
		"an endless answer": func(s *coretest.FakeIntrospection) { s.Flood() },
		"dropped":           func(s *coretest.FakeIntrospection) { s.Drop() },
		"a redirect":        func(s *coretest.FakeIntrospection) { s.Redirect("http://127.0.0.1:1/") },
		"a signed answer": func(s *coretest.FakeIntrospection) {
			s.Instead(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/token-introspection+jwt")
				w.Write([]byte(`{"active":true,"sub":"x","exp":9999999999}`))
			})
		},
	} {
		b := setup(t, nil)
		b.server.Know(token, b.response(nil))
		break_(b.server)
		if p, err := b.askAgain(); err == nil || errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		b.server.Heal()
		if _, err := b.askAgain(); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

func TestOversizedTokenIsNotSent(t *testing.T) {
	b := setup(t, nil)
	for _, value := range []string{"", strings.Repeat("a", core.MaxCredential+1)} {
		_, err := b.auth.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: value})
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("got %v", err)
		}
	}
	if b.server.Calls() != 0 {
		t.Error("it was sent")
	}
}

// A token is data in the form, whatever it looks like.
func TestTokenThatLooksLikeAForm(t *testing.T) {
	b := setup(t, nil)
	evil := "x&token=" + token + "&client_id=admin"
	b.server.Know(token, b.response(nil))
	_, err := b.auth.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: evil})
	if !errors.Is(err, core.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if got := b.server.LastRequest(t).PostForm["token"]; len(got) != 1 || got[0] != evil {
		t.Errorf("sent %q", got)
	}
}

func TestBadOptions(t *testing.T) {
	client := coretest.Client(t)
	for name, change := range map[string]func(*introspection.Options){
		"no URL":                func(o *introspection.Options) { o.URL = "" },
		"a URL with a password": func(o *introspection.Options) { o.URL = "http://a:b@hydra.test/" },
		"no client":             func(o *introspection.Options) { o.Client = nil },
		"an unknown method":     func(o *introspection.Options) { o.Authentication.Method = "password" },
		"basic without a secret": func(o *introspection.Options) {
			o.Authentication = clientauth.Options{Method: clientauth.SecretBasic, ClientID: "gateway"}
		},
		"post without an id": func(o *introspection.Options) {
			o.Authentication = clientauth.Options{Method: clientauth.SecretPost, Secret: clientSecret}
		},
		"a secret that is not used": func(o *introspection.Options) {
			o.Authentication = clientauth.Options{Method: clientauth.None, Secret: clientSecret}
		},
		"an empty audience": func(o *introspection.Options) { o.Audiences = []string{""} },
		"a large leeway":    func(o *introspection.Options) { o.Leeway = time.Hour },
	} {
		o := introspection.Options{URL: "http://hydra.test/introspect", Client: client}
		change(&o)
		_, err := introspection.New(o)
		if err == nil {
			t.Errorf("%s was accepted", name)
			continue
		}
		if strings.Contains(err.Error(), clientSecret) {
			t.Errorf("%s: the error holds the secret: %v", name, err)
		}
	}
}
