package enrich_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/idp"
	"gatehouse/core/cache"
	"gatehouse/core/coretest"
	"gatehouse/core/signin/enrich"
)

// users is a fake of the team's own service: it responds with the same document to
// everybody, and notes what it was asked.
type users struct {
	*coretest.Server
	mu       sync.Mutex
	response string
	asked    []string
	secrets  []string
}

func newUsers(t *testing.T, response string) *users {
	u := &users{response: response}
	u.Server = coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		defer u.mu.Unlock()
		u.asked, u.secrets = append(u.asked, string(body)), append(u.secrets, r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		io.WriteString(w, u.response)
	}))
	return u
}

func (u *users) say(response string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.response = response
}

const secret = "hunter2hunter2"

func enricher(t *testing.T, url string, clock *coretest.Clock, change ...func(*enrich.Options)) *enrich.Enricher {
	t.Helper()
	o := enrich.Options{
		URL: url, Secret: secret, Send: []string{"email", "name"}, Client: coretest.Client(t), TTL: time.Minute,
		Limits: cache.Limits{Entries: 100, Bytes: 1 << 20}, Now: clock.Now,
	}
	for _, f := range change {
		f(&o)
	}
	e, err := enrich.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func ada() enrich.Person {
	return enrich.Person{Provider: "google", Issuer: "https://accounts.example.test", Subject: "1001", Claims: map[string]any{"email": "ada@example.test", "locale": "en"}}
}

func TestUsersServiceSaysWhoSomebodyIs(t *testing.T) {
	u := newUsers(t, `{"subject":"u-7","roles":["editor","Billing Admin"],"permissions":[],"claims":{"tenant":"acme","quota":9223372036854775807}}`)
	e := enricher(t, u.URL+"/users?v=1", coretest.NewClock())
	got, err := e.Enrich(t.Context(), ada())
	if err != nil {
		t.Fatal(err)
	}
	want := enrich.Result{Subject: "u-7", Issuer: u.URL, Roles: []string{"editor", "Billing Admin"}, Permissions: []string{}, Claims: map[string]any{"tenant": "acme", "quota": json.Number("9223372036854775807")}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if want := `{"claims":{"email":"ada@example.test","iss":"https://accounts.example.test","sub":"1001"},"provider":"google"}`; u.asked[0] != want {
		t.Errorf("asked %s", u.asked[0])
	}
	if u.secrets[0] != "Bearer "+secret {
		t.Errorf("authenticated by %q", u.secrets[0])
	}
}

func TestUserThatIsNewIsCreated(t *testing.T) {
	u := newUsers(t, "")
	u.Fail(http.StatusCreated, `{"subject":"u-8"}`)
	if got, err := enricher(t, u.URL, coretest.NewClock()).Enrich(t.Context(), ada()); err != nil || got.Subject != "u-8" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestResultInThePlaceOfWhatTheProviderSays(t *testing.T) {
	claims := map[string]any{"iss": "https://accounts.example.test", "sub": "1001", "email": "ada@example.test", "roles": []any{"admin"}, "tenant": "other"}
	before := maps.Clone(claims)
	of := func() *core.Principal {
		return &core.Principal{Issuer: "https://accounts.example.test", Subject: "1001", Roles: []string{"admin"}, Permissions: []string{"p"}, Claims: claims}
	}
	p := of()
	enrich.Result{}.Apply(p)
	if !reflect.DeepEqual(p, of()) {
		t.Errorf("a service that says nothing changes %+v", p)
	}
	p = of()
	enrich.Result{Subject: "u-7", Issuer: "https://users.example.test", Roles: []string{}, Permissions: []string{"orders:read"}, Claims: map[string]any{"tenant": "acme"}}.Apply(p)
	want := &core.Principal{
		Issuer: "https://users.example.test", Subject: "u-7", Roles: []string{}, Permissions: []string{"orders:read"},
		Claims: map[string]any{
			"iss": "https://users.example.test", "sub": "u-7", "email": "ada@example.test", "roles": []any{}, "permissions": []any{"orders:read"}, "tenant": "acme",
			"original_iss": "https://accounts.example.test", "original_sub": "1001",
		},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("%+v", p)
	}
	if !reflect.DeepEqual(claims, before) {
		t.Errorf("the claims of the credential have become %v", claims)
	}
}

// Whatever the service does that it should not, nobody can tell who the person is; that
// is never "nobody special".
func TestServiceThatMisbehavesLetsNobodyIn(t *testing.T) {
	for name, misbehave := range map[string]func(*users){
		"500":                    func(u *users) { u.Fail(500, `{"roles":["admin"]}`) },
		"503":                    func(u *users) { u.Fail(503, ``) },
		"429":                    func(u *users) { u.Fail(429, ``) },
		"404":                    func(u *users) { u.Fail(404, `{}`) },
		"401":                    func(u *users) { u.Fail(401, `{}`) },
		"403 of a proxy":         func(u *users) { u.Fail(403, `{"title":"no"}`) },
		"204":                    func(u *users) { u.Fail(204, ``) },
		"206":                    func(u *users) { u.Fail(206, `{}`) },
		"a redirect":             func(u *users) { u.Redirect("/elsewhere") },
		"a closed connection":    (*users).dropped,
		"an endless response":    (*users).flooded,
		"more than 64 KiB":       func(u *users) { u.say(`{"claims":{"x":"` + strings.Repeat("x", 64<<10) + `"}}`) },
		"nothing":                func(u *users) { u.say("") },
		"no JSON":                func(u *users) { u.say("<html>") },
		"no object":              func(u *users) { u.say(`["admin"]`) },
		"null":                   func(u *users) { u.say("null") },
		"two documents":          func(u *users) { u.say("{}{}") },
		"a document cut short":   func(u *users) { u.say(`{"roles":["admin"]`) },
		"a member twice":         func(u *users) { u.say(`{"roles":[],"roles":["admin"]}`) },
		"a claim twice":          func(u *users) { u.say(`{"claims":{"a":1,"\u0061":2}}`) },
		"an unknown member":      func(u *users) { u.say(`{"role":["admin"]}`) },
		"another case":           func(u *users) { u.say(`{"Roles":["admin"]}`) },
		"roles: a string":        func(u *users) { u.say(`{"roles":"admin"}`) },
		"roles: null":            func(u *users) { u.say(`{"roles":null}`) },
		"roles: an object":       func(u *users) { u.say(`{"roles":{"admin":true}}`) },
		"roles: a number in it":  func(u *users) { u.say(`{"roles":["a",1]}`) },
		"roles: a list in it":    func(u *users) { u.say(`{"roles":[["a"]]}`) },
		"roles: an empty one":    func(u *users) { u.say(`{"roles":[""]}`) },
		"roles: a new line":      func(u *users) { u.say(`{"roles":["a\nb"]}`) },
		"roles: white space":     func(u *users) { u.say(`{"roles":["admin "]}`) },
		"roles: a long one":      func(u *users) { u.say(`{"roles":["` + strings.Repeat("a", 256) + `"]}`) },
		"roles: too many":        func(u *users) { u.say(`{"roles":["a"` + strings.Repeat(`,"a"`, 1000) + `]}`) },
		"permissions: a string":  func(u *users) { u.say(`{"permissions":"orders:read"}`) },
		"permissions: too many":  func(u *users) { u.say(`{"permissions":["a"` + strings.Repeat(`,"a"`, 5000) + `]}`) },
		"subject: a number":      func(u *users) { u.say(`{"subject":7}`) },
		"subject: empty":         func(u *users) { u.say(`{"subject":""}`) },
		"subject: null":          func(u *users) { u.say(`{"subject":null}`) },
		"subject: too long":      func(u *users) { u.say(`{"subject":"` + strings.Repeat("u", 256) + `"}`) },
		"subject: NUL":           func(u *users) { u.say(`{"subject":"u\u0000"}`) },
		"claims: a list":         func(u *users) { u.say(`{"claims":[]}`) },
		"claims: null in it":     func(u *users) { u.say(`{"claims":{"tenant":null}}`) },
		"claims: no name":        func(u *users) { u.say(`{"claims":{"":1}}`) },
		"claims: infinity":       func(u *users) { u.say(`{"claims":{"a":{"b":[1e999]}}}`) },
		"claims: too many":       func(u *users) { u.say(`{"claims":{` + numbered(101) + `}}`) },
		"claims: too deep":       func(u *users) { u.say(`{"claims":{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}`) },
		"another type":           func(u *users) { u.typed("text/html", `{}`) },
		"no type":                func(u *users) { u.typed("", `{}`) },
		"a problem that is none": func(u *users) { u.problem(`["no"]`) },
	} {
		t.Run(name, func(t *testing.T) {
			u := newUsers(t, `{}`)
			misbehave(u)
			got, err := enricher(t, u.URL, coretest.NewClock()).Enrich(t.Context(), ada())
			if err == nil || errors.Is(err, core.ErrForbidden) || errors.Is(err, core.ErrInvalid) || !reflect.DeepEqual(got, enrich.Result{}) {
				t.Errorf("%+v, %v", got, err)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

func numbered(n int) string {
	var members []string
	for i := range n {
		members = append(members, fmt.Sprintf(`"c%d":1`, i))
	}
	return strings.Join(members, ",")
}

func (u *users) dropped() { u.Drop() }
func (u *users) flooded() { u.Flood() }

func (u *users) typed(kind, body string) {
	u.Instead(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		if kind != "" {
			w.Header().Set("Content-Type", kind)
		}
		io.WriteString(w, body)
	})
}

func (u *users) problem(body string) {
	u.Instead(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, body)
	})
}

// A claim that the gate sets itself, or decides by, is not the service's to say.
func TestServiceCannotSayWhatTheGateSays(t *testing.T) {
	for _, name := range []string{
		"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "azp", "act", "scope", "scp", "auth_time", "acr", "amr", "aal", "sid", "idp", "cnf", "roles", "permissions",
		"original_iss", "original_sub",
	} {
		u := newUsers(t, `{"claims":{"`+name+`":"x"}}`)
		if got, err := enricher(t, u.URL, coretest.NewClock()).Enrich(t.Context(), ada()); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRefusedPersonIsNotAnOutage(t *testing.T) {
	clock := coretest.NewClock()
	u := newUsers(t, `{}`)
	u.problem(`{"type":"https://users.example.test/blocked","title":"Blocked","detail":"hunter3"}`)
	e := enricher(t, u.URL, clock)
	for range 2 {
		_, err := e.Enrich(t.Context(), ada())
		var denied *enrich.DeniedError
		if !errors.As(err, &denied) || !errors.Is(err, core.ErrForbidden) || !strings.Contains(err.Error(), `"1001" of provider "google"`) || !strings.Contains(err.Error(), "Blocked") || strings.Contains(err.Error(), "hunter3") {
			t.Fatal(err)
		}
	}
	if u.Calls() != 1 {
		t.Errorf("%d calls", u.Calls())
	}
	u.Heal() // the person is let in
	clock.Advance(5 * time.Second)
	if _, err := e.Enrich(t.Context(), ada()); err != nil {
		t.Error(err)
	}
}

// What was said of one person with some claims counts for nobody else.
func TestResponseIsKeptForThePersonAlone(t *testing.T) {
	clock := coretest.NewClock()
	u := newUsers(t, `{"roles":["admin"]}`)
	e := enricher(t, u.URL, clock)
	want := 0
	for name, change := range map[string]func(*enrich.Person){
		"the same":                func(*enrich.Person) {},
		"another subject":         func(p *enrich.Person) { p.Subject = "1002" },
		"another issuer":          func(p *enrich.Person) { p.Issuer += "/" },
		"another provider":        func(p *enrich.Person) { p.Provider = "other" },
		"another claim":           func(p *enrich.Person) { p.Claims["email"] = "eve@example.test" },
		"a claim of another kind": func(p *enrich.Person) { p.Claims["email"] = true },
		"one claim less":          func(p *enrich.Person) { delete(p.Claims, "email") },
	} {
		p := ada()
		change(&p)
		want++
		for range 2 {
			if _, err := e.Enrich(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		if u.Calls() != want {
			t.Errorf("%s: %d calls, want %d", name, u.Calls(), want)
		}
	}
	unsent := ada()
	unsent.Claims["locale"] = "de"
	if e.Enrich(t.Context(), unsent); u.Calls() != want {
		t.Error("a claim that is not sent has the service asked again")
	}
	clock.Advance(time.Minute)
	if e.Enrich(t.Context(), ada()); u.Calls() != want+1 {
		t.Error("a response is used after its time")
	}
}

// An issuer and a subject among the claims of a provider are not those of the person.
func TestClaimsDoNotSayWhoIsAskedAbout(t *testing.T) {
	u := newUsers(t, `{}`)
	p := ada()
	p.Claims["iss"], p.Claims["sub"] = "https://evil.example.test", "root"
	if _, err := enricher(t, u.URL, coretest.NewClock(), func(o *enrich.Options) { o.Send = []string{"iss", "sub"} }).Enrich(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if want := `{"claims":{"iss":"https://accounts.example.test","sub":"1001"},"provider":"google"}`; u.asked[0] != want {
		t.Errorf("asked %s", u.asked[0])
	}
	for _, nobody := range []enrich.Person{{Issuer: "https://accounts.example.test"}, {Subject: "1001"}} {
		if _, err := enricher(t, u.URL, coretest.NewClock()).Enrich(t.Context(), nobody); err == nil {
			t.Errorf("%+v is somebody", nobody)
		}
	}
}

func TestManyWhoSignInAtOnceAskOnce(t *testing.T) {
	u := newUsers(t, `{"roles":["editor"]}`)
	release := make(chan struct{})
	arrived := make(chan struct{}, 100)
	u.Instead(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"roles":["editor"]}`)
	})
	e := enricher(t, u.URL, coretest.NewClock())
	first, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := e.Enrich(first, ada()); err == nil {
			t.Error("who has gone away got a response")
		}
	})
	<-arrived
	for range 20 {
		all.Go(func() {
			if r, err := e.Enrich(t.Context(), ada()); err != nil || len(r.Roles) != 1 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	cancel() // the first one goes away; the others still wait for its call
	close(release)
	all.Wait()
	if u.Calls() != 1 {
		t.Errorf("%d calls", u.Calls())
	}
}

func TestOutageIsNotRemembered(t *testing.T) {
	u := newUsers(t, `{}`)
	e := enricher(t, u.URL, coretest.NewClock())
	u.Fail(500, `{}`)
	if _, err := e.Enrich(t.Context(), ada()); err == nil {
		t.Fatal("an outage lets somebody in")
	}
	u.Heal()
	if _, err := e.Enrich(t.Context(), ada()); err != nil {
		t.Error(err)
	}
}

func TestSlowServiceIsGivenUp(t *testing.T) {
	u := newUsers(t, `{}`)
	u.Hang()
	client, err := idp.New(idp.Options{Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	e := enricher(t, u.URL, coretest.NewClock(), func(o *enrich.Options) { o.Client = client })
	if _, err := e.Enrich(t.Context(), ada()); err == nil || !strings.Contains(err.Error(), "in time") {
		t.Error(err)
	}
}

func TestWithoutCachingEverySignInAsks(t *testing.T) {
	u := newUsers(t, `{}`)
	e := enricher(t, u.URL, coretest.NewClock(), func(o *enrich.Options) { o.TTL = 0 })
	for range 3 {
		if _, err := e.Enrich(t.Context(), ada()); err != nil {
			t.Fatal(err)
		}
	}
	if u.Calls() != 3 {
		t.Errorf("%d calls", u.Calls())
	}
}
