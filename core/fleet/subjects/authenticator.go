package subjects

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gatehouse/core"
)

// Granter knows what a subject or a client may do. It is safe for concurrent use.
type Granter interface {
	Grants(ctx context.Context, id Identity) (Grants, error)
}

// Identity is a subject, or a client that acts for itself, of one issuer.
type Identity struct {
	Issuer string
	Client bool
	Name   string
}

func (i Identity) String() string {
	what := "subject"
	if i.Client {
		what = "client"
	}
	return fmt.Sprintf("%s %q of issuer %q", what, i.Name, i.Issuer)
}

// Grants are roles and permissions, as a credential states them.
type Grants struct{ Roles, Permissions []string }

// Options of an Authenticator.
type Options struct {
	Granter Granter
	// Kinds of the credentials that are completed.
	Kinds []core.Kind
	// Replace drops roles and permissions of the credential; else they are added to.
	Replace bool
	// SessionIssuer stands for the issuer of sessions, which name none.
	SessionIssuer string
}

// Authenticator completes the principals of another one. It is behind every cache, so
// that a change counts at once, and before permissions are decided.
type Authenticator struct {
	core.Judge
	options Options
}

var (
	_ core.Judge        = (*Authenticator)(nil)
	_ core.HeaderSetter = (*Authenticator)(nil)
)

// Around completes the principals of an authenticator.
func Around(next core.Judge, o Options) *Authenticator { return &Authenticator{next, o} }

// ResponseHeaders are those of the other authenticator.
func (a *Authenticator) ResponseHeaders() []string { return core.ResponseHeadersOf(a.Judge) }

// Authenticate is that of the other authenticator, completed.
func (a *Authenticator) Authenticate(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	r, err := a.Judge.Authenticate(ctx, call, c)
	return a.complete(ctx, r, err)
}

// Refresh is that of the other authenticator, completed.
func (a *Authenticator) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	r, err := a.Judge.Refresh(ctx, call, c)
	return a.complete(ctx, r, err)
}

func (a *Authenticator) complete(ctx context.Context, r core.Authentication, err error) (core.Authentication, error) {
	if err != nil || r.Principal == nil || !a.completes(r.Principal) {
		return r, err
	}
	id, err := a.identity(r.Principal)
	if err == nil {
		var g Grants
		if g, err = a.options.Granter.Grants(ctx, id); err == nil {
			r.Principal = a.with(r.Principal, g)
			return r, nil
		}
	}
	r.Principal = nil
	return r, fmt.Errorf("what the caller may do cannot be found out (subject_roles): %w", err)
}

// completes leaves out what was handed on by a subject with less than they have.
func (a *Authenticator) completes(p *core.Principal) bool {
	return p.Limit == nil && slices.Contains(a.options.Kinds, p.Kind)
}

// identity is whose grants count. A credential that a client got for itself has no
// subject, or the client as the subject (RFC 9068 section 2.2).
func (a *Authenticator) identity(p *core.Principal) (Identity, error) {
	id := Identity{Issuer: p.Issuer, Name: p.Subject}
	if p.Subject == "" || p.Subject == p.ClientID {
		id.Client, id.Name = true, p.ClientID
	}
	if p.Kind == core.KindSession {
		id.Issuer = a.options.SessionIssuer
	}
	if id.Issuer == "" {
		return id, errors.New("the credential names no issuer, and a name is unique within one issuer only")
	}
	return id, nil
}

// with returns a copy: the principal is that of a cache.
func (a *Authenticator) with(p *core.Principal, g Grants) *core.Principal {
	completed := *p
	if a.options.Replace {
		completed.Roles, completed.Permissions = slices.Clone(g.Roles), slices.Clone(g.Permissions)
		return &completed
	}
	completed.Roles, completed.Permissions = union(p.Roles, g.Roles), union(p.Permissions, g.Permissions)
	return &completed
}

func union(a, b []string) []string {
	all := slices.Clip(slices.Clone(a))
	for _, name := range b {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}
