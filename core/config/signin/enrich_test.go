package signin_test

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// users is a fake of a team's users service.
type users struct {
	*coretest.Server
	mu       sync.Mutex
	response string
	claims   []map[string]any // of the people that it was asked about
}

func newUsers(t *testing.T, response string) *users {
	u := &users{response: response}
	u.Server = coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Claims map[string]any }
		json.NewDecoder(r.Body).Decode(&asked)
		u.mu.Lock()
		defer u.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer users-secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		u.claims = append(u.claims, asked.Claims)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, u.response)
	}))
	return u
}

func (u *users) say(response string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.response = response
}

func (u *users) refuse() {
	u.Instead(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"title":"Blocked"}`)
	})
}

// enriched is a gate that asks the service, and a browser before it.
func enriched(t *testing.T, u *users, more map[string]any) (*browser, *coretest.FakeProvider, *coretest.Clock) {
	t.Helper()
	clock := coretest.NewClock()
	fake := coretest.NewFakeProvider(t, clock)
	enrich := map[string]any{"url": u.URL, "bearer_token": "users-secret", "cache_ttl": 0}
	return &browser{t, gate(t, clock, settings(t, fake, coretest.Merged(map[string]any{"enrich": enrich}, more))), map[string]string{}}, fake, clock
}

// callback is the address to which the provider sends a browser that signs in.
func (b *browser) callback() string {
	b.t.Helper()
	_, start := b.open("/orders")
	_, address := b.open(start)
	stay := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := stay.Get(address)
	if err != nil {
		b.t.Fatal(err)
	}
	response.Body.Close()
	return response.Header.Get("Location")
}

func TestUsersServiceGivesASessionItsUserRolesAndPermissions(t *testing.T) {
	u := newUsers(t, `{"subject":"u-7","roles":["editor"],"permissions":["orders:read"],"claims":{"tenant":"acme"}}`)
	b, fake, _ := enriched(t, u, nil)
	fake.Behave(coretest.Behaviour{Claims: map[string]any{"email": "ada@example.test", "roles": []string{"admin"}, "tenant": "other", "picture": "https://x.example.test/1"}})
	b.signIn()
	d, _ := b.open("/orders")
	p := d.Principal
	if d.Outcome != core.Allow || p.Subject != "u-7" || p.Issuer != u.URL || !slices.Equal(p.Roles, []string{"editor"}) || !slices.Equal(p.Permissions, []string{"orders:read"}) {
		t.Fatalf("%+v %+v", d, p)
	}
	for name, want := range map[string]any{"tenant": "acme", "email": "ada@example.test", "original_sub": "user-1", "original_iss": fake.URL} {
		if p.Claims[name] != want {
			t.Errorf("%s is %v", name, p.Claims[name])
		}
	}
	if len(u.claims) != 1 || u.claims[0]["email"] != "ada@example.test" || u.claims[0]["sub"] != "user-1" || u.claims[0]["picture"] != nil || u.claims[0]["roles"] != nil {
		t.Errorf("the service was told %v", u.claims)
	}
}

func TestOutageOfTheUsersServiceDeniesTheSignIn(t *testing.T) {
	for name, fail := range map[string]func(*users){
		"500":            func(u *users) { u.Fail(500, "hunter2") },
		"401":            func(u *users) { u.Fail(401, "") },
		"a redirect":     func(u *users) { u.Redirect("/elsewhere") },
		"closed":         func(u *users) { u.Drop() },
		"endless":        func(u *users) { u.Flood() },
		"unknown member": func(u *users) { u.say(`{"admin":true}`) },
		"foreign claim":  func(u *users) { u.say(`{"claims":{"sub":"root"}}`) },
	} {
		u := newUsers(t, `{"roles":["editor"]}`)
		b, _, _ := enriched(t, u, nil)
		fail(u)
		d, to := b.open(b.callback())
		if d.Outcome == core.Allow || d.Status != 503 || to != "" || !strings.Contains(string(d.Body), "does not work at the moment") || strings.Contains(string(d.Body), "hunter2") {
			t.Errorf("%s: %d to %q: %s", name, d.Status, to, d.Body)
		}
		if d.Cause == nil || !strings.Contains(d.Cause.Error(), "enrich") {
			t.Errorf("%s: the log does not say why: %v", name, d.Cause)
		}
		if d, _ := b.open("/orders"); d.Outcome == core.Allow {
			t.Errorf("%s: there is a session", name)
		}
		u.Heal()
		u.say(`{"roles":["editor"]}`)
		b.signIn()
	}
}

func TestPersonWhomTheUsersServiceRefusesReadsThat(t *testing.T) {
	u := newUsers(t, `{}`)
	b, _, _ := enriched(t, u, nil)
	u.refuse()
	d, to := b.open(b.callback())
	if d.Outcome == core.Allow || d.Status != 403 || to != "" || !strings.Contains(string(d.Body), "You have no access") || strings.Contains(string(d.Body), "Blocked") {
		t.Errorf("%d to %q: %s", d.Status, to, d.Body)
	}
	if d.Cause == nil || !strings.Contains(d.Cause.Error(), "Blocked") || !strings.Contains(d.Cause.Error(), "user-1") {
		t.Errorf("%v", d.Cause)
	}
	if d, _ := b.open("/orders"); d.Outcome == core.Allow {
		t.Error("there is a session")
	}
}

// The tokens of the fake provider last for five minutes.
func TestUsersServiceIsAskedAgainWhenTokensAreRenewed(t *testing.T) {
	u := newUsers(t, `{"permissions":["orders:read"]}`)
	b, fake, clock := enriched(t, u, map[string]any{"session": map[string]any{"secret": []string{"0123456789abcdef0123456789abcdef"}, "claims": []string{"locale"}}})
	fake.Behave(coretest.Behaviour{Claims: map[string]any{"email": "ada@example.test"}, NoIDTokenAtRefresh: true})
	b.signIn()
	u.say(`{"permissions":["orders:write"]}`)
	if d, _ := b.open("/orders"); !slices.Equal(d.Principal.Permissions, []string{"orders:read"}) {
		t.Fatalf("%+v", d.Principal)
	}
	clock.Advance(4*time.Minute + time.Second)
	if d, _ := b.open("/orders"); d.Outcome != core.Allow {
		t.Fatalf("%+v", d)
	}
	if d, _ := b.open("/orders"); !slices.Equal(d.Principal.Permissions, []string{"orders:write"}) {
		t.Errorf("after the renewal: %+v", d.Principal)
	}
	if len(u.claims) != 2 || u.claims[1]["email"] != "ada@example.test" {
		t.Errorf("the service was told %v", u.claims)
	}
}

// The refresh token is good for one use, and is not used while nobody can tell who the
// user is. What was said before counts until the access token ends, and no longer.
func TestOutageOfTheUsersServiceAtARenewalEndsNoSession(t *testing.T) {
	u := newUsers(t, `{"permissions":["orders:read"]}`)
	b, fake, clock := enriched(t, u, nil)
	b.signIn()
	redeemed := fake.CallsTo(coretest.TokenPath)
	u.Fail(500, "")
	clock.Advance(4*time.Minute + time.Second)
	if d, _ := b.open("/orders"); d.Outcome != core.Allow {
		t.Fatalf("before the access token ends: %+v", d)
	}
	clock.Advance(time.Minute)
	if d, _ := b.open("/orders"); d.Outcome == core.Allow || d.Status != 503 {
		t.Fatalf("after its end: %d, %v", d.Status, d.Cause)
	}
	if n := fake.CallsTo(coretest.TokenPath); n != redeemed {
		t.Errorf("the refresh token was used %d times", n-redeemed)
	}
	u.Heal()
	clock.Advance(10 * time.Second)
	if d, _ := b.open("/orders"); d.Outcome != core.Allow {
		t.Errorf("when the service is back: %d, %v", d.Status, d.Cause)
	}
}

func TestUserWhomTheServiceRefusesAtARenewalIsSignedOut(t *testing.T) {
	u := newUsers(t, `{}`)
	b, _, clock := enriched(t, u, nil)
	b.signIn()
	u.refuse()
	clock.Advance(4*time.Minute + time.Second)
	if d, _ := b.open("/orders"); d.Outcome == core.Allow {
		t.Errorf("%+v", d)
	}
	u.Heal()
	if d, _ := b.open("/orders"); d.Outcome == core.Allow {
		t.Error("the session is back")
	}
}

// Of what the service says a cookie has room for little.
func TestSessionThatTheUsersServiceMakesTooLargeIsRefusedWithAdvice(t *testing.T) {
	var permissions []string
	for range 600 { // random, or they would be compressed
		permissions = append(permissions, `"`+rand.Text()+`"`)
	}
	u := newUsers(t, `{"permissions":[`+strings.Join(permissions, ",")+`]}`)
	b, _, _ := enriched(t, u, nil)
	d, _ := b.open(b.callback())
	if d.Outcome == core.Allow || !strings.Contains(string(d.Body), "You cannot be signed in") || d.Cause == nil || !strings.Contains(d.Cause.Error(), "what the service of enrich says") {
		t.Errorf("%d %s %v", d.Status, d.Body, d.Cause)
	}
}
