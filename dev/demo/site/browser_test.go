package site_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/dev/demo"
	"gatehouse/dev/demo/browsertest"
	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

// fakeGateway stands where a gateway will: it asks Kratos who is there, sends
// visitors without a session to sign in with the way back, and responds to tokens that Hydra knows.
type fakeGateway struct {
	*httptest.Server
	demo *demo.Demo
}

func startBehindFakeGateway(t *testing.T) (*demo.Demo, *fakeGateway) {
	t.Helper()
	g := &fakeGateway{}
	g.Server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	d, err := demo.Start(t.Context(), demo.Options{
		Binaries: orytest.Binaries(t),
		Gateways: []demo.Gateway{{Name: "the gateway", URL: g.URL}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	g.demo = d
	return d, g
}

func (g *fakeGateway) serve(w http.ResponseWriter, r *http.Request) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		response, err := g.demo.Hydra.Introspect(r.Context(), token)
		if err != nil || response["active"] != true {
			w.WriteHeader(http.StatusUnauthorized)
		}
		return
	}
	cookie, err := r.Cookie(ory.SessionCookie)
	if err == nil {
		if session, err := g.demo.Kratos.WhoamiCookie(r.Context(), cookie.Value); err == nil {
			fmt.Fprintf(w, "protected page %s of %s", r.URL.RequestURI(), session.Person.Email)
			return
		}
	}
	here := url.Values{"return_to": {g.URL + r.URL.RequestURI()}}
	http.Redirect(w, r, g.demo.LoginURL()+"?"+here.Encode(), http.StatusFound)
}

const password = "correct horse battery staple"

func TestBrowser(t *testing.T) {
	d, g := startBehindFakeGateway(t)
	b := browsertest.New(t)

	t.Log("a visitor opens a protected page, registers and is back")
	b.Open(g.URL + "/hello?n=1")
	b.WaitHeading("Sign in")
	b.Screenshot("site-login")
	b.Follow("Create one")
	b.WaitHeading("Create an account")
	b.Screenshot("site-registration")
	b.Fill("traits.email", "grace@example.test")
	b.Fill("password", password)
	b.Fill("traits.name", "Grace")
	b.Press("method", "password")
	b.WaitText("protected page /hello?n=1 of grace@example.test")

	t.Log("signing out closes the protected page, a wrong password keeps it closed")
	b.Open(d.SiteURL + "/")
	b.WaitHeading("Hello, Grace")
	b.Screenshot("site-home")
	b.Follow("Sign out")
	b.WaitHeading("Sign out?")
	b.Screenshot("site-logout")
	b.Click(`button[type=submit]`)
	b.WaitHeading("You are not signed in")
	b.Open(g.URL + "/world")
	b.Fill("identifier", "grace@example.test")
	b.Fill("password", "wrong")
	b.Press("method", "password")
	b.WaitText("credentials are invalid")
	b.Screenshot("site-login-refused")
	b.Fill("password", password)
	b.Press("method", "password")
	b.WaitText("protected page /world of grace@example.test")

	t.Log("a web application gets what the person allows")
	b.Open(d.SiteURL + "/client")
	b.WaitHeading("Web client")
	b.Screenshot("site-client")
	b.Click(`button[type=submit]`)
	b.WaitHeading("Allow Web client to act for you?")
	b.Screenshot("site-consent")
	b.Click(`#scope-orders\:read`) // not this one
	b.Press("decision", "allow")
	b.WaitHeading("Access given")
	if got := b.Text("dd"); got != "openid offline users:read products:read" {
		t.Errorf("the scopes are %q: not what was allowed", got)
	}
	b.WaitText("200 OK")
	b.Screenshot("site-access-given")
	b.Open(d.SiteURL + "/client")
	b.Click(`button[type=submit]`)
	b.Press("decision", "deny")
	b.WaitHeading("No access was given")

	t.Log("a second factor is enrolled and then asked for")
	b.Open(d.SiteURL + "/settings")
	b.WaitHeading("Your account")
	b.Screenshot("site-settings")
	secret := ory.TOTPSecret(b.Text(".fixed code"))
	b.Fill("totp_code", totp(t, secret))
	b.Press("method", "totp")
	b.WaitText("saved")
	b.Open(d.SiteURL + "/logout")
	b.Click(`button[type=submit]`)
	b.WaitHeading("You are not signed in")
	b.Open(g.URL + "/hello")
	b.Fill("identifier", "grace@example.test")
	b.Fill("password", password)
	b.Press("method", "password")
	b.WaitHeading("Second step")
	b.Screenshot("site-second-step")
	b.Fill("totp_code", totp(t, secret))
	b.Press("method", "totp")
	b.WaitText("protected page /hello of grace@example.test")

	t.Log("errors are pages too")
	b.Open(d.SiteURL + "/nowhere")
	b.WaitHeading("There is no such page")
	b.Screenshot("site-error")
}

func totp(t *testing.T, s ory.TOTPSecret) string {
	t.Helper()
	code, err := s.Code(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return code
}
