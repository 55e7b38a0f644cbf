package flow

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"

	"gatehouse/core"
	"gatehouse/core/form"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/signin/oidc"
	"gatehouse/core/signin/session"
)

// callback takes what a browser brings back from a provider. A response counts once, in
// the browser that began, in the way that it was asked for.
func (f *Flow) callback(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	if !navigates(call) {
		return core.Response{}, errNoBrowser
	}
	response, err := read(call, body)
	if err != nil {
		return core.Response{}, f.told(err, "This sign-in is not valid", "The address is not one to which the sign-in leads. Go back and try again.", f.home(), nil)
	}
	a, err := f.attempts.find(call.Request, response.State)
	if err != nil {
		err = fmt.Errorf("%w: the callback: %w", core.ErrMissing, err)
		return core.Response{}, f.told(err, "This sign-in cannot be completed", "It was begun in another browser, it took too long, or your browser does not keep the cookies of this site. Sign in again.", f.home(), nil)
	}
	p := f.byName[a.Provider]
	switch {
	case !a.Done.IsZero(), !f.redeemed.first(a.name, f.options.Now(), f.options.Lifetime): // the back button, or a reload
		if a.ReturnTo == "" {
			a.ReturnTo = f.home()
		}
		return redirect(a.ReturnTo, nil), nil
	case p == nil:
		err = fmt.Errorf("the attempt is at provider %.80q, which is not configured any more", a.Provider)
	case call.Method == http.MethodPost != (p.ResponseMode() == oidc.FormPost):
		err = fmt.Errorf("the response came by %s, and was asked for by %s", call.Method, p.ResponseMode())
	case call.Path != pathOf(p.RedirectURI()):
		err = fmt.Errorf("the response came to the redirect URI of another provider than %s", p.Name())
	}
	over := []core.Header{deleteCookie(a.name)}
	if err != nil {
		return core.Response{}, f.failed(fmt.Errorf("%w: the callback: %w", core.ErrInvalid, err), a, over)
	}
	s, err := p.SignIn(ctx, oidc.Attempt{State: response.State, Nonce: a.Nonce, Verifier: a.Verifier, Demand: a.Demand}, response)
	if err == nil && f.options.Enrich != nil {
		err = f.options.Enrich(ctx, s)
	}
	if err != nil {
		return core.Response{}, f.failed(err, a, over)
	}
	return f.keep(ctx, call, a, s, over)
}

// keep ends an attempt with a session.
func (f *Flow) keep(ctx context.Context, call *core.Call, a *attempt, s *session.Session, over []core.Header) (core.Response, error) {
	s.ID = session.NewID() // here, so that the log has it, too
	cookies, err := f.options.Store.Save(ctx, s, call.Request)
	var tooLarge *session.TooLargeError
	switch {
	case errors.As(err, &tooLarge):
		return core.Response{}, f.told(err, "You cannot be signed in", "What the sign-in says of you is more than a browser keeps. Ask those who run this service.", "", over)
	case err != nil:
		return core.Response{}, f.unavailable(err, a.ReturnTo, over)
	}
	done, err := f.attempts.keep(f.attempts.finished(a), "Lax")
	if err != nil {
		return core.Response{}, err
	}
	f.options.Log.Info("signed in", "request_id", call.Identify(), "provider", s.Provider, "sub", s.Subject, "session", s.ID)
	if cookies = append(cookies, done); f.options.StrictCookies {
		return onward(a.ReturnTo, cookies), nil
	}
	return redirect(a.ReturnTo, cookies), nil
}

// onward is a page that leads on by itself. The request that follows is one of this site,
// and has cookies that another site cannot have sent.
func onward(to string, cookies []core.Header) core.Response {
	escaped := html.EscapeString(to)
	page := `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=` + escaped + `"><title>Signed in</title></head><body><p><a href="` + escaped + `">Continue</a></p></body></html>`
	return core.Response{Status: http.StatusOK, Header: append(form.PageHeader(plainPolicy), cookies...), Body: []byte(page)}
}

// failed is the one page of a sign-in that has failed.
func (f *Flow) failed(err error, a *attempt, over []core.Header) error {
	var refused *oidc.RefusedError
	var weak *oidc.StepUpError
	switch {
	case errors.As(err, &refused):
		return f.told(err, "You were not signed in", "The service where you sign in has refused it, or you have ended it there.", a.ReturnTo, over)
	case errors.As(err, &weak) && weak.Recent:
		return f.told(fmt.Errorf("%w: %v", core.ErrForbidden, err), "A new sign-in is needed", "The page needs a sign-in that is more recent than the one that the service where you sign in has confirmed. Sign out there, then try again.", a.ReturnTo, over)
	case errors.As(err, &weak):
		return f.told(fmt.Errorf("%w: %v", core.ErrForbidden, err), "A stronger sign-in is needed", "The page needs a stronger sign-in than yours, such as one with a second factor. Set one up where you sign in, then try again.", a.ReturnTo, over)
	case errors.Is(err, core.ErrForbidden):
		return f.told(err, "You have no access", "The sign-in has worked, but this service does not let you in. Ask those who run it, or sign in as somebody else.", a.ReturnTo, over)
	case errors.Is(err, core.ErrInvalid):
		return f.told(err, "You could not be signed in", "What the service where you sign in said does not hold. Try again; if it happens once more, ask those who run this service.", a.ReturnTo, over)
	}
	return f.unavailable(err, a.ReturnTo, over)
}

func (f *Flow) home() string { return f.origin + f.options.Home }

// read takes the response out of the query or the form.
func read(call *core.Call, body []byte) (oidc.Response, error) {
	if call.Method != http.MethodPost {
		return oidc.ParseResponse(call.Query())
	}
	if kind, lines := call.Lookup("Content-Type"); lines != 1 || !httpsyntax.IsMediaType(kind, "application/x-www-form-urlencoded") {
		return oidc.Response{}, fmt.Errorf("%w: the authorization response is no form", core.ErrBadRequest)
	}
	return oidc.ParseResponse(string(body))
}
