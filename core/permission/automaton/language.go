// Package automaton decides about regexes what no number of tries
// can: whether two of them match the same text, and which one; whether one
// matches all that another does.
//
// A regex becomes a [Language], a deterministic automaton of the texts that it
// matches as a whole. [Explore] walks several of them side by side and finds a
// shortest text, a witness, for every combination in which they agree and
// differ. Both are bounded: what would take too much is [ErrTooLarge], which
// is not an answer.
package automaton

import (
	"errors"
	"regexp/syntax"
)

// ErrTooLarge says that the computation was given up.
var ErrTooLarge = errors.New("too large to decide")

// Language is a set of texts: those that a regex matches from their first to
// their last character. It is immutable.
type Language struct {
	alphabet *alphabet
	// next holds the state after each letter, state by state. State 0 is the
	// one from which no text can be completed; state 1 is the first.
	next    []uint32
	accepts []bool
}

const (
	dead  = 0
	first = 1
)

// Bounds of one language. The regexes of permission tables need a few dozen
// states; the work is counted in steps of the regex program.
const (
	maxStates = 20000
	maxWork   = 30_000_000
)

// Compile makes the language of a regex.
func Compile(tree *syntax.Regexp) (*Language, error) {
	program, err := newProgram(tree)
	if err != nil {
		return nil, err
	}
	letters, err := program.alphabet()
	if err != nil {
		return nil, err
	}
	d := determinizer{program: program, alphabet: letters, states: map[string]uint32{}}
	return d.run()
}

// MustCompile is Compile for regexes that are written in the program.
func MustCompile(regex string) *Language {
	tree, err := syntax.Parse(regex, syntax.Perl)
	if err != nil {
		panic(err)
	}
	language, err := Compile(tree)
	if err != nil {
		panic(err)
	}
	return language
}

// Contains reports whether a text belongs to the language.
func (l *Language) Contains(text string) bool {
	state := uint32(first)
	for _, r := range text {
		if state = l.step(state, l.alphabet.letter(r)); state == dead {
			return false
		}
	}
	return l.accepts[state]
}

// Empty reports whether no text belongs to the language.
func (l *Language) Empty() bool { return !l.alive()[first] }

func (l *Language) step(state uint32, letter int) uint32 {
	return l.next[int(state)*l.alphabet.size()+letter]
}

// lettersOf are characters as the language reads them.
func (l *Language) lettersOf(chars []rune) []int {
	letters := make([]int, len(chars))
	for i, char := range chars {
		letters[i] = l.alphabet.letter(char)
	}
	return letters
}

// determinizer makes the states of a language, each a set of places in the
// regex program at which a match may stand.
type determinizer struct {
	program  *program
	alphabet *alphabet
	states   map[string]uint32
	queue    []place
	work     int
}

func (d *determinizer) run() (*Language, error) {
	l := &Language{alphabet: d.alphabet}
	d.number(place{}) // dead
	d.number(d.program.start())
	for at := 0; at < len(d.queue); at++ {
		p := d.queue[at]
		l.accepts = append(l.accepts, d.program.accepts(p))
		for _, r := range d.alphabet.members {
			d.work += len(p.steps) + 1
			l.next = append(l.next, d.number(d.program.step(p, r)))
		}
		if len(d.queue) > maxStates || d.work > maxWork {
			return nil, ErrTooLarge
		}
	}
	l.trim()
	return l, nil
}

func (d *determinizer) number(p place) uint32 {
	key := p.key()
	id, known := d.states[key]
	if !known {
		id = uint32(len(d.queue))
		d.states[key] = id
		d.queue = append(d.queue, p)
	}
	return id
}

// trim sends every step into a state that cannot be completed to the dead one,
// so that a walk notices at once.
func (l *Language) trim() {
	alive := l.alive()
	for i, to := range l.next {
		if !alive[to] {
			l.next[i] = dead
		}
	}
}

// alive tells the states from which some text is accepted.
func (l *Language) alive() []bool {
	before := make([][]uint32, len(l.accepts))
	size := l.alphabet.size()
	for i, to := range l.next {
		from := uint32(i / size)
		if known := before[to]; to != dead && (len(known) == 0 || known[len(known)-1] != from) {
			before[to] = append(known, from)
		}
	}
	alive := make([]bool, len(l.accepts))
	var reached []uint32
	for state, accepts := range l.accepts {
		if accepts {
			alive[state] = true
			reached = append(reached, uint32(state))
		}
	}
	for len(reached) > 0 {
		state := reached[len(reached)-1]
		reached = reached[:len(reached)-1]
		for _, from := range before[state] {
			if !alive[from] {
				alive[from] = true
				reached = append(reached, from)
			}
		}
	}
	return alive
}
