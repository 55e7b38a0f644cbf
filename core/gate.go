package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse/core/form"
	"gatehouse/core/httpsyntax"
)

// Options are the parts of a Gate.
type Options struct {
	Path PathOptions
	// Endpoints are what the gate answers itself.
	Endpoints     []Endpoint
	Extractor     Extractor
	Authenticator Authenticator
	Policy        Policy
	MaxBody       int // the limit of [Access]
	// ScopesRequired must all be held on every call that is not public.
	ScopesRequired []string
	Identity       Identity
	// TokenParameter is the query parameter that may hold a credential; it is
	// removed from every request. Empty: none.
	TokenParameter string
	// Realm and scheme of the WWW-Authenticate header.
	Realm  string
	Scheme Scheme
	// ProofAlgorithms are those of DPoP proofs, for the WWW-Authenticate header; none:
	// no token may come by DPoP.
	ProofAlgorithms []string
	// Metadata returns the URL of the metadata of the protected resource that a call
	// to a path is for (RFC 9728 section 5.1), for the WWW-Authenticate header; empty:
	// it is for none. nil: there are none.
	Metadata func(path string) string
	// Login is nil when browsers get a 401 like other clients.
	Login Login
	// Answers has the last word on what the gate itself answers; nil: nobody has.
	Answers Answers
	// Recorder follows every decision; nil: none.
	Recorder Recorder
	// Now is the clock; nil: the system's.
	Now func() time.Time
}

// Gate decides requests. It is safe for concurrent use.
type Gate struct {
	options Options
	// challenge and proof begin the challenges of WWW-Authenticate.
	challenge, proof string
}

// New checks that a gate has the parts without which it could not decide.
func New(o Options) (*Gate, error) {
	if o.Extractor == nil || o.Authenticator == nil || o.Policy == nil || o.Identity == nil {
		return nil, errors.New("a gate needs an extractor, an authenticator, a policy and identity headers")
	}
	if o.Realm == "" {
		return nil, errors.New("a gate needs a realm (RFC 9110 section 11.5)")
	}
	if err := checkEndpoints(o.Endpoints, o.Path); err != nil {
		return nil, err
	}
	if o.Scheme == "" {
		o.Scheme = SchemeBearer
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Gate{options: o}
	g.challenge, g.proof = o.challenges()
	return g, nil
}

// Check decides one request. It never panics and never returns without a
// decision.
func (g *Gate) Check(ctx context.Context, r *Request) Decision { return g.CheckThen(ctx, r, nil) }

// CheckThen is Check for a host that knows only of an admission whether the request can go
// on. What confirm returns an error for is refused, and recorded as that.
func (g *Gate) CheckThen(ctx context.Context, r *Request, confirm func(*Decision) error) Decision {
	one := &deciding{call: Call{Request: r, confirm: confirm}}
	g.follow(ctx, one)
	return one.d
}

// deciding is all that one decision takes of the heap.
type deciding struct {
	call Call
	d    Decision
}

func (g *Gate) follow(ctx context.Context, one *deciding) {
	r, start := one.call.Request, g.options.Now()
	defer refusePanic(r, &one.d) // of the recorder
	g.takeParameter(r)
	ctx = g.begin(ctx, r)
	defer func() { g.end(ctx, Event{r, one.call.Path, &one.call, &one.d, g.options.Now().Sub(start)}) }()
	defer refusePanic(r, &one.d) // of the last word
	g.decide(ctx, one)
	g.finish(r, &one.d)
}

func (g *Gate) decide(ctx context.Context, one *deciding) {
	defer refusePanic(one.call.Request, &one.d)
	one.d = g.check(ctx, &one.call)
}

// refusePanic is deferred: it turns a panic into a refusal.
func refusePanic(r *Request, d *Decision) {
	if v := recover(); v != nil {
		*d = Refusal(r, fmt.Errorf("panic while deciding: %s", Thrown(v)))
	}
}

// Refuse denies a request that a host cannot hand to Check, or cannot let go on
// as Check decided, and records it like any other. It is always a refusal.
func (g *Gate) Refuse(ctx context.Context, r *Request, err error) Decision {
	g.takeParameter(r)
	d := g.refusal(r, err)
	Record(ctx, g.options.Recorder, Event{Request: r, Decision: &d})
	return d
}

// takeParameter removes the credential from the target before anything reads it.
func (g *Gate) takeParameter(r *Request) {
	if g.options.TokenParameter != "" && r.Parameter.Count == 0 {
		r.Target, r.Parameter = httpsyntax.TakeParameter(r.Target, g.options.TokenParameter)
	}
}

func (g *Gate) refusal(r *Request, err error) (d Decision) {
	defer refusePanic(r, &d)
	d = Refusal(r, err)
	finished := d
	if g.finish(r, &finished); finished.Outcome == Deny {
		d = finished
	}
	return d
}

// Record tells the recorder of what a host has decided by itself.
func (g *Gate) Record(ctx context.Context, e Event) { Record(ctx, g.options.Recorder, e) }

func (g *Gate) begin(ctx context.Context, r *Request) context.Context {
	if g.options.Recorder == nil {
		return ctx
	}
	return g.options.Recorder.Begin(ctx, r)
}

func (g *Gate) end(ctx context.Context, e Event) {
	if g.options.Recorder != nil {
		g.options.Recorder.End(ctx, e)
	}
}

// ResponseHeaders are the names of the headers that an admitted call may add to the
// upstream's response.
func (g *Gate) ResponseHeaders() []string { return ResponseHeadersOf(g.options.Authenticator) }

// checkResponseHeader holds an authenticator to the headers that it names.
func (g *Gate) checkResponseHeader(lines []Header) error {
	for _, h := range lines {
		same := func(name string) bool { return strings.EqualFold(name, h.Name) }
		if !slices.ContainsFunc(g.ResponseHeaders(), same) {
			return fmt.Errorf("the authenticator returned the response header %.40q, which it does not name", h.Name)
		}
	}
	return checkResponseHeader(lines)
}

// Disguised returns the name of a header that many upstreams would take for an
// identity header although it is spelt otherwise, such as X_User_Id. A host
// that can remove headers only by the names it was given in advance must refuse
// a request that has one.
func (g *Gate) Disguised(r *Request) (name string, found bool) {
	return g.options.Identity.Disguised(r)
}

func (g *Gate) check(ctx context.Context, call *Call) Decision {
	if call.HeaderCut {
		return g.refuse(call, nil, Authentication{}, fmt.Errorf("%w: the gateway shows only part of them", ErrTooLarge))
	}
	path, err := Canonical(call.Target, g.options.Path)
	if err == nil && call.Parameter.Stuck {
		err = fmt.Errorf("%w: the query parameter %s %s", ErrBadRequest, g.options.TokenParameter, call.Parameter.Fault)
	}
	if err != nil {
		return g.refuse(call, nil, Authentication{}, err)
	}
	call.Path = path
	if e := g.endpoint(call); e != nil {
		return g.respond(ctx, call, e)
	}
	access := g.options.Policy.Match(ctx, call)
	if call.Access = access; access == nil {
		return g.refuse(call, nil, Authentication{}, fmt.Errorf("%w: no activity covers the call", ErrForbidden))
	}
	if err := access.Refusal(); err != nil {
		return g.refuse(call, access, Authentication{}, err)
	}
	if access.Public() {
		return g.admit(ctx, call, access, Authentication{})
	}
	a, err := g.identify(ctx, call, access)
	if err != nil {
		return g.refuse(call, access, a, err)
	}
	return g.admit(ctx, call, access, a)
}

// identify finds out who makes a call, and whether they may. The principal is nil
// for a caller who may make it without a name.
func (g *Gate) identify(ctx context.Context, call *Call, access Access) (a Authentication, err error) {
	c, err := g.options.Extractor.Extract(call.Request)
	if err == nil {
		a, err = g.permit(ctx, call, access, c)
	}
	if err != nil && a.Principal == nil {
		err = g.anonymous(ctx, call, access, c, err)
	}
	return a, err
}

// permit authenticates and authorises. When a stronger sign-in is wanted than
// the one that is cached, it authenticates once more.
func (g *Gate) permit(ctx context.Context, call *Call, access Access, c Credential) (Authentication, error) {
	a, err := g.authenticate(ctx, call, c, g.options.Authenticator.Authenticate)
	if err != nil {
		return a, err
	}
	if err = g.authorize(ctx, call, access, a.Principal); err == nil {
		return a, nil
	}
	if r, ok := g.options.Authenticator.(Refresher); ok && is[*StepUp](err) {
		earlier := a.ResponseHeader
		a, err = g.authenticate(ctx, call, c, r.Refresh)
		a.ResponseHeader = slices.Concat(earlier, a.ResponseHeader)
		if err == nil {
			err = g.authorize(ctx, call, access, a.Principal)
		}
	}
	return a, err
}

type authenticate func(context.Context, *Call, Credential) (Authentication, error)

// authenticate keeps a principal only if it passes: a refusal has none.
func (g *Gate) authenticate(ctx context.Context, call *Call, c Credential, by authenticate) (Authentication, error) {
	if _, ok := g.options.Authenticator.(OthersJudge); c.Others[0] != "" && !ok {
		return Authentication{}, fmt.Errorf("%w: a cookie is repeated (%s)", ErrInvalid, c.Place)
	}
	a, err := by(ctx, call, c)
	if err == nil {
		err = g.usable(a.Principal)
	}
	if err != nil {
		a.Principal = nil
	}
	return a, err
}

// usable checks what a cache in between could have got wrong: a result must not
// outlive the credential it is about.
func (g *Gate) usable(p *Principal) error {
	switch {
	case p == nil:
		return errors.New("the authenticator returned neither a principal nor an error")
	case !p.Expiry.After(g.options.Now()):
		return fmt.Errorf("%w: expired", ErrInvalid)
	case p.Subject == "" && p.ClientID == "":
		return fmt.Errorf("%w: names neither a subject nor a client", ErrInvalid)
	}
	return p.checkProof()
}

func (g *Gate) authorize(ctx context.Context, call *Call, access Access, p *Principal) error {
	for _, scope := range g.options.ScopesRequired {
		if !slices.Contains(p.Scopes, scope) {
			return &InsufficientScope{Scopes: g.options.ScopesRequired, Detail: "scopes_required lists " + scope}
		}
	}
	return access.Allows(ctx, call, p)
}

// admit lets the request go on, stripped of every identity header it came
// with and, for a known caller, with the true ones set.
func (g *Gate) admit(ctx context.Context, call *Call, access Access, a Authentication) Decision {
	if err := cmp.Or(g.checkResponseHeader(a.ResponseHeader), access.CheckBody(call, g.options.MaxBody)); err != nil {
		return g.refuse(call, access, a, err)
	}
	upstream, err := g.options.Identity.Upstream(ctx, call, a.Principal, g.options.Policy)
	if err != nil {
		return g.refuse(call, access, a, err)
	}
	if call.Parameter.Count > 0 {
		upstream.Target = call.Target
	}
	d := Decision{
		Outcome: Allow, Upstream: upstream, ResponseHeader: a.ResponseHeader,
		Reason: admission(call, a.Principal), Cause: call.Ignored, Rule: access.Rule(), Principal: a.Principal,
	}
	if call.confirm != nil {
		return g.confirm(call, access, a, d)
	}
	return d
}

// confirm is apart, so that other decisions stay off the heap.
func (g *Gate) confirm(call *Call, access Access, a Authentication, d Decision) Decision {
	if err := call.confirm(&d); err != nil {
		return g.refuse(call, access, a, err)
	}
	return d
}

// admission is the log's word for why a request goes on.
func admission(call *Call, p *Principal) string {
	switch {
	case p != nil:
		return "allowed"
	case call.Ignored != nil:
		return "credential_ignored"
	case call.Anonymous:
		return "anonymous"
	}
	return "public"
}

func (g *Gate) refuse(call *Call, access Access, a Authentication, err error) Decision {
	presented, missing := g.options.Extractor.Extract(call.KeepTLS())
	if errors.Is(missing, ErrMissing) {
		call.AskID = nil // which has a price, and a flood without credentials pays none
	}
	f := refusalFor(err)
	d := f.decision(call.Request, err)
	d.Principal = a.Principal
	if g.checkResponseHeader(a.ResponseHeader) == nil {
		d.Header = append(d.Header, a.ResponseHeader...)
	}
	if bad, isProof := errors.AsType[*BadProof](err); isProof {
		d.Header = append(d.Header, bad.Header...)
	}
	var scopes []string
	if access != nil {
		d.Rule = access.Rule()
		scopes = access.Scopes(call, a.Principal)
	}
	proofs := proofsWanted(access, err)
	// Signing in cannot help where a program put a credential there, nor where a proof of
	// possession is needed: no session has one.
	if g.options.Login != nil && f.status == http.StatusUnauthorized && !presented.Explicit && len(proofs) == 0 && !is[*form.Told](err) {
		if g.signIn(call.Request, &d); d.Shown == nil {
			return d
		}
	}
	if f.status == http.StatusUnauthorized || f.code != "" {
		d.Header = append(d.Header, Header{Name: "WWW-Authenticate", Value: g.challengeFor(call, presented.Place, f, err, scopes, proofs)})
	}
	return d
}

// signIn leads a browser to the login page, or shows a person the way to it.
func (g *Gate) signIn(r *Request, d *Decision) {
	if d.Shown.Form != form.Page {
		return
	}
	location, ok := g.options.Login.Location(r, d.Cause)
	if ok {
		d.Redirect(http.StatusFound, location, "Sign in to continue.\n")
		return
	}
	d.Shown.SignIn = location
	d.Show(d.Shown.Response())
}
