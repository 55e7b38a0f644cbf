package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse/core"
)

// Options of a Memo.
type Options struct {
	// Next is asked for what is not known.
	Next core.Authenticator
	// Positive keeps principals, Negative keeps refusals. They are apart so
	// that a flood of garbage credentials cannot push out good ones.
	Positive, Negative Store
	// Digest stands for everything but the credential that the answers of Next
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
	// Timeout bounds one question to Next, whoever waits for it. Default 5 s.
	Timeout time.Duration
	// MaxFlights is how many questions may be under way at once. One more is
	// answered "could not tell" at once. Default 256.
	MaxFlights int
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
	if o.MaxFlights == 0 {
		o.MaxFlights = 256
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.Next == nil:
		return errors.New("no authenticator to ask")
	case o.Positive == nil || o.Negative == nil:
		return errors.New("a store for principals and one for refusals are needed")
	case o.Positive == o.Negative:
		return errors.New("principals and refusals share a store: garbage could push out what is good")
	case o.Digest == "":
		return errors.New("no digest of the configuration")
	case o.Timeout < 0 || o.MaxFlights < 0:
		return errors.New("a limit is negative")
	}
	return nil
}

// Memo is an authenticator that remembers the answers of another.
//
// Remembered are principals and refusals. Not remembered are outages, which
// say nothing about the credential, and requests for a stronger sign-in,
// because a user who just complied comes back with the same session.
type Memo struct {
	Options
	keys    *keyer
	flights singleflight.Group
	slots   chan struct{}
	counters
}

type counters struct{ hits, refusals, misses, busy, panics atomic.Uint64 }

var _ core.Refresher = (*Memo)(nil)

// refreshAfter is the age from which a remembered principal is looked up again
// on request. It bounds what a caller who keeps asking for more than they have
// costs the identity provider.
const refreshAfter = time.Second

// New makes a Memo.
func New(o Options) (*Memo, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Memo{Options: o, keys: newKeyer(o.Digest), slots: make(chan struct{}, o.MaxFlights)}, nil
}

// Stats are for metrics. Counters only grow.
type Stats struct {
	// Hits were answered with a kept principal, Refusals with a kept refusal,
	// and Misses were not known.
	Hits, Refusals, Misses uint64
	// Busy were misses that could not be asked about, because MaxFlights
	// questions were under way.
	Busy uint64
	// Panics of Next.
	Panics uint64
	// Positive and Negative are the two stores.
	Positive, Negative StoreStats
}

// Stats returns what happened so far.
func (m *Memo) Stats() Stats {
	return Stats{
		Hits: m.hits.Load(), Refusals: m.refusals.Load(), Misses: m.misses.Load(),
		Busy: m.busy.Load(), Panics: m.panics.Load(),
		Positive: m.Positive.Stats(), Negative: m.Negative.Stats(),
	}
}

// Authenticate answers from memory, or asks. Callers with the same question
// share one flight; each stops waiting when its own context ends.
func (m *Memo) Authenticate(ctx context.Context, c core.Credential) (*core.Principal, error) {
	key := m.keys.key(c)
	if p, err, known := m.recall(key); known {
		return p, err
	}
	m.misses.Add(1)
	return m.await(ctx, key, c, noAge)
}

// Recall returns a remembered principal, and asks nobody.
func (m *Memo) Recall(c core.Credential) (*core.Principal, bool) {
	e, ok := m.Positive.Get(m.keys.key(c))
	if !ok || e.Principal == nil {
		return nil, false
	}
	m.hits.Add(1)
	return e.Principal, true
}

// Refresh asks anew unless what is remembered was learned a moment ago.
func (m *Memo) Refresh(ctx context.Context, c core.Credential) (*core.Principal, error) {
	key := m.keys.key(c)
	if e, ok := m.Positive.Get(key); ok && e.Principal != nil && m.Now().Sub(e.Since) < refreshAfter {
		m.hits.Add(1)
		return e.Principal, nil
	}
	m.misses.Add(1)
	return m.await(ctx, key, c, refreshAfter)
}

// noAge accepts a remembered answer however old it is.
const noAge = time.Duration(math.MaxInt64)

// await waits for an answer that is younger than maxAge.
func (m *Memo) await(ctx context.Context, key Key, c core.Credential, maxAge time.Duration) (*core.Principal, error) {
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	landed := m.flights.DoChan(string(key[:]), func() (any, error) { return m.fly(ctx, key, c, maxAge) })
	select {
	case result := <-landed:
		p, _ := result.Val.(*core.Principal)
		if result.Err == nil && p == nil {
			return nil, errors.New("the authenticator gave neither a principal nor an error")
		}
		return p, result.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("authentication was not awaited: %w", ctx.Err())
	}
}

func (m *Memo) recall(key Key) (p *core.Principal, err error, known bool) {
	if e, ok := m.Positive.Get(key); ok && e.Principal != nil {
		m.hits.Add(1)
		return e.Principal, nil, true
	}
	if e, ok := m.Negative.Get(key); ok {
		m.refusals.Add(1)
		return nil, &refusal{e.Refusal}, true
	}
	return nil, nil, false
}

// refusal is a remembered error. It says that it is, for whoever reads the
// log of a credential that began to hold a moment ago.
type refusal struct{ reason string }

func (r *refusal) Error() string        { return r.reason + " (remembered)" }
func (r *refusal) Is(target error) bool { return target == core.ErrInvalid }

// fly asks the next authenticator once, for everybody who waits. It is
// detached from the caller who happened to come first: others must not lose
// the answer because that one went away.
func (m *Memo) fly(ctx context.Context, key Key, c core.Credential, maxAge time.Duration) (*core.Principal, error) {
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	default:
		m.busy.Add(1)
		return nil, fmt.Errorf("%d authentications are under way", m.MaxFlights)
	}
	// A flight may have landed between this caller's look and its take-off.
	if e, ok := m.Positive.Get(key); ok && e.Principal != nil && m.Now().Sub(e.Since) < maxAge {
		return e.Principal, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.Timeout)
	defer cancel()
	p, err := m.ask(ctx, c)
	m.remember(key, p, err)
	return p, err
}

// ask turns a panic into an error. It runs on a goroutine of its own, where a
// panic would end the process.
func (m *Memo) ask(ctx context.Context, c core.Credential) (p *core.Principal, err error) {
	defer func() {
		if v := recover(); v != nil {
			m.panics.Add(1)
			p, err = nil, fmt.Errorf("panic while authenticating: %s", describe(v))
		}
	}()
	return m.Next.Authenticate(ctx, c)
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

func (m *Memo) remember(key Key, p *core.Principal, err error) {
	now := m.Now()
	var stepUp *core.StepUp
	switch {
	case err == nil && p != nil:
		keep(m.Positive, key, Entry{Principal: p, Since: now, Until: m.until(now, p)}, now)
	case errors.Is(err, core.ErrInvalid) && !errors.As(err, &stepUp):
		if _, known := m.Positive.Get(key); known { // a refresh has learned better
			m.Positive.Set(key, Entry{Until: now})
		}
		keep(m.Negative, key, Entry{Refusal: err.Error(), Since: now, Until: now.Add(m.NegativeTTL)}, now)
	}
}

func keep(s Store, key Key, e Entry, now time.Time) {
	if e.Until.After(now) {
		s.Set(key, e)
	}
}

// until is the earliest of three ends. A principal without an expiry is not
// kept, as it would not pass the gate either.
func (m *Memo) until(now time.Time, p *core.Principal) time.Time {
	until := now.Add(m.TTL)
	if p.Expiry.Before(until) {
		until = p.Expiry
	}
	if !p.FreshUntil.IsZero() && p.FreshUntil.Before(until) {
		until = p.FreshUntil
	}
	return until
}
