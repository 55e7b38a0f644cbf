package attempts_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/attempts"
	"gatehouse/core/cache"
	"gatehouse/core/coretest"
)

// provider knows who is who, and counts how often it is asked.
type provider struct{ calls atomic.Int64 }

func (p *provider) AuthenticateToken(_ context.Context, c core.Credential) (*core.Principal, error) {
	p.calls.Add(1)
	switch {
	case strings.HasPrefix(c.Value, "good uncached"):
		return &core.Principal{Subject: "ada", Expiry: time.Now().Add(time.Hour), FreshUntil: time.Unix(1, 0)}, nil
	case strings.HasPrefix(c.Value, "good"):
		return &core.Principal{Subject: "ada", Expiry: time.Now().Add(time.Hour)}, nil
	case c.Value == "weak":
		return nil, &core.StepUp{AAL: "aal2"}
	case c.Value == "unsettled":
		return nil, fmt.Errorf("%w: %w", core.ErrInvalid, core.ErrUnsettled)
	case c.Value == "outage":
		return nil, errors.New("connection refused")
	}
	return nil, core.ErrInvalid
}

type bench struct {
	t        *testing.T
	clock    *coretest.Clock
	provider *provider
	counters *attempts.Counters
	limited  core.Authenticator
	asked    int
}

// setup limits to 10 failed attempts within 10 s.
func setup(t *testing.T, change func(*attempts.Options)) *bench {
	t.Helper()
	b := &bench{t: t, clock: coretest.NewClock(), provider: &provider{}, counters: &attempts.Counters{}}
	memory := func(n int) *cache.Memory {
		m, err := cache.NewMemory(cache.Limits{Entries: n}, b.clock.Now)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	memo, err := cache.New(cache.Options{Next: b.provider, Positive: memory(1000), Negative: memory(1000), Digest: "x", TTL: time.Minute, NegativeTTL: 5 * time.Second, Now: b.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	router, err := authn.New(authn.Route{Title: "tokens", Judges: func(core.Credential) (any, bool) { return nil, true }, By: memo})
	if err != nil {
		t.Fatal(err)
	}
	rate := attempts.Rate{Count: 10, Window: 10 * time.Second}
	o := attempts.Options{Rate: rate, Clients: store(t, rate, 1000, b.clock.Now), Credentials: store(t, rate, 1000, b.clock.Now), Counters: b.counters, Now: b.clock.Now}
	if change != nil {
		change(&o)
	}
	b.limited = attempts.New(o).Around(router, "gate")
	return b
}

func store(t *testing.T, r attempts.Rate, keys int, now func() time.Time) *attempts.Memory {
	t.Helper()
	m, err := attempts.NewMemory(r, keys, now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (b *bench) request(address string, header ...core.Header) *core.Call {
	ask := func() netip.Addr {
		b.asked++
		client, _ := netip.ParseAddr(address)
		return client
	}
	return &core.Call{Request: &core.Request{AskClient: ask, Header: header}}
}

func (b *bench) attempt(address, credential string, others ...string) error {
	c := core.Credential{Place: core.BearerToken, Value: credential}
	copy(c.Others[:], others)
	result, err := b.limited.Authenticate(b.t.Context(), b.request(address), c)
	if err == nil && result.Principal.Subject != "ada" {
		b.t.Errorf("%s is %+v", credential, result.Principal)
	}
	return err
}

// flood makes n failed attempts with different credentials.
func (b *bench) flood(address string, n int) {
	for i := range n {
		b.attempt(address, fmt.Sprint("garbage ", i, b.clock.Now().UnixNano()))
	}
}

// isLimited reports whether an error is the limit's, and after how long to come back.
func isLimited(err error) (time.Duration, bool) {
	var later *core.Later
	if !errors.Is(err, core.ErrTooMany) || !errors.As(err, &later) {
		return 0, false
	}
	return later.Wait, true
}

func TestFailedAttemptsOfAClientAreLimited(t *testing.T) {
	b := setup(t, nil)
	for i := range 10 {
		if err := b.attempt("192.0.2.1", fmt.Sprint("garbage ", i)); !errors.Is(err, core.ErrInvalid) {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
	err := b.attempt("192.0.2.1", "garbage 10")
	wait, limited := isLimited(err)
	if !limited || wait != time.Second || errors.Is(err, core.ErrInvalid) {
		t.Errorf("attempt 11: %v, %s", err, wait)
	}
	if want := "too many attempts: clients with the address 192.0.2.1 have failed 10 times within 10s (failed_attempts)"; err.Error() != want {
		t.Errorf("says %q, want %q", err, want)
	}
	if b.provider.calls.Load() != 10 {
		t.Errorf("the provider was asked %d times", b.provider.calls.Load())
	}
	if err := b.attempt("192.0.2.2", "good"); err != nil {
		t.Errorf("another client: %v", err)
	}
	if _, limited := isLimited(b.attempt("192.0.2.1", "good new")); !limited {
		t.Error("a new good credential of the client would tell whether a guess is right")
	}
	b.clock.Advance(wait)
	if err := b.attempt("192.0.2.1", "good new"); err != nil {
		t.Errorf("after the wait: %v", err)
	}
}

// A guesser with an account of his own must not take his failures back by it.
func TestOneGoodCredentialTakesFailuresBackOnce(t *testing.T) {
	b := setup(t, nil)
	for range 20 {
		b.flood("192.0.2.1", 5)
		if err := b.attempt("192.0.2.1", "good uncached"); err != nil {
			t.Fatal(err)
		}
		b.clock.Advance(time.Nanosecond) // for other garbage
	}
	if failed := b.counters.Stats().Failed; failed > 21 {
		t.Errorf("%d attempts failed, want at most those that are free and those that a good credential takes back", failed)
	}
}

// The values of a repeated cookie beside one's own are guesses.
func TestGuessesBesideAGoodCookieAreLimited(t *testing.T) {
	b := setup(t, nil)
	if err := b.attempt("192.0.2.1", "good"); err != nil {
		t.Fatal(err)
	}
	limited := 0
	for i := range 50 {
		if _, is := isLimited(b.attempt("192.0.2.1", "good", fmt.Sprint("guess ", i), fmt.Sprint("other guess ", i))); is {
			limited++
		}
	}
	if calls := b.provider.calls.Load(); limited < 29 || calls > 50 {
		t.Errorf("%d of 50 requests were limited, and the provider was asked %d times", limited, calls)
	}
	if err := b.attempt("192.0.2.1", "good"); err != nil {
		t.Errorf("the good one alone: %v", err)
	}
}

// Gates share the limit. A token for one API that a client tries at another a thousand
// times is still good where it belongs.
func TestCredentialThatFailsAtOneGateIsNotLimitedAtAnother(t *testing.T) {
	rate := attempts.Rate{Count: 10, Window: 10 * time.Second}
	limit := attempts.New(attempts.Options{Rate: rate, Credentials: store(t, rate, 1000, nil)})
	around := func(good string) core.Authenticator {
		by := tokenFunc(func(c core.Credential) (*core.Principal, error) {
			if c.Value != good {
				return nil, core.ErrInvalid
			}
			return &core.Principal{Subject: "ada", Expiry: time.Now().Add(time.Hour)}, nil
		})
		router, err := authn.New(authn.Route{Title: "tokens", Judges: func(core.Credential) (any, bool) { return nil, true }, By: by})
		if err != nil {
			t.Fatal(err)
		}
		return limit.Around(router, good)
	}
	a, b := around("for a"), around("for b")
	call := &core.Call{Request: &core.Request{}}
	c := core.Credential{Place: core.BearerToken, Value: "for b"}
	for range 20 {
		a.Authenticate(t.Context(), call, c)
	}
	if _, err := a.Authenticate(t.Context(), call, c); !errors.Is(err, core.ErrTooMany) {
		t.Errorf("at the wrong gate: %v", err)
	}
	if _, err := b.Authenticate(t.Context(), call, c); err != nil {
		t.Errorf("at its own gate: %v", err)
	}
}

type tokenFunc func(core.Credential) (*core.Principal, error)

func (f tokenFunc) AuthenticateToken(_ context.Context, c core.Credential) (*core.Principal, error) {
	return f(c)
}

func TestWaitThatIsNamedIsEnough(t *testing.T) {
	b := setup(t, nil)
	for range 50 {
		wait, limited := isLimited(b.attempt("192.0.2.1", fmt.Sprint("garbage ", b.clock.Now().UnixNano(), b.provider.calls.Load())))
		b.clock.Advance(wait)
		if limited {
			if err := b.attempt("192.0.2.1", fmt.Sprint("garbage again ", b.clock.Now().UnixNano())); !errors.Is(err, core.ErrInvalid) {
				t.Fatalf("after %s: %v", wait, err)
			}
		}
	}
}

func TestRememberedGoodCredentialIsNeverHeldUp(t *testing.T) {
	b := setup(t, nil)
	if err := b.attempt("192.0.2.1", "good"); err != nil {
		t.Fatal(err)
	}
	b.flood("192.0.2.1", 20)
	asked := b.asked
	for range 100 {
		if err := b.attempt("192.0.2.1", "good"); err != nil {
			t.Fatal(err)
		}
	}
	if b.asked != asked {
		t.Errorf("the gateway was asked for the client %d times", b.asked-asked)
	}
	// It is verified again when the cache has forgotten it, limit or not.
	for range 5 {
		b.clock.Advance(2 * time.Minute)
		b.flood("192.0.2.1", 20)
		if err := b.attempt("192.0.2.1", "good"); err != nil {
			t.Errorf("after its time in the cache: %v", err)
		}
	}
}

// The address may be that of an office or of a load balancer.
func TestClientWhoBringsNewGoodCredentialsIsManyClients(t *testing.T) {
	b := setup(t, nil)
	for i := range 20 {
		b.flood("192.0.2.1", 9)
		if err := b.attempt("192.0.2.1", fmt.Sprint("good ", i)); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
}

func TestFailedAttemptsWithACredentialAreLimited(t *testing.T) {
	b := setup(t, nil)
	for i := range 10 { // from different addresses
		if err := b.attempt(fmt.Sprintf("192.0.2.%d", i), "expired"); !errors.Is(err, core.ErrInvalid) {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
	asked := b.asked
	err := b.attempt("192.0.2.99", "expired")
	if wait, limited := isLimited(err); !limited || wait <= 0 {
		t.Errorf("%v", err)
	}
	if b.asked != asked {
		t.Error("the gateway was asked for the client although the credential decides")
	}
	if strings.Contains(err.Error(), "expired") {
		t.Errorf("the credential is in the error: %v", err)
	}
}

// All JWTs of an issuer begin alike, and end differently.
func TestCredentialsWithACommonPrefixShareNoLimit(t *testing.T) {
	b := setup(t, nil)
	header := "eyJhbGciOiJSUzI1NiIsImtpZCI6Im9uZSIsInR5cCI6ImF0K2p3dCJ9." + strings.Repeat("A", 4000)
	for i := range 10 {
		b.attempt(fmt.Sprintf("192.0.2.%d", i), header+".bad")
	}
	if _, limited := isLimited(b.attempt("192.0.2.99", header+".bad")); !limited {
		t.Fatal("the bad one is not limited")
	}
	for _, other := range []string{header + ".bac", header + ".bad2", header + ".ba", header} {
		if err := b.attempt("198.51.100.1", other); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("another credential: %v", err)
		}
	}
	place := core.Credential{Place: core.SessionCookie, Value: header + ".bad"}
	if _, err := b.limited.Authenticate(t.Context(), b.request("198.51.100.1"), place); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("the same text in another place: %v", err)
	}
}

func TestWhatIsNoFailedAttempt(t *testing.T) {
	b := setup(t, nil)
	for range 30 {
		for _, credential := range []string{"outage", "unsettled", "weak"} {
			if _, limited := isLimited(b.attempt("192.0.2.1", credential)); limited {
				t.Fatalf("%s is limited", credential)
			}
		}
	}
	if n := b.counters.Failed.Load(); n != 0 {
		t.Errorf("%d failed attempts", n)
	}
}

func TestRememberedRefusalCountsAsAnAttempt(t *testing.T) {
	b := setup(t, func(o *attempts.Options) { o.Credentials = nil })
	for range 10 {
		b.attempt("192.0.2.1", "bad")
	}
	if _, limited := isLimited(b.attempt("192.0.2.1", "bad")); !limited || b.provider.calls.Load() != 1 {
		t.Errorf("limited %v, %d calls", limited, b.provider.calls.Load())
	}
}

// A browser sends a stale cookie of a parent domain beside the good one.
func TestStaleCookieBesideAGoodOneIsNoFailedAttempt(t *testing.T) {
	b := setup(t, nil)
	for range 30 {
		if err := b.attempt("192.0.2.1", "stale", "good"); err != nil {
			t.Fatal(err)
		}
	}
	b.flood("192.0.2.1", 20)
	if err := b.attempt("192.0.2.1", "stale", "good"); err != nil {
		t.Errorf("both are remembered: %v", err)
	}
}

func TestRevokedCredentialIsNotKnownToBeGoodAnyMore(t *testing.T) {
	b := setup(t, nil)
	revoked := false
	memo := judge(func(string) error {
		if revoked {
			return core.ErrInvalid
		}
		return nil
	})
	router, err := authn.New(authn.Route{Title: "tokens", Judges: func(core.Credential) (any, bool) { return nil, true }, By: memo})
	if err != nil {
		t.Fatal(err)
	}
	rate := attempts.Rate{Count: 10, Window: 10 * time.Second}
	b.limited = attempts.New(attempts.Options{Rate: rate, Clients: store(t, rate, 10, b.clock.Now), Now: b.clock.Now}).Around(router, "gate")
	if err := b.attempt("192.0.2.1", "once good"); err != nil {
		t.Fatal(err)
	}
	revoked = true
	for range 10 {
		b.attempt("192.0.2.1", "once good")
	}
	if _, limited := isLimited(b.attempt("192.0.2.1", "once good")); !limited {
		t.Error("a revoked credential is never limited")
	}
}

// judge is an authenticator without a cache.
type judge func(string) error

func (j judge) AuthenticateToken(_ context.Context, c core.Credential) (*core.Principal, error) {
	return &core.Principal{Subject: "ada"}, j(c.Value)
}

func TestSpoofedForwardedAddressDoesNotChooseTheLimit(t *testing.T) {
	b := setup(t, nil)
	for i := range 30 {
		header := core.Header{Name: "X-Forwarded-For", Value: fmt.Sprintf("203.0.113.%d", i)}
		real := core.Header{Name: "X-Real-IP", Value: header.Value}
		_, err := b.limited.Authenticate(t.Context(), b.request("192.0.2.1", header, real), core.Credential{Place: core.BearerToken, Value: fmt.Sprint("garbage ", i)})
		if _, limited := isLimited(err); limited != (i >= 10) {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
}

func TestAddressesOfOneHostShareALimit(t *testing.T) {
	for name, c := range map[string]struct {
		address func(i int) string
		shared  bool
	}{
		"one IPv6 network of 64 bits": {func(i int) string { return fmt.Sprintf("2001:db8:1:2::%x", i) }, true},
		"other IPv6 networks":         {func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i) }, false},
		"IPv4":                        {func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }, false},
		"IPv4, mapped or not":         {func(i int) string { return []string{"192.0.2.1", "::ffff:192.0.2.1"}[i%2] }, true},
	} {
		b := setup(t, nil)
		for i := range 10 {
			b.attempt(c.address(i), fmt.Sprint("garbage ", i))
		}
		if _, limited := isLimited(b.attempt(c.address(10), "garbage 10")); limited != c.shared {
			t.Errorf("%s: limited %v", name, limited)
		}
	}
}

// One limit for all whom the host cannot tell apart would be one that anybody fills
// for everybody.
func TestClientsThatCannotBeToldApartShareNoLimit(t *testing.T) {
	var lines strings.Builder
	b := setup(t, func(o *attempts.Options) { o.Log = slog.New(slog.NewTextHandler(&lines, nil)) })
	b.flood("", 50)
	if err := b.attempt("", "good"); err != nil {
		t.Error(err)
	}
	for range 10 {
		b.attempt("", "bad")
	}
	if _, limited := isLimited(b.attempt("", "bad")); !limited {
		t.Error("the limit for each credential does not hold")
	}
	if n := b.counters.Unknown.Load(); n != 61 {
		t.Errorf("%d unknown clients were counted", n)
	}
	if text := lines.String(); strings.Count(text, "the address of the client is not known") != 1 {
		t.Errorf("logged %q", text)
	}
}

func TestLimitIsLoggedOnceInAWindow(t *testing.T) {
	var lines strings.Builder
	b := setup(t, func(o *attempts.Options) { o.Log = slog.New(slog.NewTextHandler(&lines, nil)) })
	for i := range 20 {
		b.flood(fmt.Sprintf("192.0.2.%d", i), 20)
	}
	if n := strings.Count(lines.String(), "level=WARN"); n != 1 || !strings.Contains(lines.String(), "address=192.0.2.0") || !strings.Contains(lines.String(), "trusted proxies") {
		t.Errorf("%d lines: %s", n, lines.String())
	}
	b.clock.Advance(time.Minute)
	b.flood("192.0.2.1", 20)
	if n := strings.Count(lines.String(), "level=WARN"); n != 2 {
		t.Errorf("%d lines", n)
	}
}

// faulty is a store that does not work.
type faulty struct {
	panics bool
	wait   time.Duration
}

func (f faulty) Count(context.Context, attempts.Key, int) (time.Duration, error) {
	if f.panics {
		panic("boom")
	}
	return f.wait, errors.New("connection refused")
}

func (f faulty) Known(attempts.Key) time.Duration {
	if f.panics {
		panic("boom")
	}
	return 0
}

func (f faulty) Return(context.Context, attempts.Key, attempts.Key, int) error {
	if f.panics {
		panic("boom")
	}
	return errors.New("connection refused")
}

// A store of a fleet that fails says what its node knows by itself.
func TestStoreThatFailsLimitsByWhatItSaysBesideItsError(t *testing.T) {
	b := setup(t, func(o *attempts.Options) { o.Clients = faulty{wait: time.Second} })
	if wait, limited := isLimited(b.attempt("192.0.2.1", "garbage")); !limited || wait != time.Second {
		t.Errorf("limited %v, wait %s", limited, wait)
	}
}

func TestAllowedClientsAreNeverLimited(t *testing.T) {
	office := netip.MustParsePrefix("192.0.2.0/24")
	b := setup(t, func(o *attempts.Options) { o.Allow = func(a netip.Addr) bool { return office.Contains(a.Unmap()) } })
	for range 50 { // one credential, of which others have used up the attempts too
		if err := b.attempt("192.0.2.1", "bad"); !errors.Is(err, core.ErrInvalid) {
			t.Fatalf("an allowed client: %v", err)
		}
	}
	b.flood("192.0.2.1", 50)
	if err := b.attempt("198.51.100.1", "bad"); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("attempts of an allowed client limit another: %v", err)
	}
	b.flood("198.51.100.1", 20)
	if _, limited := isLimited(b.attempt("198.51.100.1", "good new")); !limited {
		t.Error("a client that is not allowed is not limited")
	}
	for range 20 {
		b.attempt("198.51.100.2", "dead")
		b.attempt("198.51.100.3", "dead")
	}
	if _, limited := isLimited(b.attempt("198.51.100.4", "dead")); !limited {
		t.Error("a credential that fails everywhere is not limited")
	}
	if err := b.attempt("192.0.2.1", "dead"); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("an allowed client with a limited credential: %v", err)
	}
	if err := b.attempt("::ffff:192.0.2.1", "good new"); err != nil {
		t.Errorf("a new good credential of an allowed client: %v", err)
	}
	if err := b.attempt("", "dead"); err == nil || b.counters.Allowed.Load() == 0 {
		t.Errorf("%v, %d are counted", err, b.counters.Allowed.Load())
	}
}

func TestStoreThatFailsLimitsNobodyAndOpensNothing(t *testing.T) {
	for _, s := range []faulty{{}, {panics: true}} {
		b := setup(t, func(o *attempts.Options) { o.Clients, o.Credentials = s, s })
		for i := range 50 {
			if err := b.attempt("192.0.2.1", fmt.Sprint("garbage ", i)); !errors.Is(err, core.ErrInvalid) {
				t.Fatalf("%+v: %v", s, err)
			}
		}
		if err := b.attempt("192.0.2.1", "good"); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
		if b.counters.StoreErrors.Load() == 0 {
			t.Errorf("%+v: no failure was counted", s)
		}
	}
}

func TestLimitCanBeSwitchedOff(t *testing.T) {
	b := setup(t, func(o *attempts.Options) { o.Clients, o.Credentials = nil, nil })
	b.flood("192.0.2.1", 50)
	for range 50 {
		if err := b.attempt("192.0.2.1", "bad"); !errors.Is(err, core.ErrInvalid) {
			t.Fatal(err)
		}
	}
}

func TestMoreThanTheCachedSignInIsNotLimited(t *testing.T) {
	b := setup(t, nil)
	b.attempt("192.0.2.1", "good")
	b.flood("192.0.2.1", 20)
	result, err := b.limited.(core.Refresher).Refresh(t.Context(), b.request("192.0.2.1"), core.Credential{Place: core.BearerToken, Value: "good"})
	if err != nil || result.Principal == nil {
		t.Error(err)
	}
}

func TestFailedAttemptsAtTheSameTime(t *testing.T) {
	b := setup(t, nil)
	b.clock = nil // not moved any more
	var wait sync.WaitGroup
	var refused, limited atomic.Int64
	for g := range 16 {
		wait.Go(func() {
			for i := range 50 {
				r := &core.Call{Request: &core.Request{Client: netip.MustParseAddr("192.0.2.1")}}
				_, err := b.limited.Authenticate(t.Context(), r, core.Credential{Place: core.BearerToken, Value: fmt.Sprint("garbage ", g, " ", i)})
				if _, is := isLimited(err); is {
					limited.Add(1)
				} else if errors.Is(err, core.ErrInvalid) {
					refused.Add(1)
				}
			}
		})
	}
	wait.Wait()
	// Those that were under way when the limit was reached are not refused.
	if refused.Load() < 10 || refused.Load() > 10+16 || refused.Load()+limited.Load() != 800 {
		t.Errorf("%d refused, %d limited", refused.Load(), limited.Load())
	}
}

// A gateway that lost the reply asks again: the caller has tried once, and gets the refusal
// of the first run even where that attempt was the last one that is free.
func TestSecondRunOfARequestIsNoSecondFailedAttempt(t *testing.T) {
	b := setup(t, nil)
	run := func(id, credential string, header ...core.Header) error {
		call := b.request("192.0.2.1", header...)
		call.ID, call.RunsTwice = id, true
		_, err := b.limited.Authenticate(t.Context(), call, core.Credential{Place: core.BearerToken, Value: credential})
		return err
	}
	for i := range 10 {
		for range 3 {
			if err := run(fmt.Sprint("id", i), fmt.Sprint("bad", i)); !errors.Is(err, core.ErrInvalid) {
				t.Fatalf("attempt %d: %v", i, err)
			}
		}
	}
	if n := b.counters.Failed.Load(); n != 10 {
		t.Errorf("%d failed attempts are counted, want 10", n)
	}
	for about, err := range map[string]error{
		"another request":                           run("id10", "bad"),
		"another credential under the same id":      run("id9", "bad10"),
		"another header under the same id":          run("id9", "bad9", core.Header{Name: "X-A", Value: "b"}),
		"the same credential, without an id":        run("", "bad9"),
		"the same id where a client may choose one": b.attempt("192.0.2.1", "bad9"),
	} {
		if _, limited := isLimited(err); !limited {
			t.Errorf("%s: %v", about, err)
		}
	}
	for range 10 { // one good value of a repeated cookie, beside one that can be a guess
		call := b.request("192.0.2.2")
		call.ID, call.RunsTwice = "repeated", true
		c := core.Credential{Place: core.BearerToken, Value: "good", Others: [core.MaxRepeats - 1]string{"guess"}}
		if _, err := b.limited.Authenticate(t.Context(), call, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.attempt("192.0.2.2", "bad"); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("the runs of one request count as attempts: %v", err)
	}
}
