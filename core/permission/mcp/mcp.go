// Package mcp knows calls of the Model Context Protocol: how one is read out of the
// headers of a request, held against its body, and written as a path, so that permission
// tables match tools as they match paths.
package mcp

import (
	"regexp"
	"slices"
	"strings"

	"gatehouse/core/permission/pattern"
)

// Revisions are those of the protocol whose servers must refuse a request where headers and
// body do not say the same, so that headers can be decided on. A server of any other
// revision runs what the body says.
var Revisions = []string{"2026-07-28"}

// HTTPMethod is that of all calls.
const HTTPMethod = "POST"

// Methods whose requests name what they are for, with the member of params that does.
const (
	ToolsCall     = "tools/call"
	ResourcesRead = "resources/read"
	PromptsGet    = "prompts/get"
)

var named = map[string]string{ToolsCall: "name", ResourcesRead: "uri", PromptsGet: "name"}

// Named reports whether requests of a method name what they are for.
func Named(method string) bool { return named[method] != "" }

// notification begins the methods of messages that want no response.
const notification = "notifications/"

// Limits of what is read, in bytes.
const (
	MaxMethod   = 128
	MaxName     = 1024
	MaxEndpoint = 512
)

// separator stands in a path between endpoint, method and name. No canonical path has it,
// and no method and no name.
const separator = "\x00"

// mark is the separator as people read and write it. It stands in no request target.
const mark = "#"

// Call is a request of the protocol.
type Call struct {
	// Endpoint is the canonical path that the server is at.
	Endpoint string
	Method   string
	// Name is empty where the method is not [Named].
	Name string
}

// Path is the path that the call is matched by. No request target stands for it.
func (c Call) Path() string {
	if c.Name == "" {
		return c.Endpoint + separator + c.Method
	}
	return c.Endpoint + separator + c.Method + separator + c.Name
}

// IsPath reports whether a path is that of a call.
func IsPath(path string) bool { return strings.Contains(path, separator) }

// FromPath is the call of a path.
func FromPath(path string) Call {
	parts := append(strings.SplitN(path, separator, 3), "", "")
	return Call{parts[0], parts[1], parts[2]}
}

// String writes a call as a target that Parse reads: /mcp#tools/call#get_weather.
func (c Call) String() string {
	return strings.ReplaceAll(c.Path(), separator, mark)
}

// Parse reads what String writes; ok is false for a target of another kind. The error says
// what is wrong with the call.
func Parse(target string) (c Call, ok bool, err error) {
	endpoint, rest, ok := strings.Cut(target, mark)
	if !ok {
		return Call{}, false, nil
	}
	method, name, hasName := strings.Cut(rest, mark)
	c = Call{endpoint, method, name}
	if err = checkMethod(method); err == nil && (Named(method) || hasName) {
		err = checkName(method, name)
	}
	return c, true, err
}

// Pattern covers calls at one endpoint: of one method and, where that is [Named], those whose
// name it matches. In a name * stands for any characters but a slash, ** for any characters.
type Pattern Call

// String writes a pattern like a call.
func (p Pattern) String() string { return Call(p).String() }

// Regex covers the paths of the calls. It is a path regex, to be matched as a whole.
func (p Pattern) Regex() string {
	regex := regexp.QuoteMeta(p.Endpoint) + `\x00` + regexp.QuoteMeta(p.Method)
	if p.Name == "" {
		return regex
	}
	return regex + `\x00` + wildcards.Replace(regexp.QuoteMeta(p.Name))
}

// Seen is a regex of the path of the requests, which a nil pattern leaves as it is.
func (p *Pattern) Seen(path *pattern.Path) *pattern.Path {
	if p == nil {
		return path
	}
	return pattern.LiteralPath(p.Endpoint)
}

var wildcards = strings.NewReplacer(`\*\*`, `[^\x00]*`, `\*`, `[^/\x00]*`)

// AnyMethod stands for all methods where a pattern is shown; no table has it.
const AnyMethod = "**"

// AnyCall is a path regex that covers all calls at an endpoint.
func AnyCall(endpoint string) string { return regexp.QuoteMeta(endpoint) + `\x00(?s:.*)` }

// Paths is a regex of the paths of all calls that Read returns, at whatever endpoint.
// Those that Ambiguous covers are not among them.
func Paths() string {
	var plain []string
	for method := range named {
		plain = append(plain, method+`\x00`+text)
	}
	slices.Sort(plain)
	return `/[^\x00]*\x00(?:` + strings.Join(plain, "|") + `|[!-+\--~]+)`
}

// text is what names are made of: no control characters, and nothing that stands for bytes
// that are no text.
const text = `[^\x00-\x1f\x7f-\x{9f}\x{fffd}]+`

// Ambiguous is a regex of the paths of calls that servers may read in more than one way. It
// stands for names: dot segments, backslashes, and what RFC 3986 section 6.2.2 has
// normalised, since two spellings of one resource would be two names.
func Ambiguous() string { return `(?s:.*\x00.*\x00(?:` + odd + `))` }

// odd covers such names.
const odd = `(?:.*[/?#;])?\.\.?(?:[/?#;].*)?` + // dot segments
	`|.*\\.*` +
	`|.*%(?:2[DEFdef]|3[0-9]|[46][1-9A-Fa-f]|5[0-9ACFacf]|7[0-9AEFaef]|[01].).*` + // what needs no encoding, or is a slash or a control character
	`|.*%(?:[0-9A-Fa-f]?[a-f]|[a-f][0-9A-Fa-f]).*` + // not in upper case
	`|.*%25[0-9A-Fa-f][0-9A-Fa-f].*` + // encoded twice
	`|[^:/?#]*[A-Z][^:/?#]*://.*|[^:/?#]*://[^/?#]*[A-Z].*` // scheme or host not in lower case

var ambiguous = regexp.MustCompile(`\A(?s:` + odd + `)\z`)
