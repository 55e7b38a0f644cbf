package revocations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/core/fleet/redis"
	"gatehouse/core/fleet/seal"
	"gatehouse/core/revocation"
)

const (
	// pollTime is how often the stream is looked at, beside waiting for entries. What
	// was removed shows at the next look.
	pollTime = time.Second
	// spread is within what time nodes begin to publish again what was lost, each at its
	// own moment: the first one publishes, and the others find nothing missing.
	spread = 500 * time.Millisecond
	// The time between two attempts.
	firstPause, lastPause = 50 * time.Millisecond, time.Second
	// evictionTime is how often the policy of Redis is looked at, beside each connection.
	evictionTime = time.Minute
	// pageSize is how many entries are read at once.
	pageSize = 100
)

// Follow fills a list with what comes in, until the context ends.
func (s *Stream) Follow(ctx context.Context, list revocation.Fed) {
	f := &follower{Stream: s, list: list, trimAt: time.Now().Add(jitter(s.options.TrimEvery))}
	f.forget()
	for wait := firstPause; ctx.Err() == nil; wait = min(2*wait, lastPause) {
		err := f.follow(ctx, func() { wait = firstPause })
		if ctx.Err() != nil {
			return
		}
		s.tell(err)
		list.Blind(err)
		_ = pause(ctx, wait/2+jitter(wait))
	}
}

func jitter(d time.Duration) time.Duration { return mathrand.N(d) }

// Inflow is whether revocations come in.
func (s *Stream) Inflow() *revocation.Inflow { return &s.inflow }

func (s *Stream) tell(err error) { s.inflow.Tell(s.options.Log, "Redis", err) }

// follower is the state of Follow.
type follower struct {
	*Stream
	list revocation.Fed

	tip      *tip      // nil: nothing was read
	now      time.Time // by the clock of Redis, at the last look
	lookedAt time.Time // when that was, by the clock of this node
	// opened says that this node has the secret of the stream, complete that it has once
	// read all of it.
	opened, complete bool
	// firstRead is when all of the stream was first read, settled when it counts as complete.
	firstRead, settled time.Time
	// entries are those that the stream holds, from the oldest on.
	entries []kept
	trimAt  time.Time

	restoration
	// told is the damage of which the list knows and that is not mended.
	told *damage
	// begunAt is when this node has begun an epoch last, the begun-th one of late.
	begunAt time.Time
	begun   int

	brokenAt time.Time // since when there is damage that others may mend

	connects  uint64 // at the last look at the policy
	policedAt time.Time
}

// kept is an entry that the stream holds.
type kept struct {
	number uint64
	until  time.Time
	events bool
}

// follow reads until it fails.
func (f *follower) follow(ctx context.Context, succeeded func()) error {
	for {
		if err := f.sync(ctx); err != nil {
			return err
		}
		succeeded()
		if err := f.await(ctx); err != nil {
			return err
		}
	}
}

// sync reads all that is new, and mends what is broken.
func (f *follower) sync(ctx context.Context) error {
	if err := f.police(ctx); err != nil {
		return err
	}
	l, err := f.look(ctx, f.sum())
	if err != nil {
		return err
	}
	f.now, f.lookedAt = l.now, time.Now()
	err = f.readNew(ctx, l)
	var broken *damage
	if errors.As(err, &broken) {
		return f.mend(ctx, l, broken)
	}
	if err != nil {
		return err
	}
	f.told, f.brokenAt = nil, time.Time{}
	if f.firstRead.IsZero() {
		f.firstRead = time.Now()
		f.settle()
	}
	if err := f.restore(ctx); err != nil {
		return err
	}
	if time.Now().Before(f.settled) {
		return nil
	}
	f.complete = true
	f.list.Current()
	f.tell(nil)
	return f.trim(ctx)
}

// readNew reads all that is new. Damage is returned once all that opens is known.
func (f *follower) readNew(ctx context.Context, l *state) error {
	broken := l.whole()
	if broken == nil {
		broken = l.since(f.tip)
	}
	switch {
	case broken == nil && f.tip != nil && l.last == f.tip.id:
		return nil // which is what nearly every look finds
	case broken == nil:
		return f.readOn(ctx)
	}
	if !broken.whole { // what is left of it is all that there may be
		f.forget()
		if err := f.readOn(ctx); err != nil && !errors.As(err, new(*damage)) {
			return err
		}
	}
	return broken
}

func (f *follower) sum() string {
	if f.tip == nil {
		return ""
	}
	return f.tip.sum
}

// police looks at the policy of Redis, on every connection and now and then.
func (f *follower) police(ctx context.Context) error {
	if f.redis.Connects() == f.connects && time.Since(f.policedAt) < evictionTime {
		return nil
	}
	if err := f.checkEviction(ctx); err != nil {
		f.policedAt = time.Time{}
		return err
	}
	f.connects, f.policedAt = f.redis.Connects(), time.Now()
	return nil
}

// readOn reads from the last entry to the end.
func (f *follower) readOn(ctx context.Context) error {
	var broken *damage
	all := f.tip == nil
	for {
		messages, err := f.page(ctx)
		if err != nil {
			return err
		}
		for _, m := range messages {
			d, err := f.take(m)
			if err != nil {
				return err
			}
			broken = cmp.Or(broken, d)
		}
		if len(messages) < pageSize {
			break
		}
	}
	if broken == nil && f.tip != nil && len(f.entries) > 0 && f.entries[0].number > f.tip.oldest {
		broken = trimmed(f.entries[0].number, f.tip.oldest)
	}
	if broken == nil {
		return nil
	}
	if all {
		broken.whole = false // it does not hold together, whatever was read before
	}
	return broken
}

func (f *follower) page(ctx context.Context) ([]goredis.XMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	from := "-"
	if f.tip != nil {
		from = "(" + f.tip.id.String()
	}
	messages, err := f.redis.XRangeN(ctx, f.key, from, "+", pageSize).Result()
	if goredis.HasErrorPrefix(err, "WRONGTYPE") {
		return nil, nil
	}
	return messages, redis.Explain(err)
}

// take adds the events of one entry to the list, in any case, and tells whether it is the
// one after the last. On an error it was not taken.
func (f *follower) take(m goredis.XMessage) (*damage, error) {
	i := parseID(m.ID)
	value, _ := m.Values["entry"].(string)
	r, err := openRecord(f.box, f.key, i, value)
	if errors.Is(err, seal.ErrSealed) {
		f.Unopened.Add(1)
		f.tip = &tip{id: i}
		return unopened(i), nil
	}
	if err != nil { // it is ours, and this node cannot tell what it revokes
		f.misunderstood(err)
	}
	if r == nil {
		r = &record{Previous: f.digest(i)}
	}
	f.opened = true
	if err := f.add(r); err != nil {
		return nil, err
	}
	broken := f.follows(i, r)
	f.keep(i, value, r)
	return broken, nil
}

// digest is what an entry that this node cannot read would say of the one before it.
func (f *follower) digest(i id) string {
	switch {
	case f.tip != nil:
		return f.tip.digest
	case i.number == 1:
		return ""
	}
	return "not known"
}

// keep makes an entry the last one that was read.
func (f *follower) keep(i id, value string, r *record) {
	r.Oldest = max(r.Oldest, f.oldest())
	f.tip = tipOf(i, value, r)
	f.entries = append(f.entries, kept{i.number, r.until(), len(r.Events) > 0})
	f.entries = slices.Delete(f.entries, 0, f.ended(func(k kept) bool { return k.number < r.Oldest }))
	if (r.Restored || i.number == 1) && r.At.After(f.now.Add(-f.options.SettleTime)) {
		f.settle()
	}
}

func (f *follower) settle() { f.settled = time.Now().Add(f.options.SettleTime) }

func (f *follower) oldest() uint64 {
	if f.tip == nil {
		return 0
	}
	return f.tip.oldest
}

// ended is how many entries from the oldest on are so.
func (f *follower) ended(is func(kept) bool) int {
	for n, k := range f.entries {
		if !is(k) {
			return n
		}
	}
	return len(f.entries)
}

// misunderstood tells of what a newer version has written.
func (f *follower) misunderstood(err error) {
	f.Lost.Add(1)
	f.list.Lost(err, 0)
	f.options.Log.Error("a revocation is not understood, and may not take full effect on this node", "error", err)
}

// follows returns a damage where an entry is not the one after the last.
func (f *follower) follows(i id, r *record) *damage {
	switch {
	case f.tip == nil && (r.Previous == "") != (i.number == 1):
		return another("order", "begins with an entry at %s that is of another place", i)
	case f.tip == nil:
		return nil
	case i.epoch != f.tip.id.epoch:
		d := another("epoch", "is another one: it is at %s, and was at %s", i, f.tip.id)
		d.since = r.At
		return d
	case i.number != f.tip.id.number+1:
		return another("gap", "goes on with %s after %s", i, f.tip.id)
	case r.Previous != f.tip.digest:
		return another("changed", "has had another entry at %s", f.tip.id)
	}
	return nil
}

// add keeps the events of an entry. One for which the list has no room is to be read
// again.
func (f *follower) add(r *record) error {
	for _, e := range r.Events {
		err := f.list.Add(e)
		if errors.Is(err, revocation.ErrFull) {
			f.list.Lost(err, 0)
			return err
		}
		if err != nil {
			f.misunderstood(fmt.Errorf("%w: %w", errNewer, err))
		}
		if f.read != nil {
			f.read.Note(e)
		}
	}
	f.Read.Add(uint64(len(r.Events)))
	return nil
}

// await waits for the next entries, until it is time to look at the stream again.
func (f *follower) await(ctx context.Context) error {
	end := time.Now().Add(f.nextLook())
	for left := time.Until(end); left >= time.Millisecond; left = time.Until(end) {
		if f.tip == nil {
			return nil
		}
		messages, err := f.waitFor(ctx, left)
		if err != nil {
			return err
		}
		for _, m := range messages {
			d, err := f.take(m)
			if err != nil {
				return err
			}
			if d != nil {
				f.lose(d, f.ago(d.since))
				return nil
			}
		}
	}
	return nil
}

func (f *follower) nextLook() time.Duration {
	next := pollTime
	if f.read != nil {
		next = min(next, time.Until(f.due))
	}
	if left := time.Until(f.settled); left > 0 {
		next = min(next, left)
	}
	return max(next, 2*time.Millisecond)
}

func (f *follower) waitFor(ctx context.Context, left time.Duration) ([]goredis.XMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, left+commandTime)
	defer cancel()
	streams, err := f.redis.XRead(ctx, &goredis.XReadArgs{
		Streams: []string{f.key, f.tip.id.String()}, Count: pageSize, Block: left.Truncate(time.Millisecond),
	}).Result()
	switch {
	case errors.Is(err, goredis.Nil), goredis.HasErrorPrefix(err, "WRONGTYPE"):
		return nil, nil
	case err != nil || len(streams) == 0:
		return nil, redis.Explain(err)
	}
	return streams[0].Messages, nil
}
