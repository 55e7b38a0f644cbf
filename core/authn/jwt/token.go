package jwt

import (
	"errors"
	"fmt"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jws"
)

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
	text, err := jws.DecodePart(payload)
	if err != nil {
		return fmt.Errorf("payload %w", err)
	}
	if t.claims, err = claims.Decode(text); err != nil {
		return fmt.Errorf("payload %w", err)
	}
	if t.signature, err = jws.DecodePart(signature); err != nil {
		return fmt.Errorf("signature %w", err)
	}
	return nil
}

// readHeader reads the JOSE header. jwk, jku, x5u and x5c are ignored: a token
// does not get to name its own key.
func (t *token) readHeader(part string) error {
	h, err := jws.ReadHeader(part)
	t.alg, t.typ, t.kid = h.Alg, h.Typ, h.KeyID
	return err
}
