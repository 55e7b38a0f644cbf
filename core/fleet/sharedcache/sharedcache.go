// Package sharedcache keeps in Redis, for a moment, what one node of a fleet has
// learned of a credential, so that the others need not ask the identity provider.
//
// Redis is not trusted with it: names are keyed hashes, and values are encrypted and
// bound to their names, so that whoever reads Redis learns no credential and no
// identity, and whoever writes to it makes no principal. What does not open is a
// miss.
package sharedcache

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/core"
	"gatehouse/core/cache"
)

// Options of a Store.
type Options struct {
	Redis goredis.Cmdable
	// Secrets that nodes share, at least seal.MinSecret bytes each. The first one writes;
	// all of them read, so that a secret can be changed node by node.
	Secrets []string
	// Prefix of all keys in Redis.
	Prefix string
	// MaxValue is the greatest value that is kept, in bytes. Default 64 KiB.
	MaxValue int
	// Counters count what happens; nil: nobody looks.
	Counters *Counters
	// Now is the clock; nil: the system's.
	Now func() time.Time
}

// Store is a cache.Shared in Redis.
type Store struct {
	options  Options
	keyrings []*keyring
	*Counters
}

// Counters of one store or of several. The zero value is ready for use.
type Counters struct{ hits, misses, unopened, tooLarge, failures atomic.Uint64 }

// Stats are for metrics. Counters only grow.
type Stats struct {
	Hits, Misses uint64
	// Unopened were values that this node cannot open, which count as misses.
	Unopened uint64
	// TooLarge were entries that were not kept.
	TooLarge uint64
	// Failures of Redis.
	Failures uint64
}

var _ cache.Shared = (*Store)(nil)

const defaultMaxValue = 64 << 10

var errTooLarge = errors.New("the value is too large to be shared")

// New makes a store.
func New(o Options) (*Store, error) {
	if o.Redis == nil || len(o.Secrets) == 0 {
		return nil, errors.New("want a Redis client and a secret")
	}
	if o.MaxValue == 0 {
		o.MaxValue = defaultMaxValue
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Counters == nil {
		o.Counters = &Counters{}
	}
	s := &Store{options: o, Counters: o.Counters}
	for i, secret := range o.Secrets {
		k, err := newKeyring(secret)
		if err != nil {
			return nil, fmt.Errorf("secret %d %w", i+1, err)
		}
		s.keyrings = append(s.keyrings, k)
	}
	return s, nil
}

// name is what an entry is kept under with a secret.
func (k *keyring) name(digest string, c core.Credential) []byte {
	sum := k.Sum(build(), digest, string(c.Place), c.Value)
	return sum[:]
}

func (s *Store) key(kind string, name []byte) string {
	return s.options.Prefix + kind + ":" + base64.RawURLEncoding.EncodeToString(name)
}

// Get returns what a node has learned of a credential.
func (s *Store) Get(ctx context.Context, digest string, c core.Credential) (cache.Entry, bool, error) {
	for _, k := range s.keyrings {
		e, found, err := s.get(ctx, k, k.name(digest, c))
		if err != nil {
			s.failures.Add(1)
			return cache.Entry{}, false, err
		}
		if found {
			s.hits.Add(1)
			return e, true, nil
		}
	}
	s.misses.Add(1)
	return cache.Entry{}, false, nil
}

// get reads a value together with what is left of its time.
func (s *Store) get(ctx context.Context, k *keyring, name []byte) (cache.Entry, bool, error) {
	key := s.key("credential", name)
	pipe := s.options.Redis.Pipeline()
	value, left := pipe.Get(ctx, key), pipe.PTTL(ctx, key)
	if _, err := pipe.Exec(ctx); errors.Is(err, goredis.Nil) {
		return cache.Entry{}, false, nil
	} else if err != nil {
		return cache.Entry{}, false, err
	}
	sealed, _ := value.Bytes()
	if len(sealed) > 2*s.options.MaxValue || left.Val() <= 0 { // without an end it is not ours
		s.unopened.Add(1)
		return cache.Entry{}, false, nil
	}
	plain, err := k.box.Open(name, sealed)
	if err != nil {
		s.unopened.Add(1)
		return cache.Entry{}, false, nil
	}
	e, err := decode(plain, left.Val(), s.options.Now())
	if err != nil {
		s.unopened.Add(1)
		return cache.Entry{}, false, nil
	}
	return e, true, nil
}

// Set shares what this node has learned.
func (s *Store) Set(ctx context.Context, digest string, c core.Credential, e cache.Entry) error {
	plain, life, err := encode(e, s.options.Now(), s.options.MaxValue)
	if errors.Is(err, errTooLarge) {
		s.tooLarge.Add(1)
		return nil
	}
	if err != nil || life == 0 {
		return err
	}
	k := s.keyrings[0]
	name := k.name(digest, c)
	if err := s.options.Redis.Set(ctx, s.key("credential", name), k.box.Seal(name, plain), life).Err(); err != nil {
		s.failures.Add(1)
		return err
	}
	return nil
}

// Claim makes this node the one that looks a credential up, for at most the given
// time. It fails to where another node has done so. The release is never nil.
func (s *Store) Claim(ctx context.Context, digest string, c core.Credential, forTime time.Duration) (claimed bool, release func(), err error) {
	key, token := s.key("claim", s.keyrings[0].name(digest, c)), newToken()
	claimed, err = s.options.Redis.SetNX(ctx, key, token, forTime).Result()
	if err != nil {
		s.failures.Add(1)
	}
	if err != nil || !claimed {
		return false, func() {}, err
	}
	return true, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = releaseScript.Run(ctx, s.options.Redis, []string{key}, token).Err() // else it ends by itself
	}, nil
}

// releaseScript deletes a claim if it is still this node's.
var releaseScript = goredis.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)

// Stats returns what happened so far.
func (c *Counters) Stats() Stats {
	return Stats{
		Hits: c.hits.Load(), Misses: c.misses.Load(), Unopened: c.unopened.Load(),
		TooLarge: c.tooLarge.Load(), Failures: c.failures.Load(),
	}
}
