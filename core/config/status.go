package config

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"gatehouse/core/cache"
	"gatehouse/core/config/asking"
	"gatehouse/core/config/audit"
	"gatehouse/core/config/fleet"
	"gatehouse/core/config/section"
	"gatehouse/core/config/token"
	"gatehouse/core/fleet/subjects"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/permission/live"
	"gatehouse/core/revocation"
	"gatehouse/core/revocation/receive"
)

// Waiting lists what is configured and not loaded yet: configurations in files,
// permission tables, the keys of issuers and lists of revocations. An empty list means ready. What a
// configuration has named before one of its files changed is not in it.
func (b *Builder) Waiting() []string {
	waiting := map[string]bool{}
	for f := range b.followed.All() {
		s := f.value.State()
		if s.Value == nil {
			waiting["configuration "+strings.Join(s.Files, ", ")] = true
			continue
		}
		for _, name := range s.Value.waiting() {
			waiting[name] = true
		}
	}
	for _, name := range b.fleet.Waiting() {
		waiting[name] = true
	}
	return slices.Sorted(maps.Keys(waiting))
}

func (c *Current) waiting() []string {
	var waiting []string
	if !c.table.Loaded() {
		waiting = append(waiting, "permission table "+c.table.Name())
	}
	if missing := c.point.Waiting(); missing != "" {
		waiting = append(waiting, missing)
	}
	for _, p := range c.parts {
		if p.Missing() {
			waiting = append(waiting, "list of revocations")
		}
		if p.Waiting == nil {
			continue
		}
		for _, issuer := range p.Waiting() {
			waiting = append(waiting, "keys of issuer "+issuer)
		}
	}
	return waiting
}

// Configuration is one that names files.
type Configuration struct {
	Files []string
	// Loaded is when it was loaded; zero: it never was, and every request is denied.
	Loaded time.Time
	// Failing is since when its files have an error; zero: they have none.
	Failing time.Time
}

// Configurations lists those in use that name files.
func (b *Builder) Configurations() []Configuration {
	var all []Configuration
	for f := range b.followed.All() {
		if s := f.value.State(); len(s.Files) > 0 {
			all = append(all, Configuration{s.Files, s.At, s.Since})
		}
	}
	return all
}

// Tables lists the permission tables from a source that are in use, shadow tables
// among them. Tables of former configurations are not in it; two configurations
// may follow the same files.
func (b *Builder) Tables() []live.Loaded { return b.tables.Loaded() }

// CacheStats are the caches' counters by the section that configures them.
func (b *Builder) CacheStats() map[string]cache.Stats {
	caches := map[*cache.Memo]string{}
	for p := range b.sections.Parts() {
		caches[p.Memo] = string(p.Kind)
	}
	stats := b.counted.Sum(caches)
	if asked := b.asking.Stats(); asked != (cache.Stats{}) {
		stats[asking.Name] = asked
	}
	return stats
}

// AuditStats count the audit records of each sort of place.
func (b *Builder) AuditStats() map[string]audit.Stats { return b.audit.Stats() }

// FlushAudit waits until all audit records are written, or the context ends.
func (b *Builder) FlushAudit(ctx context.Context) { b.audit.Flush(ctx) }

// SharedStats are the counters of what nodes share by Redis.
func (b *Builder) SharedStats() fleet.SharedStats { return b.fleet.SharedStats() }

// AttemptStats are the counters of failed attempts.
func (b *Builder) AttemptStats() fleet.AttemptStats { return b.fleet.AttemptStats() }

// Revoke keeps events that revoke credentials, for every configuration in use with a
// section revocation. With an error nothing may be taken for revoked.
func (b *Builder) Revoke(ctx context.Context, events ...revocation.Event) error {
	return b.fleet.Revoke(ctx, events...)
}

// RevocationMessages are the messages that endpoints of revocation_endpoints received.
func (b *Builder) RevocationMessages() map[receive.Counted]uint64 { return b.revoking.Counts() }

// ProviderHosts are the hosts of identity providers, by the section that configures them.
func (b *Builder) ProviderHosts() map[string]section.ProviderHosts {
	hosts := b.sections.Hosts()
	if up, down := b.asking.Hosts(); up+down > 0 {
		hosts[asking.Name] = section.ProviderHosts{Up: up, Down: down}
	}
	return hosts
}

// PublishedKeys are the keys and the metadata of the issuers whose tokens are minted.
func (b *Builder) PublishedKeys() map[string]token.Published {
	var own []*gatewaytoken.Tokens
	for p := range b.sections.Parts() {
		if tokens := token.TokensOf(p); tokens != nil {
			own = append(own, tokens)
		}
	}
	return b.upstream.Published(own...)
}

// Revocations are the events in force, the last one first.
func (b *Builder) Revocations() []revocation.Event { return b.fleet.Revocations() }

// RevocationStats are the counters of what is revoked.
func (b *Builder) RevocationStats() fleet.RevocationStats { return b.fleet.RevocationStats() }

// RevocationFeeds are the counters of the ways by which revocations reach nodes.
func (b *Builder) RevocationFeeds() map[string]fleet.FeedStats { return b.fleet.FeedStats() }

// SubjectStats are the counters of what completes callers (subject_roles).
func (b *Builder) SubjectStats() subjects.Stats { return b.fleet.SubjectStats() }
