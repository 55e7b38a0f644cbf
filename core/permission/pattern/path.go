// Package pattern reads what an activity covers: a path regex and host names.
package pattern

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"

	"gatehouse/core/permission/report"
)

// Path is a path regex that has been read. Its meaning is always a match of the
// whole path.
type Path struct {
	Text string
	// Tree is what stands between the implied anchors. It must not be changed.
	Tree *syntax.Regexp
	// Groups are the names of the named groups.
	Groups []string
}

// MaxPath is the greatest length of a path regex in bytes.
const MaxPath = 2048

// ParsePath reads a path regex. The error says what is wrong and what to write
// instead, and follows the word "path".
func ParsePath(text string) (*Path, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	if err := checkForeign(text); err != nil {
		return nil, err
	}
	// The text is parsed by itself, never between anchors: "a)|(b" would
	// close the group around it and leave both ends open.
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, regexError(text, err)
	}
	if err := checkTree(text, tree); err != nil {
		return nil, err
	}
	p := &Path{Text: text, Tree: tree}
	for _, name := range tree.CapNames() {
		if slices.Contains(p.Groups, name) {
			return nil, fmt.Errorf("%s has two groups named %s; give one of them another name", report.Quote(text), name)
		}
		if name != "" {
			p.Groups = append(p.Groups, name)
		}
	}
	return p, nil
}

// LiteralPath is a regex of one path.
func LiteralPath(path string) *Path {
	tree := &syntax.Regexp{Op: syntax.OpLiteral, Rune: []rune(path)}
	return &Path{Text: tree.String(), Tree: tree}
}

// Literal is the one path that the regex matches, where it is nothing but that path.
func (p *Path) Literal() (string, bool) {
	if p.Tree.Op != syntax.OpLiteral || p.Tree.Flags&syntax.FoldCase != 0 {
		return "", false
	}
	return string(p.Tree.Rune), true
}

func checkText(text string) error {
	switch {
	case text == "":
		return errors.New(`is empty; write a path regex such as /users/[^/]+`)
	case len(text) > MaxPath:
		return fmt.Errorf("is longer than %d bytes; split it into several activities", MaxPath)
	case quotes(text):
		return fmt.Errorf("%s holds \\Q, which is not accepted; put a backslash before each character that is meant as it is", report.Quote(text))
	case strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("%s holds a control character, which no canonical path has; write it on one line without tabs", report.Quote(text))
	}
	return nil
}

// quotes reports whether a regex uses \Q. Left open it would include whatever
// is put behind the text.
func quotes(text string) bool {
	for i := 0; i+1 < len(text); i++ {
		if text[i] == '\\' {
			i++
			if text[i] == 'Q' {
				return true
			}
		}
	}
	return false
}

// regexError words an error of the regex parser.
func regexError(text string, err error) error {
	var parse *syntax.Error
	if !errors.As(err, &parse) {
		return fmt.Errorf("%s is not a regular expression: %w", report.Quote(text), err)
	}
	hint := "; see https://github.com/google/re2/wiki/Syntax"
	switch {
	case strings.HasPrefix(parse.Expr, "(?=") || strings.HasPrefix(parse.Expr, "(?!") || strings.HasPrefix(parse.Expr, "(?<"):
		hint = "; RE2 has no look-around, so list what is meant as activities of its own"
	case parse.Code == syntax.ErrInvalidRepeatOp || parse.Code == syntax.ErrMissingRepeatArgument:
		hint = "; a regex is no glob: write [^/]+ for one segment and .+ for any number of them"
	case parse.Code == syntax.ErrInvalidEscape && len(parse.Expr) == 2 && parse.Expr[1] >= '1' && parse.Expr[1] <= '9':
		hint = "; RE2 has no back-references"
	}
	where := ""
	if parse.Expr != text && parse.Expr != "" {
		where = " in " + report.Quote(parse.Expr)
	}
	return fmt.Errorf("%s is not a regular expression: %s%s%s", report.Quote(text), parse.Code, where, hint)
}

// checkTree refuses regexes that are valid and mean something else
// than their author can have wanted.
func checkTree(text string, tree *syntax.Regexp) error {
	if r, ok := firstLiteral(tree); ok && r != '/' {
		return fmt.Errorf("%s does not begin with a slash and can match no path; write /%s", report.Quote(text), strings.TrimPrefix(text, "^"))
	}
	if repeatsSlash(tree) {
		return fmt.Errorf("%s repeats a slash, which a canonical path never does; a regex is no glob: write /[^/]+ for one segment and /.* for any number of them", report.Quote(text))
	}
	if size := programSize(tree); size > maxProgram {
		return fmt.Errorf("%s is too large once its repetitions are written out (%d steps, %d are allowed); use smaller numbers", report.Quote(text), size, maxProgram)
	}
	return nil
}

// firstLiteral returns the character that every match begins with, where a
// literal says so.
func firstLiteral(re *syntax.Regexp) (rune, bool) {
	switch re.Op {
	case syntax.OpLiteral:
		return re.Rune[0], true
	case syntax.OpCapture:
		return firstLiteral(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if sub.Op != syntax.OpBeginText && sub.Op != syntax.OpBeginLine {
				return firstLiteral(sub)
			}
		}
	}
	return 0, false
}

// repeatsSlash finds "/*", "/+" and "/{n}": somebody wrote a glob.
func repeatsSlash(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpStar, syntax.OpPlus, syntax.OpRepeat:
		sub := re.Sub[0]
		if sub.Op == syntax.OpLiteral && len(sub.Rune) == 1 && sub.Rune[0] == '/' {
			return true
		}
	}
	for _, sub := range re.Sub {
		if repeatsSlash(sub) {
			return true
		}
	}
	return false
}

// maxProgram bounds the compiled size of one regex.
const maxProgram = 20000

// programSize estimates how many steps a regex compiles to.
func programSize(re *syntax.Regexp) int {
	size := 1
	for _, sub := range re.Sub {
		size += programSize(sub)
	}
	switch re.Op {
	case syntax.OpLiteral:
		size += len(re.Rune)
	case syntax.OpRepeat:
		size *= max(re.Min, re.Max, 1)
	}
	return size
}

// Compile compiles the regex so that it must match the whole text. The text has
// been parsed by itself before, so its groups are balanced, and it holds no \Q:
// nothing in it can reach the anchors.
func (p *Path) Compile() (*regexp.Regexp, error) {
	re, err := regexp.Compile(`\A(?:` + p.Text + `)\z`)
	if err != nil {
		return nil, regexError(p.Text, err)
	}
	return re, nil
}
