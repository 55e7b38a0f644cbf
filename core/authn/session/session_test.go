package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/session"
	"gatehouse/core/coretest"
)

const secret = "MTc2NzM1NTIwMHxzZWNyZXRzZWNyZXQ"

type bench struct {
	t      *testing.T
	clock  *coretest.Clock
	kratos *coretest.FakeKratos
	auth   *session.Authenticator
}

func setup(t *testing.T, change func(*session.Options)) *bench {
	t.Helper()
	clock := coretest.NewClock()
	kratos := coretest.NewFakeKratos(t)
	o := session.Options{URL: kratos.URL + "/", Client: coretest.Client(t), Now: clock.Now}
	if change != nil {
		change(&o)
	}
	auth, err := session.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t, clock, kratos, auth}
}

func (b *bench) knows(changes map[string]any) {
	b.kratos.Know(secret, coretest.FakeSession{Document: coretest.SessionDocument(b.clock, changes)})
}

func (b *bench) ask(kind core.PlaceName) (*core.Principal, error) {
	b.t.Helper()
	p, err := b.auth.AuthenticateToken(b.t.Context(), core.Credential{Place: kind, Value: secret})
	if err != nil && strings.Contains(err.Error(), secret) {
		b.t.Errorf("the error holds the credential: %v", err)
	}
	return p, err
}

func TestPrincipalOfASession(t *testing.T) {
	b := setup(t, nil)
	b.knows(nil)
	p, err := b.ask(core.SessionCookie)
	if err != nil {
		t.Fatal(err)
	}
	if p.Subject != "ada" || p.Kind != core.KindSession || p.AAL != "aal1" || len(p.Roles) != 1 || p.Roles[0] != "editor" {
		t.Errorf("got %+v", p)
	}
	if !p.Expiry.Equal(b.clock.Now().Add(time.Hour)) || !p.AuthenticatedAt.Equal(b.clock.Now()) || !p.FreshUntil.IsZero() {
		t.Errorf("expiry %s, authenticated at %s, fresh until %s", p.Expiry, p.AuthenticatedAt, p.FreshUntil)
	}
	if p.SessionID != "s1" || !p.IssuedAt.Equal(b.clock.Now()) {
		t.Errorf("session %q, issued at %s", p.SessionID, p.IssuedAt)
	}
	email, err := core.ParseClaimPath("identity.traits.email")
	if err != nil {
		t.Fatal(err)
	}
	if value, _ := email.Lookup(p.Claims); value != "ada@example.test" {
		t.Errorf("identity.traits.email is %v", value)
	}
}

// A second credential beside the first would leave it to Kratos which counts.
func TestExactlyOneCredentialIsSent(t *testing.T) {
	for kind, want := range map[core.PlaceName]http.Header{
		core.SessionCookie: {"Cookie": {"ory_kratos_session=" + secret}},
		core.SessionToken:  {"X-Session-Token": {secret}},
		core.BearerToken:   {"X-Session-Token": {secret}},
		core.TokenCookie:   {"X-Session-Token": {secret}},
	} {
		b := setup(t, nil)
		b.knows(nil)
		if _, err := b.ask(kind); err != nil {
			t.Fatal(err)
		}
		sent := b.kratos.LastRequest(t)
		for _, name := range []string{"Cookie", "X-Session-Token", "Authorization"} {
			if got := sent.Header[name]; strings.Join(got, "|") != strings.Join(want[name], "|") {
				t.Errorf("%s: %s is %q, want %q", kind, name, got, want[name])
			}
		}
		if sent.URL.RequestURI() != "/sessions/whoami" {
			t.Errorf("asked %s", sent.URL)
		}
	}
}

// A value that could end the cookie or the header never reaches Kratos.
func TestCredentialThatSmugglesAnother(t *testing.T) {
	b := setup(t, nil)
	for _, value := range []string{
		"", "a; ory_kratos_session=b", "a\r\nX-Session-Token: b", "a b", "a,b", `a"b`, "a\x00", "a\u00e4", strings.Repeat("a", 17<<10),
	} {
		for _, kind := range []core.PlaceName{core.SessionCookie, core.SessionToken} {
			_, err := b.auth.AuthenticateToken(t.Context(), core.Credential{Place: kind, Value: value})
			if !errors.Is(err, core.ErrInvalid) {
				t.Errorf("%s %.30q: %v", kind, value, err)
			}
		}
	}
	if b.kratos.Calls() != 0 {
		t.Errorf("%d requests reached Kratos", b.kratos.Calls())
	}
}

// metadata_public is the operator's own, who may keep something else there.
func TestRolesOfAnotherShapeGrantNothingInASession(t *testing.T) {
	odd := map[string]any{"identity": map[string]any{"id": "ada", "state": "active", "metadata_public": map[string]any{"roles": map[string]any{"admin": true}}}}
	b := setup(t, nil)
	b.knows(odd)
	if p, err := b.ask(core.SessionCookie); err != nil || len(p.Roles) > 0 {
		t.Errorf("by the default path: %+v, %v", p, err)
	}
	b = setup(t, func(o *session.Options) { o.Claims.Roles = claims.MustPaths("identity.metadata_public.roles") })
	b.knows(odd)
	if p, err := b.ask(core.SessionCookie); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("by a configured path: %+v, %v", p, err)
	}
	b = setup(t, func(o *session.Options) { o.Claims.Roles = claims.MustPaths("keys(identity.metadata_public.roles)") })
	b.knows(odd)
	if p, err := b.ask(core.SessionCookie); err != nil || len(p.Roles) != 1 || p.Roles[0] != "admin" {
		t.Errorf("by the names in the object: %+v, %v", p, err)
	}
}

// A page of a proxy in between is not what Kratos says.
func TestSessionThatIsNotJSONByItsContentTypeIsRefused(t *testing.T) {
	for contentType, good := range map[string]bool{
		"application/json": true, "application/json; charset=utf-8": true,
		"text/html": false, "text/plain": false, "": false, "application/jsonp": false,
	} {
		b := setup(t, nil)
		b.kratos.Instead(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{contentType}
			fmt.Fprintf(w, `{"active":true,"expires_at":%q,"identity":{"id":"ada","state":"active"}}`, time.Now().Add(time.Hour*24*3650).Format(time.RFC3339))
		})
		p, err := b.ask(core.SessionCookie)
		if (err == nil) != good || errors.Is(err, core.ErrInvalid) {
			t.Errorf("Content-Type %q: %+v, %v", contentType, p, err)
		}
	}
}

func TestSessionThatDoesNotHold(t *testing.T) {
	for name, changes := range map[string]map[string]any{
		"inactive":              {"active": false},
		"active as a string":    {"active": "true"},
		"active absent":         {"active": nil},
		"expired":               {"expires_at": "2001-01-01T00:00:00Z"},
		"no expiry":             {"expires_at": nil},
		"expiry as a number":    {"expires_at": 9999999999},
		"no identity":           {"identity": nil},
		"identity inactive":     {"identity": map[string]any{"id": "ada", "state": "inactive"}},
		"identity state absent": {"identity": map[string]any{"id": "ada"}},
		"identity without id":   {"identity": map[string]any{"state": "active"}},
		"identity id a number":  {"identity": map[string]any{"id": 7, "state": "active"}},
	} {
		b := setup(t, nil)
		b.knows(changes)
		if p, err := b.ask(core.SessionCookie); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	b := setup(t, nil)
	if _, err := b.ask(core.SessionCookie); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("unknown session: %v", err)
	}
}

// Whoever can write traits must not be able to write roles.
func TestRolesInTraitsGrantNothing(t *testing.T) {
	b := setup(t, nil)
	b.knows(map[string]any{"roles": []string{"admin"}, "identity": map[string]any{
		"id": "eve", "state": "active", "traits": map[string]any{"roles": []string{"admin"}, "permissions": []string{"everything"}},
	}})
	p, err := b.ask(core.SessionCookie)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Roles)+len(p.Permissions)+len(p.Scopes) != 0 {
		t.Errorf("got roles %q, permissions %q, scopes %q", p.Roles, p.Permissions, p.Scopes)
	}
}

func TestOutageIsNotTheCallersFault(t *testing.T) {
	for name, break_ := range map[string]func(*coretest.FakeKratos){
		"status 500":          func(k *coretest.FakeKratos) { k.Fail(500, `{}`) },
		"status 404":          func(k *coretest.FakeKratos) { k.Fail(404, `{}`) },
		"status 429":          func(k *coretest.FakeKratos) { k.Fail(429, `{}`) },
		"somebody else's 403": func(k *coretest.FakeKratos) { k.Fail(403, `<html>`) },
		"another 403":         func(k *coretest.FakeKratos) { k.Fail(403, `{"error":{"id":"other"}}`) },
		"a 204":               func(k *coretest.FakeKratos) { k.Fail(204, ``) },
		"a 200 with HTML":     func(k *coretest.FakeKratos) { k.Fail(200, `<html>welcome</html>`) },
		"an empty 200":        func(k *coretest.FakeKratos) { k.Fail(200, ``) },
		"a member twice":      func(k *coretest.FakeKratos) { k.Fail(200, `{"active":true,"active":false}`) },
		"a redirect":          func(k *coretest.FakeKratos) { k.Redirect("http://127.0.0.1:1/") },
		"dropped":             func(k *coretest.FakeKratos) { k.Drop() },
		"an endless answer":   func(k *coretest.FakeKratos) { k.Flood() },
	} {
		clock := coretest.NewClock()
		client, err := idp.New(idp.Options{Now: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		b := setup(t, func(o *session.Options) { o.Client = client })
		b.knows(nil)
		break_(b.kratos)
		if p, err := b.ask(core.SessionCookie); err == nil || errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		b.kratos.Heal()
		clock.Advance(time.Second) // of a pause that 429 asks for
		if _, err := b.ask(core.SessionCookie); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

func TestHangingKratos(t *testing.T) {
	b := setup(t, nil)
	b.kratos.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := b.auth.AuthenticateToken(ctx, core.Credential{Place: core.SessionCookie, Value: secret})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, core.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestSessionBelowTheRequiredLevel(t *testing.T) {
	wantStepUp := func(b *bench) {
		b.t.Helper()
		_, err := b.ask(core.SessionCookie)
		var stepUp *core.StepUp
		if !errors.As(err, &stepUp) || stepUp.AAL != "aal2" {
			b.t.Errorf("got %v", err)
		}
	}
	b := setup(t, nil)
	b.kratos.Fail(403, `{"error":{"id":"session_aal2_required","code":403},"redirect_browser_to":"https://x.test"}`)
	wantStepUp(b)

	b = setup(t, func(o *session.Options) { o.RequiredAAL = "aal2" })
	for _, level := range []any{"aal1", "aal0", "", nil, "AAL2", "aal3", 2} {
		b.knows(map[string]any{"authenticator_assurance_level": level})
		wantStepUp(b)
	}
	b.knows(map[string]any{"authenticator_assurance_level": "aal2"})
	if _, err := b.ask(core.SessionCookie); err != nil {
		t.Error(err)
	}
}

func TestCachingIsBoundedByKratos(t *testing.T) {
	b := setup(t, nil)
	for header, want := range map[string]time.Duration{"300": 5 * time.Minute, "1": time.Second, "0": 0, "-5": 0, "soon": 0, "99999999999999": 0} {
		b.kratos.Know(secret, coretest.FakeSession{Document: coretest.SessionDocument(b.clock, nil), CacheFor: header})
		p, err := b.ask(core.SessionCookie)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.FreshUntil.Sub(b.clock.Now()); got != want {
			t.Errorf("%q: fresh for %s, want %s", header, got, want)
		}
	}
}

func TestTokensInsideTheSessionAreNotClaims(t *testing.T) {
	b := setup(t, nil)
	b.knows(map[string]any{"tokenized": "ey.secret", "token": "ory_st_secret", "identity": map[string]any{
		"id": "ada", "state": "active", "credentials": map[string]any{"password": "$2a$secret"},
	}})
	p, err := b.ask(core.SessionCookie)
	if err != nil {
		t.Fatal(err)
	}
	if text := coretest.JSON(t, p.Claims); strings.Contains(text, "secret") {
		t.Errorf("the claims hold a secret: %s", text)
	}
}

func TestBadOptions(t *testing.T) {
	client := coretest.Client(t)
	good := session.Options{URL: "http://kratos:4433", Client: client}
	for name, change := range map[string]func(*session.Options){
		"no URL":             func(o *session.Options) { o.URL = "" },
		"a relative URL":     func(o *session.Options) { o.URL = "/kratos" },
		"a URL with a query": func(o *session.Options) { o.URL += "/?tokenize_as=x" },
		"no client":          func(o *session.Options) { o.Client = nil },
		"a cookie name":      func(o *session.Options) { o.CookieName = "a=b; c" },
		"an unknown AAL":     func(o *session.Options) { o.RequiredAAL = "highest_available" },
	} {
		o := good
		change(&o)
		if _, err := session.New(o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	good.Claims = claims.Paths{Roles: claims.MustPaths("roles")}
	if _, err := session.New(good); err != nil {
		t.Error(err)
	}
}
