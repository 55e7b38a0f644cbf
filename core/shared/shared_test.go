package shared

import (
	"errors"
	"runtime"
	"testing"
	"time"
)

func TestOneContentIsOneValueForAsLongAsItIsUsed(t *testing.T) {
	var values Values[[64]byte]
	built := 0
	get := func(part string) *[64]byte {
		t.Helper()
		value, err := values.Get(KeyOf(part), func() (*[64]byte, error) { built++; return new([64]byte), nil })
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	first := get("a")
	if get("a") != first || built != 1 {
		t.Errorf("one content was built %d times", built)
	}
	if get("b") == first || built != 2 {
		t.Error("two contents are one value")
	}
	runtime.KeepAlive(first)
	for range 100 {
		runtime.GC()
		values.mu.Lock()
		left := len(values.values)
		values.mu.Unlock()
		if left == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a value that is not used is kept")
}

func TestFailureIsNotKept(t *testing.T) {
	var values Values[int]
	if _, err := values.Get(KeyOf("a"), func() (*int, error) { return nil, errors.New("down") }); err == nil {
		t.Error("no error")
	}
	if value, err := values.Get(KeyOf("a"), func() (*int, error) { return new(int), nil }); err != nil || value == nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Parts that run together as text must not run together as keys.
func TestContentsAreNotConfused(t *testing.T) {
	if Digest("ab", "c") == Digest("a", "bc") || Digest("") == Digest() || KeyOf([]string{"a"}, "b") == KeyOf([]string{"a", "b"}) {
		t.Error("two contents have one key")
	}
	content := func() Key { return KeyOf("a", map[string]int{"x": 1, "y": 2}) }
	if one, again := content(), content(); one != again {
		t.Error("one content has two keys")
	}
}
