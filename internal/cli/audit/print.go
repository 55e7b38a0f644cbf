package audit

import (
	"bufio"
	"cmp"
	"io"
	"strconv"
	"strings"
	"time"

	"gatehouse/core/audit"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/trail"
)

// lines prints entries as JSON lines.
type lines struct {
	w   io.Writer
	out *bufio.Writer
}

func (l *lines) add(e *trail.Entry) {
	if l.out == nil {
		l.out = bufio.NewWriter(l.w)
	}
	_, _ = l.out.Write(e.Line)
	_ = l.out.WriteByte('\n')
}

func (l *lines) flush() {
	if l.out != nil {
		_ = l.out.Flush()
	}
}

func (l *lines) end(int, int) { l.flush() }

// table prints entries in columns. Those of a batch decide how wide columns are; later ones
// make them wider.
type table struct {
	*terminal.Printer
	day    string
	widths []int
	rows   []row
}

type row struct {
	day   string
	cells []terminal.Cell
}

// Bounds of a table.
const (
	// batch is how many rows are laid out together.
	batch = 500
	// maxCaller and maxRequest are how many characters a column takes at most.
	maxCaller  = 32
	maxRequest = 56
	// shownID is how much of a request's id is shown; gatehouse why takes as much.
	shownID = 8
)

func (t *table) add(e *trail.Entry) {
	t.rows = append(t.rows, row{e.Time.UTC().Format(time.DateOnly), cells(&e.Record)})
	if len(t.rows) >= batch {
		t.flush()
	}
}

var titles = []terminal.Cell{terminal.Dim("TIME"), terminal.Dim("DECISION"), terminal.Dim("CALLER"), terminal.Dim("REQUEST"), terminal.Dim("ID"), terminal.Dim("WHY")}

func (t *table) flush() {
	if len(t.rows) == 0 {
		return
	}
	all := make([][]terminal.Cell, len(t.rows))
	for i, r := range t.rows {
		all[i] = r.cells
	}
	first := t.widths == nil
	t.widths = terminal.Widths(t.widths, append(all, titles[:len(titles)-1]))
	if first {
		t.RowsOf(t.widths, "", [][]terminal.Cell{titles})
	}
	for _, r := range t.rows {
		if r.day != t.day {
			t.day = r.day
			t.Printf("%s\n", t.Bold(t.day+" UTC"))
		}
		t.RowsOf(t.widths, "", [][]terminal.Cell{r.cells})
	}
	t.rows = nil
}

func (t *table) end(taken, of int) {
	t.flush()
	switch {
	case of == 0:
		t.Printf("%s\n", t.Warn("no records"))
	case taken == of:
		t.Printf("%s\n", t.Dim(terminal.Plural(of, "record", "records")))
	default:
		t.Printf("%s\n", t.Dim(strconv.Itoa(taken)+" of "+terminal.Plural(of, "record", "records")))
	}
}

func cells(r *audit.Record) []terminal.Cell {
	id := terminal.Quiet(r.RequestID)
	if runes := []rune(id); len(runes) > shownID {
		id = string(runes[:shownID])
	}
	return []terminal.Cell{
		terminal.Dim(r.Time.UTC().Format(time.TimeOnly)), decision(r),
		{Text: terminal.Shorten(terminal.Quiet(caller(r.Caller)), maxCaller), Paint: "36"},
		terminal.Plain(terminal.Shorten(terminal.Quiet(cmp.Or(r.Method, "-")+" "+r.Asked()), maxRequest)),
		terminal.Dim(id), terminal.Plain(terminal.Quiet(why(r))),
	}
}

func decision(r *audit.Record) terminal.Cell {
	text, paint := r.Decision, "32"
	if r.Status != 0 {
		text += " " + strconv.Itoa(r.Status)
	}
	switch {
	case r.Status >= 500:
		paint = "31;1"
	case r.Decision == "deny":
		paint = "31"
	case r.Decision == "respond":
		paint = "33"
	}
	return terminal.Cell{Text: text, Paint: paint}
}

// caller names who called, and who acted for them.
func caller(c *audit.Caller) string {
	if c == nil {
		return "-"
	}
	text := cmp.Or(c.Subject, c.ClientID, "?")
	if c.Actor != nil {
		text += " by " + cmp.Or(c.Actor.Subject, c.Actor.ClientID, "?")
	}
	return text
}

// why says in a few words what decided.
func why(r *audit.Record) string {
	switch {
	case r.Decision == "deny" && r.Expected != "":
		return r.Reason + ": needs " + r.Expected + ", has " + r.Got
	case r.Decision == "deny":
		return cmp.Or(r.Cause, r.Reason)
	case r.Permission != "" && r.Grant != "":
		return r.Permission + " by " + r.Grant
	case r.Rule != "" && !strings.HasPrefix(r.Rule, r.Reason+":"):
		return cmp.Or(r.Reason, r.Decision) + ": " + r.Rule
	case r.Rule != "":
		return r.Rule
	}
	return cmp.Or(r.Reason, r.Decision)
}
