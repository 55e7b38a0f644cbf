// Package login sends browsers without a valid session to a login page, such as
// that of Ory Kratos, and has them return to the page that they asked for.
package login

import (
	"cmp"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"gatehouse/core"
	"gatehouse/core/form"
	"gatehouse/core/httpsyntax"
)

var _ core.Login = (*Page)(nil)

// Page is where a browser without a session is sent.
type Page struct {
	// URL of the login page.
	URL *url.URL
	// ReturnTo is the query parameter that carries the page asked for.
	ReturnTo string
	// MaxAge is the query parameter for the greatest age of the sign-in, in seconds;
	// empty: refresh=true asks for a new one, as Kratos reads it.
	MaxAge string
	// Scheme of the page asked for, as browsers see it, where no trusted proxy
	// says: behind a gateway the request itself does not tell, and
	// X-Forwarded-Proto can be forged.
	Scheme string
}

// Location builds the redirect. ok is false for requests that are no navigation of
// a browser, and when the request's Host is not a plain authority, which would
// let a client choose where the login returns to.
func (p *Page) Location(r *core.Request, err error) (location string, ok bool) {
	to := *p.URL
	query := to.Query()
	var stepUp *core.StepUp
	if errors.As(err, &stepUp) {
		if stepUp.AAL != "" {
			query.Set("aal", stepUp.AAL)
		}
		switch {
		case stepUp.MaxAge > 0 && p.MaxAge != "":
			query.Set(p.MaxAge, strconv.Itoa(int(stepUp.MaxAge.Seconds())))
		case stepUp.MaxAge > 0:
			query.Set("refresh", "true")
		}
	}
	if ok = form.Navigates(r.Method, r.Target, r.Header) && plainAuthority(r.Host); ok {
		query.Set(p.ReturnTo, cmp.Or(r.Scheme, p.Scheme)+"://"+r.Host+r.Target)
	}
	to.RawQuery = query.Encode()
	return to.String(), ok
}

// plainAuthority admits host names, IPv4 and bracketed IPv6 addresses, each
// with an optional port, and nothing that a URL reader could split otherwise.
func plainAuthority(host string) bool {
	odd := func(r rune) bool {
		return r >= 0x80 || !httpsyntax.IsAlphanumeric(byte(r)) && !strings.ContainsRune("-._:[]", r)
	}
	return host != "" && len(host) <= 255 && !strings.ContainsFunc(host, odd)
}
