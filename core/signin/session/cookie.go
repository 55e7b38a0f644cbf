package session

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/extract"
	"gatehouse/core/httpsyntax"
)

// Cookie is what a session's cookie is like.
type Cookie struct {
	// Name of the cookie. One that is too long for a browser is split into Name.0,
	// Name.1 and so on.
	Name string
	// Domain is the parent domain of the hosts that share the session; empty: the
	// host alone.
	Domain string
	// Insecure has browsers send it over plain HTTP, too.
	Insecure bool
	// SameSite is Lax, Strict or None.
	SameSite string
	// Persistent keeps it when the browser is closed, until the session ends.
	Persistent bool
	// Whole keeps it one cookie: another program reads it.
	Whole bool
	// MaxSize is how many bytes of cookies a session may take.
	MaxSize int
}

const (
	// maxLine is how long the line of one cookie may be, attributes included: the
	// least that all browsers take (RFC 6265 section 6.1).
	maxLine = 4096
	// maxChunks are those that a request is read from; a host may have 50 cookies.
	maxChunks = 10
	// MaxLines is how many cookies a response sets and deletes for a session at most: the
	// whole one, and each of the chunks.
	MaxLines = 1 + maxChunks
	// MaxSize is the greatest useful limit: what is read of one credential.
	MaxSize = core.MaxCredential
	// DefaultMaxSize leaves other cookies a kilobyte of the 8 KiB that nginx, and so
	// Kong, takes as one line of a header.
	DefaultMaxSize = 7 << 10
)

func (c Cookie) check() error {
	hostOnly, secure := strings.HasPrefix(c.Name, "__Host-"), strings.HasPrefix(c.Name, "__Secure-")
	switch {
	case !httpsyntax.IsToken(c.Name):
		return fmt.Errorf("%.80q is not a cookie name (RFC 6265 section 4.1.1)", c.Name)
	case hostOnly && c.Domain != "":
		return errors.New("a cookie with the prefix __Host- has no domain; browsers drop one that has")
	case (hostOnly || secure) && c.Insecure:
		return errors.New("a cookie with the prefix __Host- or __Secure- is secure; browsers drop one that is not")
	case c.SameSite == "None" && c.Insecure:
		return errors.New("a cookie with SameSite=None is secure; browsers drop one that is not")
	case c.MaxSize <= 0 || c.MaxSize > MaxSize:
		return fmt.Errorf("a session may take 1 to %d bytes of cookies, not %d", MaxSize, c.MaxSize)
	}
	return nil
}

// attributes are those of every cookie.
func (c Cookie) attributes() string {
	text := "; Path=/"
	if c.Domain != "" {
		text += "; Domain=" + c.Domain
	}
	text += "; HttpOnly"
	if !c.Insecure {
		text += "; Secure"
	}
	return text + "; SameSite=" + c.SameSite
}

// set are the lines that hand a value to the browser of a request, and delete what that
// has of another one.
func (c Cookie) set(value string, until, now time.Time, r *core.Request) ([]core.Header, error) {
	attributes := c.attributes()
	if c.Persistent {
		attributes += "; Max-Age=" + strconv.Itoa(max(1, int(until.Sub(now).Seconds())))
	}
	room := maxLine - len(c.Name) - len(".0=") - len(attributes)
	if room <= 0 {
		return nil, errors.New("the name and the attributes of the cookie leave no room for a value")
	}
	names, values := []string{c.Name}, []string{value}
	if len(value) > room {
		names, values = nil, nil
		for part := range slices.Chunk([]byte(value), room) {
			names, values = append(names, c.Name+"."+strconv.Itoa(len(names))), append(values, string(part))
		}
	}
	most := maxChunks
	if c.Whole {
		most = 1
	}
	if len(names) > most {
		return nil, &TooLargeError{Bytes: len(value), Limit: most * room}
	}
	lines := make([]core.Header, 0, len(names))
	for i, name := range names {
		lines = append(lines, core.Header{Name: "Set-Cookie", Value: name + "=" + values[i] + attributes})
	}
	return append(lines, c.expire(r, names)...), nil
}

// Names are those of the cookies that a session is read from.
func (c Cookie) Names() []string {
	names := []string{c.Name}
	for i := range maxChunks {
		names = append(names, c.Name+"."+strconv.Itoa(i))
	}
	return names
}

// expire are the lines that delete the cookies of a request that are not kept: of those
// that a session is read from. With those that are set there are never more than
// MaxLines, whatever another host has had the browser keep.
func (c Cookie) expire(r *core.Request, keep []string) []core.Header {
	own := c.Names()
	found := map[string]bool{}
	if r != nil {
		for name := range httpsyntax.CookieNames(r.Header) {
			found[name] = true
		}
	}
	var lines []core.Header
	for _, name := range own {
		if found[name] && !slices.Contains(keep, name) {
			lines = append(lines, core.Header{Name: "Set-Cookie", Value: name + "=" + c.attributes() + "; Max-Age=0"})
		}
	}
	return lines
}

// Place is where the credential is found.
func (c Cookie) Place() extract.Place {
	return extract.Place{Name: core.SignInCookie, Cookie: c.Name, Chunked: !c.Whole}
}
