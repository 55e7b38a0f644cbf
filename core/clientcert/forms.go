package clientcert

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

func chainOf(c *x509.Certificate, err error) ([]*x509.Certificate, error) {
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{c}, nil
}

// ByteSequence reads the item of RFC 9440 section 2.1, a byte sequence of RFC 8941.
// An empty one is what a proxy writes that fills in a template without a certificate.
func ByteSequence(value string) ([]*x509.Certificate, error) {
	inner, opened := strings.CutPrefix(strings.TrimSpace(value), ":")
	inner, closed := strings.CutSuffix(inner, ":")
	if !opened || !closed {
		return nil, errors.New("is not base64 between colons (RFC 9440 section 2.1)")
	}
	if inner == "" {
		return nil, nil
	}
	return chainOf(parseBase64(inner))
}

// ByteSequences reads the list of RFC 9440 section 2.2: the chain without the client's own
// certificate. An item may hold several certificates, one behind the other, as HAProxy's
// ssl_c_chain_der has them. An empty item is what a template makes of no chain.
func ByteSequences(value string) ([]*x509.Certificate, error) {
	if len(value) > maxChain*maxSize {
		return nil, tooLong(len(value))
	}
	var chain []*x509.Certificate
	for item := range strings.SplitSeq(value, ",") {
		inner, opened := strings.CutPrefix(strings.Trim(item, " \t"), ":")
		inner, closed := strings.CutSuffix(inner, ":")
		if !opened || !closed {
			return nil, errors.New("is not a list of base64 between colons (RFC 9440 section 2.2)")
		}
		der, err := decodeBase64(inner)
		if err != nil {
			return nil, err
		}
		all, err := x509.ParseCertificates(der)
		if err != nil {
			return nil, fmt.Errorf("the client's chain: %w", err)
		}
		if chain = append(chain, all...); len(chain) > maxChain {
			return nil, errLongChain
		}
	}
	return chain, nil
}

// WithChain puts the certificates of a chain behind the client's own. They prove nothing:
// whoever verifies needs them to find an authority.
func WithChain(own, chain []*x509.Certificate) ([]*x509.Certificate, error) {
	switch {
	case len(chain) == 0:
		return own, nil
	case len(own) != 1:
		return nil, errors.New("there is a client's chain, and no certificate")
	case chain[0].Equal(own[0]): // some have it in the chain, too
		return chain, nil
	case len(chain) == maxChain:
		return nil, errLongChain
	}
	return append(own, chain...), nil
}

// EscapedPEM reads PEM with the escapes of a URL, in which nginx and Envoy write it.
func EscapedPEM(value string) ([]*x509.Certificate, error) {
	text, err := url.PathUnescape(value) // in which "+" is a plus
	if err != nil {
		return nil, errors.New("is not PEM with the escapes of a URL")
	}
	return parsePEM(text)
}

// Base64List reads the chain as Traefik writes it: PEM without its first and last
// lines and without line breaks, separated by commas.
func Base64List(value string) ([]*x509.Certificate, error) {
	texts := strings.Split(value, ",")
	if len(texts) > maxChain {
		return nil, errLongChain
	}
	chain := make([]*x509.Certificate, len(texts))
	for i, text := range texts {
		var err error
		if chain[i], err = parseBase64(text); err != nil {
			return nil, err
		}
	}
	return chain, nil
}

// XFCC reads the certificate, and the chain where there is one, out of Envoy's X-Forwarded-Client-Cert, a list of
// elements of key=value pairs. A second element would come from a proxy in front of
// Envoy, or from the client.
func XFCC(value string) ([]*x509.Certificate, error) {
	var cert, chain []*x509.Certificate
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
		into := &cert
		switch {
		case strings.EqualFold(key, "Chain"):
			into = &chain
		case !strings.EqualFold(key, "Cert"):
			continue
		}
		if *into != nil {
			return nil, fmt.Errorf("has %s twice", key)
		}
		if *into, err = EscapedPEM(strings.Trim(quoted, `"`)); err != nil {
			return nil, err
		}
	}
	switch {
	case cert == nil && chain == nil:
		return nil, errors.New("has no Cert; Envoy's set_current_client_cert_details must say cert: true")
	case len(cert) > 1 || cert != nil && chain != nil && !cert[0].Equal(chain[0]):
		return nil, errors.New("has a Cert that is more than one certificate, or another than the first of Chain")
	case chain != nil:
		return chain, nil // with the client's own
	}
	return cert, nil
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
