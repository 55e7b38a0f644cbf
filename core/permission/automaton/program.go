package automaton

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
)

// program runs a regex on a text one character at a time, following all ways
// to match at once.
type program struct {
	*syntax.Prog
	// looks says that the regex has assertions such as \b, whose truth depends
	// on the characters on both sides of a place.
	looks bool
}

func newProgram(tree *syntax.Regexp) (*program, error) {
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	looks := slices.ContainsFunc(prog.Inst, func(i syntax.Inst) bool { return i.Op == syntax.InstEmptyWidth })
	return &program{prog, looks}, nil
}

// outside stands for the characters before the first and after the last.
const outside = rune(-1)

// place is where a match stands between two characters: the steps of the
// program it may be at, and the character before as far as assertions can tell.
// Without assertions the steps are those that read a character or match; with
// them they are the ones before anything is known of the next character.
type place struct {
	steps []uint32
	last  rune
}

func (p *program) start() place {
	return p.settle([]uint32{uint32(p.Start)}, outside)
}

func (p *program) settle(steps []uint32, last rune) place {
	if !p.looks {
		steps = p.follow(steps, 0)
	}
	slices.Sort(steps)
	return place{slices.Compact(steps), p.context(last)}
}

// context reduces a character to what assertions can tell about it.
func (p *program) context(r rune) rune {
	switch {
	case !p.looks:
		return 0
	case r == outside || r == '\n':
		return r
	case syntax.IsWordChar(r):
		return 'x'
	}
	return '/'
}

// key identifies a place. A place without steps is dead whatever was before.
func (p place) key() string {
	if len(p.steps) == 0 {
		return ""
	}
	b := binary.AppendVarint(make([]byte, 0, 2+2*len(p.steps)), int64(p.last))
	for _, s := range p.steps {
		b = binary.AppendUvarint(b, uint64(s))
	}
	return string(b)
}

// ready returns the steps that read the character next or match before it.
func (p *program) ready(at place, next rune) []uint32 {
	if !p.looks {
		return at.steps
	}
	return p.follow(at.steps, syntax.EmptyOpContext(at.last, next))
}

func (p *program) step(at place, r rune) place {
	var steps []uint32
	for _, s := range p.ready(at, r) {
		if i := &p.Inst[s]; i.Op != syntax.InstMatch && i.MatchRune(r) {
			steps = append(steps, i.Out)
		}
	}
	return p.settle(steps, r)
}

func (p *program) accepts(at place) bool {
	return slices.ContainsFunc(p.ready(at, outside), func(s uint32) bool { return p.Inst[s].Op == syntax.InstMatch })
}

// follow takes the steps that read nothing. holds are the assertions that are
// true at this place.
func (p *program) follow(steps []uint32, holds syntax.EmptyOp) []uint32 {
	var reached []uint32
	seen := make(map[uint32]bool, len(steps))
	for open := slices.Clone(steps); len(open) > 0; {
		s := open[len(open)-1]
		open = open[:len(open)-1]
		if seen[s] {
			continue
		}
		seen[s] = true
		switch i := &p.Inst[s]; i.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			open = append(open, i.Out, i.Arg)
		case syntax.InstCapture, syntax.InstNop:
			open = append(open, i.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(i.Arg)&^holds == 0 {
				open = append(open, i.Out)
			}
		case syntax.InstFail:
		default:
			reached = append(reached, s)
		}
	}
	return reached
}
