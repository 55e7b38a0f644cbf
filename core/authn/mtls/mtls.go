// Package mtls checks that a token which is bound to a certificate comes from the holder
// of that certificate (RFC 8705 section 3).
//
// The handshake of TLS has proven that the client holds the key. Whoever ended the
// connection tells the certificate; it need not have verified who signed it, as the
// authorization server has bound the token to this very certificate.
package mtls

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/claims"
)

// Authenticator checks the certificate of every call whose token is bound to one, behind
// every cache of the token. It asks the host for no other call.
type Authenticator struct{ core.Judge }

var (
	_ core.Judge        = (*Authenticator)(nil)
	_ core.HeaderSetter = (*Authenticator)(nil)
)

// Around puts the check of certificates around another authenticator. One that is no Judge
// stays as it is, and refuses bound tokens.
func Around(next core.Authenticator) core.Authenticator {
	judge, ok := next.(core.Judge)
	if !ok {
		return next
	}
	return &Authenticator{judge}
}

// ResponseHeaders are those of the other authenticator.
func (a *Authenticator) ResponseHeaders() []string { return core.ResponseHeadersOf(a.Judge) }

// Authenticate is that of the other authenticator, and the check of the certificate.
func (a *Authenticator) Authenticate(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	c.Certificate = authn.IsBearer(c) // what is known of a session is known in the same words to its logout
	r, err := a.Judge.Authenticate(ctx, call, c)
	return held(call, r, err)
}

// Refresh is that of the other authenticator, and the check of the certificate.
func (a *Authenticator) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	c.Certificate = authn.IsBearer(c)
	r, err := a.Judge.Refresh(ctx, call, c)
	return held(call, r, err)
}

func held(call *core.Call, r core.Authentication, err error) (core.Authentication, error) {
	proven := false
	if err == nil {
		proven, err = Check(call.Request, r.Principal)
	}
	switch {
	case err != nil:
		r.Principal = nil
	case proven:
		r.Principal = r.Principal.Proven(core.ProofMTLS)
	}
	return r, err
}

// Check admits the caller of a token that is bound to no certificate, or to the one of the
// connection, and says which. A certificate that cannot be read is never the right one.
func Check(r *core.Request, p *core.Principal) (proven bool, err error) {
	if p == nil || p.Kind != core.KindJWT && p.Kind != core.KindIntrospection {
		return false, nil
	}
	thumbprint, err := claims.Set(p.Claims).BoundToCertificate()
	switch {
	case err != nil:
		return false, fmt.Errorf("%w: the token %w", core.ErrInvalid, err)
	case thumbprint == "":
		return false, nil
	case r.AskTLS == nil:
		return false, fmt.Errorf("%w: the token is bound to a certificate (RFC 8705), and the host does not tell that of the client", core.ErrInvalid)
	}
	facts, err := r.ClientTLS()
	switch {
	case errors.Is(err, core.ErrBadRequest):
		return false, err
	case err != nil:
		return false, fmt.Errorf("the token is bound to a certificate (RFC 8705), and that of the client is not known: %w", err)
	case len(facts.Chain) == 0:
		return false, fmt.Errorf("%w: the token is bound to a certificate (RFC 8705), and the client has shown none", core.ErrInvalid)
	}
	if claims.Thumbprint(facts.Chain[0].Raw) != thumbprint {
		return false, fmt.Errorf("%w: the token is bound to another certificate than that of the client (RFC 8705)", core.ErrInvalid)
	}
	return true, nil
}
