package cli

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/dev/demo"
)

// line is a line of a code block in a Markdown page of the repository.
type line struct {
	file   string
	number int
	text   string
}

// codeLines returns the lines of all code blocks.
func codeLines(t *testing.T) []line {
	t.Helper()
	var all []line
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == ".cache") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		inside := false
		for i, l := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(strings.TrimSpace(l), "```") {
				inside = !inside
			} else if inside {
				all = append(all, line{path, i + 1, l})
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var devCommand = regexp.MustCompile(`(?:^|[\s|(/])gatehouse-dev ([a-z]+)((?: --?[a-z-]+)*)`)

func TestCommandsInDocumentationExist(t *testing.T) {
	count := 0
	for _, l := range codeLines(t) {
		m := devCommand.FindStringSubmatch(l.text)
		if m == nil {
			continue
		}
		count++
		var help strings.Builder
		if status := Main([]string{m[1], "--help"}, strings.NewReader(""), &help, io.Discard); status != exitOK || !strings.Contains(help.String(), "gatehouse-dev "+m[1]) {
			t.Errorf("%s:%d: gatehouse-dev %s does not exist", l.file, l.number, m[1])
		}
		for _, flag := range strings.Fields(m[2]) {
			if !strings.Contains(help.String(), flag+" ") {
				t.Errorf("%s:%d: gatehouse-dev %s has no flag %s", l.file, l.number, m[1], flag)
			}
		}
	}
	if count < 3 {
		t.Errorf("found %d commands; are they still written the same way?", count)
	}
}

// TestDemoRequestsInDocumentationAreTheDemos compares the curl lines of the pages
// with the requests that the demo shows.
func TestDemoRequestsInDocumentationAreTheDemos(t *testing.T) {
	var curls []string
	for _, request := range (&demo.Demo{}).Requests() {
		curls = append(curls, request.Curl("$KONG"))
	}
	count := 0
	for _, l := range codeLines(t) {
		if !strings.HasPrefix(l.text, "curl ") || !strings.Contains(l.text, "$KONG") {
			continue
		}
		count++
		if !slices.Contains(curls, l.text) {
			t.Errorf("%s:%d: the demo does not show %q", l.file, l.number, l.text)
		}
	}
	if count == 0 {
		t.Error("no page shows a request of the demo")
	}
}
