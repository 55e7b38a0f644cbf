// Package idset has sets of small numbers, in little memory.
package idset

import (
	"math/bits"
	"slices"
)

// ID is a number, counted from zero.
type ID uint32

// Set is a set of numbers: a bit for each number up to the
// last, where that takes no more memory than a sorted list.
type Set struct {
	list []ID
	bits []uint64
}

// New makes a set of a list, which it sorts.
func New(list []ID) Set {
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) == 0 {
		return Set{}
	}
	words := int(list[len(list)-1])/64 + 1
	if words*2 > len(list) {
		return Set{list: slices.Clip(list)}
	}
	s := Set{bits: make([]uint64, words)}
	for _, id := range list {
		s.bits[id/64] |= 1 << (id % 64)
	}
	return s
}

// Has reports whether a number is a member.
func (s Set) Has(id ID) bool {
	if s.bits != nil {
		return int(id/64) < len(s.bits) && s.bits[id/64]&(1<<(id%64)) != 0
	}
	_, ok := slices.BinarySearch(s.list, id)
	return ok
}

// Intersects reports whether two sets have a member in common.
func (s Set) Intersects(o Set) bool {
	switch {
	case s.bits != nil && o.bits != nil:
		for i := range min(len(s.bits), len(o.bits)) {
			if s.bits[i]&o.bits[i] != 0 {
				return true
			}
		}
		return false
	case s.bits != nil, o.bits == nil && len(s.list) > len(o.list):
		s, o = o, s
	}
	return slices.ContainsFunc(s.list, o.Has)
}

// AppendTo appends the members in their order.
func (s Set) AppendTo(ids []ID) []ID {
	ids = append(ids, s.list...)
	for i, word := range s.bits {
		for ; word != 0; word &= word - 1 {
			ids = append(ids, ID(i*64+bits.TrailingZeros64(word)))
		}
	}
	return ids
}

// Len is the number of members.
func (s Set) Len() int {
	n := len(s.list)
	for _, word := range s.bits {
		n += bits.OnesCount64(word)
	}
	return n
}

// Few lists the members where they are a list of at most n; ok is false otherwise.
func (s Set) Few(n int) (list []ID, ok bool) {
	return s.list, s.bits == nil && len(s.list) <= n
}
