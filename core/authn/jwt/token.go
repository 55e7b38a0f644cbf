package jwt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
)

const maxHeaderBytes = 8 << 10 // a header may carry a certificate chain, which is not looked at

// token is a JWS in compact form (RFC 7515 section 7.1), taken apart and not
// yet believed.
type token struct {
	typ, alg, kid string
	claims        claims.Set
	signed        []byte // header and payload exactly as they arrived
	signature     []byte
}

// parse takes a token apart. Its errors never quote the token.
func parse(text string) (*token, error) {
	if len(text) > core.MaxCredential {
		return nil, fmt.Errorf("is longer than %d bytes", core.MaxCredential)
	}
	parts := strings.SplitN(text, ".", 6)
	if len(parts) == 5 {
		return nil, errors.New("is encrypted (JWE), which is not supported")
	}
	if len(parts) != 3 {
		return nil, errors.New("is not a JWT: it has not three parts")
	}
	t := &token{signed: []byte(text[:len(parts[0])+1+len(parts[1])])}
	if err := t.readHeader(parts[0]); err != nil {
		return nil, fmt.Errorf("header %w", err)
	}
	payload, err := decodePart(parts[1])
	if err != nil {
		return nil, fmt.Errorf("payload %w", err)
	}
	if t.claims, err = claims.Decode(payload); err != nil {
		return nil, fmt.Errorf("payload %w", err)
	}
	if t.signature, err = decodePart(parts[2]); err != nil {
		return nil, fmt.Errorf("signature %w", err)
	}
	return t, nil
}

// decodePart reads base64url in its one canonical form: no padding, no line
// breaks (which the decoder skips) and no stray bits at the end. Two texts
// that decode alike would be one token with two cache entries.
func decodePart(part string) ([]byte, error) {
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

// readHeader reads the JOSE header. jwk, jku, x5u and x5c are ignored: a token
// does not get to name its own key.
func (t *token) readHeader(part string) error {
	if len(part) > maxHeaderBytes {
		return fmt.Errorf("is longer than %d bytes", maxHeaderBytes)
	}
	data, err := decodePart(part)
	if err != nil {
		return err
	}
	header, err := claims.Decode(data)
	if err != nil {
		return err
	}
	// crit asks for extensions that must be understood, and none is; b64
	// (RFC 7797) and zip change what the payload is; cty marks a nested token.
	for _, name := range []string{"crit", "b64", "zip", "cty"} {
		if _, present := header[name]; present {
			return fmt.Errorf("has %s, which is not supported", name)
		}
	}
	fields := claims.Set(header)
	for name, to := range map[string]*string{"alg": &t.alg, "typ": &t.typ, "kid": &t.kid} {
		if *to, err = fields.Text(name); err != nil {
			return err
		}
	}
	if t.alg == "" {
		return errors.New("has no alg")
	}
	return nil
}
