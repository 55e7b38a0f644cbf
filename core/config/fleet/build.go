package fleet

import (
	"log/slog"
	"time"

	"gatehouse/core/authn/attempts"
	"gatehouse/core/config/section"
	fleetattempts "gatehouse/core/fleet/attempts"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/revocations"
	"gatehouse/core/fleet/revocations/durable"
	"gatehouse/core/fleet/sharedcache"
	"gatehouse/core/fleet/subjects"
	"gatehouse/core/revocation"
	"gatehouse/core/shared"
)

// Options are what every part is built with.
type Options struct {
	// Log gets lines about what happens outside of requests.
	Log *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Builder makes what a node shares with others, each once per content.
type Builder struct {
	options   Options
	stores    shared.Values[store]
	databases shared.Values[postgres.Kept]
	subjects  shared.Values[subjects.Store]
	tokenAPIs shared.Values[tokenAPI]
	shared    sharedcache.Counters
	limits    shared.Values[attempts.Limit]
	attempts  attempts.Counters
	counted   fleetattempts.Counters
	lists     shared.Values[revocationList]
	revoked   revocation.Counters
	stream    revocations.Counters
	table     durable.Counters
	granted   subjects.Counters
}

// Sections are those of a configuration by which caches are made.
type Sections struct {
	Cache      section.Cache
	Redis      *Redis      // nil: none
	Postgres   *Postgres   // nil: none
	Revocation *Revocation // nil: nothing is revoked
	StateDir   string      // empty: nothing is kept on disk
}

// Caching is where results are kept, and what is revoked of them.
func (b *Builder) Caching(s Sections) (section.Caching, error) {
	c := section.Caching{Cache: s.Cache}
	if s.Redis != nil {
		f, key, err := b.store(s.Redis)
		if err != nil {
			return c, err
		}
		c.Shared, c.SharedKey = f, key
		c.Redis, c.RedisPrefix, c.RedisSecrets = f.redis, f.prefix, f.secrets
	}
	if s.Revocation != nil {
		list, key, err := b.revocations(s)
		if err != nil {
			return c, err
		}
		c.Revoked, c.RevokedKey, c.Keep, c.Publisher = list.List, key, list, published{list}
	}
	return c, nil
}

// NewBuilder makes a builder.
func NewBuilder(o Options) *Builder { return &Builder{options: o} }
