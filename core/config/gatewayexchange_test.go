package config

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation"
)

const tokenType = "urn:ietf:params:oauth:token-type:"

// exchanging is a gate at which apps exchange tokens of an issuer.
type exchanging struct {
	t       *testing.T
	clock   *coretest.Clock
	issuer  *coretest.Issuer
	opaque  *coretest.FakeIntrospection
	builder *Builder
	gate    *core.Gate
	keys    string
}

func newExchanging(t *testing.T, settings, more string) *exchanging {
	t.Helper()
	clock := coretest.NewClock()
	x := &exchanging{t: t, clock: clock, issuer: coretest.NewIssuer(t, clock), opaque: coretest.NewFakeIntrospection(t), keys: filepath.Join(t.TempDir(), "keys.json")}
	keyFile(t, x.keys, "ES256")
	x.builder = NewBuilder(BuilderOptions{Now: clock.Now})
	var err error
	x.gate, err = x.builder.Gate([]byte(x.config(settings, more)))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *exchanging) config(settings, more string) string {
	exchange := fmt.Sprintf(", exchange: {path: /oauth2/token, issuers: [{issuer: %q, clients: [app, tablet], subject_token_types: [id_token, jwt], audience: [%q]}], introspection_clients: [app]%s}", x.issuer.URL, coretest.Audience, settings)
	return fmt.Sprintf("permission_table: '{authenticated: [GET /orders], public: [GET /public]}'\nintrospection: {introspection_endpoint: %q, audience: [%q]}\n%s", x.opaque.URL, coretest.Audience, more) + gatewayToken(x.keys, exchange)
}

// idToken is what a provider gives an app, with changes; a nil value removes a claim.
func (x *exchanging) idToken(changes map[string]any) string {
	return x.issuer.Key.Sign(x.t, nil, coretest.JSON(x.t, x.idClaims(changes)))
}

func (x *exchanging) idClaims(changes map[string]any) map[string]any {
	now := x.clock.Now()
	return coretest.Merged(map[string]any{
		"iss": x.issuer.URL, "sub": "user-1", "aud": "app", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "nonce": "n", "sid": "session-at-op",
		"auth_time": now.Add(-time.Minute).Unix(), "acr": "aal2", "roles": []string{"clerk"}, "email": "user@example.com",
	}, changes)
}

func formOf(kind, token string, more ...string) url.Values {
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {token}, "subject_token_type": {tokenType + kind}}
	for i := 0; i < len(more); i += 2 {
		form.Add(more[i], more[i+1])
	}
	return form
}

func (x *exchanging) post(body string, headers ...core.Header) core.Decision {
	if len(headers) == 0 {
		headers = []core.Header{{Name: "Content-Type", Value: "application/x-www-form-urlencoded"}}
	}
	return x.gate.Check(x.t.Context(), &core.Request{
		Method: "POST", Target: "/oauth2/token", Host: "gate.test", Header: headers, Peer: netip.MustParseAddr("192.0.2.1"),
		AskBody: func(limit int) ([]byte, error) { return []byte(body), nil },
	})
}

type answered struct {
	AccessToken string `json:"access_token"`
	IssuedType  string `json:"issued_token_type"`
	Type        string `json:"token_type"`
	Expires     int    `json:"expires_in"`
	Scope       string
	Error       string
}

func (x *exchanging) exchange(form url.Values) (answered, core.Decision) {
	x.t.Helper()
	d := x.post(form.Encode())
	var a answered
	if err := json.Unmarshal(d.Body, &a); err != nil {
		x.t.Fatalf("%d: %s: %v", d.Status, d.Body, err)
	}
	return a, d
}

func (x *exchanging) ask(token string) core.Decision {
	return x.gate.Check(x.t.Context(), &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}})
}

func TestAppExchangesItsTokenForOneOfTheGate(t *testing.T) {
	x := newExchanging(t, "", "")
	x.opaque.Know("opaque", coretest.Merged(x.issuer.Claims(nil), map[string]any{"active": true, "client_id": "app"}))
	for name, form := range map[string]url.Values{
		"ID token":                      formOf("id_token", x.idToken(nil)),
		"ID token with azp":             formOf("id_token", x.idToken(map[string]any{"aud": []string{"app", "tablet"}, "azp": "tablet"})),
		"access token that is a JWT":    formOf("jwt", x.issuer.Token(map[string]any{"client_id": "app"})),
		"the same, named by its use":    formOf("access_token", x.issuer.Token(map[string]any{"client_id": nil, "azp": "tablet"})),
		"opaque access token":           formOf("access_token", "opaque"),
		"with all that can be asked":    formOf("id_token", x.idToken(nil), "requested_token_type", tokenType+"jwt", "audience", gateAudience, "resource", gateAudience, "client_id", "app", "unknown", "ignored", "scope", ""),
		"one scope of several":          formOf("access_token", "opaque", "scope", "orders:read"),
		"of an app that says who it is": formOf("jwt", x.issuer.Token(map[string]any{"client_id": "app"}), "client_id", "app"),
	} {
		a, d := x.exchange(form)
		want := tokenType + "access_token"
		if form.Get("requested_token_type") != "" {
			want = form.Get("requested_token_type")
		}
		if d.Status != 200 || a.Type != "Bearer" || a.IssuedType != want || a.Expires <= 0 {
			t.Errorf("%s: %d, %s (%v)", name, d.Status, d.Body, d.Cause)
			continue
		}
		if limit := 3600; strings.Contains(name, "ID") && a.Expires != limit || !strings.Contains(name, "ID") && !strings.Contains(name, "all") && a.Expires > 300 {
			t.Errorf("%s: expires_in %d", name, a.Expires)
		}
		if wanted := form.Get("scope"); wanted != "" && a.Scope != wanted {
			t.Errorf("%s: scope %q", name, a.Scope)
		}
		for _, h := range []core.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "Cache-Control", Value: "no-store"}} {
			if got := headerOf(d, h.Name); got != h.Value {
				t.Errorf("%s: %s: %s", name, h.Name, got)
			}
		}
		granted := x.ask(a.AccessToken)
		if granted.Outcome != core.Allow || granted.Principal.Subject != "user-1" || granted.Principal.Issuer != x.issuer.URL {
			t.Errorf("%s: its token: %d, %v", name, granted.Status, granted.Cause)
		}
	}
	d := x.ask(must(x.exchange(formOf("id_token", x.idToken(nil)))).AccessToken)
	p := d.Principal
	if p.AAL != "aal2" || fmt.Sprint(p.Roles) != "[clerk]" || p.ClientID != "app" || p.AuthenticatedAt.IsZero() || p.SessionID == "session-at-op" || p.Claims["idp_sid"] != "session-at-op" {
		t.Errorf("%+v", p)
	}
}

func must(a answered, _ core.Decision) answered { return a }

// Any app of the same provider has ID tokens of its users, and so has whoever runs it.
func TestTokenOfAnotherAppOfTheSameProviderIsNotExchanged(t *testing.T) {
	x := newExchanging(t, "", "")
	x.opaque.Know("another-app", coretest.Merged(x.issuer.Claims(nil), map[string]any{"active": true, "client_id": "another"}))
	x.opaque.Know("no-app", coretest.Merged(x.issuer.Claims(nil), map[string]any{"active": true, "client_id": nil}))
	for name, form := range map[string]url.Values{
		"ID token":                        formOf("id_token", x.idToken(map[string]any{"aud": "another"})),
		"ID token, list":                  formOf("id_token", x.idToken(map[string]any{"aud": []string{"another"}})),
		"for both":                        formOf("id_token", x.idToken(map[string]any{"aud": []string{"app", "another"}, "azp": "app"})),
		"issued to another":               formOf("id_token", x.idToken(map[string]any{"azp": "another"})),
		"for no app":                      formOf("id_token", x.idToken(map[string]any{"aud": nil})),
		"for an empty list":               formOf("id_token", x.idToken(map[string]any{"aud": []string{}, "azp": "app"})),
		"for two, issued to nobody":       formOf("id_token", x.idToken(map[string]any{"aud": []string{"app", "tablet"}})),
		"name in another case":            formOf("id_token", x.idToken(map[string]any{"aud": "APP"})),
		"names in one text":               formOf("id_token", x.idToken(map[string]any{"aud": "app tablet"})),
		"audience of access tokens":       formOf("id_token", x.idToken(map[string]any{"aud": coretest.Audience})),
		"aud of another shape":            formOf("id_token", x.idToken(map[string]any{"aud": map[string]any{"app": true}})),
		"azp of another shape":            formOf("id_token", x.idToken(map[string]any{"azp": []string{"app"}})),
		"access token":                    formOf("jwt", x.issuer.Token(map[string]any{"client_id": "another"})),
		"access token, azp":               formOf("jwt", x.issuer.Token(map[string]any{"client_id": nil, "azp": "another"})),
		"access token, client_id and azp": formOf("jwt", x.issuer.Token(map[string]any{"client_id": "another", "azp": "app"})),
		"access token of nobody":          formOf("jwt", x.issuer.Token(map[string]any{"client_id": nil})),
		"access token for another":        formOf("jwt", x.issuer.Token(map[string]any{"client_id": "app", "aud": "https://other.test"})),
		"access token of the app itself":  formOf("jwt", x.issuer.Token(map[string]any{"client_id": "app", "sub": "app"})),
		"opaque":                          formOf("access_token", "another-app"),
		"opaque, of nobody":               formOf("access_token", "no-app"),
		"said to be of another":           formOf("id_token", x.idToken(nil), "client_id", "tablet"),
	} {
		x.refuses(name, form)
	}
}

func (x *exchanging) refuses(name string, form url.Values) {
	x.t.Helper()
	if a, d := x.exchange(form); d.Status != 400 || a.Error != "invalid_request" || a.AccessToken != "" {
		x.t.Errorf("%s: %d, %s", name, d.Status, d.Body)
	}
}

func TestHostileTokensAreNotExchanged(t *testing.T) {
	x := newExchanging(t, "", "")
	other := coretest.NewIssuer(t, x.clock)
	id := x.idToken(nil)
	part := strings.Split(id, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	gate := must(x.exchange(formOf("id_token", id))).AccessToken
	another := newExchanging(t, "", "")
	ofAnother := must(another.exchange(formOf("id_token", another.idToken(nil)))).AccessToken
	app := map[string]any{"client_id": "app"}
	for name, form := range map[string]url.Values{
		"access token as an ID token":              formOf("id_token", x.issuer.Token(app)),
		"access token for the app as an ID token":  formOf("id_token", x.issuer.Token(map[string]any{"aud": "app", "client_id": "app"})),
		"access token without client_id":           formOf("id_token", x.issuer.Token(map[string]any{"aud": "app", "client_id": nil})),
		"access token without a scope":             formOf("id_token", x.issuer.Token(map[string]any{"aud": "app", "scope": nil})),
		"access token by its typ":                  formOf("id_token", x.issuer.Key.Sign(t, map[string]any{"typ": "at+jwt"}, coretest.JSON(t, x.idClaims(nil)))),
		"access token by its use":                  formOf("id_token", x.idToken(map[string]any{"token_use": "access"})),
		"logout token":                             formOf("id_token", x.idToken(map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}})),
		"logout token by its typ":                  formOf("id_token", x.issuer.Key.Sign(t, map[string]any{"typ": "logout+jwt"}, coretest.JSON(t, x.idClaims(nil)))),
		"refresh token":                            formOf("id_token", x.idToken(map[string]any{"typ": "Refresh"})),
		"token bound to a key":                     formOf("id_token", x.idToken(map[string]any{"cnf": map[string]any{"jkt": "x"}})),
		"ID token as an access token":              formOf("jwt", id),
		"ID token as an access token, for the API": formOf("jwt", x.idToken(map[string]any{"aud": coretest.Audience, "azp": "app"})),
		"ID token as an opaque token":              formOf("access_token", id),
		"alg none":                                 formOf("id_token", none+"."+part[1]+"."),
		"alg none with a signature":                formOf("id_token", none+"."+part[1]+"."+part[2]),
		"changed":                                  formOf("id_token", part[0]+"."+base64.RawURLEncoding.EncodeToString([]byte(coretest.JSON(t, x.idClaims(map[string]any{"sub": "admin"}))))+"."+part[2]),
		"of an issuer that is not configured":      formOf("id_token", other.Key.Sign(t, nil, coretest.JSON(t, coretest.Merged(x.idClaims(nil), map[string]any{"iss": other.URL})))),
		"by another key":                           formOf("id_token", coretest.NewKey(t, "two", "RS256").Sign(t, map[string]any{"kid": "one"}, coretest.JSON(t, x.idClaims(nil)))),
		"expired":                                  formOf("id_token", x.idToken(map[string]any{"exp": x.clock.Now().Unix()})),
		"without an end":                           formOf("id_token", x.idToken(map[string]any{"exp": nil})),
		"without a date":                           formOf("id_token", x.idToken(map[string]any{"iat": nil})),
		"of tomorrow":                              formOf("id_token", x.idToken(map[string]any{"iat": x.clock.Now().Add(time.Hour).Unix()})),
		"of nobody":                                formOf("id_token", x.idToken(map[string]any{"sub": nil})),
		"issuer with a slash":                      formOf("id_token", x.idToken(map[string]any{"iss": x.issuer.URL + "/"})),
		"token of the gate":                        formOf("access_token", gate),
		"token of the gate as a JWT":               formOf("jwt", gate),
		"token of the gate as an ID token":         formOf("id_token", gate),
		"token of another gate":                    formOf("access_token", ofAnother),
		"opaque token that is unknown":             formOf("access_token", "unknown"),
		"opaque token as an ID token":              formOf("id_token", "unknown"),
		"text":                                     formOf("jwt", "a.b.c"),
		"two tokens":                               formOf("id_token", id+" "+id),
		"longer than a credential":                 formOf("id_token", strings.Repeat("a", core.MaxCredential+1)),
	} {
		x.refuses(name, form)
	}
}

func TestMalformedRequestsForAnExchange(t *testing.T) {
	x := newExchanging(t, "", "")
	id := x.idToken(nil)
	good := formOf("id_token", id)
	with := func(name string, values ...string) url.Values {
		form := maps.Clone(good)
		form[name] = values
		return form
	}
	for name, c := range map[string]struct {
		form url.Values
		want string
	}{
		"no grant":               {with("grant_type"), "invalid_request"},
		"another grant":          {with("grant_type", "client_credentials"), "unsupported_grant_type"},
		"grant of refresh":       {with("grant_type", "refresh_token"), "unsupported_grant_type"},
		"two grants":             {with("grant_type", good.Get("grant_type"), good.Get("grant_type")), "invalid_request"},
		"no token":               {with("subject_token"), "invalid_request"},
		"two tokens":             {with("subject_token", id, id), "invalid_request"},
		"an empty second token":  {with("subject_token", id, ""), "invalid_request"},
		"no type":                {with("subject_token_type"), "invalid_request"},
		"short type":             {with("subject_token_type", "id_token"), "invalid_request"},
		"type of refresh tokens": {with("subject_token_type", tokenType+"refresh_token"), "invalid_request"},
		"SAML":                   {with("subject_token_type", tokenType+"saml2"), "invalid_request"},
		"an ID token is wanted":  {with("requested_token_type", tokenType+"id_token"), "invalid_request"},
		"a refresh token":        {with("requested_token_type", tokenType+"refresh_token"), "invalid_request"},
		"actor":                  {with("actor_token", id), "invalid_request"},
		"type of an actor":       {with("actor_token_type", tokenType+"jwt"), "invalid_request"},
		"another audience":       {with("audience", "orders"), "invalid_target"},
		"two audiences":          {with("audience", gateAudience, "orders"), "invalid_target"},
		"another resource":       {with("resource", "https://other.test"), "invalid_target"},
		"no URL":                 {with("resource", "gate"), "invalid_target"},
		"fragment":               {with("resource", gateAudience+"#a"), "invalid_target"},
		"many":                   {with("resource", make17(gateAudience)...), "invalid_target"},
		"scope":                  {with("scope", "admin"), "invalid_scope"},
		"malformed scope":        {with("scope", "a  b"), "invalid_scope"},
		"secret":                 {with("client_secret", "s"), "invalid_client"},
		"assertion":              {with("client_assertion", id), "invalid_client"},
		"repeated, not known":    {with("x", "1", "2"), "invalid_request"},
		"not UTF-8":              {with("x", "\xff"), "invalid_request"},
	} {
		a, d := x.exchange(c.form)
		status := 400
		if c.want == "invalid_client" {
			status = 401
		}
		if d.Status != status || a.Error != c.want || headerOf(d, "Cache-Control") != "no-store" {
			t.Errorf("%s: %d, %s", name, d.Status, d.Body)
		}
	}
	typed := func(value string) core.Header { return core.Header{Name: "Content-Type", Value: value} }
	const urlencoded = "application/x-www-form-urlencoded"
	for name, d := range map[string]core.Decision{
		"JSON":              x.post(coretest.JSON(t, map[string]string{"grant_type": good.Get("grant_type"), "subject_token": id}), typed("application/json")),
		"form as JSON":      x.post(good.Encode(), typed("application/json")),
		"no type":           x.post(good.Encode(), core.Header{Name: "Accept", Value: "*/*"}),
		"two types":         x.post(good.Encode(), typed(urlencoded), typed(urlencoded)),
		"multipart":         x.post(good.Encode(), typed("multipart/form-data; boundary=a")),
		"compressed":        x.post(good.Encode(), typed(urlencoded), core.Header{Name: "Content-Encoding", Value: "gzip"}),
		"no form":           x.post("%zz", typed(urlencoded)),
		"semicolons":        x.post(strings.ReplaceAll(good.Encode(), "&", ";"), typed(urlencoded)),
		"password of Basic": x.post(good.Encode(), typed(urlencoded), core.Header{Name: "Authorization", Value: "Basic YXBwOnM="}),
	} {
		if (d.Status != 400 && d.Status != 401) || strings.Contains(string(d.Body), "access_token\":") {
			t.Errorf("%s: %d, %s", name, d.Status, d.Body)
		}
	}
	if d := x.post(good.Encode(), typed(urlencoded+"; charset=UTF-8")); d.Status != 200 {
		t.Errorf("with a charset: %d, %s", d.Status, d.Body)
	}
	if d := x.post(strings.Repeat("a", 64<<10)); d.Status != 413 {
		t.Errorf("64 KiB: %d", d.Status)
	}
	for _, method := range []string{"GET", "PUT", "HEAD", "DELETE", "OPTIONS"} {
		d := x.gate.Check(t.Context(), &core.Request{Method: method, Target: "/oauth2/token?" + good.Encode()})
		if d.Status != 405 || headerOf(d, "Allow") != "POST" {
			t.Errorf("%s: %d", method, d.Status)
		}
	}
	if d := x.gate.Check(t.Context(), &core.Request{Method: "POST", Target: "/oauth2/token?" + good.Encode(), Header: []core.Header{typed(urlencoded)}, AskBody: func(int) ([]byte, error) { return nil, nil }}); d.Status != 400 {
		t.Errorf("a token in the address: %d", d.Status)
	}
}

func make17(text string) []string {
	return strings.Split(strings.Repeat(text+" ", 16)+text, " ")
}

func TestProviderThatIsDownIsAnOutageOfTheExchange(t *testing.T) {
	x := newExchanging(t, "", "")
	if d := x.post(formOf("id_token", x.idToken(nil)).Encode()); d.Status != 200 { // the gate has the keys, and fetches none any more
		t.Fatalf("%d, %v", d.Status, d.Cause)
	}
	x.issuer.Fail(500, "")
	x.opaque.Fail(500, "")
	x.clock.Advance(time.Hour) // the keys that the gate has are too old
	for name, form := range map[string]url.Values{"ID token": formOf("id_token", x.idToken(nil)), "opaque": formOf("access_token", "opaque")} {
		d := x.post(form.Encode())
		if d.Status != 503 || headerOf(d, "Retry-After") == "" {
			t.Errorf("%s: %d, %v", name, d.Status, d.Cause)
		}
	}
}

func TestFailedExchangesAreLimited(t *testing.T) {
	x := newExchanging(t, "", "failed_attempts: {count: 5}\n")
	for i := range 5 {
		x.refuses(fmt.Sprint(i), formOf("id_token", x.idToken(map[string]any{"aud": "another", "jti": i})))
	}
	d := x.post(formOf("id_token", x.idToken(nil)).Encode())
	if d.Status != http.StatusTooManyRequests || headerOf(d, "Retry-After") == "" {
		t.Errorf("%d, %s", d.Status, d.Body)
	}
	if d := x.ask("guess"); d.Status == 200 || d.Outcome == core.Allow {
		t.Errorf("%v", d.Outcome)
	}
}

func TestRevokedSubjectExchangesNothing(t *testing.T) {
	x := newExchanging(t, ", renewable_for: 7200", "revocation: {}\nstate_dir: "+filepath.Join(t.TempDir(), "state")+"\n")
	id := x.idToken(nil)
	token := must(x.exchange(formOf("id_token", id))).AccessToken
	if token == "" {
		t.Fatal("no token")
	}
	if err := x.builder.Revoke(t.Context(), revocation.Event{Kind: revocation.Session, Value: "session-at-op", Issuer: x.issuer.URL}); err != nil {
		t.Fatal(err)
	}
	x.refuses("ID token of a session that has ended at the provider", formOf("id_token", id))
	x.refuses("token of the gate of that session", formOf("access_token", token))
	if d := x.ask(token); d.Status != 401 {
		t.Errorf("the token passes: %d", d.Status)
	}
	if err := x.builder.Revoke(t.Context(), revocation.Event{Kind: revocation.Subject, Value: "user-1", Issuer: x.issuer.URL}); err != nil {
		t.Fatal(err)
	}
	x.refuses("another session", formOf("id_token", x.idToken(map[string]any{"sid": "s2"})))
}

func TestReplayOfASubjectTokenIsBoundedByItsAge(t *testing.T) {
	x := newExchanging(t, ", max_token_age: 60", "")
	id := x.idToken(nil)
	for range 2 {
		if a, d := x.exchange(formOf("id_token", id)); a.AccessToken == "" {
			t.Errorf("%d, %s", d.Status, d.Body)
		}
	}
	x.clock.Advance(61 * time.Second)
	x.refuses("old", formOf("id_token", id))
}

func TestTokenOfTheGateIsRenewedUntilItsSignInIsOld(t *testing.T) {
	x := newExchanging(t, ", renewable_for: 7200", "")
	first := must(x.exchange(formOf("id_token", x.idToken(nil)))).AccessToken
	session := x.ask(first).Principal.SessionID
	x.clock.Advance(30 * time.Minute)
	second, d := x.exchange(formOf("access_token", first))
	if second.AccessToken == "" || second.Expires != 3600 {
		t.Fatalf("%d, %s", d.Status, d.Body)
	}
	if p := x.ask(second.AccessToken).Principal; p == nil || p.SessionID != session || p.Claims["idp_sid"] != "session-at-op" || p.AAL != "aal2" {
		t.Errorf("%+v", p)
	}
	x.clock.Advance(45 * time.Minute)
	third, d := x.exchange(formOf("jwt", second.AccessToken))
	if third.Expires != 2700 { // 120 minutes after the sign-in
		t.Errorf("%d, %s", d.Status, d.Body)
	}
	x.clock.Advance(44 * time.Minute)
	fourth := must(x.exchange(formOf("access_token", third.AccessToken)))
	if fourth.Expires != 60 {
		t.Errorf("expires_in %d", fourth.Expires)
	}
	x.clock.Advance(time.Minute)
	x.refuses("at the end", formOf("access_token", fourth.AccessToken))
}

func TestScriptsOfOtherOriginsExchangeWhereCORSSaysSo(t *testing.T) {
	preflight := func(x *exchanging, origin string) core.Decision {
		return x.gate.Check(t.Context(), &core.Request{Method: "OPTIONS", Target: "/oauth2/token", Header: []core.Header{
			{Name: "Origin", Value: origin}, {Name: "Access-Control-Request-Method", Value: "POST"}, {Name: "Access-Control-Request-Headers", Value: "content-type"},
		}})
	}
	closed, open := newExchanging(t, "", ""), newExchanging(t, "", "cors: {origins: ['https://app.test']}\n")
	if d := preflight(closed, "https://app.test"); d.Status != 405 || headerOf(d, "Access-Control-Allow-Origin") != "" {
		t.Errorf("without cors: %d, %v", d.Status, d.Header)
	}
	if d := preflight(open, "https://evil.test"); d.Status/100 == 2 || headerOf(d, "Access-Control-Allow-Origin") != "" {
		t.Errorf("of another origin: %d, %v", d.Status, d.Header)
	}
	d := preflight(open, "https://app.test")
	if d.Status != 204 || headerOf(d, "Access-Control-Allow-Origin") != "https://app.test" || headerOf(d, "Access-Control-Allow-Methods") != "POST" {
		t.Errorf("%d, %v", d.Status, d.Header)
	}
	d = open.post(formOf("id_token", open.idToken(nil)).Encode(), core.Header{Name: "Content-Type", Value: "application/x-www-form-urlencoded"}, core.Header{Name: "Origin", Value: "https://app.test"})
	if d.Status != 200 || headerOf(d, "Access-Control-Allow-Origin") != "https://app.test" {
		t.Errorf("%d, %v", d.Status, d.Header)
	}
}

func TestSettingsOfAnExchangeThatCannotServe(t *testing.T) {
	const issuers = "issuers: [{issuer: 'https://op.test', clients: [app]}]"
	for settings, want := range map[string]string{
		"{}":                           "exchange.path: is required",
		"{path: /t}":                   "exchange.issuers: is needed, or introspection_clients",
		"{path: t, " + issuers + "}":   "exchange.path: must be a path",
		"{path: /t/, " + issuers + "}": "exchange.path: must be a path",
		"{path: /.well-known/jwks.json, " + issuers + "}":                                                             "exchange.path: is jwks_path",
		"{path: /t, issuers: [{issuer: 'https://op.test'}]}":                                                          "exchange.issuers[0].clients: is required",
		"{path: /t, issuers: [{issuer: 'https://op.test', clients: ['']}]}":                                           "exchange.issuers[0].clients[0]: is empty",
		"{path: /t, issuers: [{issuer: 'https://op.test', clients: [a]}, {issuer: 'https://op.test', clients: [b]}]}": "exchange.issuers[1].issuer: is already configured",
		"{path: /t, issuers: [{issuer: 'https://gate.test/gatehouse', clients: [a]}]}":                                "exchange.issuers[0].issuer: is the gate itself",
		"{path: /t, issuers: [{issuer: op, clients: [a]}]}":                                                           "exchange.issuers[0].issuer: must be a complete http or https URL",
		"{path: /t, issuers: [{issuer: 'https://op.test', clients: [a], audience: [b]}]}":                             "exchange.issuers[0].audience: is for access tokens",
		"{path: /t, issuers: [{issuer: 'https://op.test', clients: [a], subject_token_types: [saml]}]}":               "subject_token_types[0]",
		"{path: /t, introspection_clients: [a]}":                                                                      "exchange.introspection_clients: needs the section introspection",
		"{path: /t, renewable_for: 60, " + issuers + "}":                                                              "exchange.renewable_for: is less than gateway_token.ttl",
	} {
		_, err := NewBuilder(BuilderOptions{}).Gate([]byte("permission_table: 'public: [GET /]'\n" + gatewayToken("/k", ", exchange: "+settings)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", settings, err, want)
		}
	}
}

// The users service of a team says who somebody is to it, also to apps.
func TestUsersServiceCompletesWhomAnAppExchangesATokenOf(t *testing.T) {
	var answer string
	status := http.StatusOK
	service := coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := "application/json"
		if status == http.StatusForbidden {
			kind = "application/problem+json"
		}
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	}))
	x := newExchanging(t, fmt.Sprintf(", enrich: {url: %q, bearer_token: hunter2, cache_ttl: 0}", service.URL), "revocation: {}\nstate_dir: "+filepath.Join(t.TempDir(), "state")+"\n")
	answer = `{"subject": "u-7", "roles": ["editor"], "permissions": ["orders.read"]}`
	token := must(x.exchange(formOf("id_token", x.idToken(nil)))).AccessToken
	p := x.ask(token).Principal
	if p == nil || p.Subject != "u-7" || p.Issuer != service.URL || fmt.Sprint(p.Roles, p.Permissions) != "[editor] [orders.read]" {
		t.Fatalf("%+v", p)
	}
	if err := x.builder.Revoke(t.Context(), revocation.Event{Kind: revocation.Subject, Value: "user-1", Issuer: x.issuer.URL}); err != nil {
		t.Fatal(err)
	}
	if d := x.ask(token); d.Status != 401 {
		t.Errorf("the subject of the provider is revoked, and the token passes: %d", d.Status)
	}
	other := map[string]any{"sub": "user-2", "sid": "s2"}
	if err := x.builder.Revoke(t.Context(), revocation.Event{Kind: revocation.Subject, Value: "u-8", Issuer: service.URL}); err != nil {
		t.Fatal(err)
	}
	answer = `{"subject": "u-8"}`
	x.refuses("whom the team has revoked", formOf("id_token", x.idToken(other)))
	status, answer = http.StatusForbidden, `{"detail": "left the company"}`
	if a, d := x.exchange(formOf("id_token", x.idToken(other))); d.Status != 400 || a.Error != "access_denied" || strings.Contains(string(d.Body), "company") {
		t.Errorf("whom the team refuses: %d, %s", d.Status, d.Body)
	}
	status = http.StatusInternalServerError
	if d := x.post(formOf("id_token", x.idToken(other)).Encode()); d.Status != 503 || headerOf(d, "Retry-After") == "" {
		t.Errorf("the service is down: %d", d.Status)
	}
}

func TestMetadataNameTheEndpointOfTheExchange(t *testing.T) {
	x := newExchanging(t, "", "")
	d := x.gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/gatehouse/.well-known/openid-configuration"})
	if !strings.Contains(string(d.Body), `"token_endpoint":"https://gate.test/oauth2/token"`) || !strings.Contains(string(d.Body), "grant-type:token-exchange") {
		t.Errorf("%s", d.Body)
	}
	if c, err := Load([]byte(x.config("", ""))); err != nil || !strings.Contains(fmt.Sprint(c.OwnPaths()), "/oauth2/token") {
		t.Errorf("%v, %v", c.OwnPaths(), err)
	}
}
