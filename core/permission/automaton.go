package permission

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// nfa is a regex as a program of steps, run on whole texts. It is what
// deterministic automata are made from, in steps that matter to the caller:
// all at once to match requests, pair by pair to compare two regexes.
type nfa struct {
	prog *syntax.Prog
	// looks says that the regex has assertions such as \b, whose truth hangs
	// on the characters around a place.
	looks bool
}

func newNFA(tree *syntax.Regexp) (*nfa, error) {
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	looks := slices.ContainsFunc(prog.Inst, func(i syntax.Inst) bool { return i.Op == syntax.InstEmptyWidth })
	return &nfa{prog, looks}, nil
}

// startOfText stands for the character before the first one, and endOfText
// for the one after the last.
const (
	startOfText = rune(-1)
	endOfText   = rune(-1)
)

// place is where a run of an nfa stands between two characters: the steps it
// may be at, sorted, and the character before, as far as it matters. Where
// nothing hangs on the next character, the steps are those that read one.
type place struct {
	steps []uint32
	last  rune
}

func (n *nfa) start(last rune) place {
	return n.settle(place{[]uint32{uint32(n.prog.Start)}, n.context(last)})
}

// settle brings a place into the form in which equal places have equal keys.
func (n *nfa) settle(p place) place {
	if !n.looks {
		p.steps = n.closure(p, endOfText)
	}
	slices.Sort(p.steps)
	p.steps = slices.Compact(p.steps)
	return p
}

// reading returns the steps that read the character next, or match at the end.
func (n *nfa) reading(p place, next rune) []uint32 {
	if !n.looks {
		return p.steps
	}
	return n.closure(p, next)
}

// context reduces a character to what assertions can tell about it.
func (n *nfa) context(r rune) rune {
	switch {
	case !n.looks:
		return 'x'
	case r == startOfText || r == '\n':
		return r
	case syntax.IsWordChar(r):
		return 'x'
	}
	return '/'
}

// key identifies a place.
func (p place) key() string {
	b := make([]byte, 0, 4+2*len(p.steps))
	b = binary.AppendVarint(b, int64(p.last))
	for _, s := range p.steps {
		b = binary.AppendUvarint(b, uint64(s))
	}
	return string(b)
}

// step moves on by one character.
func (n *nfa) step(p place, r rune) place {
	next := place{last: n.context(r)}
	for _, s := range n.reading(p, r) {
		if i := &n.prog.Inst[s]; i.Op != syntax.InstMatch && i.MatchRune(r) {
			next.steps = append(next.steps, i.Out)
		}
	}
	return n.settle(next)
}

// accepts reports whether the text may end here.
func (n *nfa) accepts(p place) bool {
	for _, s := range n.reading(p, endOfText) {
		if n.prog.Inst[s].Op == syntax.InstMatch {
			return true
		}
	}
	return false
}

// closure follows the steps that read nothing and returns those that read a
// character or match.
func (n *nfa) closure(p place, next rune) []uint32 {
	var holds syntax.EmptyOp
	if n.looks {
		holds = syntax.EmptyOpContext(p.last, next)
	}
	var reached []uint32
	seen := make([]bool, len(n.prog.Inst))
	stack := slices.Clone(p.steps)
	for len(stack) > 0 {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[s] {
			continue
		}
		seen[s] = true
		switch i := &n.prog.Inst[s]; i.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, i.Out, i.Arg)
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, i.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(i.Arg)&^holds == 0 {
				stack = append(stack, i.Out)
			}
		case syntax.InstFail:
		default:
			reached = append(reached, s)
		}
	}
	return reached
}

// boundaries returns where the characters that the regex tells apart begin.
func (n *nfa) boundaries() []rune {
	var cuts []rune
	cut := func(lo, hi rune) { cuts = append(cuts, lo, hi+1) }
	for i := range n.prog.Inst {
		switch inst := &n.prog.Inst[i]; inst.Op {
		case syntax.InstRune1:
			cut(inst.Rune[0], inst.Rune[0])
		case syntax.InstRuneAnyNotNL:
			cut('\n', '\n')
		case syntax.InstRune:
			if len(inst.Rune) == 1 {
				cut(inst.Rune[0], inst.Rune[0])
				for r := unicode.SimpleFold(inst.Rune[0]); r != inst.Rune[0]; r = unicode.SimpleFold(r) {
					cut(r, r)
				}
			}
			for j := 0; j+1 < len(inst.Rune); j += 2 {
				cut(inst.Rune[j], inst.Rune[j+1])
			}
		}
	}
	if n.looks {
		cut('\n', '\n')
		cut('0', '9')
		cut('A', 'Z')
		cut('_', '_')
		cut('a', 'z')
	}
	return cuts
}

// alphabet divides all characters into groups that the regexes it was made of
// never tell apart.
type alphabet struct {
	// starts begin the ranges of characters, sorted, the first with 0; groups
	// has the group of each range.
	starts []rune
	groups []uint8
	// members has one character of each group.
	members []rune
	ascii   [utf8.RuneSelf]uint8
}

// maxGroups bounds an alphabet. Regexes over letters of many scripts still
// have only a few groups.
const maxGroups = 200

func newAlphabet(regexes ...*nfa) (*alphabet, bool) {
	cuts := []rune{0}
	for _, n := range regexes {
		cuts = append(cuts, n.boundaries()...)
	}
	slices.Sort(cuts)
	a := &alphabet{}
	known := map[string]uint8{}
	for _, r := range slices.Compact(cuts) {
		if r > unicode.MaxRune {
			break
		}
		var told []byte
		for _, n := range regexes {
			told = n.tell(told, r)
		}
		group, again := known[string(told)]
		if !again {
			if len(a.members) == maxGroups {
				return nil, false
			}
			group = uint8(len(a.members))
			known[string(told)] = group
			a.members = append(a.members, r)
		}
		a.starts = append(a.starts, r)
		a.groups = append(a.groups, group)
	}
	for r := range a.ascii {
		a.ascii[r] = a.search(rune(r))
	}
	return a, true
}

// tell appends everything the regex can tell about a character.
func (n *nfa) tell(told []byte, r rune) []byte {
	told = binary.AppendVarint(told, int64(n.context(r)))
	for i := range n.prog.Inst {
		switch inst := &n.prog.Inst[i]; inst.Op {
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			matches := byte(0)
			if inst.MatchRune(r) {
				matches = 1
			}
			told = append(told, matches)
		}
	}
	return told
}

func (a *alphabet) search(r rune) uint8 {
	i, exact := slices.BinarySearch(a.starts, r)
	if !exact {
		i--
	}
	return a.groups[i]
}

func (a *alphabet) group(r rune) uint8 {
	if r < utf8.RuneSelf {
		return a.ascii[r]
	}
	return a.search(r)
}

// dfa matches whole texts by one table look-up for each character. State 0
// matches nothing any more; state 1 is the first.
type dfa struct {
	alphabet *alphabet
	next     []uint16
	accepts  []bool
}

// Bounds of a dfa. The regexes of tables need a handful of states; one that
// needs more is left to the regex engine.
const (
	maxStates = 256
	maxSteps  = 1000
)

// newDFA makes a dfa of a regex for a text that follows on the character
// last. It reports false where that would take too much.
func newDFA(tree *syntax.Regexp, last rune) (*dfa, bool) {
	n, err := newNFA(tree)
	if err != nil || len(n.prog.Inst) > maxSteps {
		return nil, false
	}
	letters, ok := newAlphabet(n)
	if !ok {
		return nil, false
	}
	d := &dfa{alphabet: letters, next: make([]uint16, len(letters.members)), accepts: make([]bool, 1)}
	queue := []place{{}, n.start(last)}
	states := map[string]uint16{queue[1].key(): 1}
	for at := 1; at < len(queue); at++ {
		d.accepts = append(d.accepts, n.accepts(queue[at]))
		for _, r := range letters.members {
			p := n.step(queue[at], r)
			if len(p.steps) == 0 {
				d.next = append(d.next, 0)
				continue
			}
			id, known := states[p.key()]
			if !known {
				if len(queue) == maxStates {
					return nil, false
				}
				id = uint16(len(queue))
				states[p.key()] = id
				queue = append(queue, p)
			}
			d.next = append(d.next, id)
		}
	}
	return d, true
}

func (d *dfa) match(text string) bool {
	state, size := 1, len(d.alphabet.members)
	for i := 0; i < len(text); i++ {
		r := rune(text[i])
		if r >= utf8.RuneSelf {
			var width int
			r, width = utf8.DecodeRuneInString(text[i:])
			i += width - 1
		}
		if state = int(d.next[state*size+int(d.alphabet.group(r))]); state == 0 {
			return false
		}
	}
	return d.accepts[state]
}
