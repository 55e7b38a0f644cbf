// Package request is what a host must supply of a request, with what it finds out only
// when asked.
package request

import (
	"crypto/x509"
	"errors"
	"fmt"
	"gatehouse/core/httpsyntax"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Refusals that whoever supplies or reads a request may give.
var (
	// ErrBadRequest: the request has two readings or is malformed (400).
	ErrBadRequest = errors.New("bad request")
	// ErrBodyTooLarge: more of a body than an endpoint takes (413).
	ErrBodyTooLarge = errors.New("request content too large")
)

// Header is one header line.
type Header = httpsyntax.Header

// Request is what a host must supply. Nothing in it is trusted.
type Request struct {
	// ID is the request's name in the gateway's own log, where the host knows
	// it; AskID finds it out where knowing has a price, and is nil where ID is
	// all there is. It is asked at most once, and only when a request is refused
	// that came with a credential. Neither may be of the client's choosing. See
	// [Request.Identify].
	ID    string
	AskID func() string
	// RunsTwice says that the host may hand over one request twice, and that the id is
	// the gateway's own name for it, of which a client chooses nothing: see core/secondrun.
	RunsTwice bool
	// Gateway names the host or the proxy in front of it, Route the route of it that the
	// request came by, as far as the host knows. They are for records, never for decisions.
	Gateway, Route string
	// Method as received. The zero value matches no rule.
	Method string
	// Target is the request target exactly as it stood on the request line,
	// before any decoding by the gateway.
	Target string
	// Parameter is what the gate has taken out of Target: a credential that must
	// not go on to the upstream nor into a log.
	Parameter httpsyntax.Parameter
	// Host is the authority the client asked for (Host header or :authority).
	Host string
	// Scheme under which the client reached the gateway, "http" or "https",
	// when a trusted proxy says so; empty otherwise.
	Scheme string
	// Header holds every header line the host knows of.
	Header []Header
	// HeaderCut says that the host may not have seen all header lines. Such
	// a request is refused: the hidden part could hold a forged identity.
	HeaderCut bool
	// StripsListed says that the host can remove, or rewrite, only headers that it was
	// given the names of in advance.
	StripsListed bool
	// AddsNoResponseHeader says that the host adds none to the response of an upstream.
	AddsNoResponseHeader bool
	// Peer is the address of the directly connected client, when known.
	Peer netip.Addr
	// Connected is whoever is connected to a host that ends connections itself, be that
	// the client or a proxy. It says nothing of the client.
	Connected netip.Addr
	// AskPeer finds it out on hosts where knowing it has a price; nil where
	// Peer is all there is. It is asked at most once, and only by a rule that
	// wants to know.
	AskPeer func() netip.Addr
	// Client is the address of the client behind the proxies that the gateway trusts,
	// where that is not the peer. AskClient finds it out where knowing it has a
	// price. It is asked at most once, and only for a credential that is not
	// remembered.
	Client    netip.Addr
	AskClient func() netip.Addr
	// ClientUnknown: the host cannot tell the client from a proxy in front of it.
	ClientUnknown bool
	// AskTLS finds out what the host knows of the client's TLS connection, as the
	// gateway itself or a trusted peer tells it; nil where the host cannot know.
	// It is asked at most once, and only by an authenticator that wants a
	// certificate. See [Request.ClientTLS].
	AskTLS func() (*ClientTLS, error)
	// AskBody reads the body of the request, at most limit bytes of it; a longer
	// one is an error that wraps ErrBodyTooLarge. nil where the host cannot read
	// it. It is asked at most once, and only by an endpoint that takes a body. See
	// [Request.Body].
	AskBody func(limit int) ([]byte, error)

	// Said is what a decision point said of the request beside its answers, which the policy
	// notes for the log alone.
	Said string
	// MCP is the call of the Model Context Protocol that the policy has read out of the
	// headers, for whoever records the decision.
	MCP MCP

	tls tlsResult
}

// MCP is a call of the Model Context Protocol; without a method it is none.
type MCP struct {
	Method string
	// Name is the tool, the prompt or the URI of the resource; empty where the method has none.
	Name string
}

// ClientTLS is what a host knows of a client's TLS connection.
type ClientTLS struct {
	// Chain is what the client presented, its own certificate first; empty where
	// it presented none. A host may know only the first.
	Chain []*x509.Certificate
	// Verified says that whoever ended the TLS connection has verified the chain
	// against authorities of its own.
	Verified bool
	// Staple is the OCSP response (RFC 6960) that came with the first certificate (RFC
	// 8446 section 4.4.2.1); empty where there was none, or the host cannot know.
	Staple []byte
}

// tlsResult is what AskTLS returned.
type tlsResult struct {
	asked bool
	facts *ClientTLS
	err   error
}

// ClientTLS returns what the host knows of the client's TLS connection. It is
// never nil without an error: a host that cannot know is an error, so that
// "no certificate" is never read out of "not known".
func (r *Request) ClientTLS() (*ClientTLS, error) {
	if !r.tls.asked {
		r.tls = tlsResult{asked: true, err: errors.New("the host does not know the client's TLS connection")}
		if r.AskTLS != nil {
			r.tls.facts, r.tls.err = r.AskTLS()
		}
		if r.tls.facts == nil && r.tls.err == nil {
			r.tls.err = errors.New("the host does not tell the client's TLS connection")
		}
	}
	return r.tls.facts, r.tls.err
}

// KeepTLS has nobody ask for the TLS connection any more who has not done so yet: knowing it
// has a price, and a refusal costs less than an admission.
func (r *Request) KeepTLS() *Request {
	if !r.tls.asked {
		r.AskTLS = nil
	}
	return r
}

// Body reads the body of the request, at most limit bytes of it. A body that is
// longer, or of which the host has only a part, is an error.
func (r *Request) Body(limit int) ([]byte, error) {
	if r.AskBody == nil {
		return nil, errors.New("the host cannot read the body of a request")
	}
	length, announced, err := r.ContentLength()
	if err != nil {
		return nil, err
	}
	if length > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrBodyTooLarge, limit)
	}
	body, err := r.AskBody(limit)
	switch {
	case err != nil:
		return nil, err
	case len(body) > limit:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrBodyTooLarge, limit)
	case announced && len(body) != length:
		return nil, fmt.Errorf("the host handed over %d bytes of a body of %d", len(body), length)
	}
	return body, nil
}

// ContentLength is the length of the body as the client announced it, where it did.
func (r *Request) ContentLength() (length int, announced bool, err error) {
	text, lines := r.Lookup("Content-Length")
	if lines == 0 {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || lines > 1 {
		return 0, false, fmt.Errorf("%w: Content-Length is repeated or not a number", ErrBadRequest)
	}
	return int(n), true, nil
}

// Identify returns the request's id, under which a refusal stands in the log and
// in what the client reads. An id that the host does not know is random: every
// refusal has one.
func (r *Request) Identify() string {
	r.askID()
	if !httpsyntax.IsRequestID(r.ID) {
		r.ID = httpsyntax.RandomRequestID()
	}
	return r.ID
}

// GatewayID is the name under which the gateway hands over one request twice; empty: it
// does not, or the name is not known.
func (r *Request) GatewayID() string {
	if !r.RunsTwice {
		return ""
	}
	r.askID()
	if !httpsyntax.IsRequestID(r.ID) {
		return ""
	}
	return r.ID
}

func (r *Request) askID() {
	if r.ID == "" && r.AskID != nil {
		r.ID, r.AskID = asked(r.AskID), nil
	}
}

// asked survives a host that fails: a refusal must not become a panic.
func asked(id func() string) string {
	defer func() { _ = recover() }()
	return id()
}

// PeerAddr returns the address of the directly connected client, or the zero
// Addr where it is not known.
func (r *Request) PeerAddr() netip.Addr {
	if !r.Peer.IsValid() && r.AskPeer != nil {
		r.Peer, r.AskPeer = r.AskPeer(), nil
	}
	return r.Peer
}

// ClientAddr returns the address of the client, as far as proxies that the gateway
// trusts tell it, or the zero Addr where it is not known. It tells clients apart; it
// proves nothing.
func (r *Request) ClientAddr() netip.Addr {
	if !r.Client.IsValid() && r.AskClient != nil {
		r.Client, r.AskClient = r.AskClient(), nil
		r.ClientUnknown = !r.Client.IsValid()
	}
	if !r.Client.IsValid() {
		return r.PeerAddr()
	}
	return r.Client
}

// KnownClient is ClientAddr unless that may be a proxy in the place of the client.
func (r *Request) KnownClient() netip.Addr {
	if addr := r.ClientAddr(); !r.ClientUnknown {
		return addr
	}
	return netip.Addr{}
}

// Lookup returns the first value of a header and the number of lines that
// carry the name. Only the exact name counts, whatever its case.
func (r *Request) Lookup(name string) (first string, lines int) {
	for i := range r.Header {
		if strings.EqualFold(r.Header[i].Name, name) {
			if lines == 0 {
				first = r.Header[i].Value
			}
			lines++
		}
	}
	return first, lines
}

// Query returns the query part of the target, without the question mark.
func (r *Request) Query() string {
	_, query, _ := strings.Cut(r.Target, "?")
	return query
}

// IsPreflight reports whether a browser asks whether it may send a request (Fetch
// Standard, CORS preflight).
func (r *Request) IsPreflight() bool {
	_, origins := r.Lookup("Origin")
	_, methods := r.Lookup("Access-Control-Request-Method")
	return r.Method == http.MethodOptions && origins > 0 && methods > 0
}
