package repotest

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestArchitectureNamesWhatIsThere keeps the map of the code true. Words in
// capitals stand for a name to choose.
func TestArchitectureNamesWhatIsThere(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile("`((?:core|plugins|internal|cmd|dev|e2e|deploy|docs)/[a-z0-9_./-]*[a-z])`").FindAllStringSubmatch(string(text), -1)
	for _, m := range paths {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("there is no %s", m[1])
		}
	}
	if len(paths) < 20 {
		t.Errorf("%d paths were found", len(paths))
	}
}
