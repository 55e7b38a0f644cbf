package keyedhash_test

import (
	"testing"

	"gatehouse/core/keyedhash"
)

func TestListsOfTextsNeverShareASum(t *testing.T) {
	h := keyedhash.New(nil)
	seen := map[[keyedhash.Size]byte][]string{}
	for _, parts := range [][]string{{}, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"b", "a"}, {"a\x00b"}, {"\x00\x00\x00\x00\x00\x00\x00\x01a"}} {
		sum := h.Sum(parts...)
		if other, found := seen[sum]; found {
			t.Errorf("%q and %q are one", parts, other)
		}
		seen[sum] = parts
		if h.Sum(parts...) != sum {
			t.Errorf("%q has two sums", parts)
		}
	}
}

func TestSumDependsOnTheSecret(t *testing.T) {
	one, same, other := keyedhash.New([]byte("secret")), keyedhash.New([]byte("secret")), keyedhash.New([]byte("other"))
	if one.Sum("a") != same.Sum("a") {
		t.Error("one secret gives two sums")
	}
	random, another := keyedhash.New(nil), keyedhash.New(nil)
	if one.Sum("a") == other.Sum("a") || random.Sum("a") == another.Sum("a") {
		t.Error("two secrets give one sum")
	}
}
