package core

import (
	"fmt"
	"strings"
)

// MaxCredential is the longest credential that is looked at, in bytes. It is
// well above a JWT with a 4096-bit signature and below what nginx accepts as
// one header line.
const MaxCredential = 16 << 10

// Extractor finds the one credential that counts. An explicit credential
// beats an ambient cookie, and a bad one never falls back to it: otherwise a
// request forged across sites could choose which identity it runs under. For
// the same reason "Authorization: Bearer" (RFC 6750 section 2.1) is looked at
// always, also where nobody can verify what is in it.
type Extractor struct {
	// SessionToken looks at X-Session-Token (Ory Kratos, native apps).
	SessionToken bool
	// SessionCookie is the name of the session cookie; empty for none.
	SessionCookie string
	// TokenCookie is the name of a cookie that holds a bearer token, for
	// single sign-on across subdomains; empty for none.
	TokenCookie string
}

const sessionTokenHeader = "X-Session-Token"

// Extract returns the credential of a request, ErrMissing when there is none
// and ErrBadRequest when there is more than one or a malformed one.
func (e *Extractor) Extract(r *Request) (Credential, error) {
	explicit, found, err := e.explicit(r)
	if err != nil || found {
		return explicit, err
	}
	return e.ambient(r)
}

func (e *Extractor) explicit(r *Request) (c Credential, found bool, err error) {
	if c, found, err = bearer(r); err != nil {
		return Credential{}, true, err
	}
	if !e.SessionToken {
		return c, found, nil
	}
	value, lines := r.Lookup(sessionTokenHeader)
	switch {
	case lines == 0:
		return c, found, nil
	case found:
		return Credential{}, true, badCredential("both Authorization and %s are present", sessionTokenHeader)
	case lines > 1:
		return Credential{}, true, badCredential("%s is repeated", sessionTokenHeader)
	}
	return checked(SessionToken, strings.TrimSpace(value), sessionTokenHeader)
}

// bearer reads the Authorization header. Another scheme is an explicit
// credential that nobody here can verify: it counts as invalid and keeps the
// cookies out of play.
func bearer(r *Request) (Credential, bool, error) {
	value, lines := r.Lookup("Authorization")
	if lines == 0 {
		return Credential{}, false, nil
	}
	if lines > 1 {
		return Credential{}, true, badCredential("Authorization is repeated")
	}
	scheme, token, _ := strings.Cut(strings.TrimSpace(value), " ")
	if scheme == "" {
		return Credential{}, true, badCredential("Authorization is empty")
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return Credential{}, true, fmt.Errorf("%w: the Authorization scheme is not Bearer", ErrMissing)
	}
	return checked(BearerToken, strings.TrimLeft(token, " "), "Authorization")
}

func (e *Extractor) ambient(r *Request) (Credential, error) {
	for _, place := range []struct {
		kind CredentialKind
		name string
	}{{SessionCookie, e.SessionCookie}, {TokenCookie, e.TokenCookie}} {
		if place.name == "" {
			continue
		}
		value, n := cookie(r, place.name)
		if n > 1 {
			return Credential{}, badCredential("cookie %s is repeated", place.name)
		}
		if n == 1 && value != "" {
			c, _, err := checked(place.kind, value, "cookie "+place.name)
			return c, err
		}
	}
	return Credential{}, ErrMissing
}

// checked admits only what a credential can be made of: the characters of
// RFC 6750's b68token and of RFC 6265's cookie-octet share the visible ASCII
// range. Anything else would travel on into a request to the identity
// provider.
func checked(kind CredentialKind, value, where string) (Credential, bool, error) {
	if value == "" {
		return Credential{}, true, badCredential("%s holds no credential", where)
	}
	if len(value) > MaxCredential {
		return Credential{}, true, badCredential("%s is longer than %d bytes", where, MaxCredential)
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c <= ' ' || c >= 0x7f || c == '"' || c == ',' || c == ';' || c == '\\' {
			return Credential{}, true, badCredential("%s holds a character that no credential has", where)
		}
	}
	return Credential{Kind: kind, Value: value}, true, nil
}

func badCredential(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBadRequest}, args...)...)
}

// cookie returns the value of the first cookie of that name and how many
// there are, over all Cookie lines.
func cookie(r *Request, name string) (value string, n int) {
	for i := range r.Header {
		if !strings.EqualFold(r.Header[i].Name, "Cookie") {
			continue
		}
		for pair := range strings.SplitSeq(r.Header[i].Value, ";") {
			if v, ok := cookieValue(pair, name); ok {
				if n == 0 {
					value = v
				}
				n++
			}
		}
	}
	return value, n
}

// cookieValue trims what RFC 6265 section 5.2 does and no more: a browser takes
// a name with another space in front for another name, whose prefix (__Host-)
// keeps nobody from setting it.
func cookieValue(pair, name string) (string, bool) {
	key, value, ok := strings.Cut(pair, "=")
	return strings.Trim(value, " \t"), ok && strings.Trim(key, " \t") == name
}
