package deploytest

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the examples in deploy/kong and deploy/apisix")

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func readText(path string) string {
	text, err := os.ReadFile(path)
	must(err)
	return string(text)
}

// TestExamplesAreCurrent keeps the examples what the cases say.
func TestExamplesAreCurrent(t *testing.T) {
	for _, g := range []gateway{forKong, forAPISIX} {
		want := map[string]string{}
		for _, e := range examplesFor(t, g) {
			for name, text := range e.files(g) {
				want[filepath.Join(g.folder(e), name)] = text
			}
		}
		if *update {
			write(t, want)
		}
		for path, text := range want {
			if got, err := os.ReadFile(path); err != nil || string(got) != text {
				t.Errorf("%s is stale (%v): go test ./deploy/deploytest -run TestExamplesAreCurrent -update", path, err)
			}
		}
		found, err := filepath.Glob(filepath.Join("..", g.name, "examples", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if _, ok := want[path]; !ok {
				t.Errorf("%s belongs to no case", path)
			}
		}
	}
}

func write(t *testing.T, files map[string]string) {
	t.Helper()
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, shellHead) {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKeysAreNotThoseOfTheExamples: a key that stands in an example is one that
// is public. Only Kong's own file and Kubernetes' Secrets have no variables.
func TestKeysAreNotThoseOfTheExamples(t *testing.T) {
	for _, g := range []gateway{forKong, forAPISIX} {
		for _, e := range examplesFor(t, g) {
			for name, text := range e.files(g) {
				fixed := name == "kong.yml" || strings.Contains(text, "\nkind: Secret\n")
				if strings.Contains(text, "replace-me") && !fixed {
					t.Errorf("%s/%s of %s can take its secret from elsewhere", g.name, name, e.name)
				}
			}
		}
	}
}
