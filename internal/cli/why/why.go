// Package why has the command that explains one recorded decision.
package why

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/account"
	"gatehouse/core/audit"
	"gatehouse/core/audit/kept"
	"gatehouse/core/permission"
	"gatehouse/core/permission/accesslog"
	"gatehouse/core/permission/tablefile"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/trail"
	"gatehouse/internal/why"
)

type options struct {
	kept   string
	table  tables.Flags
	output terminal.OutputFlags
}

// Command is gatehouse why.
func Command() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "why [flags] REQUEST-ID [LOG]...",
		Short: "Explain a decision that was made: why, and what would have been enough",
		Long: `Find a request in audit records, or in lines of the gate's log, and explain in plain
words what was decided, why, and what would have been enough. REQUEST-ID is what the
client read in the refusal, or its first 8 characters or more. LOG is a file of
audit.file, whose older files are read too, or a log; - or no LOG is standard input.

The permission table of that moment is taken from the folder of audit.tables (--tables),
or is named with --table. Without one, the answer rests on the record alone. What is
said to have been enough has been decided by a gate with that table.

A record has no claims, headers or query: what a condition said about these stays
open. A line of the log tells less than a record: of a caller, no roles and scopes.
The exit status is 1 if the request is not found.`,
		Example: `  gatehouse why 934a5f48 /var/log/gatehouse/audit.jsonl --tables /var/lib/gatehouse/tables
  gatehouse why 934a5f4859150d4861d1f136223b7310 error.log --table permissions.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no request is named; give its id, as in gatehouse why 934a5f48 audit.jsonl")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0], args[1:]) },
	}
	c.Flags().StringVar(&o.kept, "tables", "", "`folder` of audit.tables, in which tables are kept")
	c.Flags().StringArrayVarP(&o.table.Paths, "table", "t", nil, "`file` or folder of the table of that moment; repeat it to merge several")
	c.MarkFlagsMutuallyExclusive("tables", "table")
	_ = c.MarkFlagDirname("tables")
	_ = c.MarkFlagFilename("table", "yaml", "yml")
	o.output.Register(c)
	return c
}

func (o *options) run(cmd *cobra.Command, id string, logs []string) error {
	s := &search{id: id}
	if err := s.find(cmd.InOrStdin(), logs); err != nil {
		return terminal.PlainPathError(err)
	}
	if len(s.found) == 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "gatehouse: no record of request %s%s\n", terminal.Quiet(id), s.bad())
		return terminal.ErrNo
	}
	x := &explanation{search: s, record: s.found[len(s.found)-1]}
	if err := o.ofMoment(cmd, x); err != nil {
		return err
	}
	x.explain(cmd.Context())
	if o.output.JSON() {
		return terminal.PrintJSON(cmd.OutOrStdout(), x.forJSON())
	}
	printer{o.output.Printer(cmd), x}.print()
	return nil
}

// search looks for the records of a request.
type search struct {
	id string
	// found are its records in their order: the last one counts. Those that audit records hold
	// are preferred to lines of the log.
	found  []record
	lines  int
	unread int
}

type record struct {
	*trail.Entry
	// logged says that it is a line of the log.
	logged bool
}

// Bounds of a search.
const (
	// shortest is how many characters of an id name a request.
	shortest = 8
	// maxFound is how many records of one request are held: it has one or two.
	maxFound = 100
)

func (s *search) find(stdin io.Reader, logs []string) error {
	if len(logs) == 0 {
		logs = []string{"-"}
	}
	for _, name := range logs {
		if err := s.read(stdin, name, logs); err != nil {
			return err
		}
	}
	return s.settle()
}

func (s *search) read(stdin io.Reader, name string, logs []string) error {
	if name == "-" {
		return accesslog.Lines(stdin, s.line)
	}
	return trail.Lines(name, logs, s.line)
}

func (s *search) line(line []byte) {
	s.lines++
	if !strings.Contains(string(line), s.id) && !s.escaped() {
		return
	}
	e, logged, err := trail.ParseAny(line)
	switch {
	case err != nil:
		s.unread++
	case e.RequestID == s.id || len(s.id) >= shortest && strings.HasPrefix(e.RequestID, s.id):
		if s.found = append(s.found, record{e, logged}); len(s.found) > maxFound {
			s.found = s.found[1:]
		}
	}
}

// escaped reports whether the id has characters that JSON may write as escapes.
func (s *search) escaped() bool {
	return strings.ContainsFunc(s.id, func(r rune) bool { return r < '!' || r > '~' || r == '"' || r == '\\' })
}

// settle leaves the records of one request.
func (s *search) settle() error {
	var ids []string
	exact := slices.ContainsFunc(s.found, func(r record) bool { return r.RequestID == s.id })
	s.found = slices.DeleteFunc(s.found, func(r record) bool { return exact && r.RequestID != s.id })
	for _, r := range s.found {
		if !slices.Contains(ids, r.RequestID) {
			ids = append(ids, terminal.Quiet(r.RequestID))
		}
	}
	if len(ids) > 1 {
		return fmt.Errorf("%s begins the ids of several requests: %s; give more of it", s.id, terminal.Listing(ids, "and"))
	}
	if slices.ContainsFunc(s.found, func(r record) bool { return !r.logged }) {
		s.found = slices.DeleteFunc(s.found, func(r record) bool { return r.logged })
	}
	slices.SortStableFunc(s.found, func(a, b record) int { return a.Time.Compare(b.Time) })
	return nil
}

// bad says what may have hidden the request.
func (s *search) bad() string {
	text := fmt.Sprintf(" in %s", terminal.Plural(s.lines, "line", "lines"))
	if s.unread > 0 {
		text += fmt.Sprintf("; %s it and could not be read", terminal.Plural(s.unread, "line names", "lines name"))
	}
	return text + "; admissions may be sampled (audit.sampling_rate), and old files removed (audit.file.max_kept)"
}

// explanation is one record with the table of its moment.
type explanation struct {
	*search
	record record
	files  []*permission.File
	// table says which table it is, doubt why it may be another one or there is none.
	table, doubt string
	// places says that the places of activities are those of the operator's own files.
	places bool
	answer *why.Answer
	// untold is why the table says nothing.
	untold string
}

// ofMoment finds the table by which was decided.
func (o *options) ofMoment(cmd *cobra.Command, x *explanation) error {
	switch {
	case o.table.Paths != nil:
		return o.named(cmd, x)
	case o.kept == "" && (x.record.Decision != "deny" || !x.byTable()):
		return nil
	case o.kept == "":
		x.doubt = "no table is named: name the folder of audit.tables with --tables, or the files of the table with --table, and it is said what would have been enough"
		return nil
	case x.record.Table == nil:
		x.doubt = "the record names no version of the table; name the files of the table with --table"
		return nil
	}
	return o.keptOne(x)
}

// named takes the table that the flags name, and says whether it is that of the moment.
func (o *options) named(cmd *cobra.Command, x *explanation) error {
	t, err := o.table.Load(cmd)
	if err != nil {
		return err
	}
	x.files, x.places = t.Files, true
	x.table = terminal.Listing(o.table.Paths, "and")
	texts := make([]tablefile.Text, 0, len(t.Files))
	for _, f := range t.Files {
		texts = append(texts, tablefile.Text{Name: f.Name, Content: t.Texts[f.Name]})
	}
	switch v := x.record.Table; {
	case v == nil:
		x.doubt = "the record names no version of the table: whether it is that of the moment is not known"
	case tablefile.Version(texts...) != v.Version:
		x.doubt = fmt.Sprintf("it is another version than was in force, %s of %s", v.Version, v.Source)
	}
	return nil
}

// keptOne takes the table of the record out of the folder, or says what else is kept there.
func (o *options) keptOne(x *explanation) error {
	v := account.Table{Source: x.record.Table.Source, Version: x.record.Table.Version}
	all, err := kept.List(o.kept)
	if err != nil {
		return terminal.PlainPathError(err)
	}
	if audit.IsCut(v.Source) {
		v.Source = whole(v, all)
	}
	texts, err := kept.Read(o.kept, v)
	if errors.Is(err, kept.ErrNone) {
		x.doubt = gone(v, o.kept, all)
		return nil
	}
	if err != nil {
		return terminal.PlainPathError(err)
	}
	x.table = fmt.Sprintf("%s at version %s", v.Source, v.Version)
	x.files, _, err = tablefile.ParseAll(texts...)
	return err
}

// whole is the name of a source that was too long for a record.
func whole(v account.Table, all []kept.Kept) string {
	for _, k := range all {
		if k.Version == v.Version && strings.HasPrefix(k.Source, strings.TrimSuffix(v.Source, "...")) {
			return k.Source
		}
	}
	return v.Source
}

// gone says that a table is no longer kept, and what is.
func gone(v account.Table, dir string, all []kept.Kept) string {
	text := fmt.Sprintf("the table of that moment, version %s of %s, is not kept in %s", v.Version, v.Source, dir)
	if len(all) == 0 {
		return text + ", which holds none"
	}
	var list []string
	for _, k := range all {
		list = append(list, fmt.Sprintf("%s of %s (last in force %s)", k.Version, k.Source, k.Last.UTC().Format(time.DateTime)))
	}
	return text + "; kept are " + terminal.Listing(list, "and")
}

func (x *explanation) explain(ctx context.Context) {
	if x.files == nil || x.record.Decision == "respond" {
		return
	}
	t, err := why.Of(x.files...)
	if err == nil {
		x.answer, err = t.Explain(ctx, &x.record.Record)
	}
	if err != nil {
		x.untold = err.Error()
	}
}

// agrees reports whether the table says what was decided.
func (x *explanation) agrees() bool {
	return x.answer.Verdict == why.Unknown || string(x.answer.Verdict) == x.record.Decision
}

// byTable reports whether a refusal is one that the table makes. Others come before the table is
// asked, or have another cause.
func (x *explanation) byTable() bool {
	return (x.answer == nil || !x.answer.Elsewhere) && slices.Contains([]string{"no_credential", "invalid_credential", "insufficient_scope", "forbidden", "step_up"}, x.record.Reason)
}
