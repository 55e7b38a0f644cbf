// Package secondrun gives the second run of a request what the first one got.
//
// A gateway that lost the reply to a request may ask once more. A decision made again is
// the same, but an act that counts once is not: a code is redeemed, a session has ended, a
// token was rotated, an attempt has been counted. Such an act is kept here by the name of
// the run, which is that of the gateway: no client can choose it.
//
// What is kept is in the memory of the process. The second run of a request comes to the
// process of the first one, unless that has ended; and one that ended before it could
// reply would not have kept the result anywhere else either.
package secondrun

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	"gatehouse/core"
	"gatehouse/core/keyedhash"
)

// KeepFor is how long a result is kept. A gateway waits for a minute at most.
const KeepFor = time.Minute

// Key names all runs of one request.
type Key [keyedhash.Size]byte

// Name returns the name that all runs of a request have in common: that of the gateway
// together with everything that the request says, and with more where that depends on
// something else. Without a name of the gateway's own it is not known, and every run is a
// request of its own.
func Name(h *keyedhash.Hash, r *core.Request, more ...string) (k Key, known bool) {
	id := r.GatewayID()
	if id == "" {
		return k, false
	}
	lines := slices.Clone(r.Header) // of which a gateway keeps the order of those of one name
	slices.SortStableFunc(lines, func(a, b core.Header) int { return cmp.Compare(a.Name, b.Name) })
	parts := append(make([]string, 0, 6+2*len(lines)+len(more)), id, r.Method, r.Target, r.Parameter.Value, r.Host, strconv.Itoa(len(lines)))
	for _, line := range lines {
		parts = append(parts, line.Name, line.Value)
	}
	return h.Sum(append(parts, more...)...), true
}

// Results are kept for a while, and no more of them than there is room for. They are safe
// for concurrent use.
type Results[V any] struct {
	// room is how many there can be, and how much they can weigh together.
	room, weight int

	mu    sync.Mutex
	by    map[Key]result[V]
	order []Key // in which they were put
	sum   int
	timer *time.Timer // nil: there are none
}

type result[V any] struct {
	value  V
	weight int
	until  time.Time
}

// NewResults has room for so many results, which weigh so much together.
func NewResults[V any](room, weight int) *Results[V] {
	return &Results[V]{room: room, weight: weight, by: map[Key]result[V]{}}
}

// Get returns the result of a run of the same request.
func (r *Results[V]) Get(k Key) (value V, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept, found := r.by[k]
	return kept.value, found
}

// Put keeps the first result of a request, and drops the oldest of others where there is no
// room. It reports whether it is the first one.
func (r *Results[V]) Put(k Key, value V, weight int) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, again := r.by[k]; again {
		return false
	}
	for len(r.order) > 0 && (len(r.order) >= r.room || r.sum+weight > r.weight) {
		r.drop()
	}
	if weight > r.weight {
		return true
	}
	r.by[k] = result[V]{value, weight, time.Now().Add(KeepFor)}
	r.order, r.sum = append(r.order, k), r.sum+weight
	if r.timer == nil {
		r.timer = time.AfterFunc(KeepFor, r.expire)
	}
	return true
}

// drop forgets the oldest one. It must be called with r.mu held.
func (r *Results[V]) drop() {
	oldest := r.order[0]
	r.sum -= r.by[oldest].weight
	delete(r.by, oldest)
	r.order = r.order[1:]
}

// expire forgets what is over: results hold tokens, and nobody may come any more.
func (r *Results[V]) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for len(r.order) > 0 && !r.by[r.order[0]].until.After(now) {
		r.drop()
	}
	if r.timer = nil; len(r.order) > 0 {
		r.timer = time.AfterFunc(r.by[r.order[0]].until.Sub(now), r.expire)
	}
}
