// Package keyedhash names what is secret or chosen by a client: the name neither
// reveals it nor lets it be tested, and two that collide cannot be prepared.
package keyedhash

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// Size is that of a sum, in bytes.
const Size = sha256.Size

// Hash is HMAC-SHA256 over lists of texts, under a secret. It is safe for
// concurrent use.
type Hash struct {
	states sync.Pool // of *state
}

type state struct {
	mac   hash.Hash
	input []byte
	sum   []byte
}

// New uses the secret, or where it is empty a random one of this process.
func New(secret []byte) *Hash {
	if len(secret) == 0 {
		secret = make([]byte, Size)
		rand.Read(secret) // never fails: crypto/rand ends the process instead
	}
	h := &Hash{}
	h.states.New = func() any { return &state{mac: hmac.New(sha256.New, secret)} }
	return h
}

// Sum writes each part with its length before it, so that no two different lists
// of parts are the same bytes.
func (h *Hash) Sum(parts ...string) [Size]byte {
	s := h.states.Get().(*state)
	defer h.states.Put(s)
	s.input = s.input[:0]
	for _, part := range parts {
		s.input = binary.BigEndian.AppendUint64(s.input, uint64(len(part)))
		s.input = append(s.input, part...)
	}
	s.mac.Reset()
	s.mac.Write(s.input)
	s.sum = s.mac.Sum(s.sum[:0])
	clear(s.input) // a pool is no place for a credential
	return [Size]byte(s.sum)
}
