package hosts

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/core/permission/tablefile"
	"gatehouse/dev/postgrestest"
	"gatehouse/internal/cli"
)

// versions is what a node says of its tables.
type versions struct {
	Tables []struct {
		Name, Version string
		Shadow        bool
	}
}

// says reports whether readiness and metrics name exactly this version of the table in
// force and this one of its shadow table.
func (h *running) says(table, version, shadow, shadowVersion string) error {
	status, text := h.admin("/readyz")
	var v versions
	if err := json.Unmarshal([]byte(text), &v); err != nil || status != http.StatusOK || len(v.Tables) != 2 {
		return fmt.Errorf("ready: status %d: %s", status, text)
	}
	_, metrics := h.admin("/metrics")
	series := regexp.MustCompile(`(?m)^gatehouse_table_loaded_timestamp_seconds\{table="(.*)",version="(.*)"\}`).FindAllStringSubmatch(metrics, -1)
	if len(series) != 2 {
		return fmt.Errorf("%d versions in the metrics: %q", len(series), series)
	}
	counted := map[string]string{series[0][1]: series[0][2], series[1][1]: series[1][2]}
	for _, got := range v.Tables {
		name, want := table, version
		if got.Shadow {
			name, want = shadow, shadowVersion
		}
		if got.Name != name || !strings.HasPrefix(got.Version, want) || counted[name] != got.Version {
			return fmt.Errorf("table %+v, metrics %q, want %s of %s", got, series, want, name)
		}
	}
	return nil
}

// versionedTable is a table with a shadow table, both of which can be replaced.
type versionedTable struct {
	settings     map[string]any
	name, shadow string
	// replace returns how the new version is called, or begins.
	replace, replaceShadow  func(t *testing.T, number int, text string) (version string)
	breakSource, mendSource func()
}

const firstTable, nextTable = "public: [GET /1]\n", "public: [GET /2]\n"

// A version is in force as soon as a node says so, on every host, from the database and
// from a web server; what is refused is never named.
func TestReadinessAndMetricsSayWhichVersionIsEnforced(t *testing.T) {
	for host := range starts {
		for source, begin := range map[string]func(*testing.T) versionedTable{"database": tableInDatabase, "web server": tableOnServer} {
			t.Run(host+" "+source, func(t *testing.T) {
				t.Parallel()
				table := begin(t)
				first, shadow := table.replace(t, 1, firstTable), table.replaceShadow(t, 1, nextTable)
				onHost(t, host, table.settings, os.DevNull, func(t *testing.T, h *running) { h.testVersions(t, table, first, shadow) })
			})
		}
	}
}

func (h *running) testVersions(t *testing.T, table versionedTable, version, shadow string) {
	client := &http.Client{}
	opens := func(path string) bool { return h.status(t, client, path) == http.StatusOK }
	isSaid := func(what string) {
		t.Helper()
		var err error
		defer func() {
			if err != nil {
				t.Log(err)
			}
		}()
		await(t, what, func() bool {
			err = h.says(table.name, version, table.shadow, shadow)
			return err == nil
		})
	}
	await(t, "the table is loaded", func() bool { return opens("/1") })
	isSaid("the first versions are said")

	shadow = table.replaceShadow(t, 2, firstTable)
	isSaid("the next shadow table is said")
	if !opens("/1") || opens("/2") {
		t.Error("the shadow table is enforced")
	}

	version = table.replace(t, 2, nextTable)
	isSaid("the next table is said")
	if opens("/1") || !opens("/2") {
		t.Error("a version is said that is not in force")
	}

	table.breakSource()
	for range 20 {
		if err := h.says(table.name, version, table.shadow, shadow); err != nil || !opens("/2") {
			t.Errorf("while the source is away: %v", err)
		}
	}
	table.mendSource()

	version = table.replace(t, 3, firstTable)
	isSaid("the last table is said")
	if !opens("/1") || opens("/2") {
		t.Error("a version is said that is not in force")
	}
}

// pushed is a table in the database of a server; the version that is pushed is known by
// its number.
func pushed(s *postgrestest.Server, flags ...string) func(*testing.T, int, string) string {
	return func(t *testing.T, number int, text string) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "t.yaml")
		replaceFile(t, file, text)
		args := append([]string{"push", "--database-url", s.URL, "--reason", "test", "--allow-findings"}, flags...)
		var out strings.Builder
		if status := cli.Main(append(args, file), strings.NewReader(""), &out, &out); status != 0 {
			t.Fatalf("status %d: %s", status, &out)
		}
		return strconv.Itoa(number) + "-"
	}
}

func database(t *testing.T) (s *postgrestest.Server, settings map[string]any) {
	t.Helper()
	s = postgrestest.StartServer(t)
	if status := cli.Main([]string{"db", "migrate", "--database-url", s.URL}, strings.NewReader(""), io.Discard, io.Discard); status != 0 {
		t.Fatal("no schema")
	}
	host, port, _ := strings.Cut(s.Addr, ":")
	number, _ := strconv.Atoi(port)
	return s, map[string]any{
		"session":           map[string]any{"kratos_url": "http://127.0.0.1:1"},
		"postgres":          map[string]any{"host": host, "port": number, "user": "tester", "database": "postgres"},
		"shadow_table_name": "main.shadow",
	}
}

func tableInDatabase(t *testing.T) versionedTable {
	s, settings := database(t)
	settings["permission_table_name"] = "main"
	return versionedTable{
		settings: settings, name: "main", shadow: "main.shadow",
		replace: pushed(s), replaceShadow: pushed(s, "--shadow"), breakSource: s.Stop, mendSource: s.Restart,
	}
}

func tableOnServer(t *testing.T) versionedTable {
	s, settings := database(t)
	var text atomic.Value
	var broken atomic.Bool
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			io.WriteString(w, "public: [GET /broken(]\n")
			return
		}
		io.WriteString(w, text.Load().(string))
	}))
	t.Cleanup(web.Close)
	settings["bundle"] = map[string]any{"urls": []string{web.URL + "/t.yaml"}, "poll_interval": 1}
	return versionedTable{
		settings: settings, name: web.URL + "/t.yaml", shadow: "main.shadow",
		replace: func(t *testing.T, _ int, table string) string {
			text.Store(table)
			return tablefile.Version(tablefile.Text{Content: []byte(table)})
		},
		replaceShadow: pushed(s, "--shadow"),
		breakSource:   func() { broken.Store(true) }, mendSource: func() { broken.Store(false) },
	}
}
