package core

import "context"

// Identity decides what the upstream learns of a caller, and keeps a client from
// forging it.
type Identity interface {
	// Upstream is called for every call that is to be admitted; p is nil on a public one,
	// and where the call is Anonymous. It may call out, within the time of the context.
	Upstream(ctx context.Context, call *Call, p *Principal, policy Policy) (Upstream, error)
	// Disguised returns the name of a header that many upstreams would take for
	// an identity header although it is spelt otherwise, such as X_User_Id.
	Disguised(r *Request) (name string, found bool)
}

// Upstream is what a host does to the request of an admitted call.
type Upstream struct {
	// Strip is removed from the request, then Set is added. A name stands for
	// every line that carries it, whatever its case. Lines of one name in Set are
	// added together, in their order; see Demands.
	Strip []string
	Set   []Header
	// Target is the request target without the credential that was in it. Empty:
	// the request goes on with the client's.
	Target string
	// Groups are what the gateway's own plugins get to know of a caller, where
	// the host can tell them; nil: nothing.
	Groups []string
}

// Demands are what a host must be able to do to the request of an admitted call. A
// host that cannot refuses the gate when it is loaded.
type Demands struct {
	// RepeatedHeaders is to set a header on several lines.
	RepeatedHeaders bool
	// Target is to send the upstream another request target than the client's.
	Target bool
	// Consumers is to find the caller among the gateway's consumers.
	Consumers bool
	// Body is to show the body of the request, in [Request.Body].
	Body bool
	// ClientCertificate is to tell the certificate that the client has shown, in
	// [Request.ClientTLS]: the setting that needs it, or how a host gets to know it.
	// Empty: nothing needs it, or the host does not tell it.
	ClientCertificate string
}
