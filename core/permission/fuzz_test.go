package permission

import (
	"fmt"
	"math/rand/v2"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"gatehouse/core"
)

// tableOfLines makes a table of lines such as "GET /users" or
// "GET api.example.com /users"; lines that are no activity are left out.
func tableOfLines(lines string) *Table {
	file := &File{Name: "fuzz.yaml"}
	p := &parser{file: file}
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) != 2 && len(words) != 3 {
			continue
		}
		a := Activity{Methods: p.methods(strings.Split(words[0], ","), "", func(int) *yaml.Node { return &yaml.Node{} }), Path: words[len(words)-1]}
		if len(words) == 3 {
			if checkHostPattern(words[1]) != "" {
				continue
			}
			a.Hosts = []string{words[1]}
		}
		if a.Methods == nil || !p.path(&a, "") {
			continue
		}
		file.Public = append(file.Public, a)
	}
	table, err := Compile(file)
	if err != nil {
		return nil
	}
	return table
}

func rulesOf(activities []*activity) []string {
	var rules []string
	for _, a := range activities {
		rules = append(rules, fmt.Sprint(a.order, " ", a.hosts, " ", a.rule))
	}
	return rules
}

func requireAgreement(t *testing.T, table *Table, scan *linear, c *core.Call) {
	t.Helper()
	if got, want := rulesOf(matched(table, c)), rulesOf(scan.matched(c)); !slices.Equal(got, want) {
		t.Errorf("%s %s %q\nindex:  %q\nlinear: %q", c.Method, c.Host, c.Path, got, want)
	}
}

// seeds are tables that have given an index trouble, here or elsewhere.
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

// FuzzIndexAgreesWithLinearScan: whatever the table and whatever the path, the
// index finds exactly the activities that the plainest reading finds.
func FuzzIndexAgreesWithLinearScan(f *testing.F) {
	for _, s := range seeds {
		f.Add(s.table, "GET", s.host, s.path)
	}
	f.Fuzz(func(t *testing.T, lines, method, host, path string) {
		if len(lines) > 2000 || len(path) > 2000 || strings.Count(lines, "\n") > 40 {
			t.Skip()
		}
		table := tableOfLines(lines)
		if table == nil {
			t.Skip()
		}
		scan := newLinear(table)
		requireAgreement(t, table, scan, &core.Call{Request: &core.Request{Method: method, Host: host}, Path: path})
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
		table := tableOfLines(lines.String())
		scan := newLinear(table)
		for range 60 {
			a := table.activities[r.IntN(len(table.activities))]
			requireAgreement(t, table, scan, &core.Call{
				Request: &core.Request{Method: pick(r, "GET", "POST", "DELETE"), Host: pick(r, "a.test", "b.a.test", "x")},
				Path:    mutate(r, sample(r, treeOf(a))),
			})
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

func treeOf(a *activity) *syntax.Regexp {
	tree, err := syntax.Parse(a.path, syntax.Perl)
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
		table := tableOfLines("GET " + randomPattern(r))
		if table == nil || len(table.activities) == 0 {
			continue
		}
		path := sample(r, treeOf(table.activities[0]))
		if utf8.ValidString(path) && matched(table, call("GET", path)) != nil {
			hits++
		}
	}
	if hits < 50 {
		t.Errorf("only %d of 200 sampled paths are matched: the fuzz test would compare nothing with nothing", hits)
	}
}
