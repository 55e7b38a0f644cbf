package pathindex

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// filter finds, among many matchers of one text, the few that can match it.
// Each matcher sits in one bucket, under a literal that its matches must begin
// with, end with or hold inside, whichever it shares with the fewest others.
// What is left over has no such literal and is tried one by one, if the text
// is neither too short nor too long for it.
type filter struct {
	prefixes, suffixes literals
	// inner has pieces of literals, which are looked for at every place.
	inner literals
	rest  []sized
}

// sized is a matcher of texts of so many bytes.
type sized struct {
	id, least, most uint32
}

// literals are buckets by literal, which are looked up length by length.
type literals struct {
	lengths []int
	buckets map[string][]uint32
}

// pieceLengths are the lengths of the pieces that inner literals are looked up
// by. A longer one is shared by fewer, a shorter one fits into more.
var pieceLengths = []int{4, 8, 16}

// needs are what every match of one matcher has.
type needs struct {
	prefix, suffix, inner string
	// least and most are bounds of its length in bytes.
	least, most uint32
}

// newFilter makes a filter that finds indexes of list.
func newFilter(list []needs) *filter {
	f := &filter{}
	shared := countShared(list)
	for i := range list {
		f.add(uint32(i), &list[i], shared)
	}
	return f
}

// sharing counts how many matchers need the same literal.
type sharing struct {
	prefix, suffix, inner map[string]int
}

func countShared(list []needs) sharing {
	s := sharing{map[string]int{}, map[string]int{}, map[string]int{}}
	for i := range list {
		s.prefix[list[i].prefix]++
		s.suffix[list[i].suffix]++
		for piece := range pieces(list[i].inner) {
			s.inner[piece]++
		}
	}
	return s
}

// add puts a matcher into the bucket with the fewest others.
func (f *filter) add(id uint32, n *needs, shared sharing) {
	type bucket struct {
		literals *literals
		literal  string
		others   int
	}
	var open []bucket
	if n.prefix != "" {
		open = append(open, bucket{&f.prefixes, n.prefix, shared.prefix[n.prefix]})
	}
	if n.suffix != "" {
		open = append(open, bucket{&f.suffixes, n.suffix, shared.suffix[n.suffix]})
	}
	for piece := range pieces(n.inner) {
		open = append(open, bucket{&f.inner, piece, shared.inner[piece]})
	}
	if len(open) == 0 {
		f.rest = append(f.rest, sized{id, n.least, n.most})
		return
	}
	best := slices.MinFunc(open, func(a, b bucket) int { return cmp.Compare(a.others, b.others) })
	best.literals.add(best.literal, id)
}

func (l *literals) add(literal string, id uint32) {
	if l.buckets == nil {
		l.buckets = map[string][]uint32{}
	}
	if at, found := slices.BinarySearch(l.lengths, len(literal)); !found {
		l.lengths = slices.Insert(l.lengths, at, len(literal))
	}
	l.buckets[literal] = append(l.buckets[literal], id)
}

// find yields each matcher that can match the text.
func (f *filter) find(text string, yield func(id uint32)) {
	for _, n := range f.prefixes.lengths {
		if n > len(text) {
			break
		}
		each(f.prefixes.buckets[text[:n]], yield)
	}
	for _, n := range f.suffixes.lengths {
		if n > len(text) {
			break
		}
		each(f.suffixes.buckets[text[len(text)-n:]], yield)
	}
	for _, n := range f.inner.lengths {
		f.findInner(text, n, yield)
	}
	for i := range f.rest {
		if r := &f.rest[i]; r.least <= uint32(len(text)) && uint32(len(text)) <= r.most {
			yield(r.id)
		}
	}
}

// findInner visits a bucket at the first place of its piece only: otherwise a
// path that repeats a piece would have its matchers run at every repeat.
func (f *filter) findInner(text string, length int, yield func(id uint32)) {
	for i := 0; i+length <= len(text); i++ {
		piece := text[i : i+length]
		if bucket := f.inner.buckets[piece]; bucket != nil && strings.Index(text, piece) == i {
			each(bucket, yield)
		}
	}
}

func each(ids []uint32, yield func(id uint32)) {
	for _, id := range ids {
		yield(id)
	}
}

// pieces yields the pieces of an inner literal.
func pieces(literal string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, n := range pieceLengths {
			for i := 0; i+n <= len(literal); i++ {
				if !yield(literal[i : i+n]) {
					return
				}
			}
		}
	}
}
