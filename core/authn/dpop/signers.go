package dpop

import (
	"strings"
	"sync"
)

// Bounds of the signers that are remembered: how many in each of two generations, and of
// what length their headers are at most, in bytes; one with an RSA key of 8192 bits has 1900.
const (
	maxSigners      = 1 << 10
	maxSignerHeader = 2 << 10
)

// signers are remembered by the header of their proofs, which a client sends anew with
// each one: to read a key takes as long as to check a signature with it. In here come
// those alone to which a good token was bound, so that a stranger drives none out. They
// are safe for concurrent use.
type signers struct {
	mu         sync.Mutex
	young, old map[string]*signer
}

func (s *signers) get(header string) (of *signer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of = s.young[header]; of == nil {
		of = s.old[header]
	}
	return of
}

// put remembers one, and forgets those that have not been put since two generations.
func (s *signers) put(of *signer) {
	if len(of.header) > maxSignerHeader {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young[of.header] != nil {
		return
	}
	if s.young == nil || len(s.young) >= maxSigners {
		s.young, s.old = map[string]*signer{}, s.young
	}
	kept := *of
	kept.header = strings.Clone(of.header) // it is a part of the request
	s.young[kept.header] = &kept
}
