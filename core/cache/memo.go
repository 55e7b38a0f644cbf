package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse/core"
	"gatehouse/core/fair"
	"gatehouse/core/keyedhash"
)

// Options of a Memo.
type Options struct {
	// Next is called for what is not cached.
	Next core.TokenAuthenticator
	// Positive keeps principals, Negative keeps refusals. They are apart so
	// that a flood of garbage credentials cannot push out good ones.
	Positive, Negative Store
	// Shared is what nodes have in common behind the two; nil: nothing.
	Shared Shared
	// Digest stands for everything but the credential that the results of Next
	// depend on: its configuration with endpoints, clients and secrets. It
	// need not be secret.
	Digest string
	// TTL bounds how long a principal is kept, besides its own Expiry and
	// FreshUntil. It is how long a revoked credential may still pass.
	// Default 30 s; below zero none is kept.
	TTL time.Duration
	// NegativeTTL is how long a refusal is kept. Default 10 s; below zero none
	// is kept.
	NegativeTTL time.Duration
	// Timeout bounds one call of Next, waiting for its slot included, however many
	// wait for it. Default 5 s.
	Timeout time.Duration
	// Slots bound the calls of Next that are under way at once. Default: 256, and
	// no further one waits.
	Slots *fair.Slots
	// Provider names who is asked about a credential, for a fair share of the
	// slots; nil: there is only one.
	Provider func(core.Credential) string
	// Floor, where given, is a moment that moves: principals that were learned before
	// it are not used, because what has been revoked since then may have been missed.
	Floor func() time.Time
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.TTL == 0 {
		o.TTL = 30 * time.Second
	}
	if o.NegativeTTL == 0 {
		o.NegativeTTL = 10 * time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Provider == nil {
		o.Provider = func(core.Credential) string { return "" }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.Next == nil:
		return errors.New("no authenticator to call")
	case o.Positive == nil || o.Negative == nil:
		return errors.New("a store for principals and one for refusals are needed")
	case o.Positive == o.Negative:
		return errors.New("principals and refusals share a store: garbage could push out what is good")
	case o.Digest == "":
		return errors.New("no digest of the configuration")
	case o.Timeout < 0:
		return errors.New("a limit is negative")
	}
	return nil
}

// Memo is an authenticator that caches the results of another.
//
// Principals and refusals are cached. Outages are not, because they say nothing
// about the credential; nor are requests for a stronger sign-in, because a user
// who just complied comes back with the same session. A store that fails is a
// miss.
type Memo struct {
	options Options
	keys    *keyer
	calls   singleflight.Group
	counters
}

type counters struct {
	hits, refusals, misses, panics, storeErrors atomic.Uint64
}

var _ core.TokenRefresher = (*Memo)(nil)

// refreshAfter is the age from which a cached principal is looked up again on
// request. It bounds what a caller who keeps asking for more than they have
// costs the identity provider.
const refreshAfter = time.Second

// New makes a Memo.
func New(o Options) (*Memo, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Slots == nil {
		var err error
		if o.Slots, err = fair.NewSlots(fair.Options{Slots: 256}); err != nil {
			return nil, err
		}
	}
	return &Memo{options: o, keys: &keyer{o.Digest, keyedhash.New(nil)}}, nil
}

// Stats are for metrics. Counters only grow.
type Stats struct {
	// Hits were found as a principal, Refusals as a refusal, and Misses were
	// not found.
	Hits, Refusals, Misses uint64
	// Busy were misses that could not be looked up, because too many calls were
	// under way. Calls are under way now, and Waiting wait for one of their slots.
	Busy           uint64
	Calls, Waiting int
	// Panics of Next and, while it is called, of a store.
	Panics uint64
	// StoreErrors were failures of a store.
	StoreErrors uint64
	// Positive and Negative are the two stores.
	Positive, Negative StoreStats
}

// Stats returns what happened so far.
func (m *Memo) Stats() Stats {
	slots := m.options.Slots.Stats()
	return Stats{
		Hits: m.hits.Load(), Refusals: m.refusals.Load(), Misses: m.misses.Load(),
		Busy: slots.Refused, Calls: slots.Held, Waiting: slots.Waiting, Panics: m.panics.Load(), StoreErrors: m.storeErrors.Load(),
		Positive: m.options.Positive.Stats(), Negative: m.options.Negative.Stats(),
	}
}

// AuthenticateToken returns the cached result, or calls Next. Callers with the
// same credential share one call; each stops waiting when its own context ends.
func (m *Memo) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	key := m.keys.key(c)
	if p, err, known := m.cached(ctx, key); known {
		return p, err
	}
	m.misses.Add(1)
	return m.await(ctx, string(key[:]), key, c, time.Time{})
}

// Recall returns the cached result, where there is one. It never calls Next.
func (m *Memo) Recall(ctx context.Context, c core.Credential) (p *core.Principal, err error, known bool) {
	return m.cached(ctx, m.keys.key(c))
}

// RefreshToken calls Next unless the cached result is a moment old.
func (m *Memo) RefreshToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	key := m.keys.key(c)
	after := m.options.Now().Add(-refreshAfter)
	if p, since, ok := m.principal(ctx, key); ok && since.After(after) {
		m.hits.Add(1)
		return p, nil
	}
	m.misses.Add(1)
	return m.await(ctx, string(key[:]), key, c, after)
}

// AuthenticateSince is AuthenticateToken by what was asked after a moment.
func (m *Memo) AuthenticateSince(ctx context.Context, c core.Credential, moment time.Time) (*core.Principal, error) {
	if p, err, known := m.RecallSince(ctx, c, moment); known {
		return p, err
	}
	m.misses.Add(1)
	key := m.keys.key(c)
	flight := string(key[:]) + moment.String() // one that is under way may have asked before
	return m.await(ctx, flight, key, c, moment)
}

// RecallSince is Recall of what was asked after a moment.
func (m *Memo) RecallSince(ctx context.Context, c core.Credential, moment time.Time) (p *core.Principal, err error, known bool) {
	key := m.keys.key(c)
	if p, since, ok := m.principal(ctx, key); ok && since.After(moment) {
		m.hits.Add(1)
		return p, nil, true
	}
	if e, ok := m.get(ctx, m.options.Negative, key); ok && e.Since.After(moment) {
		m.refusals.Add(1)
		return nil, &refusal{e.Refusal}, true
	}
	return nil, nil, false
}

// await waits for a result that was learned after a moment. Callers of one flight
// share a call.
func (m *Memo) await(ctx context.Context, flight string, key Key, c core.Credential, after time.Time) (*core.Principal, error) {
	ctx, cancel := context.WithTimeout(ctx, m.options.Timeout)
	defer cancel()
	done := m.calls.DoChan(flight, func() (any, error) { return m.call(ctx, key, c, after) })
	select {
	case result := <-done:
		p, _ := result.Val.(*core.Principal)
		if result.Err == nil && p == nil {
			return nil, errors.New("the authenticator returned neither a principal nor an error")
		}
		return p, result.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("authentication did not end in time: %w", ctx.Err())
	}
}

func (m *Memo) cached(ctx context.Context, key Key) (p *core.Principal, err error, known bool) {
	if p, _, ok := m.principal(ctx, key); ok {
		m.hits.Add(1)
		return p, nil, true
	}
	if e, ok := m.get(ctx, m.options.Negative, key); ok {
		m.refusals.Add(1)
		return nil, &refusal{e.Refusal}, true
	}
	return nil, nil, false
}

// principal finds a cached principal and when it was learned.
func (m *Memo) principal(ctx context.Context, key Key) (p *core.Principal, since time.Time, ok bool) {
	e, ok := m.get(ctx, m.options.Positive, key)
	return e.Principal, e.Since, ok && e.Principal != nil && !m.tooOld(e)
}

// tooOld reports whether an entry was learned before the floor. A refusal stays.
func (m *Memo) tooOld(e Entry) bool {
	return m.options.Floor != nil && e.Principal != nil && e.Since.Before(m.options.Floor())
}

// get takes a store that fails for a miss.
func (m *Memo) get(ctx context.Context, s Store, key Key) (Entry, bool) {
	e, found, err := s.Get(ctx, key)
	if err != nil {
		m.storeErrors.Add(1)
		return Entry{}, false
	}
	return e, found
}

func (m *Memo) set(ctx context.Context, s Store, key Key, e Entry) {
	if s.Set(ctx, key, e) != nil {
		m.storeErrors.Add(1)
	}
}

// refusal is a cached error. It says that it is, for whoever reads the log of a
// credential that began to hold a moment ago.
type refusal struct{ reason string }

func (r *refusal) Error() string        { return r.reason + " (remembered)" }
func (r *refusal) Is(target error) bool { return target == core.ErrInvalid }

// call calls Next once, for all who wait. It is detached from the caller who
// happened to come first: others must not lose the result because that one went
// away.
func (m *Memo) call(ctx context.Context, key Key, c core.Credential, after time.Time) (p *core.Principal, err error) {
	defer m.survive(&p, &err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.options.Timeout)
	defer cancel()
	leave, err := m.options.Slots.Enter(ctx, m.options.Provider(c))
	if err != nil {
		return nil, err
	}
	defer leave()
	// A call may have ended between this caller's look and now.
	if p, since, ok := m.principal(ctx, key); ok && since.After(after) {
		return p, nil
	}
	shared, known, release := m.learned(ctx, c, after)
	defer release()
	if known {
		m.keep(ctx, key, shared)
		return shared.result()
	}
	asked := m.options.Now()
	p, err = m.options.Next.AuthenticateToken(ctx, c)
	if e, worthKeeping := m.entry(p, err, asked); worthKeeping {
		m.keep(ctx, key, e)
		m.share(ctx, c, e)
	}
	return p, err
}

// survive is deferred: it turns a panic of Next or of a store into an error. A call
// runs on a goroutine of its own, where a panic would end the process.
func (m *Memo) survive(p **core.Principal, err *error) {
	if v := recover(); v != nil {
		m.panics.Add(1)
		*p, *err = nil, fmt.Errorf("panic while authenticating: %s", describe(v))
	}
}

// describe says what panicked and where.
func describe(v any) string {
	what := core.Thrown(v)
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s at %s (line %d)", what, frame.Function, frame.Line)
		}
		if !more {
			return what
		}
	}
}

// entry is what a result of Next says for the next caller. It is as old as the
// question: what happened while Next was called may not be in it.
func (m *Memo) entry(p *core.Principal, err error, asked time.Time) (e Entry, worthKeeping bool) {
	now := m.options.Now()
	var stepUp *core.StepUp
	switch {
	case err == nil && p != nil:
		return Entry{Principal: p, Since: asked, Until: m.until(now, p)}, true
	case errors.Is(err, core.ErrInvalid) && !errors.As(err, &stepUp) && !errors.Is(err, core.ErrUnsettled):
		return Entry{Refusal: err.Error(), Since: asked, Until: now.Add(m.options.NegativeTTL)}, true
	}
	return Entry{}, false
}

func (m *Memo) keep(ctx context.Context, key Key, e Entry) {
	now := m.options.Now()
	if e.Principal != nil {
		m.keepUntil(ctx, m.options.Positive, key, e, now)
		return
	}
	if _, known := m.get(ctx, m.options.Positive, key); known { // a refresh has learned better
		m.set(ctx, m.options.Positive, key, Entry{Until: now})
	}
	m.keepUntil(ctx, m.options.Negative, key, e, now)
}

func (m *Memo) keepUntil(ctx context.Context, s Store, key Key, e Entry, now time.Time) {
	if e.Until.After(now) {
		m.set(ctx, s, key, e)
	}
}

// until is the earliest of three ends. A principal without an expiry is not
// kept, as it would not pass the gate either.
func (m *Memo) until(now time.Time, p *core.Principal) time.Time {
	until := now.Add(m.options.TTL)
	if p.Expiry.Before(until) {
		until = p.Expiry
	}
	if !p.FreshUntil.IsZero() && p.FreshUntil.Before(until) {
		until = p.FreshUntil
	}
	return until
}
