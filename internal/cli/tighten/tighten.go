// Package tighten has the command that makes a table narrower by what a log shows of its
// use.
package tighten

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	udiff "github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"gatehouse/core/permission/accesslog"
	"gatehouse/core/permission/tableedit"
	"gatehouse/core/permission/tighten"
	"gatehouse/internal/cli/gates"
	"gatehouse/internal/cli/logs"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
)

type options struct {
	table      tables.Flags
	log        logs.Flags
	path       gates.PathFlags
	incomplete bool
	output     terminal.OutputFlags
}

// Command is gatehouse tighten.
func Command() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "tighten [flags] LOGFILE [--table TABLE]",
		Short: "Take out of a table what no logged request used",
		Long: `Read an access log or audit records, name the permissions, activities, methods and grants
of the table that no request used, and print the narrowest table that still passes every
request of the log, as a unified diff. It takes the formats of gatehouse replay; - is
standard input.

Nothing is applied. The new table is compared with the old one for all requests and all
callers, and is printed only if it lets nothing in that the old one refuses. An activity
that nobody used stays where a wider one would decide in its place.

Requests that were answered with 401 or 403, and those that an audit record does not let
through, count as refused and keep nothing. An access log rarely says who called; then only
activities are judged, with the grants of those that go. --user-field takes the roles of each
caller from it, so that grants of roles and of anonymous callers are judged, too. Audit
records name each caller, with roles, scopes and permissions. Scopes, and what is granted to
workloads and actors, are never judged by themselves.

The result is as good as the log: what is used once a year is not in a log of a month.
The exit status is 1 where something is unused.`,
		Example: `  gatehouse tighten access.log --table permissions.yaml
  gatehouse tighten access.log > narrower.patch; patch -p0 < narrower.patch
  gatehouse audit audit.jsonl --since 90d --output json | gatehouse tighten -
  cat access.log.*.gz | gatehouse tighten - --user-field consumer.tags`,
		Args: terminal.OneArgument("LOGFILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	o.table.Register(c)
	o.log.Register(c)
	o.path.Register(c)
	c.Flags().BoolVar(&o.incomplete, "allow-incomplete", false, "print the new table although lines were not read or have no host")
	o.output.Register(c)
	return c
}

func (o *options) run(cmd *cobra.Command, name string) error {
	if name == "-" && slices.Contains(o.table.Paths, "-") {
		return errors.New("standard input is named more than once; name files for the rest")
	}
	table, err := o.table.Load(cmd)
	if err != nil {
		return err
	}
	report, err := o.look(cmd, name, table)
	if err != nil {
		return err
	}
	r := result{Report: report, complete: report.Hostless == 0 && !accesslog.Unread(report.Skipped)}
	if r.complete || o.incomplete {
		if err := r.edit(table); err != nil {
			return err
		}
	}
	if o.output.JSON() {
		err = terminal.PrintJSON(cmd.OutOrStdout(), r.forJSON())
	} else {
		printer{o.output.Printer(cmd)}.print(&r)
	}
	if err == nil && len(report.Unused) > 0 {
		err = terminal.ErrNo
	}
	return err
}

// look reads the log.
func (o *options) look(cmd *cobra.Command, name string, table *tables.Table) (*tighten.Report, error) {
	users, err := o.log.Users()
	if err != nil {
		return nil, err
	}
	how, err := o.log.Options()
	if err != nil {
		return nil, err
	}
	log, err := logs.Open(cmd.InOrStdin(), name)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	report, err := tighten.Run(log, tighten.Options{Files: table.Files, Table: table.Inspector, Log: how, Users: users, Host: o.log.Host, Path: o.path.PathOptions})
	if errors.Is(err, tighten.ErrNothing) && report.Requests == 0 {
		if report.Lines == 0 {
			return nil, logs.Empty(tables.ShownName(name), 0, 0, "")
		}
		return nil, logs.Empty(tables.ShownName(name), report.Lines, report.Skipped[0].First, report.Skipped[0].Reason)
	}
	if err != nil {
		return nil, terminal.PlainPathError(err)
	}
	return report, nil
}

// result is a report with the texts of the new table.
type result struct {
	*tighten.Report
	complete bool
	files    []edited
}

// edited is a file of the table before and after.
type edited struct {
	name, old, new string
	// rewritten says that the comments of the file are lost.
	rewritten bool
}

func (r *result) edit(table *tables.Table) error {
	for i, f := range table.Files {
		removals := r.Removals(f.Name)
		if len(removals) == 0 {
			continue
		}
		old := table.Texts[f.Name]
		text, rewritten, err := tableedit.Apply(old, removals, r.Files[i])
		if err != nil {
			return err
		}
		r.files = append(r.files, edited{f.Name, string(old), string(text), rewritten})
	}
	return nil
}

func (e *edited) patch() string { return udiff.Unified(e.name, e.name, e.old, e.new) }

type printer struct{ *terminal.Printer }

func (p printer) print(r *result) {
	for _, u := range r.Unused {
		p.Printf("%s  %s  %s\n", p.Warn("unused"), p.describe(&u), p.Dim(u.Place.String()))
	}
	for i := range r.Guarding {
		a := &r.Guarding[i]
		p.Printf("%s  %s  %s\n", p.Name("stays "), "activity "+a.String()+" of "+a.Owner()+", which nobody used: without it a wider one would decide", p.Dim(a.Place.String()))
	}
	p.counts(r)
	for _, f := range r.files {
		if f.rewritten {
			p.Printf("%s\n", p.Warn(f.name+" has a layout in which parts cannot be taken out: it is written anew, without its comments"))
		}
	}
	for _, f := range r.files {
		p.Printf("\n%s", f.patch())
	}
}

func (p printer) describe(u *tighten.Unused) string {
	text := string(u.Kind) + " " + u.Name
	if u.Owner != "" {
		text += " of " + u.Owner
	}
	if u.Left != nil {
		text += ", but for " + terminal.Listing(u.Left, "and")
	}
	return text
}

// counts are what the answer rests on.
func (p printer) counts(r *result) {
	window := "the log does not say when"
	if !r.First.IsZero() {
		window = fmt.Sprintf("from %s to %s", r.First.UTC().Format(time.DateTime), r.Last.UTC().Format(time.DateTime)+" UTC")
	}
	verdict := p.Good("everything was used")
	if len(r.Unused) > 0 {
		verdict = fmt.Sprintf("%s not used; the new table lets in nothing that the old one refuses", terminal.Plural(len(r.Unused), "part was", "parts were"))
	}
	p.Printf("%s\n", verdict)
	p.Printf("%s let through, %s; %s refused, %s denied by the table\n", terminal.Plural(r.Passed, "request", "requests"), window, terminal.Plural(r.Refused, "was", "were"), terminal.Plural(r.Denied, "was", "were"))
	if !r.Callers {
		p.Printf("%s\n", p.Dim("grants were not judged: the log names no callers (--user-field)"))
	}
	if r.Unexplained > 0 {
		p.Printf("%s\n", p.Warn(terminal.Plural(r.Unexplained, "request was", "requests were")+" let through by something else than is known of the caller: all that may have done so stays"))
	}
	if r.Tools > 0 {
		p.Printf("%s\n", p.Warn(terminal.Plural(r.Tools, "call", "calls")+" at an endpoint of mcp of which the log does not name the tool, so that what mcp opens, and what grants it, stays"))
	}
	if r.Sampled > 0 {
		p.Printf("%s\n", p.Warn(terminal.Plural(r.Sampled, "record is", "records are")+" of a share of the requests (sampling_rate): what the others used is not seen"))
	}
	if r.Hostless > 0 {
		p.Printf("%s\n", p.Warn(terminal.Plural(r.Hostless, "request has", "requests have")+" no host in the log, and the table names hosts; name one with --host, or log it"))
	}
	for _, s := range r.Skipped {
		p.Printf("%s\n", p.Warn(fmt.Sprintf("%s not read, the first is line %d: %s", terminal.Plural(s.Lines, "line was", "lines were"), s.First, s.Reason)))
	}
	if len(r.Unused) > 0 && r.files == nil {
		p.Printf("%s\n", p.Warn("the new table is not printed, because not everything was read; print it with --allow-incomplete"))
	}
}

// --- for programs

type resultJSON struct {
	Lines       int                   `json:"lines"`
	Requests    int                   `json:"requests"`
	Passed      int                   `json:"passed"`
	Refused     int                   `json:"refused"`
	Denied      int                   `json:"denied"`
	Hostless    int                   `json:"without_host"`
	Tools       int                   `json:"mcp_calls,omitempty"`
	Sampled     int                   `json:"sampled,omitempty"`
	Unexplained int                   `json:"unexplained"`
	Callers     bool                  `json:"callers_known"`
	Complete    bool                  `json:"complete"`
	First       time.Time             `json:"first,omitzero"`
	Last        time.Time             `json:"last,omitzero"`
	Unused      []unusedJSON          `json:"unused"`
	Guarding    []tables.ActivityJSON `json:"guarding"`
	Skipped     []skippedJSON         `json:"skipped"`
	Patch       string                `json:"patch"`
}

type unusedJSON struct {
	Kind  string   `json:"kind"`
	Owner string   `json:"owner,omitempty"`
	Name  string   `json:"name"`
	Left  []string `json:"methods_left,omitempty"`
	Place string   `json:"place"`
}

type skippedJSON struct {
	Reason string `json:"reason"`
	Lines  int    `json:"lines"`
	First  int    `json:"first"`
}

func (r *result) forJSON() resultJSON {
	out := resultJSON{
		Lines: r.Lines, Requests: r.Requests, Passed: r.Passed, Refused: r.Refused, Denied: r.Denied, Hostless: r.Hostless, Tools: r.Tools, Sampled: r.Sampled,
		Unexplained: r.Unexplained, Callers: r.Callers, Complete: r.complete, First: r.First.UTC(), Last: r.Last.UTC(),
		Unused: []unusedJSON{}, Guarding: tables.ActivitiesForJSON(r.Guarding), Skipped: []skippedJSON{},
	}
	for _, u := range r.Unused {
		out.Unused = append(out.Unused, unusedJSON{string(u.Kind), u.Owner, u.Name, u.Left, u.Place.String()})
	}
	for _, s := range r.Skipped {
		out.Skipped = append(out.Skipped, skippedJSON(*s))
	}
	var patch strings.Builder
	for _, f := range r.files {
		patch.WriteString(f.patch())
	}
	out.Patch = patch.String()
	return out
}
