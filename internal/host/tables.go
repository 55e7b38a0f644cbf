package host

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/core/config"
)

// tables tells Prometheus when the permission tables in use were loaded. They
// go with the configurations that use them, so they are read at each scrape.
type tables struct {
	gates *config.Builder
}

var _ prometheus.Collector = tables{}

var loaded = prometheus.NewDesc("gatehouse_table_loaded_timestamp_seconds",
	"When the permission table in force was loaded; its age is time() minus this.", []string{"table", "version"}, nil)

// Describe lists the metric.
func (tables) Describe(to chan<- *prometheus.Desc) { to <- loaded }

// Collect reads the times. Of configurations that follow the same files the one
// that loaded them last counts: a series must not be there twice.
func (t tables) Collect(to chan<- prometheus.Metric) {
	type series struct{ table, version string }
	at := map[series]time.Time{}
	for _, load := range t.gates.Tables() {
		s := series{tableName(load.Names), load.Version}
		if load.At.After(at[s]) {
			at[s] = load.At
		}
	}
	for s, at := range at {
		to <- prometheus.MustNewConstMetric(loaded, prometheus.GaugeValue, float64(at.Unix()), s.table, s.version)
	}
}

// tableName is the label of a table.
func tableName(files []string) string { return strings.Join(files, ",") }
