package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/cache"
	"gatehouse/core/revocation"
)

// provider says of tokens whether they are active, like an introspection endpoint.
type provider struct {
	inactive map[string]bool
	down     bool
	subject  string
	calls    int
}

func (p *provider) AuthenticateToken(_ context.Context, c core.Credential) (*core.Principal, error) {
	p.calls++
	switch {
	case p.down:
		return nil, errors.New("no route to host")
	case p.inactive[c.Value]:
		return nil, fmt.Errorf("%w: the token is not active", core.ErrInvalid)
	}
	return &core.Principal{Kind: core.KindIntrospection, Subject: p.subject, Issuer: issuerA, ClientID: "shop", Expiry: time.Now().Add(time.Hour)}, nil
}

// verifying is a guard around JWTs of alice, and the provider that it may ask.
type verifying struct {
	*bench
	*revocation.Guard
	provider *provider
}

func setupVerifying(t *testing.T) *verifying {
	t.Helper()
	b := setup(t, nil)
	v := &verifying{bench: b, provider: &provider{subject: "alice", inactive: map[string]bool{}}}
	v.Guard = revocation.NewGuard(revocation.GuardOptions{
		Next: b.memo(&issuer{principal: b.alice(nil)}), List: b.List, Local: true, Provider: b.memo(v.provider),
	})
	return v
}

func (b *bench) memo(next core.TokenAuthenticator) *cache.Memo {
	b.t.Helper()
	memo, err := cache.New(cache.Options{Next: next, Positive: mustMemory(b), Negative: mustMemory(b), Digest: "test", TTL: time.Hour, NegativeTTL: 10 * time.Second, Now: b.clock.Now, Floor: b.Floor})
	if err != nil {
		b.t.Fatal(err)
	}
	return memo
}

// ask revokes nothing: it wants the provider to be asked.
func (b *bench) ask(kind revocation.Kind, value, issuer string) {
	b.t.Helper()
	e := b.event(kind, value, issuer)
	e.Verify = true
	if err := b.Add(e); err != nil {
		b.t.Fatal(err)
	}
}

func (v *verifying) token(value string) (*core.Principal, error) {
	c := core.Credential{Place: core.BearerToken, Value: value}
	if p, err, known := v.Recall(v.t.Context(), c); known {
		return p, err
	}
	return v.AuthenticateToken(v.t.Context(), c)
}

func TestJWTThatAnEventNamesIsIntrospectedBeforeItPasses(t *testing.T) {
	v := setupVerifying(t)
	v.provider.inactive["dead"] = true
	for _, token := range []string{"live", "dead"} {
		if _, err := v.token(token); err != nil || v.provider.calls > 0 {
			t.Fatalf("%s before the event: %v, %d calls", token, err, v.provider.calls)
		}
	}
	v.ask(revocation.Subject, "alice", issuerA)
	v.clock.Advance(time.Second)
	for range 3 {
		if p, err := v.token("live"); err != nil || p.Kind != core.KindJWT || p.SessionID != "sid-1" {
			t.Errorf("active: %+v, %v", p, err)
		}
		if p, err := v.token("dead"); !errors.Is(err, core.ErrInvalid) || p != nil {
			t.Errorf("inactive: %+v, %v", p, err)
		}
	}
	if v.provider.calls != 2 {
		t.Errorf("%d calls, want one a token", v.provider.calls)
	}
	v.clock.Advance(11 * time.Second)
	if _, err := v.token("dead"); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("inactive, once the refusal is forgotten: %v", err)
	}
}

func TestNewerEventHasTheProviderAskedAgain(t *testing.T) {
	v := setupVerifying(t)
	v.ask(revocation.Subject, "alice", issuerA)
	v.clock.Advance(time.Second)
	v.token("one")
	v.clock.Advance(time.Second)
	v.ask(revocation.Session, "sid-1", issuerA)
	v.clock.Advance(time.Second)
	v.provider.inactive["one"] = true
	if _, err := v.token("one"); !errors.Is(err, core.ErrInvalid) || v.provider.calls != 2 {
		t.Errorf("%v after %d calls", err, v.provider.calls)
	}
}

// An event that comes again, as all do when a stream is lost, asks nobody again.
func TestRepeatedEventDoesNotHaveTheProviderAskedAgain(t *testing.T) {
	v := setupVerifying(t)
	v.ask(revocation.Subject, "alice", issuerA)
	v.clock.Advance(time.Second)
	v.token("one")
	if err := v.Add(v.All()...); err != nil {
		t.Fatal(err)
	}
	v.clock.Advance(time.Second)
	if _, err := v.token("one"); err != nil || v.provider.calls != 1 {
		t.Errorf("%v, %d calls", err, v.provider.calls)
	}
}

func TestJWTIsNotAcceptedWhileItsProviderCannotBeAsked(t *testing.T) {
	v := setupVerifying(t)
	v.token("one")
	v.ask(revocation.Subject, "alice", issuerA)
	v.clock.Advance(time.Second)
	v.provider.down = true
	for range 3 {
		if p, err := v.token("one"); err == nil || errors.Is(err, core.ErrInvalid) || p != nil {
			t.Errorf("%+v, %v", p, err)
		}
	}
	v.provider.down = false
	if _, err := v.token("one"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// The provider's word is about this very token, or it proves nothing.
func TestProviderThatSpeaksOfSomebodyElse(t *testing.T) {
	v := setupVerifying(t)
	v.provider.subject = "mallory"
	v.ask(revocation.Subject, "alice", issuerA)
	v.clock.Advance(time.Second)
	if p, err := v.token("one"); !errors.Is(err, core.ErrInvalid) || p != nil {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestEventThatRefusesBeatsOneThatAsks(t *testing.T) {
	for _, first := range []bool{true, false} {
		v := setupVerifying(t)
		if first {
			v.revoke(revocation.Subject, "alice", issuerA)
		}
		v.ask(revocation.Subject, "alice", issuerA)
		v.clock.Advance(time.Second)
		if !first {
			v.revoke(revocation.Subject, "alice", issuerA)
		}
		if _, err := v.token("one"); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "was revoked") {
			t.Errorf("refused first %v: %v", first, err)
		}
		if v.provider.calls > 0 {
			t.Errorf("refused first %v: the provider was asked", first)
		}
	}
}

func TestEventAsksAboutNobodyElse(t *testing.T) {
	for name, ask := range map[string]func(*verifying){
		"another subject":  func(v *verifying) { v.ask(revocation.Subject, "bob", issuerA) },
		"another issuer":   func(v *verifying) { v.ask(revocation.Subject, "alice", "https://other.example.test/") },
		"an issued before": func(v *verifying) { v.clock.Advance(-10 * time.Minute); v.ask(revocation.Subject, "alice", issuerA) },
	} {
		v := setupVerifying(t)
		ask(v)
		if _, err := v.token("one"); err != nil || v.provider.calls > 0 {
			t.Errorf("%s: %v, %d calls", name, err, v.provider.calls)
		}
	}
}

func TestWithoutAProviderAnEventThatAsksRefuses(t *testing.T) {
	b := setup(t, nil)
	g := revocation.NewGuard(revocation.GuardOptions{Next: b.memo(&issuer{principal: b.alice(nil)}), List: b.List, Local: true})
	b.ask(revocation.Subject, "alice", issuerA)
	b.clock.Advance(time.Second)
	paths := map[string]func() error{
		"AuthenticateToken": func() error { _, err := g.AuthenticateToken(t.Context(), credential); return err },
		"RefreshToken":      func() error { _, err := g.RefreshToken(t.Context(), credential); return err },
		"Recall":            func() error { _, err, _ := g.Recall(t.Context(), credential); return err },
	}
	for _, name := range []string{"AuthenticateToken", "Recall", "RefreshToken"} { // Recall knows what is cached
		if err := paths[name](); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "introspection") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A session, or an opaque token, is asked about anew: what its provider has ended dies.
func TestCachedCredentialOfAProviderIsAskedAboutAnew(t *testing.T) {
	b := setup(t, nil)
	next := &issuer{principal: b.alice(func(p *core.Principal) { p.Kind = core.KindSession })}
	g := b.guarded(next, false)
	g.AuthenticateToken(t.Context(), credential)
	b.ask(revocation.Subject, "alice", "")
	b.clock.Advance(time.Second)
	if _, _, known := g.Recall(t.Context(), credential); known {
		t.Error("the cache answers although the provider has to be asked")
	}
	for range 2 {
		if _, err := g.AuthenticateToken(t.Context(), credential); err != nil || next.calls != 2 {
			t.Errorf("%v, %d calls", err, next.calls)
		}
	}
	b.ask(revocation.Subject, "alice", "")
	b.clock.Advance(time.Second)
	next.principal = nil
	for range 2 {
		if p, err := g.AuthenticateToken(t.Context(), credential); !errors.Is(err, core.ErrInvalid) || p != nil {
			t.Errorf("ended: %+v, %v", p, err)
		}
	}
	if next.calls != 3 {
		t.Errorf("%d calls", next.calls)
	}
}

// Who asked before the event, and gets the response after it, has not asked about it.
func TestQuestionFromBeforeTheEventIsNoAnswerToIt(t *testing.T) {
	b := setup(t, nil)
	asked, goOn := make(chan struct{}), make(chan struct{})
	slow := authenticatorFunc(func() (*core.Principal, error) {
		asked <- struct{}{}
		<-goOn
		return b.alice(func(p *core.Principal) { p.Kind = core.KindIntrospection }), nil
	})
	g := revocation.NewGuard(revocation.GuardOptions{Next: b.memo(slow), List: b.List})
	done := make(chan error)
	try := func() { _, err := g.AuthenticateToken(context.Background(), credential); done <- err }
	go try()
	<-asked
	b.clock.Advance(time.Second)
	b.ask(revocation.Subject, "alice", "")
	b.clock.Advance(time.Second)
	go func() { goOn <- struct{}{} }()
	select {
	case <-asked: // once more
	case err := <-done:
		t.Fatalf("the credential passed by what was asked before the event (%v)", err)
	}
	goOn <- struct{}{}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type authenticatorFunc func() (*core.Principal, error)

func (f authenticatorFunc) AuthenticateToken(context.Context, core.Credential) (*core.Principal, error) {
	return f()
}
