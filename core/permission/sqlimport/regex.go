package sqlimport

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// convert turns what PostgreSQL's operator ~ looks for into the path regex
// that covers the same canonical paths. The operator is content with a match
// anywhere in the text, and its advanced regular expressions (PostgreSQL
// documentation, section 9.7.3) are not RE2: whatever is not known to mean the
// same in both is an error. Notes say what a reader should know.
func convert(are string) (path string, notes []string, err error) {
	c := &converter{rest: are}
	if err := c.options(); err != nil {
		return "", nil, err
	}
	branches, err := c.branches()
	if err != nil {
		return "", nil, err
	}
	if c.rest != "" {
		return "", nil, errors.New("it closes a group that is not open")
	}
	for i, b := range branches {
		branches[i] = c.whole(b)
	}
	path = c.flags + strings.Join(branches, "|")
	return path, c.notes, nil
}

// converter reads a regex from left to right.
type converter struct {
	rest  string
	flags string
	notes []string
	depth int
}

func (c *converter) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, n := range c.notes {
		if n == text {
			return
		}
	}
	c.notes = append(c.notes, text)
}

var embedded = regexp.MustCompile(`^\(\?([a-z]+)\)`)

// options reads what may stand in front of a regex.
func (c *converter) options() error {
	if strings.HasPrefix(c.rest, "***") {
		return errors.New("it begins with ***, which chooses another syntax")
	}
	m := embedded.FindStringSubmatch(c.rest)
	if m == nil {
		return nil
	}
	for _, option := range m[1] {
		switch option {
		case 'i':
			c.flags = "(?i)"
		case 'c':
			c.flags = ""
		case 's', 't': // the defaults
		default:
			return fmt.Errorf("it has the embedded option %q, which has no counterpart", option)
		}
	}
	c.rest = c.rest[len(m[0]):]
	return nil
}

// branch is one alternative, converted.
type branch struct {
	text string
	// start and end say that it is tied to the ends of the text.
	start, end bool
}

// whole writes an alternative of the outermost level so that it matches whole
// paths. The operator ~ is content with a part.
func (c *converter) whole(text string) string {
	b := branch{text: text}
	b.text, b.start = strings.CutPrefix(b.text, "^")
	if strings.HasSuffix(b.text, "$") && !escaped(b.text) {
		b.text, b.end = b.text[:len(b.text)-1], true
	}
	switch {
	case !b.start && !b.end:
		c.note("it is tied to neither end, and finds its match anywhere in a path")
	case !b.start:
		c.note("it is not tied to the beginning with ^, and finds its match at the end of any path")
	case !b.end:
		c.note("it is not tied to the end with $, and covers everything that begins like it")
	}
	if !b.start {
		b.text = ".*" + b.text
	}
	if !b.end {
		b.text += ".*"
	}
	return b.text
}

// escaped reports whether the last character of a text has a backslash before.
func escaped(text string) bool {
	before := text[:len(text)-1]
	return (len(before)-len(strings.TrimRight(before, `\`)))%2 == 1
}

// branches reads alternatives up to the end of the text or of the group.
func (c *converter) branches() ([]string, error) {
	var list []string
	var b strings.Builder
	for c.rest != "" && c.rest[0] != ')' {
		if c.rest[0] == '|' {
			c.rest = c.rest[1:]
			list = append(list, b.String())
			b.Reset()
			continue
		}
		if err := c.piece(&b); err != nil {
			return nil, err
		}
	}
	return append(list, b.String()), nil
}

// piece reads an atom or a constraint with what repeats it.
func (c *converter) piece(b *strings.Builder) error {
	atom, err := c.atom()
	if err != nil {
		return err
	}
	repeat, err := c.quantifier()
	if err != nil {
		return err
	}
	// A canonical path never has two slashes in a row, and a table refuses
	// regexes that ask for them.
	if atom == "/" && repeat != "" {
		switch repeat {
		case "*", "?":
			repeat = "?"
		case "+":
			repeat = ""
		default:
			return fmt.Errorf("it repeats a slash (%s), which a canonical path never does", "/"+repeat)
		}
	}
	b.WriteString(atom + repeat)
	return nil
}

func (c *converter) atom() (string, error) {
	switch c.rest[0] {
	case '(':
		return c.group()
	case '[':
		return c.class()
	case '\\':
		return c.escape()
	case '*', '+', '?':
		return "", fmt.Errorf("nothing stands before the %c that repeats it", c.rest[0])
	case '{':
		if bound.MatchString(c.rest) {
			return "", errors.New("nothing stands before the { that repeats it")
		}
		c.note("it holds a brace that stands for itself, which looks like the placeholder of another router")
		c.rest = c.rest[1:]
		return "[{]", nil
	case ':':
		c.rest = c.rest[1:]
		return "[:]", nil
	}
	r, size := utf8.DecodeRuneInString(c.rest)
	c.rest = c.rest[size:]
	return string(r), nil
}

func (c *converter) group() (string, error) {
	const deepest = 100
	if c.depth++; c.depth > deepest {
		return "", fmt.Errorf("its groups are nested more than %d deep", deepest)
	}
	defer func() { c.depth-- }()
	open := "("
	switch {
	case strings.HasPrefix(c.rest, "(?:"):
		open = "(?:"
	case strings.HasPrefix(c.rest, "(?=") || strings.HasPrefix(c.rest, "(?!") || strings.HasPrefix(c.rest, "(?<"):
		return "", errors.New("it looks around ((?=, (?!, (?<= or (?<!), which RE2 cannot; list what is meant as activities of its own")
	case strings.HasPrefix(c.rest, "(?"):
		return "", fmt.Errorf("%s has no counterpart", strings.ToValidUTF8(c.rest[:min(3, len(c.rest))], ""))
	}
	c.rest = c.rest[len(open):]
	branches, err := c.branches()
	if err != nil {
		return "", err
	}
	if c.rest == "" {
		return "", errors.New("a group is not closed")
	}
	c.rest = c.rest[1:]
	return open + strings.Join(branches, "|") + ")", nil
}

var bound = regexp.MustCompile(`^\{[0-9]+(?:,[0-9]*)?\}`)

func (c *converter) quantifier() (string, error) {
	var q string
	switch {
	case c.rest == "":
		return "", nil
	case strings.IndexByte("*+?", c.rest[0]) >= 0:
		q = c.rest[:1]
	default:
		q = bound.FindString(c.rest)
	}
	if q == "" {
		return "", nil
	}
	c.rest = c.rest[len(q):]
	c.rest = strings.TrimPrefix(c.rest, "?") // how much is taken makes no difference
	if c.rest != "" && (strings.IndexByte("*+?", c.rest[0]) >= 0 || bound.MatchString(c.rest)) {
		return "", errors.New("it repeats a repetition")
	}
	return q, nil
}

func (c *converter) escape() (string, error) {
	if len(c.rest) < 2 {
		return "", errors.New("it ends with a backslash")
	}
	r, size := utf8.DecodeRuneInString(c.rest[1:])
	c.rest = c.rest[1+size:]
	switch r {
	case 'd', 'D', 's', 'S', 'w', 'W':
		c.note(`\%c knows ASCII only here, and letters and digits of other scripts in PostgreSQL`, r)
		return `\` + string(r), nil
	case 'A':
		return "^", nil
	case 'Z':
		return "$", nil
	}
	if r < utf8.RuneSelf && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
		return "", fmt.Errorf(`\%c means something else in RE2, or nothing`, r)
	}
	return regexp.QuoteMeta(string(r)), nil
}

// class reads a bracket expression.
func (c *converter) class() (string, error) {
	text := "["
	rest := c.rest[1:]
	if strings.HasPrefix(rest, "^") {
		text, rest = text+"^", rest[1:]
	}
	for first := true; ; first = false {
		switch {
		case rest == "":
			return "", errors.New("a bracket is not closed")
		case rest[0] == ']' && !first:
			c.rest = rest[1:]
			return text + "]", nil
		case strings.HasPrefix(rest, "[.") || strings.HasPrefix(rest, "[=") || strings.HasPrefix(rest, "[:<:]") || strings.HasPrefix(rest, "[:>:]"):
			return "", fmt.Errorf("%s has no counterpart", rest[:2])
		case strings.HasPrefix(rest, "[:"):
			name, after, ok := strings.Cut(rest[2:], ":]")
			if !ok || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz") != "" {
				return "", errors.New("a character class is not closed")
			}
			c.note("[:%s:] knows ASCII only here, and letters and digits of other scripts in PostgreSQL", name)
			text, rest = text+"[:"+name+":]", after
		case rest[0] == '\\':
			inner := &converter{rest: rest}
			escaped, err := inner.escape()
			if err != nil {
				return "", err
			}
			if escaped == "^" && rest[1] == 'A' || escaped == "$" && rest[1] == 'Z' {
				return "", fmt.Errorf(`%s has no meaning in brackets`, rest[:2])
			}
			if len(inner.notes) > 0 {
				c.note("%s", inner.notes[0])
			}
			text, rest = text+bracketed(escaped), inner.rest
		default:
			r, size := utf8.DecodeRuneInString(rest)
			if r == '[' || r == ']' {
				text += `\`
			}
			text, rest = text+string(r), rest[size:]
		}
	}
}

// bracketed keeps an escaped dash from making a range.
func bracketed(escaped string) string {
	if escaped == "-" {
		return `\-`
	}
	return escaped
}
