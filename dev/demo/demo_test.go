package demo_test

import (
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gatehouse/dev/demo"
	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/ory/orytest"
	"gatehouse/dev/ports"
)

func start(t *testing.T, o demo.Options) *demo.Demo {
	t.Helper()
	o.Binaries = orytest.Binaries(t)
	d, err := demo.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	return d
}

func TestDemo(t *testing.T) {
	d := start(t, demo.Options{Gateways: []demo.Gateway{{Name: "Kong", URL: "http://127.0.0.1:8000"}}})

	t.Run("every session is of whom it says", func(t *testing.T) {
		c := d.Credentials
		ada, err := d.Kratos.WhoamiCookie(t.Context(), c.Session.Cookie)
		if err != nil || ada.Person.Email != "ada@example.test" || !slices.Equal(ada.Person.Roles, []string{"editor"}) {
			t.Errorf("cookie: %+v, %v", ada, err)
		}
		bob, err := d.Kratos.WhoamiCookie(t.Context(), c.BobSession.Cookie)
		if err != nil || bob.Person.Email != "bob@example.test" || !slices.Equal(bob.Person.Roles, []string{"viewer"}) {
			t.Errorf("Bob's cookie: %+v, %v", bob, err)
		}
		app, err := d.Kratos.Whoami(t.Context(), c.AppSession.Token)
		if err != nil || app.Person.ID != d.Ada.ID {
			t.Errorf("session token: %+v, %v", app, err)
		}
	})

	t.Run("every token is active with its scopes and claims", func(t *testing.T) {
		all := "openid offline users:read products:read orders:read"
		for name, want := range map[string]struct{ token, subject, client, scope string }{
			"opaque":         {d.Credentials.Opaque.AccessToken, d.Ada.ID, "web", all},
			"JWT":            {d.Credentials.JWT.AccessToken, d.Ada.ID, "web-jwt", all},
			"users only":     {d.Credentials.UsersOnly.AccessToken, d.Ada.ID, "web", "users:read"},
			"machine opaque": {d.Credentials.MachineOpaque.AccessToken, "machine", "machine", "users:read products:read orders:read"},
			"machine JWT":    {d.Credentials.MachineJWT.AccessToken, "machine-jwt", "machine-jwt", "users:read products:read orders:read"},
		} {
			got, err := d.Hydra.Introspect(t.Context(), want.token)
			if err != nil {
				t.Fatal(err)
			}
			if got["active"] != true || got["sub"] != want.subject || got["client_id"] != want.client || got["scope"] != want.scope {
				t.Errorf("%s: %v", name, got)
			}
			if isJWT := strings.Count(want.token, ".") == 2; isJWT != strings.Contains(name, "JWT") {
				t.Errorf("%s: the token has the wrong form", name)
			}
			claims, _ := got["ext"].(map[string]any)
			if isPerson := want.subject == d.Ada.ID; isPerson != (claims["tenant"] == "acme") {
				t.Errorf("%s: claims %v", name, claims)
			}
		}
		if d.Credentials.Opaque.RefreshToken == "" || d.Credentials.JWT.RefreshToken == "" {
			t.Error("no refresh token")
		}
	})

	t.Run("every upstream responds under its name", func(t *testing.T) {
		for _, name := range demo.Names {
			res, err := http.Get(d.UpstreamURL(name) + "/x?y=1")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var got upstream.Request
			if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got.Service != name || got.Target != "/x?y=1" {
				t.Errorf("%s responds with %+v, %v", name, got, err)
			}
		}
	})

	t.Run("it can be provisioned again", func(t *testing.T) {
		again, err := demo.Provision(t.Context(), d.Kratos.KratosAPI, d.Hydra.HydraAPI, d.SiteURL, "again")
		if err != nil {
			t.Fatal(err)
		}
		if again.Ada.Email != "ada+again@example.test" || again.Web.ID != "web-again" {
			t.Errorf("names %s, %s", again.Ada.Email, again.Web.ID)
		}
	})

	t.Run("everything is gone after Stop", func(t *testing.T) {
		urls := []string{d.SiteURL, d.Kratos.PublicURL, d.Hydra.PublicURL, d.UpstreamURL(demo.Hello)}
		d.Stop()
		for _, u := range urls {
			if c, err := net.Dial("tcp", strings.TrimPrefix(u, "http://")); err == nil {
				c.Close()
				t.Errorf("%s still listens", u)
			}
		}
	})
}

func TestDemoOnFixedPorts(t *testing.T) {
	p := freePorts(t)
	d := start(t, demo.Options{Ports: p, Host: "localhost"})
	got := demo.Ports{Site: port(t, d.SiteURL), KratosPublic: port(t, d.Kratos.PublicURL), KratosAdmin: port(t, d.Kratos.AdminURL),
		HydraPublic: port(t, d.Hydra.PublicURL), HydraAdmin: port(t, d.Hydra.AdminURL),
		Hello: port(t, d.UpstreamURL(demo.Hello)), World: port(t, d.UpstreamURL(demo.World)), Users: port(t, d.UpstreamURL(demo.Users)),
		Products: port(t, d.UpstreamURL(demo.Products)), Orders: port(t, d.UpstreamURL(demo.Orders))}
	if got != p {
		t.Errorf("ports %+v, want %+v", got, p)
	}
	if !strings.HasPrefix(d.LoginURL(), "http://localhost:") {
		t.Errorf("login URL %s", d.LoginURL())
	}
}

func port(t *testing.T, rawURL string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(rawURL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

func freePorts(t *testing.T) (p demo.Ports) {
	t.Helper()
	for _, port := range []*int{
		&p.KratosPublic, &p.KratosAdmin, &p.HydraPublic, &p.HydraAdmin, &p.Site, &p.Hello, &p.World, &p.Users, &p.Products, &p.Orders,
	} {
		h, err := ports.Hold("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Release)
		*port = h.Port()
	}
	return p
}

func TestFailedStartStopsWhatRan(t *testing.T) {
	ports := freePorts(t)
	taken, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(ports.HydraPublic))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = demo.Start(t.Context(), demo.Options{Binaries: orytest.Binaries(t), Ports: ports})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v", err)
	}
	for name, port := range map[string]int{"kratos": ports.KratosPublic, "site": ports.Site, "hello": ports.Hello} {
		if c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			c.Close()
			t.Errorf("%s still listens", name)
		}
	}
}
