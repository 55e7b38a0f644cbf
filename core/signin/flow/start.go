package flow

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/form"
	"gatehouse/core/signin/oidc"
)

// question is what the start endpoint is asked for.
type question struct {
	returnTo, provider string
	demand             oidc.Demand
}

func (f *Flow) start(ctx context.Context, call *core.Call, _ []byte) (core.Response, error) {
	if !navigates(call) {
		return core.Response{}, errNoBrowser
	}
	if !f.options.Framed && framedElsewhere(call) {
		err := fmt.Errorf("%w: the page of another site begins a sign-in in a frame", core.ErrForbidden)
		return core.Response{}, f.told(err, "You cannot sign in here", "The page is shown inside another site. Open it in a window of its own.", "", nil)
	}
	q, err := f.question(call.Query())
	if err != nil {
		err = fmt.Errorf("%w: the start of a sign-in: %w", core.ErrBadRequest, err)
		return core.Response{}, f.told(err, "This sign-in link is not valid", "The address to return to, or another part of the link, is not one that this site accepts.", "", nil)
	}
	found, useless := f.attempts.of(call.Request)
	if f.attempts.loops(found, q.returnTo) {
		err := fmt.Errorf("%w: a loop: the browser has signed in %d times for one page within %s and has no usable session after that: its cookie is refused or not kept, or the page asks for a stronger sign-in than the provider gives", core.ErrForbidden, rounds, loopTime)
		return core.Response{}, f.told(err, "Signing in does not help", "You were signed in several times, and the page still asks for it. Your browser may not keep the cookies of this site, or the page needs a sign-in that yours is not. Allow cookies, or ask those who run this service.", "", nil)
	}
	if q.provider == "" && len(f.options.Providers) > 1 {
		return f.choice(q), nil
	}
	p := f.options.Providers[0]
	if q.provider != "" {
		p = f.byName[q.provider]
	}
	return f.begin(ctx, p, q, found, useless)
}

// framedElsewhere reports whether the page of another site shows this one. That could have
// the browser keep more attempts than its requests have room for.
func framedElsewhere(call *core.Call) bool {
	site, _ := call.Lookup("Sec-Fetch-Site")
	place, known := call.Lookup("Sec-Fetch-Dest")
	return site == "cross-site" && known > 0 && place != "document"
}

// begin has the browser remember an attempt and leads it to the provider.
func (f *Flow) begin(ctx context.Context, p *oidc.Provider, q question, found []*attempt, useless []string) (core.Response, error) {
	begun := oidc.NewAttempt(q.demand)
	address, err := p.AuthorizationURL(ctx, begun)
	if errors.Is(err, oidc.ErrNoSuchLevel) {
		err = fmt.Errorf("%w: provider %s: %w", core.ErrForbidden, p.Name(), err)
		return core.Response{}, f.told(err, "A stronger sign-in is needed", "The page needs a sign-in that is stronger than the one that is offered here. Ask those who run this service.", "", nil)
	}
	if err != nil {
		return core.Response{}, f.unavailable(err, q.returnTo, nil)
	}
	a := &attempt{
		Provider: p.Name(), Nonce: begun.Nonce, Verifier: begun.Verifier, Demand: q.demand,
		ReturnTo: q.returnTo, Begun: f.options.Now(), name: nameOf(begun.State),
	}
	kept, err := f.attempts.keep(a, sameSite(p))
	if err != nil {
		return core.Response{}, err
	}
	return redirect(address, append(makeRoom(found, useless, a.size), kept)), nil
}

// sameSite is None where the provider has the browser post the response: such a request
// of another site has no other cookies.
func sameSite(p *oidc.Provider) string {
	if p.ResponseMode() == oidc.FormPost {
		return "None"
	}
	return "Lax"
}

func (f *Flow) unavailable(err error, returnTo string, cookies []core.Header) error {
	return f.told(err, "The sign-in does not work at the moment", "The service where you sign in did not answer as it should. This is not your fault. Try again in a moment.", returnTo, cookies)
}

// question reads the query. A stranger can ask for a stronger sign-in, never for a weaker
// one.
func (f *Flow) question(query string) (q question, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return q, errors.New("the query is malformed")
	}
	for _, name := range []string{ReturnParameter, ProviderParameter, aalParameter, maxAgeParameter} {
		if len(values[name]) > 1 {
			return q, fmt.Errorf("it has %s twice", name)
		}
	}
	if q.returnTo, err = f.target(values.Get(ReturnParameter)); err != nil {
		return q, fmt.Errorf("%s: %w", ReturnParameter, err)
	}
	if q.provider = values.Get(ProviderParameter); q.provider != "" && f.byName[q.provider] == nil {
		return q, fmt.Errorf("there is no provider %.40q", q.provider)
	}
	q.demand.AAL = values.Get(aalParameter)
	if q.demand.AAL != "" && !slices.Contains([]string{"aal1", "aal2", "aal3"}, q.demand.AAL) {
		return q, fmt.Errorf("there is no assurance level %.40q", q.demand.AAL)
	}
	if text := values.Get(maxAgeParameter); text != "" {
		seconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return q, fmt.Errorf("%s is no number of seconds", maxAgeParameter)
		}
		if q.demand.MaxAge = time.Duration(seconds) * time.Second; seconds == 0 {
			q.demand.MaxAge = -1
		}
	}
	return q, nil
}

// choice is the page of several providers. It loads and runs nothing.
func (f *Flow) choice(q question) core.Response {
	var b strings.Builder
	b.WriteString(`<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Sign in</title></head><body><main><h1>Sign in</h1><ul>`)
	for _, p := range f.options.Providers {
		query := url.Values{ReturnParameter: {q.returnTo}, ProviderParameter: {p.Name()}}
		if q.demand.AAL != "" {
			query.Set(aalParameter, q.demand.AAL)
		}
		if q.demand.MaxAge != 0 {
			query.Set(maxAgeParameter, strconv.Itoa(max(0, int(q.demand.MaxAge.Seconds()))))
		}
		fmt.Fprintf(&b, `<li><a href="%s">%s</a></li>`, html.EscapeString(f.origin+f.options.StartPath+"?"+query.Encode()), html.EscapeString(p.Name()))
	}
	b.WriteString(`</ul></main></body></html>`)
	return core.Response{Status: http.StatusOK, Header: form.PageHeader(plainPolicy), Body: []byte(b.String())}
}

// plainPolicy is that of a page without anything.
const plainPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
