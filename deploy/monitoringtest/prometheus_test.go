package monitoringtest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"
)

const (
	alertsFile = "../monitoring/alerts.yml"
	interval   = 15 * time.Second // of scrapes, and of the evaluation of rules
)

// recorder keeps what nodes say of themselves as Prometheus does, at times of its own: an
// alert that waits ten minutes is tried in a moment. After each scrape the rules are
// evaluated.
type recorder struct {
	t       *testing.T
	storage *teststorage.TestStorage
	engine  *promql.Engine
	group   *rules.Group
	now     time.Time
	// fired are the alerts that have been firing since it was emptied.
	fired map[string]bool
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	db := teststorage.New(t)
	t.Cleanup(func() { db.Close() })
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, 10_000_000)
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc: rules.EngineQueryFunc(engine, db), Queryable: db, AppendableV2: db, Context: context.Background(),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {}, Logger: slog.New(slog.DiscardHandler),
	})
	groups, errs := manager.LoadGroups(interval, labels.EmptyLabels(), "", nil, false, alertsFile)
	if len(errs) > 0 || len(groups) != 1 {
		t.Fatal(len(groups), errs)
	}
	r := &recorder{t: t, storage: db, engine: engine, now: start, fired: map[string]bool{}}
	for _, g := range groups {
		r.group = g
	}
	return r
}

// hold lets time pass in which nodes say one after the other what was scraped.
func (r *recorder) hold(d time.Duration, scrapes ...[]scrape) {
	r.t.Helper()
	steps := int(d / interval)
	for i := range steps {
		app := r.storage.Appender(context.Background())
		for _, s := range scrapes[i*len(scrapes)/steps] {
			r.append(app, s)
		}
		if err := app.Commit(); err != nil {
			r.t.Fatal(err)
		}
		r.group.Eval(context.Background(), r.now)
		for _, rule := range r.group.AlertingRules() {
			if rule.LastError() != nil {
				r.t.Fatalf("%s: %v", rule.Name(), rule.LastError())
			}
			if rule.State() == rules.StateFiring {
				r.fired[rule.Name()] = true
			}
		}
		r.now = r.now.Add(interval)
	}
}

// firing are the alerts that fire now.
func (r *recorder) firing() map[string]bool {
	now := map[string]bool{}
	for _, rule := range r.group.AlertingRules() {
		if rule.State() == rules.StateFiring {
			now[rule.Name()] = true
		}
	}
	return now
}

func (r *recorder) append(app storage.Appender, s scrape) {
	at := r.now.UnixMilli()
	add := func(l labels.Labels, v float64) {
		b := labels.NewBuilder(l)
		b.Set("job", "gatehouse").Set("instance", s.instance)
		if _, err := app.Append(0, b.Labels(), at, v); err != nil {
			r.t.Fatal(err)
		}
	}
	up := 0.0
	if s.text != nil {
		up = 1
	}
	add(labels.FromStrings("__name__", "up"), up)
	p := textparse.NewPromParser(s.text, labels.NewSymbolTable(), false)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			r.t.Fatal(err)
		}
		if entry == textparse.EntrySeries {
			var l labels.Labels
			_, _, v := p.Series()
			p.Labels(&l)
			add(l, v)
		}
	}
}

// query evaluates an expression as a panel does that shows the last minutes.
func (r *recorder) query(text string, over time.Duration) (promql.Matrix, error) {
	p := parser.NewParser(parser.Options{})
	if _, err := p.ParseExpr(text); err != nil {
		return nil, err
	}
	q, err := r.engine.NewRangeQuery(context.Background(), r.storage, nil, text, r.now.Add(-over), r.now, time.Minute)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	result := q.Exec(context.Background())
	if result.Err != nil {
		return nil, result.Err
	}
	matrix, err := result.Matrix()
	copied := make(promql.Matrix, len(matrix))
	copy(copied, matrix)
	return copied, err
}
