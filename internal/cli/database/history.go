package database

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/fleet/tables"
	clitables "gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
)

// Newest is the word for the newest version.
const Newest = "newest"

// parseVersion reads the number of a version.
func parseVersion(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is no version; gatehouse history lists them", text)
	}
	return n, nil
}

type pullOptions struct {
	table
	folder  string
	version string
	force   bool
}

// PullCommand is gatehouse pull.
func PullCommand() *cobra.Command {
	var o pullOptions
	c := &cobra.Command{
		Use:   "pull [flags]",
		Short: "Write a permission table of the fleet's database into files",
		Long: `Write the files of a version as they were pushed, and say which version it is: give
it as --base when they are pushed again.`,
		Example: `  gatehouse pull --into tables/
  gatehouse pull --version 11 --into old/`,
		Args: cobra.NoArgs,
		RunE: o.run,
	}
	o.table.register(c)
	c.Flags().StringVar(&o.folder, "into", ".", "`folder` for the files")
	c.Flags().StringVar(&o.version, "version", Newest, "`number` of the version, or "+Newest)
	c.Flags().BoolVar(&o.force, "force", false, "overwrite files that differ")
	_ = c.MarkFlagDirname("into")
	return c
}

func (o *pullOptions) run(cmd *cobra.Command, _ []string) error {
	v, err := o.read(cmd, o.version)
	if err != nil {
		return err
	}
	if err := pulled(o.folder, v, o.force); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "version %d of table %s, pushed by %s\n", v.Number, v.Name, v.Author)
	for _, f := range v.Files {
		fmt.Fprintln(cmd.OutOrStdout(), f.Name)
	}
	return nil
}

// read reads a version by its number, or the newest.
func (t *table) read(cmd *cobra.Command, word string) (*tables.Version, error) {
	store, name, closing, err := t.open()
	if err != nil {
		return nil, err
	}
	defer closing()
	if word == Newest {
		return store.Newest(cmd.Context(), name, nil)
	}
	number, err := parseVersion(word)
	if err != nil {
		return nil, err
	}
	return store.Version(cmd.Context(), name, number)
}

type historyOptions struct {
	table
	output terminal.OutputFlags
	limit  int
}

// HistoryCommand is gatehouse history.
func HistoryCommand() *cobra.Command {
	var o historyOptions
	c := &cobra.Command{
		Use:   "history [flags]",
		Short: "List the versions of a permission table in the fleet's database",
		Long: `List who changed a permission table, when and why, the newest first. An author is who
they said they are; the role is that of the connection, which the database tells.`,
		Example: `  gatehouse history
  gatehouse history --name main --limit 5 --output json`,
		Args: cobra.NoArgs,
		RunE: o.run,
	}
	o.table.register(c)
	o.output.Register(c)
	c.Flags().IntVar(&o.limit, "limit", 50, "greatest `number` of versions to list")
	return c
}

func (o *historyOptions) run(cmd *cobra.Command, _ []string) error {
	if o.limit < 1 || o.limit > 100_000 {
		return fmt.Errorf("--limit takes 1 to 100000")
	}
	store, name, closing, err := o.open()
	if err != nil {
		return err
	}
	defer closing()
	all, err := store.History(cmd.Context(), name, o.limit)
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		return fmt.Errorf("table %s %w; push it with gatehouse push --name %s", name, tables.ErrNone, name)
	case o.output.JSON():
		return terminal.PrintJSON(cmd.OutOrStdout(), historyForJSON(all))
	}
	p := o.output.Printer(cmd)
	var rows [][]terminal.Cell
	for _, v := range all {
		author := v.Author
		if v.Role != author {
			author += " (role " + v.Role + ")"
		}
		reason := v.Reason
		if v.Restores > 0 {
			reason = fmt.Sprintf("[version %d again] %s", v.Restores, reason)
		}
		rows = append(rows, []terminal.Cell{
			{Text: strconv.FormatInt(v.Number, 10), Paint: "36"},
			terminal.Plain(v.At.UTC().Format(time.RFC3339)), terminal.Plain(shown(author)), terminal.Plain(shown(reason)),
		})
	}
	p.Rows("", rows)
	return nil
}

// shown is a text of somebody else without what a terminal would obey.
func shown(text string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}

type versionJSON struct {
	Name     string    `json:"name"`
	Version  int64     `json:"version"`
	Digest   string    `json:"digest"`
	Base     int64     `json:"base"`
	Restores int64     `json:"restores,omitempty"`
	Author   string    `json:"author"`
	Role     string    `json:"role"`
	Reason   string    `json:"reason"`
	Program  string    `json:"program"`
	At       time.Time `json:"at"`
}

func historyForJSON(all []*tables.Version) []versionJSON {
	out := []versionJSON{}
	for _, v := range all {
		out = append(out, versionJSON{v.Name, v.Number, fmt.Sprintf("%x", v.Digest), v.Base, v.Restores, v.Author, v.Role, v.Reason, v.Program, v.At.UTC()})
	}
	return out
}

// Diff has the flags by which gatehouse diff compares versions of the database.
type Diff struct{ table table }

// Register adds the flags to a command.
func (d *Diff) Register(c *cobra.Command) { d.table.register(c) }

// IsVersion reports whether an argument is a version and not a file.
func IsVersion(arg string) bool {
	return arg == Newest || arg != "" && strings.Trim(arg, "0123456789") == ""
}

// Table is the table of a version.
func (d *Diff) Table(cmd *cobra.Command, arg string) (*clitables.Table, error) {
	v, err := d.table.read(cmd, arg)
	if err != nil {
		return nil, err
	}
	return compile(v.Placed())
}
