package automaton

import (
	"regexp/syntax"
	"unicode/utf8"
)

// Small is an automaton for matching many texts fast, without allocating. It
// is immutable.
type Small struct {
	next    []uint16
	accepts []bool
	letters int
	ascii   [utf8.RuneSelf]uint8
	// beyond tells the characters beyond ASCII apart; nil where all of them
	// are one letter, highLetter.
	beyond     *alphabet
	highLetter uint8
}

// Bounds of a Small. The regexes of permission tables, taken apart at their
// slashes, need a handful of states; what needs more is better left to a
// regex engine.
const (
	smallStates  = 256
	smallLetters = 200
	smallSteps   = 1000
	smallWork    = 300_000 // steps of the regex program
)

// CompileSmall makes the automaton of a regex for texts that follow on the
// character before. It reports false where that would take too much.
func CompileSmall(tree *syntax.Regexp, before rune) (*Small, bool) {
	program, err := newProgram(tree)
	if err != nil || len(program.Inst) > smallSteps {
		return nil, false
	}
	letters, err := program.alphabet()
	if err != nil || letters.size() > smallLetters {
		return nil, false
	}
	s := &Small{letters: letters.size()}
	s.read(letters)
	return s, s.determine(program, letters, before)
}

// read takes over what the automaton needs of an alphabet.
func (s *Small) read(letters *alphabet) {
	for r := range s.ascii {
		s.ascii[r] = uint8(letters.letter(rune(r)))
	}
	s.highLetter = uint8(letters.letter(utf8.RuneSelf))
	for i, start := range letters.starts {
		if start > utf8.RuneSelf && !isSurrogate(start) && letters.letters[i] != uint16(s.highLetter) {
			s.beyond = letters
		}
	}
}

func (s *Small) determine(p *program, letters *alphabet, before rune) bool {
	places := []place{{}, p.settle([]uint32{uint32(p.Start)}, before)}
	states := map[string]uint16{places[dead].key(): dead, places[first].key(): first}
	s.next = make([]uint16, s.letters)
	s.accepts = []bool{false}
	work := 0
	for at := first; at < len(places); at++ {
		if work += s.letters * len(p.Inst); work > smallWork {
			return false
		}
		s.accepts = append(s.accepts, p.accepts(places[at]))
		for _, r := range letters.members {
			to := p.step(places[at], r)
			id, known := states[to.key()]
			if !known {
				if len(places) == smallStates {
					return false
				}
				id = uint16(len(places))
				states[to.key()] = id
				places = append(places, to)
			}
			s.next = append(s.next, id)
		}
	}
	return true
}

// OutsideText stands for the character before a text that follows on nothing.
const OutsideText = outside

// Match reports whether the whole text belongs to the language. Bytes that
// are no UTF-8 count as U+FFFD, as they do for package regexp.
func (s *Small) Match(text string) bool {
	state := first
	for i := 0; i < len(text); i++ {
		letter := s.highLetter
		if c := text[i]; c < utf8.RuneSelf {
			letter = s.ascii[c]
		} else {
			r, width := utf8.DecodeRuneInString(text[i:])
			i += width - 1
			if s.beyond != nil {
				letter = uint8(s.beyond.letter(r))
			}
		}
		if state = int(s.next[state*s.letters+int(letter)]); state == dead {
			return false
		}
	}
	return s.accepts[state]
}
