package pathindex

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// A path regex is taken apart here into what an index can use: the segments
// between slashes and, from where a regex can run across a slash, a tail.

// atom is a piece of a regex: a literal text, or anything else.
type atom struct {
	literal string
	re      *syntax.Regexp // nil for a literal
}

// route is one way through a regex: literal and other segments, and a tail
// that covers the rest of the path where not everything fits into segments.
type route struct {
	// rooted is false for a regex that does not begin with a slash in plain
	// text; the whole path is then its tail.
	rooted   bool
	segments [][]atom
	tail     []atom
	hasTail  bool
}

// maxRoutes bounds how many ways one regex is taken apart into. Alternatives
// beyond it stay inside an atom.
const maxRoutes = 16

// routes takes a regex apart. The path matches the regex when, and only when,
// it matches one of the routes.
func routes(tree *syntax.Regexp) []route {
	var list []route
	for _, atoms := range alternatives(trimAnchors(tree), maxRoutes) {
		list = append(list, newRoute(mergeLiterals(atoms)))
	}
	return list
}

// trimAnchors removes the anchors that the match of the whole path implies.
func trimAnchors(re *syntax.Regexp) *syntax.Regexp {
	if re.Op != syntax.OpConcat {
		return re
	}
	sub := re.Sub
	for len(sub) > 0 && sub[0].Op == syntax.OpBeginText {
		sub = sub[1:]
	}
	for len(sub) > 0 && sub[len(sub)-1].Op == syntax.OpEndText {
		sub = sub[:len(sub)-1]
	}
	return &syntax.Regexp{Op: syntax.OpConcat, Flags: re.Flags, Sub: sub}
}

// alternatives writes out the alternatives of a regex, at most limit of them.
func alternatives(re *syntax.Regexp, limit int) [][]atom {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return [][]atom{nil}
	case syntax.OpLiteral:
		if isPlain(re) {
			return [][]atom{{{literal: string(re.Rune)}}}
		}
	case syntax.OpCapture:
		return alternatives(re.Sub[0], limit)
	case syntax.OpConcat:
		return product(re.Sub, limit)
	case syntax.OpQuest:
		inner := alternatives(re.Sub[0], limit-1)
		oneAtom := len(inner) == 1 && len(inner[0]) == 1 && inner[0][0].re != nil
		if len(inner) < limit && !oneAtom {
			return append(inner, nil)
		}
	case syntax.OpAlternate:
		var all [][]atom
		for _, sub := range re.Sub {
			all = append(all, alternatives(sub, limit)...)
			if len(all) > limit {
				return [][]atom{{{re: re}}}
			}
		}
		return all
	}
	return [][]atom{{{re: re}}}
}

func product(subs []*syntax.Regexp, limit int) [][]atom {
	all := [][]atom{nil}
	for _, sub := range subs {
		next := alternatives(sub, limit/len(all))
		if len(next) == 1 {
			for i := range all {
				all[i] = append(all[i], next[0]...)
			}
			continue
		}
		var grown [][]atom
		for _, head := range all {
			for _, tail := range next {
				grown = append(grown, append(slices.Clip(slices.Clone(head)), tail...))
			}
		}
		all = grown
	}
	return all
}

// isPlain reports whether a literal stands for its own bytes alone: not for
// other cases, and not for U+FFFD, as which RE2 reads any broken byte.
func isPlain(re *syntax.Regexp) bool {
	return re.Flags&syntax.FoldCase == 0 && !slices.Contains(re.Rune, utf8.RuneError)
}

// mergeLiterals joins neighbouring literals.
func mergeLiterals(atoms []atom) []atom {
	var merged []atom
	for _, a := range atoms {
		if n := len(merged); a.re == nil && n > 0 && merged[n-1].re == nil {
			merged[n-1].literal += a.literal
			continue
		}
		merged = append(merged, a)
	}
	return merged
}

func newRoute(atoms []atom) route {
	if len(atoms) == 0 || !strings.HasPrefix(atoms[0].literal, "/") {
		return route{tail: atoms, hasTail: true}
	}
	r := route{rooted: true}
	atoms = slices.Clone(atoms)
	atoms[0].literal = atoms[0].literal[1:]
	var segment []atom
	for i, a := range atoms {
		if a.re != nil {
			if crossesSlash(a.re) {
				r.tail, r.hasTail = append(segment, atoms[i:]...), true
				return r
			}
			segment = append(segment, a)
			continue
		}
		parts := strings.Split(a.literal, "/")
		for _, part := range parts[:len(parts)-1] {
			r.segments = append(r.segments, appendLiteral(segment, part))
			segment = nil
		}
		segment = appendLiteral(segment, parts[len(parts)-1])
	}
	r.segments = append(r.segments, segment)
	return r
}

// from is the route from a segment on, as one tail.
func (r *route) from(segment int) []atom {
	var atoms []atom
	for i, s := range r.segments[segment:] {
		if i > 0 {
			atoms = append(atoms, atom{literal: "/"})
		}
		atoms = append(atoms, s...)
	}
	if r.hasTail {
		atoms = append(append(atoms, atom{literal: "/"}), r.tail...)
	}
	return mergeLiterals(atoms)
}

func appendLiteral(segment []atom, literal string) []atom {
	if literal == "" {
		return segment
	}
	return append(segment, atom{literal: literal})
}

// crossesSlash reports whether a regex could match a text with a slash in it,
// or looks at the text around it, so that a segment alone cannot decide it.
func crossesSlash(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpLiteral:
		return slices.Contains(re.Rune, '/')
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			if re.Rune[i] <= '/' && '/' <= re.Rune[i+1] {
				return true
			}
		}
		return false
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL, syntax.OpBeginLine, syntax.OpEndLine,
		syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return true
	}
	return slices.ContainsFunc(re.Sub, crossesSlash)
}

// appendTree writes a regex in a form that is the same for equal regexes.
// Regexp.String would do, if it did not look at every character of a class.
func appendTree(b []byte, re *syntax.Regexp) []byte {
	b = append(b, byte(re.Op))
	b = binary.AppendUvarint(b, uint64(re.Flags&syntax.FoldCase))
	b = binary.AppendVarint(b, int64(re.Min))
	b = binary.AppendVarint(b, int64(re.Max))
	b = binary.AppendUvarint(b, uint64(len(re.Rune)))
	for _, r := range re.Rune {
		b = binary.AppendVarint(b, int64(r))
	}
	b = binary.AppendUvarint(b, uint64(len(re.Sub)))
	for _, sub := range re.Sub {
		b = appendTree(b, sub)
	}
	return b
}
