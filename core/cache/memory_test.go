package cache_test

import (
	"encoding/binary"
	"encoding/json"
	"reflect"
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
	m, err := cache.NewMemory(cache.Limits{Entries: limit}, now)
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
		if _, err := cache.NewMemory(cache.Limits{Entries: limit}, nil); err == nil {
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

// nested is a claim that takes far more memory decoded than as JSON.
func nested(objects int) map[string]any {
	list := make([]any, objects)
	for i := range list {
		list[i] = map[string]any{"a": "b"}
	}
	return map[string]any{"traits": list, "number": json.Number("9223372036854775807"), "flag": true, "none": nil}
}

func TestHugeTraitsDoNotFillTheCache(t *testing.T) {
	clock := coretest.NewClock()
	m, err := cache.NewMemory(cache.Limits{Entries: 10000, Bytes: 1 << 20}, clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	want := nested(3000) // about 30 kB of JSON, a megabyte decoded
	for i := range 1000 {
		e := entry("ada", clock.Now().Add(time.Hour))
		e.Principal.Claims = want
		m.Set(t.Context(), key(i), e)
		if s := m.Stats(); s.Bytes > 1<<20 {
			t.Fatalf("%d bytes after %d entries, with a limit of %d", s.Bytes, i, 1<<20)
		}
	}
	e, found, _ := m.Get(t.Context(), key(999))
	if !found || e.Principal.Subject != "ada" || !reflect.DeepEqual(e.Principal.Claims, want) {
		t.Errorf("found %v: %d claims", found, len(e.Principal.Claims))
	}
	if s := m.Stats(); s.Entries < 10 || s.Evictions == 0 {
		t.Errorf("%+v", s)
	}
	// One that alone is too large is not kept, and pushes nothing out.
	huge := entry("huge", clock.Now().Add(time.Hour))
	huge.Principal.Claims = map[string]any{"trait": strings.Repeat("x", 1<<20)}
	before := m.Stats().Entries
	m.Set(t.Context(), key(-1), huge)
	if _, found, _ := m.Get(t.Context(), key(-1)); found || m.Stats().Entries != before {
		t.Errorf("kept %v, %d entries, before %d", found, m.Stats().Entries, before)
	}
}

// What the estimate says must not be far below what the process takes.
func TestEstimateOfMemoryIsNotFarFromTheTruth(t *testing.T) {
	for name, claims := range map[string]func() map[string]any{
		"few claims": func() map[string]any {
			return map[string]any{"sub": "user-1", "iss": "https://id.example.test/", "aud": []any{"https://api.example.test"}, "exp": json.Number("1767355500"), "scope": "a b c"}
		},
		"nested": func() map[string]any { return nested(1000) },
		"long":   func() map[string]any { return map[string]any{"trait": strings.Repeat("x", 30000)} },
	} {
		const n = 200
		m, err := cache.NewMemory(cache.Limits{Entries: 10 * n, Bytes: 1 << 30}, nil)
		if err != nil {
			t.Fatal(err)
		}
		before := heap()
		for i := range n {
			e := entry("ada", time.Now().Add(time.Hour))
			e.Principal.Claims = claims()
			m.Set(t.Context(), key(i), e)
		}
		taken, estimate := heap()-before, m.Stats().Bytes
		if estimate < taken/2 || estimate > 4*taken {
			t.Errorf("%s: estimated %d bytes, taken %d", name, estimate, taken)
		}
		runtime.KeepAlive(m)
	}
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc)
}

func TestReplacedEntryIsCountedOnce(t *testing.T) {
	clock := coretest.NewClock()
	m := memory(t, 100, clock.Now)
	for range 50 {
		m.Set(t.Context(), key(1), entry("x", clock.Now().Add(time.Hour)))
	}
	one := m.Stats()
	if one.Entries != 1 || one.Bytes > 2000 {
		t.Errorf("%+v", one)
	}
}

func TestExpiredEntriesAreDroppedInTime(t *testing.T) {
	clock := coretest.NewClock()
	m := memory(t, 10000, clock.Now)
	for i := range 100 {
		m.Set(t.Context(), key(i), entry("x", clock.Now().Add(30*time.Second)))
	}
	for i := range 10 { // a little traffic, far from filling the store
		clock.Advance(15 * time.Second)
		m.Set(t.Context(), key(1000+i), entry("x", clock.Now().Add(30*time.Second)))
	}
	if n := m.Stats().Entries; n > 10 {
		t.Errorf("%d entries are left after five lives", n)
	}
	if s := m.Stats(); s.Evictions > 0 {
		t.Errorf("%d evictions, with room for all", s.Evictions)
	}
}

func TestEntryThatHasNotExpiredIsNotDroppedWithTheOthers(t *testing.T) {
	clock := coretest.NewClock()
	m := memory(t, 10000, clock.Now)
	m.Set(t.Context(), key(1), entry("long", clock.Now().Add(time.Hour)))
	for i := range 100 {
		clock.Advance(20 * time.Second)
		m.Set(t.Context(), key(100+i), entry("short", clock.Now().Add(5*time.Second)))
	}
	if _, found, _ := m.Get(t.Context(), key(1)); !found {
		t.Error("a valid entry was dropped although there was room")
	}
}

func TestIdleStoreForgetsWhatHasExpired(t *testing.T) {
	m := memory(t, 100, nil)
	for i := range 10 {
		m.Set(t.Context(), key(i), entry("x", time.Now().Add(50*time.Millisecond)))
	}
	for range 100 {
		if m.Stats().Entries == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("%d entries are left", m.Stats().Entries)
}
