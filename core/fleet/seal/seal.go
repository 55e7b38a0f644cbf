// Package seal encrypts what the nodes of a fleet leave with a store that they do not
// trust, and derives keys of the secret that they share.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
)

// MinSecret is the least length of a secret, in bytes.
const MinSecret = 32

// KeySize is the length of a derived key, in bytes.
const KeySize = 32

// Key derives a key of a secret for one purpose, which the label names.
func Key(secret, label string) ([]byte, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("has %d bytes; want at least %d, such as of openssl rand -base64 32", len(secret), MinSecret)
	}
	return hkdf.Key(sha256.New, []byte(secret), nil, label, KeySize)
}

// Box seals values for one purpose with a secret, and opens what was sealed with it or
// with one of several others.
type Box struct{ ciphers []cipher.AEAD }

// New makes a box. The first secret seals, all of them open, so that a secret can be
// changed node by node.
func New(label string, secrets ...string) (*Box, error) {
	if len(secrets) == 0 {
		return nil, errors.New("want a secret")
	}
	b := &Box{}
	for i, secret := range secrets {
		c, err := newCipher(secret, label)
		if err != nil {
			return nil, fmt.Errorf("secret %d %w", i+1, err)
		}
		b.ciphers = append(b.ciphers, c)
	}
	return b, nil
}

func newCipher(secret, label string) (cipher.AEAD, error) {
	key, err := Key(secret, label)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Seal encrypts a value and binds it to its name: a value that somebody has copied to
// another name does not open there.
func (b *Box) Seal(name, plain []byte) []byte { return b.ciphers[0].Seal(nil, nil, plain, name) }

// As is the box that seals with the secret of a value, which whoever has written the
// value opens. Where it does not open, it is the box itself.
func (b *Box) As(name, sealed []byte) *Box {
	for _, c := range b.ciphers {
		if _, err := c.Open(nil, nil, sealed, name); err == nil {
			return &Box{[]cipher.AEAD{c}}
		}
	}
	return b
}

// ErrSealed is of a value that does not open.
var ErrSealed = errors.New("the value does not open: it was written with another secret or by somebody else")

// Open decrypts the value of a name.
func (b *Box) Open(name, sealed []byte) ([]byte, error) {
	for _, c := range b.ciphers {
		if plain, err := c.Open(nil, nil, sealed, name); err == nil {
			return plain, nil
		}
	}
	return nil, ErrSealed
}
