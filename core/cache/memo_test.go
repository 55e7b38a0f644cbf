package cache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/cache"
	"gatehouse/core/coretest"
	"gatehouse/core/fair"
)

// next is an authenticator that counts and answers by a function.
type next struct {
	calls  atomic.Int64
	answer func(ctx context.Context, c core.Credential) (*core.Principal, error)
}

func (n *next) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	n.calls.Add(1)
	return n.answer(ctx, c)
}

type bench struct {
	t     *testing.T
	clock *coretest.Clock
	next  *next
	memo  *cache.Memo
}

// setup makes a memo in front of an authenticator that knows every credential
// that begins with "good", for an hour.
func setup(t *testing.T, change func(*cache.Options)) *bench {
	t.Helper()
	b := &bench{t: t, clock: coretest.NewClock(), next: &next{}}
	b.next.answer = b.good
	o := cache.Options{
		Next: b.next, Digest: "test", Now: b.clock.Now,
		Positive: memory(t, 100, b.clock.Now), Negative: memory(t, 100, b.clock.Now),
	}
	if change != nil {
		change(&o)
	}
	memo, err := cache.New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.memo = memo
	return b
}

func (b *bench) good(_ context.Context, c core.Credential) (*core.Principal, error) {
	if !strings.HasPrefix(c.Value, "good") {
		return nil, fmt.Errorf("%w: not good", core.ErrInvalid)
	}
	return &core.Principal{Subject: string(c.Place) + "/" + c.Value, Expiry: b.clock.Now().Add(time.Hour)}, nil
}

func bearer(value string) core.Credential {
	return core.Credential{Place: core.BearerToken, Value: value}
}

func (b *bench) ask(value string) (*core.Principal, error) {
	return b.memo.AuthenticateToken(b.t.Context(), bearer(value))
}

// asked runs f and returns how often the next authenticator was asked.
func (b *bench) asked(f func()) int64 {
	before := b.next.calls.Load()
	f()
	return b.next.calls.Load() - before
}

func (b *bench) wantAsked(name string, want int64, f func()) {
	b.t.Helper()
	if got := b.asked(f); got != want {
		b.t.Errorf("%s: asked %d times, want %d", name, got, want)
	}
}

func TestPrincipalIsCached(t *testing.T) {
	b := setup(t, nil)
	b.wantAsked("ten requests", 1, func() {
		for range 10 {
			if p, err := b.ask("good"); err != nil || p.Subject != "bearer/good" {
				t.Fatalf("%+v, %v", p, err)
			}
		}
	})
	b.clock.Advance(30 * time.Second)
	b.wantAsked("after the time to live", 1, func() { b.ask("good") })
	if s := b.memo.Stats(); s.Hits != 9 || s.Misses != 2 || s.Positive.Entries != 1 || s.Negative.Entries != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRefusalIsCached(t *testing.T) {
	b := setup(t, nil)
	b.wantAsked("ten requests", 1, func() {
		for range 10 {
			if p, err := b.ask("bad"); p != nil || !errors.Is(err, core.ErrInvalid) {
				t.Fatalf("%+v, %v", p, err)
			}
		}
	})
	b.clock.Advance(10 * time.Second)
	b.wantAsked("after the time to live", 1, func() { b.ask("bad") })
	if s := b.memo.Stats(); s.Refusals != 9 || s.Misses != 2 || s.Negative.Entries != 1 {
		t.Errorf("%+v", s)
	}
}

// The same text in another place is another credential, and the same
// credential under another configuration has another answer.
func TestCredentialsAreNotConfused(t *testing.T) {
	b := setup(t, nil)
	b.wantAsked("four kinds", 4, func() {
		for _, place := range []core.PlaceName{core.BearerToken, core.SessionToken, core.SessionCookie, core.TokenCookie} {
			p, err := b.memo.AuthenticateToken(t.Context(), core.Credential{Place: place, Value: "good"})
			if err != nil || p.Subject != string(place)+"/good" {
				t.Errorf("%s: %+v, %v", place, p, err)
			}
		}
	})
	// Parts that run together as text must not run together as keys.
	b.wantAsked("a shifted boundary", 2, func() {
		b.memo.AuthenticateToken(t.Context(), core.Credential{Place: "ab", Value: "cgood"})
		b.memo.AuthenticateToken(t.Context(), core.Credential{Place: "abc", Value: "good"})
	})
}

func TestTwoConfigurationsDoNotShareResults(t *testing.T) {
	clock := coretest.NewClock()
	positive, negative := memory(t, 100, clock.Now), memory(t, 100, clock.Now)
	memo := func(digest string, allow bool) *cache.Memo {
		n := &next{answer: func(context.Context, core.Credential) (*core.Principal, error) {
			if !allow {
				return nil, core.ErrInvalid
			}
			return &core.Principal{Subject: "u", Expiry: clock.Now().Add(time.Hour)}, nil
		}}
		m, err := cache.New(cache.Options{Next: n, Digest: digest, Positive: positive, Negative: negative, Now: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	lax, strict := memo("lax", true), memo("strict", false)
	if _, err := lax.AuthenticateToken(t.Context(), bearer("x")); err != nil {
		t.Fatal(err)
	}
	if p, err := strict.AuthenticateToken(t.Context(), bearer("x")); err == nil {
		t.Errorf("the strict configuration let %+v in by the lax one's answer", p)
	}
}

// store sees what a memo writes.
type spy struct {
	cache.Store
	mu   sync.Mutex
	keys []cache.Key
	text string
}

func (s *spy) Set(ctx context.Context, k cache.Key, e cache.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, k)
	s.text += string(k[:]) + fmt.Sprintf("%+v", e)
	return s.Store.Set(ctx, k, e)
}

func TestCredentialIsNotInTheStore(t *testing.T) {
	const secret = "good-hunter2hunter2hunter2hunter2"
	var spies []*spy
	for range 2 {
		b := setup(t, func(o *cache.Options) {
			positive, negative := &spy{Store: o.Positive}, &spy{Store: o.Negative}
			spies = append(spies, positive, negative)
			o.Positive, o.Negative = positive, negative
		})
		b.next.answer = func(_ context.Context, c core.Credential) (*core.Principal, error) {
			if strings.HasPrefix(c.Value, "good") {
				return &core.Principal{Subject: "u", Expiry: b.clock.Now().Add(time.Hour)}, nil
			}
			return nil, core.ErrInvalid
		}
		b.ask(secret)
		b.ask("bad-" + secret)
	}
	for _, s := range spies {
		if len(s.keys) != 1 || strings.Contains(s.text, "hunter2") {
			t.Errorf("stored %q", s.text)
		}
	}
	if spies[0].keys[0] == spies[2].keys[0] {
		t.Error("two memos derive the same key from a credential: the key of the hash is not random")
	}
}

func TestCachedPrincipalDoesNotOutliveExpiry(t *testing.T) {
	b := setup(t, nil)
	b.next.answer = func(context.Context, core.Credential) (*core.Principal, error) {
		return &core.Principal{Subject: "u", Expiry: b.clock.Now().Add(5 * time.Second)}, nil
	}
	b.wantAsked("at first", 1, func() { b.ask("x"); b.ask("x") })
	b.clock.Advance(5*time.Second - 1)
	b.wantAsked("just before its end", 0, func() { b.ask("x") })
	b.clock.Advance(1)
	b.wantAsked("at its end", 1, func() { b.ask("x") })

	for name, expiry := range map[string]time.Time{"no expiry": {}, "an expiry in the past": b.clock.Now()} {
		b.next.answer = func(context.Context, core.Credential) (*core.Principal, error) {
			return &core.Principal{Subject: "u", Expiry: expiry}, nil
		}
		b.wantAsked(name, 2, func() { b.ask(name); b.ask(name) })
	}
}

func TestPrincipalIsNotCachedLongerThanItsProviderAllows(t *testing.T) {
	b := setup(t, nil)
	fresh := 3 * time.Second
	b.next.answer = func(context.Context, core.Credential) (*core.Principal, error) {
		now := b.clock.Now()
		return &core.Principal{Subject: "u", Expiry: now.Add(time.Hour), FreshUntil: now.Add(fresh)}, nil
	}
	b.wantAsked("at first", 1, func() { b.ask("x"); b.ask("x") })
	b.clock.Advance(3 * time.Second)
	b.wantAsked("no longer fresh", 1, func() { b.ask("x") })
	fresh = 0
	b.wantAsked("not to be kept", 2, func() { b.ask("y"); b.ask("y") })
	fresh = time.Hour // a bound from above: it does not stretch the time to live
	b.ask("z")
	b.clock.Advance(30 * time.Second)
	b.wantAsked("beyond our own time to live", 1, func() { b.ask("z") })
}

func TestOutageIsNotCached(t *testing.T) {
	b := setup(t, nil)
	for _, outage := range []error{errors.New("connection refused"), context.DeadlineExceeded, context.Canceled, core.ErrForbidden, core.ErrMissing} {
		b.next.answer = func(context.Context, core.Credential) (*core.Principal, error) { return nil, outage }
		b.wantAsked(outage.Error(), 2, func() {
			for range 2 {
				if _, err := b.ask("good"); !errors.Is(err, outage) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	b.next.answer = b.good
	if _, err := b.ask("good"); err != nil {
		t.Errorf("after the outages: %v", err)
	}
	if s := b.memo.Stats(); s.Negative.Entries != 0 {
		t.Errorf("%d outages were remembered", s.Negative.Entries)
	}
}

// Who has just signed in more strongly comes back with the same session.
func TestStepUpIsNotCached(t *testing.T) {
	b := setup(t, nil)
	b.next.answer = func(context.Context, core.Credential) (*core.Principal, error) {
		return nil, fmt.Errorf("session: %w", &core.StepUp{AAL: "aal2"})
	}
	b.wantAsked("twice", 2, func() {
		for range 2 {
			var stepUp *core.StepUp
			if _, err := b.ask("good"); !errors.As(err, &stepUp) || stepUp.AAL != "aal2" {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestGarbageTokenFloodKeepsGoodEntries(t *testing.T) {
	b := setup(t, nil)
	for i := range 50 {
		b.ask(fmt.Sprint("good", i))
	}
	for i := range 10000 {
		b.ask(fmt.Sprint("garbage", i))
	}
	b.wantAsked("the good ones", 0, func() {
		for i := range 50 {
			if _, err := b.ask(fmt.Sprint("good", i)); err != nil {
				t.Fatal(err)
			}
		}
	})
	if s := b.memo.Stats(); s.Negative.Entries > 100 || s.Negative.Evictions == 0 {
		t.Errorf("%+v", s)
	}
}

// blocked makes the next authenticator wait until release is called.
func (b *bench) blocked() (arrived chan struct{}, release func()) {
	arrived, gate := make(chan struct{}, 1000), make(chan struct{})
	b.next.answer = func(ctx context.Context, c core.Credential) (*core.Principal, error) {
		arrived <- struct{}{}
		select {
		case <-gate:
			return b.good(ctx, c)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return arrived, sync.OnceFunc(func() { close(gate) })
}

func TestConcurrentMissesShareOneCall(t *testing.T) {
	b := setup(t, nil)
	arrived, release := b.blocked()
	defer release()
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			if _, err := b.ask("good"); err != nil {
				t.Error(err)
			}
		})
	}
	<-arrived
	b.waitForMisses(100)
	release()
	wait.Wait()
	if n := b.next.calls.Load(); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
}

func (b *bench) waitForMisses(n uint64) {
	b.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for b.memo.Stats().Misses < n {
		if time.Now().After(deadline) {
			b.t.Fatalf("%d misses, want %d", b.memo.Stats().Misses, n)
		}
		runtime.Gosched()
	}
}

func slots(t *testing.T, n int) *fair.Slots {
	t.Helper()
	s, err := fair.NewSlots(fair.Options{Slots: n})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConcurrentCallsAreBounded(t *testing.T) {
	b := setup(t, func(o *cache.Options) { o.Slots = slots(t, 3) })
	arrived, release := b.blocked()
	defer release()
	var wait sync.WaitGroup
	for i := range 3 {
		wait.Go(func() {
			if _, err := b.ask(fmt.Sprint("good", i)); err != nil {
				t.Error(err)
			}
		})
		<-arrived
	}
	for i := range 20 {
		if _, err := b.ask(fmt.Sprint("good-other", i)); err == nil || errors.Is(err, core.ErrInvalid) {
			t.Errorf("a question too many: %v", err)
		}
	}
	if n := b.next.calls.Load(); n != 3 {
		t.Errorf("asked %d times at once with a limit of 3", n)
	}
	release()
	wait.Wait()
	if _, err := b.ask("good-other0"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if s := b.memo.Stats(); s.Busy != 20 {
		t.Errorf("%+v", s)
	}
}

func TestCancelledCallerDoesNotCancelTheSharedCall(t *testing.T) {
	b := setup(t, nil)
	arrived, release := b.blocked()
	defer release()
	ctx, leave := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := b.memo.AuthenticateToken(ctx, bearer("good"))
		first <- err
	}()
	<-arrived
	second := make(chan error)
	go func() {
		_, err := b.ask("good")
		second <- err
	}()
	b.waitForMisses(2)
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) || errors.Is(err, core.ErrInvalid) {
		t.Errorf("who left got %v", err)
	}
	release()
	if err := <-second; err != nil {
		t.Errorf("who stayed got %v", err)
	}
	b.wantAsked("later", 0, func() { b.ask("good") })
}

func TestHangingAuthenticatorIsCutOff(t *testing.T) {
	gate := make(chan struct{})
	defer close(gate)
	for name, hang := range map[string]func(context.Context){
		"waits for its context":        func(ctx context.Context) { <-ctx.Done() },
		"does not look at its context": func(context.Context) { <-gate },
		"ends its goroutine":           func(context.Context) { runtime.Goexit() },
	} {
		b := setup(t, func(o *cache.Options) { o.Timeout = 20 * time.Millisecond })
		b.next.answer = func(ctx context.Context, _ core.Credential) (*core.Principal, error) {
			hang(ctx)
			return nil, ctx.Err()
		}
		if _, err := b.ask("good"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPanicDeniesAllWhoWait(t *testing.T) {
	b := setup(t, nil)
	arrived, gate := make(chan struct{}), make(chan struct{})
	b.next.answer = func(_ context.Context, c core.Credential) (*core.Principal, error) {
		close(arrived)
		<-gate
		panic("about " + c.Value)
	}
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			p, err := b.ask("good")
			switch {
			case err == nil:
				t.Errorf("let in: %+v", p)
			case errors.Is(err, core.ErrInvalid):
				t.Errorf("called the caller's fault: %v", err)
			case strings.Contains(err.Error(), "good"):
				t.Errorf("the error tells the panic's value: %v", err)
			}
		})
	}
	<-arrived
	b.waitForMisses(20)
	close(gate)
	wait.Wait()
	b.next.answer = b.good
	if _, err := b.ask("good"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if s := b.memo.Stats(); s.Panics != 1 {
		t.Errorf("%+v", s)
	}
}

func TestPanicOfTheRuntimeSaysWhere(t *testing.T) {
	b := setup(t, nil)
	b.next.answer = func(context.Context, core.Credential) (*core.Principal, error) {
		var nobody *core.Principal
		return nil, errors.New(nobody.Subject)
	}
	_, err := b.ask("good")
	if err == nil || !strings.Contains(err.Error(), "nil pointer dereference at gatehouse/core/cache_test.") {
		t.Errorf("got %v", err)
	}
}

func TestNeitherAPrincipalNorAnError(t *testing.T) {
	b := setup(t, nil)
	b.next.answer = func(context.Context, core.Credential) (*core.Principal, error) { return nil, nil }
	for range 2 {
		if p, err := b.ask("good"); err == nil || p != nil {
			t.Errorf("%+v, %v", p, err)
		}
	}
}

func TestNothingIsCachedWhenCachingIsOff(t *testing.T) {
	b := setup(t, func(o *cache.Options) { o.TTL, o.NegativeTTL = -1, -1 })
	b.wantAsked("good", 2, func() { b.ask("good"); b.ask("good") })
	b.wantAsked("bad", 2, func() { b.ask("bad"); b.ask("bad") })
}

func TestBadOptions(t *testing.T) {
	store := memory(t, 10, nil)
	for name, change := range map[string]func(*cache.Options){
		"nobody to ask": func(o *cache.Options) { o.Next = nil },
		"no store":      func(o *cache.Options) { o.Negative = nil },
		"one store":     func(o *cache.Options) { o.Negative = o.Positive },
		"no digest":     func(o *cache.Options) { o.Digest = "" },
		"no time":       func(o *cache.Options) { o.Timeout = -1 },
	} {
		o := cache.Options{Next: &next{}, Positive: store, Negative: memory(t, 10, nil), Digest: "x"}
		change(&o)
		if _, err := cache.New(o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// FuzzKeyCollision: two credentials share an answer only when they are one.
func FuzzKeyCollision(f *testing.F) {
	f.Add("bearer", "good", "bearer", "good")
	f.Add("bearer", "good", "session_cookie", "good")
	f.Add("a", "bc", "ab", "c")
	f.Add("", "a", "a", "")
	f.Add("a\x00\x00\x00\x00\x00\x00\x00\x01b", "c", "a", "b\x00c")
	f.Fuzz(func(t *testing.T, place1, value1, place2, value2 string) {
		n := &next{answer: func(_ context.Context, c core.Credential) (*core.Principal, error) {
			return &core.Principal{Subject: string(c.Place), ClientID: c.Value, Expiry: time.Now().Add(time.Hour)}, nil
		}}
		m, err := cache.New(cache.Options{Next: n, Positive: memory(t, 10, nil), Negative: memory(t, 10, nil), Digest: "x"})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []core.Credential{{Place: core.PlaceName(place1), Value: value1}, {Place: core.PlaceName(place2), Value: value2}} {
			p, err := m.AuthenticateToken(t.Context(), c)
			if err != nil || p.Subject != string(c.Place) || p.ClientID != c.Value {
				t.Fatalf("%q in %q got %+v, %v", c.Value, c.Place, p, err)
			}
		}
	})
}

func BenchmarkHit(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"Token100", 100}, {"SessionCookie430", 430}, {"JWT1200", 1200}} {
		b.Run(size.name, func(b *testing.B) {
			n := &next{answer: func(context.Context, core.Credential) (*core.Principal, error) {
				return &core.Principal{Subject: "u", Expiry: time.Now().Add(time.Hour)}, nil
			}}
			m, err := cache.New(cache.Options{
				Next: n, Positive: memory(b, 10000, nil), Negative: memory(b, 10000, nil), Digest: strings.Repeat("d", 64), TTL: time.Hour,
			})
			if err != nil {
				b.Fatal(err)
			}
			c := bearer(strings.Repeat("x", size.bytes))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.AuthenticateToken(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
			if n.calls.Load() != 1 {
				b.Fatalf("asked %d times", n.calls.Load())
			}
		})
	}
}

func (b *bench) refresh(value string) (*core.Principal, error) {
	return b.memo.RefreshToken(b.t.Context(), bearer(value))
}

func TestRefreshIsBounded(t *testing.T) {
	b := setup(t, nil)
	b.wantAsked("first look", 1, func() { b.ask("good") })
	b.wantAsked("refresh of what is a moment old", 0, func() {
		for range 10 {
			b.refresh("good")
		}
	})
	b.clock.Advance(2 * time.Second)
	b.wantAsked("refreshes of what is older", 1, func() {
		for range 10 {
			if p, err := b.refresh("good"); err != nil || p.Subject != "bearer/good" {
				t.Fatalf("%+v, %v", p, err)
			}
		}
	})
	b.wantAsked("what the refresh learned", 0, func() { b.ask("good") })
}

func TestRevocationLearnedByRefreshCountsForAll(t *testing.T) {
	b := setup(t, nil)
	b.ask("good")
	b.clock.Advance(2 * time.Second)
	b.next.answer = func(context.Context, core.Credential) (*core.Principal, error) {
		return nil, fmt.Errorf("%w: revoked", core.ErrInvalid)
	}
	if p, err := b.refresh("good"); p != nil || !errors.Is(err, core.ErrInvalid) {
		t.Errorf("refresh: %+v, %v", p, err)
	}
	if p, err := b.ask("good"); p != nil || !errors.Is(err, core.ErrInvalid) {
		t.Errorf("afterwards: %+v, %v", p, err)
	}
}
