package httpsyntax

import (
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Cookies returns the distinct values of the cookies of a name that are not empty,
// over all Cookie lines. Where chunked is set, that of the cookies name.0, name.1 and
// so on, into which frameworks split one that is too long, is one of them: a site on
// a sibling domain can set a whole cookie beside the chunks of the user's.
func Cookies(lines iter.Seq[string], name string, chunked bool) []string {
	values := distinct(lines, name)
	if !chunked {
		return values
	}
	if whole := joined(lines, name); whole != "" && !slices.Contains(values, whole) {
		values = append(values, whole)
	}
	return values
}

// SingleCookie looks for a cookie in a Cookie line, where the lines before had this
// value of it or none. ok is false for a second value and for chunks.
func SingleCookie(line, name string, chunked bool, before string) (value string, ok bool) {
	value = before
	for line != "" {
		var pair string
		pair, line, _ = strings.Cut(line, ";")
		key, v, isPair := CookiePair(pair)
		switch {
		case !isPair || v == "":
		case key == name && value != "" && v != value, chunked && IsChunk(key, name):
			return "", false
		case key == name:
			value = v
		}
	}
	return value, true
}

func distinct(lines iter.Seq[string], name string) (values []string) {
	for line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			if v, ok := cookieValue(pair, name); ok && v != "" && !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
	}
	return values
}

func cookieValue(pair, name string) (string, bool) {
	key, value, ok := CookiePair(pair)
	return value, ok && key == name
}

// CookieNames are those of all Cookie lines, as they come.
func CookieNames(header []Header) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range header {
			if !strings.EqualFold(header[i].Name, "Cookie") {
				continue
			}
			for pair := range strings.SplitSeq(header[i].Value, ";") {
				if name, _, ok := CookiePair(pair); ok && IsToken(name) && !yield(name) {
					return
				}
			}
		}
	}
}

// CookiePair splits a pair of a Cookie line. It trims what RFC 6265 section 5.2
// does and no more: a browser takes a name with another space in front for another
// name, whose prefix (__Host-) does not restrict who may set it.
func CookiePair(pair string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(pair, "=")
	return strings.Trim(name, " \t"), strings.Trim(value, " \t"), ok
}

const (
	// maxChunks bounds the cookies of one value.
	maxChunks = 10
	// chunkMark separates the name from the number of a chunk.
	chunkMark = "."
)

// joined ends at a chunk that is absent or has two values.
func joined(lines iter.Seq[string], name string) string {
	var whole strings.Builder
	for i := range maxChunks {
		values := distinct(lines, name+chunkMark+strconv.Itoa(i))
		if len(values) != 1 {
			break
		}
		whole.WriteString(values[0])
	}
	return whole.String()
}

// IsChunk reports whether a cookie is one of the chunks of another, whatever its
// number.
func IsChunk(cookie, name string) bool {
	number, ok := strings.CutPrefix(cookie, name+chunkMark)
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}
