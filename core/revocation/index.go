package revocation

import (
	"container/heap"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// item is an event in an index.
type item struct {
	Event
	place int // among the ends
	// heard is when this node learned of it, by its own clock.
	heard time.Time
}

// named are the events about one name, of several issuers.
type named map[string][]*item

// index finds events by what they name and by when they end. Two events about the
// same are one.
type index struct {
	sessions, subjects, clients, tokens, issuers named

	ends ends
	// digests are those of tokens by which events name them.
	digests map[sum]int
}

// sum is a digest before it is written.
type sum [sha256.Size]byte

func newIndex() *index {
	return &index{sessions: named{}, subjects: named{}, clients: named{}, tokens: named{}, issuers: named{}, digests: map[sum]int{}}
}

// of are the events that are found as one is, and the name that it has there.
func (x *index) of(e Event) (named, string) {
	switch e.Kind {
	case Session:
		return x.sessions, e.Value
	case Subject:
		return x.subjects, e.Value
	case Client:
		return x.clients, e.Value
	case Token:
		return x.tokens, e.Value
	case Issuer:
		return x.issuers, e.Issuer
	}
	return nil, "" // Event.Check has refused it
}

func (x *index) find(e Event) *item {
	events, name := x.of(e)
	for _, i := range events[name] {
		if i.Issuer == e.Issuer && i.Verify == e.Verify {
			return i
		}
	}
	return nil
}

// add reports whether more is revoked than before.
func (x *index) add(e Event, now time.Time) (more bool) {
	if i := x.find(e); i != nil {
		before := i.Event
		i.Event = before.with(e)
		heap.Fix(&x.ends, i.place)
		if !i.At.Equal(before.At) {
			i.heard = now
		}
		return !i.At.Equal(before.At) || !i.Until.Equal(before.Until)
	}
	i := &item{Event: e, heard: now}
	events, name := x.of(e)
	events[name] = append(events[name], i)
	heap.Push(&x.ends, i)
	x.count(e, 1)
	return true
}

// expire removes what has ended.
func (x *index) expire(now time.Time) {
	for len(x.ends) > 0 && !x.ends[0].Until.After(now) {
		i := heap.Pop(&x.ends).(*item)
		events, name := x.of(i.Event)
		events[name] = slices.DeleteFunc(events[name], func(other *item) bool { return other == i })
		if len(events[name]) == 0 {
			delete(events, name)
		}
		x.count(i.Event, -1)
	}
}

// count keeps digests so that nothing has to be written out to look one up.
func (x *index) count(e Event, n int) {
	var d sum
	if e.Kind != Token || !isDigest(e.Value) {
		return
	}
	if size, err := hex.Decode(d[:], []byte(e.Value[len(digestPrefix):])); err != nil || size != len(d) {
		return // Event.Check has refused it
	}
	if x.digests[d] += n; x.digests[d] == 0 {
		delete(x.digests, d)
	}
}

// all are the events, in no order.
func (x *index) all() []Event {
	all := make([]Event, len(x.ends))
	for n, i := range x.ends {
		all[n] = i.Event
	}
	return all
}

// ends is a heap of events: what ends first is first.
type ends []*item

var _ heap.Interface = (*ends)(nil)

func (h ends) Len() int           { return len(h) }
func (h ends) Less(a, b int) bool { return h[a].Until.Before(h[b].Until) }
func (h ends) Swap(a, b int) {
	h[a], h[b] = h[b], h[a]
	h[a].place, h[b].place = a, b
}

// Push adds an item at the end.
func (h *ends) Push(v any) {
	i := v.(*item)
	i.place = len(*h)
	*h = append(*h, i)
}

// Pop removes the item at the end.
func (h *ends) Pop() any {
	last := len(*h) - 1
	i := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return i
}
