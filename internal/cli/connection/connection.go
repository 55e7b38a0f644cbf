// Package connection has the flags that say which database a command uses, once for all
// commands on a fleet.
package connection

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/config"
	"gatehouse/core/fleet/postgres"
	"gatehouse/internal/offline"
)

// URLVariable is the environment variable with the URL of the database.
const URLVariable = "GATEHOUSE_DATABASE_URL"

// Node names a fleet by a node's configuration.
type Node struct {
	source offline.Source
	roots  []string
}

// Register adds the flags to a command.
func (f *Node) Register(c *cobra.Command) {
	c.Flags().StringVar(&f.source.File, "config", "", "`file` with a node's configuration: gatehouse.yaml, or kong.yml, apisix.yaml or forwardauth.yaml that holds some")
	c.Flags().StringVar(&f.source.Route, "route", "", "`name` or id of the route of Kong or APISIX whose configuration counts, where the file holds several")
	c.Flags().StringVar(&f.source.Gate, "gate", "", "`name` of the gate of gatehouse-forwardauth that counts, where the file holds several")
	c.Flags().StringArrayVar(&f.roots, "root", nil, "`folder` that holds the files of the gateway's machine, as DIR, or FROM=DIR for those below FROM; repeat it for more")
	_ = c.MarkFlagFilename("config", "yaml", "yml", "json")
}

// Flags name a fleet: by a node's configuration, or by the address of its database.
type Flags struct {
	Node
	url    string
	schema string
}

// Register adds the flags to a command.
func (f *Flags) Register(c *cobra.Command) {
	f.Node.Register(c)
	c.Flags().StringVar(&f.url, "database-url", "", "`URL` of the database without a password, such as postgres://gatehouse_owner@db.example.com/gatehouse; default "+URLVariable+". The password comes from PGPASSWORD or ~/.pgpass")
	c.Flags().StringVar(&f.schema, "schema", "gatehouse", "`name` of the schema, beside --database-url")
}

// Config is the configuration that the flags name; nil: they name none.
func (f *Node) Config() (*config.Config, error) {
	if f.source.File == "" {
		return nil, nil
	}
	var err error
	if f.source.Roots, err = offline.ParseRoots(f.roots); err != nil {
		return nil, err
	}
	found, err := f.source.Find()
	if err != nil {
		return nil, err
	}
	return found.Config, nil
}

// commandTimeout is how long a command waits: people do not mind, and a table is large.
const commandTimeout = 30 * time.Second

// Postgres are the options of a client of the database that the flags name.
func (f *Flags) Postgres() (postgres.Options, error) {
	o, err := f.options()
	o.Timeout, o.ConnectTimeout = commandTimeout, commandTimeout/3
	return o, err
}

func (f *Flags) options() (postgres.Options, error) {
	c, err := f.Config()
	switch {
	case err != nil:
		return postgres.Options{}, err
	case c != nil && f.url != "":
		return postgres.Options{}, errors.New("--config and --database-url name two databases; give one of them")
	case c != nil && c.Postgres == nil:
		return postgres.Options{}, fmt.Errorf("%s has no section postgres; name the database with --database-url or %s", f.source.File, URLVariable)
	case c != nil:
		return c.Postgres.Options()
	}
	text := f.url
	if text == "" {
		text = os.Getenv(URLVariable)
	} else if err := withoutPassword(text); err != nil {
		return postgres.Options{}, err
	}
	if text == "" {
		return postgres.Options{}, fmt.Errorf("no database is named; give a node's configuration with --config, or the database with --database-url or %s", URLVariable)
	}
	return postgres.Options{Connection: postgres.Connection{URL: text}, Schema: f.schema}, nil
}

// withoutPassword refuses a password that everybody on the machine can read in the list
// of processes. The error does not repeat it.
func withoutPassword(text string) error {
	u, err := url.Parse(text)
	found := strings.Contains(strings.ReplaceAll(strings.ToLower(text), " ", ""), "password=")
	if err == nil && u.User != nil {
		if _, inUser := u.User.Password(); inUser {
			found = true
		}
	}
	if found || err != nil && strings.Contains(text, "://") {
		return fmt.Errorf("--database-url holds a password, which everybody on this machine can read in the list of processes, or is no URL; put the password into PGPASSWORD or ~/.pgpass, or the whole URL into %s", URLVariable)
	}
	return nil
}
