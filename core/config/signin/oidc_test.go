package signin_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/config/section"
	"gatehouse/core/config/signin"
	"gatehouse/core/coretest"
	"gatehouse/core/extract"
	"gatehouse/core/identity"
	"gatehouse/core/setting"
)

const origin = "https://app.example.test"

// protected is a policy that protects everything.
type protected struct{}

func (protected) Match(context.Context, *core.Call) core.Access             { return protected{} }
func (protected) Permissions(*core.Principal) []string                      { return nil }
func (protected) Public() bool                                              { return false }
func (protected) Anonymous() bool                                           { return false }
func (protected) Rule() string                                              { return "everything" }
func (protected) Refusal() error                                            { return nil }
func (protected) CheckBody(*core.Call, int) error                           { return nil }
func (protected) Scopes(*core.Call, *core.Principal) []string               { return nil }
func (protected) Allows(context.Context, *core.Call, *core.Principal) error { return nil }
func (protected) AllowsAnonymous(context.Context, *core.Call, error) error  { return core.ErrMissing }

// browser keeps cookies.
type browser struct {
	t       *testing.T
	gate    *core.Gate
	cookies map[string]string
}

func (b *browser) send(method, target, body string, header ...core.Header) core.Decision {
	b.t.Helper()
	r := &core.Request{Method: method, Target: strings.TrimPrefix(target, origin), Host: "app.example.test", Header: header, AskBody: func(int) ([]byte, error) { return []byte(body), nil }}
	var cookies []string
	for name, value := range b.cookies {
		cookies = append(cookies, name+"="+value)
	}
	if len(cookies) > 0 {
		r.Header = append(r.Header, core.Header{Name: "Cookie", Value: strings.Join(cookies, "; ")})
	}
	d := b.gate.Check(b.t.Context(), r)
	for _, h := range slices.Concat(d.Header, d.ResponseHeader) {
		if name, rest, ok := strings.Cut(h.Value, "="); ok && h.Name == "Set-Cookie" {
			value, attributes, _ := strings.Cut(rest, ";")
			if b.cookies[name] = value; value == "" || strings.Contains(attributes, "Max-Age=0") {
				delete(b.cookies, name)
			}
		}
	}
	return d
}

func (b *browser) open(target string) (core.Decision, string) {
	b.t.Helper()
	d := b.send("GET", target, "", core.Header{Name: "Accept", Value: "text/html"})
	for _, h := range d.Header {
		if h.Name == "Location" {
			return d, h.Value
		}
	}
	return d, ""
}

func (b *browser) signIn() {
	b.t.Helper()
	_, start := b.open("/orders")
	_, address := b.open(start)
	stay := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := stay.Get(address)
	if err != nil {
		b.t.Fatalf("start %q, provider %q: %v", start, address, err)
	}
	response.Body.Close()
	if d, to := b.open(response.Header.Get("Location")); to != origin+"/orders" {
		b.t.Fatalf("%d to %q: %v", d.Status, to, d.Cause)
	}
}

func gate(t *testing.T, clock *coretest.Clock, settings string) *core.Gate {
	t.Helper()
	l := &signin.Login{}
	if problems := setting.Decode([]byte(settings), l); len(problems) > 0 {
		t.Fatal(problems)
	}
	b := section.NewBuilder(section.Options{Log: slog.New(slog.DiscardHandler), Calls: func(string, time.Duration, error) {}, Now: clock.Now})
	part, err := l.OIDC.Build(b, section.Caching{Cache: section.Cache{MaxEntries: 100, MaxBytes: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	built, err := l.Build(part, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	route := part.Route
	route.By = part
	router, err := authn.New(route)
	if err != nil {
		t.Fatal(err)
	}
	extractor, err := extract.New(l.OIDC.Places()...)
	if err != nil {
		t.Fatal(err)
	}
	headers, err := identity.New(identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := core.New(core.Options{
		Endpoints: built.Endpoints, Extractor: extractor, Authenticator: built.Attend(router), Policy: protected{}, Identity: headers,
		Realm: "test", Login: built.Login, Now: clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func settings(t *testing.T, fake *coretest.FakeProvider, more map[string]any) string {
	return coretest.JSON(t, map[string]any{"oidc": coretest.Merged(map[string]any{
		"providers":    []any{map[string]any{"discovery": fake.DiscoveryURL(), "client_id": "web", "client_secret": "hunter2"}},
		"redirect_uri": origin + "/callback", "back_channel_logout_path": "/backchannel",
		"session": map[string]any{"secret": []string{"0123456789abcdef0123456789abcdef"}},
	}, more)})
}

func TestConfiguredSignInEndToEnd(t *testing.T) {
	clock := coretest.NewClock()
	fake := coretest.NewFakeProvider(t, clock)
	b := &browser{t, gate(t, clock, settings(t, fake, nil)), map[string]string{}}
	b.signIn()
	d, _ := b.open("/orders")
	if d.Outcome != core.Allow || d.Principal.Subject != "user-1" || d.Principal.Kind != core.KindOIDC {
		t.Fatalf("%+v", d)
	}
	stolen := map[string]string{}
	for name, value := range b.cookies {
		stolen[name] = value
	}
	if d, to := b.open("/logout"); d.Status != 303 || !strings.HasPrefix(to, fake.URL+coretest.EndSessionPath) || !strings.Contains(to, "id_token_hint=") {
		t.Errorf("%d to %q: %v", d.Status, to, d.Cause)
	}
	b.cookies = stolen
	if d, _ := b.open("/orders"); d.Outcome == core.Allow {
		t.Error("a copy of the cookie counts after the logout")
	}
}

// The logout token names the session as the provider does, by sid.
func TestBackChannelLogoutEndsTheSessionOfTheProvider(t *testing.T) {
	for name, c := range map[string]struct {
		more map[string]any
		exp  bool
		want int
	}{
		"with exp":                       {nil, true, 200},
		"without exp":                    {nil, false, 400},
		"without exp, allow_missing_exp": {map[string]any{"allow_missing_exp": true}, false, 200},
	} {
		clock := coretest.NewClock()
		fake := coretest.NewFakeProvider(t, clock)
		b := &browser{t, gate(t, clock, settings(t, fake, c.more)), map[string]string{}}
		b.signIn()
		set := map[string]any{"iss": fake.URL, "aud": "web", "iat": clock.Now().Unix(), "jti": "1", "sid": "session-1", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}
		if c.exp {
			set["exp"] = clock.Now().Unix() + 60
		}
		token := fake.Key.Sign(t, map[string]any{"typ": "logout+jwt"}, coretest.JSON(t, set))
		d := (&browser{t, b.gate, map[string]string{}}).send("POST", "/backchannel", url.Values{"logout_token": {token}}.Encode(), core.Header{Name: "Content-Type", Value: "application/x-www-form-urlencoded"})
		if d.Status != c.want {
			t.Errorf("%s: %d %s %v", name, d.Status, d.Body, d.Cause)
		}
		if d, _ := b.open("/orders"); (d.Outcome == core.Allow) != (c.want != 200) {
			t.Errorf("%s: afterwards %v, %v", name, d.Outcome, d.Cause)
		}
	}
}

// The tokens of the fake provider last for five minutes.
func TestConfiguredSessionIsRenewedWhileItIsUsed(t *testing.T) {
	clock := coretest.NewClock()
	fake := coretest.NewFakeProvider(t, clock)
	b := &browser{t, gate(t, clock, settings(t, fake, nil)), map[string]string{}}
	b.signIn()
	for range 3 {
		before := b.cookies["__Host-gatehouse"]
		clock.Advance(4*time.Minute + time.Second)
		if d, _ := b.open("/orders"); d.Outcome != core.Allow {
			t.Fatalf("%+v", d)
		}
		if b.cookies["__Host-gatehouse"] == before {
			t.Error("no renewed cookie")
		}
	}
}
