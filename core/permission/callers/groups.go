package callers

import (
	"regexp/syntax"
	"strconv"
	"strings"

	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/pattern"
)

const (
	segmentTerm = "segment"
	groupTerm   = "group"
)

// Segment is the term of a segment of the path, counted from 1.
func Segment(n int) formula.Term {
	return formula.Term{Name: segmentTerm + condition.Between + strconv.Itoa(n), Text: true}
}

// Group is the term of a named group of a path regex. One that is always a whole segment
// of the path is that segment, whatever the regex; others are terms of their own.
func Group(path *pattern.Path) func(name string) formula.Term {
	return func(name string) formula.Term {
		if n, ok := SegmentOf(path, name); ok {
			return Segment(n)
		}
		return formula.Term{Name: groupTerm + condition.Between + path.Text + condition.Between + name, Text: true}
	}
}

// GroupTerm reports whether a term is a group of a path; name is that of one that is not
// always a whole segment.
func GroupTerm(t formula.Term) (is bool, name string) {
	parts := strings.Split(t.Name, condition.Between)
	if parts[0] == groupTerm && len(parts) == 3 {
		return true, parts[2]
	}
	return parts[0] == segmentTerm && len(parts) == 2, ""
}

// SegmentNumber is that of the term of a segment.
func SegmentNumber(t formula.Term) int {
	_, number, _ := strings.Cut(t.Name, condition.Between)
	n, _ := strconv.Atoi(number) // as Segment writes it
	return n
}

// SegmentOf finds which segment of every path that a regex matches is the value of a
// named group. It is false where the group may be more or less than one segment, may
// stand in several of them, or may take no part in a match.
func SegmentOf(path *pattern.Path, name string) (n int, ok bool) {
	parts := sequence(path.Tree)
	for i, part := range parts {
		if part.Op != syntax.OpCapture || part.Name != name {
			continue
		}
		n, fixed := 0, true
		for _, before := range parts[:i] {
			least, most := slashes(before)
			n, fixed = n+least, fixed && least == most
		}
		_, inside := slashes(part)
		return n, fixed && inside == 0 && i > 0 && endsWithSlash(parts[:i]) && goesOn(parts[i+1:])
	}
	return 0, false
}

// sequence is what stands one behind the other in a regex, without assertions about its
// ends.
func sequence(r *syntax.Regexp) (parts []*syntax.Regexp) {
	switch r.Op {
	case syntax.OpConcat:
		for _, sub := range r.Sub {
			parts = append(parts, sequence(sub)...)
		}
		return parts
	case syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpEmptyMatch:
		return nil
	case syntax.OpCapture:
		if r.Name == "" {
			return sequence(r.Sub[0])
		}
	}
	return []*syntax.Regexp{r}
}

// many stands for any number.
const many = 1 << 20

// slashes counts those that a match has, at least and at most.
func slashes(r *syntax.Regexp) (least, most int) {
	switch r.Op {
	case syntax.OpLiteral:
		for _, c := range r.Rune {
			if c == '/' {
				least++
			}
		}
		return least, least
	case syntax.OpCharClass:
		for i := 0; i+1 < len(r.Rune); i += 2 {
			if r.Rune[i] <= '/' && '/' <= r.Rune[i+1] {
				most = 1
			}
		}
		if most == 1 && len(r.Rune) == 2 && r.Rune[0] == r.Rune[1] {
			least = 1
		}
		return least, most
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 0, 1
	case syntax.OpCapture:
		return slashes(r.Sub[0])
	case syntax.OpConcat:
		for _, sub := range r.Sub {
			l, m := slashes(sub)
			least, most = min(least+l, many), min(most+m, many)
		}
		return least, most
	case syntax.OpAlternate:
		least = many
		for _, sub := range r.Sub {
			l, m := slashes(sub)
			least, most = min(least, l), max(most, m)
		}
		return least, most
	}
	return repeated(r)
}

func repeated(r *syntax.Regexp) (least, most int) {
	if len(r.Sub) == 0 { // assertions
		return 0, 0
	}
	l, m := slashes(r.Sub[0])
	unlimited := 0
	if m > 0 {
		unlimited = many
	}
	switch r.Op {
	case syntax.OpQuest:
		return 0, m
	case syntax.OpPlus:
		return l, unlimited
	case syntax.OpRepeat:
		if r.Max >= 0 {
			unlimited = min(m*r.Max, many)
		}
		return min(l*r.Min, many), unlimited
	}
	return 0, unlimited // a star
}

// endsWithSlash reports whether every match of parts surely ends with a slash.
func endsWithSlash(parts []*syntax.Regexp) bool {
	last := parts[len(parts)-1]
	switch last.Op {
	case syntax.OpLiteral:
		return last.Rune[len(last.Rune)-1] == '/'
	case syntax.OpCapture:
		inside := sequence(last.Sub[0])
		return len(inside) > 0 && endsWithSlash(inside)
	}
	return false
}

// goesOn reports whether every match of parts surely begins with a slash or is empty.
func goesOn(parts []*syntax.Regexp) bool {
	for _, part := range parts {
		switch begins, optional := beginning(part); {
		case !begins:
			return false
		case !optional:
			return true
		}
	}
	return true
}

// beginning reports whether every match of a part that is not empty begins with a slash,
// and whether a match may be empty.
func beginning(r *syntax.Regexp) (slash, optional bool) {
	switch r.Op {
	case syntax.OpLiteral:
		return r.Rune[0] == '/', false
	case syntax.OpCapture:
		return beginning(r.Sub[0])
	case syntax.OpQuest, syntax.OpStar:
		slash, _ = beginning(r.Sub[0])
		return slash, true
	case syntax.OpPlus:
		return beginning(r.Sub[0])
	case syntax.OpEmptyMatch, syntax.OpEndText:
		return true, true
	case syntax.OpConcat:
		for _, sub := range r.Sub {
			begins, empty := beginning(sub)
			if !begins || !empty {
				return begins, false
			}
		}
		return true, true
	case syntax.OpAlternate:
		slash = true
		for _, sub := range r.Sub {
			begins, empty := beginning(sub)
			slash, optional = slash && begins, optional || empty
		}
		return slash, optional
	}
	return false, false
}
