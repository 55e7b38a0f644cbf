package e2e

import (
	"strings"
	"testing"

	"gatehouse/dev/demo/browsertest"
)

// A browser opens a protected page, is led to sign in, and is back at the page
// with the identity that the upstream received.
func TestBrowserSignsInAndComesBack(t *testing.T) {
	s := shared.get(t)
	for name, gateway := range s.gatewayURLs() {
		t.Run(name, func(t *testing.T) {
			b := browsertest.New(t)
			b.Open(gateway + "/hello?from=browser")
			b.WaitHeading("Sign in")
			b.Fill("identifier", s.Ada.Email)
			b.Fill("password", s.Ada.Password)
			b.Press("method", "password")
			b.WaitText("/hello?from=browser")
			shows(t, b.Text("body"), "X-User-Id: "+s.Ada.ID, "X-User-Email: "+s.Ada.Email, "X-User-Roles: editor", "X-Auth-Kind: session")
			b.Screenshot("e2e-signed-in-" + name)
		})
	}
}

// The same for a person without an account.
func TestBrowserRegistersAndComesBack(t *testing.T) {
	s := shared.get(t)
	for name, gateway := range s.gatewayURLs() {
		t.Run(name, func(t *testing.T) {
			email := "grace+" + name + "@example.test"
			b := browsertest.New(t)
			b.Open(gateway + "/hello?from=registration")
			b.WaitHeading("Sign in")
			b.Screenshot("e2e-sign-in-" + name)
			b.Follow("Create one")
			b.WaitHeading("Create an account")
			b.Fill("traits.email", email)
			b.Fill("password", "correct horse battery staple")
			b.Fill("traits.name", "Grace")
			b.Press("method", "password")
			b.WaitText("/hello?from=registration")
			page := b.Text("body")
			shows(t, page, "X-User-Email: "+email, "X-Auth-Kind: session")
			if strings.Contains(page, "X-User-Roles") || strings.Contains(page, "X-User-Permissions") {
				t.Errorf("a new account has roles: %s", page)
			}
			b.Screenshot("e2e-registered-" + name)
		})
	}
}

func shows(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not show %q: %s", text, page)
		}
	}
}
