package lint

import (
	"testing"

	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

// What cannot be decided is said, never taken for "no finding".
func TestLintSaysWhatItCannotDecide(t *testing.T) {
	file, err := tablefile.Parse("t.yaml", []byte("permissions: {p: {activities: [\"GET /(a{331})*a{330}\", \"GET /(a{337})*a{336}\"]}}"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Lint(table, []*permission.File{file}, nil)
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
