// Package clientcert reads client certificates in the forms in which gateways and
// proxies pass them on.
package clientcert

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"gatehouse/core"
)

// Bounds of what is parsed. What a gateway passes on has passed its own limits of a
// TLS handshake, but a proxy can be configured to pass on a client's header.
const (
	maxSize  = 64 << 10
	maxChain = 10
)

// FromNGINX is what $ssl_client_raw_cert and $ssl_client_verify hold, in nginx and
// in the gateways that are built on it.
func FromNGINX(certificate, verify string) (*core.ClientTLS, error) {
	verified := verify == "SUCCESS"
	if certificate == "" {
		if verified {
			return nil, errors.New("the client's certificate is verified and not passed on")
		}
		return &core.ClientTLS{}, nil
	}
	chain, err := parsePEM(certificate)
	if err != nil {
		return nil, err
	}
	return &core.ClientTLS{Chain: chain, Verified: verified}, nil
}

// parsePEM reads one or more certificates, and nothing else beside them.
func parsePEM(text string) ([]*x509.Certificate, error) {
	if len(text) > maxSize {
		return nil, tooLong(len(text))
	}
	var all []*x509.Certificate
	for rest := bytes.TrimSpace([]byte(text)); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if !bytes.HasPrefix(rest, []byte("-----BEGIN ")) {
			return nil, errors.New("the client's certificate is not in PEM form")
		}
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return nil, errors.New("the client's certificate is not in PEM form, or cut short")
		}
		c, err := parse(block.Bytes)
		if err != nil {
			return nil, err
		}
		if all = append(all, c); len(all) > maxChain {
			return nil, fmt.Errorf("the client's chain has more than %d certificates", maxChain)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the client's certificate is empty")
	}
	return all, nil
}

// parseBase64 reads one certificate, the base64 form of its DER encoding.
func parseBase64(text string) (*x509.Certificate, error) {
	if len(text) > maxSize {
		return nil, tooLong(len(text))
	}
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("the client's certificate holds a line break")
	}
	der, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("the client's certificate is not in base64 form, or cut short")
	}
	return parse(der)
}

func parse(der []byte) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the client's certificate: %w", err)
	}
	return c, nil
}

func tooLong(size int) error {
	return fmt.Errorf("the client's certificate has %d bytes, of which at most %d are read", size, maxSize)
}
