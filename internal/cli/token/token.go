// Package token has the commands on API tokens and service accounts.
package token

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/authn/apitoken/tokenfile"
	"gatehouse/core/config"
	"gatehouse/core/config/fleet"
	"gatehouse/core/config/section"
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
	// untold says when nodes know of a revocation that nobody tells them of; empty: they
	// are told.
	untold string
	close  func()
}

// open opens the file or the database that the flags name.
func (p *place) open() (*opened, error) {
	node, err := p.connection.Config()
	if err != nil {
		return nil, err
	}
	settings, err := p.settings(node)
	if err != nil {
		return nil, err
	}
	sender, err := senderOf(node)
	if err != nil {
		return nil, err
	}
	o := manage.Options{MaxLifetime: settings.MaxLifetime.Duration(), NoExpiry: settings.InsecureNoExpiry, Source: "gatehouse token (" + p.author() + ")", Now: time.Now}
	opened := &opened{close: func() {}}
	if sender != nil {
		o.Publisher, opened.close = sender, sender.Close
	}
	if settings.InDatabase() {
		client, err := p.database()
		if err != nil {
			opened.close()
			return nil, err
		}
		o.Keeper, o.Owners = fleet.DatabaseTokens(client, node != nil && node.SubjectRoles != nil)
		closeSender := opened.close
		opened.close = func() { closeSender(); client.Close() }
		if sender == nil {
			opened.untold = fmt.Sprintf("nodes that no notification of the database reaches refuse it once cache_ttl (%s) is over; where --config names a configuration with the section revocation, they are told", settings.CacheTTL.Duration())
		}
	} else {
		k := tokenfile.NewKeeper(settings.TokenFile)
		o.Keeper, o.Owners = k, k
	}
	opened.Manager = manage.New(o)
	return opened, nil
}

func (p *place) database() (*postgres.Client, error) {
	options, err := p.connection.Postgres()
	if err != nil {
		return nil, err
	}
	return postgres.New(options)
}

// senderOf takes revocations to the nodes of a configuration; nil: it has no section
// revocation, or nothing that its nodes share.
func senderOf(node *config.Config) (*fleet.Sender, error) {
	if node == nil || node.Revocation == nil || node.Redis == nil && node.Postgres == nil {
		return nil, nil
	}
	return fleet.NewBuilder(fleet.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now}).
		Sender(fleet.Sections{Redis: node.Redis, Postgres: node.Postgres, Revocation: node.Revocation}, true)
}

// settings are those of the section api_token, or what they are without one.
func (p *place) settings(node *config.Config) (*section.APIToken, error) {
	var own section.APIToken
	switch {
	case node != nil && p.file != "":
		return nil, errors.New("--config and --token-file name two places; give one of them")
	case node != nil && node.APIToken == nil:
		return nil, errors.New("the configuration has no section api_token; name the place with --token-file or --database-url")
	case node != nil:
		return node.APIToken, nil
	}
	setting.Defaults(&own, nil)
	own.TokenFile = p.file
	if p.file == "" {
		own.Store = "postgres"
	}
	return &own, nil
}
