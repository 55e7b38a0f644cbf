package schema

import (
	"fmt"
	"regexp"
	"strings"
)

// luaClasses are Lua's character classes as parts of a bracket expression.
var luaClasses = map[byte]string{
	'a': "a-zA-Z", 'c': `\x00-\x1f\x7f`, 'd': "0-9", 'l': "a-z", 's': `\t-\r `, 'u': "A-Z", 'w': "a-zA-Z0-9",
	'x': "0-9a-fA-F", 'p': "!-/:-@\\[-`{-~", 'g': "!-~",
}

// compileLuaPattern translates a Lua pattern, which is what Kong's match takes.
// Balanced matches, frontiers and back references have no counterpart and are
// an error.
func compileLuaPattern(pattern string) (*regexp.Regexp, error) {
	t := luaPattern{src: pattern}
	t.out.WriteString("(?s)")
	for t.pos < len(t.src) {
		if err := t.item(); err != nil {
			return nil, fmt.Errorf("lua pattern %q: %w", pattern, err)
		}
	}
	re, err := regexp.Compile(t.out.String())
	if err != nil {
		return nil, fmt.Errorf("lua pattern %q: %w", pattern, err)
	}
	return re, nil
}

type luaPattern struct {
	src string
	pos int
	out strings.Builder
}

func (t *luaPattern) next() byte {
	c := t.src[t.pos]
	t.pos++
	return c
}

func (t *luaPattern) item() error {
	first := t.pos == 0
	switch c := t.next(); {
	case c == '^' && first, c == '(', c == ')':
		t.out.WriteByte(c)
		return nil
	case c == '$' && t.pos == len(t.src):
		t.out.WriteString(`\z`)
		return nil
	case c == '.':
		t.out.WriteByte('.')
	case c == '[':
		if err := t.set(); err != nil {
			return err
		}
	case c == '%':
		class, err := t.escape()
		if err != nil {
			return err
		}
		t.out.WriteString("[" + class + "]")
	default:
		t.out.WriteString(regexp.QuoteMeta(string([]byte{c})))
	}
	t.repeat()
	return nil
}

func (t *luaPattern) repeat() {
	if t.pos == len(t.src) {
		return
	}
	switch t.src[t.pos] {
	case '*', '+', '?':
		t.out.WriteByte(t.next())
	case '-':
		t.pos++
		t.out.WriteString("*?")
	}
}

// escape reads what follows a "%": a class or a quoted character.
func (t *luaPattern) escape() (string, error) {
	if t.pos == len(t.src) {
		return "", fmt.Errorf("ends with %%")
	}
	c := t.next()
	if class, ok := luaClasses[c]; ok {
		return class, nil
	}
	if class, ok := luaClasses[c|0x20]; ok && c >= 'A' && c <= 'Z' {
		return "^" + class, nil
	}
	if c >= '0' && c <= '9' || c == 'b' || c == 'f' {
		return "", fmt.Errorf("%%%c is not supported", c)
	}
	return bracketQuote(c), nil
}

func bracketQuote(c byte) string { return fmt.Sprintf(`\x{%02x}`, c) }

func (t *luaPattern) set() error {
	var set strings.Builder
	set.WriteByte('[')
	if t.pos < len(t.src) && t.src[t.pos] == '^' {
		t.pos++
		set.WriteByte('^')
	}
	for start := t.pos; ; {
		if t.pos == len(t.src) {
			return fmt.Errorf("missing ]")
		}
		c := t.next()
		switch {
		case c == ']' && t.pos-1 > start:
			set.WriteByte(']')
			t.out.WriteString(set.String())
			return nil
		case c == '%':
			class, err := t.escape()
			if err != nil {
				return err
			}
			if strings.HasPrefix(class, "^") {
				return fmt.Errorf("a complement class in a set is not supported")
			}
			set.WriteString(class)
		case t.pos+1 < len(t.src) && t.src[t.pos] == '-' && t.src[t.pos+1] != ']':
			t.pos++
			set.WriteString(bracketQuote(c) + "-" + bracketQuote(t.next()))
		default:
			set.WriteString(bracketQuote(c))
		}
	}
}
