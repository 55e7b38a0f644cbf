// Package matrix has the command that shows roles and activities side by side.
package matrix

import (
	"context"
	_ "embed"
	"encoding/csv"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core/permission"
	"gatehouse/internal/cli/gates"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

type matrixCommandOptions struct {
	gates.CallFlags
	scopes bool
	title  string
}

// Command is gatehouse matrix.
func Command() *cobra.Command {
	var o matrixCommandOptions
	c := &cobra.Command{
		Use:   "matrix [flags]",
		Short: "Show roles and activities side by side",
		Long: `Show which role may perform which activity: as text for a terminal, Markdown for
a pull request, CSV for a spreadsheet, JSON, or one HTML file to publish.

A cell is the decision of the gate about a caller with that role and nothing else,
for all calls that the activity covers, by whatever activity they are decided: a
mark for all of them, ~ for a part, and nothing where none is allowed. A number
points to a note: what is required beside the grant, what else opens the calls, or
which of them stay closed.

A column of an actor is about a credential that is delegated to it, whose subject
may do everything: what the actor may do at most.

With --config, the gate is that of a configuration. The flags that describe a
caller say what every caller but "anybody" has beside the role, such as a scope
that scopes_required lists.`,
		Example: `  gatehouse matrix
  gatehouse matrix --output markdown >> docs/permissions.md
  gatehouse matrix --config gatehouse.yaml --scope api
  gatehouse matrix --table base.yaml --table orders.yaml --scopes --output html > matrix.html`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.Register(c, "text", "markdown", "csv", "html", "json")
	c.Flags().BoolVar(&o.scopes, "scopes", false, "show scopes beside the roles")
	c.Flags().StringVar(&o.title, "title", "Who may do what", "`title` of the HTML page")
	return c
}

func (o *matrixCommandOptions) run(cmd *cobra.Command) error {
	g, caller, err := o.Open(cmd)
	if err != nil {
		return err
	}
	rows, err := gates.NewActivities(g, &o.Request)
	if err != nil {
		return err
	}
	m, err := newMatrix(cmd.Context(), rows, caller, o.scopes)
	if err != nil {
		return o.Caller.Located(err)
	}
	m.Title = o.title
	w := cmd.OutOrStdout()
	switch o.Output.Format.Value {
	case "markdown":
		return m.markdown(w)
	case "csv":
		return m.csv(w)
	case "html":
		return m.html(w)
	case "json":
		return terminal.PrintJSON(w, m.forJSON())
	}
	m.text(o.Output.Printer(cmd))
	return nil
}

// matrix is who may do what.
type matrix struct {
	Title   string
	Columns []matrixColumn
	Groups  []matrixGroup
	// Notes are referred to by their number, from 1.
	Notes []string
	// Legend is what holds for the whole.
	Legend []string
}

type matrixColumn struct {
	Kind, Name string
	caller     *offline.Caller
}

// Label names a column where space allows.
func (c matrixColumn) Label() string {
	if c.Kind == "scope" {
		return "scope " + c.Name
	}
	return c.Name
}

// matrixGroup is what one permission or section owns.
type matrixGroup struct {
	Owner, Description string
	Section            permission.Section
	Rows               []matrixRow
}

type matrixRow struct {
	Rule permission.OwnedActivity
	// Cells has one for each column.
	Cells []matrixCell
}

// matrixCell is what one caller may do.
type matrixCell struct {
	May gates.May
	// Notes are numbers of notes.
	Notes []int
}

// Mark is the text of a cell.
func (c matrixCell) Mark() string {
	return c.Sign() + c.NoteNumbers()
}

// Sign is the text of a cell without its notes.
func (c matrixCell) Sign() string {
	return map[gates.May]string{gates.MayAll: "✓", gates.MaySome: "~", gates.MayUnknown: "?"}[c.May]
}

// NoteNumbers are the notes of a cell as raised numbers would show them.
func (c matrixCell) NoteNumbers() string {
	numbers := make([]string, len(c.Notes))
	for i, n := range c.Notes {
		numbers[i] = strconv.Itoa(n)
	}
	return strings.Join(numbers, ",")
}

// Methods and Hosts are for the page.
func (r matrixRow) Methods() string { return strings.Join(r.Rule.Methods, ", ") }

// Hosts is empty for every host.
func (r matrixRow) Hosts() string { return strings.Join(r.Rule.Hosts, ", ") }

// Anchor is the place in the files, as a title.
func (r matrixRow) Anchor() string { return r.Rule.Place.String() }

func newMatrix(ctx context.Context, a *gates.Activities, base *offline.Caller, withScopes bool) (*matrix, error) {
	_, roles, scopes := a.Gate.Names()
	cannot := a.Gate.CannotState(base.Kind, base.Issuer)
	m := &matrix{Columns: []matrixColumn{{"anybody", "anybody", &offline.Caller{Anonymous: true}}, {"credential", "signed in", base}}}
	for _, name := range roles {
		if !slices.Contains(cannot, "roles") {
			m.Columns = append(m.Columns, matrixColumn{"role", name, base.With([]string{name}, nil, nil)})
		}
	}
	for _, name := range scopes {
		if withScopes && !slices.Contains(cannot, "scopes") {
			m.Columns = append(m.Columns, matrixColumn{"scope", name, base.With(nil, []string{name}, nil)})
		}
	}
	for pattern, p := range a.Gate.Workloads() {
		m.Columns = append(m.Columns, matrixColumn{"subject", pattern, base.As(p)})
	}
	for pattern, p := range a.Gate.Actors() {
		m.Columns = append(m.Columns, matrixColumn{"actor", pattern, base.By(p)})
	}
	m.Legend = legend(a.Gate, cannot, base)
	for i, r := range a.Rules {
		row, err := m.row(ctx, a, i)
		if err != nil {
			return nil, err
		}
		m.group(a.Gate.Table, &r).Rows = append(m.group(a.Gate.Table, &r).Rows, row)
	}
	for _, sign := range []struct {
		may  gates.May
		text string
	}{{gates.MaySome, "~ is allowed for a part of the calls only"}, {gates.MayUnknown, "? could not be decided"}} {
		if m.has(sign.may) {
			m.Legend = append(m.Legend, sign.text)
		}
	}
	return m, nil
}

func (m *matrix) has(may gates.May) bool {
	for _, g := range m.Groups {
		for _, r := range g.Rows {
			if slices.ContainsFunc(r.Cells, func(c matrixCell) bool { return c.May == may }) {
				return true
			}
		}
	}
	return false
}

// legend says what the configuration adds to the table.
func legend(g *gates.Gate, cannot []string, base *offline.Caller) []string {
	if g.Name == "" {
		return nil
	}
	legend := []string{"decided by " + g.Name}
	if len(cannot) > 0 {
		legend = append(legend, "no credential that the gate accepts states "+terminal.Listing(cannot, "or"))
	}
	lacking := slices.DeleteFunc(slices.Clone(g.ScopesRequired()), func(s string) bool { return slices.Contains(base.Scopes, s) })
	if len(lacking) > 0 {
		legend = append(legend, fmt.Sprintf("every call that is not public needs %s; a caller without it may make none, and --scope shows who may with it", gates.ScopesRequiredText(lacking)))
	}
	if why := g.Refusal(base); why != nil {
		legend = append(legend, "the credential that the flags describe does not hold: "+why.Error())
	}
	return append(legend, g.Notes...)
}

func (m *matrix) group(t *tables.Table, r *permission.OwnedActivity) *matrixGroup {
	owner := r.Owner()
	i := slices.IndexFunc(m.Groups, func(g matrixGroup) bool { return g.Owner == owner && g.Section == r.Section })
	if i < 0 {
		i = len(m.Groups)
		m.Groups = append(m.Groups, matrixGroup{Owner: owner, Section: r.Section, Description: t.Description(r.Permission)})
	}
	return &m.Groups[i]
}

func (m *matrix) row(ctx context.Context, a *gates.Activities, i int) (matrixRow, error) {
	row := matrixRow{Rule: a.Rules[i]}
	for _, c := range m.Columns {
		v, err := a.Verdict(ctx, i, c.caller)
		if err != nil {
			return row, err
		}
		cell := matrixCell{May: v.May}
		for _, text := range v.Notes {
			cell.Notes = append(cell.Notes, m.note(text))
		}
		row.Cells = append(row.Cells, cell)
	}
	if !a.Reachable(i) {
		m.Legend = append(m.Legend, tables.Describe(&row.Rule)+" is open to nobody: "+gates.ErrUnreachable.Error())
	}
	return row, nil
}

// note returns the number of a note, which it adds if it is new.
func (m *matrix) note(text string) int {
	i := slices.Index(m.Notes, text)
	if i < 0 {
		i = len(m.Notes)
		m.Notes = append(m.Notes, text)
	}
	return i + 1
}

// --- text

func (m *matrix) text(p *terminal.Printer) {
	head := []terminal.Cell{terminal.Plain("")}
	for _, c := range m.Columns {
		head = append(head, terminal.Cell{Text: c.Label(), Paint: "1"})
	}
	rows := [][]terminal.Cell{head}
	for _, g := range m.Groups {
		rows = append(rows, []terminal.Cell{{Text: g.Owner, Paint: "36"}})
		for _, r := range g.Rows {
			row := []terminal.Cell{terminal.Plain("  " + tables.Describe(&r.Rule))}
			for i := range m.Columns {
				row = append(row, terminal.Cell{Text: r.Cells[i].Mark(), Paint: "32"})
			}
			rows = append(rows, row)
		}
	}
	p.Rows("", rows)
	if len(m.Notes) > 0 {
		p.Printf("\n")
	}
	for i, n := range m.Notes {
		p.Printf("%s  %s\n", p.Good(strconv.Itoa(i+1)), n)
	}
	if len(m.Legend) > 0 {
		p.Printf("\n")
	}
	for _, text := range m.Legend {
		p.Printf("%s\n", text)
	}
}

// --- Markdown

func (m *matrix) markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| |")
	for _, c := range m.Columns {
		b.WriteString(" " + markdownText(c.Label()) + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat(":-:|", len(m.Columns)) + "\n")
	for _, g := range m.Groups {
		fmt.Fprintf(&b, "| **%s**%s |%s\n", markdownText(g.Owner), markdownText(dash(g.Description)), strings.Repeat(" |", len(m.Columns)))
		for _, r := range g.Rows {
			b.WriteString("| " + markdownCode(tables.Describe(&r.Rule)) + " |")
			for i := range m.Columns {
				b.WriteString(" " + markdownMark(r.Cells[i]) + " |")
			}
			b.WriteString("\n")
		}
	}
	if len(m.Notes) > 0 {
		b.WriteString("\n")
	}
	for i, n := range m.Notes {
		fmt.Fprintf(&b, "%d. %s\n", i+1, markdownText(n))
	}
	for _, text := range m.Legend {
		fmt.Fprintf(&b, "\n%s\n", markdownText(text))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func markdownMark(c matrixCell) string {
	if len(c.Notes) == 0 {
		return c.Sign()
	}
	return c.Sign() + "<sup>" + c.NoteNumbers() + "</sup>"
}

func dash(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// markdownText keeps a text from being read as markup.
func markdownText(s string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "*", `\*`, "_", `\_`, "`", "\\`", "<", "&lt;", "[", `\[`, "\n", " ").Replace(s)
}

// markdownCode puts a text between backticks in a table, where a pipe still
// has to be escaped.
func markdownCode(s string) string {
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if len(fence) > 1 {
		s = " " + s + " "
	}
	return fence + strings.ReplaceAll(s, "|", `\|`) + fence
}

// --- CSV

func (m *matrix) csv(w io.Writer) error {
	out := csv.NewWriter(w)
	head := []string{"owner", "description", "methods", "path", "hosts", "notes"}
	for _, c := range m.Columns {
		head = append(head, c.Label())
	}
	rows := [][]string{head}
	for _, g := range m.Groups {
		for _, r := range g.Rows {
			rows = append(rows, m.csvRow(&g, &r))
		}
	}
	for _, row := range rows {
		for i := range row {
			row[i] = inert(row[i])
		}
	}
	return out.WriteAll(rows)
}

func (m *matrix) csvRow(g *matrixGroup, r *matrixRow) []string {
	row := []string{g.Owner, g.Description, strings.Join(r.Rule.Methods, " "), r.Rule.ShownPath(), strings.Join(r.Rule.Hosts, " "), m.csvNotes(r)}
	for _, c := range r.Cells {
		row = append(row, string(c.May))
	}
	return row
}

// csvNotes lists the notes of a row, each with its columns unless it is about all
// that may.
func (m *matrix) csvNotes(r *matrixRow) string {
	var order []int
	columns := map[int][]string{}
	may := 0
	for i, c := range r.Cells {
		if c.May != gates.MayNone {
			may++
		}
		for _, n := range c.Notes {
			if columns[n] == nil {
				order = append(order, n)
			}
			columns[n] = append(columns[n], m.Columns[i].Label())
		}
	}
	notes := make([]string, len(order))
	for i, n := range order {
		notes[i] = m.Notes[n-1]
		if len(columns[n]) < may {
			notes[i] = terminal.Listing(columns[n], "and") + ": " + notes[i]
		}
	}
	return strings.Join(notes, "; ")
}

// inert keeps a spreadsheet from taking a text for a formula.
func inert(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// --- HTML

//go:embed matrix.html
var matrixHTML string

var matrixPage = template.Must(template.New("matrix").Funcs(template.FuncMap{
	"next": func(i int) int { return i + 1 },
}).Parse(matrixHTML))

func (m *matrix) html(w io.Writer) error { return matrixPage.Execute(w, m) }

// --- for programs

type matrixJSON struct {
	Legend     []string           `json:"legend,omitempty"`
	Columns    []matrixColumnJSON `json:"columns"`
	Activities []matrixRowJSON    `json:"activities"`
}

type matrixColumnJSON struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

type matrixRowJSON struct {
	tables.ActivityJSON
	// Notes are those of all cells.
	Notes []string `json:"notes,omitempty"`
	// May has a value for each column: whether any of the calls is allowed.
	May []bool `json:"may"`
	// Cells has the decision for each column.
	Cells []matrixCellJSON `json:"cells"`
}

type matrixCellJSON struct {
	May   gates.May `json:"may"`
	Notes []string  `json:"notes,omitempty"`
}

func (m *matrix) forJSON() matrixJSON {
	out := matrixJSON{Legend: m.Legend, Columns: []matrixColumnJSON{}, Activities: []matrixRowJSON{}}
	for _, c := range m.Columns {
		out.Columns = append(out.Columns, matrixColumnJSON{c.Kind, c.Name})
	}
	for _, g := range m.Groups {
		for _, r := range g.Rows {
			row := matrixRowJSON{ActivityJSON: tables.ActivityForJSON(&r.Rule)}
			for _, c := range r.Cells {
				cell := matrixCellJSON{May: c.May}
				for _, n := range c.Notes {
					cell.Notes = append(cell.Notes, m.Notes[n-1])
					if !slices.Contains(row.Notes, m.Notes[n-1]) {
						row.Notes = append(row.Notes, m.Notes[n-1])
					}
				}
				row.Cells = append(row.Cells, cell)
				row.May = append(row.May, c.May != gates.MayNone)
			}
			out.Activities = append(out.Activities, row)
		}
	}
	return out
}
