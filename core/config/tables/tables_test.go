package tables

import (
	"runtime"
	"testing"
)

func TestOneTextIsCompiledOnce(t *testing.T) {
	b := NewBuilder(Options{})
	inline := func(text string) *Table {
		t.Helper()
		table, _, err := b.Table(Settings{Inline: text})
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	first := inline("public: [GET /healthz]")
	if inline("public: [GET /healthz]") != first {
		t.Error("one text is compiled twice")
	}
	if inline("public: [GET /readyz]") == first {
		t.Error("two texts are one table")
	}
	runtime.KeepAlive(first)
}
