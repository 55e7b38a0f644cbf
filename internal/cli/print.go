package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// choice is a flag that takes one of a few words.
type choice struct {
	value string
	of    []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.of, "|") }

// Set is called by the flag parser.
func (c *choice) Set(value string) error {
	if !slices.Contains(c.of, value) {
		return fmt.Errorf("use %s", listing(c.of, "or"))
	}
	c.value = value
	return nil
}

func (c *choice) register(cmd *cobra.Command, name, short, usage string) {
	cmd.Flags().VarP(c, name, short, usage)
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(c.of, cobra.ShellCompDirectiveNoFileComp))
}

// outputFlags say how a command prints.
type outputFlags struct {
	format, color choice
}

// register adds the flags; the first format is the default.
func (o *outputFlags) register(c *cobra.Command, formats ...string) {
	if formats == nil {
		formats = []string{"text", "json"}
	}
	o.format = choice{formats[0], formats}
	o.format.register(c, "output", "o", "how to print: "+listing(formats, "or"))
	o.color = choice{"auto", []string{"auto", "always", "never"}}
	o.color.register(c, "color", "", "when to colour text; auto is on a terminal, unless NO_COLOR is set")
}

func (o *outputFlags) json() bool { return o.format.value == "json" }

func (o *outputFlags) printer(cmd *cobra.Command) *printer {
	w := cmd.OutOrStdout()
	return &printer{w, o.color.value == "always" || o.color.value == "auto" && wantsColor(w)}
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

// printer writes text, in colour where that is wanted.
type printer struct {
	w     io.Writer
	color bool
}

func (p *printer) printf(format string, args ...any) { fmt.Fprintf(p.w, format, args...) }

func (p *printer) paint(code, text string) string {
	if !p.color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *printer) good(text string) string { return p.paint("32", text) }
func (p *printer) bad(text string) string  { return p.paint("31", text) }
func (p *printer) warn(text string) string { return p.paint("33", text) }
func (p *printer) dim(text string) string  { return p.paint("2", text) }
func (p *printer) bold(text string) string { return p.paint("1", text) }
func (p *printer) name(text string) string { return p.paint("36", text) }

// mark is a tick or a cross.
func (p *printer) mark(ok bool) string {
	if ok {
		return p.good("✓")
	}
	return p.bad("✗")
}

// rows prints cells in columns. Widths are those of the text without colours.
func (p *printer) rows(indent string, rows [][]cell) {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, c := range row {
			b.WriteString(p.paint(c.paint, c.text))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		p.printf("%s%s\n", indent, strings.TrimRight(b.String(), " "))
	}
}

// cell is a text with the code of its colour.
type cell struct {
	text, paint string
}

func plain(text string) cell { return cell{text: text} }
func dim(text string) cell   { return cell{text, "2"} }

// printJSON writes a value for programs.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
