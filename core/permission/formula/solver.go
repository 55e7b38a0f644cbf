package formula

import "slices"

// literal is a variable, doubled, plus one where it is negated.
type literal int32

func (l literal) not() literal  { return l ^ 1 }
func (l literal) variable() int { return int(l >> 1) }
func (l literal) negated() bool { return l&1 == 1 }
func positive(v int) literal    { return literal(v << 1) }
func (l literal) value() int8   { return int8(1 - 2*(l&1)) }

// solver decides clauses by clause learning (conflict-driven search with two watched
// literals). It begins with everything false, so that models are small.
type solver struct {
	clauses [][]literal
	watches [][]int // by literal: the clauses that watch it
	values  []int8  // by variable: 1 true, -1 false, 0 open
	levels  []int
	reasons []int // by variable: the clause that decided it, or -1
	seen    []bool
	weights []float64
	weight  float64
	trail   []literal
	marks   []int // where each level begins on the trail
	done    int   // how much of the trail is propagated
	// next is where open variables begin, and learned says that weights tell them apart.
	next    int
	learned bool
	// size counts literals of clauses, and work what the search looked at.
	size, work int
	// contradictory is set by an empty clause.
	contradictory bool
}

const noReason = -1

func (s *solver) variable() literal {
	s.watches = append(s.watches, nil, nil)
	s.values = append(s.values, 0)
	s.levels = append(s.levels, 0)
	s.reasons = append(s.reasons, noReason)
	s.seen = append(s.seen, false)
	s.weights = append(s.weights, 0)
	return positive(len(s.values) - 1)
}

// require adds a clause: one of the literals must hold. It is called before solve only.
func (s *solver) require(clause ...literal) {
	c := slices.Clone(clause)
	slices.Sort(c)
	c = slices.Compact(c)
	for i := 1; i < len(c); i++ {
		if c[i] == c[i-1].not() { // always holds
			return
		}
	}
	s.size += len(c)
	switch len(c) {
	case 0:
		s.contradictory = true
	case 1:
		switch s.valueOf(c[0]) {
		case -1:
			s.contradictory = true
		case 0:
			s.set(c[0], noReason)
		}
	default:
		s.watch(c)
	}
}

func (s *solver) watch(c []literal) int {
	id := len(s.clauses)
	s.clauses = append(s.clauses, c)
	s.watches[c[0]] = append(s.watches[c[0]], id)
	s.watches[c[1]] = append(s.watches[c[1]], id)
	return id
}

func (s *solver) valueOf(l literal) int8 { return s.values[l.variable()] * l.value() }

func (s *solver) set(l literal, reason int) {
	v := l.variable()
	s.values[v], s.levels[v], s.reasons[v] = l.value(), len(s.marks), reason
	s.trail = append(s.trail, l)
}

// solve reports whether all clauses can hold; decided is false where that takes more
// work than is allowed.
func (s *solver) solve(work int) (holds, decided bool) {
	if s.contradictory {
		return false, true
	}
	s.weight = 1
	for {
		conflict := s.propagate()
		if s.work > work {
			return false, false
		}
		if conflict < 0 {
			next, open := s.choose()
			if !open {
				return true, true
			}
			s.marks = append(s.marks, len(s.trail))
			s.set(next, noReason)
			continue
		}
		if len(s.marks) == 0 {
			return false, true
		}
		s.learn(conflict)
	}
}

// propagate sets what the clauses leave no choice about, and returns a clause that
// cannot hold any more, or -1.
func (s *solver) propagate() int {
	for s.done < len(s.trail) {
		falsified := s.trail[s.done].not()
		s.done++
		list := s.watches[falsified]
		s.work += len(list)
		kept := list[:0]
		for i, id := range list {
			c := s.clauses[id]
			if c[0] == falsified {
				c[0], c[1] = c[1], c[0]
			}
			if s.valueOf(c[0]) == 1 || !s.move(c, id) {
				kept = append(kept, id)
				if s.valueOf(c[0]) == -1 {
					s.watches[falsified] = append(kept, list[i+1:]...)
					return id
				}
				if s.valueOf(c[0]) == 0 {
					s.set(c[0], id)
				}
			}
		}
		s.watches[falsified] = kept
	}
	return -1
}

// move finds another literal to watch in the place of the second one.
func (s *solver) move(c []literal, id int) bool {
	for k := 2; k < len(c); k++ {
		if s.valueOf(c[k]) != -1 {
			c[1], c[k] = c[k], c[1]
			s.watches[c[1]] = append(s.watches[c[1]], id)
			return true
		}
	}
	return false
}

// choose takes the open variable that conflicts were about most, as false.
func (s *solver) choose() (l literal, open bool) {
	for s.next < len(s.values) && s.values[s.next] != 0 {
		s.next++
		s.work++
	}
	if s.next == len(s.values) {
		return 0, false
	}
	best := s.next
	if s.learned {
		s.work += len(s.values) - s.next
		for v := s.next; v < len(s.values); v++ {
			if s.values[v] == 0 && s.weights[v] > s.weights[best] {
				best = v
			}
		}
	}
	return positive(best).not(), true
}

// learn finds the reason of a conflict, goes back to where it would have decided
// something, and adds it as a clause.
func (s *solver) learn(conflict int) {
	s.learned = true
	level := len(s.marks)
	learnt := []literal{0}
	open, at := 0, len(s.trail)
	clause := s.clauses[conflict]
	var marked []int
	for {
		for _, l := range clause {
			v := l.variable()
			if s.seen[v] || s.levels[v] == 0 || s.values[v] == l.value() { // the last: what the clause decided
				continue
			}
			s.seen[v] = true
			marked = append(marked, v)
			s.weights[v] += s.weight
			if s.levels[v] == level {
				open++
			} else {
				learnt = append(learnt, l)
			}
		}
		for at--; !s.seen[s.trail[at].variable()]; at-- {
		}
		if open--; open == 0 {
			break
		}
		clause = s.clauses[s.reasons[s.trail[at].variable()]]
	}
	learnt[0] = s.trail[at].not()
	for _, v := range marked {
		s.seen[v] = false
	}
	s.grow()
	s.back(learnt)
	if len(learnt) == 1 {
		s.set(learnt[0], noReason)
		return
	}
	s.set(learnt[0], s.watch(learnt))
}

// grow lets later conflicts weigh more.
func (s *solver) grow() {
	if s.weight *= 1.05; s.weight > 1e100 {
		for v := range s.weights {
			s.weights[v] *= 1e-100
		}
		s.weight *= 1e-100
	}
}

// back undoes the levels above the second highest of a clause, whose literal it puts
// second.
func (s *solver) back(learnt []literal) {
	to := 0
	for k := 1; k < len(learnt); k++ {
		if level := s.levels[learnt[k].variable()]; level > to {
			to = level
			learnt[1], learnt[k] = learnt[k], learnt[1]
		}
	}
	for len(s.trail) > s.marks[to] {
		last := len(s.trail) - 1
		s.values[s.trail[last].variable()] = 0
		s.trail = s.trail[:last]
	}
	s.marks = s.marks[:to]
	s.done, s.next = len(s.trail), 0
}
