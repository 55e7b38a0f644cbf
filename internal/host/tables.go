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

var (
	loaded = prometheus.NewDesc("gatehouse_table_loaded_timestamp_seconds",
		"When the permission table in force was loaded; its age is time() minus this.", []string{"table", "version"}, nil)
	copied = prometheus.NewDesc("gatehouse_table_copy_age_seconds",
		"How old the copy in state_dir is that the permission table in force comes from, because its database or server could not be asked since the start; 0 if it does not.", []string{"table"}, nil)
	sourceFailing = prometheus.NewDesc("gatehouse_table_source_failing_seconds",
		"How long the database or server of a permission table could not be asked; 0 if it could the last time.", []string{"table"}, nil)
)

// Describe lists the metrics.
func (tables) Describe(to chan<- *prometheus.Desc) {
	to <- loaded
	to <- copied
	to <- sourceFailing
}

// Collect reads the times. Of configurations that follow the same files the one
// that loaded them last counts: a series must not be there twice.
func (t tables) Collect(to chan<- prometheus.Metric) {
	type series struct{ table, version string }
	at := map[series]time.Time{}
	copies, failures := map[string]time.Duration{}, map[string]time.Duration{}
	for _, load := range t.gates.Tables() {
		s := series{tableName(load.Names), load.Version}
		if load.At.After(at[s]) {
			at[s] = load.At
		}
		copies[s.table] = max(copies[s.table], since(load.Copy))
		failures[s.table] = max(failures[s.table], since(load.Failing))
	}
	for s, at := range at {
		to <- prometheus.MustNewConstMetric(loaded, prometheus.GaugeValue, float64(at.Unix()), s.table, s.version)
	}
	for table, age := range copies {
		to <- prometheus.MustNewConstMetric(copied, prometheus.GaugeValue, age.Seconds(), table)
		to <- prometheus.MustNewConstMetric(sourceFailing, prometheus.GaugeValue, failures[table].Seconds(), table)
	}
}

// since is how long ago something was; 0 if it was not.
func since(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return time.Since(t)
}

// tableName is the label of a table.
func tableName(files []string) string { return strings.Join(files, ",") }
