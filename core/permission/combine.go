package permission

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// combinations remembers the answers for calls that reached several places of
// an index. It has a fixed number of entries, each of which the last
// combination with its hash holds: a stranger who sends all kinds of paths can
// make answers be worked out again and nothing grow.
type combinations [1024]atomic.Pointer[combination]

type combination struct {
	places []uint32
	access Access
}

// combine returns the answer for all places that were hit.
func (x *index) combine(h *hits) *Access {
	places := h.first[:min(h.n, len(h.first))]
	if h.n > len(h.first) {
		places = append(places, h.more...)
	}
	var hash uint32 = 2166136261 // FNV-1a, over numbers instead of bytes
	for _, p := range places {
		hash = (hash ^ p) * 16777619
	}
	entry := &x.combined[(hash^hash>>16)%uint32(len(x.combined))]
	if c := entry.Load(); c != nil && slices.Equal(c.places, places) {
		return &c.access
	}
	c := &combination{slices.Clone(places), x.union(places)}
	entry.Store(c)
	return &c.access
}

// union joins the activities of several places, each once and in order.
func (x *index) union(places []uint32) Access {
	var matched []*activity
	for _, p := range places {
		matched = append(matched, x.accesses[p].matched...)
	}
	slices.SortFunc(matched, func(a, b *activity) int { return cmp.Compare(a.order, b.order) })
	return newAccess(x.accesses[places[0]].table, slices.Compact(matched))
}
