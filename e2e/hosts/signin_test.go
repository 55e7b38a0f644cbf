package hosts

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

const (
	site          = "https://app.test"
	sessionCookie = "__Host-gatehouse"
)

// visitor is somebody at a site behind a host, in a browser that keeps cookies.
type visitor struct {
	t    *testing.T
	host *running
	jar  *cookiejar.Jar
	// own are the paths that the gate serves itself.
	own []string
	// session is the name of the cookie of a session.
	session string
	// foreign are the cookies that browsers send with a form that another site posts.
	foreign map[string]bool
}

func newVisitor(t *testing.T, h *running) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, h, jar, []string{"/signin", "/callback", "/logout", "/frontchannel"}, sessionCookie, map[string]bool{}}
}

// with is another browser that has a copy of cookies.
func (v *visitor) with(cookies []*http.Cookie) *visitor {
	other := newVisitor(v.t, v.host)
	other.session = v.session
	other.jar.SetCookies(v.url("/"), cookies)
	return other
}

func (v *visitor) url(target string) *url.URL {
	v.t.Helper()
	u, err := url.Parse(site)
	if err == nil {
		u, err = u.Parse(target)
	}
	if err != nil {
		v.t.Fatal(err)
	}
	return u
}

// send makes a request as a browser does that opens a page, with further header lines.
func (v *visitor) send(method, target string, headers ...string) *http.Response {
	v.t.Helper()
	return v.do(method, target, "", headers, func(*http.Cookie) bool { return true })
}

// post is what a browser does with a form of another site: only cookies of SameSite=None
// go with it.
func (v *visitor) post(target, form string) *http.Response {
	v.t.Helper()
	headers := []string{"Content-Type", "application/x-www-form-urlencoded", "Origin", "null", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	return v.do(http.MethodPost, target, form, headers, func(c *http.Cookie) bool { return v.foreign[c.Name] })
}

func (v *visitor) do(method, target, body string, headers []string, goes func(*http.Cookie) bool) *http.Response {
	v.t.Helper()
	u := v.url(target)
	r, err := http.NewRequest(method, u.String(), strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	for _, c := range v.jar.Cookies(u) {
		if goes(c) {
			r.AddCookie(c)
		}
	}
	if slices.Contains(v.own, u.Path) {
		r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(v.host.base, "http://")
	} else {
		r = v.host.call(r)
	}
	client := http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		v.t.Error(err)
	}
	response.Body = io.NopCloser(bytes.NewReader(text))
	v.jar.SetCookies(u, response.Cookies())
	for _, c := range response.Cookies() {
		v.foreign[c.Name] = c.SameSite == http.SameSiteNoneMode
	}
	return response
}

// cookies are those of the session, and not of attempts to sign in.
func (v *visitor) cookies() []*http.Cookie {
	cookies := v.jar.Cookies(v.url("/"))
	return slices.DeleteFunc(cookies, func(c *http.Cookie) bool {
		return c.Name != v.session && !strings.HasPrefix(c.Name, v.session+".")
	})
}

// wants is the response to a page, of which the status is checked.
func (v *visitor) wants(status int, what, target string, headers ...string) *http.Response {
	v.t.Helper()
	response := v.send(http.MethodGet, target, headers...)
	if response.StatusCode != status {
		v.t.Fatalf("%s: %d at %s, want %d: %v", what, response.StatusCode, target, status, response.Header)
	}
	return response
}

// signIn goes from a page to Hydra and back to the page, and returns the callback.
func (v *visitor) signIn(h *ory.Hydra, b ory.Browser) (callback string) {
	v.t.Helper()
	start := v.wants(http.StatusFound, "a page without a session", "/orders").Header.Get("Location")
	if start != site+"/signin?return_to=https%3A%2F%2Fapp.test%2Forders" {
		v.t.Fatalf("the sign-in begins at %q", start)
	}
	address := v.wants(http.StatusSeeOther, "the start", start).Header.Get("Location")
	_, to, _, err := h.Visit(v.t.Context(), b, address, ory.Grant{Subject: "ada", Scopes: []string{"openid", "offline"}})
	if err != nil {
		v.t.Fatal(err)
	}
	if back := v.wants(http.StatusSeeOther, "the callback", to.String()).Header.Get("Location"); back != site+"/orders" {
		v.t.Fatalf("the sign-in ends at %q", back)
	}
	v.wants(http.StatusOK, "the page after the sign-in", "/orders")
	return to.String()
}

// signInConfig is a gate at which people sign in with a client of Hydra.
func signInConfig(h *ory.Hydra, c ory.Client) map[string]any {
	return map[string]any{
		"permission_table": `authenticated: ["GET,POST /orders"]`,
		"login": map[string]any{"oidc": map[string]any{
			"providers": []any{map[string]any{
				"discovery": h.PublicURL + "/.well-known/openid-configuration", "client_id": c.ID, "client_secret": c.Secret, "scope": "openid offline",
			}},
			"redirect_uri": site + "/callback", "post_logout_redirect_uri": site + "/bye",
			"back_channel_logout_path": "/backchannel", "allow_missing_exp": true,
			"session": map[string]any{"secret": []any{tokenSecret}},
		}},
	}
}

// TestPeopleSignInWithHydraOnEveryHost has people sign in, go on beyond the life of their
// access token, and sign out, here and at the provider.
func TestPeopleSignInWithHydraOnEveryHost(t *testing.T) {
	hydra := orytest.Hydra(t, ory.HydraConfig{AccessTokenLifespan: 4 * time.Second})
	for name := range maps.Keys(starts) {
		t.Run(name, func(t *testing.T) {
			client := ory.Client{
				ID: "gate-" + name, Secret: "a secret of a client of a test", Grants: []string{"authorization_code", "refresh_token"}, Scopes: []string{"openid", "offline"},
				RedirectURIs: []string{site + "/callback"}, PostLogoutRedirectURIs: []string{site + "/bye"},
			}
			output := filepath.Join(t.TempDir(), "log")
			onHost(t, name, signInConfig(hydra, client), output, func(t *testing.T, h *running) {
				t.Cleanup(func() {
					if text, _ := os.ReadFile(output); t.Failed() {
						t.Logf("%s", text)
					}
				})
				client.BackChannelLogoutURI = h.base + "/backchannel"
				if _, err := hydra.CreateClient(t.Context(), client); err != nil {
					t.Fatal(err)
				}
				browser, err := ory.NewBrowser()
				if err != nil {
					t.Fatal(err)
				}
				ada := newVisitor(t, h)
				ada.wants(http.StatusUnauthorized, "a script without a session", "/orders", "Accept", "application/json", "Sec-Fetch-Mode", "cors")
				callback := ada.signIn(hydra, browser)
				thief := newVisitor(t, h)
				thief.wants(http.StatusUnauthorized, "the callback in another browser", callback)
				if len(thief.cookies()) > 0 {
					t.Error("the callback signs in another browser")
				}
				if response := ada.send(http.MethodPost, "/orders", "Sec-Fetch-Site", "cross-site"); response.StatusCode != http.StatusForbidden {
					t.Errorf("a form of another site gets %d", response.StatusCode)
				}
				checkRenewal(t, ada)
				checkLogout(t, ada, hydra)

				ada.signIn(hydra, browser)
				if err := hydra.SignOut(t.Context(), browser); err != nil {
					t.Fatal(err)
				}
				await(t, "the logout at the provider ends the session", func() bool {
					return ada.send(http.MethodGet, "/orders", "Accept", "application/json").StatusCode == http.StatusUnauthorized
				})
			})
		})
	}
}

// checkRenewal uses a session until its tokens are renewed: the new cookie comes with a
// response of the upstream.
func checkRenewal(t *testing.T, v *visitor) {
	t.Helper()
	for range 2 {
		var fresh []*http.Cookie
		await(t, "a renewed cookie", func() bool {
			before := v.cookies()
			response := v.wants(http.StatusOK, "a page while the session is renewed", "/orders")
			fresh = v.cookies()
			return len(response.Header["Set-Cookie"]) > 0 && len(before) > 0 && len(fresh) > 0 && fresh[0].Value != before[0].Value
		})
		v.with(fresh).wants(http.StatusOK, "a page with the renewed cookie", "/orders")
	}
}

// checkLogout wants the cookie gone, a copy of it worthless, and the way to Hydra's own
// logout.
func checkLogout(t *testing.T, v *visitor, h *ory.Hydra) {
	t.Helper()
	copied := v.with(v.cookies())
	to := v.wants(http.StatusSeeOther, "the logout", "/logout").Header.Get("Location")
	if !strings.HasPrefix(to, h.PublicURL+"/oauth2/sessions/logout?") || !strings.Contains(to, "id_token_hint=") {
		t.Errorf("the logout leads to %.80s", to)
	}
	if left := v.cookies(); len(left) > 0 {
		t.Errorf("%d cookies are left after the logout", len(left))
	}
	copied.wants(http.StatusUnauthorized, "a copy of the cookie after the logout", "/orders", "Accept", "application/json")
}
