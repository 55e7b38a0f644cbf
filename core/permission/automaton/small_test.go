package automaton

import (
	"regexp"
	"regexp/syntax"
	"testing"
)

// FuzzSmallAgreesWithTheRegexEngine: an automaton that is small enough to be
// made says the same as the engine does about every text.
func FuzzSmallAgreesWithTheRegexEngine(f *testing.F) {
	for _, s := range []struct{ regex, text string }{
		{"[a-z]+-[0-9]{2}", "ab-12"}, {"(?i)straße", "STRAßE"}, {"(?i)k", "K"}, {`a\b.*`, "a b"}, {`\Bx`, "x"}, {"^a$|b", "b"}, {"(?m)^a$.^b$", "a\nb"},
		{`[\p{Greek}x]*`, "αβx"}, {".", "\xff"}, {"[^a]é?", "\xff\xfe"}, {"(a|b|)*c", "abac"}, {"(?s).+", "\n"}, {`\x{FFFD}`, "\xff"}, {"", ""},
	} {
		f.Add(s.regex, s.text)
	}
	f.Fuzz(func(t *testing.T, regex, text string) {
		tree, err := syntax.Parse(regex, syntax.Perl)
		if err != nil || len(regex) > 200 {
			t.Skip()
		}
		whole, err := regexp.Compile(`\A(?:` + regex + `)\z`)
		if err != nil {
			t.Skip() // \Q that is left open
		}
		small, ok := CompileSmall(tree, OutsideText)
		if !ok {
			t.Skip()
		}
		if got, want := small.Match(text), whole.MatchString(text); got != want {
			t.Errorf("%q on %q: got %t, want %t", regex, text, got, want)
		}
	})
}

func TestASmallAutomatonKnowsWhatStandsBeforeTheText(t *testing.T) {
	tree, err := syntax.Parse(`\bx`, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	for before, want := range map[rune]bool{'/': true, 'a': false, OutsideText: true} {
		small, ok := CompileSmall(tree, before)
		if !ok || small.Match("x") != want {
			t.Errorf("after %q: %t, want %t", before, !want, want)
		}
	}
}

func TestALargeAutomatonIsNotMade(t *testing.T) {
	for _, regex := range []string{`.*a.{20}`, `(?:abcdefghij){200}`} {
		tree, err := syntax.Parse(regex, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := CompileSmall(tree, OutsideText); ok {
			t.Errorf("%s is small", regex)
		}
	}
}
