package dpop

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jws"
)

const (
	// Header holds the proof, on one line.
	Header = "DPoP"
	// MaxProof is the longest proof that is looked at, in bytes: more than one with an
	// RSA key of 8192 bits has, which is in it in base64 of base64.
	MaxProof = 8 << 10
	// proofType is the typ of a proof (RFC 9449 section 4.2).
	proofType = "dpop+jwt"
)

// Proof is a DPoP proof whose signature holds with the key that it brings.
type Proof struct {
	// Thumbprint is that of the key (RFC 7638), in base64url.
	Thumbprint string
	// ID names the proof (jti).
	ID string
	// Method and URI are of the request that it was made for (htm, htu).
	Method, URI string
	// IssuedAt is when it was made, by the clock of the client (iat).
	IssuedAt time.Time
	// TokenHash is the hash of the access token that it goes with (ath); empty: of none.
	TokenHash string
	// Nonce is one that the gate gave out; empty: none.
	Nonce string
}

// Parse reads a proof and checks what can be checked of it alone (RFC 9449 section 4.3,
// checks 2 to 7): its form, the claims that it must have, its type, its algorithm, which
// must be one of the accepted ones, its key, which must be a public one, and its
// signature. An error never quotes more of it than names.
func Parse(text string, algorithms []string) (*Proof, error) {
	proof, _, err := parse(text, func(header string) (*signer, error) { return signerOf(header, algorithms) })
	return proof, err
}

// signer is who signs proofs, as their header has it.
type signer struct {
	header     string
	alg        string
	key        *jws.Key
	thumbprint string
}

// parse is Parse with what finds a signer by a header.
func parse(text string, find func(header string) (*signer, error)) (*Proof, *signer, error) {
	if len(text) > MaxProof {
		return nil, nil, fmt.Errorf("is longer than %d bytes", MaxProof)
	}
	parts := strings.SplitN(text, ".", 4)
	if len(parts) != 3 {
		return nil, nil, errors.New("is not a signed JWT: it has not three parts")
	}
	by, err := find(parts[0])
	if err != nil {
		return nil, nil, fmt.Errorf("header %w", err)
	}
	payload, err := jws.DecodePart(parts[1])
	if err != nil {
		return nil, nil, fmt.Errorf("payload %w", err)
	}
	signature, err := jws.DecodePart(parts[2])
	if err != nil {
		return nil, nil, fmt.Errorf("signature %w", err)
	}
	proof := &Proof{Thumbprint: by.thumbprint}
	if err := proof.read(payload); err != nil {
		return nil, nil, fmt.Errorf("payload %w", err)
	}
	if signed := text[:len(parts[0])+1+len(parts[1])]; !by.key.Verify(by.alg, []byte(signed), signature) {
		return nil, nil, errors.New("has a signature that does not hold with its own key")
	}
	return proof, by, nil
}

func signerOf(header string, algorithms []string) (*signer, error) {
	h, err := jws.ReadHeader(header)
	if err != nil {
		return nil, err
	}
	key, err := keyOf(h, algorithms)
	if err != nil {
		return nil, err
	}
	return &signer{header, h.Alg, key, key.Thumbprint()}, nil
}

// secret are the members of private and of symmetric keys (RFC 7518 section 6).
var secret = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// keyOf is the public key that a proof brings.
func keyOf(h jws.Header, algorithms []string) (*jws.Key, error) {
	if !strings.EqualFold(h.Typ, proofType) {
		return nil, fmt.Errorf("has typ %.40q, not %s", h.Typ, proofType)
	}
	if !slices.ContainsFunc(algorithms, func(accepted string) bool { return jws.CanonicalAlgorithm(accepted) == h.Alg }) {
		return nil, fmt.Errorf("has alg %.20q; accepted are %s", h.Alg, strings.Join(algorithms, ", "))
	}
	members, isObject := h.Members["jwk"].(map[string]any)
	if !isObject {
		return nil, errors.New("has no jwk that is an object")
	}
	for _, name := range secret {
		if _, present := members[name]; present {
			return nil, fmt.Errorf("has a jwk with the member %s, which is of a private or a symmetric key", name)
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		return nil, errors.New("has a jwk that is no key")
	}
	key, err := jws.FromJWK(text, []string{h.Alg})
	if err != nil {
		return nil, fmt.Errorf("has a jwk that %w", err)
	}
	return key, nil
}

// read takes the claims out of the payload.
func (p *Proof) read(payload []byte) error {
	decoded, err := claims.Decode(payload)
	if err != nil {
		return err
	}
	set := claims.Set(decoded)
	for _, claim := range []struct {
		name     string
		to       *string
		required bool
	}{
		{"jti", &p.ID, true}, {"htm", &p.Method, true}, {"htu", &p.URI, true}, {"ath", &p.TokenHash, false}, {"nonce", &p.Nonce, false},
	} {
		if *claim.to, err = set.Text(claim.name); err != nil {
			return err
		}
		if claim.required && *claim.to == "" {
			return fmt.Errorf("lacks %s", claim.name)
		}
	}
	issued, present, err := set.Time("iat")
	if err != nil {
		return err
	}
	if !present {
		return errors.New("lacks iat")
	}
	p.IssuedAt = issued
	return nil
}
