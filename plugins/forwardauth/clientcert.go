package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/core"
	"gatehouse/internal/clientcert"
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
}

// names are the headers that describe the certificate.
func (c certificateHeader) names() []string {
	if c.verify == "" {
		return []string{c.name}
	}
	return []string{c.name, c.verify}
}

// read returns what the proxy says of the client's certificate. A header that is
// repeated or that cannot be read is an error and never "no certificate".
func (c certificateHeader) read(h http.Header, verified bool) (*core.ClientTLS, error) {
	value, err := atMostOnce(h, c.name)
	if err != nil {
		return nil, err
	}
	if c.verify != "" {
		result, err := once(h, c.verify)
		if err != nil {
			return nil, err
		}
		verified = verified && result == "SUCCESS"
	}
	if value == "" {
		return &core.ClientTLS{}, nil
	}
	chain, err := c.parse(value)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", core.ErrBadRequest, c.name, err)
	}
	return &core.ClientTLS{Chain: chain, Verified: verified && len(chain) > 0}, nil
}

// atMostOnce returns the value of a header that may be absent.
func atMostOnce(h http.Header, name string) (string, error) {
	switch values := h.Values(name); len(values) {
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
	rfc9440 = certificateHeader{name: "Client-Cert", parse: byteSequence}
	// sslVariables are $ssl_client_escaped_cert and $ssl_client_verify of nginx.
	sslVariables = certificateHeader{name: "X-Ssl-Client-Cert", parse: escapedPEM, verify: "X-Ssl-Client-Verify"}
	// passTLSClientCert is what Traefik's middleware of this name writes.
	passTLSClientCert = certificateHeader{name: "X-Forwarded-Tls-Client-Cert", parse: base64List}
	// forwardedClientCert is Envoy's.
	forwardedClientCert = certificateHeader{name: "X-Forwarded-Client-Cert", parse: certOfXFCC}
)

func one(c *x509.Certificate, err error) ([]*x509.Certificate, error) {
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{c}, nil
}

// byteSequence reads the item of RFC 9440 section 2.1, a byte sequence of RFC 8941.
// An empty one is what a proxy writes that fills in a template without a certificate.
func byteSequence(value string) ([]*x509.Certificate, error) {
	inner, opened := strings.CutPrefix(strings.TrimSpace(value), ":")
	inner, closed := strings.CutSuffix(inner, ":")
	if !opened || !closed {
		return nil, errors.New("is not base64 between colons (RFC 9440 section 2.1)")
	}
	if inner == "" {
		return nil, nil
	}
	return one(clientcert.Base64(inner))
}

// escapedPEM reads PEM with the escapes of a URL, in which nginx and Envoy write it.
func escapedPEM(value string) ([]*x509.Certificate, error) {
	text, err := url.PathUnescape(value) // in which "+" is a plus
	if err != nil {
		return nil, errors.New("is not PEM with the escapes of a URL")
	}
	return clientcert.PEM(text)
}

// base64List reads the chain as Traefik writes it: PEM without its first and last
// lines and without line breaks, separated by commas.
func base64List(value string) ([]*x509.Certificate, error) {
	texts := strings.Split(value, ",")
	if len(texts) > clientcert.MaxChain {
		return nil, fmt.Errorf("has more than %d certificates", clientcert.MaxChain)
	}
	chain := make([]*x509.Certificate, len(texts))
	for i, text := range texts {
		var err error
		if chain[i], err = clientcert.Base64(text); err != nil {
			return nil, err
		}
	}
	return chain, nil
}

// certOfXFCC reads the certificate out of Envoy's X-Forwarded-Client-Cert, a list of
// elements of key=value pairs. A second element would come from a proxy in front of
// Envoy, or from the client.
func certOfXFCC(value string) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for rest := value; rest != ""; {
		pair, separator, behind, err := cutPair(rest)
		if err != nil {
			return nil, err
		}
		if separator == ',' {
			return nil, errors.New("has more than one element; Envoy must sanitize and set it")
		}
		rest = behind
		key, quoted, _ := strings.Cut(pair, "=")
		if !strings.EqualFold(key, "Cert") {
			continue
		}
		if chain != nil {
			return nil, errors.New("has Cert twice")
		}
		if chain, err = escapedPEM(strings.Trim(quoted, `"`)); err != nil {
			return nil, err
		}
	}
	if chain == nil {
		return nil, errors.New("has no Cert; Envoy's set_current_client_cert_details must say cert: true")
	}
	return chain, nil
}

// cutPair splits off the text before the first separator that is not in quotes.
func cutPair(text string) (pair string, separator byte, rest string, err error) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case (c == ';' || c == ',') && !quoted:
			return text[:i], c, text[i+1:], nil
		}
	}
	if quoted {
		return "", 0, "", errors.New("has a quote that does not end")
	}
	return text, 0, "", nil
}
