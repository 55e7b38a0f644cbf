// Package subject has patterns of the ids of workloads (SPIFFE) and of actors (core/actor),
// and finds those that match one.
package subject

import (
	"fmt"
	"strings"
	"unicode"

	"gatehouse/core/actor"
)

// Pattern stands for ids of one authority: a trust domain, or an issuer.
type Pattern struct {
	text string
	// authority is what all the ids begin with.
	authority string
	segments  []segment
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
	p := &Pattern{text: text, authority: scheme + domain + "/"}
	if path == "" {
		return nil, fmt.Errorf("has no path; write /** behind the trust domain for all of its workloads")
	}
	return p, p.parse(path, checkSPIFFE)
}

// ParseActor reads a pattern of actors: the id of one, in whose sub or client_id * stands
// for any characters of one segment, and ** as the last segment for one or more segments.
// The error follows the pattern.
func ParseActor(text string) (*Pattern, error) {
	issuer, mark, name, err := actor.Split(text)
	switch {
	case err != nil:
		return nil, err
	case len(text) > actor.MaxID:
		return nil, fmt.Errorf("is longer than the id of an actor can be, %d bytes", actor.MaxID)
	case strings.Contains(issuer, wildcard):
		return nil, fmt.Errorf("has * in its issuer; name each issuer: each has actors of its own")
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.TrimSpace(text) != text:
		return nil, fmt.Errorf("has a character that cannot be printed, or white space around it")
	}
	p := &Pattern{text: text, authority: issuer + mark}
	return p, p.parse(name, func(segment) error { return nil })
}

func (p *Pattern) parse(path string, check func(segment) error) error {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if part == wildcards && i == len(parts)-1 {
			p.rest = true
			break
		}
		var s segment
		if s.before, s.behind, s.glob = strings.Cut(part, wildcard); strings.Contains(s.behind, wildcard) {
			return fmt.Errorf("has two * in one segment; ** stands alone, as the last segment")
		}
		if err := check(s); err != nil {
			return err
		}
		p.segments = append(p.segments, s)
	}
	return nil
}

func checkSPIFFE(s segment) error {
	switch text := s.before + s.behind; {
	case text == "" && !s.glob:
		return fmt.Errorf("has an empty segment, which no SPIFFE ID has")
	case !s.glob && (text == "." || text == ".."):
		return fmt.Errorf("has the segment %s, which no SPIFFE ID has", text)
	case strings.IndexFunc(text, notOfPath) >= 0:
		return fmt.Errorf("has a character that no SPIFFE ID has; its path has letters, digits, dots, dashes and underscores")
	}
	return nil
}

func notOfDomain(r rune) bool { return notOfPath(r) || r >= 'A' && r <= 'Z' }

func notOfPath(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
}

// String is the pattern as written.
func (p *Pattern) String() string { return p.text }

// Matches reports whether an id is one that the pattern stands for.
func (p *Pattern) Matches(id string) bool {
	authority, rest, ok := split(id)
	if !ok || authority != p.authority {
		return false
	}
	more := true
	for _, s := range p.segments {
		var part string
		if !more {
			return false
		}
		if part, rest, more = strings.Cut(rest, "/"); !s.matches(part) {
			return false
		}
	}
	return p.rest == more
}

// Overlaps reports whether there is an id that both patterns stand for.
func (p *Pattern) Overlaps(o *Pattern) bool {
	if p.authority != o.authority {
		return false
	}
	shorter, longer := p, o
	if len(shorter.segments) > len(longer.segments) {
		shorter, longer = longer, shorter
	}
	for i, s := range shorter.segments {
		if !s.overlaps(longer.segments[i]) {
			return false
		}
	}
	if len(shorter.segments) == len(longer.segments) {
		return shorter.rest == longer.rest
	}
	return shorter.rest
}

func (s segment) overlaps(o segment) bool {
	switch {
	case !s.glob:
		return o.matches(s.before)
	case !o.glob:
		return s.matches(o.before)
	}
	begins := strings.HasPrefix(s.before, o.before) || strings.HasPrefix(o.before, s.before)
	return begins && (strings.HasSuffix(s.behind, o.behind) || strings.HasSuffix(o.behind, s.behind))
}

// split takes an id into what it begins with and its segments, of which there is one at
// least.
func split(id string) (authority, path string, ok bool) {
	if issuer, mark, name, err := actor.Split(id); err == nil {
		return issuer + mark, name, true
	}
	rest, ok := strings.CutPrefix(id, scheme)
	if !ok {
		return "", "", false
	}
	domain, path, ok := strings.Cut(rest, "/")
	if !ok || path == "" || strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.Contains(path, "//") {
		return "", "", false // no SPIFFE ID has an empty segment
	}
	return scheme + domain + "/", path, true
}

// Index finds the patterns that match an id. Its values are numbered as the patterns.
type Index struct{ authorities map[string]*node }

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
		at := x.authorities[p.authority]
		if at == nil {
			at = &node{}
			x.authorities[p.authority] = at
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
	authority, path, ok := split(id)
	at := x.authorities[authority]
	return ok && at != nil && at.any(path, f)
}

func (n *node) any(path string, f func(int) bool) bool {
	for _, i := range n.rest {
		if f(i) {
			return true
		}
	}
	part, rest, more := strings.Cut(path, "/")
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
