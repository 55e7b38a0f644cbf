package config

import (
	"fmt"
	"slices"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/introspection"
	"gatehouse/core/authn/session"
)

// GateWith returns the gate of a configuration with an authenticator and a
// policy of the caller's own, for tools that are told who calls. All else is as
// Build makes it. No key, authority or secret is read, no file is followed and
// nothing is called.
func (b *Builder) GateWith(c *Config, authenticator core.Authenticator, policy core.Policy) (*core.Gate, error) {
	return b.build(c, authenticator, policy)
}

// Principal reads whom a verified credential speaks of: the payload of a JWT,
// the response of the introspection endpoint or a session document of Kratos.
// Every check that follows the signature, or the call, is made. The typ is that
// of a JWT's header.
func (b *Builder) Principal(c *Config, kind core.Kind, document map[string]any, typ string) (*core.Principal, error) {
	switch {
	case kind == core.KindSession && c.Session != nil:
		return b.sessionPrincipal(c.Session, document)
	case kind == core.KindIntrospection && c.Introspection != nil:
		return b.introspectedPrincipal(c.Introspection, document)
	case kind == core.KindJWT && c.JWT != nil:
		return b.jwtPrincipal(c.JWT, document, typ)
	}
	return nil, fmt.Errorf("%w: the configuration has no section %s", core.ErrInvalid, kind)
}

func (b *Builder) sessionPrincipal(s *Session, document map[string]any) (*core.Principal, error) {
	unused, err := idp.New(idp.Options{})
	if err != nil {
		return nil, err
	}
	a, err := session.New(s.options(unused, b.Now))
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	return a.Principal(document)
}

func (b *Builder) introspectedPrincipal(i *Introspection, document map[string]any) (*core.Principal, error) {
	unused, err := idp.New(idp.Options{})
	if err != nil {
		return nil, err
	}
	secret := ""
	if i.AuthMethod != string(introspection.AuthNone) {
		secret = "unused"
	}
	a, err := introspection.New(i.options(unused, secret, b.Now))
	if err != nil {
		return nil, fmt.Errorf("introspection: %w", err)
	}
	return a.Principal(document)
}

func (b *Builder) jwtPrincipal(j *JWT, document map[string]any, typ string) (*core.Principal, error) {
	set := claims.Set(document)
	name, err := set.Text("iss")
	if err != nil {
		return nil, fmt.Errorf("%w: JWT %w", core.ErrInvalid, err)
	}
	n := slices.IndexFunc(j.Issuers, func(i Issuer) bool { return i.Issuer == name })
	if n < 0 {
		return nil, fmt.Errorf("%w: JWT is from another issuer (%.200q)", core.ErrInvalid, name)
	}
	issuer := j.trusted()[n]
	p, err := issuer.Principal(set, typ, b.Now(), exactly(j.Leeway))
	if err != nil {
		return nil, fmt.Errorf("%w: JWT %w", core.ErrInvalid, err)
	}
	return p, nil
}
