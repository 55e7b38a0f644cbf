package sharedcache

import (
	"crypto/rand"

	"gatehouse/core/fleet/seal"
	"gatehouse/core/keyedhash"
)

// keyring is what is derived of one secret.
type keyring struct {
	*keyedhash.Hash
	box *seal.Box
}

func newKeyring(secret string) (*keyring, error) {
	mac, err := seal.Key(secret, "gatehouse cache key")
	if err != nil {
		return nil, err
	}
	box, err := seal.New("gatehouse cache value", secret)
	return &keyring{keyedhash.New(mac), box}, err
}

// newToken names the holder of a claim.
func newToken() string { return rand.Text() }
