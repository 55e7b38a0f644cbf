package analysis

import (
	"strings"
	"sync"

	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/mcp"
)

// CanonicalPaths are all paths that core.Canonical can return, whatever its
// options: two regexes that differ on other texts only mean the same.
var CanonicalPaths = sync.OnceValue(func() *automaton.Language {
	paths := automaton.MustCompile(`/[^\x00-\x1f\x7f-\x{9f}\\]*`)
	paths, err := paths.Minus(
		automaton.MustCompile(`.*//.*`),
		// Dot segments, also before a path parameter or an encoded slash.
		automaton.MustCompile(`.*(?:/|%2F)\.\.?(?:(?:[;/]|%2F).*)?`),
		// Whatever would decode once more. An encoded slash is kept as %2F.
		automaton.MustCompile(`.*%(?:[013-9A-Fa-f][0-9A-Fa-f]|2[0-9A-Ea-f]).*`),
	)
	if err != nil { // these four are small
		panic(err)
	}
	return paths
})

// CallPaths are the paths of all calls of the Model Context Protocol that a gate looks up.
// None of them is canonical.
var CallPaths = sync.OnceValue(func() *automaton.Language {
	paths := automaton.MustCompile(mcp.Paths())
	paths, err := paths.Minus(automaton.MustCompile(mcp.Ambiguous()))
	if err != nil { // both are small
		panic(err)
	}
	return paths
})

// Target writes a canonical path as a request target that stands for it. That of a call of
// the Model Context Protocol is written as people write it.
func Target(path string) string {
	if mcp.IsPath(path) {
		return mcp.FromPath(path).String()
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '%' && strings.HasPrefix(path[i:], "%2F"):
			b.WriteByte(c)
		case c <= ' ' || c >= 0x7f || strings.IndexByte(`%?#"<>^{|}`+"`", c) >= 0:
			const hex = "0123456789ABCDEF"
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
