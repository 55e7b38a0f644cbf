package permission

import (
	"math/bits"
	"slices"
)

// permissionSet is a set of permissions: a bit for each permission up to the
// last, where that takes no more memory than a sorted list.
type permissionSet struct {
	list []permissionID
	bits []uint64
}

// newPermissionSet makes a set of a list, which it sorts.
func newPermissionSet(list []permissionID) permissionSet {
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) == 0 {
		return permissionSet{}
	}
	words := int(list[len(list)-1])/64 + 1
	if words*2 > len(list) {
		return permissionSet{list: slices.Clip(list)}
	}
	s := permissionSet{bits: make([]uint64, words)}
	for _, id := range list {
		s.bits[id/64] |= 1 << (id % 64)
	}
	return s
}

func (s permissionSet) has(id permissionID) bool {
	if s.bits != nil {
		return int(id/64) < len(s.bits) && s.bits[id/64]&(1<<(id%64)) != 0
	}
	_, ok := slices.BinarySearch(s.list, id)
	return ok
}

// intersects reports whether two sets have a member in common.
func (s permissionSet) intersects(o permissionSet) bool {
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
	return slices.ContainsFunc(s.list, o.has)
}

// appendTo appends the members in their order.
func (s permissionSet) appendTo(ids []permissionID) []permissionID {
	ids = append(ids, s.list...)
	for i, word := range s.bits {
		for ; word != 0; word &= word - 1 {
			ids = append(ids, permissionID(i*64+bits.TrailingZeros64(word)))
		}
	}
	return ids
}

func (s permissionSet) len() int {
	n := len(s.list)
	for _, word := range s.bits {
		n += bits.OnesCount64(word)
	}
	return n
}
