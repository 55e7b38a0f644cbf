package flow_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/coretest"
	"gatehouse/core/extract"
	"gatehouse/core/identity"
	"gatehouse/core/observe"
	origins "gatehouse/core/origin"
	"gatehouse/core/signin/flow"
	"gatehouse/core/signin/oidc"
	"gatehouse/core/signin/session"
)

const (
	host   = "app.example.test"
	origin = "https://" + host
	secret = "0123456789abcdef0123456789abcdef"
)

// store is a fake session.Store: the cookie holds the session's number.
type store struct {
	sessions map[string]*session.Session
	saved    int
	err      error
	keeps    bool // whether browsers keep the cookie
}

func (s *store) Save(_ context.Context, new *session.Session, _ *core.Request) ([]core.Header, error) {
	if s.err != nil {
		return nil, s.err
	}
	s.saved++
	name := fmt.Sprintf("session-%d", s.saved)
	s.sessions[name] = new
	if !s.keeps {
		return nil, nil
	}
	return []core.Header{{Name: "Set-Cookie", Value: "sid=" + name + "; Path=/"}}, nil
}

func (s *store) Load(_ context.Context, c core.Credential) (*session.Session, error) {
	if found := s.sessions[c.Value]; found != nil {
		return found, s.err
	}
	return nil, core.ErrInvalid
}

func (s *store) Current(ctx context.Context, r *core.Request) (*session.Session, error) {
	cookies, _ := r.Lookup("Cookie")
	for pair := range strings.SplitSeq(cookies, "; ") {
		if id, ok := strings.CutPrefix(pair, "sid="); ok {
			return s.Load(ctx, core.Credential{Value: id})
		}
	}
	return nil, core.ErrMissing
}

func (s *store) Delete(_ context.Context, old *session.Session, _ *core.Request) ([]core.Header, error) {
	maps.DeleteFunc(s.sessions, func(_ string, kept *session.Session) bool { return kept == old })
	return []core.Header{{Name: "Set-Cookie", Value: "sid=; Path=/; Max-Age=0"}}, s.err
}

// authenticator accepts sessions of the store, and wants what a test wants.
type authenticator struct{ r *rig }

func (a authenticator) Authenticate(ctx context.Context, _ *core.Call, c core.Credential) (core.Authentication, error) {
	s, err := a.r.store.Load(ctx, c)
	if err != nil {
		return core.Authentication{}, err
	}
	if a.r.demand != nil {
		if err := a.r.demand(s); err != nil {
			return core.Authentication{}, err
		}
	}
	return core.Authentication{Principal: &core.Principal{Subject: s.Subject, Expiry: a.r.clock.Now().Add(time.Hour)}}, nil
}

// policy protects everything.
type policy struct{}

func (policy) Match(context.Context, *core.Call) core.Access             { return policy{} }
func (policy) Permissions(*core.Principal) []string                      { return nil }
func (policy) Public() bool                                              { return false }
func (policy) Anonymous() bool                                           { return false }
func (policy) Rule() string                                              { return "everything" }
func (policy) Refusal() error                                            { return nil }
func (policy) CheckBody(*core.Call, int) error                           { return nil }
func (policy) Scopes(*core.Call, *core.Principal) []string               { return nil }
func (policy) Allows(context.Context, *core.Call, *core.Principal) error { return nil }
func (policy) AllowsAnonymous(context.Context, *core.Call, error) error  { return core.ErrMissing }

type rig struct {
	t       *testing.T
	clock   *coretest.Clock
	fakes   []*coretest.FakeProvider
	store   *store
	log     *coretest.Log
	flow    *flow.Flow
	gate    *core.Gate
	demand  func(*session.Session) error
	revoked []string
}

type change struct {
	providers int
	oidc      func(*oidc.Options)
	flow      func(*flow.Options)
}

func setup(t *testing.T, c change) *rig {
	t.Helper()
	r := &rig{t: t, clock: coretest.NewClock(), log: &coretest.Log{}, store: &store{sessions: map[string]*session.Session{}, keeps: true}}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	options := flow.Options{
		Store: r.store, Secrets: []string{secret}, StartPath: "/signin", LogoutPath: "/logout", FrontChannelPath: "/frontchannel",
		AfterLogout: origin + "/bye", Now: r.clock.Now, Log: log,
		Returns: func(o string) bool { return o == "https://other.example.test" },
		Revoke: func(_ context.Context, s *session.Session) error {
			r.revoked = append(r.revoked, s.ID)
			return nil
		},
	}
	for i := range max(1, c.providers) {
		fake := coretest.NewFakeProvider(t, r.clock)
		r.fakes = append(r.fakes, fake)
		o := oidc.Options{
			Name: fmt.Sprintf("p%d", i+1), Discovery: fake.DiscoveryURL(), ClientID: "web", RedirectURI: origin + "/callback",
			Authentication: clientauth.Options{Secret: "hunter2"}, Client: coretest.Client(t), Now: r.clock.Now,
		}
		if c.oidc != nil {
			c.oidc(&o)
		}
		p, err := oidc.New(o)
		if err != nil {
			t.Fatal(err)
		}
		options.Providers = append(options.Providers, p)
	}
	if c.flow != nil {
		c.flow(&options)
	}
	var err error
	if r.flow, err = flow.New(options); err != nil {
		t.Fatal(err)
	}
	extractor, err := extract.New(extract.Place{Name: core.SessionCookie, Cookie: "sid"})
	if err != nil {
		t.Fatal(err)
	}
	headers, err := identity.New(identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.gate, err = core.New(core.Options{
		Endpoints: r.flow.Endpoints(), Extractor: extractor, Authenticator: authenticator{r}, Policy: policy{}, Identity: headers,
		Realm: "test", Login: r.flow.Login("https"), Recorder: observe.NewLog(log), Now: r.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// browser keeps cookies as browsers do.
type browser struct {
	*rig
	cookies map[string]string
}

func (r *rig) browser() *browser { return &browser{r, map[string]string{}} }

var page = []string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}

func (b *browser) send(method, target, body string, pairs ...string) core.Decision {
	b.t.Helper()
	r := &core.Request{Method: method, Target: target, Host: host, AskBody: func(int) ([]byte, error) { return []byte(body), nil }}
	for i := 0; i < len(pairs); i += 2 {
		r.Header = append(r.Header, core.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	var cookies []string
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		cookies = append(cookies, name+"="+b.cookies[name])
	}
	if len(cookies) > 0 {
		r.Header = append(r.Header, core.Header{Name: "Cookie", Value: strings.Join(cookies, "; ")})
	}
	d := b.gate.Check(context.Background(), r)
	for _, h := range d.Header {
		if h.Name != "Set-Cookie" {
			continue
		}
		name, value, _ := strings.Cut(strings.SplitN(h.Value, ";", 2)[0], "=")
		if strings.HasPrefix(name, "__Host-") && (!strings.Contains(h.Value, "; Path=/;") || !strings.Contains(h.Value, "Secure") || strings.Contains(h.Value, "Domain")) {
			b.t.Errorf("a browser refuses %s", h.Value)
		}
		if b.cookies[name] = value; strings.Contains(h.Value, "Max-Age=0") {
			delete(b.cookies, name)
		}
	}
	return d
}

// open is what the address bar does: it does not follow.
func (b *browser) open(target string) core.Decision {
	b.t.Helper()
	return b.send("GET", strings.TrimPrefix(target, origin), "", page...)
}

func location(d core.Decision) string {
	for _, h := range d.Header {
		if h.Name == "Location" {
			return h.Value
		}
	}
	return ""
}

var field = regexp.MustCompile(`name="(\w+)" value="([^"]*)"`)

// provider visits the address at a provider and returns the callback's target, and the
// body where the provider posts it.
func (b *browser) provider(address string) (target, body string) {
	b.t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Get(address)
	if err != nil {
		b.t.Fatalf("%q: %v", address, err)
	}
	defer response.Body.Close()
	if to, err := response.Location(); err == nil {
		return to.RequestURI(), ""
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	form := url.Values{}
	for _, found := range field.FindAllStringSubmatch(string(text), -1) {
		form.Set(found[1], html.UnescapeString(found[2]))
	}
	return "/callback", form.Encode()
}

func (b *browser) callback(address string) core.Decision {
	b.t.Helper()
	target, body := b.provider(address)
	if body != "" {
		return b.send("POST", target, body, append(slices.Clone(page), "Content-Type", "application/x-www-form-urlencoded", "Origin", "null")...)
	}
	return b.open(target)
}

// begin asks for a page and goes as far as the provider's address.
func (b *browser) begin(target string) string {
	b.t.Helper()
	d := b.open(target)
	if d.Status != http.StatusFound || !strings.HasPrefix(location(d), origin+"/signin?") {
		b.t.Fatalf("%s: %d to %q: %v\n%s", target, d.Status, location(d), d.Cause, b.log)
	}
	d = b.open(location(d))
	if d.Status != http.StatusSeeOther {
		b.t.Fatalf("%s: the start responds with %d: %v", target, d.Status, d.Cause)
	}
	return location(d)
}

// signIn asks for a page and returns where the browser is led in the end.
func (b *browser) signIn(target string) string {
	b.t.Helper()
	d := b.callback(b.begin(target))
	if d.Status != http.StatusSeeOther {
		b.t.Fatalf("%s: the callback responds with %d: %v\n%s", target, d.Status, d.Cause, b.log)
	}
	return location(d)
}

// ends checks that a request ends in one page with a request id and one line of the log,
// and that no session came of it.
func (b *browser) ends(name string, want int, act func() core.Decision) core.Decision {
	b.t.Helper()
	before, saved := b.log.String(), b.store.saved
	d := act()
	lines := strings.Split(strings.TrimSpace(strings.TrimPrefix(b.log.String(), before)), "\n")
	id := d.Shown != nil && d.Shown.RequestID != "" && strings.Contains(string(d.Body), d.Shown.RequestID)
	if d.Status != want || location(d) != "" || !id || b.store.saved != saved {
		b.t.Errorf("%s: status %d, want %d; location %q; names the request: %v; %d sessions; %s", name, d.Status, want, location(d), id, b.store.saved-saved, d.Body)
	}
	if len(lines) != 1 || d.Shown != nil && !strings.Contains(lines[0], d.Shown.RequestID) || !strings.Contains(lines[0], "cause=") {
		b.t.Errorf("%s: lines of the log: %q", name, lines)
	}
	return d
}

func TestBrowserSignsInAndReturnsToThePage(t *testing.T) {
	for _, mode := range []string{oidc.Query, oidc.FormPost} {
		r := setup(t, change{oidc: func(o *oidc.Options) { o.ResponseMode = mode }})
		b := r.browser()
		if got := b.signIn("/orders?a=b%20c&d=%2F"); got != origin+"/orders?a=b%20c&d=%2F" {
			t.Errorf("%s: returned to %s", mode, got)
		}
		if d := b.open("/orders"); d.Outcome != core.Allow || d.Principal.Subject != "user-1" {
			t.Errorf("%s: %+v", mode, d)
		}
		// An operator ends what the log names.
		if id := r.store.sessions["session-1"].ID; id == "" || !strings.Contains(r.log.String(), `msg="signed in"`) || !strings.Contains(r.log.String(), "session="+id) {
			t.Errorf("%s: session %q, and the log says %s", mode, id, r.log)
		}
		for name, value := range b.cookies {
			if strings.Contains(value, "user-1") || strings.HasPrefix(name, "__Host-gatehouse_signin_") && len(value) > 600 {
				t.Errorf("cookie %s=%s", name, value)
			}
		}
	}
}

func TestCookieOfAnAttempt(t *testing.T) {
	for mode, sameSite := range map[string]string{oidc.Query: "Lax", oidc.FormPost: "None"} {
		r := setup(t, change{oidc: func(o *oidc.Options) { o.ResponseMode = mode }})
		d := r.browser().open("/signin?return_to=/x")
		var got string
		for _, h := range d.Header {
			if h.Name == "Set-Cookie" {
				got = h.Value
			}
		}
		want := regexp.MustCompile(`^__Host-gatehouse_signin_[\w-]{22}=[\w-]+; Path=/; Max-Age=900; Secure; HttpOnly; SameSite=` + sameSite + `$`)
		if !want.MatchString(got) {
			t.Errorf("%s: %s", mode, got)
		}
		state, _ := url.Parse(location(d))
		if s := state.Query().Get("state"); s == "" || strings.Contains(got, s) {
			t.Errorf("the cookie shows the state: %s", got)
		}
	}
}

// State that is lost between tabs is the most frequent complaint about sign-in at a gateway.
func TestTwoTabsBothSignIn(t *testing.T) {
	b := setup(t, change{}).browser()
	one, two := b.begin("/one"), b.begin("/two")
	if d := b.callback(two); location(d) != origin+"/two" {
		t.Errorf("second tab: %d %v", d.Status, d.Cause)
	}
	if d := b.callback(one); location(d) != origin+"/one" {
		t.Errorf("first tab: %d %v", d.Status, d.Cause)
	}
}

func TestParallelStartsKeepTheNewestFive(t *testing.T) {
	b := setup(t, change{}).browser()
	var addresses []string
	for i := range 8 {
		addresses = append(addresses, b.begin(fmt.Sprintf("/page-%d", i)))
		b.clock.Advance(time.Second)
		size := 0
		for name, value := range b.cookies {
			size += len(name) + len(value)
		}
		if len(b.cookies) > 5 || size > 4<<10 {
			t.Fatalf("after %d starts: %d cookies of %d bytes", i+1, len(b.cookies), size)
		}
	}
	for i, address := range addresses {
		if i < 3 {
			b.ends(fmt.Sprintf("start %d, which was given up", i), 401, func() core.Decision { return b.callback(address) })
		} else if d := b.callback(address); location(d) != fmt.Sprintf("%s/page-%d", origin, i) {
			t.Errorf("start %d: %d %v", i, d.Status, d.Cause)
		}
	}
}

// A browser that restores its tabs asks for all of them before it has any cookie.
func TestTabsThatAreRestoredAtOnceAllSignIn(t *testing.T) {
	b := setup(t, change{}).browser()
	var addresses []string
	together := map[string]string{}
	for i := range 10 {
		tab := b.rig.browser()
		addresses = append(addresses, tab.begin(fmt.Sprintf("/tab-%d", i)))
		maps.Copy(together, tab.cookies)
	}
	b.cookies = together
	for i, address := range addresses {
		if d := b.callback(address); location(d) != fmt.Sprintf("%s/tab-%d", origin, i) {
			t.Errorf("tab %d: %d %v", i, d.Status, d.Cause)
		}
	}
	if b.begin2("/next"); len(b.cookies) > 5 {
		t.Errorf("%d cookies are left", len(b.cookies))
	}
}

// A page of another site could load a hundred protected pages in frames.
func TestPageOfAnotherSiteCannotFillTheBrowserWithAttempts(t *testing.T) {
	for _, framed := range []bool{false, true} {
		r := setup(t, change{oidc: func(o *oidc.Options) { o.ResponseMode = oidc.FormPost }, flow: func(o *flow.Options) { o.Framed = framed }})
		for _, place := range []string{"iframe", "frame", "embed", "object", "fencedframe"} {
			b := r.browser()
			open := func(site string) core.Decision {
				return b.send("GET", "/signin", "", "Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", site, "Sec-Fetch-Dest", place)
			}
			if framed {
				if d := open("cross-site"); d.Status != 303 {
					t.Errorf("%s, which is allowed: %d %v", place, d.Status, d.Cause)
				}
				continue
			}
			b.ends(place, 403, func() core.Decision { return open("cross-site") })
			if len(b.cookies) > 0 {
				t.Errorf("%s: cookies %v", place, b.cookies)
			}
			if d := open("same-site"); d.Status != 303 {
				t.Errorf("%s of the same site: %d %v", place, d.Status, d.Cause)
			}
		}
	}
	b := setup(t, change{}).browser()
	if d := b.send("GET", "/signin", "", append(slices.Clone(page), "Sec-Fetch-Site", "cross-site")...); d.Status != 303 {
		t.Errorf("a link of another site: %d %v", d.Status, d.Cause)
	}
}

func TestLongAddressesDoNotFillTheCookieLine(t *testing.T) {
	b := setup(t, change{}).browser()
	for i := range 5 {
		b.begin(fmt.Sprintf("/page-%d?q=%s", i, strings.Repeat("a", 1900)))
		b.clock.Advance(time.Second)
	}
	size := 0
	for name, value := range b.cookies {
		size += len(name) + len(value) + 3
	}
	if size > 4200 {
		t.Errorf("%d bytes of cookies", size)
	}
	long := "/page?q=" + strings.Repeat("a", 1900)
	if got := b.signIn(long); got != origin+long {
		t.Errorf("returned to %s", got)
	}
	delete(b.cookies, "sid")
	if got := b.signIn("/page?q=" + strings.Repeat("a", 4000)); got != origin+"/" {
		t.Errorf("an address that is too long to be remembered: %s", got)
	}
}

func TestBackButtonAfterTheSignInLeadsToThePage(t *testing.T) {
	b := setup(t, change{}).browser()
	address := b.begin("/orders")
	target, _ := b.provider(address)
	b.open(target)
	calls := b.fakes[0].CallsTo(coretest.TokenPath)
	for range 3 {
		if d := b.open(target); d.Status != 303 || location(d) != origin+"/orders" {
			t.Errorf("%d to %q: %v", d.Status, location(d), d.Cause)
		}
	}
	if got := b.fakes[0].CallsTo(coretest.TokenPath); got != calls || b.store.saved != 1 {
		t.Errorf("the code was redeemed again: %d calls, %d sessions", got-calls, b.store.saved)
	}
	if d := b.callback(address); d.Status != 303 || location(d) != origin+"/orders" { // back to the provider, and on
		t.Errorf("%d to %q: %v", d.Status, location(d), d.Cause)
	}
	if d := b.open("/signin?return_to=/orders"); d.Status != 303 {
		t.Errorf("back to the start: %d %v", d.Status, d.Cause)
	}
}

func TestSlowUser(t *testing.T) {
	b := setup(t, change{}).browser()
	address := b.begin("/orders")
	b.clock.Advance(14 * time.Minute)
	if d := b.callback(address); d.Status != 303 {
		t.Errorf("within the time: %d %v", d.Status, d.Cause)
	}
	address = b.begin2("/orders")
	b.clock.Advance(15 * time.Minute)
	d := b.ends("too slow", 401, func() core.Decision { return b.callback(address) })
	again := d.Shown.SignIn
	if got := b.open(again); got.Status != 303 {
		t.Errorf("the page leads to %q: %d %v", again, got.Status, got.Cause)
	}
}

// begin2 is begin for a browser that has a session.
func (b *browser) begin2(target string) string {
	delete(b.cookies, "sid")
	return b.begin(target)
}

func TestCallbackThatBelongsToNoAttemptOfThisBrowser(t *testing.T) {
	r := setup(t, change{})
	victim, attacker := r.browser(), r.browser()
	address := attacker.begin("/orders")
	target, _ := attacker.provider(address)
	victim.ends("without a start", 401, func() core.Decision { return victim.open("/callback?state=s&code=c") })
	victim.ends("from another browser (login CSRF)", 401, func() core.Decision { return victim.open(target) })
	victim.begin("/x")
	victim.ends("from another browser, which has an attempt of its own", 401, func() core.Decision { return victim.open(target) })
	victim.ends("an error without a start", 401, func() core.Decision { return victim.open("/callback?state=s&error=access_denied") })
	if r.fakes[0].CallsTo(coretest.TokenPath) != 0 {
		t.Error("a stranger has the gate call the provider")
	}
	for name, query := range map[string]string{
		"nothing": "", "no state": "?code=c", "no code": "?state=s", "two states": "?state=a&state=b&code=c", "an escape": "?state=%zz&code=c", "a long one": "?state=s&code=" + strings.Repeat("c", 9000),
	} {
		victim.ends(name, 400, func() core.Decision { return victim.open("/callback" + query) })
	}
	if d := attacker.open(target); d.Status != 303 {
		t.Errorf("the browser that began: %d %v", d.Status, d.Cause)
	}
}

func TestReplayedCallbackMakesNoSecondSession(t *testing.T) {
	r := setup(t, change{})
	r.fakes[0].Behave(coretest.Behaviour{CodesAgain: true})
	b := r.browser()
	address := b.begin("/orders")
	stolen := maps.Clone(b.cookies)
	target, _ := b.provider(address)
	b.open(target)
	thief := r.browser()
	thief.ends("the address alone", 401, func() core.Decision { return thief.open(target) })
	thief.cookies = stolen
	if d := thief.open(target); d.Status != 303 || location(d) != origin+"/orders" || thief.cookies["sid"] != "" || r.store.saved != 1 {
		t.Errorf("the address with the cookie of the attempt: %d, %d sessions, cookies %v", d.Status, r.store.saved, thief.cookies)
	}
}

func TestCodeOfAnotherProviderIsRefused(t *testing.T) {
	for _, names := range []bool{true, false} {
		r := setup(t, change{providers: 2})
		for _, fake := range r.fakes {
			fake.Discovery("authorization_response_iss_parameter_supported", names)
			fake.Behave(coretest.Behaviour{NamesIssuer: names})
		}
		b := r.browser()
		one := location(b.open("/signin?idp=p1"))
		two := location(b.open("/signin?idp=p2"))
		state := func(address string) string { u, _ := url.Parse(address); return u.Query().Get("state") }
		target, _ := b.provider(one)
		crossed := strings.Replace(target, state(one), state(two), 1)
		b.ends(fmt.Sprintf("a code of p1 in an attempt at p2, iss %v", names), 401, func() core.Decision { return b.open(crossed) })
		if names && r.fakes[1].CallsTo(coretest.TokenPath) > 0 {
			t.Error("the code of one provider was handed to the other")
		}
	}
}

func TestResponseInAnotherModeThanWasAskedFor(t *testing.T) {
	r := setup(t, change{oidc: func(o *oidc.Options) { o.ResponseMode = oidc.FormPost }})
	b := r.browser()
	_, body := b.provider(b.begin("/x"))
	if d := b.open("/callback?" + body); d.Status != 405 {
		t.Errorf("by GET: %d", d.Status)
	}
	post := func(kind string) core.Decision {
		return b.send("POST", "/callback", body, append(slices.Clone(page), "Content-Type", kind)...)
	}
	b.ends("no form", 400, func() core.Decision { return post("text/plain") })
	b.ends("JSON", 400, func() core.Decision { return post("application/json") })
	if d := post("application/x-www-form-urlencoded; charset=utf-8"); d.Status != 303 {
		t.Errorf("a form: %d %v", d.Status, d.Cause)
	}
}

func TestCookieOfAnAttemptThatWasChanged(t *testing.T) {
	r := setup(t, change{})
	for name, change := range map[string]func(name, value string, b *browser){
		"a bit":               func(n, v string, b *browser) { b.cookies[n] = flip(v) },
		"cut short":           func(n, v string, b *browser) { b.cookies[n] = v[:len(v)/2] },
		"empty":               func(n, _ string, b *browser) { b.cookies[n] = "" },
		"reversed":            func(n, v string, b *browser) { r := []byte(v); slices.Reverse(r); b.cookies[n] = string(r) },
		"padded":              func(n, v string, b *browser) { b.cookies[n] = v + "=" },
		"longer than allowed": func(n, v string, b *browser) { b.cookies[n] = strings.Repeat("A", 5000) },
		"of another attempt": func(n, _ string, b *browser) {
			b.begin("/other")
			for other, value := range b.cookies {
				if other != n {
					b.cookies[n] = value
				}
			}
		},
		"twice": func(n, v string, b *browser) { b.cookies[" "+n] = v; b.cookies[n] = v },
		"of another gate": func(n, _ string, b *browser) {
			other := setup(t, change{flow: func(o *flow.Options) { o.Secrets = []string{"fedcba9876543210fedcba9876543210"} }}).browser()
			other.begin("/x")
			for _, value := range other.cookies {
				b.cookies[n] = value
			}
		},
	} {
		b := r.browser()
		target, _ := b.provider(b.begin("/x"))
		for n, v := range maps.Clone(b.cookies) {
			change(n, v, b)
		}
		b.ends(name, 401, func() core.Decision { return b.open(target) })
		if d := b.open("/signin"); d.Status != 303 {
			t.Errorf("%s: no new attempt: %d %v", name, d.Status, d.Cause)
		}
	}
}

func flip(text string) string {
	b := []byte(text)
	if b[len(b)/2] = 'A'; text[len(b)/2] == 'A' {
		b[len(b)/2] = 'B'
	}
	return string(b)
}

func TestAttemptOutlivesAChangeOfTheSecret(t *testing.T) {
	b := setup(t, change{}).browser()
	target, _ := b.provider(b.begin("/x"))
	b.rig = sameWithSecrets(t, b.rig, "fedcba9876543210fedcba9876543210", secret)
	if d := b.open(target); d.Status != 303 {
		t.Errorf("%d %v", d.Status, d.Cause)
	}
}

// sameWithSecrets is the gate of a rig with other secrets, at the same provider.
func sameWithSecrets(t *testing.T, r *rig, secrets ...string) *rig {
	discovery := r.fakes[0].DiscoveryURL()
	again := setup(t, change{oidc: func(o *oidc.Options) { o.Discovery, o.Now = discovery, r.clock.Now }, flow: func(o *flow.Options) { o.Secrets = secrets }})
	again.fakes = r.fakes
	return again
}

func TestWhatIsNoBrowserThatOpensAPageNeverGetsARedirect(t *testing.T) {
	r := setup(t, change{})
	for name, pairs := range map[string][]string{
		"fetch":          {"Accept", "*/*", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
		"fetch of HTML":  {"Accept", "text/html", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
		"XHR":            {"Accept", "text/html, */*; q=0.01", "X-Requested-With", "XMLHttpRequest"},
		"JSON":           {"Accept", "application/json"},
		"gRPC-web":       {"Accept", "application/grpc-web", "Content-Type", "application/grpc-web+proto"},
		"WebSocket":      {"Accept", "text/html", "Upgrade", "websocket", "Connection", "Upgrade", "Sec-Fetch-Mode", "websocket"},
		"image":          {"Accept", "image/avif,*/*;q=0.8", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
		"prefetch":       append(slices.Clone(page), "Sec-Purpose", "prefetch;prerender"),
		"old prefetch":   append(slices.Clone(page), "Purpose", "prefetch"),
		"preview":        append(slices.Clone(page), "X-Purpose", "preview"),
		"prefetch (Moz)": append(slices.Clone(page), "X-Moz", "prefetch"),
		"SSE":            {"Accept", "text/event-stream", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
		"script":         {"Accept", "*/*", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script"},
		"htmx":           {"Accept", "text/html, */*", "Hx-Request", "true", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
		"curl":           nil,
		"service worker": {"Accept", "text/html", "Sec-Fetch-Dest", "serviceworker", "Sec-Fetch-Mode", "same-origin"},
		"health check":   {"Accept", "*/*", "User-Agent", "kube-probe/1.30"},
	} {
		b := r.browser()
		for _, target := range []string{"/orders", "/signin", "/signin?return_to=/x", "/callback?state=s&code=c"} {
			if strings.Contains(name, "pre") && target == "/orders" {
				continue // is led to the start, which goes no further
			}
			for _, method := range []string{"GET", "HEAD"} {
				d := b.send(method, target, "", pairs...)
				if d.Status != 401 || location(d) != "" || len(b.cookies) > 0 {
					t.Errorf("%s, %s %s: %d to %q, cookies %v", name, method, target, d.Status, location(d), b.cookies)
				}
			}
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} { // which are never replayed
		if d := r.browser().send(method, "/orders", "a=b", page...); d.Status != 401 || location(d) != "" {
			t.Errorf("%s: %d to %q", method, d.Status, location(d))
		}
	}
	if r.fakes[0].Calls() != 0 {
		t.Error("the provider was called")
	}
}

func TestOpenRedirectIsRefused(t *testing.T) {
	b := setup(t, change{}).browser()
	for i, target := range []string{
		"//evil.test", "///evil.test", "////evil.test", "/\\evil.test", "\\\\evil.test", "\\/evil.test", "/\tevil.test", "/\n/evil.test", "/\r/evil.test", "/ /evil.test",
		"\t//evil.test", " //evil.test", "https://evil.test", "http://evil.test", "HTTPS://evil.test", "https:evil.test", "https:/evil.test", "https:///evil.test", "https:\\\\evil.test",
		"https://app.example.test@evil.test", "https://app.example.test:pw@evil.test", "https://evil.test#@app.example.test", "https://evil.test?app.example.test", "https://evil.test\\@app.example.test",
		"https://app.example.test.evil.test", "https://evil-app.example.test", "https://app.example.test:8443", "https://app.example.test.", "http://app.example.test", "https://app.example.test%2f@evil.test",
		"https://app.example.test\\.evil.test", "https://[::1]", "https://127.0.0.1", "https://app.example.test%00.evil.test", "https://app.еxample.test", "https://app.example.test。evil.test",
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "ftp://app.example.test/", "blob:https://app.example.test/x", "about:blank",
		"evil.test", "evil", ".", "..", "?x", "#x", "@evil.test", ":evil", "https://", "https://?", "https://other.example.test@evil.test/", "https://x.other.example.test", "http://other.example.test",
		"//app.example.test/x", "https://app.example.test:", "https://app.example.test:0443", "https://app.example.test:80/", "https://app.example.test:443:443/", "https://other.example.test:8443/",
		"https://app．example.test/", "https://app․example.test/", "https://app.example.test／.evil.test", "https://app.example.test＠evil.test", "https://xn--app-example-test.evil.test/",
		"https://[::ffff:127.0.0.1]/", "https://[app.example.test]/", "https://2130706433/", "https://0x7f.1/", "https://localhost/", "https://evilapp.example.test/", "https://app.example.test-evil.test/",
		"https://app.example.test;evil.test/", "https://app.example.test,evil.test/", "https://evil.test;@app.example.test/", "https://a@app.example.test/", "https://:@app.example.test/", "https://app.example.test$evil.test/",
		"ws://app.example.test/", "wss://app.example.test/", "view-source:https://app.example.test/", "intent://app.example.test/#Intent;scheme=https;end", "javascript://app.example.test/%0aalert(1)", "data://app.example.test/",
		"https:/\\evil.test", "/\\/evil.test", "/\x0b/evil.test", "/\x0c/evil.test", "\x00//evil.test", "/\u00a0/evil.test", "/\u2028/evil.test", "\ufeff//evil.test", "https://app.example.test\t.evil.test/", "https\n://evil.test",
		"/x\x00", "/é", "https://app.example.test//evil.test", "https://app.example.test/\\evil.test", "%2f%2fevil.test", "%09//evil.test",
	} {
		if i%50 == 49 { // the log leaves out lines of a flood
			b = setup(t, change{}).browser()
		}
		b.ends(fmt.Sprintf("%q", target), 400, func() core.Decision { return b.open("/signin?return_to=" + url.QueryEscape(target)) })
	}
	b.ends("two of them", 400, func() core.Decision { return b.open("/signin?return_to=/a&return_to=https://evil.test") })
	for target, want := range map[string]string{
		"":                                    origin + "/",
		"/":                                   origin + "/",
		"/orders?a=b&c=https://evil.test/#x":  origin + "/orders?a=b&c=https://evil.test/#x",
		"/a//b/%2f%5c/..;/":                   origin + "/a//b/%2f%5c/..;/",
		"https://app.example.test":            origin + "/",
		"https://app.example.test?x=1":        origin + "/?x=1",
		"HTTPS://APP.example.test:443/Orders": origin + "/Orders",
		"https://other.example.test/x":        "https://other.example.test/x",
		"/%2f%2fevil.test":                    origin + "/%2f%2fevil.test",
		"/%5cevil.test":                       origin + "/%5cevil.test",
		"/.//evil.test":                       origin + "/.//evil.test",
		"/..//evil.test":                      origin + "/..//evil.test",
		"/@evil.test":                         origin + "/@evil.test",
		"/:80evil.test":                       origin + "/:80evil.test",
		"/%0d%0aLocation:%20https://evil":     origin + "/%0d%0aLocation:%20https://evil",
		"/javascript:alert(1)":                origin + "/javascript:alert(1)",
		"https://other.example.test:443":      "https://other.example.test/",
		"/logout":                             origin + "/",
		"/signin?return_to=/signin":           origin + "/",
		"/%73ignin":                           origin + "/",
		"/callback?state=s&code=c":            origin + "/",
		"https://app.example.test/logout#x":   origin + "/",
	} {
		b := b.rig.browser()
		d := b.callback(location(b.open("/signin?return_to=" + url.QueryEscape(target))))
		if location(d) != want {
			t.Errorf("%q: returned to %q, want %q", target, location(d), want)
		}
	}
}

// A pattern of origins stands for the subdomains alone.
func TestOpenRedirectBesideAPatternOfOrigins(t *testing.T) {
	allowed := origins.List{"https://*.apps.test", "https://one.test:8443"}
	b := setup(t, change{flow: func(o *flow.Options) { o.Returns = allowed.Has }}).browser()
	for _, target := range []string{
		"https://evilapps.test/", "https://a.apps.test.evil.test/", "https://apps.test/", "https://.apps.test/", "https://a..apps.test/", "https://a.apps.test./", "https://apps.test.evil.test/", "https://*.apps.test/",
		"http://a.apps.test/", "https://a.apps.test:8443/", "https://evil.test/.apps.test", "https://evil.test#.apps.test", "https://evil.test?.apps.test", "https://evil.test\\.apps.test", "https://evil.test%2f.apps.test/",
		"https://evil.test@a.apps.test/", "https://a.apps.test@evil.test/", "https://evil.test:443.apps.test/", "https://[::1].apps.test/", "https://a.аpps.test/", "https://one.test/", "https://one.test:84430/", "https://a.one.test:8443/", "https://-:.apps.test",
	} {
		b.ends(fmt.Sprintf("%q", target), 400, func() core.Decision { return b.open("/signin?return_to=" + url.QueryEscape(target)) })
	}
	for target, want := range map[string]string{
		"https://a.apps.test/x": "https://a.apps.test/x", "https://a.b.apps.test": "https://a.b.apps.test/", "HTTPS://A.Apps.Test:443/X": "https://a.apps.test/X", "https://one.test:8443/": "https://one.test:8443/",
	} {
		if d := b.callback(location(b.open("/signin?return_to=" + url.QueryEscape(target)))); location(d) != want {
			t.Errorf("%q: returned to %q, want %q: %v", target, location(d), want, d.Cause)
		}
	}
}

// Browsers write hosts in lower case and leave the usual port out.
func TestRedirectURIThatIsWrittenOtherwiseThanBrowsersDo(t *testing.T) {
	b := setup(t, change{oidc: func(o *oidc.Options) { o.RedirectURI = "HTTPS://App.Example.Test:443/callback" }}).browser()
	if got := b.signIn("/orders"); got != origin+"/orders" {
		t.Errorf("returned to %s", got)
	}
}

// FuzzReturnTarget: what is accepted leads, as browsers read it, to an origin that is allowed.
func FuzzReturnTarget(f *testing.F) {
	for _, seed := range []string{"/", "//evil.test", "https://app.example.test/x", "https://app.example.test@evil.test", "/\\evil.test", "https://other.example.test:443", "\thttps://evil.test"} {
		f.Add(seed)
	}
	p, err := oidc.New(oidc.Options{Name: "p", Discovery: "https://id.example.test/.well-known/openid-configuration", ClientID: "web", RedirectURI: origin + "/callback", Client: coretest.Client(f)})
	if err != nil {
		f.Fatal(err)
	}
	fl, err := flow.New(flow.Options{Providers: []*oidc.Provider{p}, Store: &store{}, Secrets: []string{secret}, StartPath: "/signin", Returns: func(o string) bool { return o == "https://other.example.test" }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		to, err := flow.Target(fl, text)
		if err != nil {
			return
		}
		u, err := url.Parse(to)
		if err != nil {
			if _, escape := err.(*url.Error).Err.(url.EscapeError); escape {
				return // browsers take it for a character
			}
			t.Fatalf("%q leads to %q, which is no address: %v", text, to, err)
		}
		if o := u.Scheme + "://" + u.Host; o != origin && o != "https://other.example.test" || u.User != nil || strings.HasPrefix(u.EscapedPath(), "//") {
			t.Fatalf("%q leads to %q", text, to)
		}
	})
}

// A browser that does not keep the session's cookie, or a page that the session does not
// satisfy, must not go round for ever.
func TestLoopEndsInAPageThatSaysWhy(t *testing.T) {
	for name, spoil := range map[string]func(*rig){
		"the cookie is not kept": func(r *rig) { r.store.keeps = false },
		"the session is refused": func(r *rig) { r.demand = func(*session.Session) error { return core.ErrInvalid } },
	} {
		for _, page := range []string{"/orders", "/orders?q=" + strings.Repeat("a", 1900)} {
			r := setup(t, change{})
			spoil(r)
			b := r.browser()
			for range 3 {
				if got := b.signIn(page); got != origin+page {
					t.Fatalf("%s: %s", name, got)
				}
				b.clock.Advance(time.Second)
			}
			start := location(b.open(page))
			d := b.ends(name, 403, func() core.Decision { return b.open(start) })
			if !strings.Contains(string(d.Body), "Signing in does not help") || !strings.Contains(r.log.String(), "a loop") {
				t.Errorf("%s: %s", name, d.Body)
			}
			if d := b.open("/signin?return_to=/another"); d.Status != 303 {
				t.Errorf("%s: another page: %d", name, d.Status)
			}
			b.clock.Advance(2 * time.Minute)
			if d := b.open(start); d.Status != 303 {
				t.Errorf("%s: later: %d %v", name, d.Status, d.Cause)
			}
		}
	}
}

func TestSigningOutAndInAgainIsNoLoop(t *testing.T) {
	b := setup(t, change{}).browser()
	for range 5 {
		b.signIn("/orders")
		if d := b.open("/logout"); d.Status != 303 {
			t.Fatalf("%d %v", d.Status, d.Cause)
		}
	}
}

func TestStepUpByTheProvider(t *testing.T) {
	r := setup(t, change{oidc: func(o *oidc.Options) { o.ACRLevels = map[string]string{"two": "aal2"} }})
	r.demand = func(s *session.Session) error {
		if s.AAL < "aal2" {
			return &core.StepUp{AAL: "aal2", MaxAge: 5 * time.Minute}
		}
		return nil
	}
	b := r.browser()
	b.signIn("/orders")
	address := b.begin("/orders")
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if q := u.Query(); q.Get("acr_values") != "two" || q.Get("max_age") != "300" || q.Get("prompt") != "login" {
		t.Errorf("%v", u.Query())
	}
	d := b.ends("a provider that does not do it", 403, func() core.Decision { return b.callback(address) })
	if !strings.Contains(string(d.Body), "stronger sign-in") {
		t.Errorf("%s", d.Body)
	}
	r.fakes[0].Behave(coretest.Behaviour{Claims: map[string]any{"acr": "two"}})
	b.signIn("/orders")
	if d := b.open("/orders"); d.Outcome != core.Allow {
		t.Errorf("%v", d.Cause)
	}
	address = location(b.open("/signin?return_to=/orders&max_age=60"))
	r.fakes[0].Behave(coretest.Behaviour{Claims: map[string]any{"auth_time": r.clock.Now().Add(-time.Hour).Unix()}})
	d = b.ends("a provider that does not sign in anew", 403, func() core.Decision { return b.callback(address) })
	if !strings.Contains(string(d.Body), "more recent") || !strings.Contains(r.log.String(), "too long ago") {
		t.Errorf("%s", d.Body)
	}
	without := setup(t, change{}).browser()
	without.ends("a level that nothing stands for", 403, func() core.Decision { return without.open("/signin?aal=aal2") })
}

func TestStartThatAsksForNonsense(t *testing.T) {
	b := setup(t, change{}).browser()
	for _, query := range []string{"idp=p2", "idp=", "aal=aal9", "aal=AAL2", "max_age=-1", "max_age=x", "max_age=99999999999", "aal=aal1&aal=aal2", "idp=p1&idp=p1", "return_to=%zz", "a;b"} {
		if query == "idp=" {
			continue // is as none
		}
		b.ends(query, 400, func() core.Decision { return b.open("/signin?" + query) })
	}
	if d := b.open("/signin?max_age=0"); !strings.Contains(location(d), "prompt=login") {
		t.Errorf("max_age=0: %q", location(d))
	}
}

func TestSeveralProviders(t *testing.T) {
	r := setup(t, change{providers: 2})
	b := r.browser()
	d := b.open("/orders")
	d = b.open(location(d))
	links := regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(string(d.Body), -1)
	if d.Status != 200 || len(links) != 2 || len(b.cookies) > 0 {
		t.Fatalf("%d %s", d.Status, d.Body)
	}
	for i, link := range links {
		d := b.callback(location(b.open(html.UnescapeString(link[1]))))
		if location(d) != origin+"/orders" || r.store.sessions[fmt.Sprintf("session-%d", i+1)].Provider != fmt.Sprintf("p%d", i+1) {
			t.Errorf("%d to %q: %v", d.Status, location(d), d.Cause)
		}
	}
	if d := b.open("/signin?return_to=" + url.QueryEscape(`/"><script>alert(1)</script>`)); strings.Contains(string(d.Body), "<script>") {
		t.Errorf("%s", d.Body)
	}
}

func TestFailuresEndInOnePage(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*rig)
		want  int
	}{
		"the provider refuses": {func(r *rig) {
			r.fakes[0].Behave(coretest.Behaviour{Response: map[string]any{"code": nil, "error": "access_denied"}})
		}, 401},
		"an ID token that does not hold": {func(r *rig) { r.fakes[0].Behave(coretest.Behaviour{Claims: map[string]any{"nonce": "x"}}) }, 401},
		"a store that is down":           {func(r *rig) { r.store.err = fmt.Errorf("down") }, 503},
		"a session that is too large":    {func(r *rig) { r.store.err = &session.TooLargeError{Bytes: 9, Limit: 8, Advice: "x"} }, 503},
		"a clock that is behind the provider's": {func(r *rig) {
			r.fakes[0].Behave(coretest.Behaviour{Claims: map[string]any{"iat": r.clock.Now().Add(time.Hour).Unix()}})
		}, 401},
		"a clock that is ahead of the provider's": {func(r *rig) {
			r.fakes[0].Behave(coretest.Behaviour{Claims: map[string]any{"exp": r.clock.Now().Add(-time.Minute).Unix()}})
		}, 401},
	} {
		r := setup(t, change{})
		b := r.browser()
		address := b.begin("/x")
		c.spoil(r)
		d := b.ends(name, c.want, func() core.Decision { return b.callback(address) })
		for cookie := range b.cookies {
			t.Errorf("%s: the browser keeps %s", name, cookie)
		}
		if strings.Contains(string(d.Body), "nonce") {
			t.Errorf("%s: the page says too much: %s", name, d.Body)
		}
	}
	r := setup(t, change{})
	r.fakes[0].Drop()
	b := r.browser()
	b.ends("a provider that is down at the start", 503, func() core.Decision { return b.open("/signin?return_to=/x") })
}

func TestLogoutEndsTheSessionHereAndAtTheProvider(t *testing.T) {
	r := setup(t, change{})
	b := r.browser()
	b.signIn("/orders")
	token, id := r.store.sessions["session-1"].IDToken, r.store.sessions["session-1"].ID
	stolen := maps.Clone(b.cookies)
	d := b.open("/logout")
	u, err := url.Parse(location(d))
	if err != nil {
		t.Fatal(err)
	}
	if q := u.Query(); d.Status != 303 || !strings.HasPrefix(location(d), r.fakes[0].URL+coretest.EndSessionPath) || q.Get("id_token_hint") != token || q.Get("post_logout_redirect_uri") != origin+"/bye" {
		t.Errorf("%d to %s", d.Status, location(d))
	}
	if len(b.cookies) != 0 || len(r.store.sessions) != 0 || !slices.Equal(r.revoked, []string{id}) {
		t.Errorf("cookies %v, sessions %v, revoked %v", b.cookies, r.store.sessions, r.revoked)
	}
	b.cookies = stolen
	if d := b.open("/orders"); d.Outcome == core.Allow {
		t.Error("the cookie of before still counts")
	}
	nobody := r.browser()
	if d := nobody.open("/logout"); d.Status != 303 || location(d) != origin+"/bye" {
		t.Errorf("without a session: %d to %q", d.Status, location(d))
	}
}

func TestLogoutByAScript(t *testing.T) {
	b := setup(t, change{}).browser()
	b.signIn("/orders")
	d := b.send("POST", "/logout", "", "Accept", "application/json", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Dest", "empty")
	var answer struct{ Location string }
	if err := json.Unmarshal(d.Body, &answer); err != nil || d.Status != 200 || location(d) != "" || !strings.Contains(answer.Location, coretest.EndSessionPath) || len(b.cookies) != 0 {
		t.Errorf("%d to %q: %s, %v", d.Status, location(d), d.Body, b.cookies)
	}
}

func TestLogoutThatAnotherSiteAsksFor(t *testing.T) {
	b := setup(t, change{}).browser()
	b.signIn("/orders")
	for _, method := range []string{"GET", "POST"} {
		b.ends(method, 403, func() core.Decision {
			return b.send(method, "/logout", "", append(slices.Clone(page), "Sec-Fetch-Site", "cross-site")...)
		})
	}
	if d := b.open("/orders"); d.Outcome != core.Allow {
		t.Errorf("%v", d.Cause)
	}
}

func TestLogoutThatDoesNotWorkSaysSo(t *testing.T) {
	r := setup(t, change{})
	b := r.browser()
	b.signIn("/orders")
	r.store.err = fmt.Errorf("down")
	d := b.ends("a store that is down", 503, func() core.Decision { return b.open("/logout") })
	if !strings.Contains(string(d.Body), "may still be signed in") {
		t.Errorf("%s", d.Body)
	}
	r.store.err = nil
	r.fakes[0].Drop()
	r.clock.Advance(25 * time.Hour)
	if d := b.open("/logout"); d.Status != 303 || location(d) != origin+"/bye" || len(r.store.sessions) != 0 {
		t.Errorf("a provider that is down keeps the browser signed in: %d %v", d.Status, d.Cause)
	}
}

func TestFrontChannelLogoutIsForTheSessionOfItsBrowserAlone(t *testing.T) {
	r := setup(t, change{})
	b := r.browser()
	b.signIn("/orders")
	id := r.store.sessions["session-1"].ID
	good := "?" + url.Values{"iss": {r.fakes[0].URL}, "sid": {"session-1"}}.Encode()
	for name, query := range map[string]string{
		"another session": "?" + url.Values{"iss": {r.fakes[0].URL}, "sid": {"other"}}.Encode(),
		"another issuer":  "?" + url.Values{"iss": {"https://evil.test"}, "sid": {"session-1"}}.Encode(),
		"an empty sid":    "?" + url.Values{"iss": {r.fakes[0].URL}, "sid": {""}}.Encode(),
	} {
		if d := b.open("/frontchannel" + query); d.Status != 200 || len(r.store.sessions) != 1 {
			t.Errorf("%s: %d, %d sessions", name, d.Status, len(r.store.sessions))
		}
	}
	for _, query := range []string{"?iss=a", "?sid=session-1", "?iss=a&iss=b&sid=c", "?%zz"} {
		if d := b.open("/frontchannel" + query); d.Status != 400 {
			t.Errorf("%s: %d", query, d.Status)
		}
	}
	if d := r.browser().open("/frontchannel" + good); d.Status != 200 || len(r.store.sessions) != 1 {
		t.Errorf("a stranger: %d, %d sessions", d.Status, len(r.store.sessions))
	}
	d := b.open("/frontchannel" + good)
	if d.Status != 200 || len(r.store.sessions) != 0 || b.cookies["sid"] != "" || !slices.Equal(r.revoked, []string{id}) {
		t.Errorf("%d, %d sessions, cookies %v", d.Status, len(r.store.sessions), b.cookies)
	}
	for _, h := range d.Header {
		if h.Name == "Content-Security-Policy" && !strings.Contains(h.Value, "frame-ancestors "+r.fakes[0].URL) {
			t.Errorf("the provider may not have it in a frame: %s", h.Value)
		}
	}
}

// A cookie that is SameSite=Strict is not sent where the provider's redirect ends.
func TestStrictCookiesAreFollowedByAPageOfThisSite(t *testing.T) {
	b := setup(t, change{flow: func(o *flow.Options) { o.StrictCookies = true }}).browser()
	d := b.callback(b.begin(`/orders?a="b"&c=d`))
	if d.Status != 200 || location(d) != "" || !strings.Contains(string(d.Body), `content="0;url=`+origin+`/orders?a=`) || b.cookies["sid"] == "" {
		t.Errorf("%d %s", d.Status, d.Body)
	}
}
