package variant

import (
	"regexp/syntax"
	"slices"
	"unicode"
)

func literal(letters ...rune) *syntax.Regexp {
	return &syntax.Regexp{Op: syntax.OpLiteral, Rune: letters}
}

// class is a set of characters: ranges in any order.
func class(ranges []rune) *syntax.Regexp {
	var pairs [][2]rune
	for i := 0; i+1 < len(ranges); i += 2 {
		pairs = append(pairs, [2]rune{ranges[i], ranges[i+1]})
	}
	slices.SortFunc(pairs, func(a, b [2]rune) int { return int(a[0] - b[0]) })
	var sorted []rune
	for _, p := range pairs {
		if n := len(sorted); n > 0 && p[0] <= sorted[n-1]+1 {
			sorted[n-1] = max(sorted[n-1], p[1])
			continue
		}
		sorted = append(sorted, p[0], p[1])
	}
	switch {
	case len(sorted) == 0:
		return &syntax.Regexp{Op: syntax.OpNoMatch}
	case len(sorted) == 2 && sorted[0] == sorted[1]:
		return literal(sorted[0])
	}
	return &syntax.Regexp{Op: syntax.OpCharClass, Rune: sorted}
}

// without is a class less one character.
func without(ranges []rune, r rune) []rune {
	var left []rune
	for i := 0; i+1 < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		if r < lo || hi < r {
			left = append(left, lo, hi)
			continue
		}
		if lo < r {
			left = append(left, lo, r-1)
		}
		if r < hi {
			left = append(left, r+1, hi)
		}
	}
	return left
}

func concat(parts ...*syntax.Regexp) *syntax.Regexp {
	parts = slices.DeleteFunc(slices.Clone(parts), func(p *syntax.Regexp) bool { return p.Op == syntax.OpEmptyMatch })
	switch len(parts) {
	case 0:
		return &syntax.Regexp{Op: syntax.OpEmptyMatch}
	case 1:
		return parts[0]
	}
	return &syntax.Regexp{Op: syntax.OpConcat, Sub: parts}
}

func alternate(list ...*syntax.Regexp) *syntax.Regexp {
	if len(list) == 1 {
		return list[0]
	}
	return &syntax.Regexp{Op: syntax.OpAlternate, Sub: list}
}

func optional(re *syntax.Regexp) *syntax.Regexp {
	return &syntax.Regexp{Op: syntax.OpQuest, Sub: []*syntax.Regexp{re}}
}

// mapped is a regex with other literals and classes.
func mapped(re *syntax.Regexp, f func(*syntax.Regexp) *syntax.Regexp) *syntax.Regexp {
	if re.Op == syntax.OpLiteral || re.Op == syntax.OpCharClass {
		return f(re)
	}
	return withSubs(re, func(sub *syntax.Regexp) *syntax.Regexp { return mapped(sub, f) })
}

func withSubs(re *syntax.Regexp, f func(*syntax.Regexp) *syntax.Regexp) *syntax.Regexp {
	if len(re.Sub) == 0 {
		return re
	}
	other := &syntax.Regexp{Op: re.Op, Flags: re.Flags, Min: re.Min, Max: re.Max}
	for _, sub := range re.Sub {
		other.Sub = append(other.Sub, f(sub))
	}
	if re.Op == syntax.OpCapture { // whose name no longer matters
		return other.Sub[0]
	}
	return other
}

// withoutAssertions leaves out what looks at the characters around a place: those
// are others in a variant. The regex matches no less.
func withoutAssertions(re *syntax.Regexp) *syntax.Regexp {
	switch re.Op {
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return &syntax.Regexp{Op: syntax.OpEmptyMatch}
	}
	return withSubs(re, withoutAssertions)
}

// withoutSlash are regexes of the texts that end with a slash, less that slash.
// A text that would end with another one is left out: it stands for no path.
func withoutSlash(re *syntax.Regexp) []*syntax.Regexp {
	var list []*syntax.Regexp
	for _, text := range ends(re) {
		if len(without(text.last, '/')) == len(text.last) && slices.Equal(without(text.last, '/'), text.last) {
			continue
		}
		for _, shorter := range ends(text.before) {
			if last := class(without(shorter.last, '/')); last.Op != syntax.OpNoMatch {
				list = append(list, concat(shorter.before, last))
			}
		}
	}
	return list
}

// split is a set of texts by what stands before their last character.
type split struct {
	before *syntax.Regexp
	last   []rune
}

// ends takes the last character off all texts of a regex that have one.
func ends(re *syntax.Regexp) []split {
	empty := &syntax.Regexp{Op: syntax.OpEmptyMatch}
	switch re.Op {
	case syntax.OpLiteral:
		n := len(re.Rune) - 1
		last := []rune{re.Rune[n], re.Rune[n]}
		if re.Flags&syntax.FoldCase != 0 {
			last = spread(last)
		}
		if n == 0 {
			return []split{{empty, last}}
		}
		return []split{{&syntax.Regexp{Op: syntax.OpLiteral, Flags: re.Flags, Rune: re.Rune[:n]}, last}}
	case syntax.OpCharClass:
		return []split{{empty, re.Rune}}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return []split{{empty, []rune{0, unicode.MaxRune}}}
	case syntax.OpCapture, syntax.OpQuest:
		return ends(re.Sub[0])
	case syntax.OpAlternate:
		var list []split
		for _, sub := range re.Sub {
			list = append(list, ends(sub)...)
		}
		return list
	case syntax.OpConcat:
		return endsOfConcat(re.Sub)
	case syntax.OpStar, syntax.OpPlus:
		return behind(&syntax.Regexp{Op: syntax.OpStar, Flags: re.Flags, Sub: re.Sub}, ends(re.Sub[0]))
	case syntax.OpRepeat:
		if re.Max == 0 {
			return nil
		}
		most := re.Max
		if most > 0 {
			most--
		}
		fewer := &syntax.Regexp{Op: syntax.OpRepeat, Flags: re.Flags, Min: max(re.Min-1, 0), Max: most, Sub: re.Sub}
		return behind(fewer, ends(re.Sub[0]))
	}
	return nil
}

func endsOfConcat(parts []*syntax.Regexp) []split {
	var list []split
	for i := len(parts) - 1; i >= 0; i-- {
		list = append(list, behind(concat(parts[:i]...), ends(parts[i]))...)
		if !nullable(parts[i]) {
			break
		}
	}
	return list
}

func behind(before *syntax.Regexp, list []split) []split {
	for i := range list {
		list[i].before = concat(before, list[i].before)
	}
	return list
}

// nullable reports whether a regex matches the empty text.
func nullable(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpStar, syntax.OpQuest:
		return true
	case syntax.OpCapture, syntax.OpPlus:
		return nullable(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min == 0 || nullable(re.Sub[0])
	case syntax.OpConcat:
		return !slices.ContainsFunc(re.Sub, func(s *syntax.Regexp) bool { return !nullable(s) })
	case syntax.OpAlternate:
		return slices.ContainsFunc(re.Sub, nullable)
	}
	return false
}
