package pathindex

import (
	"math"
	"regexp"
	"regexp/syntax"
	"unicode/utf8"

	"gatehouse/core/permission/automaton"
)

// matcher decides whether a text, a segment or the rest of a path, is matched
// as a whole. Most regexes in a table come down to a run of characters of one
// class between two literals, which needs no regex engine.
type matcher struct {
	prefix, suffix string
	class          class
	min, max       int // characters of the class
	// dfa or re, if not nil, is what decides after prefix and suffix have been
	// seen: dfa on the text, re on the whole path.
	dfa *automaton.Small
	re  *regexp.Regexp
}

// class is a set of characters: ASCII one by one, all others together.
type class struct {
	ascii [2]uint64
	high  bool
}

func (c *class) has(b byte) bool {
	if b >= utf8.RuneSelf {
		return c.high
	}
	return c.ascii[b>>6]&(1<<(b&63)) != 0
}

// match reports whether the text is matched; path is the whole path.
func (m *matcher) match(text, path string) bool {
	if len(text) < len(m.prefix)+len(m.suffix) ||
		text[:len(m.prefix)] != m.prefix || text[len(text)-len(m.suffix):] != m.suffix {
		return false
	}
	switch {
	case m.dfa != nil:
		return m.dfa.Match(text)
	case m.re != nil:
		return m.re.MatchString(path)
	}
	run := text[len(m.prefix) : len(text)-len(m.suffix)]
	for i := 0; i < len(run); i++ {
		if !m.class.has(run[i]) {
			return false
		}
	}
	if m.min <= 1 && m.max == math.MaxInt {
		return len(run) >= m.min
	}
	n := utf8.RuneCountInString(run)
	return m.min <= n && n <= m.max
}

// simpleMatcher makes a matcher of at most one run between two literals.
func simpleMatcher(atoms []atom) (matcher, bool) {
	m := matcher{}
	i := 0
	if i < len(atoms) && atoms[i].re == nil {
		m.prefix = atoms[i].literal
		i++
	}
	if i == len(atoms) {
		return m, true
	}
	var ok bool
	if m.class, m.min, m.max, ok = run(atoms[i].re); !ok {
		return matcher{}, false
	}
	i++
	if i < len(atoms) && atoms[i].re == nil {
		m.suffix = atoms[i].literal
		i++
	}
	return m, i == len(atoms)
}

// run reads a regex as a number of characters of one class.
func run(re *syntax.Regexp) (c class, least, most int, ok bool) {
	least, most = 1, 1
	switch re.Op {
	case syntax.OpCapture:
		return run(re.Sub[0])
	case syntax.OpStar:
		least, most = 0, math.MaxInt
	case syntax.OpPlus:
		most = math.MaxInt
	case syntax.OpQuest:
		least = 0
	case syntax.OpRepeat:
		least, most = re.Min, re.Max
		if most < 0 {
			most = math.MaxInt
		}
	default:
		c, ok = classOf(re)
		return c, least, most, ok
	}
	c, ok = classOf(re.Sub[0])
	return c, least, most, ok
}

// classOf reads a regex as a class of characters. It fails for a class that
// tells characters beyond ASCII apart.
func classOf(re *syntax.Regexp) (c class, ok bool) {
	switch re.Op {
	case syntax.OpCapture:
		return classOf(re.Sub[0])
	case syntax.OpAnyChar:
		return class{[2]uint64{math.MaxUint64, math.MaxUint64}, true}, true
	case syntax.OpAnyCharNotNL:
		return class{[2]uint64{math.MaxUint64 &^ (1 << '\n'), math.MaxUint64}, true}, true
	case syntax.OpLiteral:
		if len(re.Rune) != 1 || re.Rune[0] >= utf8.RuneSelf || re.Flags&syntax.FoldCase != 0 {
			return class{}, false
		}
		c.add(re.Rune[0], re.Rune[0])
		return c, true
	case syntax.OpCharClass:
		return classOfRanges(re.Rune)
	}
	return class{}, false
}

func classOfRanges(ranges []rune) (c class, ok bool) {
	beyond := rune(0)
	for i := 0; i+1 < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		c.add(lo, min(hi, utf8.RuneSelf-1))
		if hi >= utf8.RuneSelf {
			beyond += hi - max(lo, utf8.RuneSelf) + 1
		}
	}
	c.high = beyond > 0
	return c, beyond == 0 || beyond == utf8.MaxRune-utf8.RuneSelf+1
}

func (c *class) add(lo, hi rune) {
	for r := lo; r <= hi; r++ {
		c.ascii[r>>6] |= 1 << (r & 63)
	}
}

// needsOf finds what every match of a run of atoms has.
func needsOf(atoms []atom) needs {
	var n needs
	for i, a := range atoms {
		least, most := a.length()
		n.least, n.most = plus(n.least, least), plus(n.most, most)
		switch {
		case a.re != nil:
		case i == 0:
			n.prefix = a.literal
		case i == len(atoms)-1:
			n.suffix = a.literal
		case len(a.literal) > len(n.inner):
			n.inner = a.literal
		}
	}
	return n
}

// endless stands for a length without a bound.
const endless = math.MaxUint32

func plus(a, b uint32) uint32 {
	if b > endless-a {
		return endless
	}
	return a + b
}

func times(a uint32, n int) uint32 {
	if n < 0 || uint64(a)*uint64(n) > endless {
		return endless
	}
	return a * uint32(n)
}

// length bounds the bytes that an atom matches.
func (a atom) length() (least, most uint32) {
	if a.re == nil {
		return uint32(len(a.literal)), uint32(len(a.literal))
	}
	return lengthOf(a.re)
}

func lengthOf(re *syntax.Regexp) (least, most uint32) {
	switch re.Op {
	case syntax.OpLiteral: // a letter in its other case can be longer
		return uint32(len(re.Rune)), times(utf8.UTFMax, len(re.Rune))
	case syntax.OpCharClass:
		if n := len(re.Rune); n > 0 && re.Rune[n-1] >= utf8.RuneSelf {
			return 1, utf8.UTFMax
		}
		return 1, 1
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1, utf8.UTFMax
	case syntax.OpCapture:
		return lengthOf(re.Sub[0])
	case syntax.OpStar:
		return 0, endless
	case syntax.OpPlus:
		least, _ = lengthOf(re.Sub[0])
		return least, endless
	case syntax.OpQuest:
		_, most = lengthOf(re.Sub[0])
		return 0, most
	case syntax.OpRepeat:
		least, most = lengthOf(re.Sub[0])
		return times(least, re.Min), times(most, re.Max)
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			l, m := lengthOf(sub)
			least, most = plus(least, l), plus(most, m)
		}
		return least, most
	case syntax.OpAlternate:
		least = endless
		for _, sub := range re.Sub {
			l, m := lengthOf(sub)
			least, most = min(least, l), max(most, m)
		}
		return least, most
	}
	return 0, 0 // matches nothing, or nothing but the empty text
}

// regexpOf writes atoms back into a regex.
func regexpOf(atoms []atom) *syntax.Regexp {
	re := &syntax.Regexp{Op: syntax.OpConcat, Flags: syntax.Perl}
	for _, a := range atoms {
		if a.re != nil {
			re.Sub = append(re.Sub, a.re)
			continue
		}
		re.Sub = append(re.Sub, &syntax.Regexp{Op: syntax.OpLiteral, Flags: syntax.Perl, Rune: []rune(a.literal)})
	}
	return re
}
