package receive

import (
	"log/slog"
	"maps"
	"sync"
	"time"
)

// Result is what became of a message, for metrics.
type Result string

// The results.
const (
	Kept     Result = "kept"            // its events are kept
	Repeated Result = "repeated"        // it came before
	Ignored  Result = "ignored"         // it has no effect
	Refused  Result = "refused"         // it does not hold
	Unknown  Result = "unauthenticated" // its sender is not known
	Limited  Result = "limited"         // there are too many
	Failed   Result = "failed"          // it could not be kept or judged
)

// Counted is a source and what became of a message of it.
type Counted struct {
	Source string
	Result Result
}

// Counters count messages. The zero value is ready.
type Counters struct {
	mu     sync.Mutex
	counts map[Counted]uint64
}

func (c *Counters) add(source string, r Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[Counted]uint64{}
	}
	c.counts[Counted{source, r}]++
}

// Counts are those so far. They only grow.
func (c *Counters) Counts() map[Counted]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

// limitedLog writes at most a line in a second, whatever strangers send.
type limitedLog struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	last    time.Time
	omitted int
}

func (l *limitedLog) warn(line string, args ...any) {
	l.mu.Lock()
	now := l.now()
	if !l.last.IsZero() && now.Sub(l.last) < time.Second {
		l.omitted++
		l.mu.Unlock()
		return
	}
	omitted := l.omitted
	l.last, l.omitted = now, 0
	l.mu.Unlock()
	l.log.Warn(line, append(args, "omitted", omitted)...)
}
