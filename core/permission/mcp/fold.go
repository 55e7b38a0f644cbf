package mcp

import (
	"strings"
	"unicode"
)

// fold writes a key in the one way of all that a program which ignores case takes for it, by
// Unicode simple case folding.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, key)
}
