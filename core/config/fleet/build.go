package fleet

import (
	"log/slog"
	"time"

	"gatehouse/core/authn/attempts"
	fleetattempts "gatehouse/core/fleet/attempts"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/sharedcache"
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
	shared    sharedcache.Counters
	limits    shared.Values[attempts.Limit]
	attempts  attempts.Counters
	counted   fleetattempts.Counters
}

// NewBuilder makes a builder.
func NewBuilder(o Options) *Builder { return &Builder{options: o} }
