package spiffe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// cell holds one kind of authorities of one trust domain, as they are now.
type cell[T any] struct {
	what  string // for errors and the log
	shown func(T) string
	same  func(a, b T) bool
	// changed is called once other authorities count.
	changed func()
	// maxStale is how long the last good ones count after they were last confirmed.
	maxStale time.Duration
	log      *slog.Logger
	now      func() time.Time

	mu    sync.Mutex // of those who write
	state atomic.Pointer[cellState[T]]
	first chan struct{} // closed once the first attempt has ended
	once  sync.Once
}

type cellState[T any] struct {
	has       bool
	value     T
	confirmed time.Time
	err       error // of the last attempt
}

var errNoAttempt = errors.New("they have not been read yet")

func (c *cell[T]) init() *cell[T] {
	c.first = make(chan struct{})
	c.state.Store(&cellState[T]{err: errNoAttempt})
	return c
}

// confirm notes what counts now.
func (c *cell[T]) confirm(value T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.state.Load()
	other := !before.has || !c.same(before.value, value)
	if !other {
		value = before.value
	}
	c.state.Store(&cellState[T]{has: true, value: value, confirmed: c.now()})
	if other || before.err != nil {
		c.log.Info("trust bundle in force", "of", c.what, "authorities", c.shown(value))
	}
	if other {
		c.changed()
	}
	c.once.Do(func() { close(c.first) })
}

// fail notes that nothing newer could be had.
func (c *cell[T]) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := *c.state.Load()
	if before := next.err; before == nil || before.Error() != err.Error() {
		c.log.Warn("trust bundle cannot be renewed", "of", c.what, "error", err.Error(), "last_good", next.has, "max_stale", c.maxStale.String())
	}
	next.err = err
	c.state.Store(&next)
	c.once.Do(func() { close(c.first) })
}

// get returns what counts now. The error does not wrap core.ErrInvalid: nobody can tell
// then whether an SVID holds.
func (c *cell[T]) get(ctx context.Context) (value T, err error) {
	select {
	case <-c.first:
	default:
		select {
		case <-c.first:
		case <-ctx.Done():
			return value, fmt.Errorf("the authorities of %s: %w", c.what, errNoAttempt)
		}
	}
	s := c.state.Load()
	switch {
	case !s.has:
		return value, fmt.Errorf("the authorities of %s are not known: %w", c.what, s.err)
	case c.now().Sub(s.confirmed) > c.maxStale:
		return value, fmt.Errorf("the authorities of %s were last confirmed at %s and are not believed any more: %w", c.what, s.confirmed.UTC().Format(time.RFC3339), stale(s.err))
	}
	return s.value, nil
}

func stale(err error) error {
	if err == nil {
		return errors.New("their source has not responded since")
	}
	return err
}

// until is when what counts now stops to, unless it is confirmed.
func (c *cell[T]) until() time.Time { return c.state.Load().confirmed.Add(c.maxStale) }
