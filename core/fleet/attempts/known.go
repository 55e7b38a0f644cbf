package attempts

import (
	"sync"
	"time"

	"gatehouse/core/authn/attempts"
)

const (
	// maxKnown is of how many keys this node remembers at least what Redis said; of
	// twice as many at most.
	maxKnown = 1 << 15
	// maxWait is for how long a limit counts that Redis has told of. Another node may
	// have given attempts back meanwhile.
	maxWait = time.Second
)

// known is what Redis has said of keys that have failed of late. What is forgotten is
// asked anew.
type known struct {
	now func() time.Time

	mu         sync.Mutex
	young, old map[attempts.Key]debt
}

// debt is of a key: until when it waits, and when all its attempts are free again.
type debt struct{ until, settled time.Time }

func newKnown(now func() time.Time) *known {
	return &known{now: now, young: map[attempts.Key]debt{}}
}

// keep remembers what Redis has said of a key.
func (k *known) keep(key attempts.Key, owed, wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if owed <= 0 {
		delete(k.young, key)
		delete(k.old, key)
		return
	}
	if len(k.young) >= maxKnown {
		k.young, k.old = map[attempts.Key]debt{}, k.young
	}
	now := k.now()
	k.young[key] = debt{now.Add(min(wait, maxWait)), now.Add(owed)}
}

func (k *known) of(key attempts.Key) debt {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d, isYoung := k.young[key]; isYoung {
		return d
	}
	return k.old[key]
}

// wait is for how long a key waits.
func (k *known) wait(key attempts.Key) time.Duration { return k.of(key).until.Sub(k.now()) }

// owes reports whether a key has attempts to take back.
func (k *known) owes(key attempts.Key) bool { return k.of(key).settled.After(k.now()) }
