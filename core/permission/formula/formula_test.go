package formula

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// random makes a formula of a depth.
func random(r *rand.Rand, depth int, atoms []Formula) Formula {
	if depth == 0 || r.IntN(6) == 0 {
		return atoms[r.IntN(len(atoms))]
	}
	sub := func() Formula { return random(r, depth-1, atoms) }
	switch r.IntN(5) {
	case 0:
		return Not(sub())
	case 1:
		return And(sub(), sub(), sub())
	case 2:
		return Or(sub(), sub(), sub())
	case 3:
		return Same(sub(), sub())
	}
	return Implies(sub(), sub())
}

// value of a formula where atoms are judged by a function.
func (n *node) value(judge func(atom) bool) bool {
	switch {
	case n == nil:
		return false
	case n.op == opAtom:
		return judge(n.atom)
	case n.op == opNot:
		return !n.subs[0].value(judge)
	case n.op == opAnd:
		return !slices.ContainsFunc(n.subs, func(s *node) bool { return !s.value(judge) })
	}
	return slices.ContainsFunc(n.subs, func(s *node) bool { return s.value(judge) })
}

// judge is a model's opinion of an atom.
func (m *Model) judge(a atom) bool {
	v := m.values[a.a]
	has := func(w Value) bool { return slices.Contains(v.Members, w) && v.Shape >= List }
	switch a.kind {
	case factAtom:
		return m.facts[a.name]
	case presentAtom:
		return v.Shape != Absent
	case equalsAtom:
		return v.Shape == Plain && v.Value == a.value
	case sameAtom:
		return v.Shape == Plain && m.values[a.b].Shape == Plain && v.Value == m.values[a.b].Value
	case listAtom:
		return v.Shape == List
	case mapAtom:
		return v.Shape == Map
	case containsAtom:
		return has(a.value)
	}
	return m.values[a.b].Shape == Plain && has(m.values[a.b].Value)
}

func TestFormulaHoldsExactlyWhereATruthTableSaysSo(t *testing.T) {
	answers := map[Answer]int{}
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var facts []Formula
		n := 2 + r.IntN(7)
		for i := range n {
			facts = append(facts, Fact(fmt.Sprint(i)))
		}
		all := []Formula{}
		for range 1 + r.IntN(14) {
			all = append(all, random(r, 3, facts))
		}
		f := And(all...)
		m, answer := Solve(f)
		answers[answer]++
		possible := false
		for row := range 1 << n {
			possible = possible || f.n.value(func(a atom) bool { return row>>(a.name[0]-'0')&1 == 1 })
		}
		if possible != (answer == Satisfiable) {
			t.Fatalf("seed %d: %v, and the truth table says %t", seed, answer, possible)
		}
		if possible && !f.n.value(m.judge) {
			t.Fatalf("seed %d: the formula does not hold in its model", seed)
		}
	}
	if min(answers[Satisfiable], answers[Unsatisfiable]) < 250 {
		t.Errorf("the test shows little: %v", answers)
	}
}

// TestHardClausesAreDecided tries sets of clauses around the number at which they cease
// to have a model, which makes a solver learn and go back far.
func TestHardClausesAreDecided(t *testing.T) {
	answers := map[bool]int{}
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 2))
		n := 5 + r.IntN(11)
		var clauses [][]literal
		s := &solver{}
		for range n {
			s.variable()
		}
		for range int(4.3*float64(n)) + r.IntN(5) - 2 {
			var c []literal
			for range 3 {
				c = append(c, positive(r.IntN(n))^literal(r.IntN(2)))
			}
			clauses = append(clauses, c)
			s.require(c...)
		}
		possible := false
		for row := 0; row < 1<<n && !possible; row++ {
			holds := func(l literal) bool { return (row>>l.variable()&1 == 1) != l.negated() }
			possible = !slices.ContainsFunc(clauses, func(c []literal) bool { return !slices.ContainsFunc(c, holds) })
		}
		holds, decided := s.solve(maxWork)
		if !decided || holds != possible {
			t.Fatalf("seed %d: holds %t, decided %t; trying all says %t", seed, holds, decided, possible)
		}
		if holds && slices.ContainsFunc(clauses, func(c []literal) bool {
			return !slices.ContainsFunc(c, func(l literal) bool { return s.valueOf(l) == 1 })
		}) {
			t.Fatalf("seed %d: a clause does not hold in the model", seed)
		}
		answers[possible]++
	}
	if min(answers[true], answers[false]) < 200 {
		t.Errorf("the test shows little: %v", answers)
	}
}

// TestPigeonsWithoutEnoughHolesAreRefuted and those of the next test need much search.
func TestPigeonsWithoutEnoughHolesAreRefuted(t *testing.T) {
	if _, answer := Solve(pigeons(7, 6)); answer != Unsatisfiable {
		t.Errorf("7 pigeons, 6 holes: %v", answer)
	}
	if _, answer := Solve(pigeons(7, 7)); answer != Satisfiable {
		t.Errorf("7 pigeons, 7 holes: %v", answer)
	}
}

func TestSearchThatTakesTooLongIsNoAnswer(t *testing.T) {
	if _, answer := Solve(pigeons(14, 13)); answer != TooLarge {
		t.Errorf("14 pigeons, 13 holes: %v, want none", answer)
	}
}

func pigeons(n, holes int) Formula {
	sits := func(p, h int) Formula { return Fact(fmt.Sprint(p, " in ", h)) }
	var all []Formula
	for p := range n {
		var somewhere []Formula
		for h := range holes {
			somewhere = append(somewhere, sits(p, h))
		}
		all = append(all, Or(somewhere...))
	}
	for h := range holes {
		var here []Formula
		for p := range n {
			here = append(here, sits(p, h))
		}
		all = append(all, AtMostOne(here...))
	}
	return And(all...)
}

// TestValuesAreDecidedAsByTryingThem holds formulas about values against all assignments
// of a set of values that is larger than what formulas name.
func TestValuesAreDecidedAsByTryingThem(t *testing.T) {
	a, b, c := Term{Name: "a"}, Term{Name: "b"}, Term{Name: "c", Text: true}
	terms := []Term{a, b, c}
	x, y, one := Value{Text, "x"}, Value{Text, "y"}, Value{Number, "1"}
	scalars := []Value{x, y, one, {Another, "1"}, {Another, "2"}, {Another, "3"}}
	var lists []Assigned // of one or two members
	for _, members := range [][]Value{{x}, {scalars[3]}, {x, scalars[4]}, {y, one}} {
		lists = append(lists, Assigned{Shape: List, Members: members})
	}
	values := append([]Assigned{{}, {Shape: List}, {Shape: Map, Members: []Value{x}}, {Shape: Map}}, lists...)
	for _, v := range scalars {
		values = append(values, Assigned{Shape: Plain, Value: v})
	}
	atoms := []Formula{
		Present(a), Present(b), Present(c), Equals(a, x), Equals(a, y), Equals(b, x), Equals(b, one), Equals(c, x), Equals(c, y),
		Agree(a, b), Agree(b, c), Agree(a, c), IsList(a), IsMap(a), Contains(a, x), ContainsTerm(a, c), ContainsTerm(a, b), Fact("f"),
	}
	// The solver lets any two lists be equal, and any be a member; so does nothing here.
	plain := And(Or(Not(IsList(a)), Not(IsList(b))), Or(Not(IsMap(a)), Not(IsMap(b))), Or(Not(IsList(a)), And(Not(IsList(b)), Not(IsMap(b)))))
	answers := map[Answer]int{}
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 3))
		parts := []Formula{plain}
		for range 2 + r.IntN(9) {
			parts = append(parts, random(r, 2, atoms))
		}
		f := And(parts...)
		m, answer := Solve(f)
		answers[answer]++
		if answer == Satisfiable && !f.n.value(m.judge) {
			t.Fatalf("seed %d: the formula does not hold in its model %+v", seed, m)
		}
		if answer == Unsatisfiable && possible(f, terms, values) {
			t.Fatalf("seed %d: the formula can hold", seed)
		}
		if answer == TooLarge {
			t.Fatalf("seed %d: not decided", seed)
		}
	}
	if min(answers[Satisfiable], answers[Unsatisfiable]) < 80 {
		t.Errorf("the test shows little: %v", answers)
	}
}

func possible(f Formula, terms []Term, values []Assigned) bool {
	m := &Model{map[string]bool{}, map[Term]Assigned{}}
	var try func(int) bool
	try = func(i int) bool {
		if i == len(terms) {
			for _, m.facts["f"] = range []bool{false, true} {
				if f.n.value(m.judge) {
					return true
				}
			}
			return false
		}
		for _, v := range values {
			if terms[i].Text && (v.Shape > Plain || v.Type == Number) {
				continue
			}
			m.values[terms[i]] = v
			if try(i + 1) {
				return true
			}
		}
		return false
	}
	return try(0)
}

func TestModelsAreSmall(t *testing.T) {
	m, _ := Solve(Or(Fact("a"), Fact("b"), Fact("c")))
	held := 0
	for _, name := range []string{"a", "b", "c"} {
		if m.Fact(name) {
			held++
		}
	}
	if held != 1 {
		t.Errorf("%d facts hold where one is enough", held)
	}
}

// TestWhatAFormulaSaysFollowsFromIt has pairs of formulas of which one is the other and more.
func TestWhatAFormulaSaysFollowsFromIt(t *testing.T) {
	said := 0
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 7))
		facts := []Formula{Fact("a"), Fact("b"), Fact("c"), Always, Never}
		g := random(r, 2, facts)
		f := random(r, 2, facts)
		if r.IntN(2) == 0 { // made a second time: none of its parts is the same one
			again := rand.New(rand.NewPCG(seed, 7))
			f = And(random(again, 2, facts), f)
		}
		if !f.Says(g) {
			continue
		}
		said++
		if _, answer := Solve(And(f, Not(g))); answer != Unsatisfiable {
			t.Fatalf("seed %d: %v", seed, answer)
		}
	}
	if said < 2000 {
		t.Errorf("the test shows little: %d", said)
	}
}
