package session_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/session"
	"gatehouse/core/coretest"
	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

const password = "correct horse battery staple"

// kratosBench is an authenticator in front of a real Kratos.
type kratosBench struct {
	*ory.Kratos
	t    *testing.T
	auth *session.Authenticator
}

func (b *kratosBench) person(name string) ory.Person {
	b.t.Helper()
	p, err := b.CreatePerson(b.t.Context(), ory.Person{
		Email: name + "@example.test", Password: password, Name: name, Tenant: "acme",
		Roles: []string{"editor"}, Permissions: []string{"orders.read"},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b *kratosBench) signIn(p ory.Person) ory.Session {
	b.t.Helper()
	s, err := b.SignIn(b.t.Context(), p.Email, password)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *kratosBench) ask(kind core.PlaceName, value string) (*core.Principal, error) {
	b.t.Helper()
	p, err := b.auth.AuthenticateToken(b.t.Context(), core.Credential{Place: kind, Value: value})
	if err != nil && len(value) > 0 && strings.Contains(err.Error(), value) {
		b.t.Errorf("the error holds the credential: %v", err)
	}
	return p, err
}

func (b *kratosBench) accepts(name string, kind core.PlaceName, value string) *core.Principal {
	b.t.Helper()
	p, err := b.ask(kind, value)
	if err != nil {
		b.t.Fatalf("%s: %v", name, err)
	}
	return p
}

func (b *kratosBench) refuses(name string, kind core.PlaceName, value string) {
	b.t.Helper()
	if p, err := b.ask(kind, value); !errors.Is(err, core.ErrInvalid) {
		b.t.Errorf("%s: %+v, %v", name, p, err)
	}
}

func TestAgainstKratos(t *testing.T) {
	kratos := orytest.Kratos(t, ory.KratosConfig{})
	auth, err := session.New(session.Options{URL: kratos.PublicURL, Client: coretest.Client(t), CookieName: ory.SessionCookie})
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, f func(b *kratosBench)) {
		t.Run(name, func(t *testing.T) { f(&kratosBench{kratos, t, auth}) })
	}
	run("session token", (*kratosBench).testToken)
	run("session cookie", (*kratosBench).testCookie)
	run("garbage", (*kratosBench).testGarbage)
	run("revoked session", (*kratosBench).testRevoked)
	run("inactive identity", (*kratosBench).testInactive)
	run("second factor required", (*kratosBench).testSecondFactor)
}

func (b *kratosBench) testToken() {
	ada := b.person("ada")
	s := b.signIn(ada)
	for _, kind := range []core.PlaceName{core.SessionToken, core.BearerToken} {
		b.checkAda(ada, s, b.accepts(string(kind), kind, s.Token))
	}
	b.refuses("a token in the place of a cookie", core.SessionCookie, s.Token)
}

func (b *kratosBench) testCookie() {
	grace := b.person("grace")
	s, err := b.SignInBrowser(b.t.Context(), grace.Email, password)
	if err != nil {
		b.t.Fatal(err)
	}
	b.checkAda(grace, s, b.accepts("cookie", core.SessionCookie, s.Cookie))
	b.refuses("a cookie in the place of a token", core.SessionToken, s.Cookie)
	b.refuses("a cookie with a byte changed", core.SessionCookie, s.Cookie[:len(s.Cookie)-3]+"AAA")
}

func (b *kratosBench) checkAda(person ory.Person, s ory.Session, p *core.Principal) {
	b.t.Helper()
	if p.Subject != person.ID || p.Kind != core.KindSession || p.AAL != "aal1" {
		b.t.Errorf("got %+v", p)
	}
	if !slices.Equal(p.Roles, []string{"editor"}) || !slices.Equal(p.Permissions, []string{"orders.read"}) {
		b.t.Errorf("roles %q, permissions %q", p.Roles, p.Permissions)
	}
	if !p.Expiry.After(time.Now().Add(time.Hour)) || p.AuthenticatedAt.IsZero() {
		b.t.Errorf("expiry %s, authenticated at %s", p.Expiry, p.AuthenticatedAt)
	}
	if !p.FreshUntil.After(time.Now()) || p.FreshUntil.After(time.Now().Add(6*time.Minute)) {
		b.t.Errorf("Kratos allows five minutes of caching, we read %s", time.Until(p.FreshUntil))
	}
	if p.Claims["id"] != s.ID && s.ID != "" {
		b.t.Errorf("claims of session %v", p.Claims["id"])
	}
}

func (b *kratosBench) testGarbage() {
	for _, kind := range []core.PlaceName{core.SessionCookie, core.SessionToken, core.BearerToken} {
		for _, value := range []string{"x", "ory_st_" + strings.Repeat("a", 32), strings.Repeat("A", 430), "eyJhbGciOiJub25lIn0.e30.", "%00", "a=b"} {
			b.refuses(string(kind)+" "+value, kind, value)
		}
	}
}

func (b *kratosBench) testRevoked() {
	s := b.signIn(b.person("revoked"))
	b.accepts("before", core.SessionToken, s.Token)
	if err := b.RevokeSession(b.t.Context(), s.ID); err != nil {
		b.t.Fatal(err)
	}
	b.refuses("after", core.SessionToken, s.Token)
}

func (b *kratosBench) testInactive() {
	person := b.person("inactive")
	s := b.signIn(person)
	b.accepts("before", core.SessionToken, s.Token)
	if err := b.SetActive(b.t.Context(), person.ID, false); err != nil {
		b.t.Fatal(err)
	}
	b.refuses("after", core.SessionToken, s.Token)
}

func (b *kratosBench) testSecondFactor() {
	s := b.signIn(b.person("careful"))
	secret, err := b.EnrolTOTP(b.t.Context(), s.Token)
	if err != nil {
		b.t.Fatal(err)
	}
	weak, err := b.SignIn(b.t.Context(), "careful@example.test", password)
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = b.ask(core.SessionToken, weak.Token)
	var stepUp *core.StepUp
	if !errors.As(err, &stepUp) || stepUp.AAL != "aal2" {
		b.t.Fatalf("a session with one factor: %v", err)
	}
	if _, err := b.SignInTOTP(b.t.Context(), weak.Token, secret); err != nil {
		b.t.Fatal(err)
	}
	if p := b.accepts("the same session with two factors", core.SessionToken, weak.Token); p.AAL != "aal2" {
		b.t.Errorf("AAL %q", p.AAL)
	}
}

// Kratos is gone in the middle of things: no request is admitted, and no caller's
// session is called bad.
func TestKratosThatDied(t *testing.T) {
	kratos := orytest.Kratos(t, ory.KratosConfig{})
	auth, err := session.New(session.Options{URL: kratos.PublicURL, Client: coretest.Client(t)})
	if err != nil {
		t.Fatal(err)
	}
	b := &kratosBench{kratos, t, auth}
	s := b.signIn(b.person("ada"))
	b.accepts("before", core.SessionToken, s.Token)
	kratos.Stop()
	if p, err := b.ask(core.SessionToken, s.Token); err == nil || errors.Is(err, core.ErrInvalid) {
		t.Errorf("after: %+v, %v", p, err)
	}
}
