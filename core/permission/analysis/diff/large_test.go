package diff

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
