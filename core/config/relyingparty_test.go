package config

import (
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"html"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/observe"
)

const (
	appOrigin    = "https://app.test"
	clientSecret = "hunter2hunter2"
	sessionName  = "__Host-gatehouse"
)

// relyingParty is a whole gate at which people sign in with a fake provider.
type relyingParty struct {
	t     *testing.T
	clock *coretest.Clock
	fake  *coretest.FakeProvider
	log   *coretest.Log
	gate  *core.Gate
}

// newRelyingParty takes changes of the settings of the provider and of login.oidc.
func newRelyingParty(t *testing.T, provider, settings map[string]any) *relyingParty {
	t.Helper()
	rp := &relyingParty{t: t, clock: coretest.NewClock(), log: &coretest.Log{}}
	rp.fake = coretest.NewFakeProvider(t, rp.clock)
	rp.gate = rp.build(provider, settings)
	return rp
}

func (rp *relyingParty) build(provider, settings map[string]any) *core.Gate {
	rp.t.Helper()
	log := slog.New(slog.NewTextHandler(rp.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	builder := NewBuilder(BuilderOptions{Now: rp.clock.Now, Log: log, Recorder: observe.NewLog(log)})
	gate, err := builder.Gate([]byte(coretest.JSON(rp.t, map[string]any{
		"permission_table": `authenticated: ["GET,POST /orders"]`,
		"login": map[string]any{"oidc": coretest.Merged(map[string]any{
			"providers":    []any{coretest.Merged(map[string]any{"discovery": rp.fake.DiscoveryURL(), "client_id": "web", "client_secret": clientSecret}, provider)},
			"redirect_uri": appOrigin + "/callback", "back_channel_logout_path": "/backchannel",
			"session": map[string]any{"secret": []string{signInSecret}},
		}, settings)},
	})))
	if err != nil {
		rp.t.Fatal(err)
	}
	return gate
}

// surfer is a browser at the gate, which keeps cookies.
type surfer struct {
	*relyingParty
	cookies map[string]string
}

func (rp *relyingParty) surfer() *surfer { return &surfer{rp, map[string]string{}} }

func (s *surfer) send(method, target, body string, header ...core.Header) (core.Decision, string) {
	s.t.Helper()
	r := &core.Request{Method: method, Target: strings.TrimPrefix(target, appOrigin), Host: "app.test", Header: header, AskBody: func(int) ([]byte, error) { return []byte(body), nil }}
	for _, name := range slices.Sorted(maps.Keys(s.cookies)) {
		r.Header = append(r.Header, core.Header{Name: "Cookie", Value: name + "=" + s.cookies[name]})
	}
	d, location := s.gate.Check(s.t.Context(), r), ""
	for _, h := range slices.Concat(d.Header, d.ResponseHeader) {
		if h.Name == "Location" {
			location = h.Value
		}
		if name, rest, ok := strings.Cut(h.Value, "="); ok && h.Name == "Set-Cookie" {
			value, attributes, _ := strings.Cut(rest, ";")
			if s.cookies[name] = value; strings.Contains(attributes, "Max-Age=0") {
				delete(s.cookies, name)
			}
		}
	}
	return d, location
}

var asPage = core.Header{Name: "Accept", Value: "text/html"}

func (s *surfer) open(target string) (core.Decision, string) {
	s.t.Helper()
	return s.send("GET", target, "", asPage)
}

// start begins a sign-in and returns the address at the provider.
func (s *surfer) start() string {
	s.t.Helper()
	d, address := s.open("/signin?return_to=/orders")
	if d.Status != http.StatusSeeOther {
		s.t.Fatalf("the start: %d, %v", d.Status, d.Cause)
	}
	return address
}

var formField = regexp.MustCompile(`name="(\w+)" value="([^"]*)"`)

// atProvider is what the provider has the browser bring back: a query, or a form.
func (s *surfer) atProvider(address string) (query, body string) {
	s.t.Helper()
	stay := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := stay.Get(address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if to, err := response.Location(); err == nil {
		return to.RawQuery, ""
	}
	page, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	form := url.Values{}
	for _, field := range formField.FindAllStringSubmatch(string(page), -1) {
		form.Set(field[1], html.UnescapeString(field[2]))
	}
	return "", form.Encode()
}

// bring takes it to the gate.
func (s *surfer) bring(query, body string) (core.Decision, string) {
	s.t.Helper()
	if body == "" {
		return s.open("/callback?" + query)
	}
	return s.send("POST", "/callback", body, asPage, core.Header{Name: "Content-Type", Value: "application/x-www-form-urlencoded"}, core.Header{Name: "Sec-Fetch-Site", Value: "cross-site"})
}

func (s *surfer) signIn() (core.Decision, string) {
	s.t.Helper()
	return s.bring(s.atProvider(s.start()))
}

func (s *surfer) signedIn() bool {
	d, _ := s.send("GET", "/orders", "")
	return d.Outcome == core.Allow
}

// ends wants one page or 401 with a request id, one line of the log that says why, and
// nothing else: no redirect, no session, nothing secret.
func (s *surfer) ends(status int, cause string, act func() (core.Decision, string)) {
	s.t.Helper()
	before := s.log.String()
	d, location := act()
	lines := strings.Split(strings.TrimSpace(strings.TrimPrefix(s.log.String(), before)), "\n")
	if d.Outcome != core.Deny || d.Status != status || location != "" {
		s.t.Errorf("outcome %v, status %d, want %d, location %q: %v", d.Outcome, d.Status, status, location, d.Cause)
	}
	if d.Shown == nil || d.Shown.RequestID == "" || !strings.Contains(string(d.Body), d.Shown.RequestID) {
		s.t.Errorf("the response does not name the request: %s", d.Body)
	} else if len(lines) != 1 || !strings.Contains(lines[0], "request_id="+d.Shown.RequestID) || !strings.Contains(lines[0], "cause=") || !strings.Contains(lines[0], cause) {
		s.t.Errorf("want one line of the log that says %q: %q", cause, lines)
	}
	for name := range s.cookies {
		if strings.HasPrefix(name, sessionName) && !strings.HasPrefix(name, sessionName+"_signin_") {
			s.t.Errorf("the browser gets the cookie %s", name)
		}
	}
	if s.signedIn() {
		s.t.Error("the browser is signed in")
	}
	said := strings.Join(lines, "\n") + string(d.Body) + fmt.Sprint(d.Header)
	for _, secret := range append(s.fake.Issued(), clientSecret, signInSecret, "eyJhbGciOi") {
		if secret != "" && strings.Contains(said, secret) {
			s.t.Errorf("%.20q is said to the browser or in the log: %s", secret, said)
		}
	}
}

// TestFoundationRelyingParty has the modules of the OpenID Foundation's certification of
// relying parties by their names (basic and form_post, hybrid for the hashes, config), with
// what is akin to them, each by both response modes.
func TestFoundationRelyingParty(t *testing.T) {
	for _, mode := range []string{"query", "form_post"} {
		t.Run(mode, func(t *testing.T) {
			rp := newRelyingParty(t, map[string]any{"response_mode": mode, "userinfo": true, "scope": "openid email"}, nil)
			for name, c := range refusedByTheFoundation(t, rp) {
				t.Run(name, func(t *testing.T) {
					rp.t = t
					rp.fake.Behave(c.behaviour)
					s := rp.surfer()
					query, body := s.atProvider(s.start())
					s.ends(401, c.cause, func() (core.Decision, string) { return s.bring(query, body) })
				})
			}
			for name, b := range acceptedByTheFoundation(rp.clock.Now().Unix()) {
				t.Run(name, func(t *testing.T) {
					rp.t = t
					rp.fake.Behave(b)
					s := rp.surfer()
					if d, to := s.signIn(); to != appOrigin+"/orders" || !s.signedIn() {
						t.Errorf("%d to %q: %v", d.Status, to, d.Cause)
					}
				})
			}
		})
	}
}

type misbehaviour struct {
	behaviour coretest.Behaviour
	cause     string // is in the log
}

func claimed(name string, value any) coretest.Behaviour {
	return coretest.Behaviour{Claims: map[string]any{name: value}}
}

func refusedByTheFoundation(t *testing.T, rp *relyingParty) map[string]misbehaviour {
	header := func(name string, value any) coretest.Behaviour {
		return coretest.Behaviour{Header: map[string]any{name: value}}
	}
	public, err := x509.MarshalPKIXPublicKey(rp.fake.Key.Private.Public().(*rsa.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	other, now := coretest.NewKey(t, "two", "RS256"), rp.clock.Now().Unix()
	hs256 := func(secret []byte) coretest.Behaviour {
		return coretest.Behaviour{Sign: func(_ map[string]any, claims string) string {
			signed := coretest.Encode(`{"alg":"HS256","kid":"one"}`) + "." + coretest.Encode(claims)
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(signed))
			return signed + "." + coretest.Encode(string(mac.Sum(nil)))
		}}
	}
	unsigned := func(alg string) coretest.Behaviour {
		return coretest.Behaviour{Sign: func(_ map[string]any, claims string) string {
			return coretest.Encode(`{"alg":"`+alg+`"}`) + "." + coretest.Encode(claims) + "."
		}}
	}
	return map[string]misbehaviour{
		"oidcc-client-test-invalid-iss":             {claimed("iss", "https://evil.test"), "issuer"},
		"oidcc-client-test-missing-iss":             {claimed("iss", nil), "no iss"},
		"oidcc-client-test-missing-sub":             {claimed("sub", nil), "has no sub"},
		"oidcc-client-test-invalid-aud":             {claimed("aud", "other"), "aud"},
		"oidcc-client-test-missing-aud":             {claimed("aud", nil), "aud"},
		"oidcc-client-test-missing-iat":             {claimed("iat", nil), "iat"},
		"oidcc-client-test-missing-exp":             {claimed("exp", nil), "exp"},
		"oidcc-client-test-nonce-invalid":           {claimed("nonce", "other"), "nonce of another sign-in"},
		"oidcc-client-test-missing-nonce":           {claimed("nonce", nil), "has no nonce"},
		"oidcc-client-test-invalid-azp":             {claimed("azp", "other"), "azp"},
		"oidcc-client-test-missing-azp":             {claimed("aud", []string{"web", "other"}), "no azp"},
		"oidcc-client-test-idtoken-sig-none":        {unsigned("none"), "not three parts"},
		"oidcc-client-test-idtoken-sig-none (NONE)": {unsigned("NONE"), "not three parts"},
		"oidcc-client-test-idtoken-sig-hs256":       {hs256([]byte(clientSecret)), "alg"},
		"oidcc-client-test-idtoken-sig-hs256 (key)": {hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), "alg"},
		"oidcc-client-test-invalid-sig-rs256": {coretest.Behaviour{Sign: func(_ map[string]any, claims string) string {
			return other.Sign(t, map[string]any{"kid": "one"}, claims)
		}}, "signature"},
		"oidcc-client-test-kid-unknown":                {header("kid", "other"), "the issuer has no key"},
		"oidcc-client-test-invalid-athash":             {claimed("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "at_hash"},
		"oidcc-client-test-invalid-chash":              {claimed("c_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "c_hash"},
		"oidcc-client-test-userinfo-invalid-sub":       {coretest.Behaviour{Person: map[string]any{"sub": "admin"}}, "another subject"},
		"oidcc-client-test-userinfo-missing-sub":       {coretest.Behaviour{Person: map[string]any{"sub": nil}}, "another subject"},
		"oidcc-client-test-userinfo-signed for others": {coretest.Behaviour{SignedUserInfo: true, Person: map[string]any{"aud": "other"}}, "aud"},
		"clock skew: issued in an hour":                {claimed("iat", now+3600), "future"},
		"clock skew: issued in 31 seconds":             {claimed("iat", now+31), "future"},
		"clock skew: not before 31 seconds":            {claimed("nbf", now+31), "nbf is in the future"},
		"clock skew: expires now":                      {claimed("exp", now), "expired"},
		"clock skew: signed in in 31 seconds":          {claimed("auth_time", now+31), "auth_time"},
		"an error of the provider":                     {coretest.Behaviour{Response: map[string]any{"code": nil, "error": "access_denied", "error_description": clientSecret}}, "access_denied"},
		"iss of the response (RFC 9207)":               {coretest.Behaviour{Response: map[string]any{"iss": "https://evil.test"}}, "another issuer"},
		"no ID token":                                  {coretest.Behaviour{Token: map[string]any{"id_token": nil}}, "no id_token"},
	}
}

func acceptedByTheFoundation(now int64) map[string]coretest.Behaviour {
	return map[string]coretest.Behaviour{
		"oidcc-client-test":                        {},
		"oidcc-client-test-idtoken-sig-rs256":      {},
		"oidcc-client-test-scope-userinfo-claims":  {},
		"oidcc-client-test-client-secret-basic":    {},
		"oidcc-client-test-userinfo-signed":        {SignedUserInfo: true},
		"oidcc-client-test-kid-absent-single-jwks": {Header: map[string]any{"kid": nil}},
		"oidcc-client-test-missing-athash":         {Claims: map[string]any{"at_hash": nil, "c_hash": nil}},
		"iss of the response (RFC 9207)":           {NamesIssuer: true},
		"clock skew: issued in 29 seconds":         {Claims: map[string]any{"iat": now + 29}},
		"clock skew: not before 29 seconds":        {Claims: map[string]any{"nbf": now + 29}},
		"clock skew: ends in a second":             {Claims: map[string]any{"exp": now + 1}},
		"claims that nobody knows":                 {Claims: map[string]any{"x": map[string]any{"y": []any{1}}}},
	}
}

func TestFoundationUserInfoThatIsNoUserInfo(t *testing.T) {
	for name, b := range map[string]coretest.Behaviour{
		"a page":                  {PersonType: "text/html"},
		"no type":                 {PersonType: "-"},
		"a JWT that is not there": {PersonType: "application/jwt"},
	} {
		rp := newRelyingParty(t, map[string]any{"userinfo": true}, nil)
		rp.fake.Behave(b)
		s := rp.surfer()
		query, _ := s.atProvider(s.start())
		before := s.log.String()
		d, to := s.bring(query, "")
		if d.Outcome != core.Deny || to != "" || s.signedIn() || !strings.Contains(strings.TrimPrefix(s.log.String(), before), "UserInfo") {
			t.Errorf("%s: %d to %q, %v", name, d.Status, to, d.Cause)
		}
	}
}

// oidcc-client-test-signing-key-rotation and -just-before-signing, -kid-absent-multiple-jwks.
func TestFoundationKeys(t *testing.T) {
	rp := newRelyingParty(t, nil, nil)
	works := func(what string) {
		t.Helper()
		s := rp.surfer()
		if d, to := s.signIn(); to != appOrigin+"/orders" || !s.signedIn() {
			t.Errorf("%s: %d to %q, %v", what, d.Status, to, d.Cause)
		}
	}
	works("before")
	old := rp.fake.Key
	rp.fake.Key = coretest.NewKey(t, "two", "RS256")
	rp.fake.Publish(old, rp.fake.Key)
	rp.clock.Advance(2 * time.Second)
	works("signing-key-rotation")
	rp.fake.Behave(coretest.Behaviour{Header: map[string]any{"kid": nil}})
	works("kid-absent-multiple-jwks")
	rp.fake.Behave(coretest.Behaviour{})
	s := rp.surfer()
	query, body := s.atProvider(s.start())
	rp.fake.Key = coretest.NewKey(t, "three", "RS256")
	rp.fake.Publish(rp.fake.Key)
	rp.clock.Advance(2 * time.Second)
	if d, to := s.bring(query, body); to != appOrigin+"/orders" {
		t.Errorf("signing-key-rotation-just-before-signing: %d, %v", d.Status, d.Cause)
	}
	rp.fake.Behave(coretest.Behaviour{Sign: func(header map[string]any, claims string) string { return old.Sign(t, header, claims) }})
	rp.clock.Advance(2 * time.Second)
	s = rp.surfer()
	query, body = s.atProvider(s.start())
	s.ends(401, "key", func() (core.Decision, string) { return s.bring(query, body) })
}

// oidcc-client-test-discovery-issuer-mismatch and what else a discovery document can be.
func TestFoundationDiscovery(t *testing.T) {
	for name, change := range map[string]func(*coretest.FakeProvider){
		"oidcc-client-test-discovery-issuer-mismatch": func(p *coretest.FakeProvider) { p.Discovery("issuer", "https://evil.test") },
		"no issuer":                      func(p *coretest.FakeProvider) { p.Discovery("issuer", nil) },
		"no keys":                        func(p *coretest.FakeProvider) { p.Discovery("jwks_uri", nil) },
		"a redirect to another document": func(p *coretest.FakeProvider) { p.Redirect("http://127.0.0.1:1/") },
	} {
		t.Run(name, func(t *testing.T) {
			rp := &relyingParty{t: t, clock: coretest.NewClock(), log: &coretest.Log{}}
			rp.fake = coretest.NewFakeProvider(t, rp.clock)
			change(rp.fake)
			rp.gate = rp.build(nil, nil)
			d, to := rp.surfer().open("/signin")
			if d.Status != 503 || to != "" || d.Shown == nil || !strings.Contains(string(d.Body), d.Shown.RequestID) || strings.Contains(string(d.Body), "evil.test") {
				t.Errorf("%d to %q: %s", d.Status, to, d.Body)
			}
		})
	}
}

// TestFoundationBackChannelLogout has the modules of the certification of back-channel
// logout, and what is akin to them.
func TestFoundationBackChannelLogout(t *testing.T) {
	const event = "http://schemas.openid.net/event/backchannel-logout"
	changed := func(name string, value any) func(map[string]any, map[string]any) {
		return func(_, claims map[string]any) { claims[name] = value }
	}
	typed := func(typ any) func(map[string]any, map[string]any) {
		return func(header, _ map[string]any) { header["typ"] = typ }
	}
	for name, c := range map[string]struct {
		change func(header, claims map[string]any)
		sign   string // "none" or "other"
		good   bool
	}{
		"oidcc-client-test-rp-backchannel-rpinitlogout":             {good: true},
		"oidcc-client-test-rp-backchannel-rpinitlogout-alg-none":    {sign: "none"},
		"oidcc-client-test-rp-backchannel-rpinitlogout-wrong-alg":   {sign: "other"},
		"oidcc-client-test-rp-backchannel-rpinitlogout-wrong-iss":   {change: changed("iss", "https://evil.test")},
		"oidcc-client-test-rp-backchannel-rpinitlogout-wrong-aud":   {change: changed("aud", "other")},
		"oidcc-client-test-rp-backchannel-rpinitlogout-no-event":    {change: changed("events", nil)},
		"oidcc-client-test-rp-backchannel-rpinitlogout-wrong-event": {change: changed("events", map[string]any{"http://schemas.openid.net/event/other": map[string]any{}})},
		"oidcc-client-test-rp-backchannel-rpinitlogout-with-nonce":  {change: changed("nonce", "n")},
		"no iss":                          {change: changed("iss", nil)},
		"no aud":                          {change: changed("aud", nil)},
		"no iat":                          {change: changed("iat", nil)},
		"no exp":                          {change: changed("exp", nil)},
		"no jti":                          {change: changed("jti", nil)},
		"neither sub nor sid":             {change: func(_, c map[string]any) { delete(c, "sid") }},
		"an empty sid":                    {change: changed("sid", "")},
		"an event that is no object":      {change: changed("events", map[string]any{event: true})},
		"typ of an ID token that says so": {change: typed("id+jwt")},
		"typ of an access token":          {change: typed("at+jwt")},
		"typ of another event":            {change: typed("secevent+jwt")},
		"typ missing":                     {change: typed(nil), good: true},
		"typ JWT":                         {change: typed("JWT"), good: true},
		"by sub alone":                    {change: func(_, c map[string]any) { delete(c, "sid"); c["sub"] = "user-1" }, good: true},
		"by both":                         {change: changed("sub", "user-1"), good: true},
		"of the session of somebody else": {change: changed("sid", "session-2")},
		"several audiences":               {change: changed("aud", []string{"other", "web"}), good: true},
		"an hour old":                     {change: func(_, c map[string]any) { c["iat"] = coretest.NewClock().Now().Unix() - 3600 }},
	} {
		t.Run(name, func(t *testing.T) {
			rp := newRelyingParty(t, nil, nil)
			s := rp.surfer()
			if s.signIn(); !s.signedIn() {
				t.Fatal("not signed in")
			}
			now := rp.clock.Now().Unix()
			header, claims := map[string]any{"typ": "logout+jwt"}, map[string]any{
				"iss": rp.fake.URL, "aud": "web", "iat": now, "exp": now + 60, "jti": "1", "sid": "session-1", "events": map[string]any{event: map[string]any{}},
			}
			if c.change != nil {
				c.change(header, claims)
			}
			maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
			token := rp.fake.Key.Sign(t, header, coretest.JSON(t, claims))
			switch c.sign {
			case "none":
				token = coretest.Encode(`{"alg":"none","typ":"logout+jwt"}`) + "." + coretest.Encode(coretest.JSON(t, claims)) + "."
			case "other":
				token = coretest.NewKey(t, "one", "ES256").Sign(t, header, coretest.JSON(t, claims))
			}
			d, _ := rp.surfer().send("POST", "/backchannel", "logout_token="+url.QueryEscape(token), core.Header{Name: "Content-Type", Value: "application/x-www-form-urlencoded"})
			ofOther := claims["sid"] == "session-2"
			if want := map[bool]int{true: 200, false: 400}[c.good || ofOther]; d.Status != want {
				t.Errorf("status %d, want %d: %s", d.Status, want, d.Body)
			}
			if s.signedIn() == c.good {
				t.Errorf("signed in: %v", !c.good)
			}
			if strings.Contains(rp.log.String(), token) {
				t.Error("the log has the token")
			}
		})
	}
}

// Two clients of one provider: a logout token is for one of them.
func TestLogoutTokenForTheSecondClientOfAProvider(t *testing.T) {
	rp := &relyingParty{t: t, clock: coretest.NewClock(), log: &coretest.Log{}}
	rp.fake = coretest.NewFakeProvider(t, rp.clock)
	client := func(name string) map[string]any {
		return map[string]any{"name": name, "discovery": rp.fake.DiscoveryURL(), "client_id": name, "client_secret": clientSecret}
	}
	rp.gate = rp.build(nil, map[string]any{"providers": []any{client("staff"), client("guests")}})
	s := rp.surfer()
	_, address := s.open("/signin?idp=guests&return_to=/orders")
	if s.bring(s.atProvider(address)); !s.signedIn() {
		t.Fatal("not signed in")
	}
	now := rp.clock.Now().Unix()
	token := rp.fake.Key.Sign(t, map[string]any{"typ": "logout+jwt"}, coretest.JSON(t, map[string]any{
		"iss": rp.fake.URL, "aud": "guests", "iat": now, "exp": now + 60, "jti": "1", "sid": "session-1", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}))
	d, _ := rp.surfer().send("POST", "/backchannel", "logout_token="+url.QueryEscape(token), core.Header{Name: "Content-Type", Value: "application/x-www-form-urlencoded"})
	if d.Status != 200 || s.signedIn() {
		t.Errorf("%d %s, signed in %v", d.Status, d.Body, s.signedIn())
	}
}

// TestBadCallbacksEndInOnePage has what a browser can bring that no provider sent it with.
func TestBadCallbacksEndInOnePage(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		cause  string
		act    func(rp *relyingParty, s *surfer) (query string)
	}{
		"without a start":      {401, "begun no such sign-in", func(*relyingParty, *surfer) string { return "state=s&code=c" }},
		"an error, no start":   {401, "begun no such sign-in", func(*relyingParty, *surfer) string { return "state=s&error=access_denied" }},
		"from another browser": {401, "begun no such sign-in", func(rp *relyingParty, s *surfer) string { q, _ := s.atProvider(rp.surfer().start()); return q }},
		"with another's state": {401, "begun no such sign-in", func(rp *relyingParty, s *surfer) string {
			s.start()
			q, _ := s.atProvider(rp.surfer().start())
			return q
		}},
		"with another's code": {401, "invalid_grant", func(rp *relyingParty, s *surfer) string {
			own, _ := s.atProvider(s.start())
			foreign, _ := s.atProvider(rp.surfer().start())
			one, _ := url.ParseQuery(own)
			two, _ := url.ParseQuery(foreign)
			return url.Values{"state": one["state"], "code": two["code"]}.Encode()
		}},
		"too late": {401, "begun no such sign-in", func(rp *relyingParty, s *surfer) string {
			q, _ := s.atProvider(s.start())
			rp.clock.Advance(15 * time.Minute)
			return q
		}},
		"nothing":              {400, "no state", func(*relyingParty, *surfer) string { return "" }},
		"a fragment's content": {400, "no state", func(*relyingParty, *surfer) string { return "access_token=t&id_token=i" }},
		"two states":           {400, "state twice", func(_ *relyingParty, s *surfer) string { q, _ := s.atProvider(s.start()); return q + "&state=x" }},
		"two codes":            {400, "code twice", func(_ *relyingParty, s *surfer) string { q, _ := s.atProvider(s.start()); return q + "&code=x" }},
		"a code and an error":  {400, "a code or an error", func(_ *relyingParty, s *surfer) string { q, _ := s.atProvider(s.start()); return q + "&error=x" }},
		"an oversized code":    {400, "more than", func(*relyingParty, *surfer) string { return "state=s&code=" + strings.Repeat("c", 9000) }},
		"an oversized state":   {400, "more than", func(*relyingParty, *surfer) string { return "code=c&state=" + strings.Repeat("s", 300) }},
		"an oversized query":   {400, "longer than", func(*relyingParty, *surfer) string { return "state=s&code=c&x=" + strings.Repeat("x", 17000) }},
		"an escape":            {400, "no form", func(*relyingParty, *surfer) string { return "state=%zz&code=c" }},
	} {
		t.Run(name, func(t *testing.T) {
			rp := newRelyingParty(t, nil, nil)
			s := rp.surfer()
			query := c.act(rp, s)
			s.ends(c.status, c.cause, func() (core.Decision, string) { return s.bring(query, "") })
		})
	}
}

// The browser may begin at a node whose clock is ahead of that of the node where it ends.
func TestAttemptOfANodeWhoseClockIsAhead(t *testing.T) {
	rp := newRelyingParty(t, nil, nil)
	s := rp.surfer()
	query, _ := s.atProvider(s.start())
	rp.clock.Advance(-time.Minute)
	if d, to := s.bring(query, ""); to != appOrigin+"/orders" {
		t.Errorf("by a minute: %d to %q, %v", d.Status, to, d.Cause)
	}
	s = rp.surfer()
	query, _ = s.atProvider(s.start())
	rp.clock.Advance(-time.Minute - time.Second)
	s.ends(401, "begun no such sign-in", func() (core.Decision, string) { return s.bring(query, "") })
}

// Apps on a host that does not get the cookie are a loop, too.
func TestAppOnAHostWithoutTheCookieEndsInAPage(t *testing.T) {
	rp := newRelyingParty(t, nil, map[string]any{"return_origins": []string{"https://other.test"}})
	s := rp.surfer()
	start := "/signin?return_to=" + url.QueryEscape("https://other.test/orders")
	for range 3 {
		_, address := s.open(start)
		if _, to := s.bring(s.atProvider(address)); to != "https://other.test/orders" {
			t.Fatalf("to %q", to)
		}
		rp.clock.Advance(time.Second)
	}
	if d, to := s.open(start); d.Status != http.StatusForbidden || to != "" || !strings.Contains(string(d.Body), "Signing in does not help") {
		t.Errorf("%d to %q: %s", d.Status, to, d.Body)
	}
}

// A response that has been redeemed leads to the page, and to no second session.
func TestReplayedCallbackOfAWholeGate(t *testing.T) {
	rp := newRelyingParty(t, nil, nil)
	rp.fake.Behave(coretest.Behaviour{CodesAgain: true})
	s := rp.surfer()
	query, _ := s.atProvider(s.start())
	thief := rp.surfer()
	maps.Copy(thief.cookies, s.cookies)
	if _, to := s.bring(query, ""); to != appOrigin+"/orders" || !s.signedIn() {
		t.Fatalf("to %q", to)
	}
	for range 2 {
		d, to := thief.bring(query, "")
		if d.Status != 303 || to != appOrigin+"/orders" || thief.signedIn() {
			t.Errorf("%d to %q, signed in %v", d.Status, to, thief.signedIn())
		}
	}
}

// A cookie that another host has planted beside the one of the session.
func TestLogoutBesideAPlantedCookieEndsTheSession(t *testing.T) {
	rp := newRelyingParty(t, nil, nil)
	s := rp.surfer()
	if s.signIn(); !s.signedIn() {
		t.Fatal("not signed in")
	}
	copied := rp.surfer()
	maps.Copy(copied.cookies, s.cookies)
	d, to := s.send("GET", "/logout", "", asPage, core.Header{Name: "Cookie", Value: sessionName + "=AAAA"})
	if d.Status != http.StatusSeeOther || !strings.HasPrefix(to, rp.fake.URL+coretest.EndSessionPath) || s.cookies[sessionName] != "" {
		t.Errorf("%d to %q, cookies %v: %v", d.Status, to, s.cookies, d.Cause)
	}
	if copied.signedIn() {
		t.Error("a copy of the cookie counts after the logout")
	}
}

// oidcc-client-test-rp-init-logout, -other-state and -no-state, rp-frontchannel-rpinitlogout:
// the logout here does not depend on what the provider does with it.
func TestFoundationLogout(t *testing.T) {
	rp := newRelyingParty(t, nil, map[string]any{"post_logout_redirect_uri": appOrigin + "/bye", "front_channel_logout_path": "/frontchannel"})
	for name, back := range map[string]string{
		"oidcc-client-test-rp-init-logout": "/bye?state=s", "oidcc-client-test-rp-init-logout-other-state": "/bye?state=other", "oidcc-client-test-rp-init-logout-no-state": "/bye",
	} {
		s := rp.surfer()
		if s.signIn(); !s.signedIn() {
			t.Fatal("not signed in")
		}
		copied := rp.surfer()
		maps.Copy(copied.cookies, s.cookies)
		_, to := s.open("/logout")
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		if q := u.Query(); !strings.HasPrefix(to, rp.fake.URL+coretest.EndSessionPath+"?") || q.Get("id_token_hint") == "" || q.Get("post_logout_redirect_uri") != appOrigin+"/bye" {
			t.Errorf("%s: to %q", name, to)
		}
		s.open(back)
		if s.signedIn() || copied.signedIn() {
			t.Errorf("%s: signed in", name)
		}
	}
	s := rp.surfer()
	s.signIn()
	if d, _ := s.open("/frontchannel?" + url.Values{"iss": {rp.fake.URL}, "sid": {"session-1"}}.Encode()); d.Status != http.StatusOK || s.signedIn() {
		t.Errorf("oidcc-client-test-rp-frontchannel-rpinitlogout: %d, signed in %v", d.Status, s.signedIn())
	}
}
