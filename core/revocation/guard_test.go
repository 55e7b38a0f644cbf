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

// issuer is an authenticator that knows one principal.
type issuer struct {
	principal *core.Principal
	calls     int
}

func (i *issuer) AuthenticateToken(context.Context, core.Credential) (*core.Principal, error) {
	i.calls++
	if i.principal == nil {
		return nil, fmt.Errorf("%w: unknown", core.ErrInvalid)
	}
	return i.principal, nil
}

// guarded is an authenticator behind its cache and a guard.
func (b *bench) guarded(next *issuer, local bool) *revocation.Guard {
	b.t.Helper()
	memo, err := cache.New(cache.Options{Next: next, Positive: mustMemory(b), Negative: mustMemory(b), Digest: "test", TTL: time.Hour, Now: b.clock.Now, Floor: b.Floor})
	if err != nil {
		b.t.Fatal(err)
	}
	return revocation.NewGuard(revocation.GuardOptions{Next: memo, List: b.List, Local: local})
}

var credential = core.Credential{Place: core.BearerToken, Value: jwt}

func TestRevokedCredentialInTheCachePassesOnNoPath(t *testing.T) {
	b := setup(t, nil)
	next := &issuer{principal: b.alice(nil)}
	g := b.guarded(next, true)
	paths := map[string]func() (*core.Principal, error){
		"AuthenticateToken": func() (*core.Principal, error) { return g.AuthenticateToken(t.Context(), credential) },
		"RefreshToken":      func() (*core.Principal, error) { return g.RefreshToken(t.Context(), credential) },
		"Recall": func() (*core.Principal, error) {
			p, err, known := g.Recall(t.Context(), credential)
			if !known {
				t.Error("Recall does not know the credential")
			}
			return p, err
		},
	}
	for _, name := range []string{"AuthenticateToken", "Recall", "RefreshToken"} {
		if p, err := paths[name](); err != nil || p == nil {
			t.Fatalf("%s before: %v", name, err)
		}
	}
	b.revoke(revocation.Session, "sid-1", "")
	for name, path := range paths {
		if p, err := path(); !errors.Is(err, core.ErrInvalid) || p != nil || !strings.Contains(err.Error(), "the session was revoked at") {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

func TestGuardWithoutAListChangesNothing(t *testing.T) {
	b := setup(t, nil)
	next := &issuer{principal: b.alice(func(p *core.Principal) { p.IssuedAt = time.Time{} })}
	memo, err := cache.New(cache.Options{Next: next, Positive: mustMemory(b), Negative: mustMemory(b), Digest: "test", Now: b.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := revocation.NewGuard(revocation.GuardOptions{Next: memo, Local: true}).AuthenticateToken(t.Context(), credential); err != nil {
		t.Error(err)
	}
}

func mustMemory(b *bench) cache.Store {
	m, err := cache.NewMemory(cache.Limits{Entries: 10}, b.clock.Now)
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}

// The list may have forgotten the event about a credential that is older than events
// are kept. A provider that is asked about its credentials knows itself.
func TestLocalCredentialOlderThanTheListRemembersIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		age   time.Duration
		local bool
		want  string
	}{
		"young":                        {time.Hour, true, ""},
		"old":                          {2*time.Hour + time.Second, true, "raise revocation.retention"},
		"old, of a provider":           {2*time.Hour + time.Second, false, ""},
		"of an unknown age":            {-1, true, "does not say when it was issued (iat)"},
		"unknown age, from a provider": {-1, false, ""},
	} {
		b := setup(t, func(o *revocation.Options) { o.Retention = 2 * time.Hour })
		next := &issuer{principal: b.alice(func(p *core.Principal) {
			if p.IssuedAt = b.clock.Now().Add(-c.age); c.age < 0 {
				p.IssuedAt = time.Time{}
			}
		})}
		_, err := b.guarded(next, c.local).AuthenticateToken(t.Context(), credential)
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWithoutAListLocalCredentialsAreNotAccepted(t *testing.T) {
	for name, c := range map[string]struct {
		accept, local bool
		want          string
	}{
		"deny, local":      {false, true, "revocation.without_list"},
		"deny, provider":   {false, false, ""},
		"accept, local":    {true, true, ""},
		"accept, provider": {true, false, ""},
	} {
		b := setup(t, func(o *revocation.Options) { o.Fed, o.AcceptWithoutList = true, c.accept })
		g := b.guarded(&issuer{principal: b.alice(nil)}, c.local)
		_, err := g.AuthenticateToken(t.Context(), credential)
		if c.want == "" && err != nil || c.want != "" && (err == nil || errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
		b.Current()
		if _, err := g.AuthenticateToken(t.Context(), credential); err != nil {
			t.Errorf("%s, with the list: %v", name, err)
		}
		b.Blind(errors.New("unreachable"))
		b.clock.Advance(23 * time.Hour)
		next := &issuer{principal: b.alice(nil)}
		if _, err := b.guarded(next, c.local).AuthenticateToken(t.Context(), credential); err != nil {
			t.Errorf("%s, while no new event comes: %v", name, err)
		}
		b.clock.Advance(2 * time.Hour) // no event of the retention is known any more
		next = &issuer{principal: b.alice(nil)}
		if _, err := b.guarded(next, c.local).AuthenticateToken(t.Context(), credential); (err != nil) != (c.want != "") {
			t.Errorf("%s, blind for longer than the retention: %v", name, err)
		}
	}
}

func TestWhileNoEventsComeCachedCallersAreVerifiedAnewAfterMaxBlind(t *testing.T) {
	b := setup(t, func(o *revocation.Options) { o.Fed, o.MaxBlind = true, 30*time.Second })
	next := &issuer{principal: b.alice(nil)}
	g := b.guarded(next, false)
	asked := func(want int, when string) {
		t.Helper()
		if _, err := g.AuthenticateToken(t.Context(), credential); err != nil {
			t.Fatal(err)
		}
		if next.calls != want {
			t.Errorf("%s: asked %d times, want %d", when, next.calls, want)
		}
	}
	b.Current()
	asked(1, "at first")
	b.clock.Advance(10 * time.Minute)
	b.Current()
	asked(1, "cached")
	b.Blind(errors.New("unreachable"))
	asked(2, "blind, and cached for longer than max_blind")
	b.clock.Advance(30 * time.Second)
	asked(2, "cached for max_blind")
	b.clock.Advance(time.Second)
	asked(3, "cached for longer than max_blind")
	b.clock.Advance(10 * time.Minute)
	b.Current()
	asked(3, "events come in")
	b.Lost(errors.New("the stream begins anew"), 0)
	asked(4, "events were missed")
	b.clock.Advance(time.Second)
	asked(4, "learned afterwards")
	b.Current()
	asked(4, "afterwards")
}
