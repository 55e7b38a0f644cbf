package config

import (
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation"
	"gatehouse/core/signin/session"
)

const (
	signInSecret  = "0123456789abcdef0123456789abcdef"
	signInSection = `login: {oidc: {providers: [{discovery: "https://op.test/.well-known/openid-configuration", client_id: gate}], redirect_uri: "https://app.test/oauth2/callback", session: {secret: [` + signInSecret + `]}}}`
)

// signedIn is the cookie of a browser that has signed in.
func signedIn(t testing.TB, clock *coretest.Clock, issuer, subject string) core.Header {
	t.Helper()
	store, err := session.NewSealed(session.Cookie{Name: "__Host-gatehouse"}, session.Life{Idle: time.Hour, Absolute: 24 * time.Hour, Now: clock.Now}, signInSecret)
	if err != nil {
		t.Fatal(err)
	}
	s := &session.Session{ID: "session-1", Provider: "default", Issuer: issuer, Subject: subject, ProviderSession: "op-session-1", Claims: map[string]any{"roles": []any{"reader"}}}
	lines, err := store.Save(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, _, _ := strings.Cut(lines[0].Value, ";")
	return core.Header{Name: "Cookie", Value: pair}
}

func signInGate(t testing.TB, clock *coretest.Clock, settings string) (*Builder, *core.Gate) {
	t.Helper()
	builder := NewBuilder(BuilderOptions{Now: clock.Now})
	gate, err := builder.Gate([]byte(signInSection + "\n" + settings + "\npermission_table: '{authenticated: [\"GET,POST /orders\"]}'\n"))
	if err != nil {
		t.Fatal(err)
	}
	return builder, gate
}

func TestBrowserThatSignedInIsKnownAndAnotherIsLedToTheSignIn(t *testing.T) {
	clock := coretest.NewClock()
	_, gate := signInGate(t, clock, "")
	page := core.Header{Name: "Accept", Value: "text/html"}
	ask := func(headers ...core.Header) core.Decision {
		return gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/orders?a=1", Host: "app.test", Header: headers})
	}
	for range 2 {
		d := ask(signedIn(t, clock, "https://op.test", "alice"), page)
		if d.Outcome != core.Allow || d.Principal.Kind != core.KindOIDC || d.Principal.Subject != "alice" {
			t.Fatalf("%+v", d.Cause)
		}
	}
	d := ask(page)
	location := ""
	for _, h := range d.Header {
		if h.Name == "Location" {
			location = h.Value
		}
	}
	if d.Status != 302 || location != "https://app.test/signin?return_to=https%3A%2F%2Fapp.test%2Forders%3Fa%3D1" {
		t.Errorf("%d %s", d.Status, location)
	}
	if d := ask(); d.Status != 401 {
		t.Errorf("a program gets %d", d.Status)
	}
	r := &core.Request{Method: "POST", Target: "/orders", Host: "app.test", Header: []core.Header{signedIn(t, clock, "https://op.test", "alice"), {Name: "Sec-Fetch-Site", Value: "cross-site"}}}
	if d := gate.Check(t.Context(), r); d.Status != 403 {
		t.Errorf("a form of another site gets %d", d.Status)
	}
}

// The provider names its session by sid, the gate its own by an id; the end of either
// ends the session at every cache.
func TestSessionThatWasEndedPassesNowhere(t *testing.T) {
	for name, e := range map[string]revocation.Event{
		"the session of the gate":     {Kind: revocation.Session, Value: "session-1"},
		"the session of the provider": {Kind: revocation.Session, Value: "op-session-1", Issuer: "https://op.test"},
		"the subject":                 {Kind: revocation.Subject, Value: "alice", Issuer: "https://op.test"},
	} {
		clock := coretest.NewClock()
		builder, gate := signInGate(t, clock, "revocation: {}\nstate_dir: "+t.TempDir())
		cookie := signedIn(t, clock, "https://op.test", "alice")
		ask := func() core.Decision {
			return gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{cookie}})
		}
		if d := ask(); d.Outcome != core.Allow {
			t.Fatalf("%s: %v", name, d.Cause)
		}
		other := e
		other.Value, other.Issuer = e.Value, "https://other.test"
		if err := builder.Revoke(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		if d := ask(); e.Issuer != "" && d.Outcome != core.Allow {
			t.Errorf("%s: one of another issuer: %v", name, d.Cause)
		}
		if err := builder.Revoke(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if d := ask(); d.Status != 401 {
			t.Errorf("%s: %d, %v", name, d.Status, d.Cause)
		}
	}
}

func TestSessionsThatCannotWorkAreRefusedAtLoad(t *testing.T) {
	const redis = "redis: {host: r.test, secret: 0123456789abcdef0123456789abcdef}\n"
	for settings, want := range map[string]string{
		"session: {secret: [short]}":                                                          "login.oidc.session.secret[0]: has 5 bytes",
		"session: {secret: [" + signInSecret + "], storage: redis}":                           "there is no section redis",
		"session: {secret: [" + signInSecret + "], idling_timeout: 86401}":                    "idling_timeout: is longer than absolute_timeout",
		"session: {secret: [" + signInSecret + "], cookie: {domain: com}}":                    "is no parent domain",
		"session: {secret: [" + signInSecret + "], cookie: {name: __Host-a, domain: a.test}}": "__Host- has no domain",
		"session: {secret: [" + signInSecret + "], cookie: {same_site: None, secure: false}}": "SameSite=None",
		"return_origins: [\"*\"], session: {secret: [" + signInSecret + "]}":                  "return_origins[0]",
		"session: {secret: []}": "secret",
	} {
		_, err := Load([]byte(`login: {oidc: {providers: [{discovery: "https://op.test/.well-known/openid-configuration", client_id: gate}], redirect_uri: "https://app.test/cb", ` + settings + "}}\npermission_table: '{}'\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", settings, err, want)
		}
	}
	several := signInSection + "\n" + redis + "permission_table: '{}'\n"
	if _, err := Load([]byte(several)); err == nil || !strings.Contains(err.Error(), "two of them would use one refresh token") {
		t.Errorf("cookies on several nodes with refresh tokens: %v", err)
	}
	for _, good := range []string{
		strings.Replace(several, "session: {", "renew_access_token_on_expiry: false, session: {", 1),
		strings.Replace(several, "session: {", "session: {storage: redis, ", 1),
	} {
		if _, err := Load([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	if _, err := Load([]byte("login: {}\nsession: {kratos_url: \"http://k.test\"}\npermission_table: '{}'\n")); err == nil || !strings.Contains(err.Error(), "login.url: is needed, or login.oidc") {
		t.Errorf("a login that leads nowhere: %v", err)
	}
}

func TestLogoutThatCouldEndNothingIsRefusedAtLoad(t *testing.T) {
	const kratos = "session: {kratos_url: \"http://k.test\"}\n"
	for settings, want := range map[string]string{
		kratos + `login: {url: "https://login.test/", logout_path: /logout}`:                                                     "",
		kratos + `login: {url: "https://login.test/", logout_path: logout}`:                                                      "login.logout_path: is no path",
		kratos + `login: {url: "https://login.test/", post_logout_redirect_uri: "https://app.test/"}`:                            "login.post_logout_redirect_uri: goes with login.logout_path",
		`jwt: {issuers: [{issuer: "https://i.test", audience: [a]}]}` + "\nlogin: {url: \"https://l.test/\", logout_path: /bye}": "login.logout_path: ends sessions of Ory Kratos, and there is no section session",
		kratos + strings.Replace(signInSection, "oidc:", "logout_path: /logout, oidc:", 1):                                       "login.logout_path: cannot be set beside login.oidc",
	} {
		_, err := Load([]byte(settings + "\npermission_table: '{}'\n"))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", settings, err, want)
		}
	}
}

// BenchmarkSessionBesideJWT compares two warm decisions in one run.
func BenchmarkSessionBesideJWT(b *testing.B) {
	clock := coretest.NewClock()
	issuer := coretest.NewIssuer(b, clock)
	_, gate := signInGate(b, clock, "jwt: {issuers: [{issuer: \""+issuer.URL+"\", audience: [\""+coretest.Audience+"\"]}]}")
	for name, header := range map[string]core.Header{
		"JWT":     {Name: "Authorization", Value: "Bearer " + issuer.Token(nil)},
		"session": signedIn(b, clock, "https://op.test", "alice"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := core.Request{Method: "GET", Target: "/orders", Host: "app.test", Header: []core.Header{header}}
				if d := gate.Check(b.Context(), &r); d.Outcome != core.Allow {
					b.Fatal(d.Cause)
				}
			}
		})
	}
}
