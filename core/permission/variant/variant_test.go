package variant

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"gatehouse/core/permission/pattern"
)

var compiled = map[string]*regexp.Regexp{}

func matches(t *testing.T, p *pattern.Path, path string) bool {
	t.Helper()
	if re := compiled[p.Text]; re != nil {
		return re.MatchString(path)
	}
	re, err := regexp.Compile(`\A(?:` + p.Text + `)\z`)
	if err != nil {
		t.Fatalf("%s: %v", p.Text, err)
	}
	compiled[p.Text] = re
	return re.MatchString(path)
}

// An upstream reads two paths as one when they come down to the same path.
func plain(r *Rules, path string) map[string]bool {
	bases := map[string]bool{path: true}
	add := func(cut func(string) []string) {
		for _, base := range slices.Collect(maps.Keys(bases)) {
			for _, shorter := range cut(base) {
				if shorter != "" {
					bases[shorter] = true
				}
			}
		}
	}
	slash := func(p string) []string {
		if r.TrailingSlash && p != "/" {
			return []string{strings.TrimSuffix(p, "/")}
		}
		return nil
	}
	add(slash)
	add(func(p string) (shorter []string) {
		for _, s := range r.Suffixes {
			if s == AnyExtension {
				for i := strings.LastIndexByte(p, '/') + 1; i < len(p); i++ {
					if p[i] == '.' {
						shorter = append(shorter, p[:i])
					}
				}
			} else if strings.HasSuffix(p, s) || r.Case && len(p) > len(s) && strings.EqualFold(p[len(p)-len(s):], s) {
				shorter = append(shorter, p[:len(p)-len(s)])
			}
		}
		return shorter
	})
	return bases
}

// TestVariantsAreThePathsThatAnUpstreamReadsAsOne compares the regexes with a plain
// reading of the rules, on all short paths.
func TestVariantsAreThePathsThatAnUpstreamReadsAsOne(t *testing.T) {
	paths := []string{"/"}
	for at := 0; at < len(paths); at++ {
		if path := paths[at]; len(path) < 5 {
			for _, c := range []string{"a", "A", "b", "/", "."} {
				if c != "/" || !strings.HasSuffix(path, "/") {
					paths = append(paths, path+c)
				}
			}
		}
	}
	for _, rules := range []Rules{{}, {Case: true}, {TrailingSlash: true}, {Suffixes: []string{".b"}}, {Suffixes: []string{".*"}}, {Case: true, Suffixes: []string{".b", "."}}, Widest} {
		for _, regex := range []string{"/a", "/a/", "/", "/a/.*", "/[ab]+", "/a(/b)?", "/(a|b/)", "/a/?", "/A[^/]*/b?", "/^a$", `/\ba\b`, "(?i)/a", "/.+", "/(a/){1,2}", "/[^a]", "/a(?:b/|)(?:/|)", "/.*/"} {
			p, err := pattern.ParsePath(regex)
			if err != nil {
				t.Fatal(err)
			}
			var guarded []string
			for _, path := range paths {
				if matches(t, p, path) {
					guarded = append(guarded, path)
				}
			}
			all, folded := rules.Of(p), rules.Folded(p)
			for _, path := range paths {
				want := false
				bases := plain(&rules, path)
				for _, g := range guarded {
					for base := range bases {
						same := func(a string) bool { return a == base || rules.Case && strings.EqualFold(a, base) }
						want = want || same(g) || rules.TrailingSlash && g != "/" && same(strings.TrimSuffix(g, "/"))
					}
				}
				if len(path) > 4 && want != matches(t, all, path) && !want {
					continue // a longer path than these is guarded
				}
				if got := matches(t, all, path); got != want && !strings.ContainsAny(regex, "^$b\\") {
					t.Errorf("%+v: %s is a variant of %s: %t, want %t", rules, path, regex, got, want)
				} else if want && !got {
					t.Errorf("%+v: %s is a variant of %s, and is none by %s", rules, path, regex, all.Text)
				}
				if matches(t, all, path) != matches(t, folded, rules.Fold(path)) {
					t.Errorf("%+v: the two regexes of %s differ on %s", rules, regex, path)
				}
			}
		}
	}
}

// FuzzFoldedRegexMatchesFoldedPath: the table matches folded paths, lint and diff
// compare regexes of the paths themselves. The two must agree.
func FuzzFoldedRegexMatchesFoldedPath(f *testing.F) {
	for _, seed := range [][2]string{{"/admin", "/ADMİN"}, {"/admın", "/Admin/"}, {"/straße", "/STRAẞE"}, {"/[k-m]", "/K"}, {"/s", "/ſ.json"}, {"/µ", "/Μ"}, {"/[^i]", "/ı"}, {"/x/.*", "/X"}, {"(?i)/k", "/K/"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, regex, path string) {
		p, err := pattern.ParsePath(regex)
		if err != nil || len(regex) > 100 || !utf8.ValidString(path) || len(path) > 200 {
			t.Skip()
		}
		for _, rules := range []Rules{Widest, {Case: true}, {TrailingSlash: true, Suffixes: []string{".json"}}} {
			all, folded := rules.Of(p), rules.Folded(p)
			if matches(t, all, path) != matches(t, folded, rules.Fold(path)) {
				t.Errorf("%q, %q: %s and %s differ", regex, path, all.Text, folded.Text)
			}
			if matches(t, p, path) && !matches(t, all, path) {
				t.Errorf("%q matches %q, which is none of its variants %s", regex, path, all.Text)
			}
		}
	})
}

// A letter that only some upstreams fold is one that all of them fold.
func TestLettersThatSomeUpstreamFoldsAreOne(t *testing.T) {
	p, err := pattern.ParsePath("/admin/kiosks")
	if err != nil {
		t.Fatal(err)
	}
	all := Widest.Of(p)
	for _, path := range []string{"/ADMIN/KIOSKS", "/admın/kiosks", "/ADMİN/kiosks", "/admin/\u212aiosks", "/admin/kioſkſ", "/Admin/Kiosks.JSON", "/admin/kiosks/", "/admin/kiosks.tar.gz/", "/admin/kiosks."} {
		if !matches(t, all, path) {
			t.Errorf("%s is no variant", path)
		}
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if l := fold(r); fold(l) != l {
			t.Errorf("%q is folded to %q, which is folded to %q", r, l, fold(l))
		} else if upper := unicode.ToUpper(r); fold(unicode.ToLower(r)) != l || fold(upper) != l {
			t.Errorf("%q is folded to %q, its lower case to %q and its upper case to %q", r, l, fold(unicode.ToLower(r)), fold(upper))
		}
	}
}
