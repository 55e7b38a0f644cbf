package automaton

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
)

// write writes what regex makes. The String of a regex walks through all characters
// of each class, which takes too long here.
func write(r *syntax.Regexp) string {
	var b strings.Builder
	writeTo(&b, r)
	return b.String()
}

func writeTo(b *strings.Builder, r *syntax.Regexp) {
	switch r.Op {
	case syntax.OpLiteral:
		b.WriteString(regexp.QuoteMeta(string(r.Rune)))
	case syntax.OpCharClass:
		writeClass(b, r.Rune)
	case syntax.OpAnyChar:
		b.WriteString("(?s:.)")
	case syntax.OpConcat:
		for _, part := range r.Sub {
			writePart(b, part, part.Op == syntax.OpAlternate)
		}
	case syntax.OpAlternate:
		for i, choice := range r.Sub {
			if i > 0 {
				b.WriteByte('|')
			}
			writeTo(b, choice)
		}
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest:
		of := r.Sub[0]
		writePart(b, of, of.Op != syntax.OpLiteral && of.Op != syntax.OpCharClass && of.Op != syntax.OpAnyChar)
		b.WriteByte(map[syntax.Op]byte{syntax.OpStar: '*', syntax.OpPlus: '+', syntax.OpQuest: '?'}[r.Op])
	}
}

func writePart(b *strings.Builder, r *syntax.Regexp, group bool) {
	if !group {
		writeTo(b, r)
		return
	}
	b.WriteString("(?:")
	writeTo(b, r)
	b.WriteByte(')')
}

// writeClass writes ranges of characters, or those that are left out.
func writeClass(b *strings.Builder, runes []rune) {
	b.WriteByte('[')
	if last := len(runes) - 1; runes[0] == 0 && runes[last] == unicode.MaxRune && last > 1 {
		b.WriteByte('^')
		var others []rune
		for i := 1; i < last; i += 2 {
			others = append(others, runes[i]+1, runes[i+1]-1)
		}
		runes = others
	}
	for i := 0; i < len(runes); i += 2 {
		writeMember(b, runes[i])
		if runes[i] < runes[i+1] {
			b.WriteByte('-')
			writeMember(b, runes[i+1])
		}
	}
	b.WriteByte(']')
}

func writeMember(b *strings.Builder, r rune) {
	switch {
	case strings.ContainsRune(`\[]^-`, r):
		b.WriteString(`\` + string(r))
	case !unicode.IsPrint(r):
		fmt.Fprintf(b, `\x{%X}`, r)
	default:
		b.WriteRune(r)
	}
}
