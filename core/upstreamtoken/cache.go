package upstreamtoken

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse/core"
	"gatehouse/core/keyedhash"
)

// Token is what a service gets.
type Token struct {
	Value string
	// Expiry is when it ends, and Life how long one lives whose credential does not end
	// before it.
	Expiry time.Time
	Life   time.Duration
	// Refusal is why there is none, which is remembered until Expiry; nil: there is one.
	Refusal error
}

// fits reports whether a token is of use to a caller whose credential ends at a moment.
// It ends no later than the credential, and is renewed when a fifth of its life is left,
// unless a new one would end at the same time. One whose credential ended soon is not for
// a caller whose credential lasts.
func (t Token) fits(now, end time.Time) bool {
	left := t.Expiry.Sub(now)
	switch {
	case left <= 0 || t.Expiry.After(end):
		return false
	case t.Refusal != nil || !end.Truncate(time.Second).After(t.Expiry):
		return true
	}
	return left > t.Life/5
}

// Limits bound a cache.
type Limits struct {
	// Entries is how many tokens are kept at most, and Bytes how much memory they take.
	Entries, Bytes int
}

// Key names a token by everything that it depends on.
type Key [keyedhash.Size]byte

// Cache keeps tokens until shortly before they end. It has two generations, each of at
// most half the limits: when the young one is full it becomes the old one, and what is
// used there moves back. It is safe for concurrent use.
type Cache struct {
	half    Limits
	timeout time.Duration
	now     func() time.Time

	mu         sync.RWMutex
	young, old map[Key]Token
	bytes      int // of the young ones

	flights singleflight.Group
}

// NewCache makes a cache; no call to make a token takes longer than the timeout.
func NewCache(l Limits, timeout time.Duration, now func() time.Time) *Cache {
	return &Cache{half: Limits{max(1, l.Entries/2), max(1, l.Bytes/2)}, timeout: timeout, now: now, young: map[Key]Token{}}
}

// Make has the token of a key made. Callers with one key share a call of make, which
// goes on when one of them goes away.
func (c *Cache) Make(ctx context.Context, key Key, end time.Time, make func(context.Context) (Token, error)) (Token, error) {
	done := c.flights.DoChan(flight(key, end), func() (any, error) { return c.make(ctx, key, end, make) })
	select {
	case r := <-done:
		if r.Err != nil {
			return Token{}, r.Err
		}
		t := r.Val.(Token)
		return t, t.Refusal
	case <-ctx.Done():
		return Token{}, fmt.Errorf("the token for the service was not made in time: %w", ctx.Err())
	}
}

// flight tells callers apart whose credentials end at different times: what is made for
// one must not outlive that of the other.
func flight(key Key, end time.Time) string {
	return string(key[:]) + end.UTC().Format(time.RFC3339Nano)
}

func (c *Cache) make(ctx context.Context, key Key, end time.Time, make func(context.Context) (Token, error)) (t Token, err error) {
	defer func() { // it runs on a goroutine of its own, where a panic would end the process
		if v := recover(); v != nil {
			t, err = Token{}, errors.New("panic while making a token for a service: "+core.Thrown(v))
		}
	}()
	if t, known := c.Get(key, end); known { // another call was made since the caller looked
		return t, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	defer cancel()
	if t, err = make(ctx); err != nil {
		return Token{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(key, t)
	return t, nil
}

// Get returns the token of a key for a caller whose credential ends at a moment.
func (c *Cache) Get(key Key, end time.Time) (Token, bool) {
	c.mu.RLock()
	t, young := c.young[key]
	found := young
	if !young {
		t, found = c.old[key]
	}
	c.mu.RUnlock()
	if !found || !t.fits(c.now(), end) {
		return Token{}, false
	}
	if !young {
		c.mu.Lock()
		c.put(key, t)
		c.mu.Unlock()
	}
	return t, true
}

// entryBytes is about what an entry takes beside its text.
const entryBytes = 160

// put must be called with c.mu held.
func (c *Cache) put(key Key, t Token) {
	size := entryBytes + len(t.Value)
	if len(c.young) >= c.half.Entries || c.bytes+size > c.half.Bytes {
		c.old, c.young, c.bytes = c.young, map[Key]Token{}, 0
	}
	if size > c.half.Bytes {
		return
	}
	if before, known := c.young[key]; known {
		c.bytes -= entryBytes + len(before.Value)
	}
	c.young[key] = t
	c.bytes += size
}
