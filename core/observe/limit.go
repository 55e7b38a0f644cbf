package observe

import (
	"sync"
	"time"
)

// perSecond is how many refusals of callers that nobody knows have a line in one
// second: more than a person can read, and few enough that a flood of them costs no
// more than a decision each.
const perSecond = 100

// limit counts what it leaves out.
type limit struct {
	now func() time.Time

	mu      sync.Mutex
	since   time.Time
	taken   int
	leftOut int
}

// take reports whether one more may have a line, and how many before it had none.
func (l *limit) take() (leftOut int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); now.Sub(l.since) >= time.Second || now.Before(l.since) {
		l.since, l.taken = now, 0
	}
	if l.taken >= perSecond {
		l.leftOut++
		return 0, false
	}
	l.taken++
	leftOut, l.leftOut = l.leftOut, 0
	return leftOut, true
}
