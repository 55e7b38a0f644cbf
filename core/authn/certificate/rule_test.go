package certificate

import (
	"regexp"
	"strings"
	"testing"
)

// What a pattern matches is what the regular expression matches that says the same.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{{"*.a", "x.a"}, {"a*b*c", "abbc"}, {"*", "a.b"}, {"**", "ab"}, {"*a.*", "aa.b"}, {"a.*", "a."}, {"*.*", "a.b.c"}, {"", ""}, {"*-*.x", "a-b-c.x"}, {"a*", "a*"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 12 || len(text) > 40 || !isASCII(pattern+text) {
			return
		}
		expression := "(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `[^.]+`) + "$"
		if pattern == "*" {
			expression = ""
		}
		if want := regexp.MustCompile(expression).MatchString(text); matches(pattern, text, ".") != want {
			t.Errorf("%q, %q: want %v", pattern, text, want)
		}
	})
}

func isASCII(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r >= 0x80 }) < 0
}
