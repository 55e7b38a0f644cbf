package forwardauth

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/core/signin/session"
	"gatehouse/e2e/vector"
)

const (
	signInHost    = "app.test"
	signInOrigin  = "https://" + signInHost
	sessionCookie = "__Host-gatehouse"
)

// signIn is a site behind a proxy at whose gate people sign in.
type signIn struct {
	*bench
	provider *coretest.FakeProvider
	// cookies are those of a browser, by their names.
	cookies map[string]string
	// exchange sends a request and reads the response to the browser; nil: through the
	// proxy.
	exchange func(request []byte) (vector.Response, error)
}

func (s *signIn) send(t *testing.T, request string) (vector.Response, error) {
	if s.exchange != nil {
		return s.exchange([]byte(request))
	}
	return vector.Send(t.Context(), s.address, []byte(request))
}

// ownCookies are those that the upstream sets itself.
var ownCookies = []string{"theme=dark; Path=/", "cart=7; Path=/; HttpOnly; Secure; SameSite=Lax"}

// maxSession is the most that session.cookie.max_size can be.
const maxSession = 16384

// tokensLast is how long the provider's access tokens last, in seconds.
const tokensLast = 2

func signInGate(discovery, responseMode string) map[string]any {
	return map[string]any{
		"login": map[string]any{"oidc": map[string]any{
			"providers": []any{map[string]any{
				"discovery": discovery, "client_id": "web", "client_secret": "a secret of a client", "response_mode": responseMode,
			}},
			"redirect_uri": signInOrigin + "/callback",
			"session": map[string]any{
				"secret": []any{"0123456789abcdef0123456789abcdef"},
				"cookie": map[string]any{"max_size": maxSession},
			},
		}},
	}
}

// signInAt has a provider, and what the service needs to know.
func signInAt(t *testing.T, responseMode string) *signIn {
	t.Helper()
	provider := coretest.NewFakeProvider(t, coretest.NewClock())
	b := &bench{direct: []string{"/signin", "/callback", "/logout"}, scheme: "https", gate: signInGate(provider.DiscoveryURL(), responseMode)}
	return &signIn{bench: b, provider: provider, cookies: map[string]string{}}
}

// newSignIn starts a proxy with the lists that gatehouse snippet writes.
func newSignIn(t *testing.T, p proxy, responseMode string) *signIn {
	t.Helper()
	foo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, c := range ownCookies {
			w.Header().Add("Set-Cookie", c)
		}
		fmt.Fprintf(w, "%s of %s", r.URL.Path, r.Header.Get("X-Auth-User"))
	}))
	t.Cleanup(foo.Close)
	s := signInAt(t, responseMode)
	listed := maps.Clone(s.gate)
	listed["permission_table"], listed["upstream_headers"] = benchTable, map[string]any{}
	for _, name := range identityHeaders {
		listed["upstream_headers"].(map[string]any)[name] = "sub"
	}
	s.start(t, withSnippet(p, listed), benchTable, strings.TrimPrefix(foo.URL, "http://"))
	return s
}

// claims has the provider say so much of people that their session needs several cookies,
// or one.
func (s *signIn) claims(more map[string]any, size int) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	bulk := make([]byte, size)
	for i := range bulk {
		bulk[i] = letters[rand.IntN(len(letters))]
	}
	s.provider.Behave(coretest.Behaviour{
		Claims: coretest.Merged(map[string]any{"bulk": string(bulk)}, more), Token: map[string]any{"expires_in": tokensLast},
	})
}

// open makes a request as a browser that opens a page, or posts a form.
func (s *signIn) open(t *testing.T, target string, form url.Values) vector.Response {
	t.Helper()
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(s.cookies)) {
		pairs = append(pairs, name+"="+s.cookies[name])
	}
	lines := []string{"GET " + target + " HTTP/1.1", "Host: " + signInHost, "Accept: text/html", "Sec-Fetch-Mode: navigate", "Connection: close"}
	if form != nil {
		lines[0] = "POST " + target + " HTTP/1.1"
		lines = append(lines, "Sec-Fetch-Site: cross-site", "Content-Type: application/x-www-form-urlencoded", fmt.Sprint("Content-Length: ", len(form.Encode())))
	}
	if len(pairs) > 0 {
		lines = append(lines, "Cookie: "+strings.Join(pairs, "; "))
	}
	response, err := s.send(t, strings.Join(lines, "\r\n")+"\r\n\r\n"+form.Encode())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range response.Header.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			t.Fatalf("%.80q: %v in %v", line, err, response.Header)
		}
		if strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite == 0) {
			t.Errorf("a browser gets %.80s", line)
		}
		if s.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(s.cookies, c.Name)
		}
	}
	return response
}

// sessionNames are those of the cookies of the session.
func (s *signIn) sessionNames() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(s.cookies)) {
		if name == sessionCookie || strings.HasPrefix(name, sessionCookie+".") {
			names = append(names, name)
		}
	}
	return names
}

var hiddenField = regexp.MustCompile(`name="([^"]*)" value="([^"]*)"`)

// signIn goes from a page to the provider and back.
func (s *signIn) signIn(t *testing.T) {
	t.Helper()
	start := s.open(t, "/private", nil)
	location := start.Header.Get("Location")
	if start.Status != http.StatusFound || location != signInOrigin+"/signin?return_to="+url.QueryEscape(signInOrigin+"/private") {
		t.Fatalf("a page without a session: %d to %q", start.Status, location)
	}
	begun := s.open(t, strings.TrimPrefix(location, signInOrigin), nil)
	if begun.Status != http.StatusSeeOther {
		t.Fatalf("the start: %d %s", begun.Status, begun.Body)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Get(begun.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, _ := io.ReadAll(response.Body)
	target, form := strings.TrimPrefix(response.Header.Get("Location"), signInOrigin), url.Values(nil)
	if target == "" {
		target, form = "/callback", url.Values{}
		for _, field := range hiddenField.FindAllStringSubmatch(string(page), -1) {
			form.Set(field[1], field[2])
		}
	}
	back := s.open(t, target, form)
	if to := back.Header.Get("Location"); back.Status != http.StatusSeeOther || to != signInOrigin+"/private" {
		t.Fatalf("the callback: %d to %q: %s", back.Status, to, back.Body)
	}
}

// renewed opens the page until its response has a renewed session, and returns it.
func (s *signIn) renewed(t *testing.T) vector.Response {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		response := s.open(t, "/private", nil)
		if response.Status != http.StatusOK || string(response.Body) != "/private of user-1" {
			t.Fatalf("%d %s\n%s", response.Status, response.Body, s.service.log.String())
		}
		all := response.Header.Values("Set-Cookie")
		var own, others []string
		for _, line := range all {
			if strings.HasPrefix(line, sessionCookie) {
				others = append(others, line)
			} else {
				own = append(own, line)
			}
		}
		if !slices.Equal(own, ownCookies) {
			t.Fatalf("of the cookies of the upstream %q the browser gets %q", ownCookies, own)
		}
		if len(others) > 0 {
			return response
		}
		if time.Now().After(end) {
			t.Fatalf("no renewed cookie within a minute\n%s", s.service.log.String())
		}
	}
}

// TestSessionsOfTheSignInBehindRealProxies: people sign in through each proxy, and the
// cookies of their session are renewed, changed in number and deleted, beside those of
// the upstream.
func TestSessionsOfTheSignInBehindRealProxies(t *testing.T) {
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel() // each waits for tokens to end
			newSignIn(t, p, "query").lives(t)
		})
	}
}

// lives has somebody sign in and go on until the provider ends the session.
func (s *signIn) lives(t *testing.T) {
	t.Helper()
	s.claims(nil, 2200)
	s.signIn(t)
	chunks := []string{sessionCookie + ".0", sessionCookie + ".1"}
	if got := s.sessionNames(); !slices.Equal(got, chunks) {
		t.Fatalf("the session is in %q", got)
	}
	before := s.cookies[chunks[0]]
	if s.renewed(t); s.cookies[chunks[0]] == before || !slices.Equal(s.sessionNames(), chunks) {
		t.Errorf("after the renewal the session is in %q", s.sessionNames())
	}
	s.claims(nil, 10)
	if s.renewed(t); !slices.Equal(s.sessionNames(), []string{sessionCookie}) {
		t.Errorf("after the renewal of a smaller session it is in %q", s.sessionNames())
	}
	s.claims(nil, 2200)
	if s.renewed(t); !slices.Equal(s.sessionNames(), chunks) {
		t.Errorf("after the renewal of a larger session it is in %q", s.sessionNames())
	}

	s.claims(nil, 6600)
	if s.renewed(t); len(s.sessionNames()) != 5 {
		t.Errorf("after the renewal of a session near max_size it is in %q", s.sessionNames())
	}

	s.claims(map[string]any{"sub": "user-2"}, 10) // the provider renews the session of another
	var refused vector.Response
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if refused = s.open(t, "/private", nil); refused.Status != http.StatusOK || time.Now().After(end) {
			break
		}
	}
	if refused.Status != http.StatusFound && refused.Status != http.StatusUnauthorized || len(s.sessionNames()) > 0 {
		t.Errorf("after its end: %d, and the session is in %q", refused.Status, s.sessionNames())
	}
}

// TestSignInByFormPostAndOutAgainBehindRealProxies: the provider has the browser post
// its response, with a body that a proxy passes on to the direct endpoint.
func TestSignInByFormPostAndOutAgainBehindRealProxies(t *testing.T) {
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) {
			s := newSignIn(t, p, "form_post")
			s.claims(nil, 10)
			s.signIn(t)
			if response := s.open(t, "/private", nil); response.Status != http.StatusOK {
				t.Errorf("the page after the sign-in: %d", response.Status)
			}
			copied := maps.Clone(s.cookies)
			out := s.open(t, "/logout", nil)
			if to := out.Header.Get("Location"); out.Status != http.StatusSeeOther || !strings.HasPrefix(to, s.provider.URL+coretest.EndSessionPath) || len(s.sessionNames()) > 0 {
				t.Errorf("the logout: %d to %q, the session is in %q", out.Status, to, s.sessionNames())
			}
			s.cookies = copied
			if response := s.open(t, "/private", nil); response.Status != http.StatusFound {
				t.Errorf("a copy of the cookie after the logout: %d", response.Status)
			}
		})
	}
}

// TestPagesSayHowTheGatesOwnPathsAreRouted: what the tests above have a proxy do is on its
// page.
func TestPagesSayHowTheGatesOwnPathsAreRouted(t *testing.T) {
	for name, lines := range map[string]string{
		"nginx":   fmt.Sprintf(nginxDirect, "/callback"),
		"haproxy": "acl gatehouse_serves path /signin /callback /logout\n" + haproxyDirect,
	} {
		readme, err := shipped(name + "/README.md")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(lines) {
			if line = strings.TrimSpace(line); !strings.Contains(readme, line) {
				t.Errorf("deploy/%s/README.md does not say %s", name, line)
			}
		}
	}
}

// TestExamplesHandOnAsManyCookiesAsASessionHas: one that is left out would leave the
// browser half of a session.
func TestExamplesHandOnAsManyCookiesAsASessionHas(t *testing.T) {
	for file, format := range map[string][]string{
		"nginx/gatehouse_protect.conf":  {"auth_request_set $gatehouse_cookie_%d $upstream_http_gatehouse_set_cookie_%[1]d;"},
		"nginx/gatehouse_cookies.conf":  {"add_header Set-Cookie $gatehouse_cookie_%d always;"},
		"haproxy/haproxy.cfg":           {"%%[var(txn.gatehouse_cookie_%d)] if { var(txn.gatehouse_cookie_%[1]d) -m found }"},
		"caddy/gatehouse_cookies.caddy": {"header @gatehouse_cookie_%d +Set-Cookie {http.reverse_proxy.header.Gatehouse-Set-Cookie-%[1]d}"},
	} {
		text, err := shipped(file)
		var missing error
		for i := 1; i <= session.MaxLines; i++ {
			for _, f := range format {
				if line := fmt.Sprintf(f, i); !strings.Contains(text, line) {
					missing = errors.Join(missing, errors.New(line))
				}
			}
		}
		if err != nil || missing != nil {
			t.Errorf("deploy/%s: %v, %v", file, err, missing)
		}
	}
	if _, err := shipped("haproxy/gatehouse.lua", fmt.Sprint("max_cookies = ", session.MaxLines, "\n"), ""); err != nil {
		t.Error(err)
	}
}
