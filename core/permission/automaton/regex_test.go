package automaton

import (
	"strings"
	"testing"
)

// TestALanguageWrittenAsARegexIsTheSameLanguage writes what is left of a regex
// without others, whole and in pieces, and reads it again.
func TestALanguageWrittenAsARegexIsTheSameLanguage(t *testing.T) {
	word := `[^/?#]+`
	for _, tt := range []struct {
		from, without string
		want          string // "" for any text
	}{
		{"/" + word, "/a", `/(?:[^#/?a]|a[^#/?])[^#/?]*`},
		{"/" + word, "/me", ""},
		{"/" + word, "/me|/mine|/you", ""},
		{"/a", "/b", "/a"},
		{"/" + word, word, `/[^#/?]+`},
		{"/" + word + "/" + word, "/a/b", ""},
		{"/" + word + "/" + word + "/" + word, "/a/" + word + "/c|/" + word + "/b/d|/x/y/z", ""},
		{"/" + word, "/" + word + `\.json`, ""},
		{"/" + word, "/x-" + word + "|/" + word + "-y", ""},
		{"/" + word + ":undo", "/a:undo", ""},
		{"/:" + word, "/:a|/:é|/:\U0001F600", ""},
		{"/" + word, "/(?i)straße", ""},
		{"(?s).*", "a|", ""},
		{"/.*", "/a.*", ""},
		{"/" + word, "/settings|/notifications|/repositories|/organizations|/subscriptions", ""},
	} {
		whole, err := compile(t, tt.from).Minus(compile(t, tt.without))
		if err != nil {
			t.Fatal(err)
		}
		for _, longest := range []int{4000, 300} {
			texts, err := whole.Regexes(longest)
			if err != nil || len(texts) == 0 {
				t.Fatalf("%s without %s: %v, %v", tt.from, tt.without, texts, err)
			}
			if tt.want != "" && texts[0] != tt.want {
				t.Errorf("%s without %s: %s, want %s", tt.from, tt.without, texts[0], tt.want)
			}
			for _, text := range texts {
				if len(text) > longest {
					t.Errorf("%s has more than %d bytes", text, longest)
				}
			}
			again := compile(t, strings.Join(texts, "|"))
			for _, pair := range [][2]*Language{{whole, again}, {again, whole}} {
				if witness, differ, err := Beyond(pair[:1], pair[1]); differ || err != nil {
					t.Errorf("%s without %s: %v: differs at %q, %v", tt.from, tt.without, texts, witness, err)
				}
			}
		}
	}
}

func TestALanguageWithoutTextsIsWrittenAsNothing(t *testing.T) {
	empty, err := compile(t, "/a").Minus(compile(t, "/.*"))
	if err != nil {
		t.Fatal(err)
	}
	if texts, err := empty.Regexes(100); len(texts) != 0 || err != nil {
		t.Errorf("%v, %v", texts, err)
	}
	if texts, err := compile(t, "/abcdef").Regexes(3); err == nil {
		t.Errorf("%v: it has no choice that makes it shorter", texts)
	}
}
