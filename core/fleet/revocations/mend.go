package revocations

import (
	"context"
	"errors"
	"slices"
	"time"

	"gatehouse/core/revocation"
)

// lose forgets what was read: the list is told since when it may have missed something,
// and the stream is read from its beginning.
func (f *follower) lose(d *damage, ago time.Duration) {
	f.told = d
	f.Lost.Add(1)
	f.list.Lost(d, ago)
	f.forget()
}

// ago is how long ago a moment was by the clock of Redis. It counts for a moment only in
// which all nodes notice: otherwise something is missed since now. Nodes that notice one
// after the other so use what the first ones have learned since the moment.
func (f *follower) ago(moment time.Time) time.Duration {
	ago := f.now.Add(time.Since(f.lookedAt)).Sub(moment)
	if ago < 0 || ago > 2*pollTime {
		return 0
	}
	return ago
}

// forget has the stream read from its beginning, and what it does not hold published
// again.
func (f *follower) forget() {
	f.tip, f.entries = nil, nil
	f.restoration = restoration{read: revocation.Coverage{}, due: time.Now().Add(jitter(spread))}
}

// errForeign is of a stream of which this node opens nothing. It is another fleet's, or
// this node has not its secret: it must not begin another one.
var errForeign = errors.New("no entry of the stream of revocations in Redis opens: redis.secret is not the one of the other nodes (after it was changed, set redis.previous_secret to the former one), or somebody else has written to redis.key_prefix; if no node uses the stream any more, delete the key")

// mend begins a new epoch where the stream does not hold together. Of several nodes one
// does; the others find a new epoch.
func (f *follower) mend(ctx context.Context, l *state, broken *damage) error {
	first := !f.complete && broken.reason == gone && len(f.list.All()) == 0
	if f.told == nil && !first {
		f.lose(broken, 0)
	} else {
		f.forget()
	}
	switch {
	case broken.whole:
		return nil // read it from its beginning
	case !f.opened && l.length > 0:
		return errForeign
	case broken.reason != gone && !f.complete && f.othersMay():
		return broken
	case time.Since(f.begunAt) < f.patience():
		return broken
	}
	begun, err := f.begin(ctx, l)
	if err != nil {
		return err
	}
	if begun {
		f.begunAt, f.due = time.Now(), time.Now()
		f.begun++
		f.options.Log.Warn("a new stream of revocations was begun in Redis", "because", broken.text)
	}
	return nil
}

// The least and the greatest time between two epochs that one node begins.
const firstPatience, lastPatience = time.Second, 5 * time.Minute

// patience is how long this node waits until it begins a further epoch: the longer, the
// more often somebody breaks what it begins, such as a node with another secret.
func (f *follower) patience() time.Duration {
	if time.Since(f.begunAt) > 2*lastPatience {
		f.begun = 0
	}
	return min(firstPatience<<min(f.begun, 10), lastPatience)
}

// othersMay reports whether nodes that know more than this one may still mend the stream.
func (f *follower) othersMay() bool {
	if f.brokenAt.IsZero() {
		f.brokenAt = time.Now()
	}
	return time.Since(f.brokenAt) < 2*f.options.SettleTime
}

// restoration is what a node publishes again of what it holds.
type restoration struct {
	// read are the events of the stream from its beginning on; nil: all that this node
	// holds is in the stream.
	read revocation.Coverage
	// missing are to be published from due on; nil: they have not been found yet.
	missing []revocation.Event
	due     time.Time
}

// restore publishes again, one entry after the other, what this node holds and the stream
// does not. Each follows on what was read last: where another node is faster, its events
// are read before it goes on, so that nothing is published twice.
func (f *follower) restore(ctx context.Context) error {
	if f.read == nil || time.Now().Before(f.due) {
		return nil
	}
	if f.missing == nil {
		f.missing = f.list.All()
	}
	for {
		f.missing = slices.DeleteFunc(f.missing, f.read.Holds)
		if len(f.missing) == 0 {
			f.restoration = restoration{}
			return nil
		}
		n := batch(f.missing)
		r := &record{At: f.now, Restored: true, Events: f.missing[:n]}
		if written, err := f.write(ctx, r); err != nil {
			f.due = time.Now().Add(restorePause)
			f.options.Log.Error("revocations that were lost are not published again", "error", err)
			return nil
		} else if !written {
			return nil // read on first
		}
		f.Restored.Add(uint64(n))
		for _, e := range r.Events {
			f.read.Note(e)
		}
	}
}

// restorePause is the time between two attempts to restore.
const restorePause = 5 * time.Second

// write appends to what was read last.
func (f *follower) write(ctx context.Context, r *record) (written bool, err error) {
	value, after, err := f.append(ctx, f.box, f.tip, r, 0)
	if err != nil {
		return false, err
	}
	if after == nil {
		return false, nil
	}
	f.keep(after.id, value, r)
	return true, nil
}

// clockSlack is by how much the clock of a node may be behind that of Redis: what a node
// still counts is not removed.
const clockSlack = time.Minute

// trim removes the oldest entries whose time is over, once there are any.
func (f *follower) trim(ctx context.Context) error {
	if time.Now().Before(f.trimAt) || f.tip == nil {
		return nil
	}
	f.trimAt = time.Now().Add(f.options.TrimEvery/2 + jitter(f.options.TrimEvery))
	over := f.now.Add(-clockSlack)
	n := f.ended(func(k kept) bool { return k.until.Before(over) })
	if !slices.ContainsFunc(f.entries[:n], func(k kept) bool { return k.events }) {
		return nil
	}
	oldest := f.tip.id.number + 1
	if n < len(f.entries) {
		oldest = f.entries[n].number
	}
	_, err := f.write(ctx, &record{At: f.now, Oldest: oldest})
	return err
}
