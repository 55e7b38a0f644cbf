package host

import (
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/core/config"
)

// failedAttempts tells Prometheus of the failed attempts to authenticate.
type failedAttempts struct {
	gates *config.Builder
}

var _ prometheus.Collector = failedAttempts{}

var (
	failed      = prometheus.NewDesc("gatehouse_failed_attempts_total", "Credentials that did not hold.", nil, nil)
	limited     = prometheus.NewDesc("gatehouse_limited_attempts_total", "Requests that got 429 because of earlier failed attempts, by whose they were.", []string{"by"}, nil)
	failing     = prometheus.NewDesc("gatehouse_failing", "Client addresses and credentials with failed attempts of late.", []string{"by"}, nil)
	unknown     = prometheus.NewDesc("gatehouse_unknown_clients_total", "Attempts of clients whose address the gateway did not tell; no limit for each client holds for them.", nil, nil)
	storeErrors = prometheus.NewDesc("gatehouse_failed_attempts_store_errors_total", "Failures of the store of failed attempts; each limited nobody.", nil, nil)
)

// Describe lists the metrics.
func (failedAttempts) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{failed, limited, failing, unknown, storeErrors} {
		to <- d
	}
}

// Collect reads the counters.
func (f failedAttempts) Collect(to chan<- prometheus.Metric) {
	stats := f.gates.AttemptStats()
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	send(failed, prometheus.CounterValue, float64(stats.Failed))
	send(limited, prometheus.CounterValue, float64(stats.LimitedClients), "client")
	send(limited, prometheus.CounterValue, float64(stats.LimitedCredentials), "credential")
	send(failing, prometheus.GaugeValue, float64(stats.Clients), "client")
	send(failing, prometheus.GaugeValue, float64(stats.Credentials), "credential")
	send(unknown, prometheus.CounterValue, float64(stats.Unknown))
	send(storeErrors, prometheus.CounterValue, float64(stats.StoreErrors))
}
