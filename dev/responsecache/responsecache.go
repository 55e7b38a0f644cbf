// Package responsecache keeps responses of upstreams in memory, for the local
// gateways' versions of the plugin proxy-cache. What they are kept by, which is the
// plugin's business, decides who gets whose response.
package responsecache

import (
	"sync"
	"time"

	"gatehouse/dev/front"
)

// MaxBody is the largest body that is kept, in bytes.
const MaxBody = 1 << 20

// maxEntries bounds the store; beyond it nothing more is kept.
const maxEntries = 1000

// Entry is a response.
type Entry struct {
	Status int
	Header front.Headers
	Body   []byte
	Stored time.Time
}

// Store is empty to begin with.
type Store struct {
	mu      sync.Mutex
	entries map[string]Entry
}

// Get returns the entry of a key that is younger than a time to live.
func (s *Store) Get(key string, now time.Time, ttl time.Duration) (Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[key]
	return e, ok && now.Sub(e.Stored) < ttl
}

// Put keeps an entry.
func (s *Store) Put(key string, e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = map[string]Entry{}
	}
	if _, known := s.entries[key]; known || len(s.entries) < maxEntries {
		s.entries[key] = e
	}
}
