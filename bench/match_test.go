package bench

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

var sizes = []int{10, 100, 1000, 10_000, 100_000}

var engines = []struct {
	name string
	new  func(b testing.TB, w *Workload) engine
}{
	{"gatehouse", func(b testing.TB, w *Workload) engine { return must(newGatehouse(w))(b) }},
	{"linear", func(b testing.TB, w *Workload) engine { return must(newLinear(w))(b) }},
	{"casbin", func(b testing.TB, w *Workload) engine { return must(newCasbin(w))(b) }},
	{"postgres", func(b testing.TB, w *Workload) engine { return must(newPostgres(b.Context(), server(b), w))(b) }},
}

// server starts PostgreSQL when the first benchmark wants it.
func server(b testing.TB) *postgresServer {
	startOnce.Do(func() {
		var dir string
		if dir, startErr = os.MkdirTemp("", "bench"); startErr == nil {
			started, startErr = startPostgres(dir)
		}
	})
	if startErr != nil {
		b.Fatal(startErr)
	}
	return started
}

var (
	startOnce sync.Once
	started   *postgresServer
	startErr  error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if started != nil {
		started.stop()
		_ = os.RemoveAll(started.dir)
	}
	os.Exit(code)
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
	i := 0
	timed(b, func() {
		r := &requests[i%len(requests)]
		if e.allowed(r) != r.Allowed {
			b.Fatalf("%s %s: allowed is not %t", r.Method, r.Path, r.Allowed)
		}
		i++
	})
}

// timed measures f by the clock on the wall and by the processor time of this
// process, to which other programs add little.
func timed(b *testing.B, f func()) {
	b.ReportAllocs()
	started := cpuTime()
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64((cpuTime()-started).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// cpuTime is how long this process has been computing.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
