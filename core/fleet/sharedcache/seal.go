package sharedcache

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"gatehouse/core/keyedhash"
)

// MinSecret is the least length of a secret, in bytes.
const MinSecret = 32

// keyring is what is derived of one secret.
type keyring struct {
	*keyedhash.Hash
	aead cipher.AEAD
}

func newKeyring(secret string) (*keyring, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("has %d bytes; want at least %d, such as of openssl rand -base64 32", len(secret), MinSecret)
	}
	mac, err := hkdf.Key(sha256.New, []byte(secret), nil, "gatehouse cache key", sha256.Size)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "gatehouse cache value", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &keyring{keyedhash.New(mac), aead}, err
}

// seal encrypts a value and binds it to its name: a value that somebody has copied
// to another name does not open there.
func (k *keyring) seal(name, plain []byte) []byte { return k.aead.Seal(nil, nil, plain, name) }

var errSealed = errors.New("the value does not open: it was written with another secret or by somebody else")

func (k *keyring) open(name, sealed []byte) ([]byte, error) {
	plain, err := k.aead.Open(nil, nil, sealed, name)
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

// newToken names the holder of a claim.
func newToken() string { return rand.Text() }
