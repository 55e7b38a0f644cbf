package automaton

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode"
)

// alphabet divides all characters into letters: groups of characters that the
// languages at hand never tell apart.
type alphabet struct {
	// starts begin the ranges of characters, sorted, the first with 0; letters
	// has the letter of each range.
	starts  []rune
	letters []uint16
	// members has one character of each letter.
	members []rune
}

// maxLetters bounds an alphabet.
const maxLetters = 4096

func (a *alphabet) size() int { return len(a.members) }

func (a *alphabet) letter(r rune) int {
	i, exact := slices.BinarySearch(a.starts, r)
	if !exact {
		i--
	}
	return int(a.letters[i])
}

// Surrogates are numbers of no character, so no text holds them.
const (
	firstSurrogate = 0xD800
	afterSurrogate = 0xE000
)

func isSurrogate(r rune) bool { return firstSurrogate <= r && r < afterSurrogate }

// newAlphabet divides the characters at the cuts. facts returns everything that
// is known of a character, so that equal texts mean one letter.
func newAlphabet(cuts []rune, facts func(r rune) string) (*alphabet, error) {
	cuts = append(cuts, 0, firstSurrogate, afterSurrogate)
	slices.Sort(cuts)
	a := &alphabet{}
	known := map[string]uint16{}
	for _, r := range slices.Compact(cuts) {
		if r > unicode.MaxRune {
			break
		}
		key := facts(r)
		letter, again := known[key]
		if !again {
			if len(a.members) == maxLetters {
				return nil, ErrTooLarge
			}
			letter = uint16(len(a.members))
			known[key] = letter
			a.members = append(a.members, r)
		}
		a.starts = append(a.starts, r)
		a.letters = append(a.letters, letter)
	}
	return a, nil
}

// alphabet divides the characters as far as the program tells them apart.
func (p *program) alphabet() (*alphabet, error) {
	readers := p.readers()
	var cuts []rune
	for _, i := range readers {
		cuts = appendCuts(cuts, i)
	}
	if p.looks {
		cuts = append(cuts, '\n', '0', 'A', '_', 'a')
		for _, r := range []rune{'\n', '9', 'Z', '_', 'z'} {
			cuts = append(cuts, r+1)
		}
	}
	if len(cuts)*len(readers) > maxWork {
		return nil, ErrTooLarge
	}
	return newAlphabet(cuts, func(r rune) string {
		facts := binary.AppendVarint(nil, int64(p.context(r)))
		for _, i := range readers {
			matches := byte(0)
			if i.MatchRune(r) {
				matches = 1
			}
			facts = append(facts, matches)
		}
		return string(facts)
	})
}

// jointAlphabet divides the characters as far as any of the languages does. Those that
// divide them alike count once.
func jointAlphabet(languages []*Language) (*alphabet, error) {
	var cuts []rune
	var all []*alphabet
	known := map[string]bool{}
	for _, l := range languages {
		if key := l.alphabet.key(); !known[key] {
			known[key] = true
			all = append(all, l.alphabet)
			cuts = append(cuts, l.alphabet.starts...)
		}
	}
	var facts []byte
	return newAlphabet(cuts, func(r rune) string {
		facts = facts[:0]
		for _, a := range all {
			facts = binary.AppendUvarint(facts, uint64(a.letter(r)))
		}
		return string(facts)
	})
}

// key is equal for alphabets that divide the characters alike.
func (a *alphabet) key() string {
	key := make([]byte, 0, 4*len(a.starts))
	for i, start := range a.starts {
		key = binary.AppendUvarint(key, uint64(start))
		key = binary.AppendUvarint(key, uint64(a.letters[i]))
	}
	return string(key)
}

// readers are the steps that read a character, one for each set of characters.
func (p *program) readers() []*syntax.Inst {
	var readers []*syntax.Inst
	known := map[string]bool{}
	for i := range p.Inst {
		inst := &p.Inst[i]
		switch inst.Op {
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			key := string(inst.Rune) + string(rune(inst.Op)) + string(rune(inst.Arg))
			if !known[key] {
				known[key] = true
				readers = append(readers, inst)
			}
		}
	}
	return readers
}

// appendCuts adds the places where a set of characters begins or ends.
func appendCuts(cuts []rune, inst *syntax.Inst) []rune {
	switch {
	case inst.Op == syntax.InstRuneAny:
		return cuts
	case inst.Op == syntax.InstRuneAnyNotNL:
		return append(cuts, '\n', '\n'+1)
	case len(inst.Rune) == 1:
		r := inst.Rune[0]
		cuts = append(cuts, r, r+1)
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			cuts = append(cuts, f, f+1)
		}
		return cuts
	}
	for i := 0; i+1 < len(inst.Rune); i += 2 {
		cuts = append(cuts, inst.Rune[i], inst.Rune[i+1]+1)
	}
	return cuts
}

// preferred are the characters a witness is made of where it may choose, the
// plainest first.
const preferred = "xyzabcdefghijklmnopqrstuvw1023456789/-_.XYZABCDEFGHIJKLMNOPQRSTUVW~@:+,=!$'()*& \"<>[]^`{}|?#%;"

// readable returns the best character of each letter, the most readable letter
// first. Letters that hold no character at all are left out.
func (a *alphabet) readable() []rune {
	taken := make([]bool, a.size())
	var chars []rune
	for _, r := range preferred {
		if letter := a.letter(r); !taken[letter] {
			taken[letter] = true
			chars = append(chars, r)
		}
	}
	for i, start := range a.starts {
		if letter := a.letters[i]; !taken[letter] && !isSurrogate(start) {
			if r, ok := printable(start, a.end(i)); ok {
				taken[letter] = true
				chars = append(chars, r)
			}
		}
	}
	for i, start := range a.starts {
		if letter := a.letters[i]; !taken[letter] && !isSurrogate(start) {
			taken[letter] = true
			chars = append(chars, start)
		}
	}
	return chars
}

func (a *alphabet) end(i int) rune {
	if i+1 < len(a.starts) {
		return a.starts[i+1] - 1
	}
	return unicode.MaxRune
}

// printable looks for a letter, then for anything visible, in the beginning of
// a range.
func printable(lo, hi rune) (rune, bool) {
	hi = min(hi, lo+512)
	for _, good := range []func(rune) bool{unicode.IsLower, unicode.IsLetter, unicode.IsGraphic} {
		for r := lo; r <= hi; r++ {
			if good(r) {
				return r, true
			}
		}
	}
	return 0, false
}
