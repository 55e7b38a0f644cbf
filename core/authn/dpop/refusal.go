package dpop

import (
	"errors"
	"fmt"

	"gatehouse/core"
)

// Error codes of RFC 9449 section 12.2.
const (
	CodeInvalidProof = "invalid_dpop_proof"
	CodeUseNonce     = "use_dpop_nonce"
)

// refused is of a proof that does not hold. Where nonces are wanted, the client gets one,
// so that its next proof can hold.
func (a *Authenticator) refused(code string, err error) error {
	bad := &core.BadProof{Code: code, Err: fmt.Errorf("the DPoP proof %w", err)}
	if a.options.Nonces != nil {
		bad.Header = []core.Header{{Name: NonceHeader, Value: a.options.Nonces.New()}}
	}
	return bad
}

func errNonce(nonce string) error {
	if nonce == "" {
		return errors.New("has no nonce; the client gets one and tries again")
	}
	return errors.New("has a nonce that does not hold (any more); the client gets another one and tries again")
}

// errNotBound is of a bearer token under the scheme of bound tokens (RFC 9449 section
// 7.1): there is no key that a proof could be checked against.
var errNotBound = fmt.Errorf("%w: the token comes by DPoP and is bound to no key (cnf.jkt)", core.ErrInvalid)

// errOtherKey is of a token in the hands of somebody else than its holder, or of a client
// that has another key by now: another proof helps neither, a new token the latter (RFC
// 9449 section 7.1, figure 16).
var errOtherKey = fmt.Errorf("%w: the DPoP proof is signed with another key than that which the access token is bound to (cnf.jkt)", core.ErrInvalid)
