package core

import "context"

// Credential is what a caller presented, not yet believed.
type Credential struct {
	Kind  CredentialKind
	Value string
}

// CredentialKind says where a credential sat, which decides who verifies it.
type CredentialKind string

// The places a credential may sit.
const (
	SessionCookie CredentialKind = "session_cookie" // ambient
	TokenCookie   CredentialKind = "token_cookie"   // ambient, holds a bearer token
	SessionToken  CredentialKind = "session_token"  // X-Session-Token
	BearerToken   CredentialKind = "bearer"         // Authorization: Bearer
)

// Explicit reports whether a program put the credential there on purpose.
// Cookies are ambient: the browser sends them whoever caused the request.
func (k CredentialKind) Explicit() bool { return k == SessionToken || k == BearerToken }

// Authenticator turns a credential into a principal.
//
// A credential that does not hold gives an error that wraps ErrInvalid. Any
// other error means that the answer could not be found out (a dead identity
// provider, a timeout) and must not be remembered. An implementation is safe
// for concurrent use, never returns a nil principal without an error, and
// never puts the credential into an error.
type Authenticator interface {
	Authenticate(ctx context.Context, c Credential) (*Principal, error)
}

// Refresher is an Authenticator that remembers answers and can be asked for a
// newer one. The gate asks when a policy wants a stronger or more recent
// sign-in than the remembered one: the user may have just complied, and would
// otherwise be sent to the login page again and again.
type Refresher interface {
	Authenticator
	// Refresh answers like Authenticate, but not with what was learned before
	// the caller can have signed in again. It may refuse to do so often.
	Refresh(ctx context.Context, c Credential) (*Principal, error)
}

// Policy knows what may be called by whom.
type Policy interface {
	// Match finds the activities that cover a call, or nil when none does.
	Match(ctx context.Context, call *Call) Access
	// Permissions lists, sorted, every permission the principal holds.
	Permissions(p *Principal) []string
}

// Access is the part of a policy that covers one call.
type Access interface {
	// Public reports whether anybody may make the call.
	Public() bool
	// Allows returns nil only when the principal may make the call. A
	// refusal is an InsufficientScope, a StepUp or wraps ErrForbidden.
	Allows(ctx context.Context, call *Call, p *Principal) error
	// Scopes that would be enough, for the WWW-Authenticate header.
	Scopes() []string
	// Rule names what matched, for the log.
	Rule() string
}
