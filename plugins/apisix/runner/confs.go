package runner

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// routeConf is the loaded plugins of one route, in order.
type routeConf struct {
	plugins []loadedPlugin
	// denied is set when any part of the config does not load.
	denied bool
}

type loadedPlugin struct {
	Plugin
	name string
	conf any
}

// confs holds the loaded configs by token, for as long as APISIX may use them.
type confs struct {
	load   func(prepareConf) *routeConf
	expire time.Duration
	limit  int
	now    func() time.Time
	tokens *tokens
	// loading makes one load of requests for the same config at the same time.
	loading singleflight.Group

	mu       sync.RWMutex
	byToken  map[uint32]*confEntry
	byDigest map[digest]*confEntry
}

type confEntry struct {
	token  uint32
	digest digest
	conf   *routeConf
	// used is when it was last used, in Unix nanoseconds.
	used atomic.Int64
}

type digest [sha256.Size]byte

func newConfs(o *options, load func(prepareConf) *routeConf) *confs {
	return &confs{
		load:     load,
		expire:   confLifetime(o.confExpire),
		limit:    o.maxConfs,
		now:      o.now,
		tokens:   newTokens(o.now, o.confExpire),
		byToken:  map[uint32]*confEntry{},
		byDigest: map[digest]*confEntry{},
	}
}

// confLifetime is how long a config is kept after its last use. APISIX keeps a
// token in shared memory for 0.9 times its expiry, and each worker that reads
// it there for once the expiry more.
func confLifetime(expire time.Duration) time.Duration { return 2 * expire }

// find returns nil for a token that means nothing, here and now.
func (c *confs) find(token uint32, now time.Time) *routeConf {
	c.mu.RLock()
	e := c.byToken[token]
	c.mu.RUnlock()
	if e == nil || !e.alive(c.expire, now) {
		return nil
	}
	return e.conf
}

// alive reports whether the entry has not expired, and counts as a use then.
func (e *confEntry) alive(expire time.Duration, now time.Time) bool {
	nanos := now.UnixNano()
	if nanos-e.used.Load() > int64(expire) {
		return false
	}
	e.used.Store(nanos)
	return true
}

// prepare loads a config and returns its token. The same key and content keep
// the token that they have. The stock library goes by the key alone.
func (c *confs) prepare(msg prepareConf) (uint32, error) {
	d := digestOf(msg)
	if token, ok := c.known(d); ok {
		return token, nil
	}
	token, err, _ := c.loading.Do(string(d[:]), func() (any, error) {
		if token, ok := c.known(d); ok {
			return token, nil
		}
		return c.add(d, c.load(msg))
	})
	if err != nil {
		return 0, err
	}
	return token.(uint32), nil
}

func (c *confs) known(d digest) (token uint32, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e := c.byDigest[d]
	if e == nil || !e.alive(c.expire, c.now()) {
		return 0, false
	}
	return e.token, true
}

func (c *confs) add(d digest, conf *routeConf) (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.byDigest[d]; old != nil {
		c.remove(old)
	}
	if len(c.byToken) >= c.limit {
		c.remove(c.leastUsed())
	}
	token, err := c.tokens.issue(func(t uint32) bool { return c.byToken[t] != nil })
	if err != nil {
		return 0, err
	}
	e := &confEntry{token: token, digest: d, conf: conf}
	e.used.Store(c.now().UnixNano())
	c.byToken[token], c.byDigest[d] = e, e
	return token, nil
}

func (c *confs) remove(e *confEntry) {
	delete(c.byToken, e.token)
	delete(c.byDigest, e.digest)
}

func (c *confs) leastUsed() *confEntry {
	var oldest *confEntry
	for _, e := range c.byToken {
		if oldest == nil || e.used.Load() < oldest.used.Load() {
			oldest = e
		}
	}
	return oldest
}

// sweep forgets what has expired.
func (c *confs) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := c.now().Add(-c.expire).UnixNano()
	for _, e := range c.byToken {
		if e.used.Load() < oldest {
			c.remove(e)
		}
	}
}

// digestOf stands for key and content, each part with its length.
func digestOf(msg prepareConf) (d digest) {
	h := sha256.New()
	part := func(s string) {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	part(msg.key)
	for _, e := range msg.conf {
		part(e.name)
		part(e.value)
	}
	h.Sum(d[:0])
	return d
}
