package automaton

import (
	"regexp/syntax"
	"slices"
	"unicode"
)

// Regexes writes a language as regexes of at most longest bytes, which together match
// its texts and no others; none for an empty language.
func (l *Language) Regexes(longest int) ([]string, error) {
	if l.Empty() {
		return nil, nil
	}
	whole, err := l.regex()
	if err != nil {
		return nil, err
	}
	return split(whole, longest)
}

// Bounds of what a language is written as.
const (
	maxWrittenStates = 1500
	maxWrittenSize   = 50_000 // parts of one regex
	maxWrittenPieces = 100
)

// begin and ending are the places before the first state of a graph and after the last.
const (
	begin  = -2
	ending = -1
)

// graph is a language whose steps are regexes. States are taken out of it until one
// step leads from the first one to the ending.
type graph map[int]map[int]*syntax.Regexp

func (l *Language) regex() (*syntax.Regexp, error) {
	if len(l.accepts) > maxWrittenStates {
		return nil, ErrTooLarge
	}
	g, sizes := l.graph(), sizes{}
	g[begin] = map[int]*syntax.Regexp{first: {Op: syntax.OpEmptyMatch}}
	for len(g) > 1 {
		if !g.remove(g.cheapest(), sizes) {
			return nil, ErrTooLarge
		}
	}
	return g[begin][ending], nil
}

func (l *Language) graph() graph {
	g := graph{}
	for state, accepts := range l.accepts {
		if state == dead {
			continue
		}
		g[state] = map[int]*syntax.Regexp{}
		letters := map[int][]int{}
		for letter := range l.alphabet.size() {
			if to := int(l.step(uint32(state), letter)); to != dead {
				letters[to] = append(letters[to], letter)
			}
		}
		for to, set := range letters {
			g[state][to] = l.alphabet.class(set)
		}
		if accepts {
			g[state][ending] = &syntax.Regexp{Op: syntax.OpEmptyMatch}
		}
	}
	return g
}

// sizes remembers of how many parts regexes consist. They share parts, so that
// counting anew could take for ever.
type sizes map[*syntax.Regexp]int

func (s sizes) of(r *syntax.Regexp) int {
	n, known := s[r]
	if !known {
		n = 1
		for _, part := range r.Sub {
			n += s.of(part)
		}
		s[r] = n
	}
	return n
}

// class is the regex of a set of letters. A colon is never written bare: after a slash
// it looks like the parameter of a router.
func (a *alphabet) class(letters []int) *syntax.Regexp {
	var runes []rune
	for i, start := range a.starts {
		switch {
		case !slices.Contains(letters, int(a.letters[i])):
		case len(runes) > 0 && runes[len(runes)-1] == start-1:
			runes[len(runes)-1] = a.end(i)
		default:
			runes = append(runes, start, a.end(i))
		}
	}
	if len(runes) == 2 && runes[0] == runes[1] && runes[0] != ':' {
		return &syntax.Regexp{Op: syntax.OpLiteral, Rune: runes[:1]}
	}
	if len(runes) == 2 && runes[0] == 0 && runes[1] == unicode.MaxRune {
		return &syntax.Regexp{Op: syntax.OpAnyChar}
	}
	return &syntax.Regexp{Op: syntax.OpCharClass, Rune: runes}
}

// cheapest is the state whose removal writes the least; of equal ones the last, so
// that the result is always the same.
func (g graph) cheapest() int {
	into := map[int]int{}
	for _, steps := range g {
		for to := range steps {
			into[to]++
		}
	}
	best, least := 0, -1
	for state, steps := range g {
		cost := into[state] * len(steps)
		if state != begin && (least < 0 || cost < least || cost == least && state > best) {
			best, least = state, cost
		}
	}
	return best
}

// remove takes a state out, and leads the steps through it past it; false where a step
// becomes too large.
func (g graph) remove(state int, sizes sizes) bool {
	out := g[state]
	delete(g, state)
	loop := out[state]
	delete(out, state)
	for _, steps := range g {
		in := steps[state]
		if in == nil {
			continue
		}
		delete(steps, state)
		if loop != nil {
			in = concat(in, &syntax.Regexp{Op: syntax.OpStar, Sub: []*syntax.Regexp{loop}})
		}
		for to, step := range out {
			if steps[to] = either(steps[to], concat(in, step)); sizes.of(steps[to]) > maxWrittenSize {
				return false
			}
		}
	}
	return true
}

// concat is one regex after another; x and x* become x+.
func concat(a, b *syntax.Regexp) *syntax.Regexp {
	parts := append(sequence(a), sequence(b)...)
	var short []*syntax.Regexp
	for _, part := range parts {
		if last := len(short) - 1; last >= 0 && part.Op == syntax.OpStar && part.Sub[0].Equal(short[last]) {
			part, short = &syntax.Regexp{Op: syntax.OpPlus, Sub: part.Sub}, short[:last]
		}
		short = append(short, part)
	}
	return joined(short)
}

func joined(parts []*syntax.Regexp) *syntax.Regexp {
	switch len(parts) {
	case 0:
		return &syntax.Regexp{Op: syntax.OpEmptyMatch}
	case 1:
		return parts[0]
	}
	return &syntax.Regexp{Op: syntax.OpConcat, Sub: parts}
}

// common is how many parts two sequences begin with alike.
func common(a, b []*syntax.Regexp) int {
	n := 0
	for n < min(len(a), len(b)) && a[n].Equal(b[n]) {
		n++
	}
	return n
}

func sequence(r *syntax.Regexp) []*syntax.Regexp {
	switch r.Op {
	case syntax.OpEmptyMatch:
		return nil
	case syntax.OpConcat:
		return slices.Clone(r.Sub)
	}
	return []*syntax.Regexp{r}
}

// either is one regex or another; a may be nil for none.
func either(a, b *syntax.Regexp) *syntax.Regexp {
	switch {
	case a == nil || a.Equal(b):
		return b
	case a.Op == syntax.OpEmptyMatch:
		return optional(b)
	case b.Op == syntax.OpEmptyMatch:
		return optional(a)
	case a.Op == syntax.OpQuest:
		return optional(either(a.Sub[0], b))
	case b.Op == syntax.OpQuest:
		return optional(either(a, b.Sub[0]))
	}
	if same := common(sequence(a), sequence(b)); same > 0 {
		begin, rest := sequence(a)[:same], either(joined(sequence(a)[same:]), joined(sequence(b)[same:]))
		return concat(joined(begin), rest)
	}
	all := append(choices(a), choices(b)...)
	return &syntax.Regexp{Op: syntax.OpAlternate, Sub: all}
}

func choices(r *syntax.Regexp) []*syntax.Regexp {
	if r.Op == syntax.OpAlternate {
		return slices.Clone(r.Sub)
	}
	return []*syntax.Regexp{r}
}

func optional(r *syntax.Regexp) *syntax.Regexp {
	if r.Op == syntax.OpQuest || r.Op == syntax.OpStar {
		return r
	}
	return &syntax.Regexp{Op: syntax.OpQuest, Sub: []*syntax.Regexp{r}}
}

// split writes a regex as shorter ones, one for each of its choices.
func split(r *syntax.Regexp, longest int) ([]string, error) {
	var short []string
	sizes := sizes{}
	for open := []*syntax.Regexp{r}; len(open) > 0; {
		next := open[0]
		open = open[1:]
		if sizes.of(next) <= longest {
			if text := write(next); len(text) <= longest {
				short = append(short, text)
				continue
			}
		}
		pieces := spread(next, sizes)
		if pieces == nil || len(open)+len(short) > maxWrittenPieces {
			return nil, ErrTooLarge
		}
		open = append(pieces, open...)
	}
	return short, nil
}

// spread takes the longest choice of a regex apart; nil where it has none.
func spread(r *syntax.Regexp, sizes sizes) []*syntax.Regexp {
	parts := sequence(r)
	at, size := -1, 0
	for i, part := range parts {
		if n := sizes.of(part); (part.Op == syntax.OpAlternate || part.Op == syntax.OpQuest) && n > size {
			at, size = i, n
		}
	}
	if at < 0 {
		return nil
	}
	options := choices(parts[at])
	if parts[at].Op == syntax.OpQuest {
		options = []*syntax.Regexp{{Op: syntax.OpEmptyMatch}, parts[at].Sub[0]}
	}
	for i, option := range options {
		options[i] = joined(slices.Concat(parts[:at], sequence(option), parts[at+1:]))
	}
	return options
}
