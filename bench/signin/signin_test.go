package signin

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
	"gatehouse/dev/redistest"
)

const (
	host     = "app.test"
	client   = "web"
	secret   = "a secret of a client of a benchmark"
	cookies  = "0123456789abcdef0123456789abcdef" // seals them
	clients  = 8
	turn     = 40 // sign-ins of a subject before it is the other's turn
	callback = "http://" + host + "/oauth2/callback"
)

// provider is where people sign in.
type provider struct {
	issuer string
	// authorize goes from the authorization endpoint to the callback.
	authorize func(address string) (string, error)
}

// fakeProvider answers at once, so that what is measured is not the provider.
func fakeProvider(b *testing.B) provider {
	fake := coretest.NewFakeProvider(b, coretest.NewClock())
	fake.Key = coretest.NewKey(b, "quick", "ES256")
	fake.Publish(fake.Key)
	fake.Discovery("id_token_signing_alg_values_supported", []string{"ES256"})
	browser := noRedirects()
	return provider{fake.URL, func(address string) (string, error) {
		response, err := browser.Get(address)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return response.Header.Get("Location"), err
	}}
}

func hydraProvider(b *testing.B) provider {
	hydra := orytest.Hydra(b, ory.HydraConfig{})
	c := ory.Client{ID: client, Secret: secret, Grants: []string{"authorization_code", "refresh_token"}, Scopes: []string{"openid", "email"}, RedirectURIs: []string{callback}}
	if _, err := hydra.CreateClient(b.Context(), c); err != nil {
		b.Fatal(err)
	}
	return provider{hydra.Issuer(), func(address string) (string, error) {
		browser, err := ory.NewBrowser()
		if err != nil {
			return "", err
		}
		grant := ory.Grant{Subject: "ada", Scopes: c.Scopes, IDToken: map[string]any{"email": "ada@example.test"}}
		_, to, _, err := hydra.Visit(b.Context(), browser, address, grant)
		if err != nil {
			return "", err
		}
		return to.String(), nil
	}}
}

// subject is a program that signs people in.
type subject struct {
	name  string
	base  string
	pid   int
	check func(b *subject, cookie string) (*http.Request, error)
	start string // path
	// passed and refused are the statuses of a check.
	passed, refused int
	http            *http.Client
	spent           time.Duration
	wall            time.Duration
}

func noRedirects() *http.Client {
	return &http.Client{
		Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 2 * clients},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (s *subject) get(path, cookie string) (*http.Request, error) {
	r, err := http.NewRequest(http.MethodGet, s.base+path, nil)
	if err != nil {
		return nil, err
	}
	r.Host = host
	r.Header.Set("Accept", "text/html")
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	return r, nil
}

// ask wants a status, and returns where the response leads and the cookies that it sets.
func (s *subject) ask(r *http.Request, err error, status int) (to, cookie string, _ error) {
	if err != nil {
		return "", "", err
	}
	response, err := s.http.Do(r)
	if err != nil {
		return "", "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if response.StatusCode != status {
		return "", "", fmt.Errorf("%s: %s responds %d, want %d: %.300s", s.name, r.URL.Path, response.StatusCode, status, text)
	}
	var set []string
	for _, c := range response.Cookies() {
		if c.MaxAge >= 0 && c.Value != "" {
			set = append(set, c.Name+"="+c.Value)
		}
	}
	return response.Header.Get("Location"), strings.Join(set, "; "), err
}

// signIn is a whole one: a page without a session, the start, the provider, the callback,
// and the page with the session.
func (s *subject) signIn(p provider, startStatus, callbackStatus int) (cookie string, err error) {
	r, err := s.check(s, "")
	if _, _, err = s.ask(r, err, s.refused); err != nil {
		return "", err
	}
	r, err = s.get(s.start, "")
	to, attempt, err := s.ask(r, err, startStatus)
	if err != nil {
		return "", err
	}
	back, err := p.authorize(to)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(back)
	if err != nil {
		return "", err
	}
	r, err = s.get(u.RequestURI(), attempt)
	if _, cookie, err = s.ask(r, err, callbackStatus); err != nil {
		return "", err
	}
	r, err = s.check(s, cookie)
	_, _, err = s.ask(r, err, s.passed)
	return cookie, err
}

// statuses of the start and of the callback.
func (s *subject) statuses() (start, callback int) {
	if s.name == "gatehouse" {
		return http.StatusSeeOther, http.StatusSeeOther
	}
	return http.StatusFound, http.StatusFound
}

func build(b *testing.B, dir, target string) string {
	b.Helper()
	binary := filepath.Join(b.TempDir(), "program")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", binary, target)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func run(b *testing.B, ready string, binary string, args ...string) int {
	b.Helper()
	cmd := exec.Command(binary, args...)
	log, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b.Failed() {
			text, _ := os.ReadFile(log.Name())
			b.Logf("%.4000s", text)
		}
	})
	for range 400 {
		if c, err := net.Dial("tcp", ready); err == nil {
			c.Close()
			return cmd.Process.Pid
		}
		time.Sleep(25 * time.Millisecond)
	}
	b.Fatalf("%s does not listen on %s", binary, ready)
	return 0
}

func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// gatehouse is forward-auth, asked as nginx asks, with a session in cookies or in Redis.
func gatehouse(b *testing.B, binary string, p provider, redis *redistest.Server) *subject {
	address := freeAddress(b)
	storage, section := "cookie", ""
	if redis != nil {
		h, port, _ := net.SplitHostPort(redis.Addr)
		storage, section = "redis", fmt.Sprintf("redis: {host: %s, port: %s, secret: %s, timeout: 1}", h, port, cookies)
	}
	config := filepath.Join(b.TempDir(), "forwardauth.yaml")
	write(b, config, fmt.Sprintf(`
listen: [{address: %q}]
trusted_proxies: [127.0.0.1]
endpoints: [{path: /auth, dialect: nginx, gate: main}, {dialect: direct, gate: main}]
gates:
  main:
    login:
      oidc:
        providers: [{discovery: %q, issuer: %q, client_id: %s, client_secret: %q, scope: openid email, algorithms: [ES256, RS256]}]
        redirect_uri: %s
        start_path: /oauth2/start
        session: {storage: %s, secret: [%s], claims: [email]}
    %s
    upstream_headers: {X-User: sub, X-Email: email}
    permission_table: |
      authenticated: ["ANY /.*"]
`, address, strings.TrimSuffix(p.issuer, "/")+"/.well-known/openid-configuration", p.issuer, client, secret, callback, storage, cookies, section))
	s := &subject{name: "gatehouse", base: "http://" + address, start: "/oauth2/start?return_to=%2Forders", passed: 200, refused: 401, http: noRedirects()}
	s.check = func(s *subject, cookie string) (*http.Request, error) {
		r, err := s.get("/auth", cookie)
		if err == nil {
			r.Header.Set("Accept", "application/json")
			for name, value := range map[string]string{"X-Original-Method": "GET", "X-Original-URI": "/orders", "X-Forwarded-Host": host, "X-Forwarded-Proto": "http", "X-Forwarded-For": "192.0.2.1"} {
				r.Header.Set(name, value)
			}
		}
		return r, err
	}
	s.pid = run(b, address, binary, "-config", config)
	return s
}

// oauth2Proxy is asked at its endpoint for auth requests.
func oauth2Proxy(b *testing.B, binary string, p provider, redis *redistest.Server) *subject {
	address := freeAddress(b)
	args := []string{
		"--provider=oidc", "--oidc-issuer-url=" + p.issuer, "--client-id=" + client, "--client-secret=" + secret, "--redirect-url=" + callback, "--http-address=" + address,
		"--cookie-secret=" + cookies, "--cookie-secure=false", "--email-domain=*", "--scope=openid email", "--code-challenge-method=S256", "--insecure-oidc-skip-nonce=false",
		"--insecure-oidc-allow-unverified-email=true", "--skip-provider-button=true", "--set-xauthrequest=true", "--reverse-proxy=true", "--upstream=static://202", "--request-logging=false",
		"--auth-logging=false", "--oidc-enabled-signing-alg=ES256", "--oidc-enabled-signing-alg=RS256",
	}
	if redis != nil {
		args = append(args, "--session-store-type=redis", "--redis-connection-url=redis://"+redis.Addr)
	}
	s := &subject{name: "oauth2-proxy", base: "http://" + address, start: "/oauth2/start?rd=%2Forders", passed: 202, refused: 401, http: noRedirects()}
	s.check = func(s *subject, cookie string) (*http.Request, error) { return s.get("/oauth2/auth", cookie) }
	s.pid = run(b, address, binary, args...)
	return s
}

func write(b *testing.B, name, text string) {
	b.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}

// together has clients do something n times.
func (s *subject) together(b *testing.B, clients, n int, do func() error) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	errs := make(chan error, clients)
	var all sync.WaitGroup
	cpu, begun := coretest.CPUTime(b, s.pid), time.Now()
	for range clients {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	s.wall += time.Since(begun)
	s.spent += coretest.CPUTime(b, s.pid) - cpu
	select {
	case err := <-errs:
		b.Fatal(err)
	default:
	}
}

// BenchmarkSideBySide has the two programs take turns on one machine, so that whatever else
// it does affects both.
func BenchmarkSideBySide(b *testing.B) {
	ours, theirs := build(b, "../..", "gatehouse/plugins/forwardauth"), build(b, "oauth2proxy", "github.com/oauth2-proxy/oauth2-proxy/v7")
	for _, c := range []struct {
		provider string
		start    func(*testing.B) provider
		store    string
		clients  int // at a time; Hydra's database in memory takes one
	}{{"fake", fakeProvider, "cookie", clients}, {"fake", fakeProvider, "redis", clients}, {"hydra", hydraProvider, "cookie", 1}} {
		b.Run("provider="+c.provider+"/store="+c.store, func(b *testing.B) {
			p := c.start(b)
			var redis *redistest.Server
			if c.store == "redis" {
				redis = redistest.Start(b)
			}
			subjects := []*subject{gatehouse(b, ours, p, redis), oauth2Proxy(b, theirs, p, redis)}
			b.Run("signin", func(b *testing.B) {
				side(b, subjects, c.clients, turn, func(s *subject) func() error {
					start, callback := s.statuses()
					return func() error { _, err := s.signIn(p, start, callback); return err }
				})
			})
			if c.provider != "fake" {
				return
			}
			b.Run("check", func(b *testing.B) {
				side(b, subjects, c.clients, 100*turn, func(s *subject) func() error {
					start, callback := s.statuses()
					cookie, err := s.signIn(p, start, callback)
					if err != nil {
						b.Fatal(err)
					}
					return func() error {
						r, err := s.check(s, cookie)
						_, _, err = s.ask(r, err, s.passed)
						return err
					}
				})
			})
		})
	}
}

// side measures what each subject does, at least b.N times, in turns.
func side(b *testing.B, subjects []*subject, clients, turn int, what func(*subject) func() error) {
	do := make([]func() error, len(subjects))
	for i, s := range subjects {
		do[i] = what(s)
		s.together(b, clients, turn, do[i]) // warm
		s.spent, s.wall = 0, 0
	}
	b.ResetTimer()
	n := 0
	for ; n < b.N; n += turn {
		for i, s := range subjects {
			s.together(b, clients, turn, do[i])
		}
	}
	for _, s := range subjects {
		b.ReportMetric(float64(n)/s.wall.Seconds(), s.name+"/s")
		b.ReportMetric(float64(s.spent.Microseconds())/float64(n), s.name+"-cpu-us")
	}
}
