package config

import (
	"maps"
	"strings"
	"sync"
	"weak"

	"gatehouse/core/cache"
	"gatehouse/core/permission/live"
)

// Waiting lists what is configured and not loaded yet: permission tables and
// the keys of issuers. An empty list means ready.
func (b *Builder) Waiting() []string {
	var waiting []string
	for t := range b.tables.all() {
		if t.live != nil && t.live.Table() == nil {
			waiting = append(waiting, "permission table "+strings.Join(t.live.Names(), ", "))
		}
	}
	for p := range b.parts.all() {
		if p.waiting == nil {
			continue
		}
		for _, issuer := range p.waiting() {
			waiting = append(waiting, "keys of issuer "+issuer)
		}
	}
	return waiting
}

// Tables lists the permission tables from files that are in use, shadow tables
// among them. Tables of former configurations are not in it; two configurations
// may follow the same files.
func (b *Builder) Tables() []live.Loaded {
	var all []live.Loaded
	for t := range b.tables.all() {
		if t.live != nil {
			all = append(all, t.live.Loaded()...)
		}
	}
	return all
}

// CacheStats are the caches' counters by the section that configures them.
// The caches of several configurations count together, and what those of former
// ones had counted when they were last asked stays: a counter that falls reads
// as a restart.
func (b *Builder) CacheStats() map[string]cache.Stats {
	c := &b.counted
	c.mu.Lock()
	defer c.mu.Unlock()
	live := map[weak.Pointer[cache.Memo]]count{}
	for p := range b.parts.all() {
		live[weak.Make(p.Memo)] = count{string(p.kind), p.Stats()}
	}
	return c.total(live)
}

// counted is what caches had counted when they were last asked.
type counted struct {
	mu      sync.Mutex
	last    map[weak.Pointer[cache.Memo]]count
	retired map[string]cache.Stats // of caches that are gone, by provider
}

type count struct {
	provider string
	cache.Stats
}

// total replaces what is known of the live caches, and sums everything up.
func (c *counted) total(live map[weak.Pointer[cache.Memo]]count) map[string]cache.Stats {
	if c.retired == nil {
		c.retired = map[string]cache.Stats{}
	}
	for memo, was := range c.last {
		if _, lives := live[memo]; !lives {
			was.Positive.Entries, was.Negative.Entries = 0, 0
			c.retired[was.provider] = sum(c.retired[was.provider], was.Stats)
		}
	}
	c.last = live
	all := maps.Clone(c.retired)
	for _, now := range live {
		all[now.provider] = sum(all[now.provider], now.Stats)
	}
	return all
}

func sum(a, b cache.Stats) cache.Stats {
	return cache.Stats{
		Hits:     a.Hits + b.Hits,
		Refusals: a.Refusals + b.Refusals,
		Misses:   a.Misses + b.Misses,
		Busy:     a.Busy + b.Busy,
		Panics:   a.Panics + b.Panics,

		StoreErrors: a.StoreErrors + b.StoreErrors,

		Positive: sumStore(a.Positive, b.Positive),
		Negative: sumStore(a.Negative, b.Negative),
	}
}

func sumStore(a, b cache.StoreStats) cache.StoreStats {
	return cache.StoreStats{Entries: a.Entries + b.Entries, Evictions: a.Evictions + b.Evictions}
}
