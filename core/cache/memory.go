package cache

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"weak"

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
	// Bytes of memory that they take, as far as that can be estimated.
	Bytes int
	// Evictions is how many entries were dropped to make room.
	Evictions uint64
}

// Limits bound a Memory.
type Limits struct {
	// Entries is how many are kept at most, at least 2.
	Entries int
	// Bytes is how much memory they take at most, as far as that can be
	// estimated; 0: 64 MiB. An entry that would take more than half is not kept.
	Bytes int
}

// Memory is a Store in this process with hard limits, over
// github.com/patrickmn/go-cache.
//
// go-cache has no limit of its own and finds expired items by walking over all
// of them. So there are two of them, a young generation and an old one, each
// of at most half the limits. When the young one is full, the old one is dropped
// as a whole and the young one takes its place; an entry that is used moves back
// to the young one. The same happens without need for room once all old entries
// have expired and the young generation is older than its entries live. Every
// operation takes constant time, what was used lately survives, and an expired
// entry is gone after a few times the longest life of entries.
type Memory struct {
	half      Limits
	now       func() time.Time
	mu        sync.Mutex // held while writing
	gen       atomic.Pointer[generations]
	evictions atomic.Uint64
	// renewing says that a timer is set to renew the generations.
	renewing bool
}

type generations struct{ young, old *generation }

// generation is a go-cache without its janitor goroutine: entries carry their own
// end, checked against the injected clock. Its other fields are for writers.
type generation struct {
	*gocache.Cache
	bytes   atomic.Int64
	since   time.Time
	longest time.Duration // life of an entry
	until   time.Time     // when the last entry expires
}

var _ Store = (*Memory)(nil)

const defaultBytes = 64 << 20

// NewMemory makes a store. now is the clock; nil: time.Now.
func NewMemory(l Limits, now func() time.Time) (*Memory, error) {
	if l.Bytes == 0 {
		l.Bytes = defaultBytes
	}
	if l.Entries < 2 || l.Bytes < 2*entryWeight {
		return nil, fmt.Errorf("a cache of %d entries and %d bytes: the least is 2 entries and %d bytes", l.Entries, l.Bytes, 2*entryWeight)
	}
	if now == nil {
		now = time.Now
	}
	m := &Memory{half: Limits{l.Entries / 2, l.Bytes / 2}, now: now}
	m.gen.Store(&generations{newGeneration(now()), newGeneration(now())})
	return m, nil
}

func newGeneration(since time.Time) *generation {
	return &generation{Cache: gocache.New(gocache.NoExpiration, 0), since: since}
}

// Get returns an entry that still counts. It never fails.
func (m *Memory) Get(_ context.Context, key Key) (Entry, bool, error) {
	gen := m.gen.Load()
	k, found := gen.young.lookup(key)
	if found {
		entry, found := m.current(k)
		return entry, found, nil
	}
	if k, found = gen.old.lookup(key); !found {
		return Entry{}, false, nil
	}
	entry, found := m.current(k)
	if found {
		m.keep(key, k)
	}
	return entry, found, nil
}

func (g *generation) lookup(key Key) (*kept, bool) {
	value, found := g.Get(string(key[:]))
	if !found {
		return nil, false
	}
	return value.(*kept), true // only put stores, and only this type
}

func (m *Memory) current(k *kept) (Entry, bool) {
	if !m.now().Before(k.entry.Until) {
		return Entry{}, false
	}
	return k.unpack()
}

// Set keeps an entry until its time, or until it must make room. It never fails.
func (m *Memory) Set(_ context.Context, key Key, e Entry) error {
	k := pack(e)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, k)
	return nil
}

// keep makes an old entry a young one, unless another has replaced it since it
// was read.
func (m *Memory) keep(key Key, k *kept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now, found := m.gen.Load().old.lookup(key); found && now == k {
		m.put(key, k)
	}
}

// put must be called with m.mu held.
func (m *Memory) put(key Key, k *kept) {
	now := m.now()
	gen := m.renew(now)
	gen.young.remove(key)
	gen.old.remove(key)
	if k.weight > m.half.Bytes {
		m.evictions.Add(1)
		return
	}
	young := gen.young
	if young.ItemCount() >= m.half.Entries || int(young.bytes.Load())+k.weight > m.half.Bytes {
		m.evictions.Add(uint64(gen.old.ItemCount()))
		young = m.turn(gen, now).young
	}
	young.add(key, k, now)
	m.renewLater(young.longest)
}

func (g *generation) add(key Key, k *kept, now time.Time) {
	g.longest = max(g.longest, k.entry.Until.Sub(now))
	if k.entry.Until.After(g.until) {
		g.until = k.entry.Until
	}
	g.bytes.Add(int64(k.weight))
	g.Set(string(key[:]), k, gocache.NoExpiration)
}

func (g *generation) remove(key Key) {
	if k, found := g.lookup(key); found {
		g.bytes.Add(-int64(k.weight))
		g.Delete(string(key[:]))
	}
}

// renew drops what has expired. It must be called with m.mu held.
func (m *Memory) renew(now time.Time) *generations {
	gen := m.gen.Load()
	if gen.old.ItemCount() > 0 && !now.Before(gen.old.until) {
		gen = &generations{gen.young, newGeneration(now)}
		m.gen.Store(gen)
	}
	if gen.old.ItemCount() == 0 && gen.young.ItemCount() > 0 && now.Sub(gen.young.since) > gen.young.longest {
		gen = m.turn(gen, now)
	}
	return gen
}

// turn drops the old generation and begins a young one. It must be called with
// m.mu held.
func (m *Memory) turn(gen *generations, now time.Time) *generations {
	gen = &generations{newGeneration(now), gen.young}
	m.gen.Store(gen)
	return gen
}

// renewLater renews a store into which nothing is written any more, until it is
// empty. It must be called with m.mu held.
func (m *Memory) renewLater(after time.Duration) {
	if m.renewing {
		return
	}
	m.renewing = true
	store := weak.Make(m) // a timer must not keep the store
	time.AfterFunc(max(after, time.Second)+time.Millisecond, func() {
		if m := store.Value(); m != nil {
			m.renewInTime()
		}
	})
}

func (m *Memory) renewInTime() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.renewing = false
	if gen := m.renew(m.now()); gen.young.ItemCount()+gen.old.ItemCount() > 0 {
		m.renewLater(max(gen.young.longest, gen.old.longest))
	}
}

// Stats counts entries, bytes and evictions.
func (m *Memory) Stats() StoreStats {
	gen := m.gen.Load()
	return StoreStats{
		Entries:   gen.young.ItemCount() + gen.old.ItemCount(),
		Bytes:     int(gen.young.bytes.Load() + gen.old.bytes.Load()),
		Evictions: m.evictions.Load(),
	}
}
