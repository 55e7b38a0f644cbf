package hosts

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gatehouse/core/coretest"
	"gatehouse/dev/redistest"
)

// signInAt signs a visitor in at a fake provider.
func (v *visitor) signInAt() {
	v.t.Helper()
	start := v.wants(http.StatusFound, "a page without a session", "/orders").Header.Get("Location")
	address := v.wants(http.StatusSeeOther, "the start", start).Header.Get("Location")
	stay := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := stay.Get(address)
	if err != nil {
		v.t.Fatal(err)
	}
	response.Body.Close()
	v.wants(http.StatusSeeOther, "the callback", response.Header.Get("Location"))
	v.wants(http.StatusOK, "the page after the sign-in", "/orders")
}

// fakeSignIn is a gate at which people sign in at a fake provider.
func fakeSignIn(p *coretest.FakeProvider, session map[string]any, more map[string]any) map[string]any {
	return coretest.Merged(map[string]any{
		"permission_table": `{public: [GET /open], authenticated: ["GET,POST /orders"]}`,
		"login": map[string]any{"oidc": map[string]any{
			"providers":    []any{map[string]any{"discovery": p.DiscoveryURL(), "client_id": "gate", "client_secret": "hunter2"}},
			"redirect_uri": site + "/callback",
			"session":      coretest.Merged(map[string]any{"secret": []any{tokenSecret}}, session),
		}},
	}, more)
}

// TestSessionsInRedisOnEveryHost has each host share sessions with another node, lose its
// Redis, and learn of a logout that the other node has served.
func TestSessionsInRedisOnEveryHost(t *testing.T) {
	p := coretest.NewFakeProvider(t, coretest.NewClock())
	for name := range starts {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			host, text, _ := net.SplitHostPort(server.Addr)
			port, _ := strconv.Atoi(text)
			more := map[string]any{"redis": map[string]any{"host": host, "port": port, "timeout": 1, "secret": "a secret of the whole fleet, long enough"}}
			if name == "apisix" {
				more["revocation"] = map[string]any{} // the others do without
			}
			config := fakeSignIn(p, map[string]any{"storage": "redis"}, more)
			output := filepath.Join(t.TempDir(), "log")
			t.Cleanup(func() {
				if text, _ := os.ReadFile(output); t.Failed() {
					t.Logf("%s", text)
				}
			})
			onHost(t, name, config, output, func(t *testing.T, h *running) {
				onHost(t, "forwardauth", config, output, func(t *testing.T, other *running) {
					ada := newVisitor(t, h)
					ada.signInAt()
					if c := ada.cookies(); len(c) != 1 || len(c[0].Value) != 43 {
						t.Fatalf("%d cookies; want one of 256 random bits", len(c))
					}
					there := newVisitor(t, other).with(ada.cookies())
					there.wants(http.StatusOK, "the other node", "/orders")

					server.Freeze()
					fresh := newVisitor(t, h).with([]*http.Cookie{{Name: sessionCookie, Value: strings.Repeat("A", 43)}})
					for _, v := range []*visitor{fresh, newVisitor(t, other).with(fresh.cookies())} {
						v.wants(http.StatusServiceUnavailable, "a session that nobody has looked up, while Redis is frozen", "/orders", "Accept", "application/json")
						v.wants(http.StatusOK, "a public page with its cookie", "/open")
					}
					if name != "apisix" { // where no session is cached
						ada.wants(http.StatusServiceUnavailable, "a session while Redis is frozen", "/orders")
					}
					newVisitor(t, h).wants(http.StatusFound, "a browser without a session, while Redis is frozen", "/orders")
					server.Thaw()
					await(t, "sessions to count again", func() bool { return ada.send(http.MethodGet, "/orders").StatusCode == http.StatusOK })
					await(t, "sessions to count again at the other node", func() bool { return there.send(http.MethodGet, "/orders").StatusCode == http.StatusOK })

					copied := newVisitor(t, h).with(ada.cookies())
					there.wants(http.StatusSeeOther, "the logout at the other node", "/logout")
					if name == "apisix" {
						await(t, "the revocation to come", func() bool { return copied.send(http.MethodGet, "/orders").StatusCode == http.StatusFound })
					}
					copied.wants(http.StatusFound, "a page after the logout at the other node", "/orders")
					copied.wants(http.StatusUnauthorized, "a script after the logout at the other node", "/orders", "Accept", "application/json")
				})
			})
		})
	}
}

// TestCookieThatIsNoSessionIsOneRefusalOnEveryHost: whatever a browser has made of its
// cookies, a program gets 401 with the id of its request, and the log has one line that
// says why.
func TestCookieThatIsNoSessionIsOneRefusalOnEveryHost(t *testing.T) {
	p := coretest.NewFakeProvider(t, coretest.NewClock())
	pad := ""
	for len(pad) < 6000 { // more than a cookie holds, and not compressible
		pad += rand.Text()
	}
	p.Behave(coretest.Behaviour{Claims: map[string]any{"pad": pad}})
	foreign := fakeSignIn(p, map[string]any{"keep_id_token": false, "secret": []any{strings.Repeat("f", 32)}}, nil)
	output := filepath.Join(t.TempDir(), "log")
	for name := range starts {
		t.Run(name, func(t *testing.T) {
			var theirs []*http.Cookie
			onHost(t, "forwardauth", foreign, output, func(t *testing.T, h *running) {
				v := newVisitor(t, h)
				v.signInAt()
				theirs = v.cookies()
			})
			onHost(t, name, fakeSignIn(p, map[string]any{"keep_id_token": false}, nil), output, func(t *testing.T, h *running) {
				ada := newVisitor(t, h)
				ada.signInAt()
				own := ada.cookies()
				if len(own) < 2 || own[0].Name != sessionCookie+".0" {
					t.Fatalf("%d cookies; want chunks", len(own))
				}
				first, second := own[0].Value, own[1].Value
				chunk := func(i int, value string) *http.Cookie {
					return &http.Cookie{Name: sessionCookie + "." + strconv.Itoa(i), Value: value}
				}
				for attack, cookies := range map[string][]*http.Cookie{
					"chunks in another order":       {chunk(0, second), chunk(1, first)},
					"the last chunk missing":        {chunk(0, first)},
					"the first chunk missing":       {chunk(1, second)},
					"a chunk truncated":             {chunk(0, first), chunk(1, second[:len(second)-1])},
					"a byte changed":                {chunk(0, first[:100]+string(first[100]^1)+first[101:]), chunk(1, second)},
					"a chunk of another's session":  {chunk(0, first), chunk(1, theirs[len(theirs)-1].Value)},
					"a key that is not the gate's":  theirs,
					"made up":                       {{Name: sessionCookie, Value: "eyJzdWIiOiJhZG1pbiJ9"}},
					"whole, under the name of none": {{Name: sessionCookie, Value: first}},
					"as long as a header may be":    {chunk(0, strings.Repeat("A", 3500)), chunk(1, strings.Repeat("A", 3500))},
				} {
					before := len(readLog(t, output))
					v := newVisitor(t, h).with(cookies)
					id, status := v.problem("/orders")
					if status != http.StatusUnauthorized || len(id) != 32 {
						t.Errorf("%s: %d, request id %q", attack, status, id)
						continue
					}
					await(t, "the line of the log", func() bool { return strings.Contains(readLog(t, output)[before:], id) })
					lines := 0
					for line := range strings.Lines(readLog(t, output)[before:]) {
						if strings.Contains(line, id) {
							lines++
							if !strings.Contains(line, "cause=") || strings.Contains(line, first[:40]) {
								t.Errorf("%s: the log says %s", attack, line)
							}
						}
					}
					if lines != 1 {
						t.Errorf("%s: %d lines of the log", attack, lines)
					}
					if to := v.wants(http.StatusFound, attack+": a page", "/orders").Header.Get("Location"); !strings.HasPrefix(to, site+"/signin?") {
						t.Errorf("%s: a page leads to %s", attack, to)
					}
				}
				ada.wants(http.StatusOK, "the session itself", "/orders")
			})
		})
	}
}

func readLog(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// problem asks as a program does, and returns the id that the response tells.
func (v *visitor) problem(target string) (id string, status int) {
	v.t.Helper()
	r, err := http.NewRequest(http.MethodGet, v.url(target).String(), nil)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json")
	for _, c := range v.jar.Cookies(v.url(target)) {
		r.AddCookie(c)
	}
	response, err := http.DefaultClient.Do(v.host.call(r))
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	var problem struct {
		RequestID string `json:"request_id"`
	}
	_ = json.Unmarshal(body, &problem)
	return problem.RequestID, response.StatusCode
}
