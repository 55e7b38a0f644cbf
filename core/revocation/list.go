package revocation

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/core"
	"gatehouse/core/statedir"
)

// Options of a List.
type Options struct {
	// Retention is how long events are kept that do not say otherwise, and how long ago
	// a credential can have been issued that is verified locally. Default 24 h.
	Retention time.Duration
	// Leeway is by how much the clock of an issuer may be ahead of that of who
	// revokes: what was issued so long after an event is revoked, too.
	Leeway time.Duration
	// MaxBlind is how long a principal is cached while new events do not come.
	// Default 30 s.
	MaxBlind time.Duration
	// AcceptWithoutList says that credentials which are verified locally are accepted
	// while there is no list.
	AcceptWithoutList bool
	// Fed says that events come from a feed, such as a stream that all nodes read. The
	// list is there once the feed has said so (Current). Without it the list is there
	// from the beginning.
	Fed bool
	// Dir is where the list is kept on disk, so that a process that starts goes on with
	// it; empty: nowhere. The processes of a node may share it.
	Dir string
	// MaxEvents bounds the events that are kept. Default 500,000.
	MaxEvents int
	// Counters count what happens; nil: nobody looks.
	Counters *Counters
	// Log gets a line when what the list knows becomes less or more; nil: none.
	Log *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Retention == 0 {
		o.Retention = 24 * time.Hour
	}
	if o.MaxBlind == 0 {
		o.MaxBlind = 30 * time.Second
	}
	if o.MaxEvents == 0 {
		o.MaxEvents = 500_000
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Counters == nil {
		o.Counters = &Counters{}
	}
	return o
}

// Counters of one list or of several, for metrics. They only grow.
type Counters struct {
	// Revoked, TooOld, Undated and WithoutList are refused credentials: by an event;
	// older than events are kept; without a time of issue; for want of a list.
	Revoked, TooOld, Undated, WithoutList atomic.Uint64
	// Lost is how often events may have been missed.
	Lost atomic.Uint64
}

// List is what a node knows to be revoked. It is safe for concurrent use.
//
// A feed fills it (Options.Fed): it adds every event (Add), says that the list is
// complete (Current), at least once a second while that is so, that new events do not
// come at the moment (Blind), or that events may have been missed (Lost). It brings
// back to the others what this node holds (All) where they have lost it.
type List struct {
	options Options

	mu     sync.RWMutex
	events *index
	size   atomic.Int64          // of events, so that an empty list costs nothing
	state  atomic.Pointer[state] // changed under the lock
	// current is when a feed last said that the list is complete, in nanoseconds.
	current atomic.Int64

	disk  disk
	cause atomic.Pointer[error] // why new events do not come
}

// Open makes a list of what is on disk. A list that cannot be read there is as none, and
// is said; a directory that is none is an error.
func Open(o Options) (*List, error) {
	if o.Dir == "" {
		return New(o), nil
	}
	if err := statedir.Dir(o.Dir).Make(); err != nil {
		return nil, err
	}
	l := New(o)
	l.disk.changes.Store(1) // has the file written, so that it is found out whether it can be
	_ = l.save()            // has said what is wrong
	return l, nil
}

// New makes an empty list.
func New(o Options) *List {
	o = o.withDefaults()
	l := &List{options: o, events: newIndex(), disk: disk{file: file{statedir.Dir(o.Dir)}}}
	l.state.Store(initial(o))
	l.current.Store(o.Now().UnixNano())
	return l
}

// ErrFull is why an event is not kept: there are as many as the list may hold, and none
// of them is dropped for another.
var ErrFull = errors.New("the list of revocations is full")

// Add keeps events, all or none of them. Whoever gets an error must not take anything
// for revoked; a feed then has to try again, and says until then that it has missed
// events (Lost, without Current after it).
func (l *List) Add(events ...Event) error {
	for _, e := range events {
		if err := e.Check(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.options.Now()
	l.events.expire(now)
	if err := l.room(events); err != nil {
		return err
	}
	for _, e := range events {
		if e = e.bounded(now); e.Until.After(now) && l.events.add(e, now) {
			l.disk.changes.Add(1)
		}
	}
	l.size.Store(int64(len(l.events.ends)))
	return nil
}

func (l *List) room(events []Event) error {
	left := l.options.MaxEvents - len(l.events.ends)
	for _, e := range events {
		if l.events.find(e) != nil {
			continue
		}
		if left--; left < 0 {
			return fmt.Errorf("%w: it holds %d events (revocation.max_events)", ErrFull, len(l.events.ends))
		}
	}
	return nil
}

// All are the events in force, in no order.
func (l *List) All() []Event {
	l.expire()
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.events.all()
}

func (l *List) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events.expire(l.options.Now())
	l.size.Store(int64(len(l.events.ends)))
}

// Revoked finds an event that revokes a credential, by its principal and its value.
func (l *List) Revoked(p *core.Principal, credential string) (e Event, revoked bool) {
	e, revoked, _ = l.judge(p, credential, "")
	return e, revoked
}

// judge finds an event that revokes a credential, and where none does the moment, by
// the clock of this node, after which its provider has to be asked about it; zero: it
// need not be.
// Its issuer is the given one where it names none.
func (l *List) judge(p *core.Principal, credential, issuer string) (e Event, revoked bool, verify time.Time) {
	if l.size.Load() == 0 {
		return Event{}, false, time.Time{}
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	i, verify := l.find(p, credential, cmp.Or(p.Issuer, issuer))
	if i != nil {
		return i.Event, true, time.Time{}
	}
	return Event{}, false, verify
}

func (l *List) find(p *core.Principal, credential, issuer string) (i *item, verify time.Time) {
	s := search{issuer: issuer, unknown: issuer == "" && p.Kind == core.KindIntrospection, issued: p.IssuedAt, leeway: l.options.Leeway}
	return s.credential(l.events, p, credential), s.verify
}

// search is for one credential.
type search struct {
	issuer  string
	unknown bool // its server has not said who the issuer is: it may be any
	issued  time.Time
	leeway  time.Duration
	// verify is when the last event was heard of that asks for verification.
	verify time.Time
}

func (s *search) credential(x *index, p *core.Principal, credential string) *item {
	if i := s.whole(x.sessions, p.SessionID); i != nil {
		return i
	}
	if sid, ok := p.Claims["sid"].(string); ok && p.Kind == core.KindOIDC { // its provider names it otherwise than the gate
		if i := s.whole(x.sessions, sid); i != nil {
			return i
		}
	}
	if i := s.token(x, p.ID, credential); i != nil {
		return i
	}
	if i := s.party(x, p.Subject, p.ClientID); i != nil || p.Actor == nil {
		return i
	}
	if p.Actor.Issuer != "" { // else it is of the issuer of the credential
		s.issuer, s.unknown = p.Actor.Issuer, false
	}
	return s.party(x, p.Actor.Subject, p.Actor.ClientID)
}

// takes is asked about every event that names the credential, until one revokes it.
func (s *search) takes(i *item) bool {
	if i.Verify {
		s.verify = later(s.verify, i.heard)
	}
	return !i.Verify
}

// whole finds an event by what never comes back once it is revoked.
func (s *search) whole(events named, name string) *item {
	if name == "" || len(events) == 0 {
		return nil
	}
	for _, i := range events[name] {
		if s.isOf(i.Event) && s.takes(i) {
			return i
		}
	}
	return nil
}

// until finds an event by a name of which credentials are issued again and again.
func (s *search) until(events named, name string) *item {
	if name == "" || len(events) == 0 {
		return nil
	}
	for _, i := range events[name] {
		if s.isOf(i.Event) && s.issuedUntil(i.At) && s.takes(i) {
			return i
		}
	}
	return nil
}

func (s *search) isOf(e Event) bool { return e.Issuer == "" || e.Issuer == s.issuer || s.unknown }

func (s *search) issuedUntil(at time.Time) bool {
	return s.issued.IsZero() || !s.issued.After(at.Add(s.leeway))
}

func (s *search) token(x *index, id, credential string) *item {
	if !isDigest(id) { // or an issuer could name its tokens after another's
		if i := s.whole(x.tokens, id); i != nil {
			return i
		}
	}
	if len(x.digests) == 0 {
		return nil
	}
	if i := s.digest(x, credential); i != nil {
		return i
	}
	if signed, isJWT := signedPart(credential); isJWT {
		return s.digest(x, signed)
	}
	return nil
}

func (s *search) digest(x *index, text string) *item {
	if x.digests[sha256.Sum256([]byte(text))] == 0 {
		return nil
	}
	return s.whole(x.tokens, digest(text))
}

// party finds an event about who is named by a credential, or about its issuer.
func (s *search) party(x *index, subject, client string) *item {
	if i := s.until(x.subjects, subject); i != nil {
		return i
	}
	if i := s.until(x.clients, client); i != nil {
		return i
	}
	if !s.unknown {
		return s.until(x.issuers, s.issuer)
	}
	for name := range x.issuers {
		if i := s.until(x.issuers, name); i != nil {
			return i
		}
	}
	return nil
}
