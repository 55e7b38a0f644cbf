package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"gatehouse/core"
	"gatehouse/core/form"
	"gatehouse/core/signin/session"
)

// logout ends the session of a browser here, then at its provider. It is no business of
// another site.
func (f *Flow) logout(ctx context.Context, call *core.Call, _ []byte) (core.Response, error) {
	if err := askedByThisSite(call); err != nil {
		return core.Response{}, err
	}
	s, err := f.options.Store.Current(ctx, call.Request)
	if err != nil && !errors.Is(err, core.ErrMissing) && !errors.Is(err, core.ErrInvalid) {
		return core.Response{}, notSignedOut(err, nil)
	}
	cookies, err := f.end(ctx, call, s)
	if err != nil {
		return core.Response{}, notSignedOut(err, cookies)
	}
	to := f.options.AfterLogout
	if s != nil {
		f.options.Log.Info("signed out", "request_id", call.Identify(), "provider", s.Provider, "sub", s.Subject, "session", s.ID)
		to = f.onwards(ctx, s)
	}
	return signedOut(call, to, cookies), nil
}

// end forgets a session and the attempts of its browser. Cookies are deleted whatever
// fails.
func (f *Flow) end(ctx context.Context, call *core.Call, s *session.Session) ([]core.Header, error) {
	cookies, err := f.options.Store.Delete(ctx, s, call.Request)
	if s != nil && f.options.Revoke != nil {
		err = errors.Join(err, f.options.Revoke(ctx, s))
	}
	found, useless := f.attempts.of(call.Request)
	for _, a := range found {
		useless = append(useless, a.name)
	}
	for _, name := range useless {
		cookies = append(cookies, deleteCookie(name))
	}
	return cookies, err
}

func askedByThisSite(call *core.Call) error {
	if site, _ := call.Lookup("Sec-Fetch-Site"); site != "cross-site" {
		return nil
	}
	return &form.Told{
		Err: fmt.Errorf("%w: another site asks for a logout", core.ErrForbidden), Title: "You are still signed in",
		Advice: "Another site has asked to sign you out. Sign out on this site if you want to.",
	}
}

func notSignedOut(err error, cookies []core.Header) error {
	return &form.Told{
		Err: fmt.Errorf("the logout: %w", err), Title: "You may still be signed in",
		Advice: "The session could not be ended everywhere. Sign out once more in a moment.", Header: cookies,
	}
}

// onwards is the provider's own logout, or where that is not known the page after it.
func (f *Flow) onwards(ctx context.Context, s *session.Session) string {
	p := f.byName[s.Provider]
	if p == nil {
		return f.options.AfterLogout
	}
	to, err := p.LogoutURL(ctx, s, f.options.AfterLogout)
	if err != nil {
		f.options.Log.Warn("signed out here alone: the provider's metadata cannot be had", "provider", s.Provider, "error", err)
	}
	if to == "" {
		return f.options.AfterLogout
	}
	return to
}

// signedOut leads a browser on. A script learns where its page has to go.
func signedOut(call *core.Call, to string, cookies []core.Header) core.Response {
	if !form.Navigates(http.MethodGet, call.Target, call.Header) {
		body, _ := json.Marshal(map[string]string{"location": to}) // a text always encodes
		return core.Response{Status: http.StatusOK, Header: append(form.Header("application/json"), cookies...), Body: body}
	}
	if to != "" {
		return redirect(to, cookies)
	}
	const page = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Signed out</title></head><body><main><h1>You are signed out</h1></main></body></html>`
	return core.Response{Status: http.StatusOK, Header: append(form.PageHeader(plainPolicy), cookies...), Body: []byte(page)}
}

// frontChannel ends the session of the browser that a provider's page loads this one in
// (OpenID Connect Front-Channel Logout 1.0). It counts for the session that the browser
// itself has, and for no other: the request says nothing that a stranger could not.
func (f *Flow) frontChannel(ctx context.Context, call *core.Call, _ []byte) (core.Response, error) {
	query, err := url.ParseQuery(call.Query())
	if err != nil || len(query["iss"]) > 1 || len(query["sid"]) > 1 || query.Has("iss") != query.Has("sid") {
		return core.Response{}, fmt.Errorf("%w: want iss and sid, or neither of them, in a front-channel logout", core.ErrBadRequest)
	}
	s, err := f.options.Store.Current(ctx, call.Request)
	if err != nil && !errors.Is(err, core.ErrMissing) && !errors.Is(err, core.ErrInvalid) {
		return core.Response{}, err
	}
	if s == nil || query.Has("sid") && (s.Issuer != query.Get("iss") || s.ProviderSession != query.Get("sid") || s.ProviderSession == "") {
		return f.framed(nil), nil
	}
	cookies, err := f.end(ctx, call, s)
	if err != nil {
		return core.Response{}, &form.Told{Err: err, Header: cookies}
	}
	f.options.Log.Info("signed out by the provider", "request_id", call.Identify(), "provider", s.Provider, "sub", s.Subject, "session", s.ID)
	return f.framed(cookies), nil
}

// framed is an empty page that the providers may have in a frame.
func (f *Flow) framed(cookies []core.Header) core.Response {
	policy := "default-src 'none'; frame-ancestors"
	for _, p := range f.options.Providers {
		if u, err := url.Parse(p.Issuer()); err == nil {
			policy += " " + u.Scheme + "://" + u.Host
		}
	}
	return core.Response{Status: http.StatusOK, Header: append(form.PageHeader(policy), cookies...), Body: []byte("<!doctype html><title>Signed out</title>")}
}

func pathOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Path
}
