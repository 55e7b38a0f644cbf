package main

import (
	"fmt"
	"strconv"
	"strings"

	"gatehouse/core"
	"gatehouse/core/signin/session"
)

// carrier is how a proxy passes headers of the auth response on to the client, with
// the upstream's response. nil: it passes none on.
type carrier func([]core.Header) ([]core.Header, error)

// carried are the headers of the auth response that become headers of the response
// to the client. What the proxy cannot pass on is an error: the client would keep a
// cookie that was replaced or deleted.
func (d *dialect) carried(lines []core.Header) ([]core.Header, error) {
	switch {
	case len(lines) == 0:
		return nil, nil
	case d.carry == nil:
		return nil, cannotCarry(d.name, lines[0].Name)
	}
	return d.carry(lines)
}

// checkCarried refuses a gate that may set headers which the proxy cannot pass on.
func (d *dialect) checkCarried(gate string, set []string) error {
	for _, name := range set {
		if d.carry == nil && isSetCookie(core.Header{Name: name}) {
			continue // each request says so, and sessions live on as they are
		}
		if _, err := d.carried([]core.Header{{Name: name}}); err != nil {
			return fmt.Errorf("gate %s sets the header %s: %w", gate, name, err)
		}
	}
	return nil
}

func cannotCarry(dialect, header string) error {
	return fmt.Errorf("with the dialect %s a proxy cannot add the header %s to the response for the client", dialect, header)
}

// asThemselves is for proxies that are configured by the names of the headers.
func asThemselves(lines []core.Header) ([]core.Header, error) { return lines, nil }

// cookiesOnly is for Traefik, whose addAuthCookiesToResponse lists cookies by name.
func cookiesOnly(lines []core.Header) ([]core.Header, error) {
	for _, h := range lines {
		if !isSetCookie(h) {
			return nil, cannotCarry("traefik", h.Name)
		}
	}
	return lines, nil
}

// cookieHeader is the first part of the headers that carry one cookie each, and
// maxCookies how many there are: for proxies whose configuration copies a header
// into a variable, which would hold several cookies in one line.
const (
	cookieHeader = "Gatehouse-Set-Cookie-"
	maxCookies   = session.MaxLines
)

// numberedCookies are Gatehouse-Set-Cookie-1 and so on.
func numberedCookies(dialect string) carrier {
	return func(lines []core.Header) ([]core.Header, error) {
		numbered := make([]core.Header, len(lines))
		for i, h := range lines {
			if !isSetCookie(h) {
				return nil, cannotCarry(dialect, h.Name)
			}
			numbered[i] = core.Header{Name: numberedCookie(i + 1), Value: h.Value}
		}
		if len(lines) > maxCookies {
			return nil, fmt.Errorf("with the dialect %s a proxy can set %d cookies, not %d", dialect, maxCookies, len(lines))
		}
		return numbered, nil
	}
}

func numberedCookie(number int) string { return cookieHeader + strconv.Itoa(number) }

func isSetCookie(h core.Header) bool { return strings.EqualFold(h.Name, "Set-Cookie") }
