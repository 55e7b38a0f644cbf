package host

import (
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/core/config"
)

// feeds tells Prometheus of the ways by which revocations reach this node.
type feeds struct{ gates *config.Builder }

var _ prometheus.Collector = feeds{}

var (
	feedStates   = prometheus.NewDesc("gatehouse_revocation_feeds", "Ways by which configurations receive revocations; state says whether they come in.", []string{"feed", "state"}, nil)
	feedAge      = prometheus.NewDesc("gatehouse_revocation_feed_age_seconds", "How long ago this node had all revocations that a feed holds; of several configurations the longest.", []string{"feed"}, nil)
	feedEvents   = prometheus.NewDesc("gatehouse_revocation_feed_events_total", "Revocations, by what became of them: published by this node, read, or restored because they were lost.", []string{"feed", "what"}, nil)
	feedLosses   = prometheus.NewDesc("gatehouse_revocation_feed_losses_total", "How often a feed was found without what it held, with a gap, or with what this node does not understand.", []string{"feed"}, nil)
	feedEpochs   = prometheus.NewDesc("gatehouse_revocation_epochs_total", "How often this node has begun the stream of revocations in Redis anew.", nil, nil)
	feedUnopened = prometheus.NewDesc("gatehouse_revocation_unopened_total", "Entries of the stream of revocations in Redis that do not open: of another secret, or of somebody else.", nil, nil)
)

// Describe lists the metrics.
func (feeds) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{feedStates, feedAge, feedEvents, feedLosses, feedEpochs, feedUnopened} {
		to <- d
	}
}

// Collect reads the counters.
func (f feeds) Collect(to chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	epochs, unopened := uint64(0), uint64(0)
	for name, s := range f.gates.RevocationFeeds() {
		send(feedStates, prometheus.GaugeValue, float64(s.Up), name, "up")
		send(feedStates, prometheus.GaugeValue, float64(s.Down), name, "down")
		send(feedAge, prometheus.GaugeValue, s.Age.Seconds(), name)
		send(feedEvents, prometheus.CounterValue, float64(s.Published), name, "published")
		send(feedEvents, prometheus.CounterValue, float64(s.Read), name, "read")
		send(feedEvents, prometheus.CounterValue, float64(s.Restored), name, "restored")
		send(feedLosses, prometheus.CounterValue, float64(s.Lost), name)
		epochs, unopened = epochs+s.Epochs, unopened+s.Unopened
	}
	send(feedEpochs, prometheus.CounterValue, float64(epochs))
	send(feedUnopened, prometheus.CounterValue, float64(unopened))
}
