package permission

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Place is a position in a table file. Lines and columns count from 1.
type Place struct {
	File         string
	Line, Column int
}

func (p Place) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Problem is one mistake in a table: where it is, what is wrong and what to
// do about it.
type Problem struct {
	Place
	Text string
}

func (p Problem) String() string { return p.Place.String() + ": " + p.Text }

// Problems is every mistake that was found, ordered by file, line and column.
type Problems []Problem

var _ error = Problems(nil)

// Error lists the problems, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds a report: nobody reads the thousandth line, and a hostile
// file must not fill the log.
const maxProblems = 100

// report collects problems while a file is read or a table compiled.
type report struct {
	problems Problems
	dropped  int
}

// full reports whether further problems are only counted.
func (r *report) full() bool { return len(r.problems) == maxProblems }

func (r *report) add(at Place, format string, args ...any) {
	if r.full() {
		r.dropped++
		return
	}
	r.problems = append(r.problems, Problem{at, fmt.Sprintf(format, args...)})
}

// err returns the problems in reading order, or nil when there are none.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if r.dropped > 0 {
		last := r.problems[len(r.problems)-1].Place
		r.problems = append(r.problems, Problem{last, fmt.Sprintf("%d more problems are not shown; mend these first", r.dropped)})
	}
	return r.problems
}
