package monitoringtest

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/config"
)

// dashboard is what of a dashboard of Grafana is looked at here.
type dashboard struct {
	Panels []struct {
		Type, Title string
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct{ Expr string }
	}
}

// checkDashboard has every query of every panel find something in what was recorded.
func checkDashboard(t *testing.T, r *recorder) {
	text, err := os.ReadFile("../monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	filled := strings.NewReplacer("$__rate_interval", "5m", "$job", "gatehouse", "$instance", ".*")
	over := r.now.Sub(start)
	queries := 0
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("the panels %q and %q overlap", other, p.Title)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			queries++
			matrix, err := r.query(filled.Replace(target.Expr), over)
			switch {
			case err != nil:
				t.Errorf("%s: %s: %v", p.Title, target.Expr, err)
			case len(matrix) == 0:
				t.Errorf("%s: %s finds nothing", p.Title, target.Expr)
			case !strings.Contains(target.Expr, `job="$job", instance=~"$instance"`):
				t.Errorf("%s: %s is not of the job and the nodes that are chosen", p.Title, target.Expr)
			}
		}
	}
	if queries < 20 {
		t.Errorf("the dashboard has %d queries", queries)
	}
}

// start is when recorders begin.
var start = time.Unix(1_800_000_000, 0)

// The README shows how nodes are scraped.
func TestScrapeConfigurationOfTheREADMELoads(t *testing.T) {
	text, err := os.ReadFile("../monitoring/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```yaml\n# prometheus.yml\n")
	block, _, _ := strings.Cut(rest, "```")
	c, err := config.Load(block, slog.New(slog.DiscardHandler))
	if !found || err != nil {
		t.Fatal(found, err)
	}
	if len(c.ScrapeConfigs) != 1 || c.ScrapeConfigs[0].JobName != "gatehouse" || len(c.RuleFiles) != 1 || c.RuleFiles[0] != "alerts.yml" {
		t.Errorf("the block scrapes %+v by %v", c.ScrapeConfigs, c.RuleFiles)
	}
}
