// Package strength tells public keys that prove nothing from those that do. It
// refuses no algorithm.
package strength

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
)

const (
	minRSABits = 2048 // RFC 7518 section 3.3
	maxRSABits = 8192 // one check of a larger key costs milliseconds
)

// Check refuses keys that prove nothing, cost too much or make the
// check itself panic.
func Check(public crypto.PublicKey) error {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("is an RSA key of %d bits, which is not between %d and %d", bits, minRSABits, maxRSABits)
		}
		if k.E < 3 || k.E&1 == 0 {
			return errors.New("is an RSA key with an exponent that is even or below 3")
		}
		return checkRSA(k)
	case *ecdsa.PublicKey:
		if _, err := k.ECDH(); err != nil {
			return errors.New("is a point that does not lie on its curve")
		}
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("is an Ed25519 key of %d bytes instead of %d", len(k), ed25519.PublicKeySize)
		}
		return checkEd25519(k)
	default:
		return fmt.Errorf("is of an unsupported type")
	}
	return nil
}
