// Package crosssite refuses what another site has a browser do with the cookies of the
// user (cross-site request forgery, cross-site WebSocket hijacking), by the rules of
// net/http.CrossOriginProtection: by Sec-Fetch-Site, which scripts cannot set, and where
// a browser does not send that, by Origin.
package crosssite

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"gatehouse/core"
	"gatehouse/core/origin"
)

// Authenticator judges no credential in a cookie that another site may have sent. A
// credential in a header was put there on purpose: no browser does that for a site that
// the user has not opened.
type Authenticator struct {
	next    core.Authenticator
	trusted origin.List
}

var _ core.HeaderSetter = (*Authenticator)(nil)

// refresher is around one that can be asked for newer results, and about several values
// of a cookie.
type refresher struct {
	*Authenticator
	core.OthersJudge
	next core.Refresher
}

var (
	_ core.Refresher    = refresher{}
	_ core.OthersJudge  = refresher{}
	_ core.HeaderSetter = refresher{}
)

// Around refuses the requests of all origins but the request's own and the trusted ones.
func Around(next core.Authenticator, trusted origin.List) core.Authenticator {
	a := &Authenticator{next, trusted}
	others, judges := next.(core.OthersJudge)
	if r, refreshes := next.(core.Refresher); judges && refreshes {
		return refresher{a, others, r}
	}
	return a
}

// ResponseHeaders are those of the other authenticator.
func (a *Authenticator) ResponseHeaders() []string { return core.ResponseHeadersOf(a.next) }

// Authenticate is that of the other authenticator.
func (a *Authenticator) Authenticate(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	if err := a.check(call.Request, c); err != nil {
		return core.Authentication{}, err
	}
	return a.next.Authenticate(ctx, call, c)
}

func (r refresher) Authenticate(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	return r.Authenticator.Authenticate(ctx, call, c)
}

// Refresh is that of the other authenticator.
func (r refresher) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	if err := r.check(call.Request, c); err != nil {
		return core.Authentication{}, err
	}
	return r.next.Refresh(ctx, call, c)
}

func (a *Authenticator) check(r *core.Request, c core.Credential) error {
	if c.Explicit || isSafe(r.Method) && !opensSocket(r) {
		return nil
	}
	site, sites := r.Lookup("Sec-Fetch-Site")
	from, origins := r.Lookup("Origin")
	switch {
	case sites > 1 || origins > 1: // no browser does that
	case site == "same-origin" || site == "none": // none is the user's own doing
		return nil
	case site == "" && (from == "" || isSame(from, r.Host)): // the former is no browser
		return nil
	case a.trusted.Has(from):
		return nil
	}
	return fmt.Errorf("%w: another site may have sent this %s with a cookie of the user (Sec-Fetch-Site: %.40q, Origin: %.120q, Host: %.120q); a site that may do so is listed in cross_site_writes.trusted_origins",
		core.ErrForbidden, what(r), site, from, r.Host)
}

func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// opensSocket reports whether a request may open a WebSocket, through which the other
// site would read and write. Proxies that ask by a request of their own leave Upgrade
// out, and some of them the rest but one.
func opensSocket(r *core.Request) bool {
	for i := range r.Header {
		switch name := r.Header[i].Name; {
		case strings.EqualFold(name, "Upgrade"), strings.EqualFold(name, "Sec-WebSocket-Key"), strings.EqualFold(name, "Sec-WebSocket-Version"),
			strings.EqualFold(name, "Sec-Fetch-Mode") && strings.EqualFold(r.Header[i].Value, "websocket"):
			return true
		}
	}
	return false
}

// isSame compares an origin with the authority that the request is for. The scheme is
// left out, since a gateway does not know it: browsers that send no Sec-Fetch-Site are
// kept from plain HTTP by Strict-Transport-Security.
func isSame(from, host string) bool {
	scheme, authority, found := strings.Cut(from, "://")
	port := ":443"
	if scheme == "http" {
		port = ":80"
	}
	return found && authority != "" && strings.EqualFold(strings.TrimSuffix(authority, port), strings.TrimSuffix(host, port))
}

func what(r *core.Request) string {
	if isSafe(r.Method) {
		return "WebSocket handshake"
	}
	return fmt.Sprintf("%.20q", r.Method)
}
