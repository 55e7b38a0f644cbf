package fleet

import (
	"context"
	"errors"
	"slices"
	"time"

	"gatehouse/core/config/section"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/redis"
	"gatehouse/core/fleet/revocations"
	"gatehouse/core/fleet/revocations/durable"
	"gatehouse/core/fleet/revocations/feeds"
	"gatehouse/core/fleet/subjects"
	"gatehouse/core/revocation"
	"gatehouse/core/shared"
)

// ways are those by which revocations reach other nodes.
type ways struct {
	feeds.Feeds
	redis    *redis.Patient // nil: none
	database *postgres.Kept // nil: none
}

// Follow fills a list until the context ends, and closes what it was filled by.
func (w *ways) Follow(ctx context.Context, list revocation.Fed) {
	w.Feeds.Follow(ctx, list)
	w.Close()
}

// Close ends the connections.
func (w *ways) Close() {
	if w.redis != nil {
		w.redis.Close()
	}
}

// reach is what ways are made of. Whoever uses them keeps it.
type reach struct {
	store    *store         // nil: no Redis
	database *postgres.Kept // nil: no PostgreSQL
}

// reach finds or makes the connections of a configuration, and what identifies them.
func (b *Builder) reach(s Sections) (r reach, key shared.Key, err error) {
	var keys [2]shared.Key
	if s.Redis != nil {
		if r.store, keys[0], err = b.store(s.Redis); err != nil {
			return r, key, err
		}
	}
	r.database, keys[1], err = b.Database(s.Postgres)
	return r, shared.KeyOf(keys), err
}

// ways makes those of a configuration; nil: it has none.
func (b *Builder) ways(s Sections, r reach, outside bool) (w *ways, err error) {
	if r == (reach{}) {
		return nil, nil
	}
	w = &ways{database: r.database}
	life := (s.Revocation.Retention + s.Revocation.Leeway).Duration()
	if r.store != nil {
		if w.redis, err = redis.NewPatient(r.store.options); err != nil {
			return nil, section.At("redis", err)
		}
		w.Stream, err = revocations.New(revocations.Options{
			Redis: w.redis, Secrets: r.store.secrets, Prefix: s.Redis.KeyPrefix, Life: life, Replicas: s.Redis.replicas(), Outside: outside,
			Log: b.options.Log, Counters: &b.stream,
		})
		if err != nil {
			return nil, section.At("redis.secret", err)
		}
	}
	if r.database != nil {
		w.Table = durable.New(durable.Options{
			Database: r.database.Client, Life: life, Poll: s.Postgres.PollInterval.Duration(), Log: b.options.Log, Counters: &b.table,
		})
	}
	return w, nil
}

// FeedStats are for metrics: those of one way by which revocations reach nodes, of all
// configurations together. Counters only grow.
type FeedStats struct {
	// Published and Read are events, Restored those that were lost and are there again.
	Published, Read, Restored uint64
	// Lost is how often events may have been missed, Epochs how often this node has begun
	// a stream anew, Unopened are entries that are not of the fleet.
	Lost, Epochs, Unopened uint64
	// Up and Down are the feeds by whether revocations come in by them. Age is for how
	// long the one that is furthest behind has not brought all.
	Up, Down int
	Age      time.Duration
}

// FeedStats are the counters by the name of the way, of those that are or were in use.
func (b *Builder) FeedStats() map[string]FeedStats {
	stream, table := &b.stream, &b.table
	all := map[string]FeedStats{
		feeds.Redis: {Published: stream.Published.Load(), Read: stream.Read.Load(), Restored: stream.Restored.Load(), Lost: stream.Lost.Load(),
			Epochs: stream.Epochs.Load(), Unopened: stream.Unopened.Load()},
		feeds.Postgres: {Published: table.Published.Load(), Read: table.Read.Load(), Restored: table.Restored.Load(), Lost: table.Lost.Load()},
	}
	for l := range b.lists.All() {
		if l.ways == nil {
			continue
		}
		for name, inflow := range l.ways.Inflows() {
			s, last := all[name], inflow.Last()
			if last.IsZero() || inflow.Problem() != nil {
				s.Down++
			} else {
				s.Up++
			}
			s.Age = max(s.Age, time.Since(later(last, l.since)))
			all[name] = s
		}
	}
	return all
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// SubjectStats are the counters of what completes callers.
func (b *Builder) SubjectStats() subjects.Stats { return b.granted.Stats() }

// Waiting are the lists of revocations that are not there yet, each with why.
func (b *Builder) Waiting() []string {
	var waiting []string
	for l := range b.lists.All() {
		if l.ways == nil {
			continue
		}
		problems := l.ways.Problems()
		evicts := slices.ContainsFunc(problems, func(err error) bool { return errors.Is(err, revocations.ErrEvicts) })
		switch {
		case !evicts && l.Ready():
		case len(problems) == 0:
			waiting = append(waiting, "revocations")
		default:
			waiting = append(waiting, "revocations: "+errors.Join(problems...).Error())
		}
	}
	return waiting
}
