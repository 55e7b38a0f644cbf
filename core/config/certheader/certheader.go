// Package certheader has the part of a configuration by which a load balancer in front of
// the gateway, which ends TLS there, tells the client's certificate in a header.
package certheader

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/clientcert"
	"gatehouse/core/config/section"
	"gatehouse/core/identity"
	"gatehouse/core/setting"
)

// Header is where the certificate is, and who may say so.
type Header struct {
	Name       string   `config:"certificate_header_name" default:"Client-Cert" doc:"Name of the header. It is removed from every request to the upstream, and so is Client-Cert-Chain beside Client-Cert."`
	Format     string   `config:"certificate_header_format" default:"rfc9440" one_of:"rfc9440,url_encoded,base64_encoded,xfcc" doc:"How the certificate stands in the header: rfc9440 as RFC 9440 says, with the rest of the chain in Client-Cert-Chain if the header is Client-Cert; url_encoded as PEM with the escapes of a URL (nginx, the Application Load Balancer of AWS); base64_encoded as the base64 form of DER, several separated by commas (Traefik); or xfcc as Envoy's X-Forwarded-Client-Cert."`
	TrustedIPs []string `config:"trusted_ips" required:"true" len_min:"1" doc:"Addresses and networks of the load balancers, such as 10.0.0.0/8, that replace or remove the header of every client. From any other peer the header counts for nothing. A certificate that a load balancer itself shows never counts as a client's."`
}

const (
	rfc9440     = "rfc9440"
	chainHeader = "Client-Cert-Chain"
)

var formats = map[string]func(string) ([]*x509.Certificate, error){
	rfc9440: clientcert.ByteSequence, "url_encoded": clientcert.EscapedPEM, "base64_encoded": clientcert.Base64List, "xfcc": clientcert.XFCC,
}

// Check reports what no single tag can say.
func (h *Header) Check(v section.Validator) {
	if h == nil {
		return
	}
	for i, text := range h.TrustedIPs {
		if network, err := setting.ParseNetwork(text); err != nil {
			v.Add(section.Item("client_certificate_header.trusted_ips", i), "%v", err)
		} else if network.Bits() == 0 {
			v.Add(section.Item("client_certificate_header.trusted_ips", i), "is every address: any client could show the certificate of another")
		}
	}
	if _, err := identity.New(identity.Options{Strip: []string{h.Name}}); err != nil {
		v.Add("client_certificate_header.certificate_header_name", "%v", err)
	}
}

// Names are those of the headers; none without the section.
func (h *Header) Names() []string {
	switch {
	case h == nil:
		return nil
	case h.hasChain():
		return []string{h.Name, chainHeader}
	}
	return []string{h.Name}
}

func (h *Header) hasChain() bool {
	return h.Format == rfc9440 && strings.EqualFold(h.Name, "Client-Cert")
}

// Reader reads the header.
type Reader struct {
	*Header
	trusted []netip.Prefix
}

// Reader is for all requests; nil without the section.
func (h *Header) Reader() *Reader {
	if h == nil {
		return nil
	}
	return &Reader{h, setting.ParseNetworks(h.TrustedIPs)}
}

// Tell has a request that came from a load balancer tell the certificate of the header,
// or that there is none. What the host knows of the connection is the load balancer's, then.
func (h *Reader) Tell(r *core.Request) {
	if h == nil {
		return
	}
	own := r.AskTLS
	r.AskTLS = func() (*core.ClientTLS, error) {
		switch trusted := setting.Within(h.trusted, r.PeerAddr()); {
		case trusted:
			return h.read(r)
		case own == nil:
			return &core.ClientTLS{}, nil // past the load balancers, and without a certificate that anybody has seen
		}
		return own()
	}
}

// read is what the load balancer says. What is repeated or cannot be read is refused.
func (h *Header) read(r *core.Request) (*core.ClientTLS, error) {
	chain, err := h.certificates(r, h.Name, formats[h.Format])
	if err != nil || !h.hasChain() {
		return &core.ClientTLS{Chain: chain}, err
	}
	rest, err := h.certificates(r, chainHeader, clientcert.ByteSequences)
	if err == nil {
		if chain, err = clientcert.WithChain(chain, rest); err != nil {
			err = fmt.Errorf("%w: %s: %w", core.ErrBadRequest, chainHeader, err)
		}
	}
	return &core.ClientTLS{Chain: chain}, err
}

func (h *Header) certificates(r *core.Request, name string, parse func(string) ([]*x509.Certificate, error)) ([]*x509.Certificate, error) {
	value, lines := r.Lookup(name)
	if lines > 1 || slices.ContainsFunc(r.Header, func(other core.Header) bool { return alike(name, other.Name) }) {
		return nil, fmt.Errorf("%w: %s is repeated", core.ErrBadRequest, name)
	}
	if value == "" {
		return nil, nil
	}
	chain, err := parse(value)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", core.ErrBadRequest, name, err)
	}
	return chain, nil
}

// alike reports whether a name is read as another by upstreams and by load balancers that
// take "_" for "-", and is not the same: of the two, one is the client's.
func alike(name, other string) bool {
	return !strings.EqualFold(name, other) && strings.EqualFold(name, strings.ReplaceAll(other, "_", "-"))
}
