package httpsyntax

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxTarget is the longest request target that is looked at, in bytes.
const MaxTarget = 16 << 10

// PathOptions relaxes single classes of refusal for teams whose upstreams
// need them. Each switch states a fact about the upstream.
type PathOptions struct {
	// AllowSemicolon keeps ";" (and %3B) as an ordinary character. The
	// upstream must not treat it as the start of a path parameter.
	AllowSemicolon bool
	// AllowDoubleSlash merges runs of slashes before matching, but for those in
	// front. The upstream must treat "//" as "/".
	AllowDoubleSlash bool
	// AllowEncodedSlash keeps %2F as data: the canonical path holds "%2F",
	// which "[^/]+" matches. The upstream must not decode it into a separator.
	AllowEncodedSlash bool
}

// PathError says why a request target has no single reading.
type PathError struct {
	Reason string
}

func (e *PathError) Error() string { return "ambiguous path: " + e.Reason }

func refusePath(format string, args ...any) error {
	return &PathError{Reason: fmt.Sprintf(format, args...)}
}

// Canonical returns the one path that a raw request target stands for, or a
// PathError where a gateway, a framework and a file system could disagree.
// Percent-encoding that has only one meaning is decoded; the query is cut off
// and takes no part. It works on the bytes of the request line and never asks
// a URL parser, whose leniency is what attacks are made of.
func Canonical(target string, o PathOptions) (string, error) {
	if len(target) > MaxTarget {
		return "", refusePath("target is longer than %d bytes", MaxTarget)
	}
	raw, _, _ := strings.Cut(target, "?")
	if !strings.HasPrefix(raw, "/") {
		return "", refusePath("target is not in origin form (RFC 9112 section 3.2.1)")
	}
	path := raw
	if !plain(raw) {
		var err error
		if path, err = decode(raw, o); err != nil {
			return "", err
		}
	}
	if strings.HasPrefix(path, "//") {
		return "", refusePath("begins with a double slash, which URL parsers read as a host")
	}
	if o.AllowDoubleSlash {
		path = mergeSlashes(path)
	}
	if err := checkSegments(path); err != nil {
		return "", err
	}
	return path, nil
}

// plain reports whether every byte stands for itself, the common case that
// needs no second look and no allocation.
func plain(raw string) bool {
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c <= ' ' || c >= 0x7f || c == '%' || c == ';' || c == '\\' || c == '#' {
			return false
		}
	}
	return true
}

func decode(raw string, o PathOptions) (string, error) {
	var b strings.Builder
	b.Grow(len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c != '%' {
			if err := checkByte(c, "", o); err != nil {
				return "", err
			}
			b.WriteByte(c)
			continue
		}
		if i+2 >= len(raw) || !IsHex(raw[i+1]) || !IsHex(raw[i+2]) {
			return "", refusePath("%% without two hexadecimal digits")
		}
		c = HexByte(raw[i+1], raw[i+2])
		if err := checkByte(c, "encoded ", o); err != nil {
			return "", err
		}
		if c == '/' {
			c = slashAsData
		}
		b.WriteByte(c)
		i += 2
	}
	path := b.String()
	if doubleEncoded(path) {
		return "", refusePath("double percent-encoding")
	}
	if !utf8.ValidString(path) {
		return "", refusePath("invalid UTF-8")
	}
	// C1 control characters are two bytes long, so the byte check above
	// cannot see them.
	if strings.ContainsFunc(path, func(r rune) bool { return r >= 0x80 && r < 0xa0 }) {
		return "", refusePath("control character")
	}
	return strings.ReplaceAll(path, string(rune(slashAsData)), "%2F"), nil
}

// slashAsData stands for a %2F that AllowEncodedSlash lets through while the
// path is being decoded. NUL is refused, so it cannot be anything else.
const slashAsData = '\x00'

// doubleEncoded reports whether a decoded path would decode once more.
func doubleEncoded(path string) bool {
	for i := 0; i+2 < len(path); i++ {
		if path[i] == '%' && IsHex(path[i+1]) && IsHex(path[i+2]) {
			return true
		}
	}
	return false
}

// checkByte refuses a byte that two readers could take for two things.
func checkByte(c byte, encoded string, o PathOptions) error {
	switch {
	case c == 0:
		return refusePath("%sNUL", encoded)
	case c < ' ' || c == 0x7f:
		return refusePath("%scontrol character", encoded)
	case c == ' ' && encoded == "":
		return refusePath("space")
	case c == '\\':
		return refusePath("%sbackslash", encoded)
	case c == '#' && encoded == "":
		return refusePath("fragment")
	case c == ';' && !o.AllowSemicolon:
		return refusePath("%ssemicolon", encoded)
	case c == '/' && encoded != "" && !o.AllowEncodedSlash:
		return refusePath("encoded slash")
	}
	return nil
}

// checkSegments refuses empty segments and dot segments, also those that hide
// behind a path parameter ("..;x") or an encoded slash kept as data.
func checkSegments(path string) error {
	rest := path[1:]
	for {
		segment, after, more := strings.Cut(rest, "/")
		if segment == "" && more {
			return refusePath("empty segment (double slash)")
		}
		if hasDotSegment(segment) {
			return refusePath("dot segment")
		}
		if !more {
			return nil
		}
		rest = after
	}
}

func hasDotSegment(segment string) bool {
	if !strings.Contains(segment, ".") {
		return false
	}
	for part := range strings.SplitSeq(segment, "%2F") {
		name, _, _ := strings.Cut(part, ";")
		if name == "." || name == ".." {
			return true
		}
	}
	return false
}

func mergeSlashes(path string) string {
	if !strings.Contains(path, "//") {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '/' || i == 0 || path[i-1] != '/' {
			b.WriteByte(path[i])
		}
	}
	return b.String()
}
