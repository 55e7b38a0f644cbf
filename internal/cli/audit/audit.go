// Package audit has the command that reads audit records.
package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/audit"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/trail"
)

type options struct {
	fields       []trail.Field
	values       []*[]string
	since, until string
	last         int
	follow       bool
	output       terminal.OutputFlags
}

// Bounds of --last: what is held in memory.
const (
	maxLast       = 100_000
	lastToFollow  = 10
	lastFlag      = "last"
	wholeFlagText = "all, and with --follow the last 10"
)

// Command is gatehouse audit.
func Command() *cobra.Command {
	o := options{fields: trail.Fields()}
	c := &cobra.Command{
		Use:   "audit [flags] [FILE]...",
		Short: "Show audit records: who called what, what was decided and why",
		Long: `Read audit records and print those that are asked for, as a table or as JSON lines.
FILE is a file of audit.file, or lines of the other places: what audit.stdout and
syslog wrote. Files that were put aside of FILE (FILE-TIME) are read before it, and
those that gzip packed as they are. - or no FILE is standard input.

A filter names what a record has to have. * in it stands for any text. A filter that
is repeated takes any of its values; different filters have to hold together.
Times are in UTC.

--follow prints what comes from then on, also after the file was put aside, replaced
or emptied. Lines that are no audit record are counted on standard error. The exit
status is 1 if no record was found, or a line was not read.`,
		Example: `  gatehouse audit /var/log/gatehouse/audit.jsonl --decision deny --since 2h
  gatehouse audit --follow audit.jsonl --subject ada --path '/users/*'
  gatehouse audit audit.jsonl --actor '*' --status '4*' --output json
  kubectl logs deploy/gatehouse | gatehouse audit --reason invalid_credential`,
		RunE: o.run,
	}
	for _, f := range o.fields {
		values := &[]string{}
		o.values = append(o.values, values)
		c.Flags().StringArrayVar(values, f.Name, nil, f.Usage)
	}
	_ = c.RegisterFlagCompletionFunc("decision", cobra.FixedCompletions(audit.Decisions, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().StringVar(&o.since, "since", "", "first `moment`: 2026-11-22, '2026-11-22 08:00', a time of RFC 3339, or how long ago: 90m, 2h, 7d")
	c.Flags().StringVar(&o.until, "until", "", "first `moment` that is too late, written like --since")
	c.Flags().IntVarP(&o.last, lastFlag, "n", 0, "print the last `N` records alone (default: "+wholeFlagText+")")
	c.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on with what is written from now on")
	o.output.Register(c)
	return c
}

func (o *options) run(cmd *cobra.Command, files []string) error {
	filter, err := o.filter(time.Now())
	if err != nil {
		return err
	}
	if files, err = inputs(cmd.InOrStdin(), files); err != nil {
		return err
	}
	if o.last < 0 || o.last > maxLast {
		return fmt.Errorf("--last is %d; use a number from 1 to %d", o.last, maxLast)
	}
	if o.last == 0 && o.follow && !cmd.Flags().Changed(lastFlag) {
		o.last = lastToFollow
	}
	s := &show{filter: filter, last: o.last, to: o.printer(cmd), unread: unread{to: cmd.ErrOrStderr()}}
	if o.follow {
		err = s.follow(cmd.Context(), cmd.InOrStdin(), files)
	} else {
		err = s.read(cmd.InOrStdin(), files)
	}
	if err != nil {
		return terminal.PlainPathError(err)
	}
	s.unread.complain()
	if s.taken == 0 || s.unread.any {
		return terminal.ErrNo
	}
	return nil
}

func (o *options) filter(now time.Time) (f *trail.Filter, err error) {
	f = &trail.Filter{}
	for i, field := range o.fields {
		err = errors.Join(err, f.Want(field, *o.values[i]))
	}
	for _, bound := range []struct {
		flag, text string
		to         *time.Time
	}{{"since", o.since, &f.Since}, {"until", o.until, &f.Until}} {
		if bound.text == "" {
			continue
		}
		at, wrong := trail.Moment(bound.text, now)
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("--%s: %w", bound.flag, wrong))
		}
		*bound.to = at
	}
	return f, err
}

// inputs are the files, or standard input if somebody feeds it.
func inputs(stdin io.Reader, files []string) ([]string, error) {
	for i, name := range files {
		if slices.Contains(files[:i], name) {
			return nil, fmt.Errorf("%s is named twice; name each file once", tables.ShownName(name))
		}
	}
	if len(files) > 0 {
		return files, nil
	}
	if f, ok := stdin.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return nil, errors.New("no file is named and standard input is a terminal; name the file of audit.file, such as /var/log/gatehouse/audit.jsonl")
		}
	}
	return []string{"-"}, nil
}

func (o *options) printer(cmd *cobra.Command) printer {
	if o.output.JSON() {
		return &lines{w: cmd.OutOrStdout()}
	}
	return &table{Printer: o.output.Printer(cmd)}
}

// printer prints entries. Several are printed together once there are many, or nothing more is
// at hand.
type printer interface {
	add(e *trail.Entry)
	flush()
	// end says how many there were of how many.
	end(taken, of int)
}

// show takes entries from files to a printer.
type show struct {
	filter    *trail.Filter
	last      int
	to        printer
	held      []*trail.Entry
	taken, of int
	unread    unread
	// live says that all is read that was there: nothing is held back.
	live bool
}

func (s *show) read(stdin io.Reader, files []string) error {
	for _, name := range files {
		if err := s.readOne(stdin, name, files); err != nil {
			return err
		}
	}
	s.release()
	s.to.end(s.taken, s.of)
	return nil
}

func (s *show) readOne(stdin io.Reader, name string, files []string) error {
	if name == "-" {
		return trail.Read(stdin, s.visitor(tables.ShownName(name)))
	}
	return trail.ReadFile(name, files, s.visitor)
}

// visitor counts the lines of a file.
func (s *show) visitor(name string) trail.Visit {
	line := 0
	return func(e *trail.Entry, err error) {
		line++
		s.entry(name, line, e, err)
	}
}

// unnumbered is for a file that has been read for a while.
func (s *show) unnumbered(name string) trail.Visit {
	return func(e *trail.Entry, err error) { s.entry(name, 0, e, err) }
}

func (s *show) entry(name string, line int, e *trail.Entry, err error) {
	if err != nil {
		s.unread.add(name, line, err)
		return
	}
	s.of++
	if !s.filter.Takes(&e.Record) {
		return
	}
	s.taken++
	if s.last == 0 || s.live {
		s.to.add(e)
		return
	}
	if s.held = append(s.held, e); len(s.held) >= 2*s.last {
		s.held = append(s.held[:0], s.held[len(s.held)-s.last:]...)
	}
}

// release prints what was held back to be the last.
func (s *show) release() {
	for _, e := range s.held[max(0, len(s.held)-s.last):] {
		s.to.add(e)
	}
	s.held, s.live = nil, true
	s.to.flush()
}

// follow reads what is there, and what comes until the context ends or, of standard input, until that ends.
func (s *show) follow(ctx context.Context, stdin io.Reader, files []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	come := make(chan func(), maxWaiting)
	ended := make(chan error, len(files))
	later := func(name string) trail.Visit {
		visit := s.unnumbered(name)
		return func(e *trail.Entry, err error) {
			select {
			case come <- func() { visit(e, err) }:
			case <-ctx.Done():
			}
		}
	}
	var followers []*trail.Follower
	for _, name := range files {
		if name == "-" {
			continue
		}
		f, err := trail.Follow(name, files, s.visitor)
		if err != nil {
			return err
		}
		f.Visit(later)
		followers = append(followers, f)
	}
	s.release()
	for _, f := range followers {
		go func() { ended <- f.Run(ctx) }()
	}
	if slices.Contains(files, "-") {
		go func() { ended <- trail.Read(stdin, later(tables.ShownName("-"))) }()
	}
	return s.until(come, ended, len(files))
}

const (
	// maxWaiting bounds what is read and not printed yet.
	maxWaiting = 1024
	// complainEvery is how often is said what was not read.
	complainEvery = 10 * time.Second
)

// until prints what comes, until nothing more can.
func (s *show) until(come <-chan func(), ended <-chan error, inputs int) (err error) {
	complain := time.NewTicker(complainEvery)
	defer complain.Stop()
	for inputs > 0 {
		select {
		case visit := <-come:
			visit()
			if len(come) == 0 {
				s.to.flush()
			}
		case one := <-ended:
			err = errors.Join(err, one)
			inputs--
		case <-complain.C:
			s.unread.complain()
		}
	}
	for len(come) > 0 {
		(<-come)()
	}
	s.to.flush()
	return err
}

// unread counts the lines of files that hold no record.
type unread struct {
	to    io.Writer
	any   bool
	files []*unreadFile
}

type unreadFile struct {
	name         string
	lines, first int
	reason       error
}

func (u *unread) add(name string, line int, reason error) {
	u.any = true
	for _, f := range u.files {
		if f.name == name {
			f.lines++
			return
		}
	}
	u.files = append(u.files, &unreadFile{name, 1, line, reason})
}

// complain says what was not read since it last did.
func (u *unread) complain() {
	for _, f := range u.files {
		first := "the first"
		if f.first > 0 {
			first += fmt.Sprintf(" is line %d", f.first)
		}
		fmt.Fprintf(u.to, "gatehouse: %s of %s not read, %s: %v\n", terminal.Plural(f.lines, "line", "lines"), f.name, first, f.reason)
	}
	u.files = nil
}
