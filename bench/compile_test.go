package bench

import (
	"fmt"
	"runtime"
	"testing"

	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

// BenchmarkLoad times what happens between the text of a table and the first
// request, and measures what the compiled table keeps in memory.
func BenchmarkLoad(b *testing.B) {
	for _, n := range sizes {
		text := New(n).YAML()
		b.Run(fmt.Sprintf("step=parse/activities=%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := tablefile.Parse("bench.yaml", text); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("step=compile/activities=%d", n), func(b *testing.B) {
			file, err := tablefile.Parse("bench.yaml", text)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := permission.Compile(file); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("step=both/activities=%d", n), func(b *testing.B) {
			var table *permission.Table
			before := inUse()
			for b.Loop() {
				var err error
				if table, err = load(text); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(inUse()-before)/float64(n), "kept-B/activity")
			runtime.KeepAlive(table)
		})
	}
}

func load(text []byte) (*permission.Table, error) {
	file, err := tablefile.Parse("bench.yaml", text)
	if err != nil {
		return nil, err
	}
	return permission.Compile(file)
}

// inUse is the memory in use once all garbage is gone.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
