// Package signing has the keys with which the gate signs the tokens that it mints:
// how they are read, which of them signs at a moment, and what others see of them.
package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"gatehouse/core/authn/jwt/strength"
)

// Algorithms are those of the keys, each of one type of key (RFC 7518 section 3.1,
// RFC 8037).
func Algorithms() []string { return []string{"ES256", "EdDSA", "RS256"} }

// rsaBits is the size of a new RSA key.
const rsaBits = 3072

// Key is a private key with its id. It does not change.
type Key struct {
	// ID is the kid.
	ID        string
	Algorithm string
	// Added is when the key was made; zero where it does not say.
	Added time.Time
	// Begins is when the key signs from, and Ends when nothing counts any more that it
	// has signed; zero: always and never.
	Begins, Ends time.Time

	private crypto.Signer
	signer  jws.Signer
	public  json.RawMessage
}

// Generate makes a key of an algorithm, whose id is its thumbprint (RFC 7638).
func Generate(algorithm string, now time.Time) (*Key, error) {
	private, err := generate(algorithm)
	if err != nil {
		return nil, err
	}
	return newKey(private, Key{Added: now})
}

func generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case "RS256":
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, fmt.Errorf("%q is not one of %s", algorithm, strings.Join(Algorithms(), ", "))
}

// algorithmOf is the one algorithm of a key: it is never chosen by anything else.
func algorithmOf(private crypto.Signer) (jwa.SignatureAlgorithm, error) {
	switch k := private.(type) {
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() {
			return "", errors.New("is not on the curve P-256 (ES256)")
		}
		return jwa.ES256, nil
	case ed25519.PrivateKey:
		return jwa.EdDSA, nil
	case *rsa.PrivateKey:
		return jwa.RS256, k.Validate()
	}
	return "", fmt.Errorf("is no private key for %s", strings.Join(Algorithms(), ", "))
}

// newKey completes what a key says of itself.
func newKey(private crypto.Signer, k Key) (*Key, error) {
	alg, err := algorithmOf(private)
	if err != nil {
		return nil, err
	}
	if k.Algorithm != "" && k.Algorithm != alg.String() {
		return nil, fmt.Errorf("is for %.20q, which its type is not for; want %s", k.Algorithm, alg)
	}
	if err := strength.Check(private.Public()); err != nil {
		return nil, err
	}
	k.Algorithm, k.private = alg.String(), private
	if k.signer, err = jws.NewSigner(alg); err != nil {
		return nil, err
	}
	if err := k.describe(); err != nil {
		return nil, err
	}
	return &k, k.test(alg)
}

// describe makes the public key that others get, and the id where there is none.
func (k *Key) describe() error {
	public, err := jwk.FromRaw(k.private.Public())
	if err != nil {
		return errors.New("has no public key")
	}
	if k.ID == "" {
		thumbprint, err := public.Thumbprint(crypto.SHA256)
		if err != nil {
			return errors.New("has no thumbprint")
		}
		k.ID = base64.RawURLEncoding.EncodeToString(thumbprint)
	}
	for name, value := range map[string]any{jwk.KeyIDKey: k.ID, jwk.AlgorithmKey: k.Algorithm, jwk.KeyUsageKey: "sig"} {
		if err := public.Set(name, value); err != nil {
			return fmt.Errorf("has an unusable %s", name)
		}
	}
	k.public, err = json.Marshal(public)
	return err
}

// test finds a private key that does not belong to its public one, as a key set can
// hold it: nothing that it signs would ever be accepted.
func (k *Key) test(alg jwa.SignatureAlgorithm) error {
	text := []byte("test")
	signature, err := k.signer.Sign(text, k.private)
	if err != nil {
		return errors.New("does not sign")
	}
	verifier, err := jws.NewVerifier(alg)
	if err != nil || verifier.Verify(text, signature, k.private.Public()) != nil {
		return errors.New("has a public key that is not that of its private key")
	}
	return nil
}

// Sign makes a JWS in compact form (RFC 7515 section 7.1) of a payload that is JSON
// already.
func (k *Key) Sign(typ string, payload []byte) (string, error) {
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		Type      string `json:"typ"`
		ID        string `json:"kid"`
	}{k.Algorithm, typ, k.ID})
	if err != nil {
		return "", err
	}
	encoding := base64.RawURLEncoding
	signed := encoding.AppendEncode(nil, header)
	signed = append(signed, '.')
	signed = encoding.AppendEncode(signed, payload)
	signature, err := k.signer.Sign(signed, k.private)
	if err != nil {
		return "", errors.New("the key does not sign")
	}
	return string(encoding.AppendEncode(append(signed, '.'), signature)), nil
}

// ended reports whether nothing that the key has signed counts any more.
func (k *Key) ended(now time.Time) bool { return !k.Ends.IsZero() && !k.Ends.After(now) }

// signs reports whether the key may sign.
func (k *Key) signs(now time.Time) bool { return !k.Begins.After(now) && !k.ended(now) }
