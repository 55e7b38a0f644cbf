// Package shared keeps values that are made once per content. Gateways hand the
// same configuration over again for every route, worker and reload; what was made
// of it must outlive that.
package shared

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"iter"
	"maps"
	"runtime"
	"slices"
	"sync"
	"weak"
)

// Values keeps one value per key for as long as it is used. Routes come
// and go with every reload of a gateway; that nothing refers to a value
// any more is the only sign that its last user is gone.
type Values[T any] struct {
	mu     sync.Mutex
	values map[Key]weak.Pointer[T]
}

// Get returns the value of a key, building it if there is none. A failure is
// not kept: the next caller tries again.
func (s *Values[T]) Get(k Key, build func() (*T, error)) (*T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value := s.values[k].Value(); value != nil {
		return value, nil
	}
	value, err := build()
	if err != nil {
		return nil, err
	}
	if s.values == nil {
		s.values = map[Key]weak.Pointer[T]{}
	}
	s.values[k] = weak.Make(value)
	runtime.AddCleanup(value, s.forget, k)
	return value, nil
}

// All yields the values that are in use. It does not hold the lock meanwhile.
func (s *Values[T]) All() iter.Seq[*T] {
	s.mu.Lock()
	values := slices.Collect(maps.Values(s.values))
	s.mu.Unlock()
	return func(yield func(*T) bool) {
		for _, weakly := range values {
			if value := weakly.Value(); value != nil && !yield(value) {
				return
			}
		}
	}
}

// forget removes a key whose value is gone and has not been built again.
func (s *Values[T]) forget(k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values[k].Value() == nil {
		delete(s.values, k)
	}
}

// Key identifies a value by everything it was made of.
type Key [sha256.Size]byte

// KeyOf identifies settings by what they say. Secrets hide from JSON, so
// they are passed beside the settings they belong to.
func KeyOf(parts ...any) Key {
	texts := make([]string, len(parts))
	for i, part := range parts {
		text, err := json.Marshal(part)
		if err != nil { // settings are strings, numbers, lists and maps of them
			panic(err)
		}
		texts[i] = string(text)
	}
	return Digest(texts...)
}

// Digest hashes texts with their lengths, so that no two lists of texts are
// hashed alike.
func Digest(texts ...string) (sum Key) {
	h := sha256.New()
	for _, text := range texts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		h.Write([]byte(text))
	}
	h.Sum(sum[:0])
	return sum
}
