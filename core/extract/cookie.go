package extract

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
)

// ambient finds the credentials in the cookies of one name, which sites on a domain
// and its subdomains can each set. Equal values are one credential. To pick one of
// others would let such a site choose under which identity the browser acts.
func (e *Extractor) ambient(r *core.Request) (core.Credential, error) {
	for _, p := range e.cookies {
		if value, ok := p.single(r); ok && value != "" {
			return p.held(value)
		} else if ok {
			continue
		}
		values := httpsyntax.Cookies(cookieLines(r), p.Cookie, p.Chunked)
		if len(values) == 1 {
			return p.held(values[0])
		}
		if len(values) > 1 {
			return p.oneOf(values)
		}
	}
	if e.certificate {
		return Certificate(r)
	}
	return core.Credential{}, core.ErrMissing
}

// single finds the value of a cookie that has one, as nearly every request's does,
// without a list of values. It is empty where there is none; ok is false where there
// are several or chunks.
func (p Place) single(r *core.Request) (value string, ok bool) {
	ok = true
	for i := range r.Header {
		if ok && strings.EqualFold(r.Header[i].Name, "Cookie") {
			value, ok = httpsyntax.SingleCookie(r.Header[i].Value, p.Cookie, p.Chunked, value)
		}
	}
	return value, ok
}

// held is the credential in a cookie. One that cannot be a credential is an invalid
// one: signing in replaces it, while 400 would lock the browser out.
func (p Place) held(value string) (core.Credential, error) {
	if fault := httpsyntax.CredentialFault(value, core.MaxCredential); fault != "" {
		return core.Credential{}, fmt.Errorf("%w: the cookie %s %s", core.ErrInvalid, p.Cookie, fault)
	}
	return core.Credential{Place: p.Name, Value: value}, nil
}

// oneOf leaves out what no credential can be.
func (p Place) oneOf(values []string) (core.Credential, error) {
	values = slices.DeleteFunc(values, func(value string) bool {
		return httpsyntax.CredentialFault(value, core.MaxCredential) != ""
	})
	if len(values) == 0 || len(values) > core.MaxRepeats {
		return core.Credential{}, fmt.Errorf("%w: the cookie %s is repeated, and %d of its values can be credentials, not 1 to %d", core.ErrInvalid, p.Cookie, len(values), core.MaxRepeats)
	}
	c := core.Credential{Place: p.Name, Value: values[0]}
	copy(c.Others[:], values[1:])
	return c, nil
}

func cookieLines(r *core.Request) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range r.Header {
			if strings.EqualFold(r.Header[i].Name, "Cookie") && !yield(r.Header[i].Value) {
				return
			}
		}
	}
}
