package settings

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write docs/forwardauth.schema.json")

func TestJSONSchemaIsCurrent(t *testing.T) {
	const path = "../../../docs/forwardauth.schema.json"
	want := string(JSONSchema())
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("docs/forwardauth.schema.json is stale (%v): run make docs", err)
	}
}
