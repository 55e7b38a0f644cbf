package core_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	. "gatehouse/core"
	"gatehouse/core/extract"
)

// boundToken is an authenticator of one token that is bound to a certificate
// (RFC 8705 section 3): the proof lies in the TLS connection, not in the token.
type boundToken struct{ thumbprint string }

func (b boundToken) Authenticate(_ context.Context, call *Call, c Credential) (Authentication, error) {
	if c.Value != "bound" {
		return Authentication{Principal: &Principal{Subject: "ada", Expiry: noon.Add(time.Minute)}}, nil
	}
	tls, err := call.ClientTLS()
	if err != nil {
		return Authentication{}, err
	}
	if len(tls.Chain) == 0 {
		return Authentication{}, fmt.Errorf("%w: the token is bound to a certificate and the client presented none", ErrInvalid)
	}
	if sum := sha256.Sum256(tls.Chain[0].Raw); base64.RawURLEncoding.EncodeToString(sum[:]) != b.thumbprint {
		return Authentication{}, fmt.Errorf("%w: the token is bound to another certificate", ErrInvalid)
	}
	return Authentication{Principal: &Principal{Subject: "ada", Expiry: noon.Add(time.Minute)}}, nil
}

func certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tlsHost is a host that ends TLS itself: a real server around a gate.
func tlsHost(t *testing.T, g *Gate) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := &Request{Method: r.Method, Target: r.RequestURI, Host: r.Host}
		for name, values := range r.Header {
			for _, value := range values {
				request.Header = append(request.Header, Header{Name: name, Value: value})
			}
		}
		request.AskTLS = func() (*ClientTLS, error) { return &ClientTLS{Chain: r.TLS.PeerCertificates}, nil }
		d := g.Check(r.Context(), request)
		if d.Outcome == Allow {
			d.Status = http.StatusNoContent
		}
		w.WriteHeader(d.Status)
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestStolenTokenWithoutItsCertificateIsRefused(t *testing.T) {
	own, other := certificate(t, "workload"), certificate(t, "thief")
	sum := sha256.Sum256(own.Certificate[0])
	g, _ := testGate(t, func(o *Options) { o.Authenticator = boundToken{base64.RawURLEncoding.EncodeToString(sum[:])} })
	server := tlsHost(t, g)
	for name, c := range map[string]struct {
		token        string
		certificates []tls.Certificate
		want         int
	}{
		"own certificate":             {"bound", []tls.Certificate{own}, 204},
		"no certificate":              {"bound", nil, 401},
		"certificate of someone else": {"bound", []tls.Certificate{other}, 401},
		"a token that is not bound":   {"free", nil, 204},
	} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: c.certificates}}}
		request, _ := http.NewRequest("GET", server.URL+"/private", nil)
		request.Header.Set("Authorization", "Bearer "+c.token)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", name, response.StatusCode, c.want)
		}
	}
}

func TestTLSFactsAreAskedForOnlyWhenWanted(t *testing.T) {
	g, _ := testGate(t, func(o *Options) { o.Authenticator = boundToken{} })
	for token, want := range map[string]int{"free": 0, "bound": 1} {
		asked := 0
		r := get("/private", "Authorization", "Bearer "+token)
		r.AskTLS = func() (*ClientTLS, error) { asked++; return &ClientTLS{}, nil }
		g.Check(context.Background(), r)
		if asked != want {
			t.Errorf("%s: asked %d times, want %d", token, asked, want)
		}
		for range 2 {
			r.ClientTLS()
		}
		if asked != 1 {
			t.Errorf("%s: asked %d times for one connection", token, asked)
		}
	}
}

// A host that cannot know the certificate must not read as a client without one.
func TestUnknownTLSConnectionIsNotAClientWithoutACertificate(t *testing.T) {
	g, _ := testGate(t, func(o *Options) { o.Authenticator = boundToken{} })
	for name, ask := range map[string]func() (*ClientTLS, error){
		"the host has no such means": nil,
		"the host fails":             func() (*ClientTLS, error) { return nil, errors.New("no variable") },
		"the host tells nothing":     func() (*ClientTLS, error) { return nil, nil },
	} {
		r := get("/private", "Authorization", "Bearer bound")
		r.AskTLS = ask
		if d := g.Check(context.Background(), r); d.Status != 503 {
			t.Errorf("%s: %d, want 503", name, d.Status)
		}
	}
}

// outside is a policy point over HTTP: it allows what the server answers 200.
type outside struct {
	rule
	url string
}

func (o outside) Match(context.Context, *Call) Access { return o }
func (o outside) Permissions(*Principal) []string     { return nil }
func (o outside) Allows(ctx context.Context, call *Call, p *Principal) error {
	request, err := http.NewRequestWithContext(ctx, "GET", o.url+"?subject="+p.Subject, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Traceparent", traceOf(ctx))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("the policy point cannot be reached: %w", err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case 200:
		return nil
	case 403:
		return ErrForbidden
	}
	return fmt.Errorf("the policy point answered %d", response.StatusCode)
}

// tracer is a recorder that gives every decision a trace.
type tracer struct{ recorded }

type traceKey struct{}

func traceOf(ctx context.Context) string { id, _ := ctx.Value(traceKey{}).(string); return id }

func (*tracer) Begin(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, traceKey{}, "trace of "+r.Target)
}

func (r *tracer) End(ctx context.Context, e Event) {
	e.Path += " in " + traceOf(ctx)
	r.recorded.End(ctx, e)
}

func TestPolicyAsksOutsideWithinTheTimeOfTheRequest(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	traces := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		traces <- r.Header.Get("Traceparent")
		switch r.URL.Path {
		case "/no":
			w.WriteHeader(403)
		case "/broken":
			w.WriteHeader(500)
		case "/slow":
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}
	}))
	defer server.Close()
	for path, want := range map[string]int{"/yes": 0, "/no": 403, "/broken": 503, "/slow": 503} {
		record := &tracer{}
		g, _ := testGate(t, func(o *Options) { o.Policy, o.Recorder = outside{url: server.URL + path}, record })
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		d := g.Check(ctx, get("/private", "Authorization", "Bearer good"))
		cancel()
		if d.Status != want || (d.Outcome == Allow) != (want == 0) {
			t.Errorf("%s: %v %d (%v), want %d", path, d.Outcome, d.Status, d.Cause, want)
		}
		if trace := <-traces; trace != "trace of /private" || record.recorded[0].Path != "/private in trace of /private" {
			t.Errorf("%s: the call has the trace %q, the decision is recorded as %q", path, trace, record.recorded[0].Path)
		}
	}
}

// refreshing is an authenticator that renews or deletes a cookie.
type refreshing struct{ line Header }

func (f refreshing) Authenticate(_ context.Context, _ *Call, c Credential) (Authentication, error) {
	if c.Value == "dead" {
		return Authentication{ResponseHeader: []Header{f.line}}, fmt.Errorf("%w: signed out", ErrInvalid)
	}
	return Authentication{&Principal{Subject: "ada", Expiry: noon.Add(time.Minute)}, []Header{f.line}}, nil
}

func (refreshing) ResponseHeaders() []string { return []string{"Set-Cookie"} }

func TestRefreshedCookieGoesToTheClient(t *testing.T) {
	cookie := Header{Name: "Set-Cookie", Value: "sid=new; Secure; HttpOnly"}
	for value, want := range map[string]int{"live": 0, "dead": 302} {
		g, _ := testGate(t, func(o *Options) { o.Authenticator = refreshing{cookie} })
		d := g.Check(context.Background(), get("/private", "Cookie", "ory_kratos_session="+value, "Accept", "text/html"))
		where := d.ResponseHeader
		if want != 0 {
			where = d.Header
		}
		if d.Status != want || !slices.Contains(where, cookie) {
			t.Errorf("%s: %d, response headers %v, %v", value, d.Status, d.Header, d.ResponseHeader)
		}
		if want != 0 && (header(d, "Location") == "" || header(d, "Cache-Control") != "no-store" || header(d, "Content-Type") != "text/plain; charset=utf-8") {
			t.Errorf("the redirect is %v", d.Header)
		}
	}
	for _, bad := range []Header{{Name: "Set-Cookie", Value: "sid=a\r\nX-Admin: 1"}, {Name: "Set-Cookie: a", Value: "b"}, {Name: "", Value: "x"}, {Name: "X-Not-Named", Value: "x"}} {
		g, _ := testGate(t, func(o *Options) { o.Authenticator = refreshing{bad} })
		for _, value := range []string{"live", "dead"} {
			d := g.Check(context.Background(), get("/private", "Cookie", "ory_kratos_session="+value))
			if d.Outcome == Allow || slices.Contains(d.Header, bad) {
				t.Errorf("%s: %v with %q", value, d.Outcome, d.Header)
			}
		}
	}
}

// rotating gives out another cookie at every call.
type rotating struct{ refreshing }

func (rotating) Refresh(context.Context, *Call, Credential) (Authentication, error) {
	return Authentication{ResponseHeader: []Header{{Name: "Set-Cookie", Value: "second"}}}, fmt.Errorf("%w: signed out", ErrInvalid)
}

// The cookie of the first call has replaced the client's already.
func TestRefreshedCookieSurvivesAStepUp(t *testing.T) {
	g, _ := testGate(t, func(o *Options) {
		o.Authenticator = rotating{refreshing{Header{Name: "Set-Cookie", Value: "first"}}}
		o.Policy = paths{"GET /private": {err: &StepUp{AAL: "aal2"}}}
	})
	d := g.Check(context.Background(), get("/private", "Cookie", "ory_kratos_session=live"))
	var cookies []string
	for _, h := range d.Header {
		if h.Name == "Set-Cookie" {
			cookies = append(cookies, h.Value)
		}
	}
	if d.Status != 401 || !slices.Equal(cookies, []string{"first", "second"}) {
		t.Errorf("%d, cookies %q", d.Status, cookies)
	}
}

// echo answers with the body that it got.
type echo struct{ fail error }

func (e echo) Respond(_ context.Context, call *Call, body []byte) (Response, error) {
	if call.Query() == "panic" {
		panic("boom")
	}
	header := []Header{{Name: "Content-Type", Value: "text/plain"}}
	if call.Query() == "inject" {
		header[0].Value = "a\r\nX-Admin: 1"
	}
	return Response{Status: 200, Header: header, Body: append([]byte("got "), body...)}, e.fail
}

func TestEndpointIsServedByTheGate(t *testing.T) {
	g, events := testGate(t, func(o *Options) {
		o.Endpoints = []Endpoint{
			{Path: "/callback", Methods: []string{"POST"}, MaxBody: 8, Handler: echo{}},
			{Path: "/private", Methods: []string{"GET"}, Handler: echo{}}, // comes before the activity of this path
			{Path: "/down", Methods: []string{"GET"}, Handler: echo{errors.New("no database")}},
		}
	})
	long := strings.Repeat("x", 9)
	for name, c := range map[string]struct {
		method, target, body string
		status               int // 0: not answered by an endpoint
		want                 string
	}{
		"with a body":            {"POST", "/callback", "a=1", 200, "got a=1"},
		"path in another form":   {"POST", "/%63allback", "a=1", 200, "got a=1"},
		"query takes no part":    {"POST", "/callback?x=/private", "", 200, "got "},
		"too long a body":        {"POST", "/callback", long, 413, ""},
		"before the activity":    {"GET", "/private", "ignored", 200, "got "},
		"HEAD":                   {"HEAD", "/private", "", 200, "got "},
		"another method":         {"DELETE", "/callback", "", 405, ""},
		"a handler that fails":   {"GET", "/down", "", 503, ""},
		"a handler that panics":  {"GET", "/private?panic", "", 503, ""},
		"a header that injects":  {"GET", "/private?inject", "", 503, ""},
		"below the path":         {"POST", "/callback/x", "", 403, ""},
		"the path in large type": {"POST", "/CALLBACK", "", 403, ""},
		"two readings":           {"POST", "/x/../callback", "", 400, ""},
	} {
		*events = nil
		r := &Request{Method: c.method, Target: c.target, Host: "app.test"}
		r.AskBody = func(limit int) ([]byte, error) {
			if c.body == "ignored" {
				t.Errorf("%s: the body was read", name)
			}
			return []byte(c.body), nil
		}
		d := g.Check(context.Background(), r)
		if d.Status != c.status || c.want != "" && string(d.Body) != c.want {
			t.Errorf("%s: %v %d %q (%v), want %d %q", name, d.Outcome, d.Status, d.Body, d.Cause, c.status, c.want)
		}
		if want := c.status == 200 || c.status == 405; (d.Outcome == Respond) != want || d.Outcome == Allow {
			t.Errorf("%s: outcome %v", name, d.Outcome)
		}
		if len(*events) != 1 || (*events)[0].Decision.Status != c.status {
			t.Errorf("%s: recorded %+v", name, *events)
		}
	}
	if d := g.Check(context.Background(), &Request{Method: "POST", Target: "/callback"}); d.Status != 503 {
		t.Errorf("a host that cannot read bodies: %d, want 503", d.Status)
	}
}

func TestEndpointsThatCannotBeServedAreRefused(t *testing.T) {
	for name, endpoints := range map[string][]Endpoint{
		"two of one path":    {{Path: "/a", Methods: []string{"GET"}, Handler: echo{}}, {Path: "/a", Methods: []string{"POST"}, Handler: echo{}}},
		"not canonical":      {{Path: "/%61", Methods: []string{"GET"}, Handler: echo{}}},
		"two readings":       {{Path: "/a/../b", Methods: []string{"GET"}, Handler: echo{}}},
		"no handler":         {{Path: "/a", Methods: []string{"GET"}}},
		"no method":          {{Path: "/a", Handler: echo{}}},
		"negative body size": {{Path: "/a", Methods: []string{"GET"}, Handler: echo{}, MaxBody: -1}},
	} {
		var o Options
		testGate(t, func(whole *Options) { o = *whole })
		o.Endpoints = endpoints
		if _, err := New(o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestAllowNamesEveryMethodOfAnEndpoint(t *testing.T) {
	for _, c := range []struct {
		methods []string
		want    string
	}{
		{[]string{"GET", "OPTIONS"}, "GET, HEAD, OPTIONS"},
		{[]string{"HEAD", "GET"}, "HEAD, GET"},
		{[]string{"POST"}, "POST"},
	} {
		g, _ := testGate(t, func(o *Options) { o.Endpoints = []Endpoint{{Path: "/own", Methods: c.methods, Handler: echo{}}} })
		d := g.Check(context.Background(), &Request{Method: "DELETE", Target: "/own"})
		if got := header(d, "Allow"); d.Status != 405 || got != c.want {
			t.Errorf("%v: %d, Allow %q, want %q", c.methods, d.Status, got, c.want)
		}
	}
}

func TestChallengeNamesTheMetadataOfTheResource(t *testing.T) {
	g, _ := testGate(t, func(o *Options) {
		o.Metadata = func(path string) string {
			return map[string]string{"/private": "https://a.test/m/private", "/short": `https://a.test/"`}[path]
		}
	})
	for target, want := range map[string]string{
		"/private": `, resource_metadata="https://a.test/m/private"`,
		"/short":   `, resource_metadata="https://a.test/\""`,
		"/roles":   "",
	} {
		challenge := header(g.Check(context.Background(), get(target)), "WWW-Authenticate")
		if strings.Contains(challenge, "resource_metadata") != (want != "") || !strings.HasSuffix(challenge, want) {
			t.Errorf("%s: %s, want %s", target, challenge, want)
		}
	}
}

func TestKindsHaveEachARowAndAPlace(t *testing.T) {
	for _, k := range Kinds() {
		if k.Title == "" || k.Proof == "" || len(k.Places) == 0 {
			t.Errorf("%+v", k)
		}
		if row, known := k.Kind.Info(); !known || row.Title != k.Title {
			t.Errorf("%s is not found", k.Kind)
		}
	}
	if _, known := Kind("").Info(); known {
		t.Error("a kind without a name")
	}
	if got := strings.Join(KindNames(), ","); got != "session,jwt,introspection,api_token,mtls,spiffe,oidc" {
		t.Errorf("names %s", got)
	}
}

// waits is an authenticator that asks every client to come back later.
type waits struct{ err error }

func (w waits) Authenticate(context.Context, *Call, Credential) (Authentication, error) {
	return Authentication{}, w.err
}

func TestRefusalSaysWhenTryingAgainCanHelp(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		reason string
		after  string
	}{
		"too many attempts": {&Later{ErrTooMany, 1500 * time.Millisecond}, 429, "too_many_attempts", "2"},
		"a moment":          {fmt.Errorf("peer 192.0.2.1: %w", &Later{ErrTooMany, 0}), 429, "too_many_attempts", "1"},
		"provider pauses":   {fmt.Errorf("POST https://id.test/: %w", &Later{errors.New("not called"), 30 * time.Second}), 503, "unavailable", "30"},
		"provider is down":  {errors.New("connection refused"), 503, "unavailable", "5"},
		"also invalid":      {fmt.Errorf("%w: %w", ErrInvalid, &Later{ErrTooMany, time.Second}), 429, "too_many_attempts", "1"},
		"invalid":           {fmt.Errorf("%w: %w", ErrInvalid, &Later{errors.New("busy"), time.Second}), 401, "invalid_credential", ""},
		"forbidden":         {fmt.Errorf("%w: %w", ErrForbidden, &Later{errors.New("busy"), time.Second}), 403, "forbidden", ""},
	} {
		g, _ := testGate(t, func(o *Options) { o.Authenticator = waits{c.err} })
		d := g.Check(t.Context(), get("/private", "Authorization", "Bearer any", "Accept", "text/html"))
		if d.Status != c.status || d.Reason != c.reason || header(d, "Retry-After") != c.after {
			t.Errorf("%s: %d %s Retry-After %q", name, d.Status, d.Reason, header(d, "Retry-After"))
		}
		if challenge := header(d, "WWW-Authenticate"); d.Status == 429 && challenge != "" {
			t.Errorf("%s: 429 with the challenge %q", name, challenge)
		}
	}
}

// A token in a query stays out of the upstream, of every event and of the address that
// a login page leads back to.
func TestTokenInTheQueryGoesNoFurther(t *testing.T) {
	login := &asked{}
	g, events := testGate(t, func(o *Options) {
		var err error
		o.TokenParameter, o.Login = "access_token", login
		if o.Extractor, err = extract.New(extract.Place{Name: TokenParameter, Parameter: "access_token"}); err != nil {
			t.Fatal(err)
		}
	})
	handshake := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	for name, c := range map[string]struct {
		request *Request
		status  int
		target  string
	}{
		"a handshake":              {get("/private?b=%20&access_token=good&a=1", handshake...), 0, "/private?b=%20&a=1"},
		"nothing but the token":    {get("/private?access_token=good", handshake...), 0, "/private"},
		"a public path":            {get("/public?a=1&access_token=good&access_token=x"), 0, "/public?a=1"},
		"no token, public":         {get("/public?a=1"), 0, ""},
		"a token that is not good": {get("/private?access_token=bad", handshake...), 401, ""},
		"no handshake":             {get("/private?access_token=good", "Accept", "text/html"), 400, ""},
		"stuck, public":            {get("/public?x;access_token=good"), 400, ""},
		"no such path":             {get("/nowhere?access_token=good", handshake...), 403, ""},
		"a path of two readings":   {get("/private/../x?access_token=good", handshake...), 400, ""},
	} {
		d := g.Check(t.Context(), c.request)
		if d.Status != c.status || (d.Outcome == Allow) != (c.status == 0) || d.Upstream.Target != c.target {
			t.Errorf("%s: %d %v, target %q", name, d.Status, d.Cause, d.Upstream.Target)
		}
	}
	g.Refuse(t.Context(), get("/private?access_token=good"), ErrBadRequest)
	for _, e := range *events {
		if target := e.Request.Target; strings.Contains(target, "access_token=") && !strings.Contains(target, ";") {
			t.Errorf("recorded with the token: %s", target)
		}
	}
	if d := g.Check(t.Context(), get("/private?a=1", "Accept", "text/html")); d.Status != 302 || login.target != "/private?a=1" {
		t.Errorf("%d, login for %q", d.Status, login.target)
	}
}

// asked remembers for which target a login page was asked.
type asked struct{ target string }

func (a *asked) Location(r *Request, _ error) (string, bool) {
	a.target = r.Target
	return "https://login.test/", true
}
