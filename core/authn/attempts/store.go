package attempts

import (
	"context"
	"errors"
	"sync"
	"time"

	"gatehouse/core/keyedhash"
)

// Key names a client or a credential, without revealing it.
type Key [keyedhash.Size]byte

// Store counts failed attempts, of clients or of credentials. Nodes may share one. A
// store that fails limits as far as the wait beside its error says.
type Store interface {
	// Count adds n failed attempts to those of a key and returns how long the key has
	// to wait for its next attempt; zero: it may go on. A zero n only asks.
	Count(ctx context.Context, k Key, n int) (wait time.Duration, err error)
	// Known is that wait as far as this node knows it, without any call.
	Known(k Key) time.Duration
	// Return takes n failed attempts of a key back on account of a good credential. The
	// caller does so once in KeepVerified for a credential; nodes that share a store do
	// so once all together.
	Return(ctx context.Context, k, credential Key, n int) error
}

// Rate is how many failed attempts are free, and the time in which that many become
// free again, one after the other.
type Rate struct {
	Count  int
	Window time.Duration
}

// each is the time after which one attempt is free again.
func (r Rate) each() time.Duration { return r.Window / time.Duration(r.Count) }

// Memory is a Store of this process.
type Memory struct {
	rate Rate
	max  int
	now  func() time.Time

	mu        sync.Mutex
	settled   map[Key]time.Time // when all attempts of a key will be free again
	swept     time.Time
	evictions uint64
}

var _ Store = (*Memory)(nil)

// NewMemory makes a store for at most so many keys that have failed of late.
func NewMemory(r Rate, keys int, now func() time.Time) (*Memory, error) {
	if r.Count < 1 || r.Window < time.Duration(r.Count) || keys < 1 {
		return nil, errors.New("a store of failed attempts needs a rate and room for a key")
	}
	if now == nil {
		now = time.Now
	}
	return &Memory{rate: r, max: keys, now: now, settled: map[Key]time.Time{}}, nil
}

// Count implements Store. What would take longer than the window to become free
// again does not count: nobody is limited for longer than one attempt takes, once it
// has stopped.
func (m *Memory) Count(_ context.Context, k Key, n int) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	settled, known := m.settled[k]
	if settled.Before(now) {
		settled = now
	}
	settled = settled.Add(time.Duration(n) * m.rate.each())
	if latest := now.Add(m.rate.Window); settled.After(latest) {
		settled = latest
	}
	switch {
	case n > 0:
		if !known {
			m.makeRoom(now)
		}
		m.settled[k] = settled
	case known && !settled.After(now):
		delete(m.settled, k)
	case known && n < 0:
		m.settled[k] = settled
	}
	return max(0, settled.Sub(now)+m.rate.each()-m.rate.Window), nil
}

// Known implements Store.
func (m *Memory) Known(k Key) time.Duration {
	wait, _ := m.Count(context.Background(), k, 0)
	return wait
}

// Return implements Store.
func (m *Memory) Return(ctx context.Context, k, _ Key, n int) error {
	_, err := m.Count(ctx, k, -n)
	return err
}

// sample is how many keys are looked at to find one with few attempts.
const sample = 16

// makeRoom drops what is settled, and if that is nothing, the key with the fewest
// attempts of some: whoever comes with many addresses pushes out such addresses,
// not those that are limited, and nobody else becomes limited by it.
func (m *Memory) makeRoom(now time.Time) {
	if len(m.settled) < m.max && now.Sub(m.swept) < m.rate.Window {
		return
	}
	if now.Sub(m.swept) >= m.rate.Window/sample {
		m.swept = now
		for k, settled := range m.settled {
			if !settled.After(now) {
				delete(m.settled, k)
			}
		}
	}
	if len(m.settled) < m.max {
		return
	}
	var fewest Key
	looked := 0
	for k, settled := range m.settled {
		if looked == 0 || settled.Before(m.settled[fewest]) {
			fewest = k
		}
		if looked++; looked == sample {
			break
		}
	}
	delete(m.settled, fewest)
	m.evictions++
}

// StoreStats are for metrics.
type StoreStats struct {
	// Keys are in the store now. Evictions made room for others; they only grow.
	Keys      int
	Evictions uint64
}

// Stats returns what is in the store and what happened so far.
func (m *Memory) Stats() StoreStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return StoreStats{len(m.settled), m.evictions}
}

// recent remembers keys for a while, at most a number of them.
type recent struct {
	max  int
	keep time.Duration

	mu         sync.Mutex
	young, old map[Key]struct{}
	since      time.Time
}

func newRecent(keys int, keep time.Duration) *recent {
	return &recent{max: keys, keep: keep, young: map[Key]struct{}{}}
}

// add remembers a key, and reports whether it was not known.
func (r *recent) add(k Key, now time.Time) (isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	_, isYoung := r.young[k]
	_, isOld := r.old[k]
	if len(r.young) >= r.max {
		r.young, r.old, r.since = map[Key]struct{}{}, r.young, now
	}
	r.young[k] = struct{}{}
	return !isYoung && !isOld
}

func (r *recent) has(k Key, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	_, isYoung := r.young[k]
	_, isOld := r.old[k]
	return isYoung || isOld
}

func (r *recent) remove(k Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.young, k)
	delete(r.old, k)
}

// turn forgets what is too old. It must be called with r.mu held.
func (r *recent) turn(now time.Time) {
	if now.Sub(r.since) >= 2*r.keep {
		r.young = map[Key]struct{}{}
	}
	if now.Sub(r.since) >= r.keep {
		r.young, r.old, r.since = map[Key]struct{}{}, r.young, now
	}
}
