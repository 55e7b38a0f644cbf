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
	if err := agree(certificate != "", verify); err != nil {
		return nil, err
	}
	if certificate == "" {
		return &core.ClientTLS{}, nil
	}
	chain, err := parsePEM(certificate)
	if err != nil {
		return nil, err
	}
	return &core.ClientTLS{Chain: chain, Verified: verify == verifySuccess}, nil
}

// Values of $ssl_client_verify; any other says FAILED and why.
const (
	verifySuccess = "SUCCESS"
	verifyNone    = "NONE"
)

// agree refuses a certificate beside the result that there is none, and the other way
// round: one of the two is not the gateway's.
func agree(certificate bool, verify string) error {
	switch {
	case certificate && verify == verifyNone:
		return errors.New("there is a client's certificate, and $ssl_client_verify says that there is none")
	case !certificate && verify != "" && verify != verifyNone:
		return errors.New("$ssl_client_verify tells of a client's certificate, which is not passed on")
	}
	return nil
}

// Verified reports what a proxy says of a certificate that it passes on in a header and
// of its verification in another, as nginx can. A result that does not go with the
// certificate is an error.
func Verified(certificate, verify string) (bool, error) {
	if certificate != "" && verify == "" {
		return false, errors.New("there is a client's certificate, and not whether it was verified")
	}
	return verify == verifySuccess, agree(certificate != "", verify)
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
			return nil, errLongChain
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the client's certificate is empty")
	}
	return all, nil
}

// parseBase64 reads one certificate, the base64 form of its DER encoding.
func parseBase64(text string) (*x509.Certificate, error) {
	der, err := decodeBase64(text)
	if err != nil {
		return nil, err
	}
	return parse(der)
}

func decodeBase64(text string) ([]byte, error) {
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
	return der, nil
}

func parse(der []byte) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the client's certificate: %w", err)
	}
	return c, nil
}

var errLongChain = fmt.Errorf("the client's chain has more than %d certificates", maxChain)

func tooLong(size int) error {
	return fmt.Errorf("the client's certificate has %d bytes, of which at most %d are read", size, maxSize)
}
