package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/signin/session"
)

// provider renews sessions as good providers do: a refresh token is good for one use,
// and one that is used again ends them all.
type provider struct {
	mu      sync.Mutex
	clock   *coretest.Clock
	current string
	revoked bool
	// down, where given, is why the provider does not respond.
	down  error
	calls atomic.Int64
	// wait, where given, is closed when the provider may respond.
	wait chan struct{}
}

func (p *provider) Renew(_ context.Context, s *session.Session) (*session.Session, error) {
	n := p.calls.Add(1)
	if p.wait != nil {
		<-p.wait
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.down != nil:
		return nil, p.down
	case p.revoked || s.RefreshToken != p.current:
		p.revoked = true
		return nil, fmt.Errorf("%w: invalid_grant", core.ErrInvalid)
	}
	p.current = fmt.Sprintf("refresh-%d", n+1)
	renewed := *s
	renewed.RefreshToken, renewed.TokenExpires = p.current, p.clock.Now().Add(5*time.Minute)
	return &renewed, nil
}

// direct is a router without a cache.
type direct struct{ *session.Authenticator }

func (d direct) Authenticate(ctx context.Context, _ *core.Call, c core.Credential) (core.Authentication, error) {
	p, err := d.AuthenticateToken(ctx, c)
	return core.Authentication{Principal: p}, err
}
func (d direct) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	return d.Authenticate(ctx, call, c)
}
func (direct) JudgesOthers() {}

// site is a gate with sessions in cookies.
type site struct {
	t        *testing.T
	clock    *coretest.Clock
	provider *provider
	store    session.Store
	gate     core.Authenticator
	browser  *browser
}

func newSite(t *testing.T) *site {
	t.Helper()
	clock := coretest.NewClock()
	p := &provider{clock: clock, current: "refresh-1"}
	life := session.Life{Idle: 20 * time.Minute, Absolute: time.Hour, Now: clock.Now}
	store := sealed(t, clock, func(_ *session.Cookie, l *session.Life) { *l = life })
	a, err := session.New(session.Options{Store: store, Renewer: p, Life: life})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t, clock, p, store, a.Attend(direct{a}), newBrowser(t)}
	save(t, store, signedIn(clock, 10), s.browser)
	return s
}

// send makes a request with the cookies of a browser at a moment.
func (s *site) send(r *core.Request) (core.Authentication, error) {
	s.t.Helper()
	c, err := credential(s.t, r)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.gate.Authenticate(s.t.Context(), &core.Call{Request: r}, c)
}

func (s *site) passes(r *core.Request) core.Authentication {
	s.t.Helper()
	got, err := s.send(r)
	if err != nil || got.Principal == nil || got.Principal.Subject != "alice" {
		s.t.Fatalf("%+v, %v", got.Principal, err)
	}
	return got
}

func TestSessionInUseOutlivesItsIdleTime(t *testing.T) {
	s := newSite(t)
	s.provider.down = errors.New("not asked")
	if got := s.passes(s.browser.request()); len(got.ResponseHeader) != 0 {
		t.Errorf("a response at once: %v", got.ResponseHeader)
	}
	noted := 0
	for range 7 {
		s.clock.Advance(30 * time.Second)
		got := s.passes(s.browser.request())
		if len(got.ResponseHeader) > 0 {
			noted++
		}
		s.browser.takes(got.ResponseHeader)
	}
	if noted != 1 {
		t.Errorf("a cookie came %d times in a tenth of the idle time and a half", noted)
	}
}

func TestTokensAreRenewedOncePerSession(t *testing.T) {
	s := newSite(t)
	s.clock.Advance(4*time.Minute + time.Second)
	old := s.browser.request()
	s.provider.wait = make(chan struct{})
	results := make(chan core.Authentication, 50)
	var under sync.WaitGroup
	for range 50 {
		under.Go(func() { results <- s.passes(old) })
	}
	for s.provider.calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(s.provider.wait)
	under.Wait()
	close(results)
	if n := s.provider.calls.Load(); n != 1 {
		t.Fatalf("the provider was asked %d times", n)
	}
	// A request that is still under way has the old cookie for a minute.
	s.clock.Advance(59 * time.Second)
	late := s.passes(old)
	if n := s.provider.calls.Load(); n != 1 || len(late.ResponseHeader) == 0 {
		t.Errorf("a late request: %d calls, %d cookies", n, len(late.ResponseHeader))
	}
	s.browser.takes(late.ResponseHeader)
	before, err := s.store.Current(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	now, err := s.store.Current(t.Context(), s.browser.request())
	if err != nil || now.RefreshToken != "refresh-2" || now.ID != before.ID || !now.CreatedAt.Equal(before.CreatedAt) {
		t.Errorf("%+v, %v", now, err)
	}
	s.passes(s.browser.request())
	s.clock.Advance(4*time.Minute + time.Second)
	s.browser.takes(s.passes(s.browser.request()).ResponseHeader)
	if n := s.provider.calls.Load(); n != 2 {
		t.Errorf("%d calls for two renewals", n)
	}
}

func TestRefreshTokenThatIsRefusedEndsTheSession(t *testing.T) {
	s := newSite(t)
	s.provider.revoked = true
	s.clock.Advance(4*time.Minute + time.Second)
	old := s.browser.request()
	for range 3 {
		got, err := s.send(old)
		if !errors.Is(err, core.ErrInvalid) || got.Principal != nil {
			t.Fatalf("%+v, %v", got, err)
		}
		s.browser.takes(got.ResponseHeader)
	}
	if len(s.browser.cookies()) != 0 {
		t.Errorf("cookies are left: %v", s.browser.cookies())
	}
	if n := s.provider.calls.Load(); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
}

func TestCookieThatLostTheRaceIsSignedInAgain(t *testing.T) {
	s := newSite(t)
	s.clock.Advance(4*time.Minute + time.Second)
	old := s.browser.request()
	s.passes(old) // the response is lost, and with it the new cookie
	s.clock.Advance(61 * time.Second)
	got, err := s.send(old)
	if !errors.Is(err, core.ErrInvalid) || got.Principal != nil || len(got.ResponseHeader) == 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestProviderThatIsDownEndsNoSessionAndOpensNothing(t *testing.T) {
	s := newSite(t)
	s.provider.down = errors.New("connection refused")
	s.clock.Advance(4*time.Minute + time.Second)
	for range 3 {
		if got := s.passes(s.browser.request()); len(got.ResponseHeader) != 0 {
			t.Errorf("%v", got.ResponseHeader)
		}
	}
	if n := s.provider.calls.Load(); n != 1 {
		t.Errorf("a provider that is down was asked %d times at once", n)
	}
	s.clock.Advance(time.Minute) // the tokens have ended
	got, err := s.send(s.browser.request())
	if err == nil || errors.Is(err, core.ErrInvalid) || got.Principal != nil || len(got.ResponseHeader) != 0 {
		t.Errorf("%+v, %v: want an outage, and the cookie left alone", got, err)
	}
	s.provider.down = nil
	s.clock.Advance(5 * time.Second)
	if got := s.passes(s.browser.request()); len(got.ResponseHeader) == 0 {
		t.Error("the provider is back, and the session is not renewed")
	}
}

func TestProviderThatIsSlowDelaysNoSessionWhoseTokensHold(t *testing.T) {
	s := newSite(t)
	s.provider.wait = make(chan struct{})
	s.clock.Advance(4*time.Minute + time.Second)
	old := s.browser.request()
	if got := s.passes(old); len(got.ResponseHeader) != 0 {
		t.Errorf("%v", got.ResponseHeader)
	}
	close(s.provider.wait)
	for deadline := time.Now().Add(10 * time.Second); len(s.passes(old).ResponseHeader) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the result never comes")
		}
	}
	if n := s.provider.calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// The tokens hold when the request comes, and have ended when it has waited.
func TestTokensThatEndWhileARequestWaitsForTheirRenewal(t *testing.T) {
	s := newSite(t)
	s.provider.wait = make(chan struct{})
	s.clock.Advance(5*time.Minute - 500*time.Millisecond)
	go func() {
		time.Sleep(1200 * time.Millisecond) // longer than a request waits whose tokens hold
		s.clock.Advance(time.Second)
		close(s.provider.wait)
	}()
	if got := s.passes(s.browser.request()); len(got.ResponseHeader) == 0 {
		t.Error("the request did not wait for the renewal")
	}
}

func TestSessionLivesOnWhereNoCookieReachesTheBrowser(t *testing.T) {
	s := newSite(t)
	s.clock.Advance(19 * time.Minute)
	r := s.browser.request()
	r.AddsNoResponseHeader = true
	if got := s.passes(r); len(got.ResponseHeader) != 0 || s.provider.calls.Load() != 0 {
		t.Errorf("%v after %d calls: a refresh token was used up for nothing", got.ResponseHeader, s.provider.calls.Load())
	}
}

func TestRenewedSessionOfSomebodyElseIsRefused(t *testing.T) {
	for name, change := range map[string]func(*session.Session){
		"another subject": func(s *session.Session) { s.Subject = "mallory" },
		"another issuer":  func(s *session.Session) { s.Issuer = "https://evil.test" },
	} {
		s := newSite(t)
		a, err := session.New(session.Options{Store: s.store, Renewer: renewer(change), Life: session.Life{Absolute: time.Hour, Now: s.clock.Now}})
		if err != nil {
			t.Fatal(err)
		}
		s.gate = a.Attend(direct{a})
		s.clock.Advance(4*time.Minute + time.Second)
		if got, err := s.send(s.browser.request()); !errors.Is(err, core.ErrInvalid) || got.Principal != nil || !strings.Contains(err.Error(), "somebody else") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

type renewer func(*session.Session)

func (change renewer) Renew(_ context.Context, s *session.Session) (*session.Session, error) {
	renewed := *s
	change(&renewed)
	return &renewed, nil
}

// A provider's code that fails must not end the process, nor open anything.
func TestRenewalThatPanicsIsAnOutage(t *testing.T) {
	s := newSite(t)
	a, err := session.New(session.Options{Store: s.store, Renewer: renewer(func(*session.Session) { panic("boom") }), Life: session.Life{Absolute: time.Hour, Now: s.clock.Now}})
	if err != nil {
		t.Fatal(err)
	}
	s.gate = a.Attend(direct{a})
	s.clock.Advance(6 * time.Minute)
	if got, err := s.send(s.browser.request()); err == nil || errors.Is(err, core.ErrInvalid) || got.Principal != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSessionWithoutTheSecondFactorThatIsDemanded(t *testing.T) {
	clock := coretest.NewClock()
	store, b := sealed(t, clock, nil), newBrowser(t)
	for aal, passes := range map[string]bool{"aal3": true, "aal2": true, "aal1": false, "": false, "aal4": false, "AAL2": false} {
		s := signedIn(clock, 10)
		s.AAL = aal
		save(t, store, s, b)
		a, err := session.New(session.Options{Store: store, RequiredAAL: "aal2", Life: session.Life{Absolute: time.Hour, Now: clock.Now}})
		if err != nil {
			t.Fatal(err)
		}
		c, err := credential(t, b.request())
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.AuthenticateToken(t.Context(), c)
		var stepUp *core.StepUp
		if passes != (err == nil) || !passes && (!errors.As(err, &stepUp) || stepUp.AAL != "aal2") {
			t.Errorf("%q: %v", aal, err)
		}
	}
}

func TestPrincipalOfASession(t *testing.T) {
	clock := coretest.NewClock()
	store, b := sealed(t, clock, nil), newBrowser(t)
	save(t, store, signedIn(clock, 10), b)
	a, err := session.New(session.Options{Store: store, Life: session.Life{Idle: 10 * time.Minute, Absolute: time.Hour, Now: clock.Now}})
	if err != nil {
		t.Fatal(err)
	}
	c, _ := credential(t, b.request())
	p, err := a.AuthenticateToken(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := store.Current(t.Context(), b.request())
	if p.Kind != core.KindOIDC || p.Subject != "alice" || p.Issuer != "https://op.test" || p.SessionID != s.ID || p.AAL != "aal2" ||
		!p.Expiry.Equal(clock.Now().Add(10*time.Minute)) || !p.IssuedAt.Equal(s.CreatedAt) || len(p.Roles) != 1 || p.Claims["sid"] != "s-1" || p.Claims["email"] != "alice@example.com" {
		t.Errorf("%+v", p)
	}
	for name, value := range p.Claims {
		if strings.Contains(fmt.Sprint(value), "refresh-1") || strings.Contains(fmt.Sprint(value), s.IDToken) {
			t.Errorf("the claim %s holds a token", name)
		}
	}
}
