package subject

import (
	"slices"
	"strings"
)

// Examples returns ids for each pattern that match it: one for each number of segments
// that patterns tell apart. Of all other patterns only those match one that match every
// id of the pattern with as many segments. So whatever holds for all ids of a pattern is
// found out by its examples, as far as sets of patterns tell ids apart.
func Examples(patterns []*Pattern) [][]string {
	fill, depth := filling(patterns), 0
	for _, p := range patterns {
		depth = max(depth, len(p.segments))
	}
	ids := make([][]string, len(patterns))
	for i, p := range patterns {
		var parts []string
		for _, s := range p.segments {
			if s.glob {
				s.before += fill + s.behind
			}
			parts = append(parts, s.before)
		}
		id := func() string { return p.authority + strings.Join(parts, "/") }
		if !p.rest {
			ids[i] = []string{id()}
			continue
		}
		for n := len(parts) + 1; n <= depth+2 && (len(ids[i]) == 0 || len(id())+1+len(fill) <= maxLength); n++ {
			parts = append(parts, fill)
			ids[i] = append(ids[i], id())
		}
	}
	return ids
}

// filling stands for what a * stands for. No segment of a pattern matches it but a mere *,
// as long as there is such a text.
func filling(patterns []*Pattern) string {
	const letters = "zyxwvutsrqponmlkjihgfedcba0123456789ZYXWVUTSRQPONMLKJIHGFEDCBA_-"
	fill := "any"
	for try := 0; try < len(letters)*len(letters) && slices.ContainsFunc(patterns, func(p *Pattern) bool { return slices.ContainsFunc(p.segments, takes(fill)) }); try++ {
		first, last := letters[try%len(letters)], letters[try/len(letters)]
		fill = string(first) + "any" + string(last)
	}
	return fill
}

// takes reports whether a segment begins or ends as a text does.
func takes(fill string) func(segment) bool {
	return func(s segment) bool {
		if !s.glob {
			return s.before == fill
		}
		return s.before != "" && (strings.HasPrefix(fill, s.before) || strings.HasPrefix(s.before, fill)) ||
			s.behind != "" && (strings.HasSuffix(fill, s.behind) || strings.HasSuffix(s.behind, fill))
	}
}
