package sqlimport

import (
	"strings"
	"testing"
)

func TestRegexesThatMeanSomethingElseAreNotConverted(t *testing.T) {
	for _, are := range []string{
		`^/users/(?!admin)[^/]+$`, `^/(a)\1$`, `\musers`, `\yusers`, `^/a\b`, `\Ba`, `***=/users`, `***:a`, `(?n)^/users`, `(?x) a`, `(?q)a`, `^/[[.a.]]$`, `^/[[=a=]]$`, `^/\x61$`, `^/\u0061`, `\e`,
		`^/(?<id>x)$`, `(?#c)`, `^/a**`, `*a`, `(a`, `a)`, `[a`, `\`, `[[:<:]]`, `[\A]`, `/{2}`, strings.Repeat("(", 200),
	} {
		if path, _, err := convert(are); err == nil {
			t.Errorf("%q became %q", are, path)
		}
	}
}
