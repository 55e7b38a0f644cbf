package cache

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	gocache "github.com/patrickmn/go-cache"

	"gatehouse/core"
)

// Key identifies a result: a keyed hash, so it can stand in any store.
type Key [32]byte

// Entry is what is known about a credential. It does not change.
type Entry struct {
	// Principal is nil when the credential does not hold.
	Principal *core.Principal
	// Refusal says, for the log, why it does not.
	Refusal string
	// Since is when this was learned.
	Since time.Time
	// Until is the first moment at which the entry does not count any more.
	Until time.Time
}

// Store keeps entries, in this process or for several. It never returns an entry
// after its time. It is safe for concurrent use and respects the context, whose
// time may be short. An error says that the store failed; to its users that is
// a miss.
type Store interface {
	Get(ctx context.Context, key Key) (e Entry, found bool, err error)
	Set(ctx context.Context, key Key, e Entry) error
	Stats() StoreStats
}

// StoreStats are for metrics.
type StoreStats struct {
	// Entries that are held now, some perhaps past their time.
	Entries int
	// Evictions is how many entries were dropped to make room.
	Evictions uint64
}

// Memory is a Store in this process with a hard limit on entries, over
// github.com/patrickmn/go-cache.
//
// go-cache has no limit of its own and finds expired items by walking over all
// of them. So there are two of them, a young generation and an old one, each
// of at most half the limit. When the young one is full, the old one is
// dropped as a whole and the young one takes its place; an entry that is used
// moves back to the young one. Every operation takes constant time, nothing
// runs in the background, and what was used lately survives.
type Memory struct {
	half      int
	now       func() time.Time
	mu        sync.Mutex // held while writing
	gen       atomic.Pointer[generations]
	evictions atomic.Uint64
}

type generations struct{ young, old *gocache.Cache }

var _ Store = (*Memory)(nil)

// NewMemory makes a store of at most limit entries, which is at least 2. now
// is the clock; nil: time.Now.
func NewMemory(limit int, now func() time.Time) (*Memory, error) {
	if limit < 2 {
		return nil, fmt.Errorf("a cache of %d entries: the least is 2", limit)
	}
	if now == nil {
		now = time.Now
	}
	m := &Memory{half: limit / 2, now: now}
	m.gen.Store(&generations{young: newGeneration(), old: newGeneration()})
	return m, nil
}

// newGeneration makes a go-cache without its janitor goroutine: entries carry
// their own end, checked against the injected clock.
func newGeneration() *gocache.Cache { return gocache.New(gocache.NoExpiration, 0) }

// Get returns an entry that still counts. It never fails.
func (m *Memory) Get(_ context.Context, key Key) (Entry, bool, error) {
	gen := m.gen.Load()
	e, found := lookup(gen.young, key)
	if found {
		entry, found := m.current(e)
		return entry, found, nil
	}
	if e, found = lookup(gen.old, key); !found {
		return Entry{}, false, nil
	}
	entry, found := m.current(e)
	if found {
		m.keep(key, e)
	}
	return entry, found, nil
}

func lookup(c *gocache.Cache, key Key) (*Entry, bool) {
	value, found := c.Get(string(key[:]))
	if !found {
		return nil, false
	}
	return value.(*Entry), true // only put stores, and only this type
}

func (m *Memory) current(e *Entry) (Entry, bool) {
	if !m.now().Before(e.Until) {
		return Entry{}, false
	}
	return *e, true
}

// Set keeps an entry until its time, or until it must make room. It never fails.
func (m *Memory) Set(_ context.Context, key Key, e Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, &e)
	return nil
}

// keep makes an old entry a young one, unless another has replaced it since it
// was read.
func (m *Memory) keep(key Key, e *Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now, found := lookup(m.gen.Load().old, key); found && now == e {
		m.put(key, e)
	}
}

// put must be called with m.mu held.
func (m *Memory) put(key Key, e *Entry) {
	gen := m.gen.Load()
	if gen.young.ItemCount() >= m.half {
		m.evictions.Add(uint64(gen.old.ItemCount()))
		gen = &generations{young: newGeneration(), old: gen.young}
		m.gen.Store(gen)
	}
	gen.young.Set(string(key[:]), e, gocache.NoExpiration)
	gen.old.Delete(string(key[:]))
}

// Stats counts entries and evictions.
func (m *Memory) Stats() StoreStats {
	gen := m.gen.Load()
	return StoreStats{
		Entries:   gen.young.ItemCount() + gen.old.ItemCount(),
		Evictions: m.evictions.Load(),
	}
}
