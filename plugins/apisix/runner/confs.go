package runner

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// routeConf is the loaded plugins of one route, in order.
type routeConf struct {
	plugins []loadedPlugin
	// route is the id of the route, as far as APISIX tells it.
	route string
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
	// tokenLife is how long a token is good for. Then APISIX sends the config again.
	tokenLife time.Duration
	limit     int
	now       func() time.Time
	tokens    *tokens
	// loading makes one load of requests for the same config at the same time.
	loading singleflight.Group

	mu       sync.RWMutex
	byToken  map[uint32]issued
	byDigest map[digest]*confEntry
}

// issued is what a token stands for, and since when.
type issued struct {
	*confEntry
	at time.Time
}

type confEntry struct {
	digest digest
	conf   *routeConf
	// tokens are those that were issued for it, the newest last.
	tokens []uint32
	// used is when it was last used, in Unix nanoseconds.
	used atomic.Int64
}

type digest [sha256.Size]byte

func newConfs(o *options, load func(prepareConf) *routeConf) *confs {
	return &confs{
		load:      load,
		expire:    confLifetime(o.confExpire),
		tokenLife: tokenLifetime(o.confExpire),
		limit:     o.maxConfs,
		now:       o.now,
		tokens:    newTokens(o.now, o.confExpire),
		byToken:   map[uint32]issued{},
		byDigest:  map[digest]*confEntry{},
	}
}

// confLifetime is how long a config is kept after its last use. APISIX keeps a
// token in shared memory for 0.9 times its expiry, and each worker that reads
// it there for once the expiry more.
func confLifetime(expire time.Duration) time.Duration { return 2 * expire }

// tokenLifetime is how long a token is good for: 5 minutes of an hour. APISIX
// remembers a token for a route and the version of its configuration, which is the
// time at which apisix.yaml was modified. It would go on with it for hours where that
// time comes again: in a file that is put back with its old time, say, but with another
// content. An unknown token makes it send what it has now.
func tokenLifetime(expire time.Duration) time.Duration { return max(expire/12, time.Second) }

// find returns nil for a token that means nothing, here and now.
func (c *confs) find(token uint32, now time.Time) *routeConf {
	c.mu.RLock()
	t, known := c.byToken[token]
	c.mu.RUnlock()
	if !known || now.Sub(t.at) > c.tokenLife || !t.alive(c.expire, now) {
		return nil
	}
	return t.conf
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

// prepare loads a config and returns a token for it. The same key and content keep
// the token that they have for a while, and are not loaded again unless they did not
// load. The stock library goes by the key alone.
func (c *confs) prepare(msg prepareConf) (uint32, error) {
	d := digestOf(msg)
	if _, token := c.known(d); token != 0 {
		return token, nil
	}
	token, err, _ := c.loading.Do(string(d[:]), func() (any, error) {
		e, token := c.known(d)
		switch {
		case token != 0:
			return token, nil
		case e != nil && !e.conf.denied:
			return c.issue(e)
		}
		return c.add(d, c.load(msg))
	})
	if err != nil {
		return 0, err
	}
	return token.(uint32), nil
}

// known returns the entry of a config, if there is one, and its token, if that is good
// for long enough.
func (c *confs) known(d digest) (*confEntry, uint32) {
	now := c.now()
	c.mu.RLock()
	defer c.mu.RUnlock()
	e := c.byDigest[d]
	if e == nil || !e.alive(c.expire, now) {
		return nil, 0
	}
	token := e.tokens[len(e.tokens)-1]
	if t, kept := c.byToken[token]; !kept || now.Sub(t.at) > c.tokenLife/2 {
		return e, 0
	}
	return e, token
}

func (c *confs) add(d digest, conf *routeConf) (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.byDigest[d]; old != nil {
		c.remove(old)
	}
	if len(c.byDigest) >= c.limit {
		c.remove(c.leastUsed())
	}
	e := &confEntry{digest: d, conf: conf}
	e.used.Store(c.now().UnixNano())
	token, err := c.issueLocked(e)
	if err == nil {
		c.byDigest[d] = e
	}
	return token, err
}

// issue gives a config a further token.
func (c *confs) issue(e *confEntry) (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.issueLocked(e)
}

func (c *confs) issueLocked(e *confEntry) (uint32, error) {
	token, err := c.tokens.issue(func(t uint32) bool { _, taken := c.byToken[t]; return taken })
	if err != nil {
		return 0, err
	}
	now := c.now()
	e.tokens = slices.DeleteFunc(e.tokens, func(token uint32) bool { return c.over(token, now) })
	c.byToken[token] = issued{e, now}
	e.tokens = append(e.tokens, token)
	return token, nil
}

// over reports whether the life of a token is over, and forgets it then.
func (c *confs) over(token uint32, now time.Time) bool {
	t, kept := c.byToken[token]
	if kept && now.Sub(t.at) <= c.tokenLife {
		return false
	}
	delete(c.byToken, token)
	return true
}

func (c *confs) remove(e *confEntry) {
	for _, token := range e.tokens {
		delete(c.byToken, token)
	}
	delete(c.byDigest, e.digest)
}

func (c *confs) leastUsed() *confEntry {
	var oldest *confEntry
	for _, e := range c.byDigest {
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
	now := c.now()
	oldest := now.Add(-c.expire).UnixNano()
	for _, e := range c.byDigest {
		if e.used.Load() < oldest {
			c.remove(e)
		}
	}
	for token := range c.byToken {
		c.over(token, now)
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
