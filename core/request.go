package core

import "gatehouse/core/request"

// Request is what a host must supply. Nothing in it is trusted.
type Request = request.Request

// ClientTLS is what a host knows of a client's TLS connection.
type ClientTLS = request.ClientTLS

// Header is one header line.
type Header = request.Header

// Call is a request together with its one canonical path.
type Call struct {
	*Request
	// Path is the decoded path that every rule is matched against.
	Path string
	// Anonymous is set where the call goes on without a name although a credential
	// was looked for. Ignored says what is wrong with the one that the request has, or
	// is nil where it has none; it must not reach the upstream, which would take it
	// for a verified one.
	Anonymous bool
	Ignored   error
	// Access is the part of the policy that covers the call; nil where none does, and
	// before that is known. It is for whoever records the decision.
	Access Access

	// confirm is the host's: see [Gate.CheckThen].
	confirm func(*Decision) error
}
