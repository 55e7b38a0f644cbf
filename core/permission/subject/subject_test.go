package subject

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestPatternsOfIDs(t *testing.T) {
	for pattern, ids := range map[string]map[string]bool{
		"spiffe://a.test/web": {"spiffe://a.test/web": true, "spiffe://a.test/web/x": false, "spiffe://b.test/web": false, "spiffe://a.test/Web": false, "spiffe://a.test": false, "spiffe://a.test/": false, "web": false, "spiffe://a.test/web/": false, "": false},
		"spiffe://a.test/ns/*/sa/web": {
			"spiffe://a.test/ns/prod/sa/web": true, "spiffe://a.test/ns/prod/x/sa/web": false, "spiffe://a.test/ns//sa/web": false, "spiffe://a.test/ns/sa/web": false, "spiffe://a.test.evil/ns/x/sa/web": false,
		},
		"spiffe://a.test/web-*":    {"spiffe://a.test/web-1": true, "spiffe://a.test/web-": true, "spiffe://a.test/web": false, "spiffe://a.test/web-1/x": false, "spiffe://a.test/x-web-1": false},
		"spiffe://a.test/a*a":      {"spiffe://a.test/aa": true, "spiffe://a.test/a": false, "spiffe://a.test/aba": true},
		"spiffe://a.test/**":       {"spiffe://a.test/a": true, "spiffe://a.test/a/b": true, "spiffe://a.test": false, "spiffe://a.test/": false, "spiffe://b.test/a": false},
		"spiffe://a.test/ns/**":    {"spiffe://a.test/ns": false, "spiffe://a.test/ns/x": true, "spiffe://a.test/ns/x/y/z": true, "spiffe://a.test/nsx/y": false},
		"spiffe://a.test/*/x/y*/*": {"spiffe://a.test/q/x/yy/q": true, "spiffe://a.test/q/x/z/q": false},
	} {
		p, err := Parse(pattern)
		if err != nil {
			t.Fatalf("%s %v", pattern, err)
		}
		x := NewIndex([]*Pattern{p})
		for id, want := range ids {
			if got := p.Matches(id); got != want {
				t.Errorf("%s, %q: %t", pattern, id, got)
			}
			if got := x.Any(id, func(int) bool { return true }); got != want {
				t.Errorf("index of %s, %q: %t", pattern, id, got)
			}
		}
	}
}

func TestPatternThatCouldMatchMoreThanItsAuthorMeansIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "web", "spiffe://", "spiffe:///x", "spiffe://*/x", "spiffe://*.test/x", "spiffe://A.test/x", "spiffe://a.test", "spiffe://a.test/", "spiffe://a.test/x/",
		"spiffe://a.test//x", "spiffe://a.test/../x", "spiffe://a.test/./x", "spiffe://a.test/**/x", "spiffe://a.test/x**", "spiffe://a.test/a*b*c", "spiffe://a.test/%61",
		"spiffe://a.test/x?y", "spiffe://a.test/[a-z]", "spiffe://a.test:80/x", "spiffe://u@a.test/x", "SPIFFE://a.test/x", "https://a.test/x", "spiffe://a.test/x y", "spiffe://a.test/é",
		"spiffe://a.test/" + strings.Repeat("x", 2048), ".*", "spiffe://a.test/x\n",
	} {
		if p, err := Parse(text); err == nil {
			t.Errorf("%q is a pattern: %+v", text, p)
		}
	}
}

// random makes patterns and ids of few words, so that many match.
func random(r *rand.Rand, words []string, rest bool) string {
	parts := []string{"spiffe://" + []string{"a.test", "b.test"}[r.IntN(2)]}
	for range 1 + r.IntN(3) {
		parts = append(parts, words[r.IntN(len(words))])
	}
	if rest && r.IntN(4) == 0 {
		parts = append(parts, "**")
	}
	return strings.Join(parts, "/")
}

func TestIndexFindsWhatEachPatternMatches(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		patterns := make([]*Pattern, 1+r.IntN(8))
		for i := range patterns {
			var err error
			if patterns[i], err = Parse(random(r, []string{"a", "b", "ab", "*", "a*", "*b", "a*b"}, true)); err != nil {
				t.Fatal(err)
			}
		}
		x := NewIndex(patterns)
		for range 20 {
			id := random(r, []string{"a", "b", "ab", "aab", "c"}, false)
			var got, want []int
			x.Any(id, func(i int) bool { got = append(got, i); return false })
			for i, p := range patterns {
				if p.Matches(id) {
					want = append(want, i)
				}
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Fatalf("%s of %v: %v, want %v", id, patterns, got, want)
			}
		}
	}
}

func TestPatternsThatShareAnIDOverlap(t *testing.T) {
	var ids []string
	words := []string{"a", "b", "ab", "ba", "aab", "abb", "aba", "bab", "abab"}
	for _, one := range words {
		ids = append(ids, one)
		for _, two := range words {
			ids = append(ids, one+"/"+two)
			for _, three := range words {
				ids = append(ids, one+"/"+two+"/"+three, one+"/"+two+"/"+three+"/a", one+"/"+two+"/"+three+"/b/a", one+"/"+two+"/"+three+"/ab/b")
			}
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	texts := []string{"a", "b", "ab", "*", "a*", "*b", "a*b", "*a"}
	for range 3000 {
		p, err := Parse(random(r, texts, true))
		o, failed := Parse(random(r, texts, true))
		if err != nil || failed != nil {
			t.Fatal(err, failed)
		}
		want := slices.ContainsFunc(ids, func(id string) bool {
			id = "spiffe://a.test/" + id
			other := strings.Replace(id, "a.test", "b.test", 1)
			return p.Matches(id) && o.Matches(id) || p.Matches(other) && o.Matches(other)
		})
		if p.Overlaps(o) != want || o.Overlaps(p) != want {
			t.Fatalf("%s and %s: %t, want %t", p, o, p.Overlaps(o), want)
		}
	}
}

// An example of a pattern is matched by the patterns that match all of its ids with as
// many segments, and by no other: here all ids of few words stand for all.
func TestExampleIsMatchedByWhatMatchesAllIDsOfAPattern(t *testing.T) {
	var ids []string
	words := []string{"a", "b", "ab", "ba", "aab", "abb", "c", "cab", "abc", "acb"}
	for _, domain := range []string{"a.test", "b.test"} {
		for _, one := range words {
			ids = append(ids, "spiffe://"+domain+"/"+one)
			for _, two := range words {
				ids = append(ids, "spiffe://"+domain+"/"+one+"/"+two)
				for _, three := range words {
					ids = append(ids, "spiffe://"+domain+"/"+one+"/"+two+"/"+three, "spiffe://"+domain+"/"+one+"/"+two+"/"+three+"/c", "spiffe://"+domain+"/"+one+"/"+two+"/"+three+"/c/c")
				}
			}
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		patterns := make([]*Pattern, 2+r.IntN(4))
		for i := range patterns {
			patterns[i], _ = Parse(random(r, []string{"a", "b", "*", "a*", "*b", "a*b"}, true))
		}
		for i, examples := range Examples(patterns) {
			for _, id := range examples {
				if !patterns[i].Matches(id) {
					t.Fatalf("%s is no example of %s", id, patterns[i])
				}
				segments := strings.Count(id, "/")
				if segments > 7 { // ids of the test are no longer
					continue
				}
				for _, other := range patterns {
					all := !slices.ContainsFunc(ids, func(id string) bool {
						return strings.Count(id, "/") == segments && patterns[i].Matches(id) && !other.Matches(id)
					})
					if other.Matches(id) != all {
						t.Fatalf("example %s of %s; %s matches it: %t, matches all: %t", id, patterns[i], other, other.Matches(id), all)
					}
				}
			}
		}
	}
}
