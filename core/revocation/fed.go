package revocation

import (
	"cmp"
	"log/slog"
	"sync/atomic"
	"time"
)

// Fed is a List as a feed fills it, such as a stream that all nodes read.
type Fed interface {
	// Add keeps events, all or none of them.
	Add(events ...Event) error
	// All are the events in force.
	All() []Event
	// Current says that the list holds all that was published until now, Blind that new
	// events do not come, and Lost that some may have been missed, none of them later than
	// the given time ago.
	Current()
	Blind(cause error)
	Lost(cause error, ago time.Duration)
}

var _ Fed = (*List)(nil)

// Reader is a Fed that somebody reads once, to show what is there.
type Reader struct {
	*List
	lost error
}

var _ Fed = (*Reader)(nil)

// NewReader makes an empty one.
func NewReader() *Reader {
	return &Reader{List: New(Options{Fed: true, MaxEvents: maxRead})}
}

// maxRead is the greatest max_events.
const maxRead = 10_000_000

// Lost remembers why not all can be read.
func (r *Reader) Lost(cause error, _ time.Duration) { r.lost = cause }

// Events are those that were read, with why they are not all.
func (r *Reader) Events(err error) ([]Event, error) { return r.All(), cmp.Or(err, r.lost) }

// Inflow is whether events come in by a feed, and why they do not. Until it is told, they
// do.
type Inflow struct {
	problem atomic.Pointer[error]
	last    atomic.Int64 // when something came in, or nothing was new, in nanoseconds
}

// Tell keeps why nothing comes in by a feed, nil where something does, and logs each
// reason once.
func (i *Inflow) Tell(log *slog.Logger, feed string, err error) {
	before := i.problem.Swap(&err)
	if err == nil {
		i.last.Store(time.Now().UnixNano())
	}
	switch {
	case err == nil && before != nil && *before != nil:
		log.Info("revocations come in by " + feed)
	case err != nil && (before == nil || *before == nil || (*before).Error() != err.Error()):
		log.Error("revocations do not come in by "+feed, "error", err)
	}
}

// Last is when the feed had brought all last; zero: never.
func (i *Inflow) Last() time.Time {
	if last := i.last.Load(); last != 0 {
		return time.Unix(0, last)
	}
	return time.Time{}
}

// Problem is why events do not come in, or nil.
func (i *Inflow) Problem() error {
	if p := i.problem.Load(); p != nil {
		return *p
	}
	return nil
}
