package cache

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"

	"gatehouse/core"
)

// keyer derives cache keys: HMAC-SHA256 over everything a result depends on,
// under a secret of this process or of the nodes that share a store. A key
// therefore neither reveals a credential nor lets one be tested, and two that
// collide cannot be prepared.
type keyer struct {
	digest string
	macs   sync.Pool // of *macState
}

type macState struct {
	mac   hash.Hash
	input []byte
	sum   []byte
}

// newKeyer uses the secret, or where it is empty a random one.
func newKeyer(digest string, secret []byte) *keyer {
	if len(secret) == 0 {
		secret = make([]byte, sha256.Size)
		rand.Read(secret) // never fails: crypto/rand ends the process instead
	}
	k := &keyer{digest: digest}
	k.macs.New = func() any { return &macState{mac: hmac.New(sha256.New, secret)} }
	return k
}

// key writes each part with its length before it, so that no two different
// lists of parts are the same bytes.
func (k *keyer) key(c core.Credential) (key Key) {
	s := k.macs.Get().(*macState)
	defer k.macs.Put(s)
	s.input = s.input[:0]
	for _, part := range [...]string{k.digest, string(c.Place), c.Value} {
		s.input = binary.BigEndian.AppendUint64(s.input, uint64(len(part)))
		s.input = append(s.input, part...)
	}
	s.mac.Reset()
	s.mac.Write(s.input)
	s.sum = s.mac.Sum(s.sum[:0])
	clear(s.input) // a pool is no place for a credential
	return Key(s.sum)
}
