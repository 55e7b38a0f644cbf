// Package attempts counts failed attempts to authenticate for all nodes of a fleet, in
// Redis.
//
// Redis only adds to what a node counts by itself. Whatever Redis says, loses or keeps
// to itself, a node limits as it does alone; and what it knows itself, it does not ask.
package attempts

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/core/authn/attempts"
	"gatehouse/core/fleet/seal"
	"gatehouse/core/keyedhash"
)

// Redis is what a Store uses of a client.
type Redis interface {
	goredis.Scripter
	SetNX(ctx context.Context, key string, value any, expiration time.Duration) *goredis.BoolCmd
}

// Options of a Store.
type Options struct {
	Redis Redis
	// Local counts what this node sees itself, at the same rate.
	Local *attempts.Memory
	Rate  attempts.Rate
	// Prefix of all keys in Redis.
	Prefix string
	// Counters count what happens; nil: nobody looks.
	Counters *Counters
	// Now is the clock of this node, for what it remembers. What is counted is counted
	// by the clock of Redis. nil: the system's.
	Now func() time.Time
}

// Counters of one store or of several. The zero value is ready for use.
type Counters struct{ asked, remembered atomic.Uint64 }

// Stats are for metrics. Counters only grow.
type Stats struct {
	// Asked are the look-ups and counts for which Redis was asked, Remembered the
	// refusals that this node knew without.
	Asked, Remembered uint64
}

// Stats returns what happened so far.
func (c *Counters) Stats() Stats { return Stats{c.asked.Load(), c.remembered.Load()} }

// Store is an attempts.Store of all nodes.
type Store struct {
	options  Options
	counters *Counters
	known    *known
}

var _ attempts.Store = (*Store)(nil)

// New makes a store.
func New(o Options) (*Store, error) {
	if o.Redis == nil || o.Local == nil || o.Rate.Count < 1 {
		return nil, errors.New("want a Redis client, a store of this node and a rate")
	}
	if o.Counters == nil {
		o.Counters = &Counters{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Store{options: o, counters: o.Counters, known: newKnown(o.Now)}, nil
}

// Hash names clients and credentials so that all nodes with one secret name them alike,
// and nobody without it can tell who they are.
func Hash(secret string) (*keyedhash.Hash, error) {
	key, err := seal.Key(secret, "gatehouse failed attempts")
	if err != nil {
		return nil, err
	}
	return keyedhash.New(key), nil
}

// Count implements attempts.Store. Beside an error, the wait is the one that this node
// knows of itself.
func (s *Store) Count(ctx context.Context, k attempts.Key, n int) (time.Duration, error) {
	own, err := s.options.Local.Count(ctx, k, n)
	if err != nil {
		return own, err
	}
	if wait := max(own, s.known.wait(k)); wait > 0 && n == 0 {
		s.counters.remembered.Add(1)
		return wait, nil
	}
	all, err := s.run(ctx, k, n)
	return max(own, all), err
}

// Known implements attempts.Store.
func (s *Store) Known(k attempts.Key) time.Duration {
	return max(0, s.options.Local.Known(k), s.known.wait(k))
}

// Return implements attempts.Store.
func (s *Store) Return(ctx context.Context, k, credential attempts.Key, n int) error {
	if err := s.options.Local.Return(ctx, k, credential, n); err != nil {
		return err
	}
	if !s.known.owes(k) {
		return nil
	}
	isFirst, err := s.options.Redis.SetNX(ctx, s.key("returned", credential), 1, attempts.KeepVerified).Result()
	if err != nil || !isFirst {
		return err
	}
	_, err = s.run(ctx, k, -n)
	return err
}

// Stats are those of this node's own store.
func (s *Store) Stats() attempts.StoreStats { return s.options.Local.Stats() }

// count is attempts.Memory.Count by the clock of Redis, in microseconds. A key holds
// when all its attempts will be free again. The reply is how long that is.
var count = goredis.NewScript(`
local t = redis.call("TIME")
local now = t[1] * 1000000 + t[2]
local n, each, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local settled = math.max(tonumber(redis.call("GET", KEYS[1]) or "") or 0, now)
settled = math.min(settled + n * each, now + window)
if n ~= 0 and settled > now then
  redis.call("SET", KEYS[1], string.format("%.0f", settled), "PX", math.ceil((settled - now) / 1000))
elseif n < 0 then
  redis.call("DEL", KEYS[1])
end
return math.max(0, math.ceil(settled - now))
`)

// run executes the script, and remembers what it says.
func (s *Store) run(ctx context.Context, k attempts.Key, n int) (wait time.Duration, err error) {
	s.counters.asked.Add(1)
	each := strconv.FormatFloat(float64(s.each().Nanoseconds())/1e3, 'f', 3, 64)
	reply, err := count.Run(ctx, s.options.Redis, []string{s.key("failed", k)}, n, each, s.options.Rate.Window.Microseconds()).Int64()
	if err != nil {
		return 0, err
	}
	window := s.options.Rate.Window
	owed := time.Duration(min(max(reply, 0), window.Microseconds())) * time.Microsecond
	wait = max(0, owed+s.each()-window)
	s.known.keep(k, owed, wait)
	return wait, nil
}

func (s *Store) each() time.Duration {
	return s.options.Rate.Window / time.Duration(s.options.Rate.Count)
}

func (s *Store) key(kind string, k attempts.Key) string {
	return s.options.Prefix + kind + ":" + base64.RawURLEncoding.EncodeToString(k[:])
}
