package config

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/observe"
)

// tokenParty is a relying party whose sessions are tokens of the gate in the cookie
// jwt-token, with a users service.
type tokenParty struct {
	*relyingParty
	users  *coretest.Server
	says   atomic.Pointer[string]
	tokens *gatewaytoken.Tokens
	keys   string
	config map[string]any
}

func newTokenParty(t *testing.T, gateway, oidc map[string]any) *tokenParty {
	t.Helper()
	p := &tokenParty{relyingParty: &relyingParty{t: t, clock: coretest.NewClock(), log: &coretest.Log{}}, keys: filepath.Join(t.TempDir(), "keys.json")}
	p.fake = coretest.NewFakeProvider(t, p.clock)
	p.users = coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, *p.says.Load())
	}))
	p.say(`{"subject":"u-7","roles":["reader"],"permissions":["orders"]}`)
	keyFile(t, p.keys, "ES256")
	p.config = map[string]any{
		"permission_table": "permissions: {orders: {activities: [\"ANY /orders\"]}, mail: {activities: [\"GET /mail\"]}}",
		"revocation":       map[string]any{"without_list": "accept"}, "state_dir": t.TempDir(),
		"gateway_token":  coretest.Merged(map[string]any{"issuer": "https://login.test", "audience": []string{"https://apps.test"}, "keys": []string{"$file://" + p.keys}}, gateway),
		"upstream_token": map[string]any{"issuer": "https://login.test", "audience": []string{"orders-service"}, "keys": []string{"$file://" + p.keys}, "header": "X-Token"},
		"login": map[string]any{"oidc": coretest.Merged(map[string]any{
			"providers":    []any{map[string]any{"discovery": p.fake.DiscoveryURL(), "client_id": "web", "client_secret": clientSecret}},
			"redirect_uri": appOrigin + "/callback", "back_channel_logout_path": "/backchannel",
			"enrich": map[string]any{"url": p.users.URL, "bearer_token": "x", "cache_ttl": 0},
			"session": map[string]any{
				"storage": "jwt", "secret": []string{signInSecret}, "absolute_timeout": 7200,
				"cookie": map[string]any{"name": "jwt-token", "domain": "apps.test"},
			},
		}, oidc)},
	}
	p.gate = p.another(nil)
	return p
}

// another is a gate of another app with the same settings but for some.
func (p *tokenParty) another(more map[string]any) *core.Gate {
	p.t.Helper()
	log := slog.New(slog.NewTextHandler(p.log, nil))
	b := NewBuilder(BuilderOptions{Now: p.clock.Now, Log: log, Recorder: observe.NewLog(log)})
	gate, tokens := itsTokens(p.t, b, coretest.JSON(p.t, coretest.Merged(p.config, more)))
	p.tokens = tokens
	return gate
}

func (p *tokenParty) say(text string) { p.says.Store(&text) }

var asScript = core.Header{Name: "Accept", Value: "application/json"}

func TestSessionIsATokenThatEveryAppAndScriptCanUse(t *testing.T) {
	p := newTokenParty(t, nil, nil)
	s := p.surfer()
	d, _ := s.signIn()
	var lines []string
	for _, h := range d.Header {
		if h.Name == "Set-Cookie" && strings.HasPrefix(h.Value, "jwt-token") {
			lines = append(lines, h.Value)
		}
	}
	if len(lines) != 1 || !strings.Contains(lines[0], "; Path=/; Domain=apps.test; HttpOnly; Secure; SameSite=Lax") {
		t.Fatalf("%d, %q, %v", d.Status, lines, d.Cause)
	}
	token := s.cookies["jwt-token"]
	for _, gate := range []*core.Gate{p.gate, p.another(map[string]any{"realm": "another app"})} {
		s.gate = gate
		d, _ := s.send("GET", "/orders", "", asScript)
		if d.Outcome != core.Allow || d.Principal.Kind != core.KindOIDC || d.Principal.Subject != "u-7" || d.Principal.Issuer != p.users.URL || !slices.Equal(d.Principal.Permissions, []string{"orders"}) || !slices.Equal(d.Principal.Roles, []string{"reader"}) {
			t.Errorf("by cookie: %v, %v, %+v", d.Outcome, d.Cause, d.Principal)
		}
		if set := minted(t, gate, d, "X-Token"); set["sub"] != "u-7" || fmt.Sprint(set["aud"]) != "orders-service" {
			t.Errorf("the token for the service: %v", set)
		}
		mobile := p.surfer()
		mobile.gate = gate
		d, _ = mobile.send("GET", "/orders", "", asScript, bearer(token))
		if d.Outcome != core.Allow || d.Principal.Kind != core.KindJWT || d.Principal.Subject != "u-7" || !slices.Equal(d.Principal.Permissions, []string{"orders"}) {
			t.Errorf("as a bearer token: %v, %v", d.Outcome, d.Cause)
		}
		if d, _ := s.send("GET", "/mail", "", asScript); d.Status != 403 {
			t.Errorf("without the permission: %d", d.Status)
		}
	}
}

func TestCookieThatIsNoTokenOfASignInIsRefused(t *testing.T) {
	p := newTokenParty(t, nil, nil)
	s := p.surfer()
	s.signIn()
	good := s.cookies["jwt-token"]
	d, _ := s.send("GET", "/orders", "", asScript)
	var service string
	for _, h := range d.Set {
		if h.Name == "X-Token" {
			service = h.Value
		}
	}
	parts := strings.Split(good, ".")
	foreign := newTokenParty(t, nil, nil).surfer()
	foreign.signIn()
	person := signedInPerson(p.clock)
	person.Issuer, person.ClientID = p.fake.URL, "web"
	issue := func(change func(*core.Principal), audience ...string) string {
		of := *person
		change(&of)
		if len(audience) == 0 {
			audience = []string{"https://apps.test"}
		}
		issued, err := p.tokens.IssueFor(&of, audience, of.Expiry)
		if err != nil {
			t.Fatal(err)
		}
		return issued.Token
	}
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + "."
	changed, _ := base64.RawURLEncoding.DecodeString(parts[1])
	tampered := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(changed), `"orders"`, `"mail"`, 1))) + "." + parts[2]
	for name, value := range map[string]string{
		"tampered": tampered, "without a signature": parts[0] + "." + parts[1] + ".", "alg none": unsigned, "cut": good[:len(good)-5], "longer": good + "A",
		"a foreign key": foreign.cookies["jwt-token"], "a token for a service": service, "for another audience": issue(func(*core.Principal) {}, "https://other.test"),
		"of another client":   issue(func(p *core.Principal) { p.ClientID = "mobile" }),
		"of another provider": issue(func(p *core.Principal) { p.Issuer = "https://evil.test" }),
		"of an agent":         issue(func(p *core.Principal) { p.Actor = &core.Actor{Subject: "agent"} }),
		"garbage":             "x", "two dots": "..", "a sealed session": base64.RawURLEncoding.EncodeToString([]byte(rand.Text() + rand.Text())),
	} {
		thief := p.surfer()
		thief.cookies["jwt-token"] = value
		if d, to := thief.send("GET", "/orders", "", asScript); d.Status != 401 || to != "" {
			t.Errorf("%s: a script gets %d, %v", name, d.Status, d.Cause)
		}
		thief.cookies["jwt-token"] = value
		if d, to := thief.open("/orders"); d.Status != 302 || !strings.HasPrefix(to, appOrigin+"/signin?") {
			t.Errorf("%s: a page gets %d to %q", name, d.Status, to)
		}
	}
	if d, to := p.surfer().send("GET", "/orders", "", asScript); d.Status != 401 || to != "" {
		t.Errorf("no cookie: a script gets %d to %q", d.Status, to)
	}
	if d, to := p.surfer().open("/orders"); d.Status != 302 || !strings.HasPrefix(to, appOrigin+"/signin?") {
		t.Errorf("no cookie: a page gets %d to %q", d.Status, to)
	}
	own := p.surfer()
	own.cookies["jwt-token"] = issue(func(p *core.Principal) { p.Permissions = []string{"orders"} })
	if d, _ := own.send("GET", "/orders", "", asScript); d.Outcome != core.Allow {
		t.Errorf("what the others differ from is refused: %v", d.Cause)
	}
}

// The token lasts for an hour, and the session for two.
func TestTokenInTheCookieIsIssuedAnewWhileItIsUsed(t *testing.T) {
	p := newTokenParty(t, nil, nil)
	s := p.surfer()
	s.signIn()
	first := s.cookies["jwt-token"]
	p.clock.Advance(5 * time.Minute)
	if s.open("/orders"); s.cookies["jwt-token"] != first {
		t.Error("a new token before a tenth of the time")
	}
	p.clock.Advance(time.Minute)
	if s.open("/orders"); s.cookies["jwt-token"] == first {
		t.Error("no new token after a tenth of the time")
	}
	p.clock.Advance(58 * time.Minute)
	if d, _ := s.send("GET", "/orders", "", asScript); d.Outcome != core.Allow {
		t.Errorf("after the life of the first token: %v", d.Cause)
	}
	old := p.surfer()
	old.cookies["jwt-token"] = first
	if d, _ := old.send("GET", "/orders", "", asScript); d.Status != 401 {
		t.Errorf("the first token: %d", d.Status)
	}
	p.clock.Advance(55 * time.Minute) // one hour and 59 minutes
	if d, _ := s.send("GET", "/orders", "", asScript); d.Outcome != core.Allow {
		t.Errorf("before the end of the session: %v", d.Cause)
	}
	p.clock.Advance(2 * time.Minute)
	if d, _ := s.send("GET", "/orders", "", asScript); d.Status != 401 {
		t.Errorf("after the end of the session: %d", d.Status)
	}
	idle := p.surfer()
	idle.signIn()
	p.clock.Advance(time.Hour)
	if d, _ := idle.send("GET", "/orders", "", asScript); d.Status != 401 {
		t.Errorf("a session that rests for an hour: %d", d.Status)
	}
}

func TestUsersServiceIsAskedAgainForANewToken(t *testing.T) {
	p := newTokenParty(t, nil, nil)
	s := p.surfer()
	s.signIn()
	p.say(`{"subject":"u-7","roles":[],"permissions":["mail"]}`)
	p.clock.Advance(7 * time.Minute)
	s.open("/orders")
	d, _ := s.send("GET", "/mail", "", asScript)
	if d.Outcome != core.Allow || d.Principal.Subject != "u-7" || len(d.Principal.Roles) != 0 || !slices.Equal(d.Principal.Permissions, []string{"mail"}) {
		t.Errorf("%v %+v", d.Cause, d.Principal)
	}
	p.users.Fail(500, "")
	before := s.cookies["jwt-token"]
	p.clock.Advance(30 * time.Minute)
	for range 3 {
		if d, _ := s.send("GET", "/mail", "", asScript); d.Outcome != core.Allow || s.cookies["jwt-token"] != before {
			t.Errorf("while the service is away: %v", d.Cause)
		}
	}
	if n := p.users.Calls(); n != 3 {
		t.Errorf("%d calls: one at the sign-in, one for a new token, one that failed", n)
	}
	p.clock.Advance(30 * time.Minute)
	if d, _ := s.send("GET", "/mail", "", asScript); d.Status != 401 {
		t.Errorf("after the end of the token: %d", d.Status)
	}
	p.users.Heal()
	s = p.surfer()
	s.signIn()
	p.users.Instead(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(403)
		io.WriteString(w, `{"title":"Blocked"}`)
	})
	p.clock.Advance(7 * time.Minute)
	if d, _ := s.send("GET", "/mail", "", asScript); d.Status != 401 {
		t.Errorf("a user whom the service refuses: %d", d.Status)
	}
}

// Whatever ends the session ends each copy of its token, in the cookie and as a bearer
// token, also where the users service names the user otherwise than the provider.
func TestLogoutEndsEveryCopyOfTheTokenInTheCookie(t *testing.T) {
	backChannel := func(p *tokenParty, more map[string]any) {
		set := coretest.Merged(map[string]any{"iss": p.fake.URL, "aud": "web", "iat": p.clock.Now().Unix(), "exp": p.clock.Now().Unix() + 60, "jti": rand.Text(), "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}, more)
		token := p.fake.Key.Sign(t, map[string]any{"typ": "logout+jwt"}, coretest.JSON(t, set))
		if d, _ := p.surfer().send("POST", "/backchannel", url.Values{"logout_token": {token}}.Encode(), core.Header{Name: "Content-Type", Value: "application/x-www-form-urlencoded"}); d.Status != 200 {
			t.Errorf("%d %v", d.Status, d.Cause)
		}
	}
	for _, says := range []string{`{"subject":"u-7","permissions":["orders"]}`, `{"permissions":["orders"]}`} {
		for name, end := range map[string]func(*tokenParty, *surfer){
			"the logout": func(_ *tokenParty, s *surfer) {
				if d, to := s.open("/logout"); d.Status != 303 || !strings.HasPrefix(to, s.fake.URL) || strings.Contains(to, "id_token_hint") || !strings.Contains(to, "client_id=web") {
					t.Errorf("%d to %q", d.Status, to)
				}
				if s.cookies["jwt-token"] != "" {
					t.Error("the cookie is left")
				}
			},
			"the provider, by sid": func(p *tokenParty, _ *surfer) { backChannel(p, map[string]any{"sid": "session-1"}) },
			"the provider, by sub": func(p *tokenParty, _ *surfer) { backChannel(p, map[string]any{"sub": "user-1"}) },
		} {
			p := newTokenParty(t, nil, nil)
			p.say(says)
			s := p.surfer()
			s.signIn()
			token := s.cookies["jwt-token"]
			p.clock.Advance(7 * time.Minute) // the second token is of the same session
			s.open("/orders")
			copies := []*surfer{p.surfer(), p.surfer()}
			copies[0].cookies["jwt-token"], copies[1].cookies["jwt-token"] = token, s.cookies["jwt-token"]
			for _, c := range copies {
				if d, _ := c.send("GET", "/orders", "", asScript); d.Outcome != core.Allow {
					t.Fatalf("before %s: %v", name, d.Cause)
				}
			}
			kept := []string{token, s.cookies["jwt-token"]}
			end(p, s)
			for i, value := range kept {
				c := p.surfer()
				c.cookies["jwt-token"] = value
				if d, _ := c.send("GET", "/orders", "", asScript); d.Status != 401 {
					t.Errorf("%s, %s: cookie %d counts: %d", says, name, i, d.Status)
				}
				if d, _ := p.surfer().send("GET", "/orders", "", asScript, bearer(value)); d.Status != 401 {
					t.Errorf("%s, %s: bearer token %d counts: %d", says, name, i, d.Status)
				}
			}
		}
	}
}

func TestWritesOfOtherSitesWithATokenInTheCookie(t *testing.T) {
	p := newTokenParty(t, nil, nil)
	s := p.surfer()
	s.signIn()
	gates := []*core.Gate{p.gate, p.another(map[string]any{"cross_site_writes": map[string]any{"trusted_origins": []string{"https://*.apps.test"}}})}
	for origin, want := range map[string][2]core.Outcome{
		"https://shop.apps.test": {core.Deny, core.Allow}, "https://evil.test": {core.Deny, core.Deny}, "https://apps.test.evil.test": {core.Deny, core.Deny}, "null": {core.Deny, core.Deny},
	} {
		for i, gate := range gates {
			s.gate = gate
			d, _ := s.send("POST", "/orders", "", asScript, core.Header{Name: "Origin", Value: origin}, core.Header{Name: "Sec-Fetch-Site", Value: "same-site"})
			if d.Outcome != want[i] {
				t.Errorf("%s, gate %d: %v, %v", origin, i, d.Outcome, d.Cause)
			}
		}
	}
}

func TestTokenThatIsTooLongForACookieNamesWhatToLeaveOut(t *testing.T) {
	for what, says := range map[string]func(list string) string{
		"the permissions": func(list string) string { return `{"permissions":` + list + `}` },
		"the roles":       func(list string) string { return `{"roles":` + list + `}` },
		"further claims":  func(list string) string { return `{"claims":{"groups":` + list + `}}` },
	} {
		p := newTokenParty(t, map[string]any{"copy_claims": true}, nil)
		var list []string
		for range 130 {
			list = append(list, `"`+rand.Text()+`"`)
		}
		p.say(says("[" + strings.Join(list, ",") + "]"))
		s := p.surfer()
		d, _ := s.signIn()
		if d.Outcome == core.Allow || !strings.Contains(string(d.Body), "You cannot be signed in") || s.cookies["jwt-token"] != "" || d.Cause == nil || !strings.Contains(d.Cause.Error(), "leave out "+what) {
			t.Errorf("%s: %d, %v", what, d.Status, d.Cause)
		}
	}
}

func TestSettingsThatContradictATokenInTheCookie(t *testing.T) {
	p := newTokenParty(t, nil, nil)
	for want, change := range map[string]func(config, session map[string]any){
		"there is no section gateway_token":    func(config, _ map[string]any) { delete(config, "gateway_token") },
		"there is no section revocation":       func(config, _ map[string]any) { delete(config, "revocation") },
		"contradicts storage: jwt":             func(_, session map[string]any) { session["keep_access_token"] = true },
		"required_aal: is for sessions alone":  func(_, session map[string]any) { session["required_aal"] = "aal2" },
		"session would outlive its revocation": func(config, _ map[string]any) { config["revocation"] = map[string]any{"retention": 3600} },
	} {
		config := maps.Clone(p.config)
		login := config["login"].(map[string]any)["oidc"].(map[string]any)
		session := maps.Clone(login["session"].(map[string]any))
		change(config, session)
		oidc := maps.Clone(login)
		oidc["session"] = session
		config["login"] = map[string]any{"oidc": oidc}
		if _, err := Load([]byte(coretest.JSON(t, config))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
