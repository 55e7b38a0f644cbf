package automaton

import (
	"encoding/binary"
	"slices"
)

// A walk may visit this many places, and more when it goes through languages
// that have more states between them: many small ones side by side are no
// explosion.
const (
	maxWalk         = 100_000
	maxWalkPerState = 3
)

func (w *walk) limit() int {
	states := 0
	for _, l := range slices.Concat(w.within, w.others) {
		states += len(l.accepts)
	}
	return max(maxWalk, maxWalkPerState*states)
}

// Explore walks through the texts that all languages of within hold, and calls
// visit once for every combination of the languages of others that such a text
// belongs to: members are their indexes, and text is a shortest one. It ends
// early when visit returns false. Texts are made of short readable characters
// where the languages leave a choice.
func Explore(within, others []*Language, visit func(members []int, text string) bool) error {
	w := &walk{within: within, others: others, visited: map[string]bool{}, seen: map[string]bool{}}
	w.next.within = make([]uint32, len(within))
	if err := w.join(); err != nil {
		return err
	}
	return w.run(visit)
}

// Witness returns a shortest text that all languages hold; ok is false when
// there is none.
func Witness(languages ...*Language) (text string, ok bool, err error) {
	err = Explore(languages, nil, func(_ []int, found string) bool {
		text, ok = found, true
		return false
	})
	return text, ok, err
}

// Beyond returns a shortest text that a holds and none of the others; ok is
// false when a is a part of their union.
func Beyond(a []*Language, others ...*Language) (text string, ok bool, err error) {
	err = Explore(a, others, func(members []int, found string) bool {
		if len(members) > 0 {
			return true
		}
		text, ok = found, true
		return false
	})
	return text, ok, err
}

// walk goes through several languages side by side, nearest texts first.
type walk struct {
	within, others []*Language
	// letters of the joint alphabet, the most readable first.
	letters []jointLetter
	nodes   []node
	seen    map[string]bool
	visited map[string]bool
	// next and key are room for the node that is looked at, most of which are known.
	next node
	key  []byte
}

// jointLetter is a character together with its letter in each language.
type jointLetter struct {
	char   rune
	within []int
	others []int
}

// node is a place of the walk: the states of within, and those of the others
// that are not dead.
type node struct {
	within []uint32
	others []member
	from   int
	char   rune
}

type member struct {
	index int
	state uint32
}

// join makes the joint alphabet.
func (w *walk) join() error {
	joint, err := jointAlphabet(slices.Concat(w.within, w.others))
	if err != nil {
		return err
	}
	for _, char := range joint.readable() {
		letter := jointLetter{char, lettersOf(w.within, char), lettersOf(w.others, char)}
		w.letters = append(w.letters, letter)
	}
	return nil
}

// lettersOf is a character as each of the languages reads it.
func lettersOf(languages []*Language, char rune) []int {
	letters := make([]int, len(languages))
	for i, l := range languages {
		letters[i] = l.alphabet.letter(char)
	}
	return letters
}

func (w *walk) run(visit func(members []int, text string) bool) error {
	w.next.from = -1
	for i := range w.within {
		w.next.within[i] = first
	}
	for i := range w.others {
		w.next.others = append(w.next.others, member{i, first})
	}
	w.add()
	limit := w.limit()
	for at := 0; at < len(w.nodes); at++ {
		if !w.visit(at, visit) {
			return nil
		}
		for i := range w.letters {
			if w.step(at, &w.letters[i]) {
				w.add()
			}
		}
		if len(w.nodes) > limit {
			return ErrTooLarge
		}
	}
	return nil
}

// step goes on from a node by a letter; false where no text goes that way.
func (w *walk) step(at int, letter *jointLetter) bool {
	n := &w.nodes[at]
	for i, l := range w.within {
		to := l.step(n.within[i], letter.within[i])
		if to == dead {
			return false
		}
		w.next.within[i] = to
	}
	w.next.from, w.next.char = at, letter.char
	w.next.others = w.next.others[:0]
	for _, m := range n.others {
		if to := w.others[m.index].step(m.state, letter.others[m.index]); to != dead {
			w.next.others = append(w.next.others, member{m.index, to})
		}
	}
	return true
}

// add keeps the next node unless it is known.
func (w *walk) add() {
	key := w.key[:0]
	for _, state := range w.next.within {
		key = binary.AppendUvarint(key, uint64(state))
	}
	for _, m := range w.next.others {
		key = binary.AppendUvarint(key, uint64(m.index))
		key = binary.AppendUvarint(key, uint64(m.state))
	}
	if w.key = key; !w.seen[string(key)] {
		w.seen[string(key)] = true
		n := w.next
		n.within, n.others = slices.Clone(n.within), slices.Clone(n.others)
		w.nodes = append(w.nodes, n)
	}
}

// visit calls f for a node at which a text ends, if its members are new.
func (w *walk) visit(at int, f func(members []int, text string) bool) bool {
	n := &w.nodes[at]
	for i, l := range w.within {
		if !l.accepts[n.within[i]] {
			return true
		}
	}
	var members []int
	var key []byte
	for _, m := range n.others {
		if w.others[m.index].accepts[m.state] {
			members = append(members, m.index)
			key = binary.AppendUvarint(key, uint64(m.index))
		}
	}
	if w.visited[string(key)] {
		return true
	}
	w.visited[string(key)] = true
	return f(members, w.text(at))
}

func (w *walk) text(at int) string {
	var reversed []rune
	for ; w.nodes[at].from >= 0; at = w.nodes[at].from {
		reversed = append(reversed, w.nodes[at].char)
	}
	slices.Reverse(reversed)
	return string(reversed)
}
