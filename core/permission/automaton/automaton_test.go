package automaton

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"
	"unicode/utf8"
)

func compile(t testing.TB, regex string) *Language {
	t.Helper()
	tree, err := syntax.Parse(regex, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Compile(tree)
	if err != nil {
		t.Fatalf("%s: %v", regex, err)
	}
	return l
}

func whole(regex string) *regexp.Regexp { return regexp.MustCompile(`\A(?:` + regex + `)\z`) }

func TestWitnessIsShortAndReadable(t *testing.T) {
	for _, tt := range []struct{ a, b, want string }{
		{`/users/[^/]+`, `/users/export`, "/users/export"},
		{`/users/[^/]+`, `/[a-z]+/[0-9]{2}`, "/users/11"},
		{`/a/.*`, `/.*/b`, "/a/b"},
		{`/(?i)ADMIN`, `/[a-z]+`, "/admin"},
		{`/(?i)ſ`, `/S`, "/S"},
		{`/\w+\b.*`, `/a.+`, "/ax"},
		{`/a\b.*`, `/a.+`, "/a/"},
		{`/a\B.*`, `/a.+`, "/ax"},
		{`^/a$`, `/a|/b`, "/a"},
		{`/(?m:x$)?.*`, `/x`, "/x"},
		{`/\p{Greek}+`, `/..`, "/ͱͱ"},
		{`/[^\x00-\x7f]`, `/.`, "/µ"},
		{`/a{3,5}`, `/(aa)+`, "/aaaa"},
	} {
		got, ok, err := Witness(compile(t, tt.a), compile(t, tt.b))
		if err != nil || !ok || got != tt.want {
			t.Errorf("%s and %s: %q, %t, %v; want %q", tt.a, tt.b, got, ok, err, tt.want)
		}
		if !whole(tt.a).MatchString(got) || !whole(tt.b).MatchString(got) {
			t.Errorf("%s and %s: %q is no match of both", tt.a, tt.b, got)
		}
	}
}

func TestWitnessOfDisjointRegexes(t *testing.T) {
	for _, tt := range [][2]string{
		{`/users/[^/]+`, `/users/a/b`},
		{`/[a-m]+`, `/[n-z]+`},
		{`/a(b|c)`, `/ad`},
		{`/a\b`, `/ab`},
		{`/x(^a)?`, `/xa`},
		{`/(aa)+`, `/a(aa)*`},
		{`/[^\x00-\x{10FFFF}]`, `.*`},
		{`/[\x{D800}-\x{DFFF}]`, `.*`},
	} {
		if got, ok, err := Witness(compile(t, tt[0]), compile(t, tt[1])); ok || err != nil {
			t.Errorf("%s and %s: %q, %v", tt[0], tt[1], got, err)
		}
	}
}

func TestBeyondFindsWhatAUnionLeavesOut(t *testing.T) {
	a := []*Language{compile(t, `/users(/[^/]+)?`)}
	if got, ok, err := Beyond(a, compile(t, `/users`), compile(t, `/users/[^/]+`)); ok || err != nil {
		t.Errorf("equal unions: %q, %v", got, err)
	}
	if got, ok, err := Beyond(a, compile(t, `/users`), compile(t, `/users/[^/0]+`)); !ok || got != "/users/0" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestExploreVisitsEveryCombinationOnce(t *testing.T) {
	within := []*Language{compile(t, `/.*`)}
	others := []*Language{compile(t, `/a.*`), compile(t, `/.b`), compile(t, `/c|/ab`)}
	var got []string
	err := Explore(within, others, func(members []int, text string) bool {
		name := ""
		for _, m := range members {
			name += string(rune('0' + m))
		}
		got = append(got, name+"="+text)
		return true
	})
	if want := "=/ 0=/a 2=/c 1=/xb 012=/ab"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("got %s, %v; want %s", strings.Join(got, " "), err, want)
	}
}

func TestMinus(t *testing.T) {
	l, err := compile(t, `/[a-z]+`).Minus(compile(t, `/.*x.*`), compile(t, `/a`))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"/b": true, "/a": false, "/aa": true, "/bxb": false, "b": false, "": false} {
		if l.Contains(text) != want {
			t.Errorf("%q: %t", text, !want)
		}
	}
	if l.Empty() {
		t.Error("empty")
	}
	if l, err = compile(t, `/a|/b`).Minus(compile(t, `/[ab]`)); err != nil || !l.Empty() {
		t.Errorf("not empty, %v", err)
	}
}

// An attacker who may suggest a table must not be able to hang the review.
func TestARegexThatExplodesIsRefused(t *testing.T) {
	tree, err := syntax.Parse(`/(a|b)*a(a|b){40}`, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Compile(tree); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestAWalkThatExplodesIsRefused(t *testing.T) {
	var languages []*Language
	for _, regex := range []string{`(a{97})*`, `(a{101})*`, `(a{103})*`} {
		languages = append(languages, compile(t, regex))
	}
	err := Explore([]*Language{compile(t, `a*`)}, languages, func([]int, string) bool { return true })
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

// FuzzLanguageAgreesWithRegexp compares with the engine that matches requests.
func FuzzLanguageAgreesWithRegexp(f *testing.F) {
	for _, seed := range [][2]string{
		{`/users/[^/?#]+`, "/users/1"}, {`(?i)/Ab\b.*`, "/aB c"}, {`/a(|b\B)c*`, "/abcc"}, {`(?m)^/x$|y\z`, "/x"},
		{`/(a*)*b`, "/aaab"}, {`/\pL+\d{2,3}`, "/éé12"}, {`(?s).`, "\n"}, {`.`, "\n"}, {`(?U)/a+?`, "/aa"}, {`(?i)k`, "K"}, {`\b\B`, ""},
		{`/(?:a|\Ab|c$)+`, "/aac"}, {`[^a]`, "\xef\xbf\xbd"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, regex, text string) {
		if len(regex) > 60 || !utf8.ValidString(regex) || !utf8.ValidString(text) {
			t.Skip()
		}
		tree, err := syntax.Parse(regex, syntax.Perl)
		if err != nil {
			t.Skip()
		}
		re, err := regexp.Compile(`\A(?:` + regex + `)\z`)
		if err != nil || strings.Contains(regex, `\Q`) {
			t.Skip()
		}
		l, err := Compile(tree)
		if err != nil {
			t.Skip()
		}
		if l.Contains(text) != re.MatchString(text) {
			t.Fatalf("%q on %q: the engine says %t", regex, text, re.MatchString(text))
		}
		if witness, ok, err := Witness(l); err == nil && ok && !re.MatchString(witness) {
			t.Fatalf("%q: %q is no witness", regex, witness)
		}
	})
}
