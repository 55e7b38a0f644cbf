package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	. "gatehouse/core"
	"gatehouse/core/extract"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// everywhere looks at every place there is.
var everywhere = func() Extractor {
	e, err := extract.New(
		extract.Place{Name: SessionCookie, Cookie: "ory_kratos_session"}, extract.SessionTokenPlace, extract.Place{Name: TokenCookie, Cookie: "jwt-token"},
	)
	if err != nil {
		panic(err)
	}
	return e
}()

func headers(pairs ...string) []Header {
	var list []Header
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

// paths is a policy of exact paths.
type paths map[string]rule

type rule struct {
	public bool
	err    error
	scopes []string
}

func (p paths) Match(_ context.Context, c *Call) Access {
	if r, ok := p[c.Method+" "+c.Path]; ok {
		return r
	}
	return nil
}
func (paths) Permissions(*Principal) []string                  { return nil }
func (r rule) Public() bool                                    { return r.public }
func (r rule) Allows(context.Context, *Call, *Principal) error { return r.err }
func (r rule) Scopes(*Call, *Principal) []string               { return r.scopes }
func (r rule) Rule() string                                    { return "a rule" }
func (rule) Refusal() error                                    { return nil }
func (rule) CheckBody(*Call, int) error                        { return nil }

// credentials is an authenticator that knows some values.
type credentials map[string]func() (*Principal, error)

func (c credentials) Authenticate(_ context.Context, _ *Call, cred Credential) (Authentication, error) {
	f, ok := c[cred.Value]
	if !ok {
		return Authentication{}, fmt.Errorf("%w: unknown", ErrInvalid)
	}
	p, err := f()
	return Authentication{Principal: p}, err
}

// userID tells the upstream the subject in X-User-Id.
type userID struct{}

func (userID) Upstream(_ context.Context, _ *Call, p *Principal, _ Policy) (Upstream, error) {
	if p == nil {
		return Upstream{Strip: []string{"X-User-Id"}}, nil
	}
	return Upstream{Set: []Header{{Name: "X-User-Id", Value: p.Subject}}}, nil
}
func (userID) Disguised(*Request) (string, bool) { return "", false }

type recorded []Event

func (r *recorded) Begin(ctx context.Context, _ *Request) context.Context { return ctx }
func (r *recorded) End(_ context.Context, e Event)                        { *r = append(*r, e) }

// loginPage is a page for clients that accept HTML.
type loginPage struct{}

func (loginPage) Location(r *Request, err error) (string, bool) {
	accept, _ := r.Lookup("Accept")
	var stepUp *StepUp
	location := "https://login.test/start"
	if errors.As(err, &stepUp) {
		location += "?aal=" + stepUp.AAL
	}
	return location, strings.HasPrefix(accept, "text/html")
}

func testGate(t *testing.T, change func(*Options)) (*Gate, *recorded) {
	t.Helper()
	events := &recorded{}
	until := func(expiry time.Time) func() (*Principal, error) {
		return func() (*Principal, error) {
			return &Principal{Subject: "ada", Scopes: []string{"s1"}, Expiry: expiry}, nil
		}
	}
	o := Options{
		Extractor: everywhere,
		Realm:     `the "api"`,
		Login:     loginPage{},
		Identity:  userID{},
		Recorder:  events,
		Now:       func() time.Time { return noon },
		Authenticator: credentials{
			"good":     until(noon.Add(time.Minute)),
			"expired":  until(noon),
			"timeless": until(time.Time{}),
			"nameless": func() (*Principal, error) { return &Principal{Expiry: noon.Add(time.Minute)}, nil },
			"outage":   func() (*Principal, error) { return nil, errors.New("dial tcp: connection refused") },
			"panic":    func() (*Principal, error) { panic("boom") },
			"nil":      func() (*Principal, error) { return nil, nil },
			"weak":     func() (*Principal, error) { return nil, &StepUp{AAL: "aal2"} },

			"tok-s3cr3t-panic": func() (*Principal, error) { panic("cannot read tok-s3cr3t-panic") },
		},
		Policy: paths{
			"GET /private":  {scopes: []string{"users:read"}},
			"POST /private": {scopes: []string{"users:read"}},
			"GET /public":   {public: true},
			"GET /short":    {err: &InsufficientScope{Scopes: []string{"users:write", `bad"scope`}}},
			"GET /roles":    {err: fmt.Errorf("%w: no role grants it", ErrForbidden)},
			"GET /stepup":   {err: &StepUp{AAL: "aal2", MaxAge: 15 * time.Minute}},
			"GET /broken":   {err: errors.New("condition failed")},
		},
	}
	if change != nil {
		change(&o)
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return g, events
}

func get(target string, pairs ...string) *Request {
	return &Request{Method: "GET", Target: target, Host: "app.test", Header: headers(pairs...)}
}

func header(d Decision, name string) string {
	r := Request{Header: d.Header}
	value, _ := r.Lookup(name)
	return value
}

func TestDecisions(t *testing.T) {
	g, _ := testGate(t, nil)
	html := []string{"Accept", "text/html,*/*"}
	for name, c := range map[string]struct {
		request *Request
		status  int // 0: allowed
		reason  string
		has     string // in WWW-Authenticate or Location
	}{
		"allowed":                     {get("/private", "Authorization", "Bearer good"), 0, "allowed", ""},
		"public without a credential": {get("/public"), 0, "public", ""},
		"public with a bad one":       {get("/public", "Authorization", "Bearer bad"), 0, "public", ""},
		"query takes no part":         {get("/private?x=/public", "Authorization", "Bearer good"), 0, "allowed", ""},
		"no credential":               {get("/private"), 401, "no_credential", `Bearer realm="the \"api\"", scope="users:read"`},
		"bad credential":              {get("/private", "Authorization", "Bearer bad"), 401, "invalid_credential", `error="invalid_token"`},
		"expired behind a cache":      {get("/private", "Authorization", "Bearer expired"), 401, "invalid_credential", `error="invalid_token"`},
		"principal without expiry":    {get("/private", "Authorization", "Bearer timeless"), 401, "invalid_credential", ""},
		"principal without a name":    {get("/private", "Authorization", "Bearer nameless"), 401, "invalid_credential", ""},
		"two credentials":             {get("/private", "Authorization", "Bearer a", "X-Session-Token", "b"), 400, "bad_request", `error="invalid_request"`},
		"insufficient scope":          {get("/short", "Authorization", "Bearer good"), 403, "insufficient_scope", `error="insufficient_scope", error_description="The credential does not permit this request.", scope="users:write"`},
		"no role":                     {get("/roles", "Authorization", "Bearer good"), 403, "forbidden", ""},
		"step up":                     {get("/stepup", "Authorization", "Bearer good"), 401, "step_up", `error="insufficient_user_authentication", error_description="A stronger or more recent authentication is needed.", acr_values="aal2", max_age="900"`},
		"nothing covers the call":     {get("/nowhere", "Authorization", "Bearer good"), 403, "forbidden", ""},
		"other method":                {&Request{Method: "DELETE", Target: "/private"}, 403, "forbidden", ""},
		"empty method":                {&Request{Target: "/private"}, 403, "forbidden", ""},
		"two readings of the path":    {get("/public/../private", "Authorization", "Bearer good"), 400, "bad_request", ""},
		"provider is down":            {get("/private", "Authorization", "Bearer outage"), 503, "unavailable", ""},
		"policy cannot tell":          {get("/broken", "Authorization", "Bearer good"), 503, "unavailable", ""},
		"panic":                       {get("/private", "Authorization", "Bearer panic"), 503, "unavailable", ""},
		"authenticator returns nil":   {get("/private", "Authorization", "Bearer nil"), 503, "unavailable", ""},
		"navigation":                  {get("/private?a=1&b=2", html...), 302, "no_credential", "https://login.test/start"},
		"navigation, dead session":    {get("/private", append(html, "Cookie", "ory_kratos_session=bad")...), 302, "invalid_credential", "https://login.test/start"},
		"navigation, weak session":    {get("/private", append(html, "Cookie", "ory_kratos_session=weak")...), 302, "step_up", "aal=aal2"},
		"navigation, provider down":   {get("/private", append(html, "Cookie", "ory_kratos_session=outage")...), 503, "unavailable", ""},
		"navigation, bad bearer":      {get("/private", append(html, "Authorization", "Bearer bad")...), 401, "invalid_credential", "Bearer"},
		"navigation, basic":           {get("/private", append(html, "Authorization", "Basic eDp5")...), 401, "no_credential", "Bearer"},
	} {
		d := g.Check(context.Background(), c.request)
		if (d.Outcome == Allow) != (c.status == 0) || d.Status != c.status || d.Reason != c.reason {
			t.Errorf("%s: %v %d %s (%v), want %d %s", name, d.Outcome, d.Status, d.Reason, d.Cause, c.status, c.reason)
		}
		if text := header(d, "WWW-Authenticate") + header(d, "Location"); !strings.Contains(text, c.has) {
			t.Errorf("%s: answered %q, want %q in it", name, text, c.has)
		}
		if d.Status == 401 && header(d, "WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without WWW-Authenticate", name)
		}
		if d.Outcome == Deny && header(d, "Cache-Control") != "no-store" {
			t.Errorf("%s: a refusal could be cached", name)
		}
		page := strings.HasPrefix(name, "navigation")
		if d.Outcome == Deny && d.Status != 302 && json.Valid(d.Body) == page {
			t.Errorf("%s: body %q", name, d.Body)
		}
	}
}

func TestZeroDecisionDenies(t *testing.T) {
	if (Decision{}).Outcome != Deny {
		t.Fatal("the zero value allows")
	}
}

func TestHeadersTheGatewayHidesAreRefused(t *testing.T) {
	g, _ := testGate(t, nil)
	r := get("/public")
	r.HeaderCut = true
	if d := g.Check(context.Background(), r); d.Outcome != Deny || d.Status != 431 {
		t.Errorf("%v %d", d.Outcome, d.Status)
	}
}

func TestScopesRequiredComeOnTopOfTheTable(t *testing.T) {
	g, _ := testGate(t, func(o *Options) { o.ScopesRequired = []string{"s1", "s2"} })
	d := g.Check(context.Background(), get("/private", "Authorization", "Bearer good"))
	if d.Status != 403 || !strings.Contains(header(d, "WWW-Authenticate"), `scope="s1 s2"`) {
		t.Errorf("%d %s", d.Status, header(d, "WWW-Authenticate"))
	}
}

func TestBrowserGetsA401WithoutALoginPage(t *testing.T) {
	g, _ := testGate(t, func(o *Options) { o.Login, o.Scheme = nil, SchemeSession })
	d := g.Check(context.Background(), get("/private", "Accept", "text/html"))
	if d.Status != 401 || !strings.HasPrefix(header(d, "WWW-Authenticate"), "Session realm=") {
		t.Errorf("%d %s", d.Status, header(d, "WWW-Authenticate"))
	}
}

func TestSecretIsInNoResponseAndNoCause(t *testing.T) {
	const secret = "tok-s3cr3t"
	g, events := testGate(t, nil)
	for _, r := range []*Request{
		get("/private", "Authorization", "Bearer "+secret),
		get("/private", "Authorization", secret),
		get("/private", "Authorization", "Bearer "+secret, "X-Session-Token", secret),
		get("/private", "Cookie", "ory_kratos_session="+secret, "Accept", "text/html"),
		get("/private", "Authorization", "Bearer "+secret+"-panic"),
	} {
		d := g.Check(context.Background(), r)
		if text := fmt.Sprint(lines(d.Header), string(d.Body), d.Cause); strings.Contains(text, secret) {
			t.Errorf("told: %s", text)
		}
	}
	if len(*events) != 5 {
		t.Errorf("%d events recorded, want 5", len(*events))
	}
}

func TestEveryDecisionIsRecorded(t *testing.T) {
	g, events := testGate(t, nil)
	g.Check(context.Background(), get("/private", "Authorization", "Bearer good"))
	g.Check(context.Background(), get("/private", "Authorization", "Bearer panic"))
	if len(*events) != 2 || (*events)[0].Decision.Principal.Subject != "ada" || (*events)[0].Path != "/private" || (*events)[1].Decision.Status != 503 {
		t.Errorf("%+v", *events)
	}
}

// failing is a recorder that panics at one of its calls.
type failing struct{ begin bool }

func (f failing) Begin(ctx context.Context, _ *Request) context.Context {
	if f.begin {
		panic("boom")
	}
	return ctx
}
func (failing) End(context.Context, Event) { panic("boom") }

func TestPanicOfTheRecorderDenies(t *testing.T) {
	for _, f := range []failing{{begin: true}, {}} {
		g, _ := testGate(t, func(o *Options) { o.Recorder = f })
		if d := g.Check(context.Background(), get("/private", "Authorization", "Bearer good")); d.Outcome != Deny || d.Status != 503 {
			t.Errorf("%+v: %v %d", f, d.Outcome, d.Status)
		}
	}
}

func TestGateWithoutItsPartsIsNotBuilt(t *testing.T) {
	for _, o := range []Options{{}, {Realm: "r"}, {Policy: paths{}, Extractor: everywhere, Authenticator: credentials{}, Identity: userID{}}} {
		if g, err := New(o); err == nil || g != nil {
			t.Errorf("New(%+v) built a gate", o)
		}
	}
}

// TestForgedForwardedHeadersDoNotCount: on the native hosts no peer is
// trusted, so nothing that a client says about path, host, scheme or address
// takes part.
func TestForgedForwardedHeadersDoNotCount(t *testing.T) {
	g, _ := testGate(t, nil)
	claims := []string{
		"X-Original-URL", "/public", "X-Original-URI", "/public", "X-Rewrite-URL", "/public", "X-Forwarded-Uri", "/public", "X-Envoy-Original-Path", "/public",
		"X-Forwarded-Method", "HEAD", "X-HTTP-Method-Override", "HEAD", "X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "http", "Forwarded", "host=evil.test;proto=http",
	}
	if d := g.Check(context.Background(), get("/private", claims...)); d.Status != 401 {
		t.Errorf("status %d, want 401", d.Status)
	}
}

// cachedResult is an authenticator with a cache: it has an old result and, after
// a refresh, a new one.
type cachedResult struct {
	old, fresh *Principal
	refreshed  int
}

func (r *cachedResult) Authenticate(context.Context, *Call, Credential) (Authentication, error) {
	return Authentication{Principal: r.old}, nil
}
func (r *cachedResult) Refresh(context.Context, *Call, Credential) (Authentication, error) {
	r.refreshed++
	return Authentication{Principal: r.fresh}, nil
}

// needsAAL2 is an access that wants a second factor.
type needsAAL2 struct{ rule }

func (needsAAL2) Allows(_ context.Context, _ *Call, p *Principal) error {
	if p.AAL != "aal2" {
		return &StepUp{AAL: "aal2"}
	}
	return nil
}
func (n needsAAL2) Match(context.Context, *Call) Access { return n }
func (needsAAL2) Permissions(*Principal) []string       { return nil }

// Without it, a browser that comes back from the second factor is sent there
// again for as long as the first result is cached.
func TestSecondFactorCountsAtOnce(t *testing.T) {
	one := &Principal{Subject: "ada", AAL: "aal1", Expiry: noon.Add(time.Minute)}
	two := &Principal{Subject: "ada", AAL: "aal2", Expiry: noon.Add(time.Minute)}
	for name, c := range map[string]struct {
		fresh  *Principal
		status int
	}{"stepped up": {two, 0}, "not yet": {one, 401}} {
		cached := &cachedResult{old: one, fresh: c.fresh}
		g, _ := testGate(t, func(o *Options) { o.Authenticator, o.Policy = cached, needsAAL2{} })
		d := g.Check(context.Background(), get("/private", "Cookie", "ory_kratos_session=s"))
		if d.Status != c.status || cached.refreshed != 1 {
			t.Errorf("%s: %d after %d looks, want %d after 1", name, d.Status, cached.refreshed, c.status)
		}
	}
}

func TestEveryRefusalNamesItsRequest(t *testing.T) {
	g, events := testGate(t, nil)
	refuse := map[string]func(*Request) Decision{
		"decided": func(r *Request) Decision { return g.Check(context.Background(), r) },
		"malformed": func(r *Request) Decision {
			r.Header = headers("Authorization", "Bearer a,b")
			return g.Check(context.Background(), r)
		},
		"panic": func(r *Request) Decision {
			r.Header = headers("Authorization", "Bearer panic")
			return g.Check(context.Background(), r)
		},
		"bad path":    func(r *Request) Decision { r.Target = "/a/../b"; return g.Check(context.Background(), r) },
		"cut headers": func(r *Request) Decision { r.HeaderCut = true; return g.Check(context.Background(), r) },
		"by the host": func(r *Request) Decision { return g.Refuse(context.Background(), r, ErrBadRequest) },
	}
	for name, refuse := range refuse {
		*events = nil
		r := get("/private", "Authorization", "Bearer bad")
		r.AskID = func() string { return "the-gateways-id" }
		d := refuse(r)
		var body struct {
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal(d.Body, &body); err != nil || body.RequestID != "the-gateways-id" {
			t.Errorf("%s: the client reads %s, %v", name, d.Body, err)
		}
		if len(*events) != 1 || (*events)[0].Request.ID != body.RequestID || (*events)[0].Decision.Status != d.Status {
			t.Errorf("%s: recorded %+v", name, *events)
		}
	}
}

// What costs the gateway an exchange is not done for those who bring no credential:
// they could make each other's requests wait at no price.
func TestRefusalWithoutACredentialCostsNoIDLookup(t *testing.T) {
	g, events := testGate(t, nil)
	for name, r := range map[string]*Request{
		"no credential":    get("/private"),
		"another scheme":   get("/private", "Authorization", "Basic YTpi"),
		"another cookie":   get("/private", "Cookie", "theme=dark"),
		"no activity":      get("/nowhere"),
		"a bad path":       get("/a/../b"),
		"not all headers":  {Method: "GET", Target: "/private", HeaderCut: true},
		"sign-in redirect": get("/private", "Accept", "text/html"),
	} {
		*events = nil
		r.AskID = func() string { t.Errorf("%s: asked", name); return "" }
		if d := g.Check(context.Background(), r); d.Outcome != Deny || len((*events)[0].Request.ID) != 32 {
			t.Errorf("%s: %v under the id %q", name, d.Outcome, (*events)[0].Request.ID)
		}
	}
}

func TestLoginRedirectIsLoggedUnderAnID(t *testing.T) {
	g, events := testGate(t, nil)
	if d := g.Check(context.Background(), get("/private", "Accept", "text/html")); d.Status != 302 || (*events)[0].Request.ID == "" {
		t.Errorf("status %d, recorded %+v", d.Status, (*events)[0].Request)
	}
}

func TestAdmittedRequestCostsNoIDLookup(t *testing.T) {
	g, _ := testGate(t, nil)
	for _, r := range []*Request{get("/public"), get("/private", "Authorization", "Bearer good")} {
		r.AskID = func() string { t.Error("asked"); return "" }
		if d := g.Check(context.Background(), r); d.Outcome != Allow {
			t.Errorf("%s: %v", r.Target, d.Cause)
		}
	}
}

func lines(set []Header) string {
	var b strings.Builder
	for _, h := range set {
		b.WriteString(h.Name + ": " + h.Value + "\n")
	}
	return b.String()
}

// An authenticator that looks at one value alone would pick the identity.
func TestRepeatedCookieIsRefusedByAnAuthenticatorOfOneValue(t *testing.T) {
	gate, _ := testGate(t, nil)
	d := gate.Check(context.Background(), &Request{Method: "GET", Target: "/private", Header: headers("Cookie", "jwt-token=good; jwt-token=other")})
	if d.Outcome == Allow || d.Status != 401 {
		t.Errorf("%+v", d)
	}
}

// A cookie is what a server or another site of the domain left in the browser. Its
// user can do nothing about a 400, while signing in again replaces it.
func TestMalformedCookieLocksNoBrowserOut(t *testing.T) {
	g, _ := testGate(t, nil)
	for _, cookies := range []string{
		`ory_kratos_session="s"`, "ory_kratos_session=a b", "ory_kratos_session=a\\b", "ory_kratos_session=a,b", "ory_kratos_session=\x7f", "ory_kratos_session=caf\xe9",
		"ory_kratos_session=a\x00b", "ory_kratos_session=" + strings.Repeat("a", MaxCredential+1), `jwt-token="t"`, "jwt-token=a\tb", "jwt-token=\u00e9",
	} {
		if d := g.Check(t.Context(), get("/private", "Cookie", cookies, "Accept", "text/html")); d.Status != 302 {
			t.Errorf("%.30q: a browser gets %d, want the login page", cookies, d.Status)
		}
		if d := g.Check(t.Context(), get("/private", "Cookie", cookies)); d.Status != 401 || !strings.Contains(header(d, "WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%.30q: a program gets %d %s", cookies, d.Status, header(d, "WWW-Authenticate"))
		}
	}
	if d := g.Check(t.Context(), get("/private", "Authorization", "Bearer a b", "Accept", "text/html")); d.Status != 400 {
		t.Errorf("a malformed header, which a program has sent, gets %d", d.Status)
	}
}
