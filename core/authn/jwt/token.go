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

// token is a JWS in compact form (RFC 7515 section 7.1), parsed once and not yet
// verified.
type token struct {
	typ, alg, kid string
	claims        claims.Set
	signed        []byte // header and payload exactly as they arrived
	signature     []byte
	// err says why the token is refused whatever its signature is.
	err error
}

// String describes the token for an error, by its unverified issuer.
func (t *token) String() string {
	if issuer := t.issuer(); issuer != "" {
		return fmt.Sprintf("a JWT of issuer %.200q", issuer)
	}
	return "a JWT that names no issuer"
}

// issuer is what the token claims to be from, which is not verified: good for
// choosing who verifies it and for nothing else.
func (t *token) issuer() string {
	issuer, _ := t.claims.Text("iss")
	return issuer
}

// parse takes a token apart. isJWT tells whether it has the form of one; a token
// that has it may still hold an error. Errors never quote the token.
func parse(text string) (t *token, isJWT bool) {
	t = &token{}
	if len(text) > core.MaxCredential {
		t.err = fmt.Errorf("is longer than %d bytes", core.MaxCredential)
		return t, false
	}
	parts := strings.SplitN(text, ".", 6)
	switch {
	case len(parts) == 5:
		t.err = errors.New("is encrypted (JWE), which is not supported")
		return t, false
	case len(parts) != 3 || parts[2] == "":
		t.err = errors.New("is not a JWT: it has not three parts")
		return t, false
	}
	t.signed = []byte(text[:len(parts[0])+1+len(parts[1])])
	if err := t.readHeader(parts[0]); err != nil {
		t.err = fmt.Errorf("header %w", err)
	}
	if t.alg == "" {
		return t, false
	}
	if err := t.readBody(parts[1], parts[2]); err != nil && t.err == nil {
		t.err = err
	}
	return t, true
}

func (t *token) readBody(payload, signature string) error {
	text, err := decodePart(payload)
	if err != nil {
		return fmt.Errorf("payload %w", err)
	}
	if t.claims, err = claims.Decode(text); err != nil {
		return fmt.Errorf("payload %w", err)
	}
	if t.signature, err = decodePart(signature); err != nil {
		return fmt.Errorf("signature %w", err)
	}
	return nil
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
	fields := claims.Set(header)
	if t.alg, err = fields.Text("alg"); err != nil {
		return err
	}
	if t.alg = canonicalAlgorithm(t.alg); t.alg == "" {
		return errors.New("has no alg")
	}
	if t.typ, err = fields.Text("typ"); err != nil {
		return err
	}
	if t.kid, err = fields.Text("kid"); err != nil {
		return err
	}
	// crit asks for extensions that must be understood, and none is; b64
	// (RFC 7797) and zip change what the payload is; cty marks a nested token.
	for _, name := range []string{"crit", "b64", "zip", "cty"} {
		if _, present := header[name]; present {
			return fmt.Errorf("has %s, which is not supported", name)
		}
	}
	return nil
}
