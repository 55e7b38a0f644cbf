// Package terminal is what all commands read and print with: flags for the form
// of the output, colours, columns, JSON and input files.
package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"gatehouse/core/audit"
)

// ErrNo ends a command with exitNo. The command has said why.
var ErrNo = errors.New("no")

// Choice is a flag that takes one of a few words.
type Choice struct {
	Value string
	Of    []string
}

func (c *Choice) String() string { return c.Value }
func (c *Choice) Type() string   { return strings.Join(c.Of, "|") }

// Set is called by the flag parser.
func (c *Choice) Set(value string) error {
	if !slices.Contains(c.Of, value) {
		return fmt.Errorf("use %s", Listing(c.Of, "or"))
	}
	c.Value = value
	return nil
}

// Register adds the flag to a command.
func (c *Choice) Register(cmd *cobra.Command, name, short, usage string) {
	cmd.Flags().VarP(c, name, short, usage)
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(c.Of, cobra.ShellCompDirectiveNoFileComp))
}

// OutputFlags say how a command prints.
type OutputFlags struct {
	Format, color Choice
}

// Register adds the flags; the first format is the default.
func (o *OutputFlags) Register(c *cobra.Command, formats ...string) {
	if formats == nil {
		formats = []string{"text", "json"}
	}
	o.Format = Choice{formats[0], formats}
	o.Format.Register(c, "output", "o", "how to print: "+Listing(formats, "or"))
	o.color = Choice{"auto", []string{"auto", "always", "never"}}
	o.color.Register(c, "color", "", "when to colour text; auto is on a terminal, unless NO_COLOR is set")
}

// JSON reports whether the output is for programs.
func (o *OutputFlags) JSON() bool { return o.Format.Value == "json" }

// Printer writes to the output of a command.
func (o *OutputFlags) Printer(cmd *cobra.Command) *Printer {
	w := cmd.OutOrStdout()
	return &Printer{w, o.color.Value == "always" || o.color.Value == "auto" && wantsColor(w)}
}

// wantsColor follows https://no-color.org.
func wantsColor(w io.Writer) bool {
	f, isFile := w.(*os.File)
	if !isFile || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Printer writes text, in colour where that is wanted.
type Printer struct {
	w     io.Writer
	color bool
}

// Printf writes a text.
func (p *Printer) Printf(format string, args ...any) { fmt.Fprintf(p.w, format, args...) }

// Paint colours a text with the code of an ANSI sequence.
func (p *Printer) Paint(code, text string) string {
	if !p.color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Good colours what is well, and those that follow what is bad, doubtful,
// secondary, a title and a name.
func (p *Printer) Good(text string) string { return p.Paint("32", text) }
func (p *Printer) Bad(text string) string  { return p.Paint("31", text) }
func (p *Printer) Warn(text string) string { return p.Paint("33", text) }
func (p *Printer) Dim(text string) string  { return p.Paint("2", text) }
func (p *Printer) Bold(text string) string { return p.Paint("1", text) }
func (p *Printer) Name(text string) string { return p.Paint("36", text) }

// Quiet writes a text that somebody else chose, such as a client, so that nothing in it ends a
// line, acts on a terminal or turns the direction of writing: such characters are escaped.
func Quiet(text string) string {
	if !strings.ContainsFunc(text, acts) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case acts(r):
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteString(text[:size])
		}
		text = text[size:]
	}
	return b.String()
}

func acts(r rune) bool { return !strconv.IsPrint(r) }

// Shorten cuts a text to so many characters, in its middle: what begins and what ends it stays.
func Shorten(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	end := (most - 1) / 2
	return string(runes[:most-1-end]) + "…" + string(runes[len(runes)-end:])
}

// Mark is a tick or a cross.
func (p *Printer) Mark(ok bool) string {
	c := Mark(ok)
	return p.Paint(c.Paint, c.Text)
}

// Rows prints cells in columns. Widths are those of the text without colours.
func (p *Printer) Rows(indent string, rows [][]Cell) {
	p.RowsOf(Widths(nil, rows), indent, rows)
}

// Widths are those of columns that hold rows, and no less than those before.
func Widths(widths []int, rows [][]Cell) []int {
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.Text))
		}
	}
	return widths
}

// RowsOf prints cells in columns of these widths.
func (p *Printer) RowsOf(widths []int, indent string, rows [][]Cell) {
	for _, row := range rows {
		var b strings.Builder
		for i, c := range row {
			b.WriteString(p.Paint(c.Paint, c.Text))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.Text)+2))
			}
		}
		p.Printf("%s%s\n", indent, strings.TrimRight(b.String(), " "))
	}
}

// Cell is a text with the code of its colour.
type Cell struct {
	Text, Paint string
}

// Mark is a cell with a tick or a cross.
func Mark(ok bool) Cell {
	if ok {
		return Cell{"✓", "32"}
	}
	return Cell{"✗", "31"}
}

// Plain is a cell without a colour, Dim one of secondary text.
func Plain(text string) Cell { return Cell{Text: text} }
func Dim(text string) Cell   { return Cell{text, "2"} }

// PrintJSON writes a value for programs. No character in it acts on a terminal.
func PrintJSON(w io.Writer, v any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(audit.Quiet(text.Bytes()))
	return err
}

// Notes prints what a reader may overlook.
func (p *Printer) Notes(notes []string) {
	for _, note := range notes {
		p.Printf("\nNote: %s.\n", note)
	}
}

// Plural counts things by their name.
func Plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Listing joins names as a sentence does: "a, b or c". A long list is cut.
func Listing(names []string, word string) string {
	const most = 6
	if len(names) > most {
		return strings.Join(names[:most-1], ", ") + fmt.Sprintf(" %s %d more", word, len(names)-most+1)
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " " + word + " " + names[len(names)-1]
}
