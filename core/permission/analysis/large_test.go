package analysis

import (
	"fmt"
	"strings"
	"testing"
)

// explosive is a table whose regexes are small one by one, while what they
// share takes the product of their sizes to find out.
func explosive(extra string) string {
	var b strings.Builder
	b.WriteString("permissions:\n  p:\n    activities:\n")
	for _, n := range []int{97, 101, 103} {
		fmt.Fprintf(&b, "      - GET /(?:a{%d})*\n", n)
	}
	return b.String() + extra
}

// What cannot be decided is said, never taken for "no finding".
func TestLintSaysWhatItCannotDecide(t *testing.T) {
	v := version(t, "t.yaml", "permissions: {p: {activities: [\"GET /(a{331})*a{330}\", \"GET /(a{337})*a{336}\"]}}")
	r, err := Lint(v.Table, v.Files, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Rule == "undecided" {
			return
		}
	}
	t.Errorf("got %v", r.Findings)
}

// A change that cannot be decided counts as a widening.
func TestDiffSaysWhatItCannotDecide(t *testing.T) {
	older, newer := version(t, "old", explosive("")), version(t, "new", explosive("      - GET /[a-c]*\n"))
	d, err := Diff(older, newer)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Undecided) == 0 || !d.Widening() {
		t.Errorf("got %v", d)
	}
}
