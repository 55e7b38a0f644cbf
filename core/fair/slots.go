package fair

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gatehouse/core"
)

// Options of Slots.
type Options struct {
	// Slots is how many may be held at once.
	Slots int
	// PerClient and PerProvider are how many of them one client, or what is for one
	// provider, may hold, so that another finds a free one. Zero: all.
	PerClient, PerProvider int
	// Waiting is how many may wait for a slot.
	Waiting int
}

// Slots bounds how much is under way at once. A slot that becomes free goes to
// whom holds fewest: to the provider for which least is under way, then to the
// site and to the peer. When too many wait, whoever wants most loses first, so that
// a client without anything under way always gets a place.
type Slots struct {
	options Options

	mu      sync.Mutex
	held    int
	waiting int
	refused uint64
	entered uint64 // counts waiters, for their order
	tallies map[party]*tally
	flows   map[flowKey]*flow
	queued  []*flow // that have waiters
}

// party is one who has a share: a provider, a site or a peer.
type party struct {
	rank     rank
	provider string
	network  netip.Prefix
}

// rank is the order in which shares are compared.
type rank int

const (
	ofProvider rank = iota
	ofSite
	ofPeer
	ranks
)

// tally is what a party holds and waits for.
type tally struct{ held, waiting int }

type flowKey struct {
	provider string
	peer     Peer
}

// flow is what one peer wants from one provider.
type flow struct {
	key     flowKey
	held    int
	waiters []*waiter
	tallies [ranks]*tally // with other flows
}

type waiter struct {
	turn  uint64
	ready chan error // nil: it holds a slot
}

// NewSlots makes slots.
func NewSlots(o Options) (*Slots, error) {
	if o.Slots < 1 || o.Waiting < 0 || o.PerClient < 0 || o.PerProvider < 0 {
		return nil, errors.New("a limit of slots is negative, or there is no slot")
	}
	return &Slots{options: o, tallies: map[party]*tally{}, flows: map[flowKey]*flow{}}, nil
}

// Share is a part of slots that leaves some to others, and at least one.
func Share(slots, numerator, denominator int) int { return max(1, slots*numerator/denominator) }

// Stats are for metrics.
type Stats struct {
	Held, Waiting int
	// Refused had no place among those who wait. It only grows.
	Refused uint64
}

// Stats returns what is held now and what happened so far.
func (s *Slots) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{s.held, s.waiting, s.refused}
}

// Enter waits for a slot, on behalf of the caller of the context (WithCaller) and
// for a provider; no name: there is only one. What it returns must be called once,
// to leave. An error that wraps core.ErrTooMany is about this caller alone.
func (s *Slots) Enter(ctx context.Context, provider string) (leave func(), err error) {
	caller := callerOf(ctx)
	f, w, err := s.begin(flowKey{provider, caller.Peer})
	if err != nil {
		return nil, err
	}
	leave = func() { s.leave(f) }
	if w == nil {
		return leave, nil
	}
	select {
	case err = <-w.ready:
	case <-ctx.Done():
		err = s.giveUp(f, w, ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	if caller.Goes != nil {
		if err := caller.Goes(ctx); err != nil {
			leave()
			return nil, err
		}
	}
	return leave, nil
}

// begin takes a slot, or returns a waiter for one.
func (s *Slots) begin(key flowKey) (*flow, *waiter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flow(key)
	if s.hasRoom(f) {
		s.hold(f, 1)
		return f, nil, nil
	}
	s.entered++
	w := &waiter{turn: s.entered, ready: make(chan error, 1)}
	s.queue(f, w)
	if s.waiting > s.options.Waiting {
		most := s.fattest(f)
		last := most.waiters[len(most.waiters)-1]
		s.unqueue(most, last)
		s.refused++
		err := s.refusal(most)
		s.forget(most)
		if last == w {
			return nil, nil, err
		}
		last.ready <- err
	}
	return f, w, nil
}

// hasRoom reports whether a flow may hold one more.
func (s *Slots) hasRoom(f *flow) bool {
	client, provider := s.options.PerClient, s.options.PerProvider
	return s.held < s.options.Slots &&
		(client == 0 || !f.key.peer.Known() || f.tallies[ofSite].held < client) &&
		(provider == 0 || f.key.provider == "" || f.tallies[ofProvider].held < provider)
}

func (s *Slots) leave(f *flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold(f, -1)
	s.forget(f)
	s.admit()
}

// admit gives free slots to those who wait.
func (s *Slots) admit() {
	for {
		f := s.thinnest()
		if f == nil {
			return
		}
		w := f.waiters[0]
		s.unqueue(f, w)
		s.hold(f, 1)
		w.ready <- nil
	}
}

// giveUp ends the wait of one whose time is over. It may have got a slot meanwhile.
func (s *Slots) giveUp(f *flow, w *waiter, cause error) error {
	s.mu.Lock()
	queued := slices.Contains(f.waiters, w)
	if queued {
		s.unqueue(f, w)
		s.forget(f)
	}
	s.mu.Unlock()
	if !queued {
		if err := <-w.ready; err != nil {
			return err
		}
		s.leave(f)
	}
	return &core.Later{Err: fmt.Errorf("%d calls are under way, and none ended in time: %w", s.options.Slots, cause), Wait: time.Second}
}

// thinnest is the flow that gets the next slot, or nil.
func (s *Slots) thinnest() (next *flow) {
	for _, f := range s.queued {
		if s.hasRoom(f) && (next == nil || f.less(next)) {
			next = f
		}
	}
	return next
}

// fattest is the flow that loses its last waiter: the newcomer's unless another
// wants more.
func (s *Slots) fattest(newcomer *flow) *flow {
	most := newcomer
	for _, f := range s.queued {
		if f.wantsMore(most) {
			most = f
		}
	}
	return most
}

// refusal says who may come back when.
func (s *Slots) refusal(f *flow) error {
	err := fmt.Errorf("%d calls are under way and %d wait", s.held, s.waiting)
	if site := f.tallies[ofSite]; f.key.peer.Known() && *site != (tally{}) {
		err = fmt.Errorf("%w: for %s, %d calls are under way and %d wait", core.ErrTooMany, f.key.peer, site.held, site.waiting)
	}
	return &core.Later{Err: err, Wait: time.Second}
}

// flow finds or makes a flow.
func (s *Slots) flow(key flowKey) *flow {
	f := s.flows[key]
	if f == nil {
		f = &flow{key: key}
		for r, p := range key.parties() {
			if s.tallies[p] == nil {
				s.tallies[p] = &tally{}
			}
			f.tallies[r] = s.tallies[p]
		}
		s.flows[key] = f
	}
	return f
}

func (k flowKey) parties() [ranks]party {
	return [ranks]party{
		ofProvider: {rank: ofProvider, provider: k.provider},
		ofSite:     {rank: ofSite, network: k.peer.site()},
		ofPeer:     {rank: ofPeer, network: k.peer.network},
	}
}

// forget drops what is about nobody any more.
func (s *Slots) forget(f *flow) {
	for r, p := range f.key.parties() {
		if *f.tallies[r] == (tally{}) {
			delete(s.tallies, p)
		}
	}
	if f.held == 0 && len(f.waiters) == 0 {
		delete(s.flows, f.key)
	}
}

func (s *Slots) hold(f *flow, more int) {
	s.held += more
	f.held += more
	for _, t := range f.tallies {
		t.held += more
	}
}

func (s *Slots) wait(f *flow, more int) {
	s.waiting += more
	for _, t := range f.tallies {
		t.waiting += more
	}
}

func (s *Slots) queue(f *flow, w *waiter) {
	if len(f.waiters) == 0 {
		s.queued = append(s.queued, f)
	}
	f.waiters = append(f.waiters, w)
	s.wait(f, 1)
}

func (s *Slots) unqueue(f *flow, w *waiter) {
	at := slices.Index(f.waiters, w)
	f.waiters = slices.Delete(f.waiters, at, at+1)
	s.wait(f, -1)
	if len(f.waiters) == 0 {
		at := slices.Index(s.queued, f)
		s.queued = slices.Delete(s.queued, at, at+1)
	}
}

// less orders by what is held, then by who waits longest.
func (f *flow) less(g *flow) bool {
	for r, t := range f.tallies {
		if other := g.tallies[r]; t.held != other.held {
			return t.held < other.held
		}
	}
	return f.waiters[0].turn < g.waiters[0].turn
}

// wantsMore orders by what is held and waited for.
func (f *flow) wantsMore(g *flow) bool {
	for r, t := range f.tallies {
		if other := g.tallies[r]; t.held+t.waiting != other.held+other.waiting {
			return t.held+t.waiting > other.held+other.waiting
		}
	}
	return false
}
