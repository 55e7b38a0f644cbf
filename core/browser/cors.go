package browser

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/origin"
)

// CORS tells which scripts may read what the gate itself answers (Fetch Standard, CORS
// protocol). The responses of upstreams are theirs to open.
type CORS struct {
	origins origin.List
	// any says that every origin may read, without credentials.
	any         bool
	credentials bool
	exposed     string
	maxAge      string
}

// NewCORS takes origins as browsers write them, such as https://app.example.com; with
// https://*.example.com for those of all subdomains, or * alone for all.
func NewCORS(origins, exposed []string, credentials bool, maxAge int) (*CORS, error) {
	c := &CORS{origins: origins, credentials: credentials, exposed: strings.Join(exposed, ", "), maxAge: strconv.Itoa(maxAge)}
	for _, entry := range origins {
		if entry == "*" {
			c.any = true
		} else if err := origin.Check(entry); err != nil {
			return nil, err
		}
	}
	switch {
	case len(origins) == 0:
		return nil, errors.New("names no origin")
	case c.any && len(origins) > 1:
		return nil, errors.New(`"*" stands for all origins; leave the others out`)
	case c.any && credentials:
		return nil, errors.New(`"*" cannot go with credentials: any site could then read as the user; name the origins`)
	}
	for _, name := range exposed {
		if !httpsyntax.IsToken(name) {
			return nil, fmt.Errorf("%.80q is no name of a header", name)
		}
	}
	return c, nil
}

func (c *CORS) allows(origin string) bool { return c.any && origin != "null" || c.origins.Has(origin) }

// origin is the value for Access-Control-Allow-Origin; empty: the script may not read.
func (c *CORS) origin(r *core.Request) string {
	switch origin, lines := r.Lookup("Origin"); {
	case lines != 1 || origin == "" || !c.allows(origin):
		return ""
	case c.any:
		return "*"
	default:
		return origin
	}
}

// expose lets a script of an allowed origin read an answer that does not say itself who
// may.
func (c *CORS) expose(r *core.Request, d *core.Decision) {
	named := func(name string) bool {
		return slices.ContainsFunc(d.Header, func(h core.Header) bool { return strings.EqualFold(h.Name, name) })
	}
	if named("Access-Control-Allow-Origin") {
		return
	}
	lines := slices.Clip(d.Header)
	if !c.any {
		lines = append(lines, core.Header{Name: "Vary", Value: "Origin"})
	}
	if origin := c.origin(r); origin != "" {
		lines = append(lines, c.allowance(origin)...)
		if c.exposed != "" {
			lines = append(lines, core.Header{Name: "Access-Control-Expose-Headers", Value: c.exposed})
		}
	}
	d.Header = lines
}

func (c *CORS) allowance(origin string) []core.Header {
	lines := []core.Header{{Name: "Access-Control-Allow-Origin", Value: origin}}
	if c.credentials {
		lines = append(lines, core.Header{Name: "Access-Control-Allow-Credentials", Value: "true"})
	}
	return lines
}

// maxAsked bounds what a preflight may ask for.
const maxAsked = 1024

// preflight answers what would be refused for want of a credential, which no preflight
// has. What the table admits goes to the upstream. Methods and headers are free: the
// gate decides on the call itself.
func (c *CORS) preflight(r *core.Request, d *core.Decision) bool {
	if !wantsCredential(d) && !isOwn(d) || !r.IsPreflight() {
		return false
	}
	origin := c.origin(r)
	method, _ := r.Lookup("Access-Control-Request-Method")
	headers, lines := r.Lookup("Access-Control-Request-Headers")
	if origin == "" || !httpsyntax.IsToken(method) || lines > 1 || !isTokens(headers) {
		return false
	}
	answer := append(c.allowance(origin), core.Header{Name: "Access-Control-Allow-Methods", Value: method})
	if headers != "" {
		answer = append(answer, core.Header{Name: "Access-Control-Allow-Headers", Value: headers})
	}
	answer = append(answer, core.Header{Name: "Access-Control-Max-Age", Value: c.maxAge},
		core.Header{Name: "Vary", Value: "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"})
	*d = core.Decision{Outcome: core.Respond, Status: http.StatusNoContent, Header: answer, Reason: "preflight", Rule: d.Rule}
	return true
}

func wantsCredential(d *core.Decision) bool {
	return d.Outcome == core.Deny && (d.Status == http.StatusUnauthorized || d.Status == http.StatusForbidden)
}

// isOwn reports whether an endpoint of the gate has no OPTIONS of its own.
func isOwn(d *core.Decision) bool {
	return d.Outcome == core.Respond && d.Status == http.StatusMethodNotAllowed
}

func isTokens(list string) bool {
	if len(list) > maxAsked {
		return false
	}
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.Trim(name, " \t"); list != "" && !httpsyntax.IsToken(name) {
			return false
		}
	}
	return true
}
