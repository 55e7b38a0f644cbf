package analysis

import (
	"testing"
	"unicode/utf8"

	"gatehouse/core"
	"gatehouse/core/permission/automaton"
)

// lax admits every canonical path that any configuration admits.
var lax = core.PathOptions{AllowSemicolon: true, AllowEncodedSlash: true}

// FuzzCanonicalPaths holds the language of canonical paths against the
// function that makes them: no path too many, or witnesses would be calls that
// a gate refuses, and none too few, or a difference would go unseen.
func FuzzCanonicalPaths(f *testing.F) {
	for _, seed := range []string{
		"/", "/a/b", "//", "/a//b", "/a/", "/.", "/..", "/.a", "/a/..;x/b", "/a;b", "/a%2Fb", "/a%2fb", "/a%2F..%2Fb", "/a%2F.", "/%41", "/%25",
		"/100%25", "/%252F", "/a b", "/ä", "/\u0085", "/\x00", "/a?b", "/a%3Fb", "/a#b", "/a%23b", "/a\\b", "/%5C", "/%%2F", "/...", "/a/...", "/.;", "x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 {
			t.Skip()
		}
		if path, err := core.Canonical(text, lax); err == nil && !CanonicalPaths().Contains(path) {
			t.Errorf("%q stands for %q, which is not among the canonical paths", text, path)
		}
		if !utf8.ValidString(text) {
			return
		}
		if path, err := core.Canonical(Target(text), lax); CanonicalPaths().Contains(text) != (err == nil && path == text) {
			t.Errorf("%q: among the canonical paths %t, but %q gives %q, %v", text, CanonicalPaths().Contains(text), Target(text), path, err)
		}
	})
}

func TestCanonicalPathsLeaveOutWhatAGateRefuses(t *testing.T) {
	for _, regex := range []string{`.*//.*`, `.*/\.\./.*`, `/a/\.`, `.*\\.*`, `/a\x00`, `.*%41.*`, `/\.\.;.*`, `[^/].*`} {
		paths, err := automaton.MustCompile(regex).And(CanonicalPaths())
		if err != nil || !paths.Empty() {
			t.Errorf("%s matches canonical paths (%v)", regex, err)
		}
	}
}
