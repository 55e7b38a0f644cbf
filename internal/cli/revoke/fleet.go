package revoke

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/core/config"
	"gatehouse/core/config/fleet"
	"gatehouse/core/fleet/revocations"
	"gatehouse/core/revocation"
)

// sender is the Redis and the PostgreSQL of a fleet.
type sender struct {
	*fleet.Sender
	config *config.Config
	force  bool // whatever the issuer
}

var (
	_ revocation.Publisher = sender{}
	_ lister               = sender{}
)

// fleet is that of the configuration that the flags name; nil: they name none.
func (p *places) fleet() (*sender, error) {
	c, err := p.node.Config()
	if c == nil || err != nil {
		return nil, err
	}
	return openFleet(c, p.begin, p.force)
}

func openFleet(c *config.Config, begin, force bool) (*sender, error) {
	switch {
	case c.Revocation == nil:
		return nil, errors.New("the configuration has no section revocation: its nodes look at no revocations")
	case c.Redis == nil && c.Postgres == nil:
		return nil, errors.New("the configuration has neither a section redis nor a section postgres, by which revocations would reach nodes; give the admin socket of each process of this machine with --admin unix:/path")
	}
	b := fleet.NewBuilder(fleet.Options{Now: time.Now})
	s, err := b.Sender(fleet.Sections{Redis: c.Redis, Postgres: c.Postgres, Revocation: c.Revocation}, begin)
	if err != nil {
		return nil, err
	}
	return &sender{s, c, force}, nil
}

// Publish says what to do where there is no stream.
func (s sender) Publish(ctx context.Context, events ...revocation.Event) error {
	if !s.force {
		if err := unknownIssuer(s.config, events); err != nil {
			return err
		}
	}
	err := s.Sender.Publish(ctx, events...)
	if errors.Is(err, revocations.ErrNoStream) {
		return fmt.Errorf("%w; start a node and revoke again; where the fleet has no node yet, --begin-stream begins the stream for those that come", err)
	}
	return err
}

// List returns what each place holds.
func (s sender) List(ctx context.Context) (all []list) {
	for _, held := range s.Held(ctx) {
		all = append(all, list{held.Place, held.Events, held.Err})
	}
	return all
}
