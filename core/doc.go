// Package core is the decision engine of Gatehouse: what a gateway host hands
// in, what it gets back, and the one pipeline in between.
//
//	request -> one exact path -> rule -> credential -> principal -> permission
//	        -> identity headers -> decision
//
// The pipeline is [Gate.Check]. Everything it needs is injected: an
// [Authenticator] that turns a credential into a [Principal] and a [Policy]
// that knows which activities cover a call. The package depends on the
// standard library only; core/config wires the parts together.
//
// The zero value of [Decision] denies, and every error that is not known to
// be the caller's fault becomes 503: Gatehouse fails closed.
package core
