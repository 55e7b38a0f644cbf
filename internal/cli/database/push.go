package database

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/tables"
	"gatehouse/core/permission/analysis/lint"
	"gatehouse/core/permission/tablefile"
	"gatehouse/internal/cli/connection"
	"gatehouse/internal/cli/decide"
	clitables "gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/version"
)

// table names a table of the database, for every command on one.
type table struct {
	connection connection.Flags
	name       string
	shadow     bool
}

func (t *table) register(c *cobra.Command) {
	t.connection.Register(c)
	c.Flags().StringVar(&t.name, "name", "main", "`name` of the table in the database")
	c.Flags().BoolVar(&t.shadow, "shadow", false, "take the table NAME.shadow, which nodes compare and do not enforce where shadow_table_name says so")
}

// open connects. The caller closes.
func (t *table) open() (store *tables.Store, name string, closing func(), err error) {
	name = t.name
	if t.shadow {
		name = tables.ShadowOf(name)
	}
	if err := tables.CheckName(name); err != nil {
		return nil, "", nil, err
	}
	options, err := t.connection.Postgres()
	if err != nil {
		return nil, "", nil, err
	}
	client, err := postgres.New(options)
	if err != nil {
		return nil, "", nil, err
	}
	return tables.NewStore(client), name, client.Close, nil
}

// change is what every new version says of itself.
type change struct {
	table
	reason, author string
	base           int64
}

func (o *change) register(c *cobra.Command) {
	o.table.register(c)
	c.Flags().StringVar(&o.reason, "reason", "", "`why` the table changes, for the history")
	_ = c.MarkFlagRequired("reason")
	c.Flags().StringVar(&o.author, "author", "", "`who` changes it (default: the user of this machine; the database adds the role of the connection)")
	c.Flags().Int64Var(&o.base, "base", -1, "`version` that the files were made from; refused if there is a newer one (default: the newest as the command starts)")
}

// begin checks what is kept for good, before anything is asked.
func (o *change) begin() error {
	o.reason = strings.TrimSpace(o.reason)
	if o.author == "" {
		if u, err := user.Current(); err == nil {
			o.author = u.Username
		}
	}
	for _, field := range []struct {
		flag, text string
		limit      int
	}{{"reason", o.reason, 2000}, {"author", o.author, 200}} {
		if field.text == "" || len(field.text) > field.limit || strings.ContainsFunc(field.text, isControl) {
			return fmt.Errorf("--%s takes a text of 1 to %d bytes on one line", field.flag, field.limit)
		}
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// newest is what there is as the command starts, without its files; nil: nothing.
func newest(ctx context.Context, store *tables.Store, name string) (*tables.Version, error) {
	all, err := store.History(ctx, name, 1)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

// next pushes what is made of the table. Its base is what there is before that.
func (o *change) next(cmd *cobra.Command, version func(store *tables.Store, name string) (tables.Version, error)) error {
	store, name, closing, err := o.open()
	if err != nil {
		return err
	}
	defer closing()
	before, err := newest(cmd.Context(), store, name)
	if err != nil {
		return err
	}
	v, err := version(store, name)
	if err != nil {
		return err
	}
	v.Name = name
	return o.write(cmd, store, before, v)
}

// write pushes a version on its base, and says so.
func (o *change) write(cmd *cobra.Command, store *tables.Store, before *tables.Version, v tables.Version) error {
	v.Base = o.base
	if o.base < 0 {
		v.Base = 0
		if before != nil {
			v.Base = before.Number
		}
	}
	v.Author, v.Reason, v.Program = o.author, o.reason, version.Version
	if before != nil && before.Number == v.Base && before.Digest == tables.DigestOf(v.Files) {
		fmt.Fprintf(cmd.OutOrStdout(), "nothing to push: version %d of table %s has the same files\n", before.Number, v.Name)
		return nil
	}
	pushed, err := store.Push(cmd.Context(), v)
	var moved *tables.MovedError
	if errors.As(err, &moved) {
		fmt.Fprintln(cmd.ErrOrStderr(), "gatehouse: "+shown(err.Error()))
		return terminal.ErrNo
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "pushed version %d of table %s: %s\n", pushed.Number, pushed.Name, terminal.Plural(len(pushed.Files), "file", "files"))
	return nil
}

type pushOptions struct {
	change
	tests         []string
	allowFindings bool
}

// PushCommand is gatehouse push.
func PushCommand() *cobra.Command {
	var o pushOptions
	c := &cobra.Command{
		Use:   "push [flags] FILE...",
		Short: "Put a permission table into the fleet's database, for all nodes at once",
		Long: `Put the files of a permission table into the database as its next version. Nodes
whose permission_table_name is its name enforce it within a second, whole or not at
all.

The files are compiled and linted first, and decide the expectations of --test as
gatehouse test does. Nothing is pushed if there is an error, a finding (unless
--allow-findings; a comment silences one) or another decision than expected.

Of two pushes at once one wins; the other is told what came between. --base says which
version the files were made from: without it that is the newest one as the command
starts, so give it where several people push.`,
		Example: `  gatehouse push --reason "clerks may see invoices" permissions.yaml
  gatehouse push --reason "TICKET-7" --base 12 --test permissions.test.yaml tables/
  gatehouse push --reason "trial" --shadow permissions.yaml`,
		ValidArgsFunction: terminal.CompleteTables,
		RunE:              o.run,
	}
	o.change.register(c)
	c.Flags().StringArrayVar(&o.tests, "test", nil, "`file` with expectations that must hold; repeat it for more")
	c.Flags().BoolVar(&o.allowFindings, "allow-findings", false, "push in spite of what lint finds")
	return c
}

func (o *pushOptions) run(cmd *cobra.Command, args []string) error {
	if err := o.begin(); err != nil {
		return err
	}
	files, err := o.read(cmd, args)
	if err != nil {
		return err
	}
	return o.next(cmd, func(*tables.Store, string) (tables.Version, error) {
		return tables.Version{Files: files}, o.check(cmd, args, files)
	})
}

// read reads the files, each under its own name without a folder.
func (o *pushOptions) read(cmd *cobra.Command, args []string) ([]tablefile.Text, error) {
	if len(args) == 0 {
		return nil, errors.New("no file is named; give the files of the table, or their folder")
	}
	if slices.Contains(args, "-") {
		return nil, errors.New("a table is not pushed from standard input: the names of its files are kept")
	}
	paths, err := clitables.Files(args)
	if err != nil {
		return nil, err
	}
	var files []tablefile.Text
	for _, path := range paths {
		text, err := terminal.ReadInput(cmd.InOrStdin(), path, tables.MaxSize)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(path)
		if err := tables.CheckFileName(name); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(files, func(f tablefile.Text) bool { return strings.EqualFold(f.Name, name) }) {
			return nil, fmt.Errorf("two files are called %s; a table has one file of a name", name)
		}
		files = append(files, tablefile.Text{Name: name, Content: text})
	}
	return files, nil
}

// check refuses what should not reach nodes.
func (o *pushOptions) check(cmd *cobra.Command, args []string, files []tablefile.Text) error {
	t, err := compile(files)
	if err != nil {
		return err
	}
	report, err := lint.Lint(t.Table, t.Files, t.Texts)
	if err != nil {
		return err
	}
	p := (&terminal.OutputFlags{}).Printer(cmd)
	for i := range report.Findings {
		clitables.PrintFinding(p, &report.Findings[i])
	}
	if n := len(report.Findings); n > 0 && !o.allowFindings {
		fmt.Fprintf(cmd.ErrOrStderr(), "gatehouse: nothing was pushed: lint has %s; mend or silence them, or push with --allow-findings\n", terminal.Plural(n, "finding", "findings"))
		return terminal.ErrNo
	}
	if len(o.tests) == 0 {
		return nil
	}
	err = decide.Expect(cmd, args, o.tests)
	if errors.Is(err, terminal.ErrNo) {
		fmt.Fprintln(cmd.ErrOrStderr(), "gatehouse: nothing was pushed: an expectation does not hold")
	}
	return err
}

// compile is the table of files, as a node makes it.
func compile(files []tablefile.Text) (*clitables.Table, error) {
	var texts []clitables.Text
	for _, f := range files {
		texts = append(texts, clitables.Text(f))
	}
	return clitables.New(texts)
}

type rollbackOptions struct{ change }

// RollbackCommand is gatehouse rollback.
func RollbackCommand() *cobra.Command {
	var o rollbackOptions
	c := &cobra.Command{
		Use:   "rollback [flags] VERSION",
		Short: "Put an earlier version of a permission table in force again",
		Long: `Push the files of an earlier version as the next version. The history keeps what was
between, and why it was undone.`,
		Example: `  gatehouse rollback --reason "clerks could not log in" 11`,
		Args:    terminal.OneArgument("VERSION"),
		RunE:    o.run,
	}
	o.change.register(c)
	return c
}

func (o *rollbackOptions) run(cmd *cobra.Command, args []string) error {
	if err := o.begin(); err != nil {
		return err
	}
	number, err := parseVersion(args[0])
	if err != nil {
		return err
	}
	return o.next(cmd, func(store *tables.Store, name string) (tables.Version, error) {
		old, err := store.Version(cmd.Context(), name, number)
		if err != nil {
			return tables.Version{}, err
		}
		if _, err := compile(old.Files); err != nil {
			return tables.Version{}, fmt.Errorf("version %d is no table for this program: %w", number, err)
		}
		return tables.Version{Files: old.Files, Restores: number}, nil
	})
}

// pulled writes the files of a version into a folder.
func pulled(folder string, v *tables.Version, force bool) error {
	for _, f := range v.Files {
		if err := tables.CheckFileName(f.Name); err != nil {
			return err
		}
		path := filepath.Join(folder, f.Name)
		if there, err := os.ReadFile(path); err == nil && string(there) != string(f.Content) && !force {
			return fmt.Errorf("%s is there and differs; nothing was written: pull into another folder, or with --force", path)
		}
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	for _, f := range v.Files {
		if err := os.WriteFile(filepath.Join(folder, f.Name), f.Content, 0o666); err != nil {
			return err
		}
	}
	return nil
}
