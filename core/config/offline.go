package config

import (
	"fmt"

	"gatehouse/core"
	"gatehouse/core/config/tables"
	"gatehouse/core/extract"
	"gatehouse/core/permission/ask"
)

// Decider is the decision point of a configuration; nil: it has none.
func (b *Builder) Decider(c *Config) (ask.Decider, error) {
	point, err := b.asking.Point(c.AuthZEN, c.Cache, &tables.Settings{})
	if point == nil {
		return nil, err
	}
	return point, err
}

// GateWith returns the gate of a configuration with an authenticator and a
// policy of the caller's own, for tools whose caller is given. A nil policy
// stands for that of the configuration. All else is as Build makes it. No key,
// authority or secret is read, and no identity provider is called.
func (b *Builder) GateWith(c *Config, authenticator core.Authenticator, policy core.Policy) (*core.Gate, error) {
	if policy == nil {
		if where := c.TableElsewhere(); where != "" {
			return nil, fmt.Errorf("the permission table is at %s, which is not called here", where)
		}
		from, err := c.tableSource().Open(b.fleet)
		if err != nil {
			return nil, err
		}
		t, _, err := b.tables.Table(from)
		if err != nil {
			return nil, err
		}
		policy = t
	}
	assumed := *c
	assumed.ResourceMetadata = c.ResourceMetadata.AnyAudience()
	return b.build(&assumed, nil, authenticator, policy, c.UpstreamToken.Offline(), c.offlineEndpoints(), b.options.Recorder, core.New)
}

// Principal reads whom a verified credential speaks of: the payload of a JWT,
// the response of the introspection endpoint or a session document of Kratos.
// Every check that follows the signature, or the call, is made. The typ is that
// of a JWT's header.
func (b *Builder) Principal(c *Config, kind core.Kind, document map[string]any, typ string) (*core.Principal, error) {
	if kind == core.KindJWT && c.GatewayToken.Issues(document) {
		return c.GatewayToken.Principal(b.sections, document, typ)
	}
	for _, s := range c.sections() {
		if s.Kind() == kind {
			return s.Principal(b.sections, document, typ)
		}
	}
	return nil, fmt.Errorf("%w: the configuration has no section %s", core.ErrInvalid, kind)
}

// PlaceOf is where a client puts a credential of a kind: the first place of the
// kind's section, else that of bearer tokens. It is not found where the
// configuration accepts no such credential.
func (c *Config) PlaceOf(kind core.Kind) (place extract.Place, found bool) {
	for _, s := range c.sections() {
		if s.Kind() != kind {
			continue
		}
		if places := s.Places(); len(places) > 0 {
			return places[0], true
		}
		return extract.BearerTokenPlace, s.JudgesBearer()
	}
	return extract.Place{}, false
}

// TableElsewhere says where the permission table is that is neither in the
// configuration nor in files; empty: it is.
func (c *Config) TableElsewhere() string { return c.tableSource().Elsewhere() }
