package repotest

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var (
	code = regexp.MustCompile("`([^`]+)`")
	// varying is what differs from one line of the log to another.
	varying = regexp.MustCompile(`…|"[^"]*"|\b[0-9]+\b|\baal[123]\b|: `)
)

// What docs/sign-in.md quotes of the log is what the gate writes there.
func TestCausesInTheGuideToTheSignInAreThoseOfTheLog(t *testing.T) {
	_, table, found := strings.Cut(pageOf(t, "docs/sign-in.md").text, "| what people see | `cause` |")
	if !found {
		t.Fatal("docs/sign-in.md has no table of causes")
	}
	_, table, _ = strings.Cut(table, "\n")
	list := exec.Command("git", "grep", "-h", "-e", `"`, "--", "core/*.go", ":!*_test.go")
	list.Dir = root
	source, err := list.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	count := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			break
		}
		for _, quoted := range code.FindAllStringSubmatch(cells[2], -1) {
			for _, part := range varying.Split(quoted[1], -1) {
				part = strings.Trim(part, " ,(")
				if len(part) < 12 || strings.Contains(part, "=") || strings.HasPrefix(part, "Request Header") {
					continue
				}
				if count++; !strings.Contains(string(source), part) {
					t.Errorf("no line of the log says %q, which the guide quotes", part)
				}
			}
		}
		if title := strings.TrimSpace(cells[1]); strings.HasPrefix(title, "This ") || strings.HasPrefix(title, "You ") || strings.HasPrefix(title, "A ") {
			if !strings.Contains(string(source), `"`+title+`"`) {
				t.Errorf("no page is called %q", title)
			}
		}
	}
	if count < 10 {
		t.Errorf("found %d parts of causes", count)
	}
}
