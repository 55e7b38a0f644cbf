package core

import (
	"context"
	"errors"
	"net/http"
)

// AnonymousAccess is an Access to calls that a caller of whom nothing is known may
// be allowed to make. Where an Access is none, every call that is not public needs
// a valid credential.
type AnonymousAccess interface {
	Access
	// AllowsAnonymous is Allows for a caller without a credential. It returns
	// ErrMissing where a credential could help.
	AllowsAnonymous(ctx context.Context, call *Call) error
	// IgnoresInvalid reports whether a credential that does not hold counts as none;
	// explicit tells whether it sits in a header. Otherwise it is refused.
	IgnoresInvalid(call *Call, explicit bool) bool
}

// anonymous decides a call whose caller was not found out for the reason that
// refusal says. It returns nil where the call may be made all the same. Only what is
// known to be no good is ignored: where an identity provider could not tell, a
// caller who has a name would lose it.
func (g *Gate) anonymous(ctx context.Context, call *Call, access Access, c Credential, refusal error) error {
	open, ok := access.(AnonymousAccess)
	if !ok {
		return refusal
	}
	var ignored error
	switch {
	case !c.Explicit && c.Value == "" && errors.Is(refusal, ErrMissing):
	case !doesNotHold(refusal) || !open.IgnoresInvalid(call, c.Explicit):
		return refusal
	default:
		ignored = refusal
	}
	if err := open.AllowsAnonymous(ctx, call); err != nil {
		if refusalFor(err).status == http.StatusServiceUnavailable {
			return err
		}
		return refusal
	}
	call.Anonymous, call.Ignored = true, ignored
	return nil
}

// doesNotHold reports whether an error says for sure that a request has no good
// credential.
func doesNotHold(err error) bool {
	status := refusalFor(err).status
	return (status == http.StatusUnauthorized || status == http.StatusBadRequest) && !is[*StepUp](err) && !is[*NeedsProof](err)
}
