package browser

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
)

// CORS tells which scripts may read what the gate itself answers (Fetch Standard, CORS
// protocol). The responses of upstreams are theirs to open.
type CORS struct {
	origins []string
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
	for _, origin := range origins {
		if err := CheckOrigin(origin); err != nil {
			return nil, err
		}
		c.any = c.any || origin == "*"
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

// CheckOrigin checks one entry.
func CheckOrigin(origin string) error {
	scheme, host, found := strings.Cut(origin, "://")
	host, pattern := strings.CutPrefix(host, "*.")
	name, port, withPort := strings.Cut(host, ":")
	switch {
	case origin == "*":
		return nil
	case origin == "null":
		return errors.New("null is the origin of sandboxed frames and files of anybody; it cannot be allowed")
	case !found || scheme == "" || origin != strings.ToLower(origin):
		return fmt.Errorf("%.80q is no origin; write it as browsers do, such as https://app.example.com, in lower case", origin)
	case strings.HasPrefix(host, "["):
		return checkAddress(origin, host)
	case !isHost(name):
		return fmt.Errorf("%.80q: after the scheme only a host and a port stand, without a path or a slash", origin)
	case withPort && !isPort(port):
		return fmt.Errorf("%.80q: the port is not a number", origin)
	case scheme == "https" && port == "443" || scheme == "http" && port == "80":
		return fmt.Errorf("%.80q: browsers leave the usual port out", origin)
	case pattern && !strings.Contains(name, "."):
		return fmt.Errorf("%.80q stands for a whole top-level domain; name more of it", origin)
	}
	return nil
}

func checkAddress(origin, host string) error {
	address, port, _ := strings.Cut(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(address); err != nil || port != "" && !isPort(strings.TrimPrefix(port, ":")) {
		return fmt.Errorf("%.80q: the host is no address", origin)
	}
	return nil
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == text
}

// isHost admits labels of letters, digits, "-" and "_", none of them empty.
func isHost(text string) bool {
	for label := range strings.SplitSeq(text, ".") {
		odd := func(c rune) bool { return c >= 0x80 || !httpsyntax.IsAlphanumeric(byte(c)) && c != '-' && c != '_' }
		if label == "" || strings.ContainsFunc(label, odd) {
			return false
		}
	}
	return true
}

// allows compares byte for byte: browsers write an origin in one way.
func (c *CORS) allows(origin string) bool {
	return c.any && origin != "null" || slices.ContainsFunc(c.origins, func(allowed string) bool { return covers(allowed, origin) })
}

func covers(allowed, origin string) bool {
	scheme, domain, pattern := strings.Cut(allowed, "://*.")
	if !pattern {
		return origin == allowed
	}
	host, ok := strings.CutPrefix(origin, scheme+"://")
	labels, below := strings.CutSuffix(host, "."+domain)
	return ok && below && labels == strings.ToLower(labels) && isHost(labels)
}

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
	if d.Outcome != core.Deny || d.Status != http.StatusUnauthorized && d.Status != http.StatusForbidden || !r.IsPreflight() {
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
