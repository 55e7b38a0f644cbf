// Package extract finds the credential of a request that counts: it knows the places
// where one may sit, and which of them beats which.
package extract

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
)

// Place is where a credential may sit in a request.
//
// A header is explicit: a program put the credential there on purpose. A cookie
// is ambient: the browser sends it, whoever caused the request.
type Place struct {
	Name core.PlaceName
	// Header that holds the credential; for a cookie empty.
	Header string
	// Scheme that stands before the credential in Header (RFC 9110 section
	// 11.4), in any case; empty where the header holds nothing else.
	Scheme string
	// Proof is a header beside Header that proves the credential; empty: none.
	Proof string
	// Cookie that holds the credential; for a header empty.
	Cookie string
	// Chunked tells that the cookie may come in several, name.0, name.1 and so on.
	Chunked bool
	// Parameter is the query parameter that holds the credential of a WebSocket
	// handshake; explicit like a header, and beside neither a header nor a cookie.
	Parameter string
}

// SessionTokenPlace is where native apps send session tokens of Ory Kratos.
var SessionTokenPlace = Place{Name: core.SessionToken, Header: "X-Session-Token"}

// BearerTokenPlace is where every gate looks for a token (RFC 6750 section 2.1).
var BearerTokenPlace = Place{Name: core.BearerToken, Header: "Authorization", Scheme: "Bearer"}

// DPoPTokenPlace is where tokens come with a proof (RFC 9449 section 7.1).
var DPoPTokenPlace = Place{Name: core.DPoPToken, Header: BearerTokenPlace.Header, Scheme: "DPoP", Proof: "DPoP"}

// Extractor finds the one credential that counts. An explicit credential
// beats an ambient cookie, and a bad one never falls back to it: otherwise a
// request forged across sites could choose which identity it runs under. For
// the same reason "Authorization: Bearer" (RFC 6750 section 2.1) is looked at
// always, also where nothing can verify what is in it.
type Extractor struct {
	headers []headerPlaces
	cookies []Place
	// parameter is the query parameter; empty: none.
	parameter string
	// certificate says that a client certificate counts where a request has nothing else.
	certificate bool
}

var _ core.Extractor = (*Extractor)(nil)

// headerPlaces are the places in one header, which differ by their scheme.
type headerPlaces struct {
	header string
	places []Place
}

// New looks at the given places beside "Authorization: Bearer". Of
// cookies the first in this order counts.
func New(places ...Place) (*Extractor, error) {
	e := &Extractor{headers: []headerPlaces{{BearerTokenPlace.Header, []Place{BearerTokenPlace}}}}
	for _, p := range places {
		if err := e.add(p); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *Extractor) add(p Place) error {
	switch {
	case p.Name == core.ClientCertificate:
		e.certificate = true
		return nil
	case p.Parameter != "" && p.Header == "" && p.Cookie == "":
		return e.addParameter(p)
	case (p.Header == "") == (p.Cookie == "") || p.Parameter != "":
		return fmt.Errorf("place %s: want a header, a cookie or a parameter, and one of them", p.Name)
	case p.Cookie != "" && e.HoldsCookie(p.Cookie):
		return fmt.Errorf("place %s: the cookie %s already holds another credential", p.Name, p.Cookie)
	case p.Cookie != "":
		e.cookies = append(e.cookies, p)
		return nil
	}
	for i := range e.headers {
		h := &e.headers[i]
		if strings.EqualFold(h.header, p.Header) {
			h.places = append(h.places, p)
			return h.distinct()
		}
		if httpsyntax.FoldEqual(h.header, p.Header) {
			return fmt.Errorf("place %s: %s and %s are one header to many upstreams", p.Name, h.header, p.Header)
		}
	}
	e.headers = append(e.headers, headerPlaces{p.Header, []Place{p}})
	return nil
}

// distinct refuses a last place that cannot be distinguished from another one.
func (h *headerPlaces) distinct() error {
	last := h.places[len(h.places)-1]
	for _, p := range h.places[:len(h.places)-1] {
		if p.Scheme == "" || last.Scheme == "" || strings.EqualFold(p.Scheme, last.Scheme) {
			return fmt.Errorf("place %s: the header %s already holds another credential", last.Name, h.header)
		}
	}
	return nil
}

// Extract returns the credential of a request.
func (e *Extractor) Extract(r *core.Request) (core.Credential, error) {
	c, found, err := e.explicit(r)
	if err != nil || found {
		c.Explicit = true
		return c, err
	}
	return e.ambient(r)
}

// explicit finds a credential in a header. found is true also where the
// credential is bad, which keeps the cookies out of play.
func (e *Extractor) explicit(r *core.Request) (c core.Credential, found bool, err error) {
	where := ""
	for i := range e.headers {
		h := &e.headers[i]
		value, lines := r.Lookup(h.header)
		switch {
		case lines == 0:
			continue
		case where != "":
			return core.Credential{}, true, badCredential("both %s and %s are present", where, h.header)
		case lines > 1:
			return core.Credential{}, true, badCredential("%s is repeated", h.header)
		}
		where = h.header
		if c, err = h.read(value); err != nil {
			return core.Credential{}, true, err
		}
	}
	if taken := e.taken(r); taken.Count > 0 {
		if where != "" {
			return core.Credential{}, true, badCredential("both %s and the query parameter %s are present", where, e.parameter)
		}
		c, err = e.readParameter(r, taken)
		return c, true, err
	}
	return c, where != "", nil
}

// read takes the credential out of the header's one value. A scheme that no
// place has is a credential that nothing here can verify: it counts as missing
// and is explicit all the same.
func (h *headerPlaces) read(value string) (core.Credential, error) {
	value = strings.Trim(value, " \t") // RFC 9110 section 5.5
	if p := h.places[0]; p.Scheme == "" {
		return checked(p.Name, value, h.header)
	}
	scheme, token, _ := strings.Cut(value, " ")
	if scheme == "" {
		return core.Credential{}, badCredential("%s is empty", h.header)
	}
	for _, p := range h.places {
		if strings.EqualFold(scheme, p.Scheme) {
			return checked(p.Name, strings.TrimLeft(token, " "), h.header)
		}
	}
	return core.Credential{}, fmt.Errorf("%w: the %s scheme is not %s", core.ErrMissing, h.header, h.schemes())
}

func (h *headerPlaces) schemes() string {
	names := make([]string, len(h.places))
	for i, p := range h.places {
		names[i] = p.Scheme
	}
	return strings.Join(names, " or ")
}

// HeaderNames are the headers in which a credential or the proof of one may be, Cookie
// among them if it may be in a cookie.
func (e *Extractor) HeaderNames() []string {
	var names []string
	for i := range e.headers {
		names = append(names, e.headers[i].header)
		for _, p := range e.headers[i].places {
			if p.Proof != "" {
				names = append(names, p.Proof)
			}
		}
	}
	if len(e.cookies) > 0 {
		names = append(names, "Cookie")
	}
	return names
}

// HoldsHeader reports whether a credential, or the proof of one, may sit in a header of
// this name, as the most forgiving upstream reads it.
func (e *Extractor) HoldsHeader(name string) bool {
	return slices.ContainsFunc(e.headers, func(h headerPlaces) bool {
		return httpsyntax.FoldEqual(h.header, name) || slices.ContainsFunc(h.places, func(p Place) bool { return p.Proof != "" && httpsyntax.FoldEqual(p.Proof, name) })
	})
}

// HoldsCookie reports whether a credential may sit in a cookie of this name.
func (e *Extractor) HoldsCookie(name string) bool {
	return slices.ContainsFunc(e.cookies, func(p Place) bool { return p.Cookie == name || p.Chunked && httpsyntax.IsChunk(name, p.Cookie) })
}

// checked admits only what a credential can be made of. Anything else would travel
// on into a request to the identity provider.
func checked(place core.PlaceName, value, where string) (core.Credential, error) {
	if fault := httpsyntax.CredentialFault(value, core.MaxCredential); fault != "" {
		return core.Credential{}, badCredential("%s %s", where, fault)
	}
	return core.Credential{Place: place, Value: value}, nil
}

func badCredential(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{core.ErrBadRequest}, args...)...)
}
