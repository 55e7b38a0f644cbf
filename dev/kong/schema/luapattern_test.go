package schema

import "testing"

func TestLuaPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"^%u+$", "GET", true}, {"^%u+$", "Get", false},
		{"^[%w%.%-%_~]+$", "a.b-c_d~1", true}, {"^[%w%.%-%_~]+$", "a b", false},
		{"^[^*]*%*?[^*]*$", "*.x", true}, {"^[^*]*%*?[^*]*$", "*.*", false},
		{"^%*%.", "*.test", true}, {"^%*%.", "a.test", false},
		{"%.%*$", "a.*", true}, {"%.%*$", "a.*b", false},
		{"a-b", "aaab", true}, {"^a-b$", "aac", false},
		{"^[a-c]+$", "abc", true}, {"^[a-c]+$", "abd", false},
		{"^%S+$", "a b", false}, {"^%S+$", "ab", true},
		{"^%x%x$", "fG", false}, {"^[%]]$", "]", true}, {"^[]]$", "]", true},
		{"a.c", "a\nc", true}, {"x$y", "x$y", true}, {"(a)(b)", "ab", true}, {"+", "+", true},
		{"^https?://", "https://x", true}, {"%%", "100%", true}, {"%p", "a!", true}, {"%p", "ab", false},
	} {
		re, err := compileLuaPattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if got := re.MatchString(c.text); got != c.want {
			t.Errorf("%s on %q: %v (as %s)", c.pattern, c.text, got, re)
		}
	}
	for _, bad := range []string{"%bxy", "%f[a]", "(a)%1", "%", "[a", "[%S]"} {
		if re, err := compileLuaPattern(bad); err == nil {
			t.Errorf("%s became %s", bad, re)
		}
	}
}
