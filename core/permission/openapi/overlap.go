package openapi

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/draft"
	"gatehouse/core/permission/pattern"
)

// In OpenAPI the more concrete path comes before the template. In a table the stricter
// section does, and within a section both count. So an open operation with the more
// concrete path overrides, and of two guarded ones the more general path is written
// without the other where it asks for less.

func (b *builder) overlaps() {
	b.closeTies()
	for p, q := range b.pairs() {
		if p.section <= q.section {
			b.overlap(p, q)
		}
	}
	for _, p := range b.placed {
		if p.section < guarded && p.override && p.keep {
			b.table.Note("%s: %s is covered by stricter operations too, which decide", p.Place, p)
		}
	}
	b.placed = slices.DeleteFunc(b.placed, func(p *placed) bool { return !b.leaveOthers(p) })
}

// pairs are the operations, each with each, that one call may be for.
func (b *builder) pairs() func(yield func(p, q *placed) bool) {
	byMethod := map[string][]*placed{}
	for _, p := range b.placed {
		byMethod[p.Method] = append(byMethod[p.Method], p)
	}
	all := slices.Clone(b.placed)
	return func(yield func(p, q *placed) bool) {
		for _, p := range all {
			for _, q := range byMethod[p.Method] {
				if p != q && p.near(q) && !yield(p, q) {
					return
				}
			}
		}
	}
}

// closeTies lets nobody make a call that two guarded operations with different demands
// match, neither of which is more concrete: documents do not say which is meant.
func (b *builder) closeTies() {
	done := map[string]bool{}
	for p, q := range b.pairs() {
		key := p.String() + " " + q.String()
		if done[key] || p.section != guarded || q.section != guarded || p.satisfies(q) || q.satisfies(p) || p.within(q) || q.within(p) {
			continue
		}
		done[q.String()+" "+p.String()] = true
		b.closeTie(p, q)
	}
}

func (b *builder) closeTie(p, q *placed) {
	both, err := p.language.And(q.language)
	if err != nil {
		b.close(p, err)
		return
	}
	for _, r := range b.placed {
		if r.Method == p.Method && r != p && r != q && r.within(p) && r.within(q) {
			if both, err = both.Minus(r.language); err != nil {
				b.close(p, err)
				return
			}
		}
	}
	witness, found, err := automaton.Witness(both)
	if !found && err == nil {
		return
	}
	paths, err := regexes(both, p.Method)
	if err != nil {
		b.close(p, err)
		return
	}
	tie := b.place(&Operation{Method: p.Method, Template: witness, Place: p.Place, parts: []string{witness}, language: both})
	tie.paths, tie.segments = paths, p.meet(q)
	p.without, q.without = append(p.without, tie), append(q.without, tie)
	b.table.Note("%s: %s %s is for %s and for %s, which ask for different scopes, and neither path is more concrete; the table lets nobody in",
		p.Place, p.Method, witness, p, q)
}

// meet are the segments that a call has which both templates match.
func (p *placed) meet(q *placed) []string {
	segments := slices.Clone(p.segments)
	for i, s := range q.segments {
		if literal(s) {
			segments[i] = s
		}
	}
	return segments
}

// close lets nobody perform an operation that cannot be told apart from others.
func (b *builder) close(p *placed, err error) {
	b.table.Note("%s: %s cannot be told apart from others that match the same calls (%s); the table lets nobody in", p.Place, p, err)
	closed := *p.Operation
	closed.Declared, closed.Access = false, nil
	again := b.place(&closed)
	b.placed = b.placed[:len(b.placed)-1]
	again.segments = p.segments
	*p = *again
}

// near reports whether two templates may match one path. A parameter never
// crosses a slash.
func (p *placed) near(q *placed) bool {
	if len(p.segments) != len(q.segments) {
		return false
	}
	for i, s := range p.segments {
		if literal(s) && literal(q.segments[i]) && s != q.segments[i] {
			return false
		}
	}
	return true
}

// moreLiteral reports whether OpenAPI prefers p where both match: it has a
// literal segment where q has a parameter, and never the other way round.
func (p *placed) moreLiteral(q *placed) bool {
	more := false
	for i, s := range p.segments {
		if !literal(s) && literal(q.segments[i]) {
			return false
		}
		more = more || literal(s) && !literal(q.segments[i])
	}
	return more
}

func literal(segment string) bool { return !strings.Contains(segment, parameter) }

// within reports whether q matches all that p does, and more. What cannot be decided
// is not so.
func (p *placed) within(q *placed) bool {
	if !p.near(q) {
		return false
	}
	if _, outside, err := automaton.Beyond([]*automaton.Language{p.language}, q.language); outside || err != nil {
		return false
	}
	_, more, err := automaton.Beyond([]*automaton.Language{q.language}, p.language)
	return more && err == nil
}

// satisfies reports whether whoever may perform p has all that q asks for.
func (p *placed) satisfies(q *placed) bool {
	return !p.unclear() && !slices.ContainsFunc(p.Access, func(a Alternative) bool {
		return !slices.ContainsFunc(q.Access, func(of Alternative) bool {
			return !of.More && !slices.ContainsFunc(of.Scopes, func(s string) bool { return !slices.Contains(a.Scopes, s) })
		})
	})
}

// overlap deals with a stricter operation q, or one that is as strict.
func (b *builder) overlap(p, q *placed) {
	witness, found, err := automaton.Witness(p.language, q.language)
	switch {
	case err != nil:
		b.close(q, err)
	case !found:
	case p.section == guarded:
		b.overlapGuarded(p, q, witness)
	case p.section == q.section, q.moreLiteral(p):
		p.keep = p.keep || p.section < q.section
	case p.moreLiteral(q):
		p.override = true
	default:
		p.keep = true
		b.table.Note("%s: %s %s is covered by %s too, which asks for more and therefore decides", p.Place, p.Method, witness, q)
	}
}

// overlapGuarded has p decide where both match, if q does not ask for as much.
func (b *builder) overlapGuarded(p, q *placed, witness string) {
	within := p.within(q)
	switch {
	case q.satisfies(p):
		if within && !p.sameAccess(q) {
			b.table.Note("%s: %s %s is covered by %s too: whoever may call that may call this", p.Place, p.Method, witness, q)
		}
	case slices.Contains(q.without, p):
	case within, p.satisfies(q) && !q.within(p):
		q.without = append(q.without, p)
	}
}

// sameAccess reports whether both ask for the same.
func (p *placed) sameAccess(q *placed) bool {
	return p.owner == q.owner && slices.EqualFunc(p.Access, q.Access, func(a, b Alternative) bool { return slices.Equal(a.Scopes, b.Scopes) })
}

// leaveOthers writes the paths of an operation without those of others; false where
// none is left.
func (b *builder) leaveOthers(p *placed) bool {
	if len(p.without) == 0 {
		return true
	}
	var others []*automaton.Language
	for _, o := range p.without {
		others = append(others, o.language)
	}
	rest, err := p.language.Minus(others...)
	if err == nil {
		var paths []string
		if paths, err = regexes(rest, p.Method); err == nil {
			p.paths = paths
		}
	}
	if err != nil {
		b.close(p, err)
	} else if len(p.paths) == 0 {
		b.table.Note("%s: %s is left out: %s matches the same calls and asks for more", p.Place, p, p.without[0])
	}
	return len(p.paths) > 0
}

// regexes writes a language as a table can hold it.
func regexes(l *automaton.Language, method string) ([]string, error) {
	paths, err := l.Regexes(pattern.MaxPath)
	for i := range paths {
		if err == nil {
			err = (&draft.Activity{Methods: []string{method}, Path: paths[i]}).Check()
		}
	}
	return paths, err
}

// comment says what the paths of an operation leave out.
func (p *placed) comment() string {
	const few = 3
	if len(p.without) == 0 {
		return ""
	}
	var names []string
	for _, o := range p.without[:min(few, len(p.without))] {
		names = append(names, o.String())
	}
	if more := len(p.without) - few; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return p.Template + " without " + strings.Join(names, ", ")
}
