package host

import (
	"context"
	"io"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/permission/live"
	"gatehouse/internal/logqueue"
)

// exercised is a host on which everything that is counted has happened.
func exercised(t *testing.T) *Host {
	t.Helper()
	h := New(slog.New(slog.DiscardHandler))
	h.CountDropped(logqueue.New(io.Discard))
	gate, err := h.Gates.Gate([]byte(`
session: {kratos_url: "http://127.0.0.1:1"}
permission_table_files: [` + tableFile(t, "authenticated: [GET /]") + `]
`))
	if err != nil {
		t.Fatal(err)
	}
	gate.Check(context.Background(), &core.Request{Method: "GET", Target: "/", Header: []core.Header{{Name: "X-Session-Token", Value: "st"}}})
	t.Cleanup(func() { gate.Check(context.Background(), &core.Request{}) }) // keeps it alive until here
	told, err := h.Gates.Gate([]byte(`
session: {kratos_url: "http://127.0.0.1:1"}
revocation: {}
state_dir: ` + t.TempDir() + `
revocation_endpoints: {admin: {secret: "a secret of at least thirty-two bytes"}}
permission_table: "authenticated: [GET /]"
`))
	if err != nil {
		t.Fatal(err)
	}
	told.Check(context.Background(), &core.Request{Method: "POST", Target: "/revocations", AskBody: func(int) ([]byte, error) { return nil, nil }})
	followed, err := h.Gates.Follow([]byte("file: /absent"), config.Terms{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runtime.KeepAlive(followed) })
	h.Metrics.ShadowDiffers(string(live.Allowed), string(live.Denied))
	h.Metrics.HeaderAbsent("X-User-Id", "sub")
	h.Metrics.Call("session", time.Millisecond, nil)
	return h
}

// What is served of a metric: the line with its type, and the labels of the
// first one behind it, which are sorted.
var (
	servedMetric = regexp.MustCompile(`(?m)^# TYPE (gatehouse_[a-z_]+) ([a-z]+)\n[a-z_]+\{(.*)\} `)
	servedLabel  = regexp.MustCompile(`([a-z]+)="`)
)

var documentedMetric = regexp.MustCompile("(?m)^\\| `(gatehouse_[a-z_]+)` \\| ([a-z]+) \\| ([^|]+) \\| ([^|]+) \\|")

// TestMetricsAreDocumented compares docs/operations.md with what is served: each
// metric by name, type, unit and labels, both ways.
func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range documentedMetric.FindAllStringSubmatch(string(text), -1) {
		name, unit := row[1], row[3]
		if strings.HasSuffix(name, "_seconds") != strings.HasPrefix(unit, "seconds") {
			t.Errorf("%s is said to be in %s", name, unit)
		}
		labels := strings.Split(strings.ReplaceAll(row[4], "`", ""), ", ")
		slices.Sort(labels)
		documented[name] = row[2] + " by " + strings.Join(labels, ", ")
		for _, label := range labels {
			if !regexp.MustCompile("(?m)^\\| .*`" + label + "`.* \\| ").MatchString(string(text)) {
				t.Errorf("the values of the label %s are not documented", label)
			}
		}
	}
	_, served := get(t, exercised(t), "/metrics")
	for _, family := range servedMetric.FindAllStringSubmatch(served, -1) {
		var labels []string
		for _, label := range servedLabel.FindAllStringSubmatch(family[3], -1) {
			if label[1] != "le" { // of histograms
				labels = append(labels, label[1])
			}
		}
		name, got := family[1], family[2]+" by "+strings.Join(labels, ", ")
		if documented[name] != got {
			t.Errorf("%s is a %s, documented %q", name, got, documented[name])
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("%s is documented and not served", name)
	}
}

func TestOutcomesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `enforced`, `shadow` \\| .*").FindString(string(text))
	for _, outcome := range []live.Outcome{
		live.Uncovered, live.Public, live.Allowed, live.Denied, live.NeedsCredential, live.Failed,
	} {
		if !strings.Contains(row, "`"+string(outcome)+"`") {
			t.Errorf("the outcome %s is not documented", outcome)
		}
	}
}

// TestMetricsFollowTheConventionsOfPrometheus: names, units and help texts, as
// promtool check metrics sees them.
func TestMetricsFollowTheConventionsOfPrometheus(t *testing.T) {
	_, served := get(t, exercised(t), "/metrics")
	problems, err := promlint.New(strings.NewReader(served)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
