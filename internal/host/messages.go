package host

import (
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/core/config"
)

// messages tells Prometheus of messages about revocations.
type messages struct{ gates *config.Builder }

var _ prometheus.Collector = messages{}

var revocationMessages = prometheus.NewDesc("gatehouse_revocation_messages_total", "Messages about revocations that an endpoint received, by what became of them.", []string{"source", "result"}, nil)

// Describe lists the metrics.
func (messages) Describe(to chan<- *prometheus.Desc) { to <- revocationMessages }

// Collect reads the counters.
func (m messages) Collect(to chan<- prometheus.Metric) {
	for c, count := range m.gates.RevocationMessages() {
		to <- prometheus.MustNewConstMetric(revocationMessages, prometheus.CounterValue, float64(count), c.Source, string(c.Result))
	}
}
