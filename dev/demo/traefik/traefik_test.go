package traefik_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/core/coretest"
	"gatehouse/dev/demo"
	"gatehouse/dev/demo/browsertest"
	"gatehouse/dev/demo/traefik"
	"gatehouse/dev/fixture"
	"gatehouse/dev/ory/orytest"
	"gatehouse/dev/pinned"
	"gatehouse/dev/ports"
)

// TestPeopleSignInBehindTraefik runs the steps of the demo, and a browser.
func TestPeopleSignInBehindTraefik(t *testing.T) {
	if slices.Contains(strings.Split(os.Getenv("GATEHOUSE_SKIP_PROXIES"), ","), "traefik") {
		t.Skip("GATEHOUSE_SKIP_PROXIES lists traefik")
	}
	binaries := orytest.Binaries(t)
	program, err := pinned.Ensure(t.Context(), pinned.Options{}, traefik.Program)
	if err != nil {
		t.Fatal(err)
	}
	service := filepath.Join(t.TempDir(), "gatehouse-forwardauth")
	if err := fixture.Build("../../..", "gatehouse/plugins/forwardauth", service); err != nil {
		t.Fatal(err)
	}
	held, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(held.Release)
	d, err := demo.Start(t.Context(), demo.Options{Binaries: binaries, Sites: []string{traefik.URL(held.Addr())}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	var log coretest.Log
	s, err := traefik.Start(t.Context(), traefik.Options{
		Hydra: d.Hydra.HydraAPI, Traefik: program, Service: service, Listen: held.Addr(), Dir: t.TempDir(), Log: &log,
	})
	if err != nil {
		t.Fatal(err, log.String())
	}
	t.Cleanup(s.Stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log.String())
		}
	})

	steps := 0
	err = s.Check(t.Context(), d.Ada.ID, func(traefik.Step) { steps++ })
	if err != nil || steps < 10 {
		t.Fatalf("after %d steps: %v", steps, err)
	}

	b := browsertest.New(t)
	b.Open(s.URL + "/foo?page=1")
	b.WaitHeading("Sign in")
	b.Fill("identifier", d.Ada.Email)
	b.Fill("password", d.Ada.Password)
	b.Press("method", "password")
	b.Press("decision", "allow")
	b.WaitText("/foo?page=1")
	b.WaitText("X-Auth-User: " + d.Ada.ID)
	b.Open(s.URL + "/bar")
	b.WaitText("X-Auth-User: " + d.Ada.ID)
	b.Screenshot("demo-traefik-bar")
	b.Open(s.URL + "/rbac/logout")
	b.WaitHeading("Sign out?") // at the provider
	b.Click("button[type=submit]")
	b.WaitText("/foo/public")
	for _, c := range b.Cookies(s.URL) {
		if strings.HasPrefix(c.Name, "__Host-gatehouse") {
			t.Errorf("after the logout the browser keeps %s", c.Name)
		}
	}
}
