package kong

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/core/config"
	"gatehouse/dev/kong/schema"
	"gatehouse/internal/check"
	"gatehouse/internal/check/finding"
	"gatehouse/plugins/kong/pluginserver"
)

// TestCheckFindsEveryOpenRoute makes random files. A route for which gatehouse
// check says nothing has to run Gatehouse here, by Kong's own precedence, and
// one that does must not be complained of. A file without an error loads.
func TestCheckFindsEveryOpenRoute(t *testing.T) {
	plugin := gatehouseSchema(t)
	file := filepath.Join(t.TempDir(), "kong.yml")
	r := rand.New(rand.NewPCG(7, 8))
	open, closed := 0, 0
	for range 1000 {
		text := randomServices(r)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := loadFile(file, plugin, noVault, false)
		report := check.Files([]check.File{{Name: "kong.yml", Content: []byte(text)}}, check.Options{})
		wrong := slices.ContainsFunc(report.Findings, func(f finding.Finding) bool { return f.Severity == finding.Error })
		switch {
		case err != nil && !wrong && !strings.Contains(err.Error(), "uniqueness violation"):
			t.Fatalf("%s\ncheck finds no error, Kong says %v", text, err)
		case err != nil:
			continue
		}
		complained := openRoutes(report)
		for _, route := range s.router.entries {
			runs := s.pluginFor("gatehouse", route.route) != nil
			if runs == complained[route.route.name] {
				t.Fatalf("%s\nthe route %s runs Gatehouse: %v; check complains of %v", text, route.route.name, runs, complained)
			}
			if runs {
				closed++
			} else {
				open++
			}
		}
	}
	if open < 300 || closed < 300 {
		t.Errorf("%d routes are open and %d closed", open, closed)
	}
}

func gatehouseSchema(t *testing.T) *schema.Plugin {
	t.Helper()
	made, err := pluginserver.Schema("gatehouse", config.Config{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	var raw any
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	plugin, err := schema.ParsePlugin(raw)
	if err != nil {
		t.Fatal(err)
	}
	return plugin
}

// openRoutes are those that check complains of, by their names.
func openRoutes(r *check.Report) map[string]bool {
	found := map[string]bool{}
	for _, f := range r.Findings {
		if rest, ok := strings.CutPrefix(f.Text, "the route "); ok && f.Rule == "unguarded-route" {
			name, _, _ := strings.Cut(rest, " ")
			found[name] = true
		}
	}
	return found
}

func randomServices(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString("_format_version: \"3.0\"\nservices:\n")
	for s := range 2 {
		fmt.Fprintf(&b, "  - name: s%d\n    url: http://127.0.0.1:1\n%s    routes:\n", s, randomPlugin(r, "    "))
		for n := range 2 {
			fmt.Fprintf(&b, "      - name: r%d%d\n        paths: [/%d%d]\n%s", s, n, s, n, randomPlugin(r, "        "))
		}
	}
	fmt.Fprintf(&b, "routes:\n  - name: r2\n    paths: [/2]\n    service: {name: s%d}\n%s", r.IntN(2), randomPlugin(r, "    "))
	var top []string
	for _, scope := range []string{"", "service: {name: s0}, ", "service: s1, ", "route: {name: r2}, ", "route: r00, ", "route: r01, service: s0, "} {
		if r.IntN(8) == 0 {
			top = append(top, "  - {"+scope+randomGatehouse(r)+"}")
		}
	}
	if top != nil {
		b.WriteString("plugins:\n" + strings.Join(top, "\n") + "\n")
	}
	return b.String()
}

func randomPlugin(r *rand.Rand, indent string) string {
	if r.IntN(4) > 0 {
		return ""
	}
	return indent + "plugins: [{" + randomGatehouse(r) + "}]\n"
}

func randomGatehouse(r *rand.Rand) string {
	configs := []string{
		`{session: {kratos_url: "http://k"}, permission_table: "public: [GET /x]"}`,
		`{session: {kratos_url: "http://k"}, permission_table: "public: [GET /x]"}`,
		`{session: {kratos_url: "http://k"}, permission_table: "public: [GET /x]"}`,
		`{file: /etc/gatehouse/gatehouse.yaml}`,
		`{file: /etc/gatehouse/gatehouse.yaml, realm: ""}`,
		`{session: {kratos_url: "http://k", cookie_name: ""}, permission_table: "public: [GET /x]"}`,
		`{session: {}}`,
	}
	rest := []string{"", "", "", ", enabled: false", ", protocols: [https, http]", ", protocols: [tcp]", ", enabled: true"}
	return "name: gatehouse, config: " + configs[r.IntN(len(configs))] + rest[r.IntN(len(rest))]
}
