// Package revocations takes revocations to all nodes of a fleet by a stream in Redis.
//
// Redis is not trusted with them, neither to keep them nor to tell the truth. Entries are
// sealed, bound to their place and to the entry before, so that whoever writes to Redis
// can neither make a revocation nor unmake one unnoticed. A stream that was lost, in
// whole or in part, is found to be so by every node: it forgets what it has learned of
// credentials, begins a new stream where none is whole, and publishes again what it holds
// and the stream does not.
package revocations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/core/fleet/redis"
	"gatehouse/core/fleet/seal"
	"gatehouse/core/revocation"
)

// Options of a Stream.
type Options struct {
	Redis *redis.Patient
	// Secrets that nodes share. The first one writes; all of them read, so that a secret
	// can be changed node by node.
	Secrets []string
	// Prefix of the key in Redis.
	Prefix string
	// Life is how long an event is kept that does not say how long it matters. Default
	// 24 h.
	Life time.Duration
	// Replicas of Redis have to acknowledge what is published, within ReplicaTime.
	// Default none and 1 s.
	Replicas    int
	ReplicaTime time.Duration
	// SettleTime is how long a stream does not count as complete that has just begun, into
	// which events are published again, or that this node reads for the first time: others
	// may have read more of it before it was broken, and mend it within about 1.5 s.
	// Default 2 s.
	SettleTime time.Duration
	// TrimEvery is how often entries whose time is over are removed, by one of the nodes.
	// Default 10 min.
	TrimEvery time.Duration
	// Outside says that who publishes is no node, and cannot see whether nodes open what
	// it writes. It begins no stream: where nodes run there is one, in which it finds
	// that its key and its secret are theirs, and it writes with the secret of the last
	// entry.
	Outside bool
	// Log gets lines about what an operator has to know; nil: none.
	Log *slog.Logger
	// Counters count what happens; nil: nobody looks.
	Counters *Counters
}

func (o Options) withDefaults() Options {
	if o.Life == 0 {
		o.Life = 24 * time.Hour
	}
	if o.ReplicaTime == 0 {
		o.ReplicaTime = time.Second
	}
	if o.SettleTime == 0 {
		o.SettleTime = 2 * time.Second
	}
	if o.TrimEvery == 0 {
		o.TrimEvery = 10 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Counters == nil {
		o.Counters = &Counters{}
	}
	return o
}

// Stream is that of one fleet.
type Stream struct {
	options Options
	redis   *redis.Patient
	box     *seal.Box
	key     string
	*Counters

	inflow        revocation.Inflow
	unknownPolicy sync.Once
}

var _ revocation.Publisher = (*Stream)(nil)

// Counters of one stream or of several. The zero value is ready for use.
type Counters struct {
	// Published and Read are events, Restored those that were lost and are there again.
	Published, Read, Restored atomic.Uint64
	// Lost is how often events may have been missed, Epochs how often this node has
	// begun a new stream.
	Lost, Epochs atomic.Uint64
	// Unopened are entries that somebody else has written, or with another secret.
	Unopened atomic.Uint64
}

// New makes a stream. Nothing is called yet.
func New(o Options) (*Stream, error) {
	o = o.withDefaults()
	if o.Redis == nil {
		return nil, errors.New("want a Redis client")
	}
	box, err := seal.New("gatehouse revocation", o.Secrets...)
	if err != nil {
		return nil, err
	}
	// One key is in one slot of a Cluster, and is lost as a whole or not at all.
	return &Stream{options: o, redis: o.Redis, box: box, key: o.Prefix + "revocations", Counters: o.Counters}, nil
}

// ErrNoStream is why nothing is published from outside of the nodes.
var ErrNoStream = errors.New("there is no stream of revocations in Redis: no node reads from this server, database and redis.key_prefix, or Redis was flushed just now and no node is up to begin the stream anew")

const (
	// commandTime bounds a command that does not wait.
	commandTime = 2 * time.Second
	// publishTime bounds a publication whose context has no end.
	publishTime = 5 * time.Second
)

// Publish takes events to all nodes. It returns nil once Redis, and as many replicas as
// are asked for, have acknowledged them.
func (s *Stream) Publish(ctx context.Context, events ...revocation.Event) error {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	if err := s.checkEviction(ctx); err != nil {
		return err
	}
	events = revocation.Identified(events)
	for len(events) > 0 {
		n := batch(events)
		if err := s.publish(ctx, events[:n]); err != nil {
			return fmt.Errorf("revocation is not acknowledged: %w", err)
		}
		s.Published.Add(uint64(n))
		events = events[n:]
	}
	return nil
}

// publish writes one entry, as often as somebody else is faster or Redis fails, for as
// long as there is time.
func (s *Stream) publish(ctx context.Context, events []revocation.Event) error {
	var last error
	for try := 0; ; try++ {
		written, err := s.try(ctx, events)
		if written || redis.NeedsOperator(err) || errors.As(err, new(*ErrUnacknowledged)) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		if pause(ctx, time.Duration(1+mathrand.N(10*min(try, 20)+1))*time.Millisecond) != nil {
			return cmp.Or(last, ctx.Err())
		}
	}
}

// try writes after what is the last entry now.
func (s *Stream) try(ctx context.Context, events []revocation.Event) (written bool, err error) {
	l, err := s.look(ctx, "")
	if err != nil {
		return false, err
	}
	if l.length == 0 {
		if s.options.Outside {
			return false, fmt.Errorf("%w (%s)", ErrNoStream, s.key)
		}
		_, err := s.begin(ctx, l)
		return false, err
	}
	if broken := l.whole(); broken != nil {
		return false, broken
	}
	r, err := openRecord(s.box, s.key, l.last, l.value)
	if errors.Is(err, seal.ErrSealed) {
		return false, fmt.Errorf("the last entry of the stream does not open, so that nodes would not open what is written: redis.secret is not theirs: %w", err)
	}
	if r == nil {
		return false, err
	}
	box := s.box
	if s.options.Outside {
		box = box.As(nameOf(s.key, l.last), []byte(l.value))
	}
	_, after, err := s.append(ctx, box, tipOf(l.last, l.value, r), &record{At: l.now, Events: s.stamped(events, l.now)}, s.options.Replicas)
	return after != nil && err == nil, err
}

// stamped are events with their moment by the clock of Redis, where they have none.
func (s *Stream) stamped(events []revocation.Event, now time.Time) []revocation.Event {
	stamped := make([]revocation.Event, len(events))
	for i, e := range events {
		stamped[i] = e.Stamped(now, s.options.Life)
	}
	return stamped
}

// pause waits, for as long as the context allows.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
