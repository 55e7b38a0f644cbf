package runner

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"
)

// tokens issues conf tokens. APISIX remembers the token of a config in memory
// that outlives the runner: across a reload, and across the restart of a
// runner that it does not manage itself. If a later process could issue the
// same number for another config, a route would be judged by that config, and
// one that only admin may call would be open to all, say.
//
// So a token is the time it was issued at (19 bits, in slots) and a random
// number (13 bits). A process issues from the slot after the one it started
// in, and runners run one after the other, so that two of them never issue in
// the same slot. Slots repeat after four times the conf expiry; APISIX forgets
// a token after less than two. Numbers that are random alone would meet: with
// 1,000 routes and a reload a day, about once in twelve years.
//
// The random part keeps the probability of a meeting low where that order is
// lost: a clock that was set back, or two runners at the same time.
type tokens struct {
	now     func() time.Time
	started time.Time
	slot    time.Duration
	first   int64
}

const (
	slotBits   = 19
	randomBits = 32 - slotBits
)

var errNoToken = errors.New("no free conf token: too many configs at once")

func newTokens(now func() time.Time, confExpire time.Duration) *tokens {
	t := &tokens{now: now, started: now()}
	t.slot = max(4*confExpire/(1<<slotBits), 1)
	t.first = t.current() + 1
	return t
}

// current counts slots since 1970, by the clock at the start of the process
// and the monotonic time since then: a clock set back later changes nothing.
func (t *tokens) current() int64 {
	elapsed := t.now().Sub(t.started)
	return (t.started.UnixNano() + int64(elapsed)) / int64(t.slot)
}

// issue returns a token that is not taken and not zero, which is what a
// message without a token says.
func (t *tokens) issue(taken func(uint32) bool) (uint32, error) {
	slot := uint32(max(t.current(), t.first)) << randomBits
	var random [4]byte
	rand.Read(random[:])
	start := binary.LittleEndian.Uint32(random[:])
	for i := range uint32(1 << randomBits) {
		token := slot | (start+i)&(1<<randomBits-1)
		if token != 0 && !taken(token) {
			return token, nil
		}
	}
	return 0, errNoToken
}
