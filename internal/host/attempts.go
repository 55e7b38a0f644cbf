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
	allowed     = prometheus.NewDesc("gatehouse_allowed_failed_attempts_total", "Failed attempts of clients that failed_attempts.allow lists; they do not count.", nil, nil)
	recalled    = prometheus.NewDesc("gatehouse_recalled_attempts_total", "Requests of limited clients that went on because another node knew their credential to be good.", nil, nil)
	fleetwide   = prometheus.NewDesc("gatehouse_fleet_attempts_total", "Look-ups and counts of failed attempts that all nodes count together, by their source: redis, or memory for a limit that this node knew.", []string{"source"}, nil)
	storeErrors = prometheus.NewDesc("gatehouse_failed_attempts_store_errors_total", "Counts and look-ups that Redis refused or did not execute in time; this node limited by its own count.", nil, nil)
)

// Describe lists the metrics.
func (failedAttempts) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{failed, limited, failing, unknown, allowed, recalled, fleetwide, storeErrors} {
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
	send(allowed, prometheus.CounterValue, float64(stats.Allowed))
	send(recalled, prometheus.CounterValue, float64(stats.Recalled))
	send(fleetwide, prometheus.CounterValue, float64(stats.Fleet.Asked), "redis")
	send(fleetwide, prometheus.CounterValue, float64(stats.Fleet.Remembered), "memory")
	send(storeErrors, prometheus.CounterValue, float64(stats.StoreErrors))
}
