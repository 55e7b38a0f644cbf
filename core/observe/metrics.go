package observe

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gatehouse/core"
)

// maxRules bounds the values of the rule label. A table may have a hundred
// thousand rules; a time series for each would cost more than it tells.
const maxRules = 1000

// otherRule is the label of rules beyond maxRules.
const otherRule = "other"

// Metrics counts decisions and calls for Prometheus.
type Metrics struct {
	registry  *prometheus.Registry
	decisions *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	calls     *prometheus.HistogramVec
	loads     *prometheus.CounterVec
	reloads   *prometheus.CounterVec
	shadow    *prometheus.CounterVec
	absent    *prometheus.CounterVec
	evaluated *prometheus.CounterVec

	mu    sync.RWMutex
	rules map[string]bool
}

var _ core.Recorder = (*Metrics)(nil)

// Decisions that are made from memory take microseconds, those that ask a
// provider milliseconds.
var decisionBuckets = []float64{1e-6, 5e-6, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1, 5}

// NewMetrics makes a registry with the metrics of this process, which runs
// the given version.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		rules:    map[string]bool{},
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_decisions_total",
			Help: "Decisions by outcome, reason, kind of principal and rule. Rules beyond the first 1000 seen count as \"other\".",
		}, []string{"outcome", "reason", "kind", "rule"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatehouse_decision_duration_seconds", Help: "Time that decisions took, calls to providers included.", Buckets: decisionBuckets,
		}, []string{"outcome"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatehouse_provider_call_duration_seconds", Help: "Time that calls to identity providers took, by provider and result.",
			Buckets: prometheus.DefBuckets,
		}, []string{"provider", "result"}),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_configuration_loads_total", Help: "Configurations that the gateway handed over, by result. One with a mistake denies.",
		}, []string{"result"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_table_loads_total", Help: "Attempts to load a permission table from its files, by result.",
		}, []string{"table", "result"}),
		shadow: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_shadow_differences_total", Help: "Calls that the shadow table would have decided otherwise.",
		}, []string{"enforced", "shadow"}),
		absent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_upstream_header_absent_total", Help: "Admitted requests without an upstream header because the credential has none of its claims.",
		}, []string{"header", "claims"}),
		evaluated: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_evaluations_total", Help: "Questions that the decision point has answered, by result: permit, deny, search or error.",
		}, []string{"result"}),
	}
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gatehouse_build_info", Help: "1, with the version as a label.", ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 })
	m.registry.MustRegister(m.decisions, m.duration, m.calls, m.loads, m.reloads, m.shadow, m.absent, m.evaluated, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	startAtZero(m.loads)
	for _, result := range []string{"permit", "deny", "search", "error"} {
		m.evaluated.WithLabelValues(result)
	}
	return m
}

// Begin does nothing: what is counted is known at the end.
func (*Metrics) Begin(ctx context.Context, _ *core.Request) context.Context { return ctx }

// End counts one decision.
func (m *Metrics) End(_ context.Context, e core.Event) {
	kind := ""
	if e.Decision.Principal != nil {
		kind = string(e.Decision.Principal.Kind)
	}
	outcome := e.Decision.Outcome.String()
	m.decisions.WithLabelValues(outcome, e.Decision.Reason, kind, m.rule(e.Decision.Rule)).Inc()
	m.duration.WithLabelValues(outcome).Observe(e.Duration.Seconds())
}

func (m *Metrics) rule(name string) string {
	m.mu.RLock()
	known, full := m.rules[name], len(m.rules) >= maxRules
	m.mu.RUnlock()
	if !known && !full {
		known = m.learn(name)
	}
	if !known {
		return otherRule
	}
	return label(name)
}

func (m *Metrics) learn(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.rules[name] && len(m.rules) >= maxRules {
		return false
	}
	m.rules[name] = true
	return true
}

// label keeps a name that an operator chose from being no UTF-8, which the
// client library panics at.
func label(name string) string { return strings.ToValidUTF8(name, "\ufffd") }

// Call records a call to a provider, such as "session" or "jwks".
func (m *Metrics) Call(provider string, took time.Duration, err error) {
	m.calls.WithLabelValues(provider, result(err)).Observe(took.Seconds())
}

// ConfigurationLoaded counts a configuration that was handed over.
func (m *Metrics) ConfigurationLoaded(err error) { m.loads.WithLabelValues(result(err)).Inc() }

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

// TableLoaded counts an attempt to load a permission table.
func (m *Metrics) TableLoaded(table string, err error) {
	table = label(table)
	startAtZero(m.reloads, table)
	m.reloads.WithLabelValues(table, result(err)).Inc()
}

// startAtZero makes the series of both results. One that began with the first
// error would not increase by it, as far as Prometheus' increase() can tell.
func startAtZero(c *prometheus.CounterVec, labels ...string) {
	for _, result := range []string{"ok", "error"} {
		c.WithLabelValues(append(labels, result)...)
	}
}

// ShadowDiffers counts a call that the shadow table decides otherwise.
func (m *Metrics) ShadowDiffers(enforced, shadow string) {
	m.shadow.WithLabelValues(enforced, shadow).Inc()
}

// HeaderAbsent counts an upstream header that was not sent.
func (m *Metrics) HeaderAbsent(header, claims string) {
	m.absent.WithLabelValues(label(header), label(claims)).Inc()
}

// Evaluated counts an answer of the decision point.
func (m *Metrics) Evaluated(result string) { m.evaluated.WithLabelValues(result).Inc() }

// MustRegister adds a source of further metrics, once, at the start.
func (m *Metrics) MustRegister(c prometheus.Collector) { m.registry.MustRegister(c) }

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Recorders are several recorders of each decision, in their order.
type Recorders []core.Recorder

var _ core.Recorder = Recorders(nil)

// Begin hands the context from one recorder to the next.
func (r Recorders) Begin(ctx context.Context, request *core.Request) context.Context {
	for _, recorder := range r {
		ctx = recorder.Begin(ctx, request)
	}
	return ctx
}

// End ends every recorder.
func (r Recorders) End(ctx context.Context, e core.Event) {
	for _, recorder := range r {
		recorder.End(ctx, e)
	}
}
