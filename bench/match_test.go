package bench

import (
	"fmt"
	"slices"
	"testing"

	"gatehouse/dev/postgrestest"
)

var sizes = []int{10, 100, 1000, 10_000, 100_000}

var engines = []struct {
	name string
	new  func(b testing.TB, w *Workload) engine
}{
	{"gatehouse", func(b testing.TB, w *Workload) engine { return must(newGatehouse(w))(b) }},
	{"linear", func(b testing.TB, w *Workload) engine { return must(newLinear(w))(b) }},
	{"casbin", func(b testing.TB, w *Workload) engine { return must(newCasbin(w))(b) }},
	{"postgres", func(b testing.TB, w *Workload) engine {
		return must(newPostgres(b.Context(), postgrestest.Start(b), w))(b)
	}},
}

// TestEnginesAgree: a comparison of engines that answer differently would say
// nothing.
func TestEnginesAgree(t *testing.T) {
	w := New(100)
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			b := e.new(t, w)
			for _, r := range slices.Concat(w.Hits[:200], w.Misses[:200]) {
				if b.allowed(&r) != r.Allowed {
					t.Errorf("%s %s: allowed is not %t", r.Method, r.Path, r.Allowed)
				}
			}
		})
	}
}

func must[E engine](e E, err error) func(b testing.TB) engine {
	return func(b testing.TB) engine {
		if err != nil {
			b.Fatal(err)
		}
		return e
	}
}

// BenchmarkMatch times one decision: what covers the call, and does the
// caller hold it.
func BenchmarkMatch(b *testing.B) {
	for _, e := range engines {
		b.Run("engine="+e.name, func(b *testing.B) {
			for _, n := range sizes {
				b.Run(fmt.Sprintf("activities=%d", n), func(b *testing.B) {
					w := New(n)
					engine := e.new(b, w)
					b.Run("case=hit", func(b *testing.B) { run(b, engine, w.Hits) })
					b.Run("case=miss", func(b *testing.B) { run(b, engine, w.Misses) })
				})
			}
		})
	}
}

func run(b *testing.B, e engine, requests []Request) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r := &requests[i%len(requests)]
		if e.allowed(r) != r.Allowed {
			b.Fatalf("%s %s: allowed is not %t", r.Method, r.Path, r.Allowed)
		}
	}
}
