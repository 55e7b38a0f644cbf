package hosts

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/dev/oidcprovider"
	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

// levelTwo is what the provider writes into acr for a second factor.
const levelTwo = "urn:test:two"

// twoProviders are one that does all that is asked of it, and one shaped like Google's.
// Every host is a client of both.
type twoProviders struct {
	staff, guests oidcprovider.Provider
	key           string // of the clients of staff, as PEM
	logouts       *logouts
}

// logouts passes on what a provider sends to hosts that start after it.
type logouts struct {
	mu   sync.Mutex
	base map[string]string // of a host by its name
	url  string
}

func newLogouts(t *testing.T) *logouts {
	l := &logouts{base: map[string]string{}}
	s := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		l.mu.Lock()
		defer l.mu.Unlock()
		to, err := url.Parse(l.base[strings.TrimPrefix(r.In.URL.Path, "/")] + "/backchannel")
		if err != nil {
			t.Error(err)
			return
		}
		r.Out.URL, r.Out.Host = to, "app.test"
	}})
	t.Cleanup(s.Close)
	l.url = s.URL
	return l
}

func (l *logouts) passTo(name, base string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.base[name] = base
}

func startTwoProviders(t *testing.T) twoProviders {
	t.Helper()
	two := twoProviders{logouts: newLogouts(t)}
	key := coretest.NewKey(t, "", "ES256")
	der, err := x509.MarshalECPrivateKey(key.Private.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	two.key = string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	jwks := map[string]any{"keys": []any{coretest.Merged(key.JWK(t), map[string]any{"kid": "gate"})}}
	var staff, guests []any
	for name := range starts {
		client := func(more map[string]any) map[string]any {
			return coretest.Merged(map[string]any{
				"client_id": name, "redirect_uris": []any{site + "/callback"}, "response_types": []any{"code"}, "grant_types": []any{"authorization_code", "refresh_token"},
			}, more)
		}
		staff = append(staff, client(map[string]any{
			"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256", "jwks": jwks,
			"post_logout_redirect_uris": []any{site + "/bye"}, "backchannel_logout_uri": two.logouts.url + "/" + name, "backchannel_logout_session_required": true,
		}))
		guests = append(guests, client(map[string]any{"token_endpoint_auth_method": "client_secret_post", "client_secret": tokenSecret}))
	}
	two.staff = oidcprovider.Start(t, oidcprovider.Options{Clients: staff, StepsUp: true})
	two.guests = oidcprovider.Start(t, oidcprovider.Options{Clients: guests, Google: true, AccessTokenSeconds: 4})
	return two
}

const recent = 10 * time.Second

// config is a gate for the site and its subdomains.
func (two twoProviders) config(name string) map[string]any {
	levels := map[string]any{levelTwo: "aal2"}
	return map[string]any{
		"permission_table": `authenticated:
  - GET,POST /orders
  - {methods: [GET], path: /payouts, require: {aal: aal2}}
  - {methods: [GET], path: /keys, require: {max_age: ` + recent.String() + `}}`,
		"login": map[string]any{"oidc": map[string]any{
			"providers": []any{
				map[string]any{
					"name": "staff", "discovery": two.staff.Discovery(), "client_id": name, "token_endpoint_auth_method": "private_key_jwt", "client_private_key": two.key,
					"response_mode": "form_post", "pushed_authorization_requests": "always", "userinfo": true, "scope": "openid email", "acr_levels": levels, "leeway": 0,
				},
				map[string]any{
					"name": "guests", "discovery": two.guests.Discovery(), "client_id": name, "client_secret": tokenSecret, "token_endpoint_auth_method": "client_secret_post",
					"userinfo": true, "scope": "openid email", "authorization_params": map[string]any{"access_type": "offline", "prompt": "consent"}, "acr_levels": levels, "leeway": 0,
				},
			},
			"redirect_uri": site + "/callback", "post_logout_redirect_uri": site + "/bye", "return_origins": []any{"https://*.app.test"}, "back_channel_logout_path": "/backchannel",
			"session": map[string]any{"secret": []any{tokenSecret}, "cookie": map[string]any{"domain": "app.test"}},
		}},
	}
}

// guest is a visitor with a browser at the providers.
type guest struct {
	*visitor
	person *oidcprovider.Person
}

func newGuest(t *testing.T, h *running, name string) guest {
	v := newVisitor(t, h)
	v.session = "__Secure-gatehouse"
	return guest{v, oidcprovider.NewPerson(t, name)}
}

var link = regexp.MustCompile(`<a href="([^"]*)"`)

// chooses goes from a page by the page of choice to a provider, and returns what the browser
// brings back.
func (g guest) chooses(idp, page string) (method string, to *url.URL, form url.Values) {
	g.t.Helper()
	start := g.wants(http.StatusFound, "a page that needs a sign-in", page).Header.Get("Location")
	choice, err := io.ReadAll(g.wants(http.StatusOK, "the page of choice", start).Body)
	if err != nil {
		g.t.Fatal(err)
	}
	links := link.FindAllStringSubmatch(string(choice), -1)
	i := slices.IndexFunc(links, func(l []string) bool { return strings.Contains(l[1], "idp="+idp) })
	if i < 0 || len(links) != 2 {
		g.t.Fatalf("the page of choice has %q", links)
	}
	address := g.wants(http.StatusSeeOther, "the start", html.UnescapeString(links[i][1])).Header.Get("Location")
	if pushed := strings.Contains(address, "request_uri="); pushed != (idp == "staff") {
		g.t.Errorf("%s: pushed: %v", idp, pushed)
	}
	return g.person.Visit(address, site)
}

// brings takes it to the gate.
func (g guest) brings(method string, to *url.URL, form url.Values) *http.Response {
	g.t.Helper()
	if method == http.MethodPost {
		return g.post(to.String(), form.Encode())
	}
	return g.send(method, to.String())
}

func (g guest) signsIn(idp, page string) {
	g.t.Helper()
	response := g.brings(g.chooses(idp, page))
	if to := response.Header.Get("Location"); response.StatusCode != http.StatusSeeOther || to != g.url(page).String() {
		g.t.Fatalf("%s: the sign-in for %s ends with %d at %q: %s", idp, page, response.StatusCode, to, readAll(g.t, response))
	}
	g.wants(http.StatusOK, "the page after the sign-in", page)
}

func readAll(t *testing.T, response *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// endsAtAPage wants a page that says why, and no way to the next sign-in but by a link.
func (g guest) endsAtAPage(what, says string, response *http.Response) {
	g.t.Helper()
	text := readAll(g.t, response)
	if response.StatusCode != http.StatusForbidden || response.Header.Get("Location") != "" || !strings.Contains(text, says) {
		g.t.Errorf("%s: %d at %q: %s", what, response.StatusCode, response.Header.Get("Location"), text)
	}
}

// TestSeveralProvidersOnEveryHost has people choose between a certified provider, which
// posts its response, takes pushed requests, knows the gate by private_key_jwt and steps up,
// and one shaped like Google's, which does none of these, for apps on two hosts.
func TestSeveralProvidersOnEveryHost(t *testing.T) {
	two := startTwoProviders(t)
	for name := range maps.Keys(starts) {
		t.Run(name, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), "log")
			onHost(t, name, two.config(name), output, func(t *testing.T, h *running) {
				t.Cleanup(func() {
					if text, _ := os.ReadFile(output); t.Failed() {
						t.Logf("%s", text)
					}
				})
				two.logouts.passTo(name, h.base)
				checkScripts(t, newVisitor(t, h))

				ada := newGuest(t, h, "ada")
				ada.signsIn("staff", "https://shop.app.test/orders")
				ada.wants(http.StatusOK, "an app on another host", site+"/orders")
				ada.signsIn("staff", "/payouts")

				bob := newGuest(t, h, "bob")
				bob.signsIn("guests", "/orders")
				signedIn := time.Now()
				bob.endsAtAPage("a provider that does not step up", "A stronger sign-in is needed", bob.brings(bob.chooses("guests", "/payouts")))
				bob.wants(http.StatusOK, "a page after a step-up that failed", "/orders")
				checkRenewal(t, bob.visitor)

				time.Sleep(time.Until(signedIn.Add(recent + 2*time.Second)))
				bob.endsAtAPage("a provider that signs nobody in anew", "more recent", bob.brings(bob.chooses("guests", "/keys")))
				ada.signsIn("staff", "/keys")
				checkForeignCallback(t, h)

				if to := bob.wants(http.StatusSeeOther, "the logout where the provider has none", "/logout").Header.Get("Location"); to != site+"/bye" || len(bob.cookies()) > 0 {
					t.Errorf("the logout leads to %q and leaves %v", to, bob.cookies())
				}
				ada.person.SignOut(two.staff)
				await(t, "the logout at the provider ends the session", func() bool {
					return ada.send(http.MethodGet, "/orders", "Accept", "application/json").StatusCode == http.StatusUnauthorized
				})
			})
		})
	}
}

// checkForeignCallback brings the form of one browser's sign-in to the gate by another's.
func checkForeignCallback(t *testing.T, h *running) {
	t.Helper()
	eve, victim := newGuest(t, h, "eve"), newGuest(t, h, "zoe")
	method, to, form := eve.chooses("staff", "/orders")
	if response := victim.brings(method, to, form); response.StatusCode != http.StatusUnauthorized || len(victim.cookies()) > 0 {
		t.Errorf("the callback in another browser: %d, %v", response.StatusCode, victim.cookies())
	}
	if response := eve.send(http.MethodGet, to.String()+"?"+form.Encode()); response.StatusCode != http.StatusUnauthorized || len(eve.cookies()) > 0 {
		t.Errorf("the form of the callback as a query: %d, %v", response.StatusCode, eve.cookies())
	}
}

// checkScripts wants 401 for what is no browser that opens a page, and never a redirect.
func checkScripts(t *testing.T, v *visitor) {
	t.Helper()
	for name, c := range map[string]struct {
		method  string
		headers []string
	}{
		"fetch":       {"GET", []string{"Accept", "*/*", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}},
		"fetch, HTML": {"GET", []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}},
		"XHR":         {"GET", []string{"X-Requested-With", "XMLHttpRequest"}},
		"JSON":        {"GET", []string{"Accept", "application/json"}},
		"gRPC-web":    {"POST", []string{"Accept", "application/grpc-web", "Content-Type", "application/grpc-web+proto"}},
		"WebSocket":   {"GET", []string{"Upgrade", "websocket", "Connection", "Upgrade", "Sec-Websocket-Version", "13", "Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-Fetch-Mode", "websocket"}},
		"image":       {"GET", []string{"Accept", "image/avif,*/*;q=0.8", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}},
		"events":      {"GET", []string{"Accept", "text/event-stream"}},
		"a form":      {"POST", []string{"Content-Type", "application/x-www-form-urlencoded"}},
	} {
		for _, target := range []string{"/orders", "/signin?return_to=/orders", "/callback?state=s&code=c"} {
			response := v.send(c.method, target, c.headers...)
			refused := response.StatusCode == http.StatusUnauthorized || c.method == "POST" && target != "/orders" && response.StatusCode >= 400 ||
				name == "gRPC-web" && response.Header.Get("Grpc-Status") != "" && response.Header.Get("Grpc-Status") != "0"
			if !refused || response.Header.Get("Location") != "" || len(response.Cookies()) > 0 {
				t.Errorf("%s at %s: %d to %q", name, target, response.StatusCode, response.Header.Get("Location"))
			}
		}
	}
}

// TestHydraPostsItsResponseAndSignsOutInAFrameOnEveryHost has the gate known by a key whose
// assertions are for the token endpoint, as Hydra wants it.
func TestHydraPostsItsResponseAndSignsOutInAFrameOnEveryHost(t *testing.T) {
	hydra := orytest.Hydra(t, ory.HydraConfig{})
	key := coretest.NewKey(t, "", "ES256")
	der, err := x509.MarshalECPrivateKey(key.Private.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name := range maps.Keys(starts) {
		t.Run(name, func(t *testing.T) {
			client, err := hydra.CreateClient(t.Context(), ory.Client{
				ID: "frames-" + name, Grants: []string{"authorization_code", "refresh_token"}, Scopes: []string{"openid", "offline"}, RedirectURIs: []string{site + "/callback"},
				AuthMethod: "private_key_jwt", JWKS: map[string]any{"keys": []any{coretest.Merged(key.JWK(t), map[string]any{"kid": "gate"})}}, FrontChannelLogoutURI: site + "/frontchannel",
			})
			if err != nil {
				t.Fatal(err)
			}
			config := signInConfig(hydra, client)
			settings := config["login"].(map[string]any)["oidc"].(map[string]any)
			settings["front_channel_logout_path"] = "/frontchannel"
			settings["session"].(map[string]any)["cookie"] = map[string]any{"same_site": "None"}
			provider := settings["providers"].([]any)[0].(map[string]any)
			delete(provider, "client_secret")
			maps.Copy(provider, map[string]any{
				"response_mode": "form_post", "token_endpoint_auth_method": "private_key_jwt", "assertion_audience": "token_endpoint",
				"client_private_key": string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
			})
			onHost(t, name, config, filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) {
				browser, err := ory.NewBrowser()
				if err != nil {
					t.Fatal(err)
				}
				ada := newVisitor(t, h)
				start := ada.wants(http.StatusFound, "a page without a session", "/orders").Header.Get("Location")
				address := ada.wants(http.StatusSeeOther, "the start", start).Header.Get("Location")
				method, to, form, err := hydra.Visit(t.Context(), browser, address, ory.Grant{Subject: "ada", Scopes: []string{"openid", "offline"}})
				if err != nil || method != http.MethodPost {
					t.Fatalf("%s, %v", method, err)
				}
				if response := ada.post(to.String(), form.Encode()); response.StatusCode != http.StatusSeeOther || response.Header.Get("Location") != site+"/orders" {
					t.Fatalf("the callback: %d %s", response.StatusCode, readAll(t, response))
				}
				ada.wants(http.StatusOK, "the page after the sign-in", "/orders")
				copied := ada.with(ada.cookies())
				frames, err := hydra.SignOutFrames(t.Context(), browser)
				if err != nil || len(frames) != 1 || !strings.HasPrefix(frames[0], site+"/frontchannel?") {
					t.Fatalf("frames %q, %v", frames, err)
				}
				stranger := newVisitor(t, h)
				inFrame := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}
				stranger.wants(http.StatusOK, "the frame in a stranger's browser", frames[0], inFrame...)
				ada.wants(http.StatusOK, "a page after a stranger has loaded the frame", "/orders")
				response := ada.wants(http.StatusOK, "the frame", frames[0], inFrame...)
				if policy := response.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors "+hydra.PublicURL) {
					t.Errorf("Hydra may not have the page in a frame: %q", policy)
				}
				ada.wants(http.StatusUnauthorized, "a page after the logout at the provider", "/orders", "Accept", "application/json")
				copied.wants(http.StatusUnauthorized, "a copy of the cookie after it", "/orders", "Accept", "application/json")
			})
		})
	}
}
