package jwt

import (
	"context"
	"errors"

	"gatehouse/core/authn/claims"
)

// What can be wrong with a token beside its form. Each comes with core.ErrInvalid, but
// for ErrKey where the keys could not be had.
var (
	ErrIssuer   = errors.New("the issuer is not configured")
	ErrKey      = errors.New("no key of the issuer has signed it")
	ErrAudience = errors.New("it is for another audience")
)

// fault is an error that is of one of these, too.
type fault struct {
	error
	of error
}

func (f fault) Unwrap() []error { return []error{f.error, f.of} }

// Statement verifies a token in which an issuer says something and which is no
// credential, such as a logout token: signed, for us, of an accepted type, begun.
// What more it needs its reader knows. The errors are those of AuthenticateToken.
func (v *Verifier) Statement(ctx context.Context, text string) (claims.Set, error) {
	t, _ := parse(text)
	issuer, err := v.signer(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := issuer.meantFor(t.claims); err != nil {
		return nil, invalid(fault{err, ErrAudience})
	}
	if err := t.claims.Begun(v.now(), v.leeway); err != nil {
		return nil, invalid(err)
	}
	return t.claims, nil
}
