package host

import (
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/core/config"
)

// auditRecords tells Prometheus what became of audit records.
type auditRecords struct{ gates *config.Builder }

var _ prometheus.Collector = auditRecords{}

var recorded = prometheus.NewDesc("gatehouse_audit_records_total",
	"Audit records by where they go and by what became of them: written, or dropped because that place was too slow or failed.", []string{"sink", "result"}, nil)

// Describe lists the metric.
func (auditRecords) Describe(to chan<- *prometheus.Desc) { to <- recorded }

// Collect reads the counts.
func (a auditRecords) Collect(to chan<- prometheus.Metric) {
	for name, s := range a.gates.AuditStats() {
		to <- prometheus.MustNewConstMetric(recorded, prometheus.CounterValue, float64(s.Written), name, "written")
		to <- prometheus.MustNewConstMetric(recorded, prometheus.CounterValue, float64(s.Dropped), name, "dropped")
	}
}
