// Package condition compiles and evaluates the CEL conditions of a permission
// table. No other package knows CEL.
package condition

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/ext"

	"gatehouse/core/permission/pattern"
	"gatehouse/core/permission/report"
)

// The variables of a condition. The first five hold values by name, and the
// names are always written out: what a condition depends on is known before
// any request arrives.
const (
	claimsVar  = "claims"
	rawVar     = "raw"
	headersVar = "headers"
	queryVar   = "query"
	pathVar    = "path"
	peerVar    = "peer"
	hostVar    = "host"
	methodVar  = "method"
)

var variables = []string{claimsVar, rawVar, headersVar, queryVar, pathVar, peerVar, hostVar, methodVar}

// Bounds of one condition. The cost is counted in the steps of the CEL
// specification while a condition runs; going over it denies.
const (
	// MaxText is the greatest length of a condition in bytes.
	MaxText        = 2048
	maxCost        = 20000
	maxDepth       = 32
	maxLoopNesting = 2
)

// environment is what conditions are checked against.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	byName := func(values *cel.Type) *cel.Type { return cel.MapType(cel.StringType, values) }
	return cel.NewEnv(
		cel.Variable(claimsVar, byName(cel.DynType)),
		cel.Variable(rawVar, byName(cel.DynType)),
		cel.Variable(headersVar, byName(cel.StringType)),
		cel.Variable(queryVar, byName(cel.StringType)),
		cel.Variable(pathVar, byName(cel.StringType)),
		cel.Variable(peerVar, cel.StringType),
		cel.Variable(hostVar, cel.StringType),
		cel.Variable(methodVar, cel.StringType),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserRecursionLimit(maxDepth),
		cel.ExtendedValidations(),
		cel.ASTValidators(cel.ValidateComprehensionNestingLimit(maxLoopNesting)),
		ext.Network(),
	)
})

// Condition is a compiled CEL expression and the names it reads. It is immutable
// and safe for concurrent use.
type Condition struct {
	text    string
	program cel.Program
	reads   map[string][]string
	path    *pattern.Path
	// groups is nil where the condition reads no named group of the path.
	groups *regexp.Regexp
	// asksOfCaller: see AsksOfCaller.
	asksOfCaller bool
}

// Problem is an error in a condition. Line and Column count from 0 within its
// text.
type Problem struct {
	Line, Column int
	Text         string
}

// Compile checks a condition against the variables and the named groups of the
// path that goes with it.
func Compile(text string, path *pattern.Path) (*Condition, []Problem) {
	if strings.TrimSpace(text) == "" {
		return nil, []Problem{{Text: "is empty; write a condition or leave the key out"}}
	}
	if !utf8.ValidString(text) {
		return nil, []Problem{{Text: "is not valid UTF-8; write it as UTF-8"}}
	}
	if len(text) > MaxText {
		return nil, []Problem{{Text: fmt.Sprintf("is longer than %d bytes; shorten it, or move the rule into the service", MaxText)}}
	}
	env, err := environment()
	if err != nil {
		return nil, []Problem{{Text: err.Error()}}
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, celProblems(issues, text)
	}
	r := &reader{ast: checked.NativeRep(), groups: path.Groups, reads: map[string][]string{}}
	r.visit(checked.NativeRep().Expr())
	if r.reads[peerVar] == nil {
		r.problems = append(r.problems, r.forwarded...)
	}
	switch t := checked.OutputType(); t {
	case cel.BoolType:
	case cel.DynType:
		r.refuse(checked.NativeRep().Expr(), "may give anything where true or false belongs; compare it, as in claims.admin == true")
	default:
		r.refuse(checked.NativeRep().Expr(), "gives %s where true or false belongs; compare it with something", cel.FormatCELType(t))
	}
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	program, err := env.Program(checked, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, []Problem{{Text: err.Error()}}
	}
	c := &Condition{text: text, program: program, reads: r.reads, path: path, asksOfCaller: readsAClaim(checked.NativeRep().Expr())}
	if c.ReadsPath() {
		if c.groups, err = path.Compile(); err != nil {
			return nil, []Problem{{Text: "needs the groups of the path, and the path " + err.Error()}}
		}
	}
	return c, nil
}

// Text is the condition as written.
func (c *Condition) Text() string { return c.text }

// Path is what the condition was compiled for.
func (c *Condition) Path() *pattern.Path { return c.path }

// ReadsPath reports whether the condition reads named groups of the path, so
// that its meaning depends on the path regex too.
func (c *Condition) ReadsPath() bool { return c.reads[pathVar] != nil }

// ReadsActor reports whether the condition reads who acts for the subject.
func (c *Condition) ReadsActor() bool {
	return slices.Contains(c.reads[claimsVar], "act") || slices.Contains(c.reads[rawVar], "act")
}

// reader walks an expression, notes the names it reads and refuses what
// cannot be known before a request arrives.
type reader struct {
	ast      *ast.AST
	groups   []string
	reads    map[string][]string
	problems []Problem
	// forwarded are the reads of headers that count from some peers only, as
	// problems of a condition that does not read the peer.
	forwarded []Problem
}

func (r *reader) refuse(e ast.Expr, format string, args ...any) {
	r.problems = append(r.problems, r.problem(e, format, args...))
}

func (r *reader) problem(e ast.Expr, format string, args ...any) Problem {
	at := r.ast.SourceInfo().GetStartLocation(e.ID())
	return Problem{max(at.Line()-1, 0), max(at.Column(), 0), fmt.Sprintf(format, args...)}
}

func (r *reader) visit(e ast.Expr) {
	if variable, name, ok := readByName(e); ok {
		r.read(e, variable, name)
		return
	}
	switch e.Kind() {
	case ast.IdentKind:
		r.identifier(e, e.AsIdent())
	case ast.SelectKind:
		r.visit(e.AsSelect().Operand())
	case ast.CallKind:
		r.call(e, e.AsCall())
	case ast.ListKind:
		r.visitAll(e.AsList().Elements())
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			r.visitAll([]ast.Expr{entry.AsMapEntry().Key(), entry.AsMapEntry().Value()})
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		for _, name := range []string{c.IterVar(), c.IterVar2()} {
			if slices.Contains(variables, name) {
				r.refuse(e, "the name %s is taken by a variable; use another one in the macro", name)
			}
		}
		r.visitAll([]ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()})
	}
}

func (r *reader) visitAll(list []ast.Expr) {
	for _, e := range list {
		r.visit(e)
	}
}

// readByName recognises claims.x, claims['x'], has(claims.x) and 'x' in claims.
func readByName(e ast.Expr) (variable, name string, ok bool) {
	var of ast.Expr
	switch e.Kind() {
	case ast.SelectKind:
		of, name, ok = e.AsSelect().Operand(), e.AsSelect().FieldName(), true
	case ast.CallKind:
		args := e.AsCall().Args()
		switch e.AsCall().FunctionName() {
		case operators.Index:
			of = args[0]
			name, ok = literalString(args[1])
		case operators.In:
			of = args[1]
			name, ok = literalString(args[0])
		}
	}
	if !ok || of.Kind() != ast.IdentKind {
		return "", "", false
	}
	switch of.AsIdent() {
	case claimsVar, rawVar, headersVar, queryVar, pathVar:
		return of.AsIdent(), name, true
	}
	return "", "", false
}

func literalString(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().Value().(string)
	return s, ok
}

// credentialHeaders never take part in a condition: the claims say what a
// credential means, and its text must stay out of comparisons and logs.
var credentialHeaders = []string{"authorization", "cookie", "proxy-authorization", "x-session-token"}

// isForwarded reports whether a header says where a request came from or what it
// was, which only a proxy knows and any client can write.
func isForwarded(name string) bool {
	name = strings.ReplaceAll(name, "_", "-")
	begins := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	return name == "forwarded" || name == "x-real-ip" || slices.ContainsFunc([]string{"x-forwarded-", "x-original-", "x-envoy-"}, begins)
}

// HeaderProblem says why a header, by its name in lower case, is never read on behalf of a
// table; empty: it is.
func HeaderProblem(name string) string {
	switch {
	case name != strings.ToLower(name):
		return fmt.Sprintf("header names are in lower case here; write %s", strings.ToLower(name))
	case slices.Contains(credentialHeaders, name):
		return fmt.Sprintf("the header %s carries a credential; use claims", name)
	case isForwarded(name):
		return fmt.Sprintf("the header %s is what any client says of itself; use peer, host or method", name)
	}
	return ""
}

func (r *reader) read(e ast.Expr, variable, name string) {
	if variable == headersVar && isForwarded(name) {
		r.forwarded = append(r.forwarded, r.problem(e, "the header %s is what any client says of itself; use peer, host or method, or ask for the peer that may send it too", name))
	}
	switch {
	case variable == headersVar && name != strings.ToLower(name):
		r.refuse(e, "header names are in lower case here; write headers['%s']", strings.ToLower(name))
	case variable == headersVar && slices.Contains(credentialHeaders, name):
		r.refuse(e, "the header %s carries a credential and takes no part in conditions; use claims", name)
	case variable == pathVar && !slices.Contains(r.groups, name):
		r.refuse(e, "the path has no group named %s%s; add (?P<%s>…) to the path", name, report.DidYouMean(name, r.groups), name)
	case !slices.Contains(r.reads[variable], name):
		r.reads[variable] = append(r.reads[variable], name)
	}
}

func (r *reader) identifier(e ast.Expr, name string) {
	switch name {
	case claimsVar, rawVar, headersVar, queryVar, pathVar:
		r.refuse(e, "%s is read by name only; write %s['NAME'], has(%s.NAME) or 'NAME' in %s", name, name, name, name)
	case peerVar, hostVar:
		r.reads[name] = []string{name}
	}
}

func (r *reader) call(e ast.Expr, c ast.CallExpr) {
	if c.IsMemberFunction() {
		r.visit(c.Target())
	}
	r.visitAll(c.Args())
	r.shape(e, c)
	if c.FunctionName() == "matches" {
		r.matches(e, c.Args()[len(c.Args())-1])
	}
}

// matches insists on a pattern that is written out and names both its ends,
// because CEL searches where the rest of a table matches the whole.
func (r *reader) matches(e, pattern ast.Expr) {
	text, ok := literalString(pattern)
	if !ok {
		r.refuse(e, "matches() takes a pattern that is written out, not one that a request could choose")
		return
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return // reported by CEL's own check of regex literals
	}
	if !anchored(tree) {
		r.refuse(e, "matches() looks for the pattern anywhere in the text; write '^(?:%s)$' for the whole text, or '^.*(?:%s).*$' if anywhere is meant", text, text)
	}
}

func anchored(tree *syntax.Regexp) bool {
	n := len(tree.Sub)
	return tree.Op == syntax.OpConcat && n >= 2 &&
		tree.Sub[0].Op == syntax.OpBeginText && tree.Sub[n-1].Op == syntax.OpEndText
}
