package live

import (
	"sync"
	"time"
)

// Condition is the State of a source while that changes. The zero value says that all is
// well.
type Condition struct {
	mu    sync.Mutex
	state State
}

// State is the state now.
func (c *Condition) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Confirmed notes that the source says itself what it holds, and reports whether a copy
// was in use until then.
func (c *Condition) Confirmed() (wasCopy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wasCopy = !c.state.Copy.IsZero()
	c.state = State{}
	return wasCopy
}

// Failed notes that the source cannot be read.
func (c *Condition) Failed(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Failing.IsZero() {
		c.state.Failing = now
	}
}

// Copied notes that the table comes from a copy of that time.
func (c *Condition) Copied(saved time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Copy = saved
}
