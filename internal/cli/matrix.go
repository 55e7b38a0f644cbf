package cli

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
)

type matrixCommandOptions struct {
	table  tableFlags
	scopes bool
	title  string
	output outputFlags
}

func matrixCommand() *cobra.Command {
	var o matrixCommandOptions
	c := &cobra.Command{
		Use:   "matrix [flags]",
		Short: "Show roles and activities side by side",
		Long: `Show which role may perform which activity: as text for a terminal, Markdown for
a pull request, CSV for a spreadsheet, JSON, or one HTML file to publish.

A number in a cell points to a note: what the activity requires beside the
grant, or which of its calls a stricter part of the table guards.`,
		Example: `  gatehouse matrix
  gatehouse matrix --output markdown >> docs/permissions.md
  gatehouse matrix --table base.yaml --table orders.yaml --scopes --output html > matrix.html`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.table.register(c)
	c.Flags().BoolVar(&o.scopes, "scopes", false, "show scopes beside the roles")
	c.Flags().StringVar(&o.title, "title", "Who may do what", "`title` of the HTML page")
	o.output.register(c, "text", "markdown", "csv", "html", "json")
	return c
}

func (o *matrixCommandOptions) run(cmd *cobra.Command) error {
	t, err := o.table.load(cmd)
	if err != nil {
		return err
	}
	m, err := newMatrix(t, o.scopes)
	if err != nil {
		return err
	}
	m.Title = o.title
	w := cmd.OutOrStdout()
	switch o.output.format.value {
	case "markdown":
		return m.markdown(w)
	case "csv":
		return m.csv(w)
	case "html":
		return m.html(w)
	case "json":
		return printJSON(w, m.forJSON())
	}
	m.text(o.output.printer(cmd))
	return nil
}

// matrix is who may do what.
type matrix struct {
	Title   string
	Columns []matrixColumn
	Groups  []matrixGroup
	// Notes are referred to by their number, from 1.
	Notes []string
}

type matrixColumn struct {
	Kind, Name string
	caller     *core.Principal
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
	Rule permission.Rule
	// Notes are the numbers of the notes for those who may.
	Notes []int
	May   []bool
}

// Mark is the text of a cell.
func (r matrixRow) Mark(column int) string {
	if !r.May[column] {
		return ""
	}
	return "✓" + r.NoteNumbers()
}

// NoteNumbers are the notes of a row as raised numbers would show them.
func (r matrixRow) NoteNumbers() string {
	numbers := make([]string, len(r.Notes))
	for i, n := range r.Notes {
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

func newMatrix(t *table, withScopes bool) (*matrix, error) {
	_, roles, scopes := t.Names()
	m := &matrix{Columns: []matrixColumn{{"anybody", "anybody", nil}, {"credential", "signed in", &core.Principal{}}}}
	for _, name := range roles {
		m.Columns = append(m.Columns, matrixColumn{"role", name, &core.Principal{Roles: []string{name}}})
	}
	for _, name := range scopes {
		if withScopes {
			m.Columns = append(m.Columns, matrixColumn{"scope", name, &core.Principal{Scopes: []string{name}}})
		}
	}
	guards, err := analysis.Guards(t.Rules())
	if err != nil {
		return nil, err
	}
	for i, r := range t.Rules() {
		m.group(t, &r).Rows = append(m.group(t, &r).Rows, m.row(t, r, guards[i]))
	}
	return m, nil
}

func (m *matrix) group(t *table, r *permission.Rule) *matrixGroup {
	owner := r.Owner()
	i := slices.IndexFunc(m.Groups, func(g matrixGroup) bool { return g.Owner == owner && g.Section == r.Section })
	if i < 0 {
		i = len(m.Groups)
		m.Groups = append(m.Groups, matrixGroup{Owner: owner, Section: r.Section, Description: t.description(r.Permission)})
	}
	return &m.Groups[i]
}

// description is what a file says about a permission.
func (t *table) description(name string) string {
	for _, f := range t.files {
		for i := range f.Permissions {
			if f.Permissions[i].Name == name {
				return f.Permissions[i].Description
			}
		}
	}
	return ""
}

func (m *matrix) row(t *table, r permission.Rule, guards []analysis.Guard) matrixRow {
	row := matrixRow{Rule: r}
	if need := requirements(&r.Require); need != "" {
		row.Notes = append(row.Notes, m.note("requires "+need))
	}
	if len(guards) > 0 {
		row.Notes = append(row.Notes, m.note("except "+exception(guards)))
	}
	for _, c := range m.Columns {
		_, may := t.GrantsOf(c.caller, &r)
		row.May = append(row.May, may)
	}
	return row
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

func (m *matrix) text(p *printer) {
	head := []cell{plain("")}
	for _, c := range m.Columns {
		head = append(head, cell{c.Label(), "1"})
	}
	rows := [][]cell{head}
	for _, g := range m.Groups {
		rows = append(rows, []cell{{g.Owner, "36"}})
		for _, r := range g.Rows {
			row := []cell{plain("  " + describe(&r.Rule))}
			for i := range m.Columns {
				row = append(row, cell{r.Mark(i), "32"})
			}
			rows = append(rows, row)
		}
	}
	p.rows("", rows)
	if len(m.Notes) > 0 {
		p.printf("\n")
	}
	for i, n := range m.Notes {
		p.printf("%s  %s\n", p.good(strconv.Itoa(i+1)), n)
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
			b.WriteString("| " + markdownCode(describe(&r.Rule)) + " |")
			for i := range m.Columns {
				b.WriteString(" " + m.markdownMark(&r, i) + " |")
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
	_, err := io.WriteString(w, b.String())
	return err
}

func (m *matrix) markdownMark(r *matrixRow, column int) string {
	if !r.May[column] || len(r.Notes) == 0 {
		return r.Mark(column)
	}
	return "✓<sup>" + r.NoteNumbers() + "</sup>"
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
	notes := make([]string, len(r.Notes))
	for i, n := range r.Notes {
		notes[i] = m.Notes[n-1]
	}
	row := []string{g.Owner, g.Description, strings.Join(r.Rule.Methods, " "), r.Rule.Path, strings.Join(r.Rule.Hosts, " "), strings.Join(notes, "; ")}
	for _, may := range r.May {
		row = append(row, map[bool]string{true: "yes", false: "no"}[may])
	}
	return row
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
	Columns    []matrixColumnJSON `json:"columns"`
	Activities []matrixRowJSON    `json:"activities"`
}

type matrixColumnJSON struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

type matrixRowJSON struct {
	ruleJSON
	Notes []string `json:"notes,omitempty"`
	// May has a value for each column.
	May []bool `json:"may"`
}

func (m *matrix) forJSON() matrixJSON {
	out := matrixJSON{Columns: []matrixColumnJSON{}, Activities: []matrixRowJSON{}}
	for _, c := range m.Columns {
		out.Columns = append(out.Columns, matrixColumnJSON{c.Kind, c.Name})
	}
	for _, g := range m.Groups {
		for _, r := range g.Rows {
			row := matrixRowJSON{ruleJSON: ruleForJSON(&r.Rule), May: r.May}
			for _, n := range r.Notes {
				row.Notes = append(row.Notes, m.Notes[n-1])
			}
			out.Activities = append(out.Activities, row)
		}
	}
	return out
}
