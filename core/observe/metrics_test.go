package observe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
)

func TestMetricsAreServed(t *testing.T) {
	m := NewMetrics("v1.2.3")
	event := func(d core.Decision) core.Event {
		return core.Event{Request: &core.Request{}, Decision: &d, Duration: time.Millisecond}
	}
	m.End(context.Background(), event(core.Decision{Outcome: core.Allow, Reason: "allowed", Rule: "users:read", Principal: &core.Principal{Kind: core.KindJWT}}))
	m.End(context.Background(), event(core.Decision{Status: 401, Reason: "no_credential", Rule: "users:read"}))
	m.Call("session", time.Millisecond, nil)
	m.Call("session", time.Millisecond, errors.New("down"))
	m.TableLoaded("a.yaml", nil)
	m.TableLoaded("a.yaml", nil)
	m.TableLoaded("a.yaml", errors.New("line 1"))
	m.TableLoaded("b.yaml", nil)
	m.ShadowDiffers("allowed", "denied")
	m.HeaderAbsent("X-User-Id", "subject")
	m.HeaderAbsent("X-User-Id", "subject")
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := w.Body.String()
	for _, want := range []string{
		`gatehouse_decisions_total{kind="jwt",outcome="allow",reason="allowed",rule="users:read"} 1`,
		`gatehouse_decisions_total{kind="",outcome="deny",reason="no_credential",rule="users:read"} 1`,
		`gatehouse_decision_duration_seconds_count{outcome="allow"} 1`,
		`gatehouse_provider_call_duration_seconds_count{provider="session",result="error"} 1`,
		`gatehouse_build_info{version="v1.2.3"} 1`,
		`gatehouse_table_loads_total{result="ok",table="a.yaml"} 2`,
		`gatehouse_table_loads_total{result="error",table="a.yaml"} 1`,
		// An alert on the increase of errors has to see the first one.
		`gatehouse_table_loads_total{result="error",table="b.yaml"} 0`,
		`gatehouse_configuration_loads_total{result="error"} 0`,
		`gatehouse_upstream_header_absent_total{claims="subject",header="X-User-Id"} 2`,
		`gatehouse_shadow_differences_total{enforced="allowed",shadow="denied"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %s", want)
		}
	}
}

func TestManyRulesDoNotMakeManySeries(t *testing.T) {
	m := NewMetrics("devel")
	for i := range 3 * maxRules {
		m.End(context.Background(), core.Event{Request: &core.Request{}, Decision: &core.Decision{Rule: fmt.Sprint("rule ", i)}})
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "gatehouse_decisions_total" && len(f.Metric) != maxRules+1 {
			t.Errorf("%d series, want %d", len(f.Metric), maxRules+1)
		}
	}
}

// A name that is no UTF-8 is the operator's to choose, and no reason for a panic.
func TestRuleWithOddBytes(t *testing.T) {
	m := NewMetrics("devel")
	m.End(context.Background(), core.Event{Request: &core.Request{}, Decision: &core.Decision{Rule: "\xff"}})
	m.TableLoaded("\xff.yaml", nil)
	m.TableLoaded("\xff.yaml", errors.New("line 1"))
	if _, err := m.registry.Gather(); err != nil {
		t.Error(err)
	}
}

func TestRulesAtOnceDoNotMakeMoreSeries(t *testing.T) {
	m := NewMetrics("devel")
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for j := range maxRules {
				m.rule(fmt.Sprint(i, " ", j))
			}
		})
	}
	all.Wait()
	if len(m.rules) > maxRules {
		t.Errorf("%d rules, want at most %d", len(m.rules), maxRules)
	}
}

func TestEachRecorderGetsTheEvent(t *testing.T) {
	a, b := NewMetrics("devel"), NewMetrics("devel")
	Recorders{a, b}.End(context.Background(), core.Event{Request: &core.Request{}, Decision: &core.Decision{Rule: "r"}})
	if !a.rules["r"] || !b.rules["r"] {
		t.Error("a recorder was left out")
	}
}
