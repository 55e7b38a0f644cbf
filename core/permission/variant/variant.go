// Package variant knows which paths upstreams read as one: a name in any case, with
// a slash at the end, with an extension. To Express, Koa and IIS /ADMIN is /admin; to
// Rails and Spring MVC 4 /admin.json is; to most /admin/ is.
package variant

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/core/permission/pattern"
	"gatehouse/core/permission/report"
)

// Rules say which paths are one. The zero value tells all paths apart.
type Rules struct {
	// Case says that letters in either case are one, by Unicode simple case folding
	// and, as Java and Windows do it, with the dotless and the dotted i.
	Case bool
	// TrailingSlash says that a slash at the end makes no difference.
	TrailingSlash bool
	// Suffixes are what may stand behind a path. AnyExtension stands for a dot and
	// everything behind it in its segment.
	Suffixes []string
}

// AnyExtension among the suffixes stands for every extension.
const AnyExtension = ".*"

// Widest are the rules of all upstreams together.
var Widest = Rules{Case: true, TrailingSlash: true, Suffixes: []string{AnyExtension}}

// Empty reports whether all paths are told apart.
func (r *Rules) Empty() bool { return !r.Case && !r.TrailingSlash && len(r.Suffixes) == 0 }

// maxSuffix is the greatest length of a suffix in bytes.
const maxSuffix = 32

// maxSuffixes is how many suffixes there may be.
const maxSuffixes = 32

// Problems are what is wrong with the rules, each behind its key.
func (r *Rules) Problems() []string {
	var problems []string
	for i := range r.Suffixes {
		if problem := r.suffixProblem(i); problem != "" {
			problems = append(problems, "suffixes: "+problem)
		}
	}
	if len(r.Suffixes) > maxSuffixes {
		problems = append(problems, fmt.Sprintf("suffixes: %d entries, and %d are allowed; write %s for every extension", len(r.Suffixes), maxSuffixes, AnyExtension))
	}
	return problems
}

func (r *Rules) suffixProblem(i int) string {
	s := r.Suffixes[i]
	switch {
	case s == "":
		return "an empty suffix; write what may stand behind a path, such as .json, or " + AnyExtension + " for every extension"
	case len(s) > maxSuffix:
		return fmt.Sprintf("%s is longer than %d bytes; write an extension such as .json", report.Quote(s), maxSuffix)
	case strings.Contains(s, "/"):
		return report.Quote(s) + " has a slash; for a slash at the end write trailing_slash: refuse"
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return report.Quote(s) + " has a character that no canonical path has"
	case s != AnyExtension && strings.Contains(s, "*"):
		return report.Quote(s) + " has a *, which stands for anything in " + AnyExtension + " alone"
	case slices.Contains(r.Suffixes[:i], s):
		return report.Quote(s) + " is listed twice; remove one"
	}
	return ""
}

// Of is a regex of all paths that are one with a path of p, those of p included.
func (r *Rules) Of(p *pattern.Path) *pattern.Path { return r.widened(p, r.spread) }

// Folded is a regex of the same paths after Fold, in which literals stay literal.
func (r *Rules) Folded(p *pattern.Path) *pattern.Path { return r.widened(p, r.lowered) }

// Fold writes a path in the one way that Folded regexes know.
func (r *Rules) Fold(path string) string {
	if !r.Case {
		return path
	}
	return strings.Map(fold, path)
}

// fold is the one letter that stands for all that are one with it.
func fold(r rune) rune {
	if r == 'ı' || r == 'İ' {
		return 'i'
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return unicode.ToLower(least)
}

// widened adds what may be different at the end of a path to a regex whose letters
// are mapped already.
func (r *Rules) widened(p *pattern.Path, letters func(*syntax.Regexp) *syntax.Regexp) *pattern.Path {
	tree := letters(withoutAssertions(p.Tree))
	if r.TrailingSlash {
		tree = alternate(append([]*syntax.Regexp{tree}, withoutSlash(tree)...)...)
	}
	parts := []*syntax.Regexp{tree}
	if suffixes := r.suffixes(letters); suffixes != nil {
		parts = append(parts, optional(suffixes))
	}
	if r.TrailingSlash {
		parts = append(parts, &syntax.Regexp{Op: syntax.OpStar, Sub: []*syntax.Regexp{literal('/')}}) // of several, too: many take off all
	}
	tree = concat(parts...)
	return &pattern.Path{Text: tree.String(), Tree: tree}
}

func (r *Rules) suffixes(letters func(*syntax.Regexp) *syntax.Regexp) *syntax.Regexp {
	var list []*syntax.Regexp
	for _, s := range r.Suffixes {
		if s == AnyExtension {
			list = append(list, concat(literal('.'), &syntax.Regexp{Op: syntax.OpStar, Sub: []*syntax.Regexp{class(without([]rune{0, unicode.MaxRune}, '/'))}}))
		} else {
			list = append(list, letters(literal([]rune(s)...)))
		}
	}
	if len(list) == 0 {
		return nil
	}
	return alternate(list...)
}

// spread replaces every letter by all that are one with it.
func (r *Rules) spread(re *syntax.Regexp) *syntax.Regexp {
	if !r.Case {
		return re
	}
	return mapped(re, func(re *syntax.Regexp) *syntax.Regexp {
		if re.Op == syntax.OpCharClass {
			return class(spread(re.Rune))
		}
		parts := make([]*syntax.Regexp, len(re.Rune))
		for i, l := range re.Rune {
			parts[i] = class(spread([]rune{l, l}))
		}
		return concat(parts...)
	})
}

// lowered replaces every letter of a literal by the one that Fold writes.
func (r *Rules) lowered(re *syntax.Regexp) *syntax.Regexp {
	if !r.Case {
		return re
	}
	return mapped(re, func(re *syntax.Regexp) *syntax.Regexp {
		if re.Op == syntax.OpCharClass {
			return class(spread(re.Rune))
		}
		letters := make([]rune, len(re.Rune))
		for i, l := range re.Rune {
			letters[i] = fold(l)
		}
		return literal(letters...)
	})
}

// spread is a class with all letters that are one with one of it.
func spread(ranges []rune) []rune {
	if len(ranges) == 2 && ranges[0] == ranges[1] {
		return orbit(ranges[0])
	}
	// The parser knows the orbits of all classes, but for the i that has a dot or none.
	var text strings.Builder
	for i := 0; i+1 < len(ranges); i += 2 {
		fmt.Fprintf(&text, `\x{%x}-\x{%x}`, ranges[i], ranges[i+1])
	}
	folded, err := syntax.Parse("(?i:["+text.String()+"])", syntax.Perl)
	if err != nil || folded.Op != syntax.OpCharClass {
		return []rune{0, unicode.MaxRune} // too much rather than too little
	}
	all := slices.Clip(folded.Rune)
	for _, i := range "iıİ" {
		if holds(folded.Rune, i) {
			all = append(all, orbit(i)...)
		}
	}
	return all
}

func holds(ranges []rune, r rune) bool {
	for i := 0; i+1 < len(ranges); i += 2 {
		if ranges[i] <= r && r <= ranges[i+1] {
			return true
		}
	}
	return false
}

// orbit is a class of all letters that are one with a letter.
func orbit(r rune) []rune {
	all := []rune{r, r}
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		all = append(all, f, f)
	}
	if fold(r) == 'i' {
		return []rune{'I', 'I', 'i', 'i', 'ı', 'ı', 'İ', 'İ'}
	}
	return all
}
