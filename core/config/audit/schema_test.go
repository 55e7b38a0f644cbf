package audit

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write docs/audit.schema.json")

func TestJSONSchemaIsCurrent(t *testing.T) {
	const path = "../../../docs/audit.schema.json"
	want := string(JSONSchema())
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("docs/audit.schema.json is stale (%v): run make docs", err)
	}
}
