package jws

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
)

// Thumbprint is the key's JWK SHA-256 Thumbprint (RFC 7638) in base64url. It is made of
// the key itself: two ways to write one key have one thumbprint.
func (k *Key) Thumbprint() string {
	sum := sha256.Sum256([]byte(k.required()))
	return encode(sum[:])
}

// required are the members that a key of the type must have, in their one order and
// without white space (RFC 7638 section 3, RFC 8037 section 2).
func (k *Key) required() string {
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return `{"e":"` + encode(big.NewInt(int64(public.E)).Bytes()) + `","kty":"RSA","n":"` + encode(public.N.Bytes()) + `"}`
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 4, x and y, of one length (SEC 1 section 2.3.3)
		if err != nil {
			return "" // New admits points of the curve only
		}
		x, y := point[1:len(point)/2+1], point[len(point)/2+1:]
		return `{"crv":"` + public.Params().Name + `","kty":"EC","x":"` + encode(x) + `","y":"` + encode(y) + `"}`
	case ed25519.PublicKey:
		return `{"crv":"Ed25519","kty":"OKP","x":"` + encode(public) + `"}`
	}
	return "" // New admits no other
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
