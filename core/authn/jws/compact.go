package jws

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"gatehouse/core/authn/claims"
)

// maxHeaderBytes is the longest header that is looked at: it may carry a certificate
// chain.
const maxHeaderBytes = 8 << 10

// DecodePart reads base64url in its one canonical form: no padding, no line
// breaks (which the decoder skips) and no stray bits at the end. Two texts
// that decode alike would be one token with two cache entries.
func DecodePart(part string) ([]byte, error) {
	if part == "" {
		return nil, errors.New("is empty")
	}
	if strings.ContainsAny(part, "\r\n") {
		return nil, errors.New("is not base64url")
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, errors.New("is not base64url")
	}
	return data, nil
}

// Header is a JOSE header.
type Header struct {
	// Alg by its canonical name, and Typ and KeyID, empty where absent.
	Alg, Typ, KeyID string
	// Members are all that it has.
	Members claims.Set
}

// ReadHeader reads a JOSE header. Beside an error, it is what was read before it.
func ReadHeader(part string) (h Header, err error) {
	if len(part) > maxHeaderBytes {
		return h, fmt.Errorf("is longer than %d bytes", maxHeaderBytes)
	}
	data, err := DecodePart(part)
	if err != nil {
		return h, err
	}
	if h.Members, err = claims.Decode(data); err != nil {
		return h, err
	}
	if h.Alg, err = h.Members.Text("alg"); err != nil {
		return h, err
	}
	if h.Alg = CanonicalAlgorithm(h.Alg); h.Alg == "" {
		return h, errors.New("has no alg")
	}
	if h.Typ, err = h.Members.Text("typ"); err != nil {
		return h, err
	}
	if h.KeyID, err = h.Members.Text("kid"); err != nil {
		return h, err
	}
	// crit asks for extensions that must be understood, and none is; b64
	// (RFC 7797) and zip change what the payload is; cty marks a nested token.
	for _, name := range []string{"crit", "b64", "zip", "cty"} {
		if _, present := h.Members[name]; present {
			return h, fmt.Errorf("has %s, which is not supported", name)
		}
	}
	return h, nil
}
