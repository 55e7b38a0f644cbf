package pathindex

import (
	"fmt"
	"gatehouse/core/permission/pattern"
	"math/rand/v2"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// listed is an index whose results are the numbers of the entries that cover a
// call, with the entries.
type listed struct {
	*Index[[]uint32]
	entries []Entry
}

func (x *listed) matched(method, host, path string) []uint32 {
	if numbers := x.Match(method, host, path); numbers != nil {
		return *numbers
	}
	return nil
}

func newListed(t testing.TB, entries []Entry) *listed {
	t.Helper()
	union := func(lists []*[]uint32) []uint32 {
		var all []uint32
		for _, list := range lists {
			all = append(all, *list...)
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	index, err := New(entries, slices.Clone[[]uint32], union)
	if err != nil {
		t.Fatal(err)
	}
	return &listed{index, entries}
}

// indexOfLines makes an index of lines such as "GET /users" or
// "GET api.example.com /users"; lines that are no entry are left out.
func indexOfLines(t testing.TB, lines string) *listed {
	t.Helper()
	var entries []Entry
	methods := map[string]bool{}
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) != 2 && len(words) != 3 {
			continue
		}
		path, err := pattern.ParsePath(words[len(words)-1])
		if err != nil {
			continue
		}
		e := Entry{Methods: strings.Split(words[0], ","), Path: path}
		if slices.Contains(e.Methods, pattern.AnyMethod) {
			e.Methods = []string{pattern.AnyMethod}
		}
		if len(words) == 3 {
			if pattern.CheckHost(words[1]) != "" {
				continue
			}
			e.Hosts = []string{words[1]}
		}
		for _, m := range e.Methods {
			methods[m] = true
		}
		if len(methods) > MaxMethods {
			t.Skip()
		}
		entries = append(entries, e)
	}
	return newListed(t, entries)
}

func requireAgreement(t *testing.T, index *listed, scan *linear, method, host, path string) {
	t.Helper()
	if got, want := index.matched(method, host, path), scan.matched(method, host, path); !slices.Equal(got, want) {
		t.Errorf("%s %s %q\nindex:  %v\nlinear: %v", method, host, path, got, want)
	}
}

// seeds are entries that have given an index trouble, here or elsewhere.
var seeds = []struct{ table, host, path string }{
	{"GET /users\nGET /users/[^/?#]+\nANY /users/.*", "a.test", "/users/7"},
	{"GET /a|/b\nGET /(a|b)/c\nGET (/a|/b)", "a.test", "/b"},
	{"GET ^/a$\nGET (^/a|/b$)\nGET /a$|^/c", "a.test", "/a"},
	{"GET /users/?\nGET /users(/[0-9]+)?\nGET /users(/.*)?", "a.test", "/users/"},
	{"GET /files/.*\\.pdf\nGET /files/a.*\nGET .*\\.pdf\nGET .*secret.*", "a.test", "/files/a/secret.pdf"},
	{"GET (?i)/Admin\nGET /(?i:x)y\nGET /[a-z]+(?i)k", "a.test", "/aK"},
	{"GET /[^/]+\\.json\nGET /v[0-9]{1,3}\nGET /é+\nGET /[^a]{2}", "a.test", "/éé"},
	{"GET /a/b/c\nGET /a/b/[^/]+\nGET /a/[^/]+/c\nGET /[^/]+/b/c\nGET /.*/c", "a.test", "/a/b/c"},
	{"GET a.test /x\nGET *.test /x\nGET /x\nGET *.b.test /x", "c.b.test", "/x"},
	{"GET /x\\b.*\nGET /\\bx\nGET /x\\B", "a.test", "/x"},
	{"GET /(?:a|b|c|d|e|f|g|h|i)(?:1|2|3)/x\nGET /a(b(c(d)?)?)?", "a.test", "/abcd"},
	{"GET /.*aaaa.*\nGET /.*aaaa[0-9].*\nGET /.*bbbb.*x", "a.test", "/aaaaaaaaaa"},
	{"GET /\nGET //\nGET .*\nGET /.+\nGET ", "a.test", "/"},
	{"GET /\\x{FFFD}\nGET /[\\x{FFFD}]\nGET /.", "a.test", "/\xff"},
	{"GET /a[^\\x00-\\x{10FFFF}]\nGET /.*[^\\x00-\\x{10FFFF}]*x\nGET /(?:)*a{0}b{0,0}", "a.test", "/x"},
	{"GET /a\\x2fb\nGET /a[/]b\nGET /a[.-0]b", "a.test", "/a/b"},
}

// FuzzIndexAgreesWithLinearScan: whatever the entries and whatever the path, the
// index finds exactly the entries that the plainest reading finds.
func FuzzIndexAgreesWithLinearScan(f *testing.F) {
	for _, s := range seeds {
		f.Add(s.table, "GET", s.host, s.path)
	}
	f.Fuzz(func(t *testing.T, lines, method, host, path string) {
		if len(lines) > 2000 || len(path) > 2000 || strings.Count(lines, "\n") > 40 {
			t.Skip()
		}
		index := indexOfLines(t, lines)
		requireAgreement(t, index, newLinear(index.entries), method, host, path)
	})
}

// FuzzIndexAgreesOnRelatedPaths makes both the table and paths that nearly
// match it from a seed, and so reaches the depths that random bytes do not.
func FuzzIndexAgreesOnRelatedPaths(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		var lines strings.Builder
		for range 1 + r.IntN(30) {
			fmt.Fprintf(&lines, "%s %s\n", pick(r, "GET", "POST", "GET,POST", "ANY", "GET a.test", "ANY *.test"), randomPattern(r))
		}
		index := indexOfLines(t, lines.String())
		scan := newLinear(index.entries)
		for range 60 {
			e := index.entries[r.IntN(len(index.entries))]
			requireAgreement(t, index, scan, pick(r, "GET", "POST", "DELETE"), pick(r, "b.a.test", "a.test", "x"), mutate(r, sample(r, treeOf(e))))
		}
	})
}

func pick(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }

// randomPattern strings together pieces that overlap in many ways.
func randomPattern(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString(pick(r, "/", "/", "/", "/", "/", "/", ".*", "(?i)/", "^/", "[^x]*"))
	for range r.IntN(8) {
		b.WriteString(pick(r, "/", "/", "/", "a", "b", "ab", "users", "abcdefghijklmnopqrstuvwxyz", "[^/]+", "[^/?#]+", "[0-9]+", ".*", ".+",
			"(a|b)", "(a|ab/c)", "(/a)?", "a?", "/?", "[a-c]{1,2}", "(?P<x>[a-z]+)", "\\.json", "(?i:a)", "(a|b|c/d)?", "\\b", "é", "[^a]", "[é-ü]", "aaaa", "(?:ab)+", "$"))
	}
	return strings.ReplaceAll(b.String(), "(?P<x>", pick(r, "(", "(?:"))
}

func treeOf(e Entry) *syntax.Regexp {
	tree, err := syntax.Parse(e.Path.Text, syntax.Perl)
	if err != nil {
		panic(err)
	}
	return tree
}

// sample writes a text that a regex matches, or nearly so.
func sample(r *rand.Rand, re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		i := 2 * r.IntN(len(re.Rune)/2)
		lo, hi := re.Rune[i], min(re.Rune[i+1], re.Rune[i]+90)
		return string(lo + r.Int32N(hi-lo+1))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return pick(r, "a", "b", "/", "0", ".", "é")
	case syntax.OpConcat:
		var b strings.Builder
		for _, sub := range re.Sub {
			b.WriteString(sample(r, sub))
		}
		return b.String()
	case syntax.OpAlternate:
		return sample(r, re.Sub[r.IntN(len(re.Sub))])
	case syntax.OpCapture:
		return sample(r, re.Sub[0])
	case syntax.OpStar, syntax.OpQuest, syntax.OpPlus, syntax.OpRepeat:
		least, most := re.Min, re.Max
		switch re.Op {
		case syntax.OpStar:
			least, most = 0, 4
		case syntax.OpQuest:
			least, most = 0, 1
		case syntax.OpPlus:
			least, most = 1, 4
		}
		var b strings.Builder
		for range least + r.IntN(max(most, least)-least+1) {
			b.WriteString(sample(r, re.Sub[0]))
		}
		return b.String()
	}
	return ""
}

// mutate leaves a path as it is half of the time.
func mutate(r *rand.Rand, path string) string {
	if r.IntN(2) == 0 || path == "" {
		return path
	}
	i := r.IntN(len(path))
	switch r.IntN(5) {
	case 0:
		return path[:i]
	case 1:
		return path[:i] + pick(r, "/", "a", "0", "é", "\n", ".json") + path[i:]
	case 2:
		return path[:i] + path[i+1:]
	case 3:
		return path + "/"
	}
	return strings.ToUpper(path)
}

func TestSamplesReachTheIndex(t *testing.T) {
	hits := 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		index := indexOfLines(t, "GET "+randomPattern(r))
		if len(index.entries) == 0 {
			continue
		}
		path := sample(r, treeOf(index.entries[0]))
		if utf8.ValidString(path) && index.matched("GET", "a.test", path) != nil {
			hits++
		}
	}
	if hits < 50 {
		t.Errorf("only %d of 200 sampled paths are matched: the fuzz test would compare nothing with nothing", hits)
	}
}
