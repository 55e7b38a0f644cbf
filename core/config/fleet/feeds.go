package fleet

import (
	"context"
	"errors"
	"slices"

	"gatehouse/core/config/section"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/redis"
	"gatehouse/core/fleet/revocations"
	"gatehouse/core/fleet/revocations/durable"
	"gatehouse/core/fleet/revocations/feeds"
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

// FeedStats are for metrics. Counters only grow.
type FeedStats struct {
	// Published, Read and Restored are events by the way that they took.
	Published, Read, Restored map[string]uint64
	// Lost is how often events may have been missed, Epochs how often this node has begun
	// a stream anew, Unopened are entries that are not of the fleet.
	Lost             map[string]uint64
	Epochs, Unopened uint64
	// Up and Down are the ways by whether revocations come in by them.
	Up, Down int
}

// FeedStats are the counters of all configurations.
func (b *Builder) FeedStats() FeedStats {
	s := FeedStats{
		Published: map[string]uint64{"redis": b.stream.Published.Load(), "postgres": b.table.Published.Load()},
		Read:      map[string]uint64{"redis": b.stream.Read.Load(), "postgres": b.table.Read.Load()},
		Restored:  map[string]uint64{"redis": b.stream.Restored.Load(), "postgres": b.table.Restored.Load()},
		Lost:      map[string]uint64{"redis": b.stream.Lost.Load(), "postgres": b.table.Lost.Load()},
		Epochs:    b.stream.Epochs.Load(), Unopened: b.stream.Unopened.Load(),
	}
	for l := range b.lists.All() {
		if l.ways == nil {
			continue
		}
		down := len(l.ways.Problems())
		s.Down += down
		s.Up += l.ways.Count() - down
	}
	return s
}

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
