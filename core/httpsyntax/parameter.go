package httpsyntax

import "strings"

// Parameter is what TakeParameter has found in a request target.
type Parameter struct {
	// Value is the value of the one parameter, percent-decoded.
	Value string
	// Count is how many parameters an upstream could take for it.
	Count int
	// Fault says why the value has two readings or is none; empty where it is fine.
	Fault string
	// Stuck says that one of them stands in a text with two readings, so that it is
	// still in the target.
	Stuck bool
}

// TakeParameter removes a query parameter from a request target, in every spelling in
// which an upstream could read it. All other bytes keep their place.
func TakeParameter(target, name string) (rest string, taken Parameter) {
	path, query, found := strings.Cut(target, "?")
	if !found || len(target) > MaxTarget {
		return target, taken
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		switch {
		case strings.Contains(pair, ";") && anyNamed(pair, name):
			taken.Count, taken.Stuck = taken.Count+1, true
			kept = append(kept, pair)
		case named(pair, name):
			taken.Count++
			taken.read(pair, name)
		default:
			kept = append(kept, pair)
		}
	}
	if taken.Count == 0 {
		return target, taken
	}
	switch {
	case taken.Stuck:
		taken.Fault = "stands beside ';', which some servers take for '&'"
	case taken.Count > 1:
		taken.Fault = "is repeated"
	}
	if rest = strings.Join(kept, "&"); rest != "" {
		rest = "?" + rest
	}
	return path + rest, taken
}

// anyNamed reports whether one of the parameters is of the name if ";" separates them
// as "&" does (HTML 4.01 appendix B.2.2).
func anyNamed(pairs, name string) bool {
	for pair := range strings.SplitSeq(pairs, ";") {
		if named(pair, name) {
			return true
		}
	}
	return false
}

// named reports whether some upstream takes a parameter for that of the name: in any
// case, as an array (name[], name[key]), and as PHP does, which ends a name at NUL, and
// for which a dot, a space and a [ without its ] are an underscore and a space in front
// is none.
func named(pair, name string) bool {
	key, _, _ := strings.Cut(pair, "=")
	key, _ = decodeParameter(key)
	key, _, _ = strings.Cut(key, "\x00")
	array, _, _ := strings.Cut(key, "[")
	same := func(key string) bool {
		return strings.EqualFold(forPHP.Replace(strings.TrimSpace(key)), forPHP.Replace(name))
	}
	return same(array) || same(key)
}

var forPHP = strings.NewReplacer(".", "_", " ", "_", "[", "_")

func (p *Parameter) read(pair, name string) {
	key, value, _ := strings.Cut(pair, "=")
	var ok bool
	switch p.Value, ok = decodeParameter(value); {
	case key != name:
		p.Fault = "is spelt otherwise"
	case strings.Contains(value, "+"):
		p.Fault = "holds '+', which is a space in a query; write %2B"
	case !ok:
		p.Fault = "holds % without two hexadecimal digits"
	}
}

// decodeParameter reads a name or value of a form (application/x-www-form-urlencoded).
// A "%" that encodes nothing stands for itself; ok is false then.
func decodeParameter(text string) (decoded string, ok bool) {
	if !strings.ContainsAny(text, "%+") {
		return text, true
	}
	var b strings.Builder
	ok = true
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '+':
			b.WriteByte(' ')
		case c == '%' && i+2 < len(text) && IsHex(text[i+1]) && IsHex(text[i+2]):
			b.WriteByte(HexByte(text[i+1], text[i+2]))
			i += 2
		default:
			ok = ok && c != '%'
			b.WriteByte(c)
		}
	}
	return b.String(), ok
}
