// Package login sends browsers without a valid session to a login page, such as
// that of Ory Kratos, and has them return to the page that they asked for.
package login

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
)

var _ core.Login = (*Page)(nil)

// Page is where a browser without a session is sent.
type Page struct {
	// URL of the login page.
	URL *url.URL
	// ReturnTo is the query parameter that carries the page asked for.
	ReturnTo string
	// Scheme of the page asked for, as browsers see it, where no trusted proxy
	// says: behind a gateway the request itself does not tell, and
	// X-Forwarded-Proto can be forged.
	Scheme string
}

// Location builds the redirect. ok is false for requests that are no navigation of
// a browser, and when the request's Host is not a plain authority, which would
// let a client choose where the login returns to.
func (p *Page) Location(r *core.Request, err error) (location string, ok bool) {
	if !isNavigation(r) || !plainAuthority(r.Host) {
		return "", false
	}
	to := *p.URL
	query := to.Query()
	query.Set(p.ReturnTo, cmp.Or(r.Scheme, p.Scheme)+"://"+r.Host+r.Target)
	var stepUp *core.StepUp
	if errors.As(err, &stepUp) {
		if stepUp.AAL != "" {
			query.Set("aal", stepUp.AAL)
		}
		if stepUp.MaxAge > 0 {
			query.Set("refresh", "true")
		}
	}
	to.RawQuery = query.Encode()
	return to.String(), true
}

// plainAuthority admits host names, IPv4 and bracketed IPv6 addresses, each
// with an optional port, and nothing that a URL reader could split otherwise.
func plainAuthority(host string) bool {
	odd := func(r rune) bool {
		return r >= 0x80 || !httpsyntax.IsAlphanumeric(byte(r)) && !strings.ContainsRune("-._:[]", r)
	}
	return host != "" && len(host) <= 255 && !strings.ContainsFunc(host, odd)
}

// isNavigation reports whether a browser asked for a page to show, the only
// case in which a redirect to a login page helps. A script's request must get
// a 401: it would follow the redirect and take the login page for the response.
func isNavigation(r *core.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if mode, lines := r.Lookup("Sec-Fetch-Mode"); lines > 0 && !strings.EqualFold(mode, "navigate") {
		return false
	}
	if with, _ := r.Lookup("X-Requested-With"); strings.EqualFold(with, "XMLHttpRequest") {
		return false
	}
	accept, _ := r.Lookup("Accept")
	return strings.Contains(strings.ToLower(accept), "text/html")
}
