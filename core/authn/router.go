// Package authn hands each credential to the one authenticator that can judge
// it: by where it sat in the request and, for bearer tokens, by its form.
//
// A token goes to one authenticator and its result is final. Trying the next one
// after a refusal would make the weakest of them the one that decides.
package authn

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gatehouse/core"
)

// Route is an authenticator with the credentials that it judges.
type Route struct {
	// Title says in errors which credentials these are; empty: ones that are refused.
	Title string
	// Judges reports whether the authenticator judges a credential. parsed is what
	// it has parsed of the credential meanwhile, or nil; it is not parsed again.
	Judges func(c core.Credential) (parsed any, ok bool)
	// Candidate, where given, is a cheap condition that holds for everything that
	// Judges accepts. The cache of By is then looked at before Judges is asked:
	// what By has cached, Judges has accepted before.
	Candidate func(c core.Credential) bool
	By        core.TokenAuthenticator
	// Accepted, where given, is called for every call whose credential holds, from where
	// and for which host it is used: also out of a cache, and with those of other routes.
	Accepted func(*core.Principal)
}

// cacher is an authenticator that can be asked for what it has cached: a principal,
// or why there is none.
type cacher interface {
	Recall(ctx context.Context, c core.Credential) (p *core.Principal, err error, known bool)
}

// sharer is an authenticator that can be asked for what other nodes have learned.
type sharer interface {
	RecallShared(ctx context.Context, c core.Credential) (p *core.Principal, err error, known bool)
}

// Router is a core.Authenticator that calls others.
type Router struct {
	routes []route
}

// route is a Route with the cache of its authenticator, if it has one.
type route struct {
	Route
	cache cacher
}

var _ core.Refresher = (*Router)(nil)

// New makes a router of at least one route. The first route that judges a
// credential gets it.
func New(routes ...Route) (*Router, error) {
	if len(routes) == 0 {
		return nil, errors.New("no authenticator: no credential would be accepted")
	}
	router := &Router{}
	for _, r := range routes {
		if r.Judges == nil || r.By == nil {
			return nil, fmt.Errorf("route %q has no authenticator or no credentials", r.Title)
		}
		cache, _ := r.By.(cacher)
		router.routes = append(router.routes, route{r, cache})
	}
	return router, nil
}

// Authenticate calls the authenticator that judges the credential, unless its cache
// knows the result.
func (r *Router) Authenticate(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	if p, err, known := r.Recall(ctx, call, &c); known {
		return authentication(p, err)
	}
	return r.Verify(ctx, call, c)
}

// Recall returns what is known of a credential without any call, and keeps in the
// credential what it has parsed of it.
func (r *Router) Recall(ctx context.Context, call *core.Call, c *core.Credential) (p *core.Principal, err error, known bool) {
	if p, err, known = r.recallAll(ctx, c); known {
		p, err = r.confine(call, p, err)
	}
	return p, err, known
}

func (r *Router) recallAll(ctx context.Context, c *core.Credential) (p *core.Principal, err error, known bool) {
	if c.Others[0] == "" {
		return r.recall(ctx, c)
	}
	p, err = all(ctx, *c, func(ctx context.Context, c core.Credential) (*core.Principal, error) {
		p, err, known := r.recall(ctx, &c)
		if !known {
			return nil, errUnknown
		}
		return p, err
	})
	return p, err, err != errUnknown
}

// RecallShared returns a principal that another node knows of a credential; nil: none
// does. It may take a call to what the nodes share.
func (r *Router) RecallShared(ctx context.Context, call *core.Call, c core.Credential) *core.Principal {
	if c.Others[0] != "" {
		return nil
	}
	for i := range r.routes {
		route := &r.routes[i]
		if !route.judges(&c) {
			continue
		}
		if by, shares := route.By.(sharer); shares {
			p, err, known := by.RecallShared(ctx, c)
			if p, err = r.confine(call, p, err); known && err == nil {
				return p
			}
		}
		return nil
	}
	return nil
}

var errUnknown = errors.New("no cache knows the credential")

func (r *Router) recall(ctx context.Context, c *core.Credential) (p *core.Principal, err error, known bool) {
	looked := 0 // in the caches of the routes before it
	for i := range r.routes {
		for ; looked < len(r.routes) && (looked <= i || r.routes[looked-1].isCandidate(*c)); looked++ {
			if route := &r.routes[looked]; route.isCandidate(*c) {
				if p, err, known := route.cache.Recall(ctx, *c); known {
					return p, err, true
				}
			}
		}
		route := &r.routes[i]
		if route.judges(c) {
			if route.cache == nil || route.isCandidate(*c) {
				return nil, nil, false
			}
			return route.cache.Recall(ctx, *c)
		}
	}
	return nil, r.notAccepted(*c), true
}

// isCandidate reports whether the cache of a route is looked at before it is asked. The
// caches of routes that follow each other are, before any of them is: what one has
// accepted, no other one accepts.
func (r *route) isCandidate(c core.Credential) bool {
	return r.cache != nil && r.Candidate != nil && r.Candidate(c)
}

// Verify is Authenticate for what Recall does not know.
func (r *Router) Verify(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	p, err := all(ctx, c, r.verify)
	return authentication(r.confine(call, p, err))
}

func (r *Router) verify(ctx context.Context, c core.Credential) (*core.Principal, error) {
	for i := range r.routes {
		if route := &r.routes[i]; route.judges(&c) {
			return route.By.AuthenticateToken(ctx, c)
		}
	}
	return nil, r.notAccepted(c)
}

// Refresh does the same for a result that must be new. An authenticator that
// caches nothing is called as always.
func (r *Router) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	p, err := all(ctx, c, r.refresh)
	return authentication(r.confine(call, p, err))
}

func (r *Router) refresh(ctx context.Context, c core.Credential) (*core.Principal, error) {
	for i := range r.routes {
		if route := &r.routes[i]; route.judges(&c) {
			return route.refresh(ctx, c)
		}
	}
	return nil, r.notAccepted(c)
}

func authentication(p *core.Principal, err error) (core.Authentication, error) {
	return core.Authentication{Principal: p}, err
}

// judges keeps in the credential what is parsed of it.
func (r *Route) judges(c *core.Credential) bool {
	parsed, ok := r.Judges(*c)
	if parsed != nil {
		c.Parsed = parsed
	}
	return ok
}

func (r *Route) refresh(ctx context.Context, c core.Credential) (*core.Principal, error) {
	if by, ok := r.By.(core.TokenRefresher); ok {
		return by.RefreshToken(ctx, c)
	}
	return r.By.AuthenticateToken(ctx, c)
}

// notAccepted says what came, as far as that was parsed, and what is accepted.
func (r *Router) notAccepted(c core.Credential) error {
	what := "a credential of this form"
	if parsed, ok := c.Parsed.(fmt.Stringer); ok {
		what = parsed.String()
	}
	var titles []string
	for i := range r.routes {
		if r.routes[i].Title != "" {
			titles = append(titles, r.routes[i].Title)
		}
	}
	return fmt.Errorf("%w: %s in the place %.40q is not accepted; accepted are %s", core.ErrInvalid, what, c.Place, strings.Join(titles, ", "))
}

// IsBearer reports whether a credential is an access token (RFC 6750, RFC 9449),
// wherever it sat.
func IsBearer(c core.Credential) bool {
	switch c.Place {
	case core.BearerToken, core.DPoPToken, core.TokenCookie, core.TokenHeader, core.TokenParameter:
		return true
	}
	return false
}
