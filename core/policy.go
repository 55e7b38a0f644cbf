package core

import "context"

// Policy knows what may be called by whom.
type Policy interface {
	// Match finds the activities that cover a call, or nil when none does. It may call out.
	Match(ctx context.Context, call *Call) Access
	// Permissions lists, sorted, every permission the principal holds.
	Permissions(p *Principal) []string
}

// Access is the part of a policy that covers one call.
type Access interface {
	// Public reports whether the call needs no credential.
	Public() bool
	// Allows returns nil only when the principal may make the call. A refusal
	// is an InsufficientScope, a StepUp, a NeedsProof or wraps ErrForbidden; any other
	// error means "could not tell". It may call out, within the time that the context
	// gives.
	Allows(ctx context.Context, call *Call, p *Principal) error
	// Scopes that would be enough, for the WWW-Authenticate header. The principal
	// is nil for a caller without a valid credential.
	Scopes(call *Call, p *Principal) []string
	// Rule names what matched, for the log.
	Rule() string
	// Refusal is why nobody may make the call: the headers by which it was to be matched do
	// not count. nil: they do, or there are none.
	Refusal() error
	// CheckBody returns nil only where the body says what those headers say. At most limit
	// bytes of it are read; 0: none, and the headers are trusted.
	CheckBody(call *Call, limit int) error
}
