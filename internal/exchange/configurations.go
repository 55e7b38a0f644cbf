package exchange

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/core/config"
)

// Bounds of the configurations that are kept. One that has not been used for a while is
// forgotten: the gateway has another, or hands it over again.
const (
	maxConfigurations = 1 << 16
	unusedTime        = 2 * time.Hour
)

// configurations holds by name what clients have handed over.
type configurations struct {
	load    func([]byte) (*config.Followed, error)
	routeOf func([]byte) string
	now     func() time.Time

	mu     sync.RWMutex
	byName map[name]*configuration
	swept  time.Time
}

// configuration denies every request if err is set.
type configuration struct {
	followed *config.Followed
	err      error
	// route is what the gateway has attached it to; empty: it does not say.
	route string
	// used is when it was last used, in Unix nanoseconds.
	used atomic.Int64
}

// current is what is in use of it.
func (c *configuration) current() (*config.Current, error) {
	if c.err != nil {
		return nil, c.err
	}
	return c.followed.Current()
}

// get returns nil for a name that stands for nothing.
func (c *configurations) get(n name) *configuration {
	c.mu.RLock()
	found := c.byName[n]
	c.mu.RUnlock()
	if found != nil {
		found.used.Store(c.now().UnixNano())
	}
	return found
}

// add loads what is not there, or did not load.
func (c *configurations) add(text []byte) (name, error) {
	n := name(sha256.Sum256(text))
	if found := c.get(n); found != nil && found.err == nil {
		return n, nil
	}
	made := &configuration{}
	made.followed, made.err = c.load(text)
	if c.routeOf != nil {
		made.route = c.routeOf(text)
	}
	made.used.Store(c.now().UnixNano())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep()
	c.byName[n] = made
	return n, made.err
}

// sweep forgets what has not been used, and more than that only where there is no room.
// It must be called with c.mu held.
func (c *configurations) sweep() {
	now := c.now()
	if now.Sub(c.swept) < unusedTime/16 && len(c.byName) < maxConfigurations {
		return
	}
	c.swept = now
	oldest, since := name{}, now.UnixNano()
	for n, kept := range c.byName {
		used := kept.used.Load()
		if used < now.Add(-unusedTime).UnixNano() {
			delete(c.byName, n)
		} else if used <= since {
			oldest, since = n, used
		}
	}
	if len(c.byName) >= maxConfigurations {
		delete(c.byName, oldest)
	}
}
