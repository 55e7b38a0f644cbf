package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/core/httpsyntax"
)

// introspecting is a handler whose tokens are introspected.
func introspecting(t *testing.T, settings string) (handler, *coretest.FakeIntrospection, *config.Builder) {
	t.Helper()
	idp := coretest.NewFakeIntrospection(t)
	gates := config.NewBuilder(config.BuilderOptions{})
	gate, err := gates.Gate(fmt.Appendf(nil, `
introspection: {introspection_endpoint: %q, insecure_any_audience: true, http: {timeout: 30}}
permission_table: "authenticated: [GET /me]"
%s`, idp.URL, settings))
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"good", "good2", "good3"} {
		idp.Know(token, map[string]any{"active": true, "sub": "ada", "exp": 4102444800})
	}
	return handler{fixed{gate}, gates, ""}, idp, gates
}

// attempt is one request with a token, from a client; status 0: it may pass.
func attempt(t *testing.T, h handler, client, token string) *kongSide {
	t.Helper()
	s := &kongSide{id: httpsyntax.RandomRequestID(), line: "GET /me HTTP/1.1", client: client, headers: map[string]any{"authorization": "Bearer " + token, "x-forwarded-for": "203.0.113.7", "x-real-ip": "203.0.113.7"}}
	s.access(t, h)
	return s
}

func TestClientIsAskedForOnlyIfTheCredentialIsNotRemembered(t *testing.T) {
	h, _, _ := introspecting(t, "failed_attempts: {count: 4}")
	read := []string{getLine, "kong.request.get_headers"}
	for _, c := range []struct {
		about, token string
		want         []string
	}{
		{"new", "good", []string{getClient, "kong.service.request.set_headers"}},
		{"remembered", "good", []string{"kong.service.request.set_headers"}},
		{"bad", "bad", []string{getClient, getID, "kong.response.exit"}},
		{"remembered as bad", "bad", []string{getClient, getID, "kong.response.exit"}},
		{"bad again", "bad", []string{getClient, getID, "kong.response.exit"}},
		{"bad again", "bad", []string{getClient, getID, "kong.response.exit"}},
		{"limited by the credential", "bad", []string{getID, "kong.response.exit"}},
		{"limited by the client", "other", []string{getClient, getID, "kong.response.exit"}},
		{"remembered while the client is limited", "good", []string{"kong.service.request.set_headers"}},
	} {
		s := attempt(t, h, "192.0.2.1", c.token)
		if want := slices.Concat(read, c.want); !slices.Equal(s.calls, want) {
			t.Errorf("%s: %v, want %v", c.about, s.calls, want)
		}
	}
	s := &kongSide{line: "GET /me HTTP/1.1", headers: map[string]any{}}
	s.access(t, h)
	if slices.Contains(s.calls, getClient) {
		t.Errorf("without a credential: %v", s.calls)
	}
}

func TestFailedAttemptsAreRefusedWith429(t *testing.T) {
	h, _, _ := introspecting(t, "failed_attempts: {count: 4, time_window: 40}")
	for i := range 6 {
		s := attempt(t, h, "192.0.2.1", fmt.Sprint("bad", i))
		want := int32(401)
		if i >= 4 {
			want = 429
		}
		if s.exit.Status != want {
			t.Errorf("attempt %d: %d", i, s.exit.Status)
		}
	}
	s := attempt(t, h, "192.0.2.1", "bad99")
	if h := s.exitHeaders; fmt.Sprint(h["Retry-After"]) != "[10]" || h["WWW-Authenticate"] != nil || !strings.Contains(string(s.exit.Body), `"status":429`) {
		t.Errorf("%v %s", h, s.exit.Body)
	}
	if s := attempt(t, h, "192.0.2.2", "good"); s.set == nil {
		t.Errorf("another client behind the same proxies: %d", s.exit.Status)
	}
}

func TestFloodOfOneClientLeavesRoomForOthers(t *testing.T) {
	h, idp, gates := introspecting(t, "failed_attempts: {count: 0}")
	release := make(chan struct{})
	idp.Instead(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.PostForm.Get("token") != "good" {
			<-release // a slow provider
			fmt.Fprint(w, `{"active":false}`)
			return
		}
		fmt.Fprint(w, `{"active":true,"sub":"ada","exp":4102444800}`)
	})
	var flood sync.WaitGroup
	for i := range 1500 {
		flood.Go(func() { attempt(t, h, "192.0.2.1", fmt.Sprint("garbage", i)) })
	}
	for s := gates.CacheStats()["introspection"]; s.Calls+s.Waiting < 1500; s = gates.CacheStats()["introspection"] {
		time.Sleep(time.Millisecond)
	}
	if s := attempt(t, h, "192.0.2.2", "good"); s.set == nil {
		t.Errorf("a new good caller: %d %s", s.exit.Status, s.exit.Body)
	}
	close(release)
	flood.Wait()
}
