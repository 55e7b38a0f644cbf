// Package authn sends each credential to the one authenticator that can judge
// it: by where it sat in the request and, for bearer tokens, by its shape.
//
// A token goes to one authenticator and its word is final. Trying the next one
// after a refusal would make the weakest of them the one that decides.
package authn

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gatehouse/core"
)

// JWTMode says which JWTs are introspected instead of verified locally.
type JWTMode string

// The modes.
const (
	// IntrospectNever refuses JWTs of unknown issuers.
	IntrospectNever JWTMode = "never"
	// IntrospectUnknownIssuer introspects JWTs whose issuer the JWT verifier
	// does not know. The default.
	IntrospectUnknownIssuer JWTMode = "unknown_issuer"
	// IntrospectAlways introspects every JWT, so that a revoked one is seen.
	IntrospectAlways JWTMode = "always"
)

// Options of a Router. An authenticator that is nil is not used.
type Options struct {
	// Session judges session cookies and session tokens.
	Session core.Authenticator
	// SessionBearer sends bearer tokens that are Kratos session tokens
	// (prefix ory_st_) to Session.
	SessionBearer bool
	// JWT judges JWTs of issuers for which Knows is true.
	JWT   core.Authenticator
	Knows func(issuer string) bool
	// Introspection judges opaque tokens, and JWTs by mode.
	Introspection core.Authenticator
	// IntrospectJWT defaults to IntrospectUnknownIssuer.
	IntrospectJWT JWTMode
}

// Router is a core.Authenticator that hands over to others.
type Router struct{ Options }

var _ core.Refresher = (*Router)(nil)

// New makes a router of at least one authenticator.
func New(o Options) (*Router, error) {
	if o.IntrospectJWT == "" {
		o.IntrospectJWT = IntrospectUnknownIssuer
	}
	switch {
	case o.Session == nil && o.JWT == nil && o.Introspection == nil:
		return nil, errors.New("no authenticator: nobody could sign in")
	case o.SessionBearer && o.Session == nil:
		return nil, errors.New("session tokens as bearer tokens need the session authenticator")
	case (o.JWT == nil) != (o.Knows == nil):
		return nil, errors.New("a JWT authenticator and the issuers it knows go together")
	}
	switch o.IntrospectJWT {
	case IntrospectNever, IntrospectUnknownIssuer:
	case IntrospectAlways:
		if o.Introspection == nil {
			return nil, fmt.Errorf("JWTs are to be introspected (%s) and there is no introspection", o.IntrospectJWT)
		}
	default:
		return nil, fmt.Errorf("mode %q is not %s, %s or %s", o.IntrospectJWT, IntrospectNever, IntrospectUnknownIssuer, IntrospectAlways)
	}
	return &Router{o}, nil
}

// Authenticate hands the credential to the authenticator it belongs to.
func (r *Router) Authenticate(ctx context.Context, c core.Credential) (*core.Principal, error) {
	if p, ok := r.recall(c); ok {
		return p, nil
	}
	next, err := r.route(c)
	if err != nil {
		return nil, err
	}
	return next.Authenticate(ctx, c)
}

// recaller is an authenticator that knows some answers by heart.
type recaller interface {
	Recall(c core.Credential) (*core.Principal, bool)
}

// recall spares a JWT that has been verified a moment ago from being taken
// apart to see who issued it: only the JWT authenticator can remember it, and
// with this configuration the same token would go there again.
func (r *Router) recall(c core.Credential) (*core.Principal, bool) {
	jwts, ok := r.JWT.(recaller)
	if !ok || r.IntrospectJWT == IntrospectAlways || c.Kind != core.BearerToken && c.Kind != core.TokenCookie {
		return nil, false
	}
	if !strings.HasPrefix(c.Value, jsonPrefix) {
		return nil, false
	}
	return jwts.Recall(c)
}

// jsonPrefix starts every JWT: it is the base64url of an object's first bytes.
const jsonPrefix = "ey"

// Refresh does the same for an answer that must be new. An authenticator that
// remembers nothing is asked as always.
func (r *Router) Refresh(ctx context.Context, c core.Credential) (*core.Principal, error) {
	next, err := r.route(c)
	if err != nil {
		return nil, err
	}
	if refresher, ok := next.(core.Refresher); ok {
		return refresher.Refresh(ctx, c)
	}
	return next.Authenticate(ctx, c)
}

func (r *Router) route(c core.Credential) (core.Authenticator, error) {
	switch c.Kind {
	case core.SessionCookie, core.SessionToken:
		return use(r.Session, "sessions")
	case core.BearerToken, core.TokenCookie:
		return r.routeToken(c.Value)
	}
	return nil, fmt.Errorf("%w: credentials of kind %.40q are not accepted", core.ErrInvalid, c.Kind)
}

// sessionPrefix starts every session token of Ory Kratos.
const sessionPrefix = "ory_st_"

func (r *Router) routeToken(token string) (core.Authenticator, error) {
	if r.SessionBearer && strings.HasPrefix(token, sessionPrefix) {
		return use(r.Session, "sessions")
	}
	issuer, isJWT := PeekIssuer(token)
	switch {
	case !isJWT:
		return use(r.Introspection, "opaque tokens")
	case r.IntrospectJWT == IntrospectAlways:
		return use(r.Introspection, "JWTs")
	case r.JWT != nil && r.Knows(issuer):
		return r.JWT, nil
	case r.IntrospectJWT == IntrospectUnknownIssuer:
		return use(r.Introspection, "JWTs of unknown issuers")
	}
	return nil, fmt.Errorf("%w: a JWT of an unknown issuer", core.ErrInvalid)
}

func use(a core.Authenticator, what string) (core.Authenticator, error) {
	if a == nil {
		return nil, fmt.Errorf("%w: %s are not accepted", core.ErrInvalid, what)
	}
	return a, nil
}
