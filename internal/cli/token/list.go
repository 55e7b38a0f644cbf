package token

import (
	"cmp"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/internal/cli/terminal"
)

func listCommand() *cobra.Command {
	var p place
	var output terminal.OutputFlags
	var owner apitoken.Owner
	c := &cobra.Command{
		Use:   "list [flags]",
		Short: "List API tokens, also those that have ended",
		Long: `List API tokens with their owners and what they may do, also those that have ended.
Neither tokens nor digests are printed. When a token was last used is known of
tokens in a database, to about a minute (last_used_interval).`,
		Example: `  gatehouse token list --token-file tokens.yaml
  gatehouse token list --config gatehouse.yaml --service-account nightly -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := p.open()
			if err != nil {
				return err
			}
			defer store.close()
			all, err := store.List(cmd.Context())
			if err != nil {
				return err
			}
			rows := []manage.Listed{}
			for _, r := range all {
				if manage.IsOf(r.Owner, owner) {
					rows = append(rows, manage.List(r, time.Now()))
				}
			}
			if output.JSON() {
				return terminal.PrintJSON(cmd.OutOrStdout(), rows)
			}
			print(output.Printer(cmd), rows)
			return nil
		},
	}
	p.register(c)
	output.Register(c)
	c.Flags().StringVar(&owner.Subject, "subject", "", "list those of this user alone, by the `subject`")
	c.Flags().StringVar(&owner.Issuer, "issuer", "", "`issuer` of the subject")
	c.Flags().StringVar(&owner.ServiceAccount, "service-account", "", "list those of the service account of this `name` alone")
	return c
}

func print(p *terminal.Printer, rows []manage.Listed) {
	day := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.UTC().Format(time.DateOnly)
	}
	var head []terminal.Cell
	for _, name := range []string{"ID", "STATE", "NAME", "OWNER", "MAY", "EXPIRES", "LAST USED"} {
		head = append(head, terminal.Dim(name))
	}
	table := [][]terminal.Cell{head}
	for _, r := range rows {
		record := &apitoken.Record{Grants: apitoken.Grants{Roles: r.Roles, Permissions: r.Permissions, Scopes: r.Scopes}}
		owner := apitoken.Owner{Subject: r.Subject, Issuer: r.Issuer, ServiceAccount: r.ServiceAccount}
		var cells []terminal.Cell
		for _, text := range []string{r.ID, r.State, cmp.Or(r.Name, "-"), owner.String(), may(record), day(r.Expires), day(r.LastUsed)} {
			cells = append(cells, terminal.Plain(text))
		}
		table = append(table, cells)
	}
	p.Rows("", table)
}
