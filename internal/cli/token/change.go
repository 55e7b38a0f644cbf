package token

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/internal/cli/terminal"
)

func rotateCommand() *cobra.Command {
	var p place
	var life lifetime
	var overlap time.Duration
	c := &cobra.Command{
		Use:   "rotate [flags] ID",
		Short: "Make another token like one, which ends after an overlap",
		Long: `Make a token with the owner, the grants, the networks and the hosts of another one,
and print it, alone, to the standard output. The old one ends after --overlap, so
that it can be replaced wherever it is in use. With --overlap 0 it is revoked at once.`,
		Example: `  gatehouse token rotate --token-file tokens.yaml --overlap 1h 4k2m7q5x3n6b8c1d`,
		Args:    terminal.OneArgument("id of a token, as gatehouse token list prints it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap < 0 {
				return errors.New("--overlap is below zero")
			}
			length, err := life.duration(time.Now())
			if err != nil {
				return err
			}
			store, err := p.open()
			if err != nil {
				return err
			}
			defer store.close()
			old, err := find(cmd, store, args[0])
			if err != nil {
				return err
			}
			token, r, err := store.Rotate(cmd.Context(), old, length, overlap, p.author())
			if r == nil {
				return err
			}
			if err := errors.Join(printToken(cmd, token, r), err); err != nil {
				return err
			}
			if overlap == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "revoked %s\n", old.ID)
				store.tell(cmd)
			} else {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s ends within %s\n", old.ID, overlap)
			}
			return nil
		},
	}
	p.register(c)
	p.registerBy(c)
	life.register(c, " (default: as long as the old one was)")
	c.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "`time` for which the old token goes on, such as 1h; 0 revokes it at once")
	return c
}

// find finds a token by its id. One that is not there ends the command with no.
func find(cmd *cobra.Command, store *opened, id string) (*apitoken.Record, error) {
	if apitoken.HasPrefix(id) {
		return nil, errors.New("the argument is a token, which everybody on this machine can read in the list of processes: revoke it. Give its id, or the token on the standard input with -")
	}
	r, err := store.Find(cmd.Context(), id)
	if errors.Is(err, apitoken.ErrUnknown) {
		fmt.Fprintf(cmd.ErrOrStderr(), "gatehouse: there is no token %s\n", id)
		return nil, terminal.ErrNo
	}
	return r, err
}

// maxReport bounds what is read from the standard input.
const maxReport = 1 << 20

var pattern = regexp.MustCompile(apitoken.Pattern)

func revokeCommand() *cobra.Command {
	var p place
	var owner apitoken.Owner
	c := &cobra.Command{
		Use:   "revoke [flags] [ID|-]",
		Short: "Revoke a token by its id, the tokens in a text, or those of an owner",
		Long: `Revoke a token for ever, by its id. With - the standard input is read instead, such
as the report of a secret scanner: every token in it is revoked, and none is printed.
With --subject or --service-account all tokens of that owner are revoked: gatehouse
revoke --subject refuses them only for as long as the revocation is kept.

With --config of a configuration that has the section revocation all nodes are told at
once. The exit status is 1 where a token is not known, and 2 where it could not be
written that a token is revoked, or nodes could not be told.`,
		Example: `  gatehouse token revoke --token-file tokens.yaml 4k2m7q5x3n6b8c1d
  gatehouse token revoke --config gatehouse.yaml - < report.txt
  gatehouse token revoke --config gatehouse.yaml --subject 7f1c --issuer https://id.example.com`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ofOwner := owner.Subject != "" || owner.ServiceAccount != ""
			switch {
			case ofOwner == (len(args) > 0):
				return errors.New("give one of the id of a token, - for tokens on the standard input, --subject and --service-account")
			case owner.Issuer != "" && owner.Subject == "", owner.Subject != "" && owner.ServiceAccount != "":
				return errors.New("--issuer goes with --subject, and --service-account with neither")
			}
			store, err := p.open()
			if err != nil {
				return err
			}
			defer store.close()
			switch {
			case ofOwner:
				return revokeOwned(cmd, store, owner)
			case args[0] == "-":
				return revokeReported(cmd, store)
			}
			r, err := find(cmd, store, args[0])
			if err != nil {
				return err
			}
			if err := revoke(cmd, store, r); err != nil {
				return err
			}
			store.tell(cmd)
			return nil
		},
	}
	p.register(c)
	c.Flags().StringVar(&owner.Subject, "subject", "", "revoke those of this user, by the `subject`; without --issuer of whichever issuer")
	c.Flags().StringVar(&owner.Issuer, "issuer", "", "`issuer` of the subject")
	c.Flags().StringVar(&owner.ServiceAccount, "service-account", "", "revoke those of the service account of this `name`")
	return c
}

// revokeOwned revokes all tokens of an owner, as far as it can.
func revokeOwned(cmd *cobra.Command, store *opened, owner apitoken.Owner) error {
	all, err := store.List(cmd.Context())
	if err != nil {
		return err
	}
	var problems []error
	found := 0
	for _, r := range all {
		if r.Revoked.IsZero() && manage.IsOf(r.Owner, owner) {
			found++
			problems = append(problems, revoke(cmd, store, r))
		}
	}
	switch err := errors.Join(problems...); {
	case err != nil:
		return err
	case found == 0:
		fmt.Fprintln(cmd.ErrOrStderr(), "gatehouse: this owner has no token that is not revoked")
		return terminal.ErrNo
	}
	store.tell(cmd)
	return nil
}

// tell says when nodes know of a revocation.
func (o *opened) tell(cmd *cobra.Command) {
	if o.untold != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), o.untold)
	}
}

func revoke(cmd *cobra.Command, store *opened, r *apitoken.Record) error {
	if err := store.Revoke(cmd.Context(), r); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "revoked %s of %s (%s)\n", r.ID, r.Owner, r.Name)
	return nil
}

// revokeReported revokes all that it can, and then says what it could not.
func revokeReported(cmd *cobra.Command, store *opened) error {
	text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxReport+1))
	if err != nil {
		return err
	}
	if len(text) > maxReport {
		return fmt.Errorf("the standard input has more than %d bytes", maxReport)
	}
	tokens := pattern.FindAllString(string(text), -1)
	slices.Sort(tokens)
	tokens = slices.Compact(tokens)
	if len(tokens) == 0 {
		return errors.New("no token is on the standard input")
	}
	var problems []error
	unknown := 0
	for _, token := range tokens {
		r, err := store.Find(cmd.Context(), token)
		switch {
		case errors.Is(err, apitoken.ErrUnknown):
			unknown++
		case err != nil:
			problems = append(problems, err)
		default:
			problems = append(problems, revoke(cmd, store, r))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if unknown < len(tokens) {
		store.tell(cmd)
	}
	if unknown > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "gatehouse: the text holds %s not known here\n", terminal.Plural(unknown, "token that is", "tokens that are"))
		return terminal.ErrNo
	}
	return nil
}

func accountCommand() *cobra.Command {
	var p place
	var a manage.Account
	c := &cobra.Command{
		Use:   "account [flags] NAME",
		Short: "Make or change a service account",
		Long: `Make a service account, or change what it may do: afterwards it has the roles,
permissions and scopes that are named, and no other. Its tokens never have more.`,
		Example: `  gatehouse token account --token-file tokens.yaml --permission orders:read nightly
  gatehouse token account --config gatehouse.yaml --suspend nightly`,
		Args: terminal.OneArgument("name of a service account"),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := p.open()
			if err != nil {
				return err
			}
			defer store.close()
			if err := store.SetAccount(cmd.Context(), args[0], a, p.author()); err != nil {
				return err
			}
			state := "has " + granted(a.Grants)
			if a.Suspended {
				state = "is suspended"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "the service account %s %s\n", args[0], state)
			return nil
		},
	}
	p.register(c)
	p.registerBy(c)
	c.Flags().StringArrayVar(&a.Roles, "role", nil, "`role` that it has; repeat it for more")
	c.Flags().StringArrayVar(&a.Permissions, "permission", nil, "`permission` that it has; repeat it for more")
	c.Flags().StringArrayVar(&a.Scopes, "scope", nil, "`scope` that it has; repeat it for more")
	c.Flags().BoolVar(&a.Suspended, "suspend", false, "none of its tokens counts until it is set without this")
	return c
}

func granted(g apitoken.Grants) string {
	return strings.Replace(may(&apitoken.Record{Grants: g}), "nothing", "no role, permission or scope", 1)
}
