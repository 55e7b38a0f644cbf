package config

import (
	"strings"

	"gatehouse/core/cache"
	"gatehouse/core/permission/live"
)

// Waiting lists what is configured and not loaded yet: permission tables and
// the keys of issuers. An empty list means ready.
func (b *Builder) Waiting() []string {
	var waiting []string
	for t := range b.tables.All() {
		if t.live != nil && t.live.Table() == nil {
			waiting = append(waiting, "permission table "+strings.Join(t.live.Names(), ", "))
		}
	}
	for p := range b.sections.Parts() {
		if p.Waiting == nil {
			continue
		}
		for _, issuer := range p.Waiting() {
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
	for t := range b.tables.All() {
		if t.live != nil {
			all = append(all, t.live.Loaded()...)
		}
	}
	return all
}

// CacheStats are the caches' counters by the section that configures them.
func (b *Builder) CacheStats() map[string]cache.Stats {
	caches := map[*cache.Memo]string{}
	for p := range b.sections.Parts() {
		caches[p.Memo] = string(p.Kind)
	}
	return b.counted.Sum(caches)
}
