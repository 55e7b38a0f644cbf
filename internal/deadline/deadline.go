// Package deadline makes the contexts of decisions, most of which wait for nothing.
package deadline

import (
	"context"
	"sync"
	"time"
)

// Context is the context of one call. It becomes a real one, with a timer,
// only when somebody waits for its end, which a decision from memory does not.
type Context struct {
	parent   context.Context
	deadline time.Time
	mu       sync.Mutex
	real     context.Context
	cancel   context.CancelFunc
	// err is set once the context has ended.
	err error
}

var _ context.Context = (*Context)(nil)

// At is a context that ends at a time, and with its parent once somebody waits.
func At(parent context.Context, t time.Time) Context { return Context{parent: parent, deadline: t} }

// Deadline is when the context ends.
func (c *Context) Deadline() (time.Time, bool) { return c.deadline, true }

// Done makes the real context.
func (c *Context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil {
		c.real, c.cancel = context.WithDeadline(c.parent, c.deadline)
		if c.err != nil {
			c.cancel()
		}
	}
	return c.real.Done()
}

// Err is not nil once the context has ended.
func (c *Context) Err() error {
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
func (c *Context) Value(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil {
		return nil
	}
	return c.real.Value(key)
}

// End ends the context, whose call is over.
func (c *Context) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = context.Canceled
	}
	if c.cancel != nil {
		c.cancel()
	}
}
