package cache

import (
	"gatehouse/core"
	"gatehouse/core/keyedhash"
)

// keyer derives cache keys from everything a result depends on, under a secret of
// this process or of the nodes that share a store.
type keyer struct {
	digest string
	hash   *keyedhash.Hash
}

func (k *keyer) key(c core.Credential) Key {
	if c.Certificate {
		return k.hash.Sum(k.digest, string(c.Place), c.Value, "certificate")
	}
	return k.hash.Sum(k.digest, string(c.Place), c.Value)
}
