package check_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/check"
	"gatehouse/internal/check/finding"
)

// TestExamplesHaveNeitherErrorsNorOpenRoutes checks what deploy/ shows: the
// files of each folder together, as an operator applies them.
func TestExamplesHaveNeitherErrorsNorOpenRoutes(t *testing.T) {
	const deploy = "../../deploy"
	count := 0
	for _, pattern := range []string{
		"*/examples/*/kong.yml", "*/examples/*/deck.yaml", "*/examples/*/apisix.yaml", "*/examples/*/adc.yaml",
		"*/examples/*/kubernetes.yaml", "*/examples/*/apisixroute.yaml", "*/examples/*/gateway-api.yaml", "*/examples/*/gatehouse.yaml",
		"kong/kong.yml", "apisix/apisix.yaml", "apisix/adc.yaml", "apisix/config*.yaml", "apisix/gateway.yaml", "kong/gateway.yaml",
		"*/forwardauth.yaml", "*/gatehouse.yaml", "*/compose.yaml", "*/helm/*.yaml", "*/hybrid/*.yaml",
	} {
		files, err := filepath.Glob(filepath.Join(deploy, pattern))
		if err != nil || len(files) == 0 {
			t.Errorf("%s names no file (%v)", pattern, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			count++
			for _, f := range check.Files([]check.File{{Name: file, Content: content}}, check.Options{}).Findings {
				if f.Severity != finding.Note && !(f.Rule == "unknown-kind" && strings.Contains(pattern, "compose")) {
					t.Errorf("%s: %s: %s", f.Place, f.Rule, f.Text)
				}
			}
		}
	}
	if count < 80 {
		t.Errorf("found %d examples", count)
	}
}
