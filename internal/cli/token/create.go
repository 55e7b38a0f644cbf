package token

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
)

type createOptions struct {
	place
	name     string
	owner    apitoken.Owner
	grants   apitoken.Grants
	networks []string
	hosts    []string
	life     lifetime
}

// lifetime is how long a token is valid, by flags.
type lifetime struct {
	days  int
	until string
	never bool
}

func (l *lifetime) register(c *cobra.Command, usual string) {
	c.Flags().IntVar(&l.days, "days", 0, "`number` of days that the token is valid"+usual)
	c.Flags().StringVar(&l.until, "expires", "", "`moment` when it ends instead, such as 2027-01-31 or 2027-01-31T12:00:00Z")
	c.Flags().BoolVar(&l.never, "insecure-no-expiry", false, "it never ends; only nodes with insecure_no_expiry accept it")
}

// duration is 0 where the token never ends, and where no flag says anything.
func (l *lifetime) duration(now time.Time) (time.Duration, error) {
	switch {
	case l.never && (l.days != 0 || l.until != ""), l.days != 0 && l.until != "":
		return 0, errors.New("give one of --days, --expires and --insecure-no-expiry")
	case l.days < 0:
		return 0, errors.New("--days is below zero")
	case l.until == "":
		return time.Duration(l.days) * 24 * time.Hour, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, l.until); err == nil {
			if !t.After(now) {
				return 0, fmt.Errorf("--expires %s is in the past", l.until)
			}
			return t.Sub(now), nil
		}
	}
	return 0, fmt.Errorf("--expires %q is no moment; write one such as 2027-01-31 or 2027-01-31T12:00:00Z", l.until)
}

const defaultDays = 90

func createCommand() *cobra.Command {
	var o createOptions
	c := &cobra.Command{
		Use:   "create [flags]",
		Short: "Make an API token, and print it once",
		Long: `Make an API token of a user (--subject, --issuer) or of a service account, and
print it, alone, to the standard output. It is kept nowhere: only its digest is.

What is not named it may not do. Of what is named, nodes let it do what its owner
may do at that moment. It ends after 90 days unless --days or --expires says
otherwise.`,
		Example: `  gatehouse token create --token-file tokens.yaml --service-account nightly --permission orders:read --name 'nightly report' --network 10.1.0.0/16
  gatehouse token create --config gatehouse.yaml --subject 7f1c --issuer https://id.example.com --role clerk --days 30 --name laptop`,
		Args: cobra.NoArgs,
		RunE: o.run,
	}
	o.register(c)
	o.registerBy(c)
	c.Flags().StringVar(&o.name, "name", "", "`text` by which its owner knows it")
	c.Flags().StringVar(&o.owner.Subject, "subject", "", "`subject` of the user whose token it is, as the upstream knows it")
	c.Flags().StringVar(&o.owner.Issuer, "issuer", "", "`issuer` of the subject, where it has one")
	c.Flags().StringVar(&o.owner.ServiceAccount, "service-account", "", "`name` of the service account whose token it is")
	c.Flags().StringArrayVar(&o.grants.Roles, "role", nil, "`role` that it has; repeat it for more")
	c.Flags().StringArrayVar(&o.grants.Permissions, "permission", nil, "`permission` that it has; repeat it for more")
	c.Flags().StringArrayVar(&o.grants.Scopes, "scope", nil, "`scope` that it has; repeat it for more")
	c.Flags().StringArrayVar(&o.networks, "network", nil, "`network` of the clients that may use it, such as 10.1.0.0/16; repeat it for more (default: any)")
	c.Flags().StringArrayVar(&o.hosts, "host", nil, "`host` for which it may be used, such as api.example.com or *.example.com; repeat it for more (default: any)")
	o.life.register(c, fmt.Sprintf(" (default %d)", defaultDays))
	return c
}

func (o *createOptions) run(cmd *cobra.Command, _ []string) error {
	if o.life.days == 0 && o.life.until == "" && !o.life.never {
		o.life.days = defaultDays
	}
	life, err := o.life.duration(time.Now())
	if err != nil {
		return err
	}
	networks, err := apitoken.ParseNetworks(o.networks)
	if err != nil {
		return err
	}
	store, err := o.open()
	if err != nil {
		return err
	}
	defer store.close()
	token, r, err := store.Create(cmd.Context(), manage.Request{
		Name: o.name, Owner: o.owner, Grants: o.grants, Networks: networks, Hosts: o.hosts, Lifetime: life, By: o.author(),
	})
	if err != nil {
		return err
	}
	return printToken(cmd, token, r)
}

// printToken prints the token alone to the standard output, so that a script can take it.
func printToken(cmd *cobra.Command, token string, r *apitoken.Record) error {
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), token); err != nil {
		return fmt.Errorf("the token %s was made and could not be printed; revoke it: %w", r.ID, err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "made the token %s of %s; it %s. It is not shown again.\n", r.ID, r.Owner, ends(r))
	if len(r.Roles)+len(r.Permissions)+len(r.Scopes) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "it has no role, permission or scope: it may call what every caller with a credential may")
	}
	return nil
}

func ends(r *apitoken.Record) string {
	if r.Expires.IsZero() {
		return "never ends"
	}
	return "ends at " + r.Expires.UTC().Format(time.RFC3339)
}

// may is what a token is granted, in a line.
func may(r *apitoken.Record) string {
	var all []string
	for _, list := range []struct {
		what  string
		names []string
	}{{"role", r.Roles}, {"permission", r.Permissions}, {"scope", r.Scopes}} {
		for _, name := range list.names {
			all = append(all, list.what+" "+name)
		}
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}
