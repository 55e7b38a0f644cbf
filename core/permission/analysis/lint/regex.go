package lint

import (
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/mcp"
)

// regex looks at one path regex by itself.
func (l *linter) regex(a *analysis.Area) {
	tree := a.Tree
	if a.MCP != nil { // written as names
		return
	}
	l.endpoints(a)
	l.anchors(a, tree)
	l.bareDots(a, tree)
	l.deadBranches(a, tree)
	l.oddRanges(a)
	l.crossing(a, tree)
}

// endpoints tells of calls that a regex matches and the activity does not cover.
func (l *linter) endpoints(a *analysis.Area) {
	if except := a.Excepted(); len(except) > 0 && a.CoversMethod(mcp.HTTPMethod) {
		l.at(a, "mcp-endpoint", "the regex matches "+except[0]+", and the activity does not cover it: that is an endpoint of mcp, where only mcp opens calls by POST, and only an activity whose path is "+except[0]+" opens others; leave it out of the regex", nil)
	}
}

func (l *linter) at(a *analysis.Area, rule, text string, witness *analysis.Call) {
	l.add(Finding{Rule: rule, Place: a.PathPlace, home: a.Place, Text: text, Witness: witness})
}

// example is a call that the activity covers, with the given path. It is nil
// for a path that the activity does not match after all, or that is none.
func example(a *analysis.Area, path string) *analysis.Call {
	if !a.Regex.MatchString(path) || !analysis.CanonicalPaths().Contains(path) {
		return nil
	}
	return &analysis.Call{Method: analysis.MethodClasses(a, nil)[0], Host: analysis.HostClasses([]*analysis.Area{a})[0], Path: path}
}

func (l *linter) anchors(a *analysis.Area, tree *syntax.Regexp) {
	for _, edge := range edges(tree) {
		if text, ok := anchorText[edge.Op]; ok {
			l.at(a, "needless-anchor", "the "+text+" is not needed, a path regex always matches the whole path; remove it", nil)
			return
		}
	}
}

var anchorText = map[syntax.Op]string{
	syntax.OpBeginText: "^", syntax.OpBeginLine: "^", syntax.OpEndText: "$", syntax.OpEndLine: "$",
}

// edges are the first and the last parts of a regex, whatever groups and
// branches they sit in.
func edges(re *syntax.Regexp) []*syntax.Regexp {
	switch re.Op {
	case syntax.OpCapture:
		return edges(re.Sub[0])
	case syntax.OpConcat:
		return append(edges(re.Sub[0]), edges(re.Sub[len(re.Sub)-1])...)
	case syntax.OpAlternate:
		var all []*syntax.Regexp
		for _, sub := range re.Sub {
			all = append(all, edges(sub)...)
		}
		return all
	}
	return []*syntax.Regexp{re}
}

// bareDots looks for a dot between literals, as in /v1.0 or /index.html.
func (l *linter) bareDots(a *analysis.Area, tree *syntax.Regexp) {
	found := false
	visit(tree, func(re *syntax.Regexp) {
		if re.Op != syntax.OpConcat {
			return
		}
		for i := 1; i < len(re.Sub)-1; i++ {
			if isDot(re.Sub[i]) && isWordBefore(re.Sub[i-1]) && isWordAfter(re.Sub[i+1]) {
				found = true
			}
		}
	})
	if found {
		l.at(a, "bare-dot", `the dot matches any character; write \. for a dot, or [^/] for any character of a segment`, pathWithoutDot(a))
	}
}

func isDot(re *syntax.Regexp) bool {
	return re.Op == syntax.OpAnyChar || re.Op == syntax.OpAnyCharNotNL
}

func isWordBefore(re *syntax.Regexp) bool {
	if re.Op == syntax.OpLiteral {
		return re.Rune[len(re.Rune)-1] != '/'
	}
	return len(re.Sub) == 1 && isWordBefore(re.Sub[0]) || re.Op == syntax.OpCharClass
}

func isWordAfter(re *syntax.Regexp) bool {
	if re.Op == syntax.OpLiteral {
		return re.Rune[0] != '/'
	}
	return len(re.Sub) == 1 && isWordAfter(re.Sub[0]) || re.Op == syntax.OpCharClass
}

// pathWithoutDot is a call that shows what a bare dot lets in: a path without dots.
func pathWithoutDot(a *analysis.Area) *analysis.Call {
	if a.Paths == nil {
		return nil
	}
	path, ok, err := automaton.Beyond([]*automaton.Language{a.Paths}, automaton.MustCompile(`(?s).*\..*`))
	if !ok || err != nil {
		return nil
	}
	return example(a, path)
}

// deadBranches looks for alternatives that begin in the wrong place, as in
// /users|admin, where the second one can match no path.
func (l *linter) deadBranches(a *analysis.Area, tree *syntax.Regexp) {
	for tree.Op == syntax.OpCapture {
		tree = tree.Sub[0]
	}
	if tree.Op != syntax.OpAlternate {
		return
	}
	for _, branch := range tree.Sub {
		if paths, err := analysis.Canonical(branch); err == nil && paths.Empty() {
			l.at(a, "dead-branch", "the branch "+quoted(branch.String())+" matches no path; | divides the whole regex, so put the branches into a group, as in /(?:a|b)", nil)
		}
	}
}

// oddRanges looks for [A-z], which is more than letters.
func (l *linter) oddRanges(a *analysis.Area) {
	if at := strings.Index(a.Path, "A-z"); at < 0 || !strings.Contains(a.Path[:at], "[") {
		return
	}
	var witness *analysis.Call
	if a.Paths != nil {
		if path, ok, err := automaton.Witness(a.Paths, automaton.MustCompile("(?s).*[\\[\\]^_`].*")); ok && err == nil {
			witness = example(a, path)
		}
	}
	l.at(a, "odd-range", "the range A-z holds [ ] ^ _ ` beside the letters; write A-Za-z", witness)
}

// safeMethods change nothing (RFC 9110 section 9.2.1).
var safeMethods = []string{"GET", "HEAD", "OPTIONS", "TRACE"}

// crossing looks for a wildcard of a write that runs across slashes.
func (l *linter) crossing(a *analysis.Area, tree *syntax.Regexp) {
	if !slices.ContainsFunc(a.Methods, func(m string) bool { return !slices.Contains(safeMethods, m) }) || a.Paths == nil {
		return
	}
	wide := ""
	visit(tree, func(re *syntax.Regexp) {
		if isRepeat(re) && isDotOrNegation(re.Sub[0]) && matchesSlash(re.Sub[0]) {
			wide = wildcard(re)
		}
	})
	if wide == "" {
		return
	}
	path, ok := deepest(a.Paths)
	if !ok {
		return
	}
	witness := example(a, path)
	if i := slices.IndexFunc(a.Methods, func(m string) bool { return !slices.Contains(safeMethods, m) }); witness != nil && a.Methods[i] != permission.AnyMethod {
		witness.Method = a.Methods[i]
	} else if witness != nil {
		witness.Method = "POST"
	}
	l.at(a, "crosses-segments", quoted(wide)+" runs across slashes, so the write covers everything below; write [^/]+ for one segment", witness)
}

// deepest finds a path with more slashes than the shortest one has.
func deepest(paths *automaton.Language) (path string, ok bool) {
	least, ok, err := automaton.Witness(paths)
	if !ok || err != nil {
		return "", false
	}
	asDeep := automaton.MustCompile(`(?s)[^/]*(?:/[^/]*){0,` + strconv.Itoa(min(countSlashes(least), 500)) + `}`)
	for _, unwanted := range [][]*automaton.Language{{asDeep, automaton.MustCompile(`(?s).*/`)}, {asDeep}} {
		if path, ok, err = automaton.Beyond([]*automaton.Language{paths}, unwanted...); ok || err != nil {
			break
		}
	}
	return path, ok
}

// wildcard writes a repeated dot or class the way people do.
func wildcard(re *syntax.Regexp) string {
	sub := re.Sub[0].String()
	if isDot(re.Sub[0]) {
		sub = "."
	}
	switch re.Op {
	case syntax.OpStar:
		return sub + "*"
	case syntax.OpPlus:
		return sub + "+"
	}
	return re.String()
}

func isRepeat(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpStar, syntax.OpPlus:
		return true
	case syntax.OpRepeat:
		return re.Max != 1
	}
	return false
}

func isDotOrNegation(re *syntax.Regexp) bool {
	for re.Op == syntax.OpCapture {
		re = re.Sub[0]
	}
	return isDot(re) || re.Op == syntax.OpCharClass && re.Rune[len(re.Rune)-1] == utf8.MaxRune
}

func matchesSlash(re *syntax.Regexp) bool {
	slash, err := automaton.Compile(re)
	return err == nil && slash.Contains("/")
}

// visit walks a regex, outermost parts first.
func visit(re *syntax.Regexp, f func(*syntax.Regexp)) {
	f(re)
	for _, sub := range re.Sub {
		visit(sub, f)
	}
}
