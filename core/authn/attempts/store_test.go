package attempts_test

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"gatehouse/core/authn/attempts"
	"gatehouse/core/coretest"
)

func key(n int) (k attempts.Key) {
	binary.BigEndian.PutUint64(k[:], uint64(n))
	return k
}

func count(t *testing.T, s attempts.Store, k, n int) time.Duration {
	t.Helper()
	wait, err := s.Count(t.Context(), key(k), n)
	if err != nil {
		t.Fatal(err)
	}
	return wait
}

func TestAttemptsBecomeFreeOneAfterTheOther(t *testing.T) {
	clock := coretest.NewClock()
	s := store(t, attempts.Rate{Count: 4, Window: 8 * time.Second}, 100, clock.Now)
	for i, want := range []time.Duration{0, 0, 0, 2 * time.Second, 2 * time.Second} {
		if got := count(t, s, 1, 1); got != want {
			t.Errorf("after attempt %d: wait %s, want %s", i+1, got, want)
		}
	}
	if got := count(t, s, 2, 0); got != 0 {
		t.Errorf("another key waits %s", got)
	}
	clock.Advance(2 * time.Second)
	if got := count(t, s, 1, 0); got != 0 {
		t.Errorf("after two seconds: %s", got)
	}
	if got := count(t, s, 1, 1); got != 2*time.Second {
		t.Errorf("after one more: %s", got)
	}
	if got := count(t, s, 1, -2); got != 0 {
		t.Errorf("with two given back: %s", got)
	}
	if count(t, s, 1, -100); s.Stats().Keys != 0 {
		t.Errorf("%+v", s.Stats())
	}
	if got := count(t, s, 1, -100); got != 0 || s.Stats().Keys != 0 {
		t.Errorf("credit is saved: %s, %+v", got, s.Stats())
	}
}

func TestManyAddressesDoNotGrowTheStore(t *testing.T) {
	clock := coretest.NewClock()
	s := store(t, attempts.Rate{Count: 100, Window: time.Minute}, 1000, clock.Now)
	for range 100 { // the victim of none, and the one who floods
		count(t, s, -1, 1)
	}
	for i := range 100_000 {
		count(t, s, i, 1)
		if n := s.Stats().Keys; n > 1000 {
			t.Fatalf("%d keys", n)
		}
	}
	if wait := count(t, s, -1, 0); wait == 0 {
		t.Error("a client that is limited has been pushed out by many others")
	}
	if wait := count(t, s, 100_001, 0); wait != 0 {
		t.Error("a client that has not failed is limited")
	}
	if s.Stats().Evictions == 0 {
		t.Error("nothing was pushed out")
	}
}

func TestStoreTakesLittleMemory(t *testing.T) {
	const keys = 1 << 16
	before := heap()
	s := store(t, attempts.Rate{Count: 100, Window: time.Minute}, keys, time.Now)
	for i := range 5 * keys {
		count(t, s, i, 1)
	}
	if taken := heap() - before; taken > 16<<20 {
		t.Errorf("%d bytes for %d keys", taken, keys)
	} else {
		t.Logf("%d bytes for %d keys", taken, keys)
	}
	runtime.KeepAlive(s)
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc)
}

func TestSettledKeysAreForgotten(t *testing.T) {
	clock := coretest.NewClock()
	s := store(t, attempts.Rate{Count: 10, Window: 10 * time.Second}, 1000, clock.Now)
	for i := range 500 {
		count(t, s, i, 1)
	}
	clock.Advance(11 * time.Second)
	count(t, s, 500, 1)
	if n := s.Stats().Keys; n != 1 {
		t.Errorf("%d keys", n)
	}
}

func TestStoreWithoutRoomOrRateIsNotMade(t *testing.T) {
	for _, c := range []struct {
		rate attempts.Rate
		keys int
	}{{attempts.Rate{Count: 0, Window: time.Second}, 1}, {attempts.Rate{Count: 1}, 1}, {attempts.Rate{Count: 1, Window: time.Second}, 0}, {attempts.Rate{Count: -1, Window: time.Second}, 1}} {
		if _, err := attempts.NewMemory(c.rate, c.keys, nil); err == nil {
			t.Errorf("%+v was made", c)
		}
	}
}
