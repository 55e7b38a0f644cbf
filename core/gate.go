package core

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Options are the parts of a Gate.
type Options struct {
	Path          PathOptions
	Extractor     Extractor
	Authenticator Authenticator
	Policy        Policy
	// ScopesRequired must all be held on every call that is not public.
	ScopesRequired []string
	Identity       *IdentityHeaders
	// Groups are the claims that may hold the caller's groups, for plugins of
	// the gateway itself; the first that is present counts. Empty for none.
	Groups []ClaimPath
	// Realm and scheme of the WWW-Authenticate header.
	Realm  string
	Scheme Scheme
	// Login is nil when browsers get a 401 like everybody else.
	Login *Login
	// Recorder is told of every decision; nil for none.
	Recorder Recorder
	// Now is the clock; nil for the system's.
	Now func() time.Time
}

// Gate decides requests. It is safe for concurrent use.
type Gate struct {
	Options
}

// New checks that a gate has the parts without which it could not decide.
func New(o Options) (*Gate, error) {
	if o.Authenticator == nil || o.Policy == nil || o.Identity == nil {
		return nil, errors.New("a gate needs an authenticator, a policy and identity headers")
	}
	if o.Realm == "" {
		return nil, errors.New("a gate needs a realm (RFC 9110 section 11.5)")
	}
	if o.Scheme == "" {
		o.Scheme = SchemeBearer
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Gate{o}, nil
}

// Event is one decision, for the log, metrics, traces and the audit trail.
type Event struct {
	Request  *Request
	Path     string
	Decision *Decision
	Duration time.Duration
}

// Recorder receives every decision, on the request's own goroutine.
type Recorder interface {
	Record(ctx context.Context, e Event)
}

// Check decides one request. It never panics and never returns without a
// decision.
func (g *Gate) Check(ctx context.Context, r *Request) (d Decision) {
	start := g.Now()
	call := Call{Request: r}
	defer func() {
		if v := recover(); v != nil {
			d = Refusal(r, fmt.Errorf("panic while deciding: %s", Thrown(v)))
		}
		g.record(ctx, Event{r, call.Path, &d, g.Now().Sub(start)})
	}()
	return g.check(ctx, &call)
}

// Refuse denies a request that a host cannot put to Check, or cannot let go on
// as Check decided, and records it like any other.
func (g *Gate) Refuse(ctx context.Context, r *Request, err error) Decision {
	d := Refusal(r, err)
	g.record(ctx, Event{Request: r, Decision: &d})
	return d
}

func (g *Gate) record(ctx context.Context, e Event) {
	if g.Recorder != nil {
		g.Recorder.Record(ctx, e)
	}
}

func (g *Gate) check(ctx context.Context, call *Call) Decision {
	if call.HeaderCut {
		return g.refuse(call, nil, nil, fmt.Errorf("%w: the gateway shows only part of them", ErrTooLarge))
	}
	path, err := Canonical(call.Target, g.Path)
	if err != nil {
		return g.refuse(call, nil, nil, err)
	}
	call.Path = path
	access := g.Policy.Match(ctx, call)
	if access == nil {
		return g.refuse(call, nil, nil, fmt.Errorf("%w: no activity covers the call", ErrForbidden))
	}
	if access.Public() {
		return g.admit(call, access, nil)
	}
	c, err := g.Extractor.Extract(call.Request)
	if err != nil {
		return g.refuse(call, access, nil, err)
	}
	p, err := g.permit(ctx, call, access, c)
	if err != nil {
		return g.refuse(call, access, p, err)
	}
	return g.admit(call, access, p)
}

// permit authenticates and authorises. When a stronger sign-in is wanted than
// the one that is remembered, it looks once more.
func (g *Gate) permit(ctx context.Context, call *Call, access Access, c Credential) (*Principal, error) {
	p, err := g.authenticate(ctx, c, g.Authenticator.Authenticate)
	if err != nil {
		return nil, err
	}
	err = g.authorize(ctx, call, access, p)
	var stepUp *StepUp
	if r, ok := g.Authenticator.(Refresher); ok && errors.As(err, &stepUp) {
		if p, err = g.authenticate(ctx, c, r.Refresh); err != nil {
			return nil, err
		}
		err = g.authorize(ctx, call, access, p)
	}
	return p, err
}

func (g *Gate) authenticate(ctx context.Context, c Credential, by func(context.Context, Credential) (*Principal, error)) (*Principal, error) {
	p, err := by(ctx, c)
	if err != nil {
		return nil, err
	}
	// Checked here too, because a cache stands between: an answer must not
	// outlive the credential it is about.
	if !p.Expiry.After(g.Now()) {
		return nil, fmt.Errorf("%w: expired", ErrInvalid)
	}
	if p.Subject == "" && p.ClientID == "" {
		return nil, fmt.Errorf("%w: names neither a subject nor a client", ErrInvalid)
	}
	return p, nil
}

func (g *Gate) authorize(ctx context.Context, call *Call, access Access, p *Principal) error {
	for _, scope := range g.ScopesRequired {
		if !slices.Contains(p.Scopes, scope) {
			return &InsufficientScope{Scopes: g.ScopesRequired, Detail: "scopes_required lists " + scope}
		}
	}
	return access.Allows(ctx, call, p)
}

// admit lets the request go on, stripped of every identity header it came
// with and, for a known caller, with the true ones set.
func (g *Gate) admit(call *Call, access Access, p *Principal) Decision {
	d := Decision{Outcome: Allow, Reason: "allowed", Rule: access.Rule(), Principal: p}
	if p == nil {
		d.Reason = "public"
	}
	if err := g.Identity.apply(&d, call.Request, p, g.Policy); err != nil {
		return g.refuse(call, access, p, err)
	}
	if p != nil && len(g.Groups) > 0 {
		var err error
		if d.Groups, err = groups(g.Groups, p, g.Policy); err != nil {
			return g.refuse(call, access, p, err)
		}
	}
	return d
}

func (g *Gate) refuse(call *Call, access Access, p *Principal, err error) Decision {
	d := Refusal(call.Request, err)
	d.Principal = p
	var scopes []string
	if access != nil {
		d.Rule = access.Rule()
		scopes = access.Scopes()
	}
	if g.Login != nil && d.Status == http.StatusUnauthorized && g.mayLogIn(call.Request) {
		if location, ok := g.Login.location(call.Request, err); ok {
			return redirect(d, location)
		}
	}
	f := refusalFor(err)
	if f.status == http.StatusUnauthorized || f.code != "" {
		d.Header = append(d.Header, Header{"WWW-Authenticate", challenge(g.Scheme, g.Realm, f, err, scopes)})
	}
	return d
}

// mayLogIn reports whether logging in could help: a browser is navigating and
// did not come with a credential that a program put there.
func (g *Gate) mayLogIn(r *Request) bool {
	c, found, err := g.Extractor.explicit(r)
	return err == nil && !found && !c.Kind.Explicit() && isNavigation(r)
}

// redirect turns a refusal into a way to the login page.
func redirect(d Decision, location string) Decision {
	d.Status = http.StatusFound
	d.Header = append(answerHeaders("text/plain; charset=utf-8"), Header{"Location", location})
	d.Body = []byte("Sign in to continue.\n")
	return d
}
