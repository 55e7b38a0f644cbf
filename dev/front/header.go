package front

import (
	"slices"
	"strings"
)

// Field is one header line: name and value as sent, without the separator.
type Field struct {
	Name, Value string
}

// Headers are header lines in the order of the wire, repeats included. Names
// compare without regard to case and to nothing else: "X_User" and "X-User"
// are two names, as they are to nginx.
type Headers []Field

// Get returns the first value of name, and whether there is one.
func (h Headers) Get(name string) (string, bool) {
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// Values returns every value of name in order.
func (h Headers) Values(name string) []string {
	var values []string
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return values
}

// Has reports whether a line called name exists.
func (h Headers) Has(name string) bool {
	_, ok := h.Get(name)
	return ok
}

// Add appends a line.
func (h *Headers) Add(name, value string) {
	*h = append(*h, Field{name, EscapeValue(value)})
}

// Clear removes every line called name.
func (h *Headers) Clear(name string) {
	*h = slices.DeleteFunc(*h, func(f Field) bool { return strings.EqualFold(f.Name, name) })
}

// Set replaces every line called name by values, as nginx's Lua module does
// for request headers: the first copy keeps its place and its spelling, the
// other copies go, further values are appended. No value at all clears; an
// empty value is sent empty.
func (h *Headers) Set(name string, values ...string) {
	if len(values) == 0 {
		h.Clear(name)
		return
	}
	first := slices.IndexFunc(*h, func(f Field) bool { return strings.EqualFold(f.Name, name) })
	if first < 0 {
		h.Add(name, values[0])
	} else {
		(*h)[first].Value = EscapeValue(values[0])
		rest := (*h)[first+1:]
		kept := slices.DeleteFunc(rest, func(f Field) bool { return strings.EqualFold(f.Name, name) })
		*h = (*h)[:first+1+len(kept)]
	}
	for _, value := range values[1:] {
		h.Add(name, value)
	}
}

// Clone returns a copy that shares nothing.
func (h Headers) Clone() Headers { return slices.Clone(h) }

// EscapeValue percent-encodes the control bytes of a header value, so that a
// value can never end its line. nginx's Lua module does the same.
func EscapeValue(value string) string {
	if !strings.ContainsFunc(value, isControl) {
		return value
	}
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; isControl(rune(c)) {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

const upperHex = "0123456789ABCDEF"

func isControl(c rune) bool { return c < 0x20 && c != '\t' || c == 0x7f }
