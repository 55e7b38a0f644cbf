package core

import "context"

// Authenticator finds out who makes a call. It sees the whole call beside the
// credential, because a proof of possession lies there: a DPoP header with the
// method and the target it was made for, or the client's certificate
// ([Request.ClientTLS]).
//
// A credential that does not hold gives an error that wraps ErrInvalid. Any
// other error means that the result could not be found out (an identity provider
// that is down, a timeout) and must not be cached. An implementation is safe for
// concurrent use, never returns a nil principal without an error, and never
// puts the credential into an error.
type Authenticator interface {
	Authenticate(ctx context.Context, call *Call, c Credential) (Authentication, error)
}

// Authentication is the result of an Authenticator.
type Authentication struct {
	// Principal is who makes the call.
	Principal *Principal
	// ResponseHeader goes to the client with the response, whoever makes it: a
	// refreshed or a deleted cookie. It counts beside an error, too.
	ResponseHeader []Header
}

// HeaderSetter is an Authenticator whose results may carry a ResponseHeader. The gate
// names these headers to its host, which may have no way to pass one on and then
// refuses the configuration. Any other header in a result is an error.
type HeaderSetter interface {
	Authenticator
	// ResponseHeaders lists the names.
	ResponseHeaders() []string
}

// Refresher is an Authenticator that may return a cached result and can be asked
// for a newer one. The gate asks when a policy wants a stronger or more recent
// sign-in than the cached one: the user may have just complied, and would
// otherwise be sent to the login page again and again.
type Refresher interface {
	Authenticator
	// Refresh is Authenticate without what was learned before the caller can
	// have signed in again. It may refuse to do so often.
	Refresh(ctx context.Context, call *Call, c Credential) (Authentication, error)
}

// OthersJudge is an Authenticator that judges the further values of a credential
// (Credential.Others), too. The gate refuses them for any other.
type OthersJudge interface {
	Authenticator
	JudgesOthers()
}

// Judge is an Authenticator that others are around: they keep its results up, complete them
// or check them against the call, behind every cache.
type Judge interface {
	Refresher
	OthersJudge
}

// ResponseHeadersOf are those that an authenticator names; none if it names none.
func ResponseHeadersOf(a Authenticator) []string {
	if setter, ok := a.(HeaderSetter); ok {
		return setter.ResponseHeaders()
	}
	return nil
}

// TokenAuthenticator judges a credential by its value alone, so that the result
// may be cached (core/cache). The rules of Authenticator hold; what depends on
// the call as well is checked after it, on every call.
type TokenAuthenticator interface {
	AuthenticateToken(ctx context.Context, c Credential) (*Principal, error)
}

// TokenRefresher is to TokenAuthenticator what Refresher is to Authenticator.
type TokenRefresher interface {
	TokenAuthenticator
	RefreshToken(ctx context.Context, c Credential) (*Principal, error)
}
