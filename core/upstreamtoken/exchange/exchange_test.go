package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/idp"
	"gatehouse/core/extract"
	"gatehouse/core/upstreamtoken"
	"gatehouse/core/upstreamtoken/exchange"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// server is a fake of an authorization server: a real HTTP server with one response.
type server struct {
	*httptest.Server
	calls  atomic.Int32
	mu     sync.Mutex
	status int
	kind   string
	body   string
	form   url.Values
	auth   string
	wait   chan struct{}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls.Add(1)
	_ = r.ParseForm()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.form, s.auth = r.PostForm, r.Header.Get("Authorization")
	if s.wait != nil {
		<-s.wait
	}
	w.Header().Set("Content-Type", s.kind)
	w.WriteHeader(s.status)
	fmt.Fprint(w, strings.ReplaceAll(s.body, "%N", fmt.Sprint(s.calls.Load())))
}

const issued = `{"access_token":"token-%N","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":600}`

type rig struct {
	*exchange.Exchanger
	*server
	now time.Time
}

func newRig(t *testing.T, change ...func(*exchange.Options)) *rig {
	t.Helper()
	r := &rig{server: &server{status: 200, kind: "application/json", body: issued}, now: start}
	r.server.Server = httptest.NewServer(r.server)
	t.Cleanup(r.server.Close)
	client, err := idp.New(idp.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	o := exchange.Options{
		Endpoint: r.URL + "/token", Client: client, Timeout: 5 * time.Second, Authentication: clientauth.Options{ClientID: "gate:way", Secret: "s%cret"},
		SubjectType: exchange.AccessToken, MaxAge: 5 * time.Minute, RefusalAge: 5 * time.Second,
		Limits: upstreamtoken.Limits{Entries: 100, Bytes: 1 << 20}, Now: func() time.Time { return r.now },
	}
	for _, f := range change {
		f(&o)
	}
	if r.Exchanger, err = exchange.New(o); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) ask(token string, change ...func(*upstreamtoken.Wanted)) (string, error) {
	places, err := extract.New(extract.Place{Name: core.TokenCookie, Cookie: "jwt", Chunked: true})
	if err != nil {
		return "", err
	}
	w := upstreamtoken.Wanted{
		Call:        &core.Call{Request: &core.Request{Peer: netip.MustParseAddr("192.0.2.1"), Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}}},
		Principal:   &core.Principal{Subject: "ada", Issuer: "https://id", Kind: core.KindJWT, Expiry: start.Add(time.Hour)},
		Credentials: places, Audience: []string{"orders"},
	}
	for _, f := range change {
		f(&w)
	}
	return r.Token(context.Background(), w)
}

func TestTokenIsExchangedOnceAndThenCached(t *testing.T) {
	r := newRig(t, func(o *exchange.Options) { o.Scope, o.RequestedType = "read write", exchange.AccessToken })
	for range 3 {
		if token, err := r.ask("abc"); err != nil || token != "token-1" {
			t.Fatalf("%q, %v", token, err)
		}
	}
	want := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {"abc"},
		"subject_token_type": {exchange.AccessToken}, "requested_token_type": {exchange.AccessToken}, "audience": {"orders"}, "scope": {"read write"},
	}
	if r.form.Encode() != want.Encode() {
		t.Errorf("the server was sent %v, want %v", r.form, want)
	}
	if r.auth != "Basic Z2F0ZSUzQXdheTpzJTI1Y3JldA==" { // form-encoded: gate%3Away:s%25cret
		t.Errorf("the client authenticates by %q", r.auth)
	}
	r.now = start.Add(4*time.Minute + time.Second)
	if token, err := r.ask("abc"); err != nil || token != "token-2" {
		t.Errorf("a token that is about to end: %q, %v", token, err)
	}
}

func TestExchangedTokenIsOfItsCallerAlone(t *testing.T) {
	r := newRig(t)
	seen := map[string]string{}
	for name, change := range map[string]func(*upstreamtoken.Wanted){
		"ada":             func(*upstreamtoken.Wanted) {},
		"another service": func(w *upstreamtoken.Wanted) { w.Audience = []string{"users"} },
		"both services":   func(w *upstreamtoken.Wanted) { w.Audience = []string{"orders", "users"} },
		"another subject": func(w *upstreamtoken.Wanted) { w.Principal.Subject = "bob" },
		"another issuer":  func(w *upstreamtoken.Wanted) { w.Principal.Issuer = "https://other" },
		"another client":  func(w *upstreamtoken.Wanted) { w.Principal.ClientID = "app" },
		"another kind":    func(w *upstreamtoken.Wanted) { w.Principal.Kind = core.KindIntrospection },
		"another token":   func(w *upstreamtoken.Wanted) { w.Call.Header[0].Value = "Bearer abd" },
		"by cookie":       func(w *upstreamtoken.Wanted) { w.Call.Header[0] = core.Header{Name: "Cookie", Value: "jwt=abe"} },
	} {
		token, err := r.ask("abc", change)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if other, twice := seen[token]; twice {
			t.Errorf("%s and %s get one token", name, other)
		}
		seen[token] = name
	}
}

func TestExchangedTokenIsNotHandedOutAfterTheCallersOwnHasEnded(t *testing.T) {
	r := newRig(t)
	short := func(w *upstreamtoken.Wanted) { w.Principal.Expiry = start.Add(time.Minute) }
	first, err := r.ask("abc", short)
	if err != nil {
		t.Fatal(err)
	}
	r.now = start.Add(time.Minute)
	if again, _ := r.ask("abc", short); again == first {
		t.Error("a token is handed out after the end of the caller's own")
	}
}

// What is wrong with the token of the caller refuses the call; all else, and what is not
// understood, is an outage.
func TestRefusalAndOutageAreToldApart(t *testing.T) {
	const short = `{"access_token":"t","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer"`
	for name, c := range map[string]struct {
		status     int
		kind, body string
		forbidden  bool
	}{
		"invalid subject token":    {400, "application/json", `{"error":"invalid_request"}`, true},
		"invalid grant":            {400, "application/json;charset=UTF-8", `{"error":"invalid_grant"}`, true},
		"invalid target":           {400, "application/json", `{"error":"invalid_target"}`, true},
		"invalid scope":            {400, "application/json", `{"error":"invalid_scope"}`, true},
		"access denied":            {403, "application/json", `{"error":"access_denied"}`, true},
		"unknown client":           {401, "application/json", `{"error":"invalid_client"}`, false},
		"refusal of this client":   {401, "application/json", `{"error":"invalid_grant"}`, false},
		"client without the grant": {400, "application/json", `{"error":"unauthorized_client"}`, false},
		"server without the grant": {400, "application/json", `{"error":"unsupported_grant_type"}`, false},
		"an error of its own":      {400, "application/json", `{"error":"weather"}`, false},
		"error is no text":         {400, "application/json", `{"error":["invalid_grant"]}`, false},
		"no error":                 {400, "application/json", `{}`, false},
		"error page":               {400, "text/html", `invalid_grant`, false},
		"server error":             {500, "application/json", `{"error":"invalid_grant"}`, false},
		"overload":                 {503, "text/plain", "", false},
		"redirect":                 {302, "application/json", `{}`, false},
		"another success":          {201, "application/json", issued, false},
		"page":                     {200, "text/html", issued, false},
		"cut short":                {200, "application/json", `{"access_token":"t"`, false},
		"member twice":             {200, "application/json", `{"access_token":"t",` + issued[1:], false},
		"no token":                 {200, "application/json", `{"issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer"}`, false},
		"no type":                  {200, "application/json", `{"access_token":"t","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`, false},
		"bound token":              {200, "application/json", strings.Replace(issued, "Bearer", "DPoP", 1), false},
		"no issued type":           {200, "application/json", `{"access_token":"t","token_type":"Bearer"}`, false},
		"refresh token":            {200, "application/json", strings.Replace(issued, "access_token\",\"token", "refresh_token\",\"token", 1), false},
		"line break in the token":  {200, "application/json", strings.Replace(issued, "token-%N", `t\r\nX-User-Id: root`, 1), false},
		"space in the token":       {200, "application/json", strings.Replace(issued, "token-%N", `t t`, 1), false},
		"token is no text":         {200, "application/json", strings.Replace(issued, `"token-%N"`, `7`, 1), false},
		"has ended":                {200, "application/json", short + `,"expires_in":0}`, false},
		"ends before it begins":    {200, "application/json", short + `,"expires_in":-5}`, false},
		"life is no number":        {200, "application/json", short + `,"expires_in":"long"}`, false},
		"life is infinite":         {200, "application/json", short + `,"expires_in":1e400}`, false},
	} {
		r := newRig(t)
		r.status, r.kind, r.body = c.status, c.kind, c.body
		token, err := r.ask("abc")
		if token != "" || err == nil || errors.Is(err, core.ErrForbidden) != c.forbidden || errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %q, %v, want a refusal: %v", name, token, err, c.forbidden)
		}
		if err != nil && (strings.Contains(err.Error(), "abc") || strings.Contains(err.Error(), "s%cret")) {
			t.Errorf("%s: the error quotes a secret: %v", name, err)
		}
	}
	r := newRig(t)
	r.server.Close()
	if _, err := r.ask("abc"); err == nil || errors.Is(err, core.ErrForbidden) {
		t.Errorf("a server that is down: %v", err)
	}
}

func TestTokenTooLongForAHeaderIsRefused(t *testing.T) {
	r := newRig(t)
	r.body = strings.Replace(issued, "token-%N", strings.Repeat("t", upstreamtoken.MaxToken+1), 1)
	if _, err := r.ask("abc"); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("%v", err)
	}
}

func TestRefusalIsRememberedForAMomentAndAnOutageIsNot(t *testing.T) {
	r := newRig(t)
	r.status, r.body = 400, `{"error":"invalid_grant"}`
	for range 5 {
		if _, err := r.ask("abc"); !errors.Is(err, core.ErrForbidden) {
			t.Fatal(err)
		}
	}
	if n := r.calls.Load(); n != 1 {
		t.Errorf("the server was asked %d times", n)
	}
	r.now = start.Add(6 * time.Second)
	r.status, r.body = 500, ""
	for range 2 {
		if _, err := r.ask("abc"); err == nil || errors.Is(err, core.ErrForbidden) {
			t.Errorf("%v", err)
		}
	}
	r.status, r.body = 200, issued
	if _, err := r.ask("abc"); err != nil {
		t.Errorf("after an outage: %v", err)
	}
}

func TestServerThatDoesNotSayHowLongATokenLivesIsAskedAgainSoon(t *testing.T) {
	r := newRig(t)
	r.body = strings.Replace(issued, `,"expires_in":600`, "", 1)
	r.ask("abc")
	r.now = start.Add(31 * time.Second)
	if token, err := r.ask("abc"); token != "token-2" {
		t.Errorf("%q, %v", token, err)
	}
}

func TestCredentialThatCannotBeExchangedIsRefused(t *testing.T) {
	r := newRig(t)
	for name, change := range map[string]func(*upstreamtoken.Wanted){
		"session":   func(w *upstreamtoken.Wanted) { w.Principal.Kind = core.KindSession },
		"API token": func(w *upstreamtoken.Wanted) { w.Principal.Kind = core.KindAPIToken },
		"two cookies, of which one may be a stranger's": func(w *upstreamtoken.Wanted) {
			w.Call.Header = []core.Header{{Name: "Cookie", Value: "jwt=abc; jwt=evil"}}
		},
	} {
		token, err := r.ask("abc", change)
		if token != "" || !errors.Is(err, core.ErrForbidden) && !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %q, %v", name, token, err)
		}
	}
	if n := r.calls.Load(); n != 0 {
		t.Errorf("the server was asked %d times", n)
	}
}

func TestCallersWithOneTokenShareAnExchange(t *testing.T) {
	r := newRig(t)
	r.wait = make(chan struct{})
	gone, leave := context.WithCancel(context.Background())
	places, _ := extract.New()
	w := upstreamtoken.Wanted{
		Call:      &core.Call{Request: &core.Request{Header: []core.Header{{Name: "Authorization", Value: "Bearer abc"}}}},
		Principal: &core.Principal{Subject: "ada", Kind: core.KindJWT, Expiry: start.Add(time.Hour)}, Credentials: places, Audience: []string{"orders"},
	}
	first := make(chan error, 1)
	go func() { _, err := r.Token(gone, w); first <- err }()
	for r.calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	tokens := make(chan string, 8)
	for range 8 {
		other := w
		other.Call = &core.Call{Request: &core.Request{Header: w.Call.Header}}
		go func() { token, _ := r.Token(context.Background(), other); tokens <- token }()
	}
	leave() // who came first goes away, and the others get the token all the same
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller that went away: %v", err)
	}
	close(r.wait)
	for range 8 {
		if token := <-tokens; token != "token-1" {
			t.Errorf("a caller got %q", token)
		}
	}
}
