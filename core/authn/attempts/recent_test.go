package attempts

import (
	"testing"
	"time"
)

func TestCredentialsKnownToBeGoodAreBounded(t *testing.T) {
	now := time.Now()
	r := newRecent(100, time.Minute)
	name := func(n int) Key { return Key{byte(n), byte(n >> 8), byte(n >> 16)} }
	for i := range 10_000 {
		r.add(name(i), now)
		if n := len(r.young) + len(r.old); n > 200 {
			t.Fatalf("%d are kept", n)
		}
	}
	if !r.has(name(9999), now) || r.has(name(0), now) {
		t.Error("the newest is gone, or the oldest is kept")
	}
	r.remove(name(9999))
	if r.has(name(9999), now) {
		t.Error("one that was removed is kept")
	}
	r.add(name(1), now)
	if !r.has(name(1), now.Add(time.Minute)) || r.has(name(1), now.Add(3*time.Minute)) {
		t.Error("it is forgotten too early or too late")
	}
}
