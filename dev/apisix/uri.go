package apisix

import (
	"cmp"
	"gatehouse/core/httpsyntax"
	"slices"
	"strings"
)

const upperHex = "0123456789ABCDEF"

// escapeURI is nginx's escaping of a path (ngx_escape_uri, NGX_ESCAPE_URI).
func escapeURI(s string) string {
	return escapeWhere(s, func(c byte) bool { return isControl(c) || c >= 0x80 || strings.IndexByte(" \"#%<>?\\^`{|}", c) >= 0 })
}

// escapeControl encodes control bytes only: for the query, whose delimiters stay.
func escapeControl(s string) string { return escapeWhere(s, isControl) }

// escapeComponent is nginx's escaping of a name or value in a query.
func escapeComponent(s string) string {
	return escapeWhere(s, func(c byte) bool {
		return !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0)
	})
}

func isControl(c byte) bool { return c < 0x20 || c == 0x7f }

func escapeWhere(s string, special func(byte) bool) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; special(c) {
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// arg is one argument of the query. An argument without "=" has no value.
type arg struct {
	name, value string
	bare        bool
}

// parseArgs reads a query as nginx's Lua module does: "+" is a space, a broken
// escape stays as it is, an argument without a name is dropped.
func parseArgs(query string) []arg {
	var args []arg
	for part := range strings.SplitSeq(query, "&") {
		name, value, hasValue := strings.Cut(part, "=")
		if name = unescapeComponent(name); name != "" {
			args = append(args, arg{name, unescapeComponent(value), !hasValue})
		}
	}
	return args
}

func unescapeComponent(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b.WriteByte(' ')
		case c == '%' && i+2 < len(s) && httpsyntax.IsHex(s[i+1]) && httpsyntax.IsHex(s[i+2]):
			b.WriteByte(httpsyntax.HexByte(s[i+1], s[i+2]))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// encodeArgs is the query that ngx.req.set_uri_args makes of a table. A Lua
// table has no order; here the first appearance of a name decides.
func encodeArgs(args []arg) string {
	args = groupByName(args)
	parts := make([]string, len(args))
	for i, a := range args {
		parts[i] = escapeComponent(a.name)
		if !a.bare {
			parts[i] += "=" + escapeComponent(a.value)
		}
	}
	return strings.Join(parts, "&")
}

func groupByName(args []arg) []arg {
	place := map[string]int{}
	for i, a := range args {
		if _, ok := place[a.name]; !ok {
			place[a.name] = i
		}
	}
	grouped := slices.Clone(args)
	slices.SortStableFunc(grouped, func(a, b arg) int { return cmp.Compare(place[a.name], place[b.name]) })
	return grouped
}
