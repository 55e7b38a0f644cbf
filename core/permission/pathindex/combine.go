package pathindex

import (
	"slices"
	"sync/atomic"
)

// joined remembers what was made for calls that reached several places of an
// index. It has a fixed number of entries, each of which the last set of places
// with its hash holds: a client that sends all kinds of paths can cause results
// to be made again and nothing to grow.
type joined[A any] [1024]atomic.Pointer[joint[A]]

type joint[A any] struct {
	places []uint32
	result A
}

// combine returns what is made of all places that a call reached.
func (x *Index[A]) combine(h *hits) *A {
	places := h.first[:min(h.n, len(h.first))]
	if h.n > len(h.first) {
		places = append(places, h.more...)
	}
	var hash uint32 = 2166136261 // FNV-1a, over numbers instead of bytes
	for _, p := range places {
		hash = (hash ^ p) * 16777619
	}
	entry := &x.joined[(hash^hash>>16)%uint32(len(x.joined))]
	if j := entry.Load(); j != nil && slices.Equal(j.places, places) {
		return &j.result
	}
	results := make([]*A, len(places))
	for i, p := range places {
		results[i] = &x.results[p]
	}
	j := &joint[A]{slices.Clone(places), x.join(results)}
	entry.Store(j)
	return &j.result
}
