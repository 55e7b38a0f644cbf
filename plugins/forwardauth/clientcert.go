package main

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"

	"gatehouse/core"
	"gatehouse/core/clientcert"
)

// certificateHeader is where a proxy writes the client's certificate over whatever
// the client sent. It counts only at endpoints that have client_certificate: at
// others it is the client's own header.
type certificateHeader struct {
	name string
	// parse reads the value, which is not empty. An empty chain is a client
	// without a certificate.
	parse func(value string) ([]*x509.Certificate, error)
	// verify is where the proxy writes the result of its verification, as nginx's
	// $ssl_client_verify. Empty: it refuses what it cannot verify, if its
	// configuration says that it verifies.
	verify string
	// chain is where the proxy may write the rest of the chain (RFC 9440 section 2.2).
	chain string
}

// names are the headers that describe the certificate.
func (c certificateHeader) names() []string {
	return slices.DeleteFunc([]string{c.name, c.verify, c.chain}, func(name string) bool { return name == "" })
}

// read returns what the proxy says of the client's certificate. A header that is
// repeated or that cannot be read is an error and never "no certificate".
func (c certificateHeader) read(h http.Header, verified bool) (*core.ClientTLS, error) {
	value, err := atMostOnce(h, c.name)
	if err != nil {
		return nil, err
	}
	if c.verify != "" {
		result, err := atMostOnce(h, c.verify)
		if err != nil {
			return nil, err
		}
		success, err := clientcert.Verified(value, result)
		if err != nil {
			return nil, fmt.Errorf("%w: %s, %s: %w", core.ErrBadRequest, c.name, c.verify, err)
		}
		verified = verified && success
	}
	chain, err := c.certificates(h, value)
	if err != nil {
		return nil, err
	}
	return &core.ClientTLS{Chain: chain, Verified: verified && len(chain) > 0}, nil
}

// certificates are the client's own, and those of the chain behind it.
func (c certificateHeader) certificates(h http.Header, value string) (own []*x509.Certificate, err error) {
	if value != "" {
		if own, err = c.parse(value); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", core.ErrBadRequest, c.name, err)
		}
	}
	list, err := atMostOnce(h, c.chain)
	if err != nil || list == "" {
		return own, err
	}
	chain, err := clientcert.ByteSequences(list)
	if err == nil {
		own, err = clientcert.WithChain(own, chain)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", core.ErrBadRequest, c.chain, err)
	}
	return own, nil
}

// atMostOnce returns the value of a header that may be absent.
func atMostOnce(h http.Header, name string) (string, error) {
	switch values := h[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", fmt.Errorf("%w: %s is repeated", core.ErrBadRequest, name)
}

// The forms of the proxies.
var (
	// rfc9440 is for proxies that can write any header.
	rfc9440 = certificateHeader{name: "Client-Cert", parse: clientcert.ByteSequence, chain: "Client-Cert-Chain"}
	// sslVariables are $ssl_client_escaped_cert and $ssl_client_verify of nginx.
	sslVariables = certificateHeader{name: "X-Ssl-Client-Cert", parse: clientcert.EscapedPEM, verify: "X-Ssl-Client-Verify"}
	// passTLSClientCert is what Traefik's middleware of this name writes.
	passTLSClientCert = certificateHeader{name: "X-Forwarded-Tls-Client-Cert", parse: clientcert.Base64List}
	// forwardedClientCert is Envoy's.
	forwardedClientCert = certificateHeader{name: "X-Forwarded-Client-Cert", parse: clientcert.XFCC}
)
