package host

import (
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/core/cache"
	"gatehouse/core/config"
)

// caches tells Prometheus of the builder's caches. They come and go with the
// configurations, so they are read at each scrape.
type caches struct {
	gates *config.Builder
}

var _ prometheus.Collector = caches{}

var (
	lookups   = describe("gatehouse_cache_lookups_total", "Look-ups in the caches of credentials, by result.", "result")
	busy      = describe("gatehouse_cache_busy_total", "Credentials that could not be looked at because too many others were.")
	calls     = describe("gatehouse_verifications", "Credentials that are being verified now, or wait for it.", "state")
	panics    = describe("gatehouse_authenticator_panics_total", "Panics while a credential was looked at; each denied its request.")
	entries   = describe("gatehouse_cache_entries", "Remembered credentials; store says whether valid ones or refused ones.", "store")
	size      = describe("gatehouse_cache_bytes", "Memory of cached credentials, as far as it can be estimated.", "store")
	failures  = describe("gatehouse_cache_store_errors_total", "Failures of the cache's store; each was a miss.")
	hosts     = describe("gatehouse_provider_hosts", "Hosts of identity providers that have been called; state says whether they respond.", "state")
	evictions = describe("gatehouse_cache_evictions_total", "Entries dropped to make room.", "store")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"provider"}, labels...), nil)
}

// Describe lists the metrics.
func (caches) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lookups, busy, calls, panics, failures, entries, size, evictions, hosts} {
		to <- d
	}
}

// Collect reads the counters.
func (c caches) Collect(to chan<- prometheus.Metric) {
	for provider, h := range c.gates.ProviderHosts() {
		to <- prometheus.MustNewConstMetric(hosts, prometheus.GaugeValue, float64(h.Up), provider, "up")
		to <- prometheus.MustNewConstMetric(hosts, prometheus.GaugeValue, float64(h.Down), provider, "down")
	}
	for provider, stats := range c.gates.CacheStats() {
		counter := func(d *prometheus.Desc, value uint64, labels ...string) {
			to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), append([]string{provider}, labels...)...)
		}
		counter(lookups, stats.Hits, "hit")
		counter(lookups, stats.Refusals, "refused")
		counter(lookups, stats.Misses, "miss")
		counter(busy, stats.Busy)
		gauge := func(d *prometheus.Desc, value int, labels ...string) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), append([]string{provider}, labels...)...)
		}
		gauge(calls, stats.Calls, "running")
		gauge(calls, stats.Waiting, "waiting")
		counter(panics, stats.Panics)
		counter(failures, stats.StoreErrors)
		for store, s := range map[string]cache.StoreStats{"valid": stats.Positive, "refused": stats.Negative} {
			gauge(entries, s.Entries, store)
			gauge(size, s.Bytes, store)
			counter(evictions, s.Evictions, store)
		}
	}
}
