package runner

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"gatehouse/core"
	"gatehouse/core/clientcert"
)

// Describe is the one place that converts a request of APISIX.
func (r *request) Describe() *core.Request {
	lines := r.head.current()
	request := &core.Request{
		Gateway:   "apisix",
		Method:    r.Method(),
		Header:    make([]core.Header, len(lines)),
		HeaderCut: r.HeaderCut(),
		AskID:     r.RequestID,
		AskPeer:   r.peer,
		Client:    r.client(),
		AskTLS:    r.clientTLS,
	}
	if r.conf != nil {
		request.Route = r.conf.route
	}
	for i, line := range lines {
		request.Header[i] = core.Header{Name: line.Name, Value: line.Value}
	}
	request.ClientUnknown = !request.Client.IsValid()
	request.Host, _ = request.Lookup("Host")
	request.AskBody = func(int) ([]byte, error) { return r.announcedBody(request) }
	return request
}

// peer is the address of who is connected to APISIX. The one that comes with the
// request is what nginx made of X-Real-IP, which APISIX believes from its own
// machine: a proxy there may pass on what the client wrote. APISIX's plugin
// real-ip makes this one that of X-Real-IP as well, if such a proxy sends it; the
// README says how to close that. An address that APISIX does not know stays
// unknown, and a rule that depends on it then denies.
func (r *request) peer() netip.Addr {
	text, err := r.Var("realip_remote_addr")
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(string(text)) // zero if it is none
	return addr
}

// client is the address that nginx, or APISIX's plugin real-ip, has found for the
// client. It comes with the request.
func (r *request) client() netip.Addr {
	address, _ := netip.AddrFromSlice([]byte(r.msg.srcIP)) // zero if it is none, as behind a unix socket
	return address
}

// clientTLS requests the variables of nginx. APISIX verifies certificates where the
// SSL object of the host has a client.ca.
func (r *request) clientTLS() (*core.ClientTLS, error) {
	certificate, err := r.Var("ssl_client_raw_cert")
	if err != nil {
		return nil, fmt.Errorf("the client's certificate is not known: %w", err)
	}
	if len(certificate) == 0 {
		return &core.ClientTLS{}, nil
	}
	verify, err := r.Var("ssl_client_verify")
	if err != nil {
		return nil, fmt.Errorf("it is not known whether the client's certificate was verified: %w", err)
	}
	return clientcert.FromNGINX(string(certificate), string(verify))
}

// announcedBody requests the whole body, since the protocol cannot limit what APISIX
// sends. So a body is read only if the client announced its length, which
// [core.Request.Body] has then compared with the limit.
func (r *request) announcedBody(request *core.Request) ([]byte, error) {
	length, announced, err := request.ContentLength()
	if err != nil || announced && length == 0 {
		return nil, err
	}
	if !announced {
		return nil, r.withoutBody(request)
	}
	body, err := r.Body()
	if err != nil {
		return nil, fmt.Errorf("APISIX cannot hand over the body: %w", err)
	}
	return body, nil
}

// withoutBody is an error unless the request has no body for certain, or none that
// has a meaning (RFC 9110 section 9.3.1). Over HTTP/2 one may follow unannounced.
func (r *request) withoutBody(request *core.Request) error {
	line, err := r.RequestLine()
	if err != nil {
		return err
	}
	_, chunked := request.Lookup("Transfer-Encoding")
	switch {
	case chunked == 0 && isHTTP1(line):
	case request.Method == http.MethodGet, request.Method == http.MethodHead:
	default:
		return fmt.Errorf("%w: a body without Content-Length is not read", core.ErrBadRequest)
	}
	return nil
}

func isHTTP1(line string) bool {
	return strings.HasSuffix(line, " HTTP/1.1") || strings.HasSuffix(line, " HTTP/1.0")
}
