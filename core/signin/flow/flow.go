// Package flow has the endpoints of the gate by which browsers sign in at an OpenID
// provider and out again, and what is remembered between them.
//
// An attempt to sign in is remembered in a cookie of its own, sealed, so that only the
// browser that began it can end it. Whatever goes wrong ends in one page, or in a
// response of 401 for what is no browser that asks for a page, and never in another
// redirect.
package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"gatehouse/core"
	"gatehouse/core/fair"
	"gatehouse/core/fleet/seal"
	"gatehouse/core/form"
	"gatehouse/core/login"
	"gatehouse/core/signin/oidc"
	"gatehouse/core/signin/session"
)

// Options of a Flow.
type Options struct {
	// Providers at which people can sign in; at least one. All of them send the browser
	// back to the same host.
	Providers []*oidc.Provider
	// Store keeps the sessions.
	Store session.Store
	// Secrets seal attempts: the first seals, all of them open.
	Secrets []string
	// StartPath, LogoutPath and FrontChannelPath are those of the endpoints; the latter
	// two may be empty.
	StartPath, LogoutPath, FrontChannelPath string
	// Returns says of an origin other than the gate's own that browsers may return to
	// it. nil: of none.
	Returns func(origin string) bool
	// Home is where browsers go that do not say where to return: a path. Default: /.
	Home string
	// AfterLogout is where browsers go when they have signed out; empty: a page says it.
	AfterLogout string
	// Lifetime is how long an attempt may take. Default 15 min.
	Lifetime time.Duration
	// StrictCookies says that the browser does not send the session's cookie where
	// another site has led it (SameSite=Strict).
	StrictCookies bool
	// Framed says that pages of other sites may show this one in a frame, in which people
	// sign in.
	Framed bool
	// Enrich completes a session by what a service of the team's own says of the person.
	// The error wraps core.ErrForbidden where that refuses the person; any other means
	// that nobody could tell. nil: no service is asked.
	Enrich func(ctx context.Context, s *session.Session) error
	// Revoke ends a session wherever else it is known; nil: nowhere.
	Revoke func(ctx context.Context, s *session.Session) error
	// Log gets a line for everybody who signs in or out. Default: none.
	Log *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Flow is safe for concurrent use.
type Flow struct {
	options  Options
	origin   string // scheme and host of the endpoints
	byName   map[string]*oidc.Provider
	attempts *attempts
	redeemed redeemed
}

// The query parameters of the start endpoint.
const (
	ReturnParameter   = "return_to"
	ProviderParameter = "idp"
	aalParameter      = "aal" // as core/login writes it
	maxAgeParameter   = "max_age"
)

// New makes a flow.
func New(o Options) (*Flow, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Returns == nil {
		o.Returns = func(string) bool { return false }
	}
	o.Lifetime = cmp.Or(o.Lifetime, 15*time.Minute)
	o.Home = cmp.Or(o.Home, "/")
	box, err := seal.New("gatehouse sign-in attempt", o.Secrets...)
	if err != nil {
		return nil, err
	}
	f := &Flow{options: o, byName: map[string]*oidc.Provider{}, attempts: &attempts{box: box, now: o.Now, lifetime: o.Lifetime}}
	f.redeemed.until = map[string]time.Time{}
	for _, p := range o.Providers {
		origin, _, err := splitOrigin(p.RedirectURI()) // as browsers write it
		if err != nil {
			return nil, fmt.Errorf("the redirect URI of provider %q: %w", p.Name(), err)
		}
		switch {
		case f.byName[p.Name()] != nil:
			return nil, fmt.Errorf("there are two providers %q", p.Name())
		case f.origin != "" && f.origin != origin:
			return nil, fmt.Errorf("provider %q has its redirect URI on %s, another on %s; an attempt is remembered on one host", p.Name(), origin, f.origin)
		}
		f.origin, f.byName[p.Name()] = origin, p
	}
	if len(f.byName) == 0 {
		return nil, errors.New("there is no provider")
	}
	return f, nil
}

// Login leads browsers to the start endpoint.
func (f *Flow) Login(scheme string) core.Login {
	u, _ := url.Parse(f.origin) // New has parsed it
	return Page(u, f.options.StartPath, scheme)
}

// Page leads browsers to the start endpoint on the host of a URL.
func Page(host *url.URL, startPath, scheme string) core.Login {
	u := &url.URL{Scheme: host.Scheme, Host: strings.ToLower(host.Host), Path: startPath}
	return &login.Page{URL: u, ReturnTo: ReturnParameter, MaxAge: maxAgeParameter, Scheme: scheme}
}

// Endpoints are those of the gate. Several providers may share a callback.
func (f *Flow) Endpoints() []core.Endpoint {
	endpoints := []core.Endpoint{{Path: f.options.StartPath, Methods: []string{http.MethodGet}, Handler: handler(f.start)}}
	methods := map[string][]string{}
	var paths []string
	for _, p := range f.options.Providers {
		u, _ := url.Parse(p.RedirectURI())
		method := http.MethodGet
		if p.ResponseMode() == oidc.FormPost {
			method = http.MethodPost
		}
		if len(methods[u.Path]) == 0 {
			paths = append(paths, u.Path)
		}
		if len(methods[u.Path]) == 0 || methods[u.Path][0] != method && len(methods[u.Path]) < 2 {
			methods[u.Path] = append(methods[u.Path], method)
		}
	}
	for _, path := range paths {
		e := core.Endpoint{Path: path, Methods: methods[path], Handler: handler(f.callback)}
		for _, method := range methods[path] {
			if method == http.MethodPost {
				e.MaxBody = maxForm
			}
		}
		endpoints = append(endpoints, e)
	}
	if f.options.LogoutPath != "" {
		endpoints = append(endpoints, core.Endpoint{Path: f.options.LogoutPath, Methods: []string{http.MethodGet, http.MethodPost}, Handler: handler(f.logout)})
	}
	if f.options.FrontChannelPath != "" {
		endpoints = append(endpoints, core.Endpoint{Path: f.options.FrontChannelPath, Methods: []string{http.MethodGet}, Handler: handler(f.frontChannel)})
	}
	return endpoints
}

// maxForm is more than a provider posts.
const maxForm = 32 << 10

// handler is a core.EndpointHandler.
type handler func(ctx context.Context, call *core.Call, body []byte) (core.Response, error)

func (h handler) Respond(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	return h(fair.WithCaller(ctx, fair.Caller{Peer: fair.PeerOf(call.ClientAddr()), Goes: goes}), call, body)
}

func goes(context.Context) error { return nil }

// inAdvance are the headers of a browser that loads a page before anybody wants it.
var inAdvance = []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"}

// navigates reports whether a browser opens a page, and not only in advance.
func navigates(call *core.Call) bool {
	for _, name := range inAdvance {
		if _, lines := call.Lookup(name); lines > 0 {
			return false
		}
	}
	return form.Of(call.Method, call.Target, call.Header) == form.Page && call.Method != http.MethodHead
}

// errNoBrowser is for what asks for no page, or only in advance: it never gets a redirect.
var errNoBrowser error = &form.Told{
	Err:    fmt.Errorf("%w: the sign-in is for browsers that open a page", core.ErrMissing),
	Advice: "Authentication is needed. The sign-in is for browsers that open a page.",
}

func redirect(to string, cookies []core.Header) core.Response {
	header := append(form.Header("text/plain; charset=utf-8"),
		core.Header{Name: "Location", Value: to}, core.Header{Name: "Referrer-Policy", Value: "no-referrer"})
	return core.Response{Status: http.StatusSeeOther, Header: append(header, cookies...)}
}

// told is what a person reads of an error; where there is something to try again, by a
// new sign-in that ends at the same page.
func (f *Flow) told(err error, title, advice, returnTo string, cookies []core.Header) error {
	t := &form.Told{Err: err, Title: title, Advice: advice, Header: cookies}
	if returnTo != "" {
		t.SignIn = f.origin + f.options.StartPath + "?" + url.Values{ReturnParameter: {returnTo}}.Encode()
	}
	return t
}

// redeemed remembers the attempts whose code has been redeemed, so that one counts once
// even at a provider that takes a code twice.
type redeemed struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// maxRedeemed bounds them. Only an attempt that the gate has sealed gets here.
const maxRedeemed = 1 << 16

// first reports whether an attempt is seen for the first time.
func (r *redeemed) first(id string, now time.Time, lifetime time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if until, seen := r.until[id]; seen && now.Before(until) {
		return false
	}
	if len(r.until) >= maxRedeemed {
		for id, until := range r.until {
			if !now.Before(until) || len(r.until) >= maxRedeemed {
				delete(r.until, id)
			}
		}
	}
	r.until[id] = now.Add(lifetime)
	return true
}
