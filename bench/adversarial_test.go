package bench

import (
	"fmt"
	"strings"
	"testing"

	"gatehouse/core/permission/strictyaml"
)

// hostile is a table that leaves an index little to go by.
type hostile struct {
	name string
	// path is the regex of activity i, request a path that it matches.
	path, request func(i int) string
}

// numbered puts the number of an activity into a regex and a path.
func numbered(name, path, request string) hostile {
	put := func(format string) func(int) string {
		return func(i int) string { return strings.ReplaceAll(format, "#", fmt.Sprintf("%05d", i)) }
	}
	return hostile{name, put(path), put(request)}
}

// unlike spells a number in the lengths of runs of letters and digits, so that
// no two regexes are the same and none holds any literal.
func unlike(letters, digits string) func(int) string {
	return func(i int) string {
		return fmt.Sprintf("/"+letters+digits+letters, 1+i%50, 1+i/50%50, 1+i/2500)
	}
}

// bits spells the bits of a number.
func bits(zero, one, between string) func(int) string {
	return func(i int) string {
		var b strings.Builder
		for ; b.Len() == 0 || i > 0; i /= 2 {
			b.WriteString(between + []string{zero, one}[i%2])
		}
		return "/" + b.String()
	}
}

var hostileTables = []hostile{
	numbered("shared-prefix", "/api/[^/]+/x#", "/api/tenant/x#"),
	numbered("one-segment", "/item-[0-9a-f]+-#", "/item-beef-#"),
	numbered("dot-star-suffix", ".*/report-#", "/a/b/report-#"),
	numbered("dot-star-inner", ".*/key-#/.*", "/a/b/key-#/c"),
	numbered("all-alike", ".*", "/anything"),
	{"no-literal-no-length", bits("[a-f]+", "[g-m]+", "[0-9]"), bits("af", "gm", "0")},
	{"no-literal", unlike("[a-z]{%d}", "[0-9]{%d}"), func(i int) string {
		return "/" + strings.Repeat("a", 1+i%50) + strings.Repeat("1", 1+i/50%50) + strings.Repeat("b", 1+i/2500)
	}},
}

func (h hostile) workload(n int) *Workload {
	w := &Workload{}
	for i := range n {
		w.Activities = append(w.Activities, Activity{Permission: fmt.Sprintf("p%d", i), Methods: []string{"GET"}, Path: h.path(i)})
	}
	for i := range min(n, requests) {
		w.Hits = append(w.Hits, Request{Method: "GET", Path: h.request(i * (n / min(n, requests))), Allowed: true})
	}
	return w
}

// BenchmarkHostile times tables made to defeat the index.
func BenchmarkHostile(b *testing.B) {
	for _, h := range hostileTables {
		for _, n := range []int{100, 1000, 10_000, 100_000} {
			w := h.workload(n)
			if len(w.YAML()) > strictyaml.MaxFile {
				continue // no table of this size is ever loaded
			}
			b.Run(fmt.Sprintf("table=%s/engine=gatehouse/activities=%d", h.name, n), func(b *testing.B) {
				run(b, must(newGatehouse(w))(b), w.Hits)
			})
			if n <= 10_000 {
				b.Run(fmt.Sprintf("table=%s/engine=linear/activities=%d", h.name, n), func(b *testing.B) {
					run(b, must(newLinear(w))(b), w.Hits)
				})
			}
		}
	}
}
