package host

import (
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/core/config"
)

// subjectRoles tells Prometheus of the roles that the database grants to callers.
type subjectRoles struct{ gates *config.Builder }

var _ prometheus.Collector = subjectRoles{}

var (
	subjectLookups = prometheus.NewDesc("gatehouse_subject_roles_lookups_total", "Look-ups of the roles of callers in the database, by result: hit in memory, miss, stale for one that was used beyond its time because the database was away, failed.", []string{"result"}, nil)
	subjectDropped = prometheus.NewDesc("gatehouse_subject_roles_dropped_total", "Remembered roles that were dropped because of a change.", nil, nil)
)

// Describe lists the metrics.
func (subjectRoles) Describe(to chan<- *prometheus.Desc) {
	to <- subjectLookups
	to <- subjectDropped
}

// Collect reads the counters.
func (s subjectRoles) Collect(to chan<- prometheus.Metric) {
	stats := s.gates.SubjectStats()
	for result, n := range map[string]uint64{"hit": stats.Hits, "miss": stats.Misses, "stale": stats.Stale, "failed": stats.Failures} {
		to <- prometheus.MustNewConstMetric(subjectLookups, prometheus.CounterValue, float64(n), result)
	}
	to <- prometheus.MustNewConstMetric(subjectDropped, prometheus.CounterValue, float64(stats.Dropped))
}
