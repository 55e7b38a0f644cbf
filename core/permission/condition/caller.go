package condition

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// AsksOfCaller reports whether the condition holds for no caller without claims. It
// may say false where such a condition is not simple.
func (c *Condition) AsksOfCaller() bool { return c.asksOfCaller }

// readsAClaim reports whether an expression is an error without claims, because a
// claim that it reads is absent. An error makes the whole an error, but for && and ||,
// where the other side may decide.
func readsAClaim(e ast.Expr) bool {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		return !s.IsTestOnly() && (isClaims(s.Operand()) || readsAClaim(s.Operand()))
	case ast.CallKind:
		return callReadsAClaim(e.AsCall())
	case ast.ListKind:
		return slices.ContainsFunc(e.AsList().Elements(), readsAClaim)
	case ast.ComprehensionKind:
		return readsAClaim(e.AsComprehension().IterRange())
	}
	return false
}

func callReadsAClaim(c ast.CallExpr) bool {
	args := c.Args()
	switch c.FunctionName() {
	case operators.LogicalAnd:
		return slices.ContainsFunc(args, readsAClaim)
	case operators.LogicalOr:
		return readsAClaim(args[0]) && readsAClaim(args[1])
	case operators.Conditional:
		return readsAClaim(args[0]) || readsAClaim(args[1]) && readsAClaim(args[2])
	case operators.Index:
		if isClaims(args[0]) {
			return true
		}
	}
	return c.IsMemberFunction() && readsAClaim(c.Target()) || slices.ContainsFunc(args, readsAClaim)
}

func isClaims(e ast.Expr) bool {
	return e.Kind() == ast.IdentKind && (e.AsIdent() == claimsVar || e.AsIdent() == rawVar)
}
