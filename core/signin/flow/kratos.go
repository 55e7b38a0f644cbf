package flow

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"gatehouse/core"
	"gatehouse/core/extract"
)

// KratosOptions are those of a logout of sessions that Ory Kratos keeps.
type KratosOptions struct {
	// Path is that of the endpoint, After where browsers go then; empty: a page says it.
	Path, After string
	// CookieName is that of the cookie of sessions.
	CookieName string
	// Identify says whose session a credential is, cached or not.
	Identify func(ctx context.Context, c core.Credential) (*core.Principal, error)
	// End ends the session of a cookie at Kratos, and returns the headers that delete it.
	End func(ctx context.Context, cookie string) ([]core.Header, error)
	// Revoke ends what is cached of a session, on all nodes.
	Revoke func(ctx context.Context, p *core.Principal) error
	// Log gets a line for everybody who signs out.
	Log *slog.Logger
}

type kratosLogout struct {
	options   KratosOptions
	extractor *extract.Extractor
}

// KratosLogout is an endpoint that ends the session of Ory Kratos of its browser.
func KratosLogout(o KratosOptions) (core.Endpoint, error) {
	e, err := extract.New(extract.Place{Name: core.SessionCookie, Cookie: o.CookieName})
	l := &kratosLogout{o, e}
	return core.Endpoint{Path: o.Path, Methods: []string{http.MethodGet, http.MethodPost}, Handler: handler(l.respond)}, err
}

// respond ends each session of a repeated cookie: who signs out wants none of them.
func (l *kratosLogout) respond(ctx context.Context, call *core.Call, _ []byte) (core.Response, error) {
	if err := askedByThisSite(call); err != nil {
		return core.Response{}, err
	}
	var only core.Request
	for _, h := range call.Header {
		if strings.EqualFold(h.Name, "Cookie") {
			only.Header = append(only.Header, h)
		}
	}
	c, err := l.extractor.Extract(&only)
	if errors.Is(err, core.ErrMissing) {
		return signedOut(call, l.options.After, nil), nil
	}
	if err != nil {
		return core.Response{}, err
	}
	var deleted []core.Header
	for _, cookie := range append([]string{c.Value}, c.Others[:]...) {
		if cookie == "" {
			continue
		}
		lines, err := l.end(ctx, call, cookie)
		if err != nil {
			return core.Response{}, notSignedOut(err, nil)
		}
		deleted = append(deleted, lines...)
	}
	if len(deleted) == 0 { // Kratos knew none
		deleted = []core.Header{{Name: "Set-Cookie", Value: l.options.CookieName + "=; Path=/; HttpOnly; Max-Age=0"}}
	}
	return signedOut(call, l.options.After, deleted), nil
}

// end asks who it is before the session ends, and revokes it whatever Kratos said of it
// then: a cache may know it still.
func (l *kratosLogout) end(ctx context.Context, call *core.Call, cookie string) ([]core.Header, error) {
	p, err := l.options.Identify(ctx, core.Credential{Place: core.SessionCookie, Value: cookie})
	var weak *core.StepUp
	if err != nil && !errors.Is(err, core.ErrInvalid) && !errors.As(err, &weak) {
		return nil, err
	}
	lines, err := l.options.End(ctx, cookie)
	if err != nil || p == nil || p.SessionID == "" {
		return lines, err
	}
	if err := l.options.Revoke(ctx, p); err != nil {
		return nil, err
	}
	l.options.Log.Info("signed out of Kratos", "request_id", call.Identify(), "sub", p.Subject, "session", p.SessionID)
	return lines, nil
}
