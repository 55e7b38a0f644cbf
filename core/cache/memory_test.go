package cache_test

import (
	"encoding/binary"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/cache"
	"gatehouse/core/coretest"
)

func memory(t testing.TB, limit int, now func() time.Time) *cache.Memory {
	t.Helper()
	m, err := cache.NewMemory(limit, now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func key(n int) (k cache.Key) {
	binary.BigEndian.PutUint64(k[:], uint64(n))
	return k
}

func entry(subject string, until time.Time) cache.Entry {
	return cache.Entry{Principal: &core.Principal{Subject: subject}, Until: until}
}

func TestMemoryIsNeverLargerThanItsLimit(t *testing.T) {
	clock := coretest.NewClock()
	for _, limit := range []int{2, 3, 10, 1000} {
		m := memory(t, limit, clock.Now)
		for i := range 10 * limit {
			m.Set(t.Context(), key(i), entry("x", clock.Now().Add(time.Hour)))
			m.Get(t.Context(), key(i/2)) // an entry that is used moves, which must not make two of it
			if n := m.Stats().Entries; n > limit {
				t.Fatalf("%d entries with a limit of %d", n, limit)
			}
		}
		stats := m.Stats()
		if stats.Evictions == 0 || stats.Evictions+uint64(stats.Entries) > uint64(20*limit) {
			t.Errorf("limit %d: %+v", limit, stats)
		}
		if _, found, _ := m.Get(t.Context(), key(10*limit-1)); !found {
			t.Errorf("limit %d: the newest entry is gone", limit)
		}
	}
	for _, limit := range []int{1, 0, -1} {
		if _, err := cache.NewMemory(limit, nil); err == nil {
			t.Errorf("a limit of %d was accepted", limit)
		}
	}
}

func TestEntryThatIsUsedSurvives(t *testing.T) {
	clock := coretest.NewClock()
	m := memory(t, 100, clock.Now)
	m.Set(t.Context(), key(-1), entry("busy", clock.Now().Add(time.Hour)))
	for i := range 10000 {
		m.Set(t.Context(), key(i), entry("x", clock.Now().Add(time.Hour)))
		if i%40 == 0 {
			if e, found, _ := m.Get(t.Context(), key(-1)); !found || e.Principal.Subject != "busy" {
				t.Fatalf("gone after %d others", i)
			}
		}
	}
}

func TestEntryThatIsReadDoesNotUndoItsReplacement(t *testing.T) {
	clock := coretest.NewClock()
	meanwhile := func() {}
	m := memory(t, 4, func() time.Time {
		f := meanwhile
		meanwhile = func() {}
		f()
		return clock.Now()
	})
	m.Set(t.Context(), key(1), entry("revoked", clock.Now().Add(time.Hour)))
	for i := range 2 { // makes the first entry an old one, which moves when it is read
		m.Set(t.Context(), key(2+i), entry("x", clock.Now().Add(time.Hour)))
	}
	meanwhile = func() { m.Set(t.Context(), key(1), cache.Entry{Until: clock.Now()}) }
	m.Get(t.Context(), key(1))
	if e, found, _ := m.Get(t.Context(), key(1)); found {
		t.Errorf("an entry came back after it was replaced: %+v", e)
	}
}

func TestExpiredEntryIsNotReturned(t *testing.T) {
	clock := coretest.NewClock()
	m := memory(t, 4, clock.Now)
	m.Set(t.Context(), key(1), entry("x", clock.Now().Add(time.Second)))
	m.Set(t.Context(), key(2), entry("x", clock.Now()))
	if _, found, _ := m.Get(t.Context(), key(2)); found {
		t.Error("an entry that had ended when it was set")
	}
	clock.Advance(time.Second - 1)
	if _, found, _ := m.Get(t.Context(), key(1)); !found {
		t.Error("gone before its time")
	}
	clock.Advance(1)
	if _, found, _ := m.Get(t.Context(), key(1)); found {
		t.Error("returned at its end")
	}
	// The same for one that has moved to the old generation.
	m.Set(t.Context(), key(3), entry("x", clock.Now().Add(time.Second)))
	m.Set(t.Context(), key(4), entry("x", clock.Now().Add(time.Second)))
	m.Set(t.Context(), key(5), entry("x", clock.Now().Add(time.Second)))
	clock.Advance(time.Second)
	for i := range 6 {
		if _, found, _ := m.Get(t.Context(), key(i)); found {
			t.Errorf("entry %d was returned after its end", i)
		}
	}
}

func TestNewerEntryReplacesTheOld(t *testing.T) {
	clock := coretest.NewClock()
	m := memory(t, 4, clock.Now)
	until := clock.Now().Add(time.Hour)
	m.Set(t.Context(), key(1), entry("old", until))
	m.Set(t.Context(), key(2), entry("x", until)) // key 1 is about to be in the old generation
	m.Set(t.Context(), key(3), entry("x", until))
	m.Set(t.Context(), key(1), entry("new", until))
	if e, _, _ := m.Get(t.Context(), key(1)); e.Principal.Subject != "new" {
		t.Errorf("got %s", e.Principal.Subject)
	}
}

func TestMemoryLeavesNoGoroutines(t *testing.T) {
	for range 100 {
		m := memory(t, 2, nil)
		for i := range 10 {
			m.Set(t.Context(), key(i), entry("x", time.Now().Add(time.Hour)))
		}
	}
	stacks := make([]byte, 1<<20)
	if stacks = stacks[:runtime.Stack(stacks, true)]; strings.Contains(string(stacks), "go-cache") {
		t.Errorf("a goroutine of go-cache is left:\n%s", stacks)
	}
}

func TestMemoryFromManyGoroutines(t *testing.T) {
	m := memory(t, 64, nil)
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			for i := range 5000 {
				n := (i*7 + g) % 200
				m.Set(t.Context(), key(n), entry(string(rune('a'+n)), time.Now().Add(time.Hour)))
				if e, found, _ := m.Get(t.Context(), key(n)); found && e.Principal.Subject != string(rune('a'+n)) {
					t.Errorf("key %d gave %s", n, e.Principal.Subject)
				}
			}
		})
	}
	wait.Wait()
	if n := m.Stats().Entries; n > 64 {
		t.Errorf("%d entries", n)
	}
}
