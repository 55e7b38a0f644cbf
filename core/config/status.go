package config

import (
	"strings"

	"gatehouse/core/cache"
)

// Waiting lists what is configured and not loaded yet: permission tables and
// the keys of issuers. An empty list means ready.
func (b *Builder) Waiting() []string {
	var waiting []string
	for t := range b.tables.all() {
		if t.live != nil && t.live.Table() == nil {
			waiting = append(waiting, "permission table "+strings.Join(t.live.Files(), ", "))
		}
	}
	for v := range b.jwts.all() {
		for _, issuer := range v.keys.Waiting() {
			waiting = append(waiting, "keys of issuer "+issuer)
		}
	}
	return waiting
}

// CacheStats are the caches' counters by the section that configures them.
// The caches of several configurations count together.
func (b *Builder) CacheStats() map[string]cache.Stats {
	stats := map[string]cache.Stats{}
	for memo := range b.sessions.all() {
		stats["session"] = sum(stats["session"], memo.Stats())
	}
	for memo := range b.introspections.all() {
		stats["introspection"] = sum(stats["introspection"], memo.Stats())
	}
	for v := range b.jwts.all() {
		stats["jwt"] = sum(stats["jwt"], v.Stats())
	}
	return stats
}

func sum(a, b cache.Stats) cache.Stats {
	return cache.Stats{
		Hits:     a.Hits + b.Hits,
		Refusals: a.Refusals + b.Refusals,
		Misses:   a.Misses + b.Misses,
		Busy:     a.Busy + b.Busy,
		Panics:   a.Panics + b.Panics,
		Positive: sumStore(a.Positive, b.Positive),
		Negative: sumStore(a.Negative, b.Negative),
	}
}

func sumStore(a, b cache.StoreStats) cache.StoreStats {
	return cache.StoreStats{Entries: a.Entries + b.Entries, Evictions: a.Evictions + b.Evictions}
}
