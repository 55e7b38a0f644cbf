package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"gatehouse/core/authn/jwt/strength"
)

// algorithms is the whole of what can ever be verified: each algorithm with
// the one type of key it goes with (RFC 7518 section 3.1, RFC 8037). All are
// signatures checked with a public key.
var algorithms = map[jwa.SignatureAlgorithm]func(crypto.PublicKey) bool{
	jwa.RS256: isRSA, jwa.RS384: isRSA, jwa.RS512: isRSA,
	jwa.PS256: isRSA, jwa.PS384: isRSA, jwa.PS512: isRSA,
	jwa.ES256: isECDSA(elliptic.P256()),
	jwa.ES384: isECDSA(elliptic.P384()),
	jwa.ES512: isECDSA(elliptic.P521()),
	jwa.EdDSA: isEd25519,
}

// verifierOf checks signatures with a public key.
func verifierOf(alg jwa.SignatureAlgorithm, public crypto.PublicKey) (func(signed, signature []byte) bool, error) {
	if hash, isPSS := pssHashes[alg]; isPSS {
		return pssVerifier(hash, public), nil
	}
	verifier, err := jws.NewVerifier(alg)
	if err != nil {
		return nil, err
	}
	return func(signed, signature []byte) bool { return verifier.Verify(signed, signature, public) == nil }, nil
}

var pssHashes = map[jwa.SignatureAlgorithm]crypto.Hash{jwa.PS256: crypto.SHA256, jwa.PS384: crypto.SHA384, jwa.PS512: crypto.SHA512}

// pssVerifier wants a salt of the length of the hash (RFC 7518 section 3.5).
func pssVerifier(hash crypto.Hash, public crypto.PublicKey) func(signed, signature []byte) bool {
	options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	return func(signed, signature []byte) bool {
		k, ok := public.(*rsa.PublicKey)
		if !ok {
			return false
		}
		h := hash.New()
		h.Write(signed)
		return rsa.VerifyPSS(k, hash, h.Sum(nil), signature, options) == nil
	}
}

// CanonicalAlgorithm gives an algorithm its one name here: Ed25519 is how RFC 9864
// calls EdDSA with the only curve that it is supported with.
func CanonicalAlgorithm(name string) string {
	if name == "Ed25519" {
		return jwa.EdDSA.String()
	}
	return name
}

// AlgorithmNames are those of all algorithms that can be verified, under all their names.
func AlgorithmNames() []string {
	names := []string{"Ed25519"}
	for alg := range algorithms {
		names = append(names, alg.String())
	}
	slices.Sort(names)
	return names
}

// IsAlgorithm reports whether an algorithm, by its canonical name, can be verified.
func IsAlgorithm(name string) bool {
	_, known := algorithms[jwa.SignatureAlgorithm(name)]
	return known
}

func isRSA(k crypto.PublicKey) bool     { _, ok := k.(*rsa.PublicKey); return ok }
func isEd25519(k crypto.PublicKey) bool { _, ok := k.(ed25519.PublicKey); return ok }

func isECDSA(curve elliptic.Curve) func(crypto.PublicKey) bool {
	return func(k crypto.PublicKey) bool {
		key, ok := k.(*ecdsa.PublicKey)
		return ok && key.Curve == curve
	}
}

// Key is one public key with the algorithms it may verify. Only what stands
// in verifiers can happen.
type Key struct {
	// ID is the key's name among those of its issuer; empty: it has none.
	ID        string
	public    crypto.PublicKey
	verifiers map[jwa.SignatureAlgorithm]func(signed, signature []byte) bool
}

// New binds a public key to the algorithms that its type, its own alg
// (empty for any) and the list of accepted ones all allow.
func New(id string, public crypto.PublicKey, own string, allowed []string) (*Key, error) {
	if err := strength.Check(public); err != nil {
		return nil, err
	}
	k := &Key{ID: id, public: public, verifiers: map[jwa.SignatureAlgorithm]func(signed, signature []byte) bool{}}
	for _, name := range allowed {
		alg := jwa.SignatureAlgorithm(CanonicalAlgorithm(name))
		fits, known := algorithms[alg]
		if !known || !fits(public) || own != "" && CanonicalAlgorithm(own) != alg.String() {
			continue
		}
		verifier, err := verifierOf(alg, public)
		if err != nil {
			return nil, err
		}
		k.verifiers[alg] = verifier
	}
	if len(k.verifiers) == 0 {
		return nil, errors.New("goes with none of the accepted algorithms")
	}
	return k, nil
}

// Algorithms are those that the key is bound to, sorted.
func (k *Key) Algorithms() []string {
	algs := make([]string, 0, len(k.verifiers))
	for alg := range k.verifiers {
		algs = append(algs, alg.String())
	}
	slices.Sort(algs)
	return algs
}

// Verifies reports whether the key is bound to an algorithm.
func (k *Key) Verifies(alg string) bool {
	_, bound := k.verifiers[jwa.SignatureAlgorithm(alg)]
	return bound
}

// Verify checks a signature; false for an algorithm the key is not bound to.
func (k *Key) Verify(alg string, signed, signature []byte) bool {
	holds, bound := k.verifiers[jwa.SignatureAlgorithm(alg)]
	return bound && holds(signed, signature)
}

// FromJWK reads a JSON Web Key (RFC 7517). Private and symmetric keys are refused:
// who publishes them has lost them.
func FromJWK(raw []byte, allowed []string) (*Key, error) {
	parsed, err := jwk.ParseKey(raw)
	if err != nil {
		return nil, errors.New("is not a key that can be read")
	}
	if use := parsed.KeyUsage(); use != "" && use != jwk.ForSignature.String() {
		return nil, fmt.Errorf("is for use %.20q, not for signatures", use)
	}
	if ops := parsed.KeyOps(); len(ops) > 0 && !slices.Contains(ops, jwk.KeyOpVerify) {
		return nil, errors.New("has key_ops without verify")
	}
	var public any
	if err := parsed.Raw(&public); err != nil {
		return nil, errors.New("is not a key that can be read")
	}
	switch public.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return nil, errors.New("is not a public key for signatures")
	}
	own := ""
	if alg := parsed.Algorithm(); alg != nil {
		own = alg.String()
	}
	return New(parsed.KeyID(), public, own, allowed)
}
