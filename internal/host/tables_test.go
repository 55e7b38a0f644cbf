package host

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
)

func tableFile(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "permissions.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func follow(t *testing.T, h *Host, table, shadow string) *core.Gate {
	t.Helper()
	gate, err := h.Gates.Gate(fmt.Appendf(nil, `{"session": {"kratos_url": "http://127.0.0.1:1"}, "permission_table_files": [%q], "shadow_table_files": [%q]}`, table, shadow))
	if err != nil {
		t.Fatal(err)
	}
	return gate
}

// loadedTables counts the series that tell when a table was loaded.
func loadedTables(t *testing.T, h *Host, table string) int {
	t.Helper()
	status, text := get(t, h, "/metrics")
	if status != 200 {
		t.Fatalf("status %d: %s", status, text)
	}
	return strings.Count(text, fmt.Sprintf("gatehouse_table_loaded_timestamp_seconds{table=%q", table))
}

// Two configurations may follow the same files. A series that is there twice
// would make the whole scrape fail.
func TestTableOfTwoConfigurationsIsOneSeries(t *testing.T) {
	h := New(slog.New(slog.DiscardHandler))
	table, shadow := tableFile(t, "public: [GET /]"), tableFile(t, "public: [GET /other]")
	one, other := follow(t, h, table, shadow), follow(t, h, table, tableFile(t, "public: [GET /third]"))
	if n := loadedTables(t, h, table); n != 1 {
		t.Errorf("the table has %d series, want 1", n)
	}
	if n := loadedTables(t, h, shadow); n != 1 {
		t.Errorf("the shadow table has %d series, want 1", n)
	}
	runtime.KeepAlive(one)
	runtime.KeepAlive(other)
}

// An alert on the age of a table would go on for ever for one that is used no
// more; and every version would leave a series behind.
func TestUnusedTableHasNoAge(t *testing.T) {
	h := New(slog.New(slog.DiscardHandler))
	kept, dropped, shadow := tableFile(t, "public: [GET /]"), tableFile(t, "public: [GET /]"), tableFile(t, "public: [GET /]")
	gate := follow(t, h, kept, shadow)
	second := follow(t, h, dropped, shadow)
	if loadedTables(t, h, dropped) != 1 {
		t.Fatal("a table in use has no age")
	}
	runtime.KeepAlive(second)
	for end := time.Now().Add(time.Minute); loadedTables(t, h, dropped) > 0; runtime.GC() {
		if time.Now().After(end) {
			t.Fatal("an unused table has an age")
		}
	}
	if n := loadedTables(t, h, kept); n != 1 {
		t.Errorf("the table in use has %d series", n)
	}
	runtime.KeepAlive(gate)
}
