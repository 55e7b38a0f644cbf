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

// tenants is a table of n activities, ten a permission, of which one has a condition.
func tenants(n int, condition string) string {
	var b strings.Builder
	b.WriteString("permissions:\n")
	for i := range n / 10 {
		fmt.Fprintf(&b, "  p%d:\n    activities:\n", i)
		for k := range 9 {
			fmt.Fprintf(&b, "      - %s /service%d/resource%d/[^/]+\n", []string{"GET", "POST", "GET,HEAD"}[k%3], i, k)
		}
		fmt.Fprintf(&b, "      - {methods: [ANY], path: '/service%d/tenants/(?P<tenant>[^/]+)(/.*)?', require: {when: \"%s\"}}\n", i, condition)
	}
	b.WriteString("roles:\n")
	for i := range n / 100 {
		fmt.Fprintf(&b, "  role%d: [p%d, p%d]\n", i, i, i+1)
	}
	b.WriteString("authenticated: [{methods: [ANY], path: '/admin(/.*)?', require: {aal: aal2}}]\npublic: [GET /healthz]\n")
	return b.String()
}

// BenchmarkDiff compares tables of 10,000 activities, 1,000 of which have a condition that
// the newer table has rewritten.
func BenchmarkDiff(b *testing.B) {
	const condition = "claims.tenant == path.tenant"
	older := version(b, "old", tenants(10_000, condition))
	for _, c := range []struct{ name, table string }{
		{"equal", tenants(10_000, condition)},
		{"one activity more", strings.Replace(tenants(10_000, condition), "public: [", "public: [GET /service1/resource1/a, ", 1)},
		{"conditions of the same meaning", tenants(10_000, "!(claims.tenant != path.tenant)")},
		{"conditions that are wider", tenants(10_000, "claims.tenant == path.tenant || claims.staff == true")},
		{"conditions that are wider for one tenant", tenants(10_000, "claims.tenant == path.tenant || path.tenant == 'demo'")},
	} {
		newer := version(b, "new", c.table)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Diff(older, newer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A comparison that would ask too much says so, and counts as a widening.
func TestMoreQuestionsThanAreAskedCountAsWidening(t *testing.T) {
	defer func(n int) { maxQuestions = n }(maxQuestions)
	maxQuestions = 0
	older, newer := version(t, "old", tenants(100, "claims.tenant == path.tenant")), version(t, "new", tenants(100, "!(claims.tenant != path.tenant)"))
	d, err := Diff(older, newer)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Changes) == 0 || d.Changes[0].Direction != MayDiffer || !strings.Contains(d.Changes[0].Reason, "more than 0 questions") || !d.Widening() {
		t.Errorf("changes: %+v", d.Changes)
	}
}
