// Package token has the commands on API tokens and service accounts.
package token

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/authn/apitoken/tokenfile"
	"gatehouse/core/config/section"
	"gatehouse/core/fleet/apitokens"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/setting"
	"gatehouse/internal/cli/connection"
)

// Command is gatehouse token.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Make, list, rotate and revoke API tokens",
		Long: `Make, list, rotate and revoke the API tokens of users and of service accounts.

A token is shown once, when it is made; only its SHA-256 digest is kept: in a file
(--token-file), in the database of a fleet (--database-url), or where the section
api_token of a node's configuration says (--config).

Secret scanners find tokens with the pattern ` + apitoken.Pattern + `
(see docs/api-tokens.md).`,
	}
	c.AddCommand(createCommand(), listCommand(), rotateCommand(), revokeCommand(), accountCommand())
	return c
}

// place is where the tokens are kept, by flags.
type place struct {
	connection connection.Flags
	file       string
	by         string
}

func (p *place) register(c *cobra.Command) {
	p.connection.Register(c)
	c.Flags().StringVar(&p.file, "token-file", "", "`file` with the tokens, which is made if there is none")
	_ = c.MarkFlagFilename("token-file", "yaml", "yml", "json")
}

func (p *place) registerBy(c *cobra.Command) {
	c.Flags().StringVar(&p.by, "by", "", "`name` of who makes the change, for the record (default: the user of the system)")
}

// author is who makes a change.
func (p *place) author() string {
	if p.by != "" {
		return p.by
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return cmp.Or(os.Getenv("USER"), "unknown")
}

// opened is where the tokens are kept.
type opened struct {
	*manage.Manager
	owners apitoken.Owners
	close  func()
}

// open opens the file or the database that the flags name.
func (p *place) open() (*opened, error) {
	settings, err := p.settings()
	if err != nil {
		return nil, err
	}
	o := manage.Options{MaxLifetime: settings.MaxLifetime.Duration(), NoExpiry: settings.InsecureNoExpiry, Now: time.Now}
	if settings.TokenFile != "" {
		k := tokenfile.NewKeeper(settings.TokenFile)
		o.Keeper, o.Owners = k, k
		return &opened{manage.New(o), k, func() {}}, nil
	}
	options, err := p.connection.Postgres()
	if err != nil {
		return nil, err
	}
	client, err := postgres.New(options)
	if err != nil {
		return nil, err
	}
	k := apitokens.NewKeeper(client)
	o.Keeper, o.Owners = k, accounts{k}
	return &opened{manage.New(o), o.Owners, client.Close}, nil
}

// accounts knows service accounts. Of users the nodes alone know what they may do.
type accounts struct{ apitokens.Keeper }

func (a accounts) Grants(ctx context.Context, o apitoken.Owner) (apitoken.Grants, error) {
	if o.ServiceAccount == "" {
		return apitoken.Grants{}, manage.ErrElsewhere
	}
	return a.Keeper.Grants(ctx, o)
}

// settings are those of the section api_token, or what they are without one.
func (p *place) settings() (*section.APIToken, error) {
	c, err := p.connection.Config()
	if err != nil {
		return nil, err
	}
	var own section.APIToken
	switch {
	case c != nil && p.file != "":
		return nil, errors.New("--config and --token-file name two places; give one of them")
	case c != nil && c.APIToken == nil:
		return nil, errors.New("the configuration has no section api_token; name the place with --token-file or --database-url")
	case c != nil:
		return c.APIToken, nil
	}
	setting.Defaults(&own, nil)
	own.TokenFile = p.file
	return &own, nil
}
