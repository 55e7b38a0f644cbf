// Package uses remembers which proofs have been used, so that each counts once.
package uses

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gatehouse/core/keyedhash"
)

// Memory remembers in this process. It is bounded: what is remembered may not be
// forgotten before its time, so a proof that finds no room is an error, never a first
// use. It is safe for concurrent use.
type Memory struct {
	limit int
	now   func() time.Time
	hash  *keyedhash.Hash

	mu     sync.Mutex
	used   map[name]use
	owners map[name]int      // how many of used are of an owner
	ending map[int64][]ended // by the second in which they end
	swept  int64             // the last second whose uses are forgotten
}

// name is half of a keyed hash: two that are alike would make a good proof a used one,
// and cannot be prepared.
type name [16]byte

// use is who has used a proof, and whose it is.
type use struct{ request name }

type ended struct{ name, owner name }

// NewMemory makes a memory of at most limit uses.
func NewMemory(limit int, now func() time.Time) (*Memory, error) {
	if limit < 2 {
		return nil, errors.New("want room for two uses at least")
	}
	return &Memory{
		limit: limit, now: now, hash: keyedhash.New(nil),
		used: map[name]use{}, owners: map[name]int{}, ending: map[int64][]ended{}, swept: now().Unix(),
	}, nil
}

// ErrFull is of a memory without room for another use.
var ErrFull = errors.New("no room to remember that a proof has been used")

// Use notes that an owner uses a proof, by its id, until it ends. It reports whether this
// is the first use, or one more of the same request. An empty request is like no other.
func (m *Memory) Use(_ context.Context, owner, id, request string, until time.Time) (first bool, err error) {
	proof, of := m.name("proof", owner, id), m.name("owner", owner)
	var by name
	if request != "" {
		by = m.name("request", request)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	if u, known := m.used[proof]; known {
		return request != "" && u.request == by, nil
	}
	end := until.Unix() + 1
	switch {
	case end <= m.swept:
		return false, errors.New("the proof has ended")
	case len(m.used) >= m.limit:
		return false, fmt.Errorf("%w: all %d are in use; raise dpop.max_entries", ErrFull, m.limit)
	case m.owners[of] >= m.limit/2:
		return false, fmt.Errorf("%w: one key has used half of all %d; raise dpop.max_entries", ErrFull, m.limit)
	}
	m.used[proof] = use{by}
	m.owners[of]++
	m.ending[end] = append(m.ending[end], ended{proof, of})
	return true, nil
}

func (m *Memory) name(parts ...string) name {
	sum := m.hash.Sum(parts...)
	return name(sum[:16])
}

// sweep forgets what has ended. The seconds in between are few: every use ends soon.
func (m *Memory) sweep() {
	now := m.now().Unix()
	if now-m.swept > int64(len(m.ending)) { // after a long silence
		for second := range m.ending {
			if second <= now {
				m.forget(second)
			}
		}
		m.swept = now
	}
	for m.swept < now {
		m.swept++
		m.forget(m.swept)
	}
}

func (m *Memory) forget(second int64) {
	for _, e := range m.ending[second] {
		delete(m.used, e.name)
		if m.owners[e.owner]--; m.owners[e.owner] <= 0 {
			delete(m.owners, e.owner)
		}
	}
	delete(m.ending, second)
}

// Len is how many uses are remembered.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.used)
}
