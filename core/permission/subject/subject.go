// Package subject has patterns of SPIFFE ids, and finds those that match one.
package subject

import (
	"fmt"
	"strings"
)

// Pattern stands for SPIFFE ids of one trust domain.
type Pattern struct {
	text     string
	domain   string
	segments []segment
	// rest says that one or more segments of any kind follow.
	rest bool
}

// segment is a segment of a path; with a glob, what stands before and behind it.
type segment struct {
	before, behind string
	glob           bool
}

func (s segment) matches(text string) bool {
	if !s.glob {
		return text == s.before
	}
	return len(text) >= len(s.before)+len(s.behind) && strings.HasPrefix(text, s.before) && strings.HasSuffix(text, s.behind)
}

const (
	scheme    = "spiffe://"
	wildcard  = "*"
	wildcards = "**"
	// maxLength is that of a SPIFFE id, in bytes.
	maxLength = 2048
)

// Parse reads a pattern: a SPIFFE id in whose path * stands for any characters of one
// segment, and ** as the last segment for one or more segments. The error follows the
// pattern.
func Parse(text string) (*Pattern, error) {
	rest, ok := strings.CutPrefix(text, scheme)
	if !ok {
		return nil, fmt.Errorf("is no pattern of SPIFFE IDs; write it as in spiffe://example.org/ns/prod/sa/*")
	}
	if len(text) > maxLength {
		return nil, fmt.Errorf("is longer than a SPIFFE ID can be, %d bytes", maxLength)
	}
	domain, path, _ := strings.Cut(rest, "/")
	if i := strings.IndexFunc(domain, notOfDomain); i >= 0 || domain == "" {
		return nil, fmt.Errorf("names no trust domain; it has lower-case letters, digits, dots, dashes and underscores, and no *: each trust domain has authorities of its own")
	}
	p := &Pattern{text: text, domain: domain}
	if path == "" {
		return nil, fmt.Errorf("has no path; write /** behind the trust domain for all of its workloads")
	}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if part == wildcards && i == len(parts)-1 {
			p.rest = true
			break
		}
		s, err := parseSegment(part)
		if err != nil {
			return nil, err
		}
		p.segments = append(p.segments, s)
	}
	return p, nil
}

func parseSegment(text string) (s segment, err error) {
	s.before, s.behind, s.glob = strings.Cut(text, wildcard)
	switch {
	case text == "":
		return s, fmt.Errorf("has an empty segment, which no SPIFFE ID has")
	case text == "." || text == "..":
		return s, fmt.Errorf("has the segment %s, which no SPIFFE ID has", text)
	case strings.Contains(s.behind, wildcard):
		return s, fmt.Errorf("has two * in one segment; ** stands alone, as the last segment")
	case strings.IndexFunc(s.before+s.behind, notOfPath) >= 0:
		return s, fmt.Errorf("has a character that no SPIFFE ID has; its path has letters, digits, dots, dashes and underscores")
	}
	return s, nil
}

func notOfDomain(r rune) bool { return notOfPath(r) || r >= 'A' && r <= 'Z' }

func notOfPath(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
}

// String is the pattern as written.
func (p *Pattern) String() string { return p.text }

// Matches reports whether an id is one that the pattern stands for.
func (p *Pattern) Matches(id string) bool {
	domain, path, ok := split(id)
	if !ok || domain != p.domain {
		return false
	}
	for _, s := range p.segments {
		part, rest, more := strings.Cut(path, "/")
		if part == "" || !s.matches(part) {
			return false
		}
		if path = rest; more && rest == "" {
			return false
		}
	}
	return p.rest == (path != "")
}

func split(id string) (domain, path string, ok bool) {
	rest, ok := strings.CutPrefix(id, scheme)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}

// Index finds the patterns that match an id. Its values are numbered as the patterns.
type Index struct{ domains map[string]*node }

// node is what is known behind the segments before it. Each node is visited at most once
// for an id, so that no id costs more than going through all patterns.
type node struct {
	literal map[string]*node
	globs   []edge
	// here are the patterns that end here, and rest those that take any rest.
	here, rest []int
}

type edge struct {
	segment
	to *node
}

// NewIndex makes an index of patterns.
func NewIndex(patterns []*Pattern) *Index {
	x := &Index{map[string]*node{}}
	for i, p := range patterns {
		at := x.domains[p.domain]
		if at == nil {
			at = &node{}
			x.domains[p.domain] = at
		}
		for _, s := range p.segments {
			at = at.next(s)
		}
		if p.rest {
			at.rest = append(at.rest, i)
		} else {
			at.here = append(at.here, i)
		}
	}
	return x
}

func (n *node) next(s segment) *node {
	if !s.glob {
		if n.literal == nil {
			n.literal = map[string]*node{}
		}
		if n.literal[s.before] == nil {
			n.literal[s.before] = &node{}
		}
		return n.literal[s.before]
	}
	for _, e := range n.globs {
		if e.segment == s {
			return e.to
		}
	}
	to := &node{}
	n.globs = append(n.globs, edge{s, to})
	return to
}

// Any reports whether f is true of a pattern that matches an id.
func (x *Index) Any(id string, f func(pattern int) bool) bool {
	domain, path, ok := split(id)
	if !ok || path == "" {
		return false
	}
	at := x.domains[domain]
	return at != nil && at.any(path, f)
}

func (n *node) any(path string, f func(int) bool) bool {
	for _, i := range n.rest {
		if f(i) {
			return true
		}
	}
	part, rest, more := strings.Cut(path, "/")
	if part == "" || more && rest == "" {
		return false
	}
	if to := n.literal[part]; to != nil && to.ends(rest, more, f) {
		return true
	}
	for _, e := range n.globs {
		if e.matches(part) && e.to.ends(rest, more, f) {
			return true
		}
	}
	return false
}

func (n *node) ends(rest string, more bool, f func(int) bool) bool {
	if more {
		return n.any(rest, f)
	}
	for _, i := range n.here {
		if f(i) {
			return true
		}
	}
	return false
}
