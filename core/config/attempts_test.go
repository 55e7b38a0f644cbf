package config

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// flooded is a gate of one kind of credential whose provider is slow for garbage.
type flooded struct {
	section string
	// good and garbage are headers with credentials.
	good    core.Header
	garbage func(i int) core.Header
	kind    string
}

func slow(t *testing.T, s *coretest.Server, healthy http.HandlerFunc, isGood func(*http.Request) bool) (release func()) {
	t.Helper()
	gone := make(chan struct{})
	s.Instead(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !isGood(r) {
			<-gone
		}
		healthy(w, r)
	})
	release = sync.OnceFunc(func() { close(gone) })
	t.Cleanup(release)
	return release
}

// One client with more unknown credentials at a time than there are slots.
func TestFloodOfOneClientDoesNotRefuseANewCaller(t *testing.T) {
	clock := coretest.NewClock()
	const settings = "http: {timeout: 30}"
	introspection := func() (flooded, func()) {
		s := coretest.NewServer(t, http.NotFoundHandler())
		isGood := func(r *http.Request) bool { return r.PostForm.Get("token") == "good" }
		release := slow(t, s, func(w http.ResponseWriter, r *http.Request) {
			json.NewEncoder(w).Encode(map[string]any{"active": isGood(r), "sub": "ada", "exp": 4102444800})
		}, isGood)
		return flooded{
			section: fmt.Sprintf("introspection: {introspection_endpoint: %q, insecure_any_audience: true, %s}", s.URL, settings), kind: "introspection",
			good: bearer("good"), garbage: func(i int) core.Header { return bearer(fmt.Sprint("garbage", i)) },
		}, release
	}
	session := func() (flooded, func()) {
		s := coretest.NewServer(t, http.NotFoundHandler())
		isGood := func(r *http.Request) bool { return strings.Contains(r.Header.Get("Cookie"), "=good") }
		release := slow(t, s, func(w http.ResponseWriter, r *http.Request) {
			if !isGood(r) {
				w.WriteHeader(http.StatusUnauthorized)
				fmt.Fprint(w, `{"error":{"code":401}}`)
				return
			}
			json.NewEncoder(w).Encode(coretest.SessionDocument(clock, nil))
		}, isGood)
		cookie := func(value string) core.Header {
			return core.Header{Name: "Cookie", Value: "ory_kratos_session=" + value}
		}
		return flooded{
			section: fmt.Sprintf("session: {kratos_url: %q, %s}", s.URL, settings), kind: "session",
			good: cookie("good"), garbage: func(i int) core.Header { return cookie(fmt.Sprint("garbage", i)) },
		}, release
	}
	// Tokens of an issuer whose keys do not come, and good ones of another.
	jwts := func() (flooded, func()) {
		good, hangs := coretest.NewIssuer(t, clock), coretest.NewIssuer(t, clock)
		release := slow(t, hangs.Server, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, func(*http.Request) bool { return false })
		return flooded{
			section: fmt.Sprintf("jwt: {issuers: [{issuer: %q, insecure_any_audience: true}, {issuer: %q, insecure_any_audience: true}], %s}", good.URL, hangs.URL, settings), kind: "jwt",
			good: bearer(good.Token(nil)), garbage: func(i int) core.Header { return bearer(hangs.Token(map[string]any{"jti": fmt.Sprint(i)})) },
		}, release
	}
	for name, start := range map[string]func() (flooded, func()){"introspection": introspection, "session": session, "jwt": jwts} {
		t.Run(name, func(t *testing.T) {
			f, release := start()
			gates := NewBuilder(BuilderOptions{})
			gate, err := gates.Gate([]byte(f.section + "\npermission_table: 'authenticated: [GET /me]'"))
			if err != nil {
				t.Fatal(err)
			}
			check := func(client string, credential core.Header) core.Decision {
				return gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/me", Host: "api.test", Client: netip.MustParseAddr(client), Header: []core.Header{credential}})
			}
			const flood = 1500
			credentials := []core.Header{}
			for i := range flood {
				credentials = append(credentials, f.garbage(i))
			}
			var wait sync.WaitGroup
			for _, c := range credentials {
				wait.Go(func() { check("192.0.2.1", c) })
			}
			for s := gates.CacheStats()[f.kind]; s.Calls+s.Waiting < flood; s = gates.CacheStats()[f.kind] {
				time.Sleep(time.Millisecond)
			}
			if d := check("192.0.2.2", f.good); d.Outcome != core.Allow {
				t.Errorf("a new caller: %d %v", d.Status, d.Cause)
			}
			release()
			wait.Wait()
		})
	}
}

func bearer(token string) core.Header {
	return core.Header{Name: "Authorization", Value: "Bearer " + token}
}

// Gates with the same settings are not as many tries.
func TestClientHasOneLimitOnAllRoutes(t *testing.T) {
	idp := coretest.NewFakeIntrospection(t)
	gates := NewBuilder(BuilderOptions{})
	var routes []*core.Gate
	for i := range 4 {
		gate, err := gates.Gate(fmt.Appendf(nil, "introspection: {introspection_endpoint: %q, insecure_any_audience: true}\nfailed_attempts: {count: 8}\npermission_table: 'authenticated: [GET /route%d]'", idp.URL, i))
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, gate)
	}
	var statuses []int
	for i := range 12 {
		r := &core.Request{Method: "GET", Target: fmt.Sprint("/route", i%4), Client: netip.MustParseAddr("192.0.2.1"), Header: []core.Header{bearer(fmt.Sprint("bad", i))}}
		statuses = append(statuses, routes[i%4].Check(t.Context(), r).Status)
	}
	if want := append(slices.Repeat([]int{401}, 8), slices.Repeat([]int{429}, 4)...); !slices.Equal(statuses, want) {
		t.Errorf("%v, want %v", statuses, want)
	}
	if s := gates.AttemptStats(); s.Failed != 8 || s.LimitedClients != 4 || s.Clients != 1 || s.Credentials != 8 {
		t.Errorf("%+v", s)
	}
	if idp.Calls() != 8 {
		t.Errorf("the provider was called %d times", idp.Calls())
	}
}

func TestRequestsWithoutACredentialAreNoAttempts(t *testing.T) {
	idp := coretest.NewFakeIntrospection(t)
	gate, err := NewBuilder(BuilderOptions{}).Gate(fmt.Appendf(nil, "introspection: {introspection_endpoint: %q, insecure_any_audience: true}\nfailed_attempts: {count: 2}\npermission_table: |\n  public: [GET /public]\n  authenticated: [GET /me]\n", idp.URL))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		asked := false
		ask := func() netip.Addr { asked = true; return netip.MustParseAddr("192.0.2.1") }
		for target, want := range map[string]int{"/me": 401, "/public": 0, "/other": 403, "/me/../x": 400} {
			if d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: target, AskClient: ask}); d.Status != want || asked {
				t.Fatalf("%s: %d, the client was asked for: %v", target, d.Status, asked)
			}
		}
	}
}

func TestLimitIsSwitchedOffByZero(t *testing.T) {
	idp := coretest.NewFakeIntrospection(t)
	gate, err := NewBuilder(BuilderOptions{}).Gate(fmt.Appendf(nil, "introspection: {introspection_endpoint: %q, insecure_any_audience: true}\nfailed_attempts: {count: 0}\npermission_table: 'authenticated: [GET /me]'", idp.URL))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		r := &core.Request{Method: "GET", Target: "/me", Client: netip.MustParseAddr("192.0.2.1"), Header: []core.Header{bearer("bad")}}
		if d := gate.Check(t.Context(), r); d.Status != 401 {
			t.Fatalf("attempt %d: %d", i, d.Status)
		}
	}
}

func TestMistakesInTheLimitOfFailedAttempts(t *testing.T) {
	const rest = "\nintrospection: {introspection_endpoint: http://id.test, insecure_any_audience: true}\npermission_table: 'authenticated: [GET /me]'"
	for text, want := range map[string]string{
		"failed_attempts: {policy: redis}":                         "failed_attempts.policy: is redis, but there is no section redis: add it, or write local",
		"failed_attempts: {policy: cluster}":                       "failed_attempts.policy: ",
		"failed_attempts: {allow: [198.51.100.0/24, office.test]}": "failed_attempts.allow[1]: is neither an address nor a network such as 10.0.0.0/8",
		"failed_attempts: {allow: [10.0.0.5/8]}":                   "failed_attempts.allow[0]: has bits beyond its length; did you mean 10.0.0.0/8?",
		"failed_attempts: {allow: [0.0.0.0/0]}":                    "failed_attempts.allow[0]: has every address in it; to limit nobody, write count: 0",
		"failed_attempts: {allow: ['::ffff:0:0/96']}":              "failed_attempts.allow[0]: has every address in it; to limit nobody, write count: 0",
		"failed_attempts: {allow: ['::/0']}":                       "failed_attempts.allow[0]: has every address in it; to limit nobody, write count: 0",
		"failed_attempts: {allow: ['']}":                           "failed_attempts.allow[0]: ",
	} {
		if _, err := Load([]byte(text + rest)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, good := range []string{"failed_attempts: {policy: local, allow: [198.51.100.7, '2001:db8::/32']}", "failed_attempts: {policy: redis}\nredis: {host: r.test, secret: 0123456789abcdef0123456789abcdef}"} {
		if _, err := NewBuilder(BuilderOptions{}).Gate([]byte(good + rest)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}
