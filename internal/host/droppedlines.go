package host

import (
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/internal/logqueue"
)

// droppedLines tells Prometheus of log lines that nobody has read in time.
type droppedLines struct{ log *logqueue.Queue }

var _ prometheus.Collector = droppedLines{}

var dropped = prometheus.NewDesc("gatehouse_log_lines_dropped_total",
	"Log lines that were dropped because they were written faster than read.", []string{"level"}, nil)

// Describe lists the metric.
func (droppedLines) Describe(to chan<- *prometheus.Desc) { to <- dropped }

// Collect reads the counts.
func (d droppedLines) Collect(to chan<- prometheus.Metric) {
	lines := d.log.Dropped()
	for level, count := range map[string]uint64{"error": lines.Errors, "other": lines.Others} {
		to <- prometheus.MustNewConstMetric(dropped, prometheus.CounterValue, float64(count), level)
	}
}
