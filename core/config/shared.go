package config

import (
	"runtime"
	"sync"
	"weak"
)

// shared keeps one value per key for as long as somebody uses it. Routes come
// and go with every reload of a gateway; nothing tells when the last user of a
// value is gone, except that nobody refers to it.
type shared[T any] struct {
	mu     sync.Mutex
	values map[[32]byte]weak.Pointer[T]
}

// get returns the value of a key, building it if there is none. A failure is
// not kept: the next caller tries again.
func (s *shared[T]) get(key [32]byte, build func() (*T, error)) (*T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value := s.values[key].Value(); value != nil {
		return value, nil
	}
	value, err := build()
	if err != nil {
		return nil, err
	}
	if s.values == nil {
		s.values = map[[32]byte]weak.Pointer[T]{}
	}
	s.values[key] = weak.Make(value)
	runtime.AddCleanup(value, s.forget, key)
	return value, nil
}

// forget removes a key whose value is gone and has not been built again.
func (s *shared[T]) forget(key [32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values[key].Value() == nil {
		delete(s.values, key)
	}
}
