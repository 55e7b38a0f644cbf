package apisix

import (
	"sync"
	"time"
)

const (
	// confExpire is APISIX_CONF_EXPIRE_TIME in seconds: how long a token counts.
	confExpire = 3600
	// tokenTTL is a tenth shorter, so that the gateway forgets first.
	tokenTTL = confExpire * 9 / 10 * time.Second
)

// tokens is APISIX's shared memory from the key of a configuration to the
// token that the runner gave for it. It outlives a reload of the gateway; it is
// flushed when a managed runner exits and when the runner says that it does not
// know a token. That a token can so reach a runner that never gave it is not a
// error of this package but what the real gateway does.
type tokens struct {
	now func() time.Time

	mu    sync.Mutex
	known map[string]token
}

type token struct {
	value   uint32
	expires time.Time
}

func newTokens(now func() time.Time) *tokens { return &tokens{now: now, known: map[string]token{}} }

func (t *tokens) get(key string) (uint32, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found, ok := t.known[key]
	if !ok || !t.now().Before(found.expires) {
		delete(t.known, key)
		return 0, false
	}
	return found.value, true
}

func (t *tokens) set(key string, value uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[key] = token{value, t.now().Add(tokenTTL)}
}

func (t *tokens) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.known)
}
