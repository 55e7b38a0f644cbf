package core

import "context"

// Identity decides what the upstream learns of a caller, and keeps a client from
// forging it.
type Identity interface {
	// Upstream is called for every call that is to be admitted; p is nil on a
	// public one, and where the call is Anonymous. It may call out, within the time that the context gives. An
	// error refuses the call.
	Upstream(ctx context.Context, call *Call, p *Principal, policy Policy) (Upstream, error)
	// Disguised returns the name of a header that many upstreams would take for
	// an identity header although it is spelt otherwise, such as X_User_Id.
	Disguised(r *Request) (name string, found bool)
}

// Upstream is what a host does to the request of an admitted call.
type Upstream struct {
	// Strip is removed from the request, then Set is added. A name stands for
	// every line that carries it, whatever its case.
	Strip []string
	Set   []Header
	// Groups are what the gateway's own plugins get to know of a caller, where
	// the host can tell them; nil: nothing.
	Groups []string
}
