package host

import (
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/core/config"
)

// sharedCache tells Prometheus of what nodes share by Redis.
type sharedCache struct{ gates *config.Builder }

var _ prometheus.Collector = sharedCache{}

var (
	sharedLookups  = prometheus.NewDesc("gatehouse_shared_cache_lookups_total", "Look-ups of credentials in Redis, by result: hit, miss, or unopened for a value that does not open, which is a miss.", []string{"result"}, nil)
	sharedTooLarge = prometheus.NewDesc("gatehouse_shared_cache_too_large_total", "Credentials that were not shared because of their size.", nil, nil)
	sharedFailures = prometheus.NewDesc("gatehouse_shared_cache_failures_total", "Commands that Redis did not execute in time or refused; each was a miss.", nil, nil)
	redisServers   = prometheus.NewDesc("gatehouse_redis_servers", "Redis servers that configurations name; state says whether they respond.", []string{"state"}, nil)
)

// Describe lists the metrics.
func (sharedCache) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sharedLookups, sharedTooLarge, sharedFailures, redisServers} {
		to <- d
	}
}

// Collect reads the counters.
func (c sharedCache) Collect(to chan<- prometheus.Metric) {
	stats := c.gates.SharedStats()
	counter := func(d *prometheus.Desc, value uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	counter(sharedLookups, stats.Hits, "hit")
	counter(sharedLookups, stats.Misses-min(stats.Misses, stats.Unopened), "miss")
	counter(sharedLookups, stats.Unopened, "unopened")
	counter(sharedTooLarge, stats.TooLarge)
	counter(sharedFailures, stats.Failures)
	to <- prometheus.MustNewConstMetric(redisServers, prometheus.GaugeValue, float64(stats.Up), "up")
	to <- prometheus.MustNewConstMetric(redisServers, prometheus.GaugeValue, float64(stats.Down), "down")
}
