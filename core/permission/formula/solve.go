package formula

import (
	"cmp"
	"slices"
	"strconv"
)

// Answer says whether a formula can hold.
type Answer uint8

// The answers. The zero value is none.
const (
	TooLarge Answer = iota
	Unsatisfiable
	Satisfiable
)

// Bounds of one question: literals of clauses, and what the search may look at.
const (
	maxSize = 2_000_000
	maxWork = 20_000_000
)

// Solve looks for a model of a formula.
func Solve(f Formula) (*Model, Answer) {
	switch f.n {
	case nil:
		return nil, Unsatisfiable
	case truth:
		return &Model{}, Satisfiable
	}
	e := &encoder{solver: &solver{}, nodes: map[*node]literal{}, atoms: map[atom]literal{}, kinds: map[Term]*domain{}, values: map[Term]*encoded{}}
	e.collect(f.n)
	if !e.prepare() {
		return nil, TooLarge
	}
	top, ok := e.encode(f.n)
	if !ok {
		return nil, TooLarge
	}
	e.require(top)
	switch holds, decided := e.solve(maxWork); {
	case !decided:
		return nil, TooLarge
	case !holds:
		return nil, Unsatisfiable
	}
	return e.model(), Satisfiable
}

// Names are what a formula is about.
type Names struct {
	// Facts and Terms are in the order in which the formula names them.
	Facts []string
	Terms []Term
	// Values are those that a term is compared with, also by way of other terms.
	Values map[Term][]Value
}

// NamesOf lists what formulas are about.
func NamesOf(all ...Formula) Names {
	names := Names{Values: map[Term][]Value{}}
	e := &encoder{atoms: map[atom]literal{}, kinds: map[Term]*domain{}}
	for _, f := range all {
		if f.n != nil {
			e.collect(f.n)
		}
	}
	for _, a := range e.order {
		if a.kind == factAtom {
			names.Facts = append(names.Facts, a.name)
		}
		e.place(a)
	}
	names.Terms = e.terms
	for _, t := range e.terms {
		names.Values[t] = e.kinds[t].values
	}
	return names
}

// encoder writes a formula as clauses (Tseitin's way: a variable for each part).
type encoder struct {
	*solver
	nodes map[*node]literal
	atoms map[atom]literal
	// order is that in which atoms were met, so that results are always the same.
	order  []atom
	terms  []Term
	kinds  map[Term]*domain
	values map[Term]*encoded
	seen   map[*node]bool
}

// domain are the values that terms which are compared with each other can have: those
// that are named, and as many others as there are terms. More make no difference.
type domain struct {
	terms  []Term
	values []Value
	known  map[Value]bool
	// comparing says that terms of it are compared with each other.
	comparing bool
}

// encoded is a term as variables, of which at most one holds; none: it is absent.
type encoded struct {
	domain *domain
	is     []literal // by the number of the value
	list   literal
	object literal
	// holds are the members of the list, and keys those of the map.
	holds, keys []literal
}

// collect finds the atoms of a formula.
func (e *encoder) collect(n *node) {
	if e.seen == nil {
		e.seen = map[*node]bool{}
	}
	if e.seen[n] {
		return
	}
	e.seen[n] = true
	for _, sub := range n.subs {
		e.collect(sub)
	}
	if _, known := e.atoms[n.atom]; n.op == opAtom && !known {
		e.atoms[n.atom] = 0
		e.order = append(e.order, n.atom)
	}
}

// prepare makes the variables; false where that would be too many.
func (e *encoder) prepare() bool {
	for _, a := range e.order {
		e.place(a)
	}
	for _, t := range e.terms {
		if !e.term(t) {
			return false
		}
	}
	for _, a := range e.order {
		if e.atoms[a] = e.atom(a); e.size > maxSize {
			return false
		}
	}
	return true
}

// place puts the terms and values of an atom into a domain.
func (e *encoder) place(a atom) {
	if a.kind == factAtom {
		return
	}
	d := e.domainOf(a.a)
	switch a.kind {
	case equalsAtom, containsAtom:
		d.add(a.value)
	case sameAtom, containsTermAtom:
		e.merge(d, e.domainOf(a.b)).comparing = true
	}
}

func (e *encoder) domainOf(t Term) *domain {
	if e.kinds[t] == nil {
		e.kinds[t] = &domain{terms: []Term{t}, known: map[Value]bool{}}
		e.terms = append(e.terms, t)
	}
	return e.kinds[t]
}

func (d *domain) add(v Value) {
	if !d.known[v] {
		d.known[v] = true
		d.values = append(d.values, v)
	}
}

func (e *encoder) merge(a, b *domain) *domain {
	if a == b {
		return a
	}
	for _, v := range b.values {
		a.add(v)
	}
	for _, t := range b.terms {
		e.kinds[t] = a
	}
	a.terms = append(a.terms, b.terms...)
	a.comparing = a.comparing || b.comparing
	return a
}

// others adds those that no formula names.
func (d *domain) others() {
	n := 1
	if d.comparing {
		n = len(d.terms)
	}
	for i := range n {
		d.add(Value{Another, strconv.Itoa(i + 1)})
	}
}

// term makes the variables of a term.
func (e *encoder) term(t Term) bool {
	d := e.kinds[t]
	d.others()
	if e.size += len(d.values) * len(d.values); e.size > maxSize {
		return false
	}
	v := &encoded{domain: d, list: e.variable(), object: e.variable()}
	one := []literal{v.list, v.object}
	for _, value := range d.values {
		l := e.variable()
		v.is, one = append(v.is, l), append(one, l)
		if t.Text && value.Type != Text && value.Type != Another {
			e.require(l.not())
		}
	}
	if t.Text {
		e.require(v.list.not())
		e.require(v.object.not())
	}
	for i, a := range one {
		for _, b := range one[i+1:] {
			e.require(a.not(), b.not())
		}
	}
	e.values[t] = v
	return true
}

// members makes the variables for what a list or a map of a term has.
func (e *encoder) members(v *encoded) {
	if v.holds != nil {
		return
	}
	for _, value := range v.domain.values {
		v.holds = append(v.holds, e.variable())
		key := e.variable()
		if value.Type == Number || value.Type == Truth { // keys are texts
			e.require(key.not())
		}
		v.keys = append(v.keys, key)
	}
}

// atom is the literal that holds where an atom does.
func (e *encoder) atom(a atom) literal {
	if a.kind == factAtom {
		return e.variable()
	}
	v := e.values[a.a]
	switch a.kind {
	case presentAtom:
		return e.or(append([]literal{v.list, v.object}, v.is...)...)
	case equalsAtom:
		return v.is[slices.Index(v.domain.values, a.value)]
	case listAtom:
		return v.list
	case mapAtom:
		return v.object
	case containsAtom:
		e.members(v)
		i := slices.Index(v.domain.values, a.value)
		return e.or(e.and(v.list, v.holds[i]), e.and(v.object, v.keys[i]))
	case sameAtom:
		return e.same(v, e.values[a.b])
	}
	return e.containsTerm(v, e.values[a.b])
}

// same holds for equal values, and may hold for two lists or two maps.
func (e *encoder) same(v, u *encoded) literal {
	equal := e.variable()
	ways := []literal{e.and(v.list, u.list, equal), e.and(v.object, u.object, equal)}
	for i := range v.is {
		ways = append(ways, e.and(v.is[i], u.is[i]))
	}
	return e.or(ways...)
}

func (e *encoder) containsTerm(v, u *encoded) literal {
	e.members(v)
	in := e.variable() // whether a list or a map is a member
	ways := []literal{e.and(v.list, u.list, in), e.and(v.list, u.object, in)}
	for i := range u.is {
		ways = append(ways, e.and(v.list, u.is[i], v.holds[i]), e.and(v.object, u.is[i], v.keys[i]))
	}
	return e.or(ways...)
}

func (e *encoder) and(all ...literal) literal {
	l := e.variable()
	back := []literal{l}
	for _, a := range all {
		e.require(l.not(), a)
		back = append(back, a.not())
	}
	e.require(back...)
	return l
}

func (e *encoder) or(all ...literal) literal {
	l := e.variable()
	back := []literal{l.not()}
	for _, a := range all {
		e.require(l, a.not())
		back = append(back, a)
	}
	e.require(back...)
	return l
}

// encode is the literal that holds where a part of the formula does.
func (e *encoder) encode(n *node) (l literal, ok bool) {
	if l, known := e.nodes[n]; known {
		return l, true
	}
	subs := make([]literal, len(n.subs))
	for i, sub := range n.subs {
		if subs[i], ok = e.encode(sub); !ok {
			return 0, false
		}
	}
	switch n.op {
	case opAtom:
		l = e.atoms[n.atom]
	case opNot:
		l = subs[0].not()
	case opAnd:
		l = e.and(subs...)
	case opOr:
		l = e.or(subs...)
	}
	e.nodes[n] = l
	return l, e.size <= maxSize
}

// Model is an assignment for which a formula holds.
type Model struct {
	facts  map[string]bool
	values map[Term]Assigned
}

// Shape is what kind of value a term has.
type Shape uint8

// The shapes of values.
const (
	Absent Shape = iota
	Plain
	List
	Map
)

// Assigned is the value of a term.
type Assigned struct {
	Shape
	// Value is that of a plain one.
	Value
	// Members are those of a list, or the keys of a map, as far as formulas tell.
	Members []Value
}

// Fact reports whether a fact holds. One that the formula does not name may or may not.
func (m *Model) Fact(name string) bool { return m.facts[name] }

// Of is the value of a term; absent where the formula does not name the term.
func (m *Model) Of(t Term) Assigned { return m.values[t] }

// Terms are those that have a value, by name.
func (m *Model) Terms() []Term {
	var terms []Term
	for t, v := range m.values {
		if v.Shape != Absent {
			terms = append(terms, t)
		}
	}
	slices.SortFunc(terms, func(a, b Term) int { return cmp.Compare(a.Name, b.Name) })
	return terms
}

func (e *encoder) model() *Model {
	m := &Model{map[string]bool{}, map[Term]Assigned{}}
	for a, l := range e.atoms {
		if a.kind == factAtom {
			m.facts[a.name] = e.valueOf(l) == 1
		}
	}
	for t, v := range e.values {
		m.values[t] = e.assigned(v)
	}
	return m
}

func (e *encoder) assigned(v *encoded) (a Assigned) {
	members := func(of []literal) {
		for i, l := range of {
			if e.valueOf(l) == 1 {
				a.Members = append(a.Members, v.domain.values[i])
			}
		}
	}
	switch {
	case e.valueOf(v.list) == 1:
		a.Shape = List
		members(v.holds)
	case e.valueOf(v.object) == 1:
		a.Shape = Map
		members(v.keys)
	}
	for i, l := range v.is {
		if e.valueOf(l) == 1 {
			a.Shape, a.Value = Plain, v.domain.values[i]
		}
	}
	return a
}
