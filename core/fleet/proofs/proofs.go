// Package proofs remembers in Redis, for all nodes of a fleet, which proofs of possession
// have been used.
package proofs

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/core/authn/dpop"
	"gatehouse/core/keyedhash"
)

// Redis is what a Store uses of a client.
type Redis interface {
	SetNX(ctx context.Context, key string, value any, expiration time.Duration) *goredis.BoolCmd
	Get(ctx context.Context, key string) *goredis.StringCmd
}

// Options of a Store.
type Options struct {
	Redis Redis
	// Local is what this node remembers itself, whatever Redis loses.
	Local dpop.Uses
	// Prefix of all keys in Redis.
	Prefix string
	// Tolerant has the node go on with what it remembers itself while Redis is away.
	// Without it, nobody knows then.
	Tolerant bool
	// Now is the clock.
	Now func() time.Time
}

// Store is a dpop.Uses of all nodes.
type Store struct {
	options Options
	names   *keyedhash.Hash
}

var _ dpop.Uses = (*Store)(nil)

// New makes a store.
func New(o Options) (*Store, error) {
	if o.Redis == nil || o.Local == nil || o.Now == nil {
		return nil, errors.New("want a Redis client, a memory of this node and a clock")
	}
	// No secret is in a name: nodes whose secrets differ while one is changed must know
	// the same proof by the same name.
	return &Store{o, keyedhash.New([]byte("gatehouse used proofs"))}, nil
}

// Use implements dpop.Uses.
func (s *Store) Use(ctx context.Context, thumbprint, id, request string, until time.Time) (first bool, err error) {
	first, err = s.useInRedis(ctx, thumbprint, id, request, until)
	switch {
	case err != nil && !s.options.Tolerant:
		return false, fmt.Errorf("redis: %w (dpop.fault_tolerant goes on without it)", err)
	case err == nil && !first:
		return false, nil
	}
	return s.options.Local.Use(ctx, thumbprint, id, request, until)
}

// grace is how much longer Redis remembers: the clocks of nodes differ.
const grace = 5 * time.Second

func (s *Store) useInRedis(ctx context.Context, thumbprint, id, request string, until time.Time) (first bool, err error) {
	key, by := s.options.Prefix+"proof:"+s.name(thumbprint, id), rand.Text()
	if request != "" {
		by = s.name(request)
	}
	first, err = s.options.Redis.SetNX(ctx, key, by, max(time.Second, until.Sub(s.options.Now()))+grace).Result()
	if err != nil || first || request == "" {
		return first, err
	}
	known, err := s.options.Redis.Get(ctx, key).Result()
	if errors.Is(err, goredis.Nil) { // has just ended
		return false, nil
	}
	return err == nil && known == by, err
}

func (s *Store) name(parts ...string) string {
	sum := s.names.Sum(parts...)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
