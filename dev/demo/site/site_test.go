package site_test

import (
	"bytes"
	"errors"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/dev/demo"
	"gatehouse/dev/demo/site"
	"gatehouse/dev/ory"
)

// visitor is a browser without a screen: it keeps cookies, follows redirects
// and fills in forms.
type visitor struct {
	t      *testing.T
	client *http.Client
	status int
	header http.Header
	url    *url.URL
	body   string
}

func newVisitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, client: &http.Client{Jar: jar}}
}

func (v *visitor) open(rawURL string) *visitor {
	v.t.Helper()
	req, err := http.NewRequest(http.MethodGet, rawURL, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.send(req)
}

func (v *visitor) send(req *http.Request) *visitor {
	v.t.Helper()
	req.Header.Set("Accept", "text/html")
	res, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	v.status, v.header, v.url, v.body = res.StatusCode, res.Header, res.Request.URL, string(body)
	return v
}

var (
	formAction  = regexp.MustCompile(`<form action="([^"]*)"`)
	hiddenInput = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	heading     = regexp.MustCompile(`<h1>([^<]*)</h1>`)
)

// submit sends the first form of the page with its hidden inputs and these.
func (v *visitor) submit(values url.Values) *visitor {
	v.t.Helper()
	action := formAction.FindStringSubmatch(v.body)
	if action == nil {
		v.t.Fatalf("no form on %s:\n%s", v.url.Path, v.body)
	}
	target, err := v.url.Parse(html.UnescapeString(action[1]))
	if err != nil {
		v.t.Fatal(err)
	}
	form := url.Values{}
	for _, in := range hiddenInput.FindAllStringSubmatch(v.body, -1) {
		form.Set(html.UnescapeString(in[1]), html.UnescapeString(in[2]))
	}
	for name, value := range values {
		form[name] = value
	}
	req, err := http.NewRequest(http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.send(req)
}

func (v *visitor) signIn(p ory.Person) *visitor {
	v.t.Helper()
	return v.submit(url.Values{"identifier": {p.Email}, "password": {p.Password}, "method": {"password"}})
}

func (v *visitor) wantHeading(want string) {
	v.t.Helper()
	got := heading.FindStringSubmatch(v.body)
	if got == nil || html.UnescapeString(got[1]) != want {
		v.t.Fatalf("%s (status %d) has the heading %q, not %q\n%s", v.url.Path, v.status, got, want, v.body)
	}
}

// cookie is the value of a cookie that the visitor has for the site.
func (v *visitor) cookie(rawURL, name string) string {
	v.t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, c := range v.client.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

func TestSite(t *testing.T) {
	d, g := startBehindFakeGateway(t)

	t.Run("signing in leads back to the protected page", func(t *testing.T) {
		v := newVisitor(t).open(g.URL + "/hello?a=1&b=2")
		v.wantHeading("Sign in")
		v.signIn(d.Ada)
		if v.body != "protected page /hello?a=1&b=2 of ada@example.test" {
			t.Errorf("came to %s", v.body)
		}
		v.open(g.URL + "/world")
		if !strings.HasPrefix(v.body, "protected page /world") {
			t.Errorf("signed in, and yet %s", v.body)
		}
	})

	t.Run("return_to elsewhere is refused", func(t *testing.T) {
		for _, elsewhere := range []string{
			"https://evil.example/", "//evil.example/", g.URL + ".evil.example/", "http://127.0.0.1@evil.example/", `http:\\evil.example`, "http:evil.example", g.URL + `\.evil.example`, "javascript:alert(1)",
		} {
			v := newVisitor(t).open(d.LoginURL() + "?" + url.Values{"return_to": {elsewhere}}.Encode())
			if strings.Contains(v.body, "identifier") {
				v.signIn(d.Ada)
			}
			if v.url.Host != strings.TrimPrefix(d.SiteURL, "http://") {
				t.Errorf("return_to=%s led to %s", elsewhere, v.url.Host)
			}
		}
	})

	t.Run("every page has its protective headers", func(t *testing.T) {
		v := newVisitor(t)
		for _, page := range []string{"/", "/login", "/registration", "/logout", "/error", "/client", "/nowhere", "/oauth2/consent"} {
			v.open(d.SiteURL + page)
			policy := v.header.Get("Content-Security-Policy")
			for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self' " + d.Kratos.PublicURL + " " + d.Hydra.PublicURL + " " + g.URL} {
				if !strings.Contains(policy, part) {
					t.Errorf("%s: the policy %q lacks %q", page, policy, part)
				}
			}
			if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
				t.Errorf("%s: the policy %q allows scripts", page, policy)
			}
			if v.header.Get("X-Content-Type-Options") != "nosniff" || v.header.Get("Cache-Control") != "no-store" || v.header.Get("Referrer-Policy") != "same-origin" {
				t.Errorf("%s: headers %v", page, v.header)
			}
			if strings.Contains(v.body, "<script") || strings.Contains(v.body, "ZgotmplZ") {
				t.Errorf("%s: the page has a script or something the templates refuse", page)
			}
		}
	})

	t.Run("every input has a label", func(t *testing.T) {
		v := newVisitor(t)
		visible := regexp.MustCompile(`<input id="([^"]*)"`)
		labelled := 0
		check := func() {
			t.Helper()
			for _, in := range visible.FindAllStringSubmatch(v.body, -1) {
				labelled++
				if strings.Count(v.body, `for="`+in[1]+`"`) != 1 || strings.Count(v.body, `id="`+in[1]+`"`) != 1 {
					t.Errorf("%s: the input %s has no label or shares its ID", v.url.Path, in[1])
				}
			}
			if n := strings.Count(v.body, "<input"); n != len(visible.FindAllString(v.body, -1))+len(hiddenInput.FindAllString(v.body, -1)) {
				t.Errorf("%s: some input has no ID", v.url.Path)
			}
		}
		v.open(d.SiteURL + "/registration")
		check()
		v.open(d.SiteURL + "/login")
		check()
		v.signIn(d.Bob).open(d.SiteURL + "/settings")
		v.wantHeading("Your account")
		check()
		v.open(d.SiteURL + "/client").submit(nil)
		v.wantHeading("Allow Web client to act for you?")
		check()
		if labelled < 15 {
			t.Errorf("looked at %d inputs only", labelled)
		}
	})

	t.Run("text in an error link is not shown", func(t *testing.T) {
		v := newVisitor(t).open(d.SiteURL + "/error?error=invalid_client&error_description=Call+555-1234+now&error_hint=%3Cscript%3E")
		if strings.Contains(v.body, "555-1234") || strings.Contains(v.body, "script") || !strings.Contains(v.body, "invalid_client") {
			t.Errorf("the page shows the wrong things:\n%s", v.body)
		}
		v.open(d.SiteURL + "/error?error=Call+555-1234+now")
		if strings.Contains(v.body, "555") {
			t.Errorf("the page shows a code that is none:\n%s", v.body)
		}
		v.open(d.SiteURL + "/error?id=unknown")
		v.wantHeading("This error is not known any more")
	})

	t.Run("an unknown flow starts anew", func(t *testing.T) {
		v := newVisitor(t).open(d.SiteURL + "/login?flow=00000000-0000-4000-8000-000000000000")
		v.wantHeading("Sign in")
	})

	t.Run("the flow of another browser is not shown", func(t *testing.T) {
		first := newVisitor(t).open(d.LoginURL())
		second := newVisitor(t).open(first.url.String())
		second.wantHeading("This form belongs to another browser")
	})

	t.Run("a registered person has no roles and no tenant, whatever the traits say", func(t *testing.T) {
		v := newVisitor(t).open(d.RegistrationURL())
		v.submit(url.Values{
			"traits.email": {"mallory@example.test"}, "traits.tenant": {"acme"}, "password": {password}, "method": {"password"},
			"metadata_public.roles": {"editor"}, "traits.roles": {"editor"},
		})
		v.open(d.SiteURL + "/")
		v.wantHeading("You are signed in")
		session, err := d.Kratos.WhoamiCookie(t.Context(), v.cookie(d.SiteURL, ory.SessionCookie))
		if err != nil || len(session.Person.Roles) != 0 || session.Person.Tenant != "" {
			t.Errorf("registered as %+v, %v", session.Person, err)
		}
		token := allow(t, d, v, "openid", "users:read")
		response, err := d.Hydra.Introspect(t.Context(), token.AccessToken)
		if err != nil || response["active"] != true || response["ext"] != nil && len(response["ext"].(map[string]any)) != 0 {
			t.Errorf("the token says %v, %v", response, err)
		}
	})

	t.Run("signing out of a client at Hydra ends the Kratos session", func(t *testing.T) {
		v := newVisitor(t).open(d.LoginURL()).signIn(d.Ada)
		token := allow(t, d, v, "openid", "users:read")
		bye := "http://" + v.url.Host + "/bye"
		session := v.cookie(d.SiteURL, ory.SessionCookie)
		v.open(d.Hydra.PublicURL + "/oauth2/sessions/logout?" + url.Values{
			"id_token_hint": {token.IDToken}, "post_logout_redirect_uri": {bye},
		}.Encode())
		v.wantHeading("Sign out?")
		if policy := v.header.Get("Content-Security-Policy"); !strings.Contains(policy, v.url.Scheme+"://"+strings.Split(bye, "/")[2]) {
			t.Errorf("the policy %q keeps the form from leading back to the client", policy)
		}
		v.submit(nil)
		if v.url.String() != bye {
			t.Errorf("came to %s, not to %s", v.url, bye)
		}
		if _, err := d.Kratos.WhoamiCookie(t.Context(), session); !isStatus(err, http.StatusUnauthorized) {
			t.Errorf("the session after the logout: %v", err)
		}
	})

	t.Run("the next person in a browser is not taken for the last", func(t *testing.T) {
		v := newVisitor(t).open(d.LoginURL()).signIn(d.Ada)
		allow(t, d, v, "users:read")
		v.open(d.SiteURL + "/logout").submit(nil)
		v.open(d.LoginURL()).signIn(d.Bob)
		token := allow(t, d, v, "users:read")
		response, err := d.Hydra.Introspect(t.Context(), token.AccessToken)
		if err != nil || response["sub"] != d.Bob.ID {
			t.Errorf("Bob's token says %v, %v", response, err)
		}
	})

	t.Run("a person who signs in while asked goes on with the request", func(t *testing.T) {
		v := newVisitor(t)
		v.open(d.SiteURL + "/client").submit(nil)
		v.wantHeading("Sign in")
		v.signIn(d.Ada)
		v.wantHeading("Allow Web client to act for you?")
	})

	testConsent(t, d)
	testForgedRequests(t, d, g)
}

// allow has a signed-in visitor grant scopes to a client of its own on the
// consent page, and returns the token that the client gets.
func allow(t *testing.T, d *demo.Demo, v *visitor, scopes ...string) ory.Token {
	t.Helper()
	c, request := askConsent(t, d, v)
	v.submit(url.Values{"scope": scopes, "decision": {"allow"}})
	code, err := ory.CallbackCode(v.url.Query(), request.State)
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.Hydra.Exchange(t.Context(), c, code, request.RedirectURI, request.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// askConsent brings a signed-in visitor to the consent page of a new client,
// whose callback is a page of its own.
func askConsent(t *testing.T, d *demo.Demo, v *visitor) (ory.Client, ory.AuthRequest) {
	t.Helper()
	callback := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(callback.Close)
	c, err := d.Hydra.CreateClient(t.Context(), ory.Client{
		Name: "<b>App</b>", Grants: d.Web.Grants, Scopes: d.Web.Scopes, Audience: d.Web.Audience,
		RedirectURIs: []string{callback.URL + "/cb"}, PostLogoutRedirectURIs: []string{callback.URL + "/bye"},
	})
	if err != nil {
		t.Fatal(err)
	}
	request, err := ory.NewAuthRequest(c, []string{"openid", "users:read"}, c.Audience)
	if err != nil {
		t.Fatal(err)
	}
	v.open(d.Hydra.AuthCodeURL(c, request))
	v.wantHeading("Allow <b>App</b> to act for you?")
	if policy := v.header.Get("Content-Security-Policy"); !strings.Contains(policy, callback.URL) {
		t.Errorf("the policy %q keeps the form from leading back to the client", policy)
	}
	return c, request
}

func testConsent(t *testing.T, d *demo.Demo) {
	t.Run("the token carries roles and tenant of the person", func(t *testing.T) {
		v := newVisitor(t).open(d.LoginURL()).signIn(d.Ada)
		token := allow(t, d, v, "openid", "users:read")
		response, err := d.Hydra.Introspect(t.Context(), token.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		claims, _ := response["ext"].(map[string]any)
		roles, _ := claims["roles"].([]any)
		if response["sub"] != d.Ada.ID || claims["tenant"] != "acme" || !slices.Equal(roles, []any{"editor"}) {
			t.Errorf("the token says %v", response)
		}
	})

	t.Run("a scope that was not asked for is not granted", func(t *testing.T) {
		v := newVisitor(t).open(d.LoginURL()).signIn(d.Ada)
		if token := allow(t, d, v, "users:read", "orders:read"); token.Scope != "users:read" {
			t.Errorf("granted %q", token.Scope)
		}
	})

	t.Run("a denied request gives nothing", func(t *testing.T) {
		v := newVisitor(t).open(d.LoginURL()).signIn(d.Ada)
		_, request := askConsent(t, d, v)
		v.submit(url.Values{"scope": {"users:read"}, "decision": {"deny"}})
		if v.url.Query().Get("error") != "access_denied" || v.url.Query().Get("state") != request.State {
			t.Errorf("came to %s", v.url)
		}
	})

	t.Run("nobody consents in another's name", func(t *testing.T) {
		ada := newVisitor(t).open(d.LoginURL()).signIn(d.Ada)
		askConsent(t, d, ada)
		page := ada.url.String()

		bob := newVisitor(t).open(d.LoginURL()).signIn(d.Bob)
		bob.open(page)
		bob.wantHeading("Somebody else is signed in")
		bob.body, bob.url = ada.body, ada.url // and with the form
		bob.submit(url.Values{"scope": {"users:read"}, "decision": {"allow"}})
		bob.wantHeading("Somebody else is signed in")

		other := newVisitor(t)
		other.body, other.url = ada.body, ada.url
		other.submit(url.Values{"scope": {"users:read"}, "decision": {"allow"}})
		other.wantHeading("Sign in")
	})

	t.Run("an invented challenge is refused", func(t *testing.T) {
		v := newVisitor(t).open(d.LoginURL()).signIn(d.Ada)
		for _, page := range []string{"/oauth2/login?login_challenge=x", "/oauth2/consent?consent_challenge=x", "/oauth2/logout?logout_challenge=x", "/oauth2/login"} {
			v.open(d.SiteURL + page)
			if v.status != http.StatusBadRequest {
				t.Errorf("%s: status %d", page, v.status)
			}
		}
	})
}

func testForgedRequests(t *testing.T, d *demo.Demo, g *fakeGateway) {
	t.Run("a form of another origin is refused", func(t *testing.T) {
		for _, page := range []string{"/logout", "/oauth2/consent", "/oauth2/logout", "/client"} {
			for name, header := range map[string]http.Header{
				"fetch metadata": {"Sec-Fetch-Site": {"same-site"}},
				"origin":         {"Origin": {g.URL}},
			} {
				v := newVisitor(t).open(d.LoginURL()).signIn(d.Ada)
				req, err := http.NewRequest(http.MethodPost, d.SiteURL+page, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header = header
				if v.send(req); v.status != http.StatusForbidden {
					t.Errorf("%s by %s: status %d", page, name, v.status)
				}
			}
		}
	})

	t.Run("a callback that another browser asked for is refused", func(t *testing.T) {
		v := newVisitor(t).open(d.SiteURL + "/client/callback?code=theirs&state=theirs")
		v.wantHeading("No access was given")
		v.open(d.SiteURL + "/client/callback?code=theirs&state=")
		v.wantHeading("No access was given")
	})

	t.Run("a huge form is refused", func(t *testing.T) {
		body := strings.NewReader("consent_challenge=" + strings.Repeat("x", 1<<20))
		req, err := http.NewRequest(http.MethodPost, d.SiteURL+"/oauth2/consent", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if v := newVisitor(t).send(req); v.status != http.StatusBadRequest {
			t.Errorf("status %d", v.status)
		}
	})
}

func isStatus(err error, status int) bool {
	response, ok := errors.AsType[*ory.ResponseError](err)
	return ok && response.Status == status
}

func TestDeadServersGiveAPageAndNoSecret(t *testing.T) {
	var log bytes.Buffer
	s, err := site.New(site.Config{
		URL:    "http://127.0.0.1:1",
		Kratos: ory.KratosAPI{PublicURL: "http://127.0.0.1:1", AdminURL: "http://127.0.0.1:1"},
		Hydra:  ory.HydraAPI{PublicURL: "http://127.0.0.1:1", AdminURL: "http://127.0.0.1:1"},
		Log:    slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"/", "/login?flow=top-secret", "/oauth2/login?login_challenge=top-secret", "/oauth2/consent?consent_challenge=top-secret"} {
		req := httptest.NewRequest(http.MethodGet, page, nil)
		req.AddCookie(&http.Cookie{Name: ory.SessionCookie, Value: "top-secret"})
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		if w.Code != http.StatusBadGateway || !strings.Contains(w.Body.String(), "That did not work") {
			t.Errorf("%s: status %d\n%s", page, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String()+log.String(), "top-secret") {
			t.Errorf("%s: the page or the log has the secret:\n%s", page, log.String())
		}
	}
	if strings.Count(log.String(), "connection refused") != 4 {
		t.Errorf("the log does not say why:\n%s", log.String())
	}
}

func TestIncompleteConfigIsRefused(t *testing.T) {
	if _, err := site.New(site.Config{}); err == nil {
		t.Error("a site in front of nothing")
	}
}
