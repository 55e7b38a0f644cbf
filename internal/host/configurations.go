package host

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/core/config"
)

// configurations tells Prometheus of the configurations that name files. They come and
// go with the gateway's, so they are read at each scrape.
type configurations struct{ gates *config.Builder }

var _ prometheus.Collector = configurations{}

var (
	configurationLoaded = prometheus.NewDesc("gatehouse_configuration_loaded_timestamp_seconds",
		"When the configuration in force was loaded from its files; 0 if none has been.", []string{"files"}, nil)
	configurationStale = prometheus.NewDesc("gatehouse_configuration_stale_seconds",
		"How long the files of a configuration have had an error while the last good one is in force, or everything is denied; 0 if they have none.", []string{"files"}, nil)
)

// Describe lists the metrics.
func (configurations) Describe(to chan<- *prometheus.Desc) {
	to <- configurationLoaded
	to <- configurationStale
}

// Collect reads the times. Of configurations that name the same files, the one that has
// failed for longest counts, and the one that was loaded first.
func (c configurations) Collect(to chan<- prometheus.Metric) {
	type times struct{ loaded, stale float64 }
	by := map[string]times{}
	for _, configuration := range c.gates.Configurations() {
		files := strings.Join(configuration.Files, ",")
		now := times{}
		if !configuration.Loaded.IsZero() {
			now.loaded = float64(configuration.Loaded.Unix())
		}
		if !configuration.Failing.IsZero() {
			now.stale = time.Since(configuration.Failing).Seconds()
		}
		if other, twice := by[files]; twice {
			now = times{min(now.loaded, other.loaded), max(now.stale, other.stale)}
		}
		by[files] = now
	}
	for files, t := range by {
		to <- prometheus.MustNewConstMetric(configurationLoaded, prometheus.GaugeValue, t.loaded, files)
		to <- prometheus.MustNewConstMetric(configurationStale, prometheus.GaugeValue, t.stale, files)
	}
}
