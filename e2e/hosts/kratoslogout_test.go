package hosts

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

// TestLogoutEndsAKratosSessionOnEveryHost has a browser sign out by the gate: the session
// is over at Kratos, and at the gate's cache at once.
func TestLogoutEndsAKratosSessionOnEveryHost(t *testing.T) {
	kratos := orytest.Kratos(t, ory.KratosConfig{})
	ada, err := kratos.CreatePerson(t.Context(), ory.Person{Email: "ada@example.test", Password: "correct horse battery"})
	if err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "log")
	config := map[string]any{
		"permission_table": `{public: [GET /open], authenticated: ["GET,POST /orders"]}`,
		"session":          map[string]any{"kratos_url": kratos.PublicURL, "cache_ttl": 300},
		"login":            map[string]any{"url": "https://login.test/login", "logout_path": "/logout", "post_logout_redirect_uri": site + "/bye"},
	}
	eachHost(t, config, output, func(t *testing.T, h *running) {
		t.Cleanup(func() {
			if text, _ := os.ReadFile(output); t.Failed() {
				t.Logf("%s", text)
			}
		})
		in := func() (ory.Session, *visitor) {
			s, err := kratos.SignInBrowser(t.Context(), ada.Email, "correct horse battery")
			if err != nil {
				t.Fatal(err)
			}
			v := newVisitor(t, h).with([]*http.Cookie{{Name: ory.SessionCookie, Value: s.Cookie}})
			v.wants(http.StatusOK, "a page with a session", "/orders")
			return s, v
		}
		gone := func(what string, s ory.Session, v *visitor) {
			t.Helper()
			v.with([]*http.Cookie{{Name: ory.SessionCookie, Value: s.Cookie}}).
				wants(http.StatusUnauthorized, what+": a copy of the cookie", "/orders", "Accept", "application/json")
			if _, err := kratos.WhoamiCookie(t.Context(), s.Cookie); err == nil {
				t.Errorf("%s: Kratos still has the session", what)
			}
		}
		s, browser := in()
		other, others := in()
		if response := browser.send(http.MethodGet, "/logout", "Sec-Fetch-Site", "cross-site"); response.StatusCode != http.StatusForbidden {
			t.Errorf("another site signs people out: %d", response.StatusCode)
		}
		browser.wants(http.StatusOK, "a page after a logout by another site", "/orders")
		response := browser.wants(http.StatusSeeOther, "the logout", "/logout")
		if to := response.Header.Get("Location"); to != site+"/bye" {
			t.Errorf("the logout leads to %q", to)
		}
		for _, c := range browser.jar.Cookies(browser.url("/")) {
			t.Errorf("the cookie %s is left", c.Name)
		}
		for _, c := range response.Cookies() {
			if c.Name != ory.SessionCookie || c.MaxAge >= 0 {
				t.Errorf("the logout sets %s, Max-Age %d", c.Name, c.MaxAge)
			}
		}
		gone("the logout", s, browser)
		others.wants(http.StatusOK, "a page with another session of the same person", "/orders")
		script := others.send(http.MethodPost, "/logout", "Accept", "application/json", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin")
		if script.StatusCode != http.StatusOK || script.Header.Get("Content-Type") != "application/json" {
			t.Errorf("a script gets %d %s", script.StatusCode, script.Header.Get("Content-Type"))
		}
		gone("the logout of a script", other, others)

		// Ended at Kratos already, while a cache has it.
		s, browser = in()
		if err := kratos.RevokeSession(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
		browser.wants(http.StatusOK, "a page while the session is cached", "/orders")
		browser.wants(http.StatusSeeOther, "the logout of a session that Kratos has ended", "/logout")
		gone("the logout of a session that Kratos has ended", s, browser)

		// Nobody, and garbage.
		newVisitor(t, h).wants(http.StatusSeeOther, "a logout without a session", "/logout")
		for _, value := range []string{"garbage", strings.Repeat("A", 3000), "MTc%00"} {
			v := newVisitor(t, h).with([]*http.Cookie{{Name: ory.SessionCookie, Value: value}})
			if response := v.send(http.MethodGet, "/logout"); response.StatusCode >= 500 || response.StatusCode == http.StatusOK {
				t.Errorf("a logout with the cookie %.10s gets %d", value, response.StatusCode)
			}
		}
		// Two values of one cookie: who signs out wants neither.
		first, _ := in()
		second, v := in()
		r, err := http.NewRequest(http.MethodGet, site+"/logout", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Cookie", ory.SessionCookie+"="+first.Cookie+"; "+ory.SessionCookie+"="+second.Cookie)
		r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(h.base, "http://")
		both, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		both.Body.Close()
		if both.StatusCode != http.StatusSeeOther {
			t.Errorf("a repeated cookie gets %d", both.StatusCode)
		}
		gone("a repeated cookie, the first", first, v)
		gone("a repeated cookie, the second", second, v)
	})
}

// A Kratos that is away has ended nothing: the logout says so, and can be repeated.
func TestLogoutFailsWhileKratosIsAway(t *testing.T) {
	binary := orytest.Binaries(t).Kratos
	kratos, err := ory.StartKratos(t.Context(), ory.KratosConfig{Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	ada, err := kratos.CreatePerson(t.Context(), ory.Person{Email: "ada@example.test", Password: "correct horse battery"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := kratos.SignInBrowser(t.Context(), ada.Email, "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]any{
		"permission_table": `{authenticated: ["GET,POST /orders"]}`, "session": map[string]any{"kratos_url": kratos.PublicURL, "cache_ttl": 300},
		"login": map[string]any{"url": "https://login.test/login", "logout_path": "/logout"},
	}
	onHost(t, "forwardauth", config, filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) {
		v := newVisitor(t, h).with([]*http.Cookie{{Name: ory.SessionCookie, Value: s.Cookie}})
		v.wants(http.StatusOK, "a page with a session", "/orders")
		kratos.Stop()
		response := v.wants(http.StatusServiceUnavailable, "the logout while Kratos is away", "/logout")
		if len(response.Header.Values("Set-Cookie")) > 0 {
			t.Error("the cookie is deleted, and the session is not")
		}
	})
}
