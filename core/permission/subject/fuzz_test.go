package subject

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// FuzzPattern: of ids without an empty segment, a pattern that is read matches what path.Match matches segment by segment,
// no id of another trust domain, and its own examples.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"spiffe://a.test/ns/*/sa/web", "spiffe://a.test/ns/prod/sa/web"}, {"spiffe://a.test/**", "spiffe://a.test/x/y"}, {"spiffe://a.test/a*b", "spiffe://a.test/ab"},
		{"spiffe://a.test/a/**", "spiffe://a.test/a"}, {"spiffe://a.test/*", "spiffe://b.test/x"}, {"spiffe://a.test/*", "spiffe://a.test/"}, {"spiffe://a.test/*/", "spiffe://a.test//x"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, id string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		for _, example := range Examples([]*Pattern{p})[0] {
			if !p.Matches(example) {
				t.Fatalf("%s does not match its example %s", text, example)
			}
		}
		if parts := strings.Split(strings.TrimPrefix(id, scheme), "/"); slices.Contains(parts, "") {
			return // no SPIFFE id, and so of no caller
		}
		if want := matchesEach(text, id); p.Matches(id) != want {
			t.Fatalf("%s matches %q: %t, want %t", text, id, !want, want)
		}
		found := NewIndex([]*Pattern{p}).Any(id, func(int) bool { return true })
		if found != p.Matches(id) {
			t.Fatalf("the index finds %q by %s: %t", id, text, found)
		}
	})
}

// matchesEach compares segment by segment. Texts of a pattern hold none of the other
// characters that path.Match reads.
func matchesEach(pattern, id string) bool {
	rest, ok := strings.CutPrefix(id, "spiffe://")
	if !ok {
		return false
	}
	want, got := strings.Split(strings.TrimPrefix(pattern, "spiffe://"), "/"), strings.Split(rest, "/")
	if last := len(want) - 1; want[last] == "**" {
		if len(got) <= last {
			return false
		}
		for range len(got) - len(want) {
			want = append(want, "*")
		}
		want[last] = "*"
	}
	if len(want) != len(got) || want[0] != got[0] {
		return false
	}
	for i := range want[1:] {
		if ok, err := path.Match(want[i+1], got[i+1]); err != nil || !ok || got[i+1] == "" {
			return false
		}
	}
	return true
}
