// Package formula decides propositional formulas over facts, over values that are
// texts, numbers or truths out of unlimited sets, and over lists and maps of them. A
// formula that holds for some assignment has a [Model]; one that has none holds never.
// The work is bounded: what would take too much is TooLarge, which is no answer.
package formula

import "slices"

type op uint8

const (
	opAtom op = iota
	opNot
	opAnd
	opOr
)

// Formula is immutable, and its parts may be shared. The zero value holds never.
type Formula struct{ n *node }

type node struct {
	op   op
	subs []*node
	atom atom
}

var truth = &node{op: opAnd}

// Always holds, and Never does not.
var (
	Always = Formula{truth}
	Never  = Formula{}
)

// Says reports, at little cost, whether a formula is written as g and more: each part of g
// is a part of it. Then it implies g. It may do so, too, where Says is false.
func (f Formula) Says(g Formula) bool {
	if f.n == nil || g.n == nil {
		return f.n == nil
	}
	own := f.parts()
	return !slices.ContainsFunc(g.parts(), func(n *node) bool {
		return !slices.ContainsFunc(own, func(o *node) bool { return o.equal(n) })
	})
}

// parts are what must hold together.
func (f Formula) parts() []*node {
	if f.n.op == opAnd {
		return f.n.subs
	}
	return []*node{f.n}
}

// equal reports whether two parts are written alike.
func (n *node) equal(o *node) bool {
	return n == o || n.op == o.op && n.atom == o.atom && slices.EqualFunc(n.subs, o.subs, (*node).equal)
}

// Constant is Always or Never.
func Constant(holds bool) Formula {
	if holds {
		return Always
	}
	return Never
}

// IsNever reports whether a formula was simplified to Never. Others may be
// contradictory, too: Solve tells.
func (f Formula) IsNever() bool { return f.n == nil }

// IsAlways reports whether a formula was simplified to Always.
func (f Formula) IsAlways() bool { return f.n == truth }

// And holds where all of them hold.
func And(all ...Formula) Formula {
	var subs []*node
	for _, f := range all {
		switch {
		case f.n == nil:
			return Never
		case f.n == truth:
		case f.n.op == opAnd:
			subs = append(subs, f.n.subs...)
		default:
			subs = append(subs, f.n)
		}
	}
	return joined(opAnd, subs, Always)
}

// Or holds where one of them holds.
func Or(any ...Formula) Formula {
	var subs []*node
	for _, f := range any {
		switch {
		case f.n == truth:
			return Always
		case f.n == nil:
		case f.n.op == opOr:
			subs = append(subs, f.n.subs...)
		default:
			subs = append(subs, f.n)
		}
	}
	return joined(opOr, subs, Never)
}

func joined(by op, subs []*node, empty Formula) Formula {
	subs = withoutRepeats(subs)
	switch len(subs) {
	case 0:
		return empty
	case 1:
		return Formula{subs[0]}
	}
	return Formula{&node{op: by, subs: subs}}
}

func withoutRepeats(subs []*node) []*node {
	seen := make(map[*node]bool, len(subs))
	return slices.DeleteFunc(slices.Clone(subs), func(n *node) bool {
		again := seen[n]
		seen[n] = true
		return again
	})
}

// Not holds where the formula does not.
func Not(f Formula) Formula {
	switch {
	case f.n == nil:
		return Always
	case f.n == truth:
		return Never
	case f.n.op == opNot:
		return Formula{f.n.subs[0]}
	}
	return Formula{&node{op: opNot, subs: []*node{f.n}}}
}

// Implies holds unless a holds and b does not.
func Implies(a, b Formula) Formula { return Or(Not(a), b) }

// Same holds where both hold or none does.
func Same(a, b Formula) Formula { return And(Implies(a, b), Implies(b, a)) }

// AtMostOne holds where no two of them hold.
func AtMostOne(all ...Formula) Formula {
	var pairs []Formula
	for i, a := range all {
		for _, b := range all[i+1:] {
			pairs = append(pairs, Or(Not(a), Not(b)))
		}
	}
	return And(pairs...)
}

// --- what a formula is about

// Term is something that has a value, or is absent.
type Term struct {
	Name string
	// Text says that the value is always a text.
	Text bool
}

// Type is that of a value.
type Type uint8

// The types of values. Another value is one that no formula names.
const (
	Another Type = iota
	Text
	Number
	Truth
)

// Value is a text, a number in one form for equal numbers, or a truth. Two other values
// are equal where their texts are.
type Value struct {
	Type Type
	Text string
}

type atomKind uint8

const (
	factAtom atomKind = iota
	presentAtom
	equalsAtom
	sameAtom
	listAtom
	mapAtom
	containsAtom
	containsTermAtom
)

type atom struct {
	kind  atomKind
	name  string
	a, b  Term
	value Value
}

func of(a atom) Formula { return Formula{&node{op: opAtom, atom: a}} }

// Fact holds or not, as a model says.
func Fact(name string) Formula { return of(atom{kind: factAtom, name: name}) }

// Present holds where a term has a value.
func Present(t Term) Formula { return of(atom{kind: presentAtom, a: t}) }

// Equals holds where the value of a term is the given one.
func Equals(t Term, v Value) Formula { return of(atom{kind: equalsAtom, a: t, value: v}) }

// Agree holds where both terms have a value, and the same one.
func Agree(t, u Term) Formula {
	if t == u {
		return Present(t)
	}
	if t.Name > u.Name {
		t, u = u, t
	}
	return of(atom{kind: sameAtom, a: t, b: u})
}

// IsList and IsMap hold where the value is such.
func IsList(t Term) Formula {
	if t.Text {
		return Never
	}
	return of(atom{kind: listAtom, a: t})
}

// IsMap holds where the value is a map of texts to anything.
func IsMap(t Term) Formula {
	if t.Text {
		return Never
	}
	return of(atom{kind: mapAtom, a: t})
}

// Contains holds where the value of a term is a list that has the value, or a map that
// has it as a key.
func Contains(t Term, v Value) Formula {
	if t.Text {
		return Never
	}
	return of(atom{kind: containsAtom, a: t, value: v})
}

// ContainsTerm is Contains of the value of another term.
func ContainsTerm(t, u Term) Formula {
	if t.Text {
		return Never
	}
	return of(atom{kind: containsTermAtom, a: t, b: u})
}
