package runner

import (
	"context"
	"sync"
	"time"
)

// callContext is the context of one call. It becomes a real one, with a timer,
// only when somebody waits for its end, which a decision from memory does not.
type callContext struct {
	deadline time.Time
	mu       sync.Mutex
	real     context.Context
	cancel   context.CancelFunc
	// err is set once the context has ended.
	err error
}

var _ context.Context = (*callContext)(nil)

func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done makes the real context.
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil {
		c.real, c.cancel = context.WithDeadline(context.Background(), c.deadline)
		if c.err != nil {
			c.cancel()
		}
	}
	return c.real.Done()
}

func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real != nil {
		return c.real.Err()
	}
	if c.err == nil && !time.Now().Before(c.deadline) {
		c.err = context.DeadlineExceeded
	}
	return c.err
}

// Value leads a context that is derived from this one to the real one, which
// ends it without a goroutine.
func (c *callContext) Value(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil {
		return nil
	}
	return c.real.Value(key)
}

func (c *callContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = context.Canceled
	}
	if c.cancel != nil {
		c.cancel()
	}
}
