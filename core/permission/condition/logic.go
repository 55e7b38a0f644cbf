package condition

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"

	"gatehouse/core"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/pattern"
)

// Logic is what a condition says, as formulas. Where neither True nor False holds it is
// an error, which denies as false does.
type Logic struct {
	True, False formula.Formula
	// Given holds of all requests: how the terms of the condition belong together.
	Given formula.Formula
	// Inexact are the parts of which the formulas know no more than their texts.
	Inexact []string
	// Reads are the names that are read, by variable.
	Reads map[string][]string
}

// Logic reads a condition as formulas; group is the term of a named group of the path.
// They say nothing of the cost limit.
func (c *Condition) Logic(group func(name string) formula.Term) Logic {
	env, err := environment()
	if err != nil {
		return Logic{Inexact: []string{c.text}}
	}
	checked, issues := env.Compile(c.text)
	if issues.Err() != nil { // it was compiled before
		return Logic{Inexact: []string{c.text}}
	}
	native := checked.NativeRep()
	t := &translator{text: c.text, group: group, info: native.SourceInfo(), Logic: Logic{Given: formula.Always, Reads: c.reads}}
	whole := t.truth(native.Expr())
	readable := t.readable()
	t.True, t.False = formula.And(whole.yes, readable), formula.And(whole.no, readable)
	return t.Logic
}

// Groups are the values of the named groups that the condition reads of a path which
// its regex matches.
func (c *Condition) Groups(path string) map[string]string {
	if c.groups == nil {
		return nil
	}
	values := map[string]string{}
	for name, value := range ReadGroups(path, c.groups) {
		if text, ok := value.(string); ok && slices.Contains(c.reads[pathVar], name) {
			values[name] = text
		}
	}
	return values
}

// ReadGroups are the named groups of the path that the condition reads.
func (c *Condition) ReadGroups() []string { return c.reads[pathVar] }

// --- the terms of conditions

// Between stands between the parts of the name of a term.
const Between = "\x1f"

// What the names of terms begin with, or are.
const (
	ClaimTerm  = claimsVar
	RawTerm    = rawVar
	HeaderTerm = headersVar
	QueryTerm  = queryVar
	PeerTerm   = peerVar
	HostTerm   = hostVar
	MethodTerm = methodVar
)

// Claim is the term of a claim.
func Claim(name string) formula.Term {
	return formula.Term{Name: ClaimTerm + Between + name, Text: slices.Contains([]string{"sub", "iss", "kind", "client_id", "aal", "scope"}, name)}
}

// raw is the term of a claim as the credential states it: the same unless the
// principal has a field of that name.
func raw(name string) formula.Term {
	if _, own := (&core.Principal{}).Field(name); own {
		return formula.Term{Name: RawTerm + Between + name}
	}
	return Claim(name)
}

// Host, Method and Peer are terms of the request.
var (
	Host   = formula.Term{Name: HostTerm, Text: true}
	Method = formula.Term{Name: MethodTerm, Text: true}
	Peer   = formula.Term{Name: PeerTerm, Text: true}
)

// Unreadable is the fact that a header or a query parameter has no one value: a
// condition that reads it is an error.
func Unreadable(variable, name string) formula.Formula {
	return formula.Fact("unreadable " + variable + Between + name)
}

// --- from an expression to formulas

type translator struct {
	Logic
	text  string
	group func(string) formula.Term
	info  *ast.SourceInfo
}

// truth is a part that gives true or false; where neither holds it is an error.
type truth struct{ yes, no formula.Formula }

var truths = map[bool]truth{true: {formula.Always, formula.Never}, false: {formula.Never, formula.Always}}

func (v truth) not() truth { return truth{v.no, v.yes} }

// readable holds where the headers and parameters that the condition reads have one
// value each.
func (t *translator) readable() formula.Formula {
	ok := formula.Always
	for _, variable := range []string{headersVar, queryVar} {
		for _, name := range t.Reads[variable] {
			ok = formula.And(ok, formula.Not(Unreadable(variable, name)))
		}
	}
	return ok
}

func (t *translator) truth(e ast.Expr) truth {
	switch e.Kind() {
	case ast.LiteralKind:
		if holds, ok := e.AsLiteral().Value().(bool); ok {
			return truths[holds]
		}
	case ast.SelectKind:
		if e.AsSelect().IsTestOnly() {
			return t.has(e)
		}
	case ast.CallKind:
		if v, ok := t.call(e.AsCall()); ok {
			return v
		}
	}
	if term, ok := t.term(e); ok {
		return truth{formula.Equals(term, truthValue(true)), formula.Equals(term, truthValue(false))}
	}
	return t.opaque(e)
}

// isTruth reports whether a part gives true or false, or an error.
func isTruth(e ast.Expr) bool {
	switch e.Kind() {
	case ast.LiteralKind:
		_, ok := e.AsLiteral().Value().(bool)
		return ok
	case ast.SelectKind:
		return e.AsSelect().IsTestOnly()
	case ast.CallKind:
		return slices.Contains([]string{operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Equals, operators.NotEquals, operators.In}, e.AsCall().FunctionName())
	}
	return false
}

func (t *translator) call(c ast.CallExpr) (v truth, ok bool) {
	args := c.Args()
	switch c.FunctionName() {
	case operators.LogicalAnd:
		a, b := t.truth(args[0]), t.truth(args[1])
		return truth{formula.And(a.yes, b.yes), formula.Or(a.no, b.no)}, true
	case operators.LogicalOr:
		a, b := t.truth(args[0]), t.truth(args[1])
		return truth{formula.Or(a.yes, b.yes), formula.And(a.no, b.no)}, true
	case operators.LogicalNot:
		return t.truth(args[0]).not(), true
	case operators.Conditional:
		c, a, b := t.truth(args[0]), t.truth(args[1]), t.truth(args[2])
		either := func(then, otherwise formula.Formula) formula.Formula {
			return formula.Or(formula.And(c.yes, then), formula.And(c.no, otherwise))
		}
		return truth{either(a.yes, b.yes), either(a.no, b.no)}, true
	case operators.Equals:
		return t.equal(args[0], args[1])
	case operators.NotEquals:
		v, ok = t.equal(args[0], args[1])
		return v.not(), ok
	case operators.In:
		return t.in(args[0], args[1])
	}
	return truth{}, false
}

// has is has(x.y) of a variable or of a part of a value.
func (t *translator) has(e ast.Expr) truth {
	if variable, name, ok := readByName(e); ok {
		term := t.read(variable, name)
		return truth{formula.Present(term), formula.Not(formula.Present(term))}
	}
	of, ok := t.term(e.AsSelect().Operand())
	if !ok || of.Text {
		return t.opaque(e)
	}
	part := t.part(of, e.AsSelect().FieldName())
	// CEL says of a text, a number or a truth that it has no such part, and of a list nothing.
	without := formula.And(formula.Present(of), formula.Not(formula.IsList(of)), formula.Not(formula.Present(part)))
	return truth{formula.Present(part), without}
}

// equal compares two parts; ok is false where that is more than formulas know.
func (t *translator) equal(a, b ast.Expr) (v truth, ok bool) {
	if isTruth(a) && isTruth(b) {
		v, w := t.truth(a), t.truth(b)
		return truth{formula.Or(formula.And(v.yes, w.yes), formula.And(v.no, w.no)), formula.Or(formula.And(v.yes, w.no), formula.And(v.no, w.yes))}, true
	}
	x, okX := t.operand(a)
	y, okY := t.operand(b)
	if !okX || !okY {
		return truth{}, false
	}
	same := x.is(y)
	both := formula.And(x.present(), y.present())
	return truth{formula.And(both, same), formula.And(both, formula.Not(same))}, true
}

// operand is a term or a constant.
type operand struct {
	constant bool
	value    formula.Value
	// null is the constant that no value is.
	null bool
	term formula.Term
}

func (t *translator) operand(e ast.Expr) (o operand, ok bool) {
	if e.Kind() == ast.LiteralKind {
		if e.AsLiteral() == types.NullValue {
			return operand{constant: true, null: true}, true
		}
		value, ok := constant(e.AsLiteral().Value())
		return operand{constant: true, value: value}, ok
	}
	term, ok := t.term(e)
	return operand{term: term}, ok
}

func (o operand) present() formula.Formula {
	if o.constant {
		return formula.Always
	}
	return formula.Present(o.term)
}

func (o operand) is(p operand) formula.Formula {
	switch {
	case o.constant && p.constant:
		return formula.Constant(o.null == p.null && o.value == p.value)
	case p.constant:
		return p.is(o)
	case !o.constant:
		return formula.Agree(o.term, p.term)
	case o.null, p.term == Peer && !isAddress(o.value), p.term == Host && !IsHost(o.value.Text):
		return formula.Never
	}
	return formula.Equals(p.term, o.value)
}

func isAddress(v formula.Value) bool {
	address, err := netip.ParseAddr(v.Text)
	return err == nil && address.Unmap().WithZone("").String() == v.Text
}

// IsHost reports whether a text is a host in the form that conditions read.
func IsHost(text string) bool {
	host, ok := pattern.AppendHost(nil, text)
	return ok && string(host) == text
}

func truthValue(holds bool) formula.Value {
	return formula.Value{Type: formula.Truth, Text: strconv.FormatBool(holds)}
}

// constant is a value as formulas compare it: numbers are equal across their types.
func constant(v any) (value formula.Value, ok bool) {
	switch v := v.(type) {
	case string:
		return formula.Value{Type: formula.Text, Text: v}, true
	case bool:
		return truthValue(v), true
	case int64:
		return formula.Value{Type: formula.Number, Text: strconv.FormatInt(v, 10)}, true
	case uint64:
		return formula.Value{Type: formula.Number, Text: strconv.FormatUint(v, 10)}, true
	case float64:
		if whole := int64(v); float64(whole) == v && whole > -1<<53 && whole < 1<<53 {
			return formula.Value{Type: formula.Number, Text: strconv.FormatInt(whole, 10)}, true
		}
		return formula.Value{Type: formula.Number, Text: strconv.FormatFloat(v, 'g', -1, 64)}, v == v && v < 1<<53 && v > -1<<53
	}
	return formula.Value{}, false
}

// in is the membership in a list that is written out, or in a value.
func (t *translator) in(item, of ast.Expr) (v truth, ok bool) {
	if name, literal := literalString(item); literal && of.Kind() == ast.IdentKind {
		if slices.Contains([]string{claimsVar, rawVar, headersVar, queryVar, pathVar}, of.AsIdent()) {
			present := formula.Present(t.read(of.AsIdent(), name))
			return truth{present, formula.Not(present)}, true
		}
	}
	x, ok := t.operand(item)
	if !ok || x.null {
		return truth{}, false
	}
	if of.Kind() == ast.ListKind {
		return t.inList(x, of.AsList().Elements())
	}
	whole, ok := t.term(of)
	if !ok || whole.Text {
		return truth{}, false
	}
	member := formula.Contains(whole, x.value)
	if !x.constant {
		member = formula.ContainsTerm(whole, x.term)
	}
	possible := formula.And(formula.Or(formula.IsList(whole), formula.IsMap(whole)), x.present())
	return truth{formula.And(possible, member), formula.And(possible, formula.Not(member))}, true
}

func (t *translator) inList(x operand, elements []ast.Expr) (v truth, ok bool) {
	defined, member := x.present(), formula.Never
	for _, e := range elements {
		y, ok := t.operand(e)
		if !ok {
			return truth{}, false
		}
		defined, member = formula.And(defined, y.present()), formula.Or(member, x.is(y))
	}
	return truth{formula.And(defined, member), formula.And(defined, formula.Not(member))}, true
}

// term is what a part reads, where it reads one value.
func (t *translator) term(e ast.Expr) (term formula.Term, ok bool) {
	if variable, name, ok := readByName(e); ok && !isTest(e) {
		return t.read(variable, name), true
	}
	switch e.Kind() {
	case ast.IdentKind:
		switch e.AsIdent() {
		case peerVar, hostVar, methodVar:
			return formula.Term{Name: e.AsIdent(), Text: true}, true
		}
	case ast.SelectKind:
		if !isTest(e) {
			return t.partOf(e.AsSelect().Operand(), e.AsSelect().FieldName())
		}
	case ast.CallKind:
		if c := e.AsCall(); c.FunctionName() == operators.Index {
			if name, literal := literalString(c.Args()[1]); literal {
				return t.partOf(c.Args()[0], name)
			}
		}
	}
	return formula.Term{}, false
}

// isTest reports whether a part asks whether there is a value, and is none itself.
func isTest(e ast.Expr) bool {
	return e.Kind() == ast.SelectKind && e.AsSelect().IsTestOnly() || e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.In
}

func (t *translator) partOf(e ast.Expr, name string) (term formula.Term, ok bool) {
	of, ok := t.term(e)
	if !ok || of.Text {
		return formula.Term{}, false
	}
	return t.part(of, name), true
}

// part is a member of a map.
func (t *translator) part(of formula.Term, name string) formula.Term {
	part := formula.Term{Name: of.Name + Between + name}
	has := formula.Contains(of, formula.Value{Type: formula.Text, Text: name})
	t.Given = formula.And(t.Given,
		formula.Implies(formula.Present(part), formula.IsMap(of)),
		formula.Implies(formula.IsMap(of), formula.Same(has, formula.Present(part))))
	return part
}

func (t *translator) read(variable, name string) formula.Term {
	switch variable {
	case claimsVar:
		return Claim(name)
	case rawVar:
		return raw(name)
	case pathVar:
		return t.group(name)
	}
	return formula.Term{Name: variable + Between + name, Text: true}
}

// opaque is a part of which nothing is known but that it gives the same for the same
// request.
func (t *translator) opaque(e ast.Expr) truth {
	text, err := parser.Unparse(e, t.info)
	key := text
	if err != nil { // a macro: what it was written as is not kept
		text, key = t.text, t.text+Between+strconv.FormatInt(e.ID(), 10)
	}
	if !slices.Contains(t.Inexact, text) {
		t.Inexact = append(t.Inexact, text)
	}
	for _, name := range t.Reads[pathVar] { // the same text may read other groups elsewhere
		if strings.Contains(key, pathVar) {
			key += Between + name + Between + t.group(name).Name
		}
	}
	yes := formula.Fact("true: " + key)
	return truth{yes, formula.And(formula.Not(yes), formula.Fact("false: "+key))}
}
