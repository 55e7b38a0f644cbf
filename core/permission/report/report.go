// Package report says what is wrong with a file that people write: each problem
// with its place, what is wrong and what to do.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Place is where something stands: a position in a file, or, for what was not
// read from text, a path such as "permissions.users:read.activities[0]" as File
// and no line. Lines and columns count from 1.
type Place struct {
	File         string
	Line, Column int
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one error in a file: where it is, what is wrong and what to do
// about it.
type Problem struct {
	Place
	Text string
}

func (p Problem) String() string { return p.Place.String() + ": " + p.Text }

// Problems is every error that was found, ordered by file, line and column.
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

// maxProblems bounds a report: a thousandth line is not read, and a hostile file
// must not fill the log.
const maxProblems = 100

// Collector gathers problems while a file is read or checked. The zero value is
// ready.
type Collector struct {
	problems Problems
	dropped  int
}

// Full reports whether further problems are only counted.
func (c *Collector) Full() bool { return len(c.problems) == maxProblems }

// Add notes a problem.
func (c *Collector) Add(at Place, format string, args ...any) {
	if c.Full() {
		c.dropped++
		return
	}
	c.problems = append(c.problems, Problem{at, fmt.Sprintf(format, args...)})
}

// Err returns the problems in reading order as Problems, or nil when there are
// none.
func (c *Collector) Err() error {
	if len(c.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(c.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if c.dropped > 0 {
		last := c.problems[len(c.problems)-1].Place
		c.problems = append(c.problems, Problem{last, fmt.Sprintf("%d more problems are not shown; mend these first", c.dropped)})
	}
	return c.problems
}

// maxQuoted bounds what a message repeats of a file.
const maxQuoted = 80

// Quote puts a text of a file between quotes. A backslash stays as it is,
// because a regex whose backslashes are doubled is not what the author wrote.
func Quote(s string) string {
	if len(s) > maxQuoted {
		s = strings.ToValidUTF8(s[:maxQuoted], "") + "…"
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == '"' }) {
		return strconv.Quote(s)
	}
	return `"` + s + `"`
}
