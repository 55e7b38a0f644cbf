package permission

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// filter finds, among many matchers of one text, the few that can match it.
// Each matcher sits in one bucket, under a literal that its matches must begin
// with, end with or hold inside, whichever it shares with the fewest others.
// What is left over has no such literal and is tried one by one.
type filter struct {
	prefixes literals
	suffixes literals
	grams    map[gram][]uint32
	rest     []uint32
}

// literals are buckets by literal, which are looked up length by length.
type literals struct {
	lengths []int
	buckets map[string][]uint32
}

// gram is a piece of an inner literal, looked for at every place of a text.
type gram [4]byte

// needs are the literals that every match of one matcher has.
type needs struct {
	prefix, suffix, inner string
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
	prefix, suffix map[string]int
	gram           map[gram]int
}

func countShared(list []needs) sharing {
	s := sharing{map[string]int{}, map[string]int{}, map[gram]int{}}
	for i := range list {
		s.prefix[list[i].prefix]++
		s.suffix[list[i].suffix]++
		for g := range gramsOf(list[i].inner) {
			s.gram[g]++
		}
	}
	return s
}

// add puts a matcher into the bucket with the fewest others.
func (f *filter) add(id uint32, n *needs, shared sharing) {
	type bucket struct {
		others int
		put    func()
	}
	var open []bucket
	if n.prefix != "" {
		open = append(open, bucket{shared.prefix[n.prefix], func() { f.prefixes.add(n.prefix, id) }})
	}
	if n.suffix != "" {
		open = append(open, bucket{shared.suffix[n.suffix], func() { f.suffixes.add(n.suffix, id) }})
	}
	for g := range gramsOf(n.inner) {
		open = append(open, bucket{shared.gram[g], func() { f.addGram(g, id) }})
	}
	if len(open) == 0 {
		f.rest = append(f.rest, id)
		return
	}
	slices.MinFunc(open, func(a, b bucket) int { return cmp.Compare(a.others, b.others) }).put()
}

func (f *filter) addGram(g gram, id uint32) {
	if f.grams == nil {
		f.grams = map[gram][]uint32{}
	}
	f.grams[g] = append(f.grams[g], id)
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
	if f.grams != nil {
		f.findGrams(text, yield)
	}
	each(f.rest, yield)
}

// findGrams visits a bucket at the first place of its gram only: otherwise a
// path that repeats a gram would have its matchers run at every repeat.
func (f *filter) findGrams(text string, yield func(id uint32)) {
	var g gram
	for i := 0; i+len(g) <= len(text); i++ {
		copy(g[:], text[i:])
		if bucket := f.grams[g]; bucket != nil && strings.Index(text, text[i:i+len(g)]) == i {
			each(bucket, yield)
		}
	}
}

func each(ids []uint32, yield func(id uint32)) {
	for _, id := range ids {
		yield(id)
	}
}

// gramsOf yields the pieces of a literal.
func gramsOf(literal string) iter.Seq[gram] {
	return func(yield func(gram) bool) {
		var g gram
		for i := 0; i+len(g) <= len(literal); i++ {
			copy(g[:], literal[i:])
			if !yield(g) {
				return
			}
		}
	}
}
