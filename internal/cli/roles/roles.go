// Package roles has the commands on what the database of a fleet grants to subjects and
// clients.
package roles

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/subjects"
	"gatehouse/internal/cli/connection"
	"gatehouse/internal/cli/terminal"
)

// Command is gatehouse roles.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "roles",
		Short: "Grant roles and permissions to a subject or a client, on all nodes at once",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(setCommand(), getCommand(), listCommand())
	return c
}

// identity has the flags that name one.
type identity struct {
	connection connection.Flags
	id         subjects.Identity
}

func (i *identity) register(c *cobra.Command) {
	i.connection.Register(c)
	c.Flags().StringVar(&i.id.Issuer, "issuer", "", "`issuer` of the subject or client, as iss of its tokens; kratos (subject_roles.session_issuer) for sessions")
	_ = c.MarkFlagRequired("issuer")
	c.Flags().BoolVar(&i.id.Client, "client", false, "the name is that of a client that acts for itself, and not of a subject")
}

// open connects to the database.
func open(f *connection.Flags) (*postgres.Client, error) {
	options, err := f.Postgres()
	if err != nil {
		return nil, err
	}
	return postgres.New(options)
}

type set struct {
	identity
	grants subjects.Grants
	by     subjects.Change
}

func setCommand() *cobra.Command {
	var o set
	c := &cobra.Command{
		Use:   "set NAME --issuer ISSUER --reason TEXT [--role ROLE]... [--permission PERMISSION]...",
		Short: "Set the roles and permissions of a subject or a client",
		Long: `Set the roles and permissions of a subject or a client to exactly those that are
given; without any, it has none but those of its credential. All nodes know within
a second. Who changed what, when and why is kept.`,
		Example: `  gatehouse roles set 9f425a8d --issuer kratos --role editor --reason 'joined the web team'
  gatehouse roles set billing --client --issuer https://id.example.com/ --permission invoices:write --reason OPS-12
  gatehouse roles set 9f425a8d --issuer kratos --reason 'left the company'`,
		Args: terminal.OneArgument("the subject or client"),
		RunE: o.run,
	}
	o.register(c)
	c.Flags().StringArrayVar(&o.grants.Roles, "role", nil, "`role` of the permission table; repeat it for more")
	c.Flags().StringArrayVar(&o.grants.Permissions, "permission", nil, "`permission` of the permission table; repeat it for more")
	c.Flags().StringVar(&o.by.Reason, "reason", "", "`why`, for the history")
	_ = c.MarkFlagRequired("reason")
	c.Flags().StringVar(&o.by.Author, "author", "", "`who` changes it (default: the user of this machine; the database adds the role of the connection)")
	return c
}

func (o *set) run(cmd *cobra.Command, args []string) error {
	o.id.Name = args[0]
	if o.by.Author == "" {
		if u, err := user.Current(); err == nil {
			o.by.Author = u.Username
		}
	}
	for _, field := range []struct {
		flag, text string
		limit      int
	}{{"reason", o.by.Reason, 2000}, {"author", o.by.Author, 200}, {"issuer", o.id.Issuer, 2000}} {
		if strings.TrimSpace(field.text) == "" || len(field.text) > field.limit {
			return fmt.Errorf("--%s takes a text of 1 to %d bytes", field.flag, field.limit)
		}
	}
	o.grants.Roles, o.grants.Permissions = sorted(o.grants.Roles), sorted(o.grants.Permissions)
	for _, name := range slices.Concat(o.grants.Roles, o.grants.Permissions) {
		if err := subjects.CheckName(name); err != nil {
			return err
		}
	}
	db, err := open(&o.connection)
	if err != nil {
		return err
	}
	defer db.Close()
	before, err := subjects.Set(cmd.Context(), db, o.id, o.grants, o.by)
	if err != nil {
		return err
	}
	p := cmd.OutOrStdout()
	fmt.Fprintf(p, "%s\n  before  %s\n  now     %s\n", shownIdentity(o.id), shownGrants(before), shownGrants(o.grants))
	return nil
}

func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

func getCommand() *cobra.Command {
	var o identity
	c := &cobra.Command{
		Use:   "get NAME --issuer ISSUER",
		Short: "Show the roles and permissions of a subject or a client, and how they came about",
		Long: `Show the roles and permissions that the database grants to a subject or a client,
with the last 20 changes. Exit status 1: none ever were.`,
		Example: `  gatehouse roles get 9f425a8d --issuer kratos`,
		Args:    terminal.OneArgument("the subject or client"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.id.Name = args[0]
			return o.get(cmd)
		},
	}
	o.register(c)
	return c
}

// shownChanges is how many changes get shows.
const shownChanges = 20

func (o *identity) get(cmd *cobra.Command) error {
	db, err := open(&o.connection)
	if err != nil {
		return err
	}
	defer db.Close()
	changes, err := subjects.History(cmd.Context(), db, o.id, shownChanges)
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n  nothing\n", shownIdentity(o.id))
		return terminal.ErrNo
	}
	p := cmd.OutOrStdout()
	fmt.Fprintf(p, "%s\n  %s\n", shownIdentity(o.id), shownGrants(changes[0].Grants))
	for _, c := range changes {
		author := c.Author
		if c.Role != author {
			author += " (role " + c.Role + ")"
		}
		fmt.Fprintf(p, "%s  %s  %s: %s\n", c.At.UTC().Format(time.RFC3339), shown(author), shown(c.Reason), shownGrants(c.Grants))
	}
	return nil
}

func listCommand() *cobra.Command {
	var f connection.Flags
	var issuer string
	c := &cobra.Command{
		Use:     "list [--issuer ISSUER]",
		Short:   "List subjects and clients with what the database grants to them",
		Example: `  gatehouse roles list --issuer kratos`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			db, err := open(&f)
			if err != nil {
				return err
			}
			defer db.Close()
			return list(cmd.Context(), cmd, db, issuer)
		},
	}
	f.Register(c)
	c.Flags().StringVar(&issuer, "issuer", "", "`issuer` of those that are listed (default: all)")
	return c
}

// maxListed bounds what list shows.
const maxListed = 10000

func list(ctx context.Context, cmd *cobra.Command, db *postgres.Client, issuer string) error {
	rows, err := subjects.List(ctx, db, issuer, maxListed+1)
	if err != nil {
		return err
	}
	for i, r := range rows {
		if i == maxListed {
			return errors.New("there are more than " + strconv.Itoa(maxListed) + "; name an issuer, or ask the table subject_roles itself")
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", shownIdentity(r.Identity), shownGrants(r.Grants))
	}
	return nil
}

func shownIdentity(id subjects.Identity) string {
	what := "subject"
	if id.Client {
		what = "client"
	}
	return what + " " + shown(id.Name) + " of " + shown(id.Issuer)
}

func shownGrants(g subjects.Grants) string {
	var parts []string
	for _, list := range []struct {
		what  string
		names []string
	}{{"roles ", g.Roles}, {"permissions ", g.Permissions}} {
		if len(list.names) > 0 {
			parts = append(parts, list.what+shown(strings.Join(list.names, ", ")))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, "; ")
}

// shown keeps what others wrote into a database from steering the terminal.
func shown(text string) string {
	quoted := strconv.Quote(text)
	if quoted[1:len(quoted)-1] == text {
		return text
	}
	return quoted
}
