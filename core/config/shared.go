package config

import (
	"iter"
	"maps"
	"runtime"
	"slices"
	"sync"
	"weak"
)

// shared keeps one value per key for as long as it is used. Routes come
// and go with every reload of a gateway; that nothing refers to a value
// any more is the only sign that its last user is gone.
type shared[T any] struct {
	mu     sync.Mutex
	values map[key]weak.Pointer[T]
}

// get returns the value of a key, building it if there is none. A failure is
// not kept: the next caller tries again.
func (s *shared[T]) get(k key, build func() (*T, error)) (*T, error) {
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
		s.values = map[key]weak.Pointer[T]{}
	}
	s.values[k] = weak.Make(value)
	runtime.AddCleanup(value, s.forget, k)
	return value, nil
}

// all yields the values that are in use. It does not hold the lock meanwhile.
func (s *shared[T]) all() iter.Seq[*T] {
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
func (s *shared[T]) forget(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values[k].Value() == nil {
		delete(s.values, k)
	}
}
