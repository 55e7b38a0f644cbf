package mcp

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/request"
)

// The headers that say what the body of a request says.
const (
	VersionHeader = "MCP-Protocol-Version"
	MethodHeader  = "Mcp-Method"
	NameHeader    = "Mcp-Name"
)

// The marks of a value that is encoded, in exactly this case.
const encodedPrefix, encodedSuffix = "=?base64?", "?="

// Read reads the call of a request to an endpoint out of its headers. They count only where
// each is there once and the revision is one of Revisions; anything else is an error for the
// client.
func Read(r *core.Request, endpoint string) (Call, error) {
	for i := range r.Header {
		if name := r.Header[i].Name; strings.Contains(name, "_") && isOurs(name) {
			return Call{}, refuse("a header of the protocol is written with an underscore")
		}
	}
	version, err := single(r, VersionHeader)
	if err == nil && !slices.Contains(Revisions, version) {
		err = refuse("the header %s must be %s", VersionHeader, strings.Join(Revisions, " or "))
	}
	if err != nil {
		return Call{}, err
	}
	c := Call{Endpoint: endpoint}
	if c.Method, err = single(r, MethodHeader); err == nil {
		err = checkMethod(c.Method)
	}
	if err != nil || !Named(c.Method) {
		return c, err
	}
	raw, err := single(r, NameHeader)
	if err == nil {
		c.Name, err = decode(raw)
	}
	if err == nil {
		err = checkName(c.Method, c.Name)
	}
	return c, err
}

// Reaches refuses headers of which a server may get others than were decided on: a name that
// may be two, joined by a comma, and headers that a proxy removes because Connection names
// them (RFC 9110 section 7.6.1), so that the server takes the request for one of an older
// revision. It is for hosts where no body shows what the server will run.
func Reaches(r *core.Request) error {
	if value, _ := r.Lookup(NameHeader); strings.Contains(value, ",") {
		return refuse("the header %s has a comma, and must be encoded as %s...%s", NameHeader, encodedPrefix, encodedSuffix)
	}
	for _, h := range r.Header {
		if !strings.EqualFold(h.Name, "Connection") {
			continue
		}
		for option := range strings.SplitSeq(h.Value, ",") {
			if isOurs(strings.Trim(option, " \t")) {
				return refuse("the header Connection names another one of the protocol")
			}
		}
	}
	return nil
}

// isOurs reports whether some program takes a header for one of the protocol: many do not
// tell dashes from underscores.
func isOurs(name string) bool {
	return httpsyntax.FoldEqual(name, VersionHeader) || httpsyntax.FoldEqual(name, MethodHeader) || httpsyntax.FoldEqual(name, NameHeader)
}

// refuse is an error that the client may read; it holds nothing of the request.
func refuse(format string, args ...any) error {
	return &request.Malformed{Detail: "Model Context Protocol: " + fmt.Sprintf(format, args...) + "."}
}

// single is the value of a header that must be there once.
func single(r *core.Request, name string) (string, error) {
	value, lines := r.Lookup(name)
	switch value = strings.Trim(value, " \t"); {
	case lines == 0:
		return "", refuse("the header %s is missing", name)
	case lines > 1:
		return "", refuse("the header %s is repeated", name)
	case value == "":
		return "", refuse("the header %s is empty", name)
	}
	return value, nil
}

// decode reads a name that may be encoded, once.
func decode(raw string) (string, error) {
	encoded, prefixed := strings.CutPrefix(raw, encodedPrefix)
	encoded, suffixed := strings.CutSuffix(encoded, encodedSuffix)
	if prefixed && suffixed {
		name, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil {
			return "", refuse("the header %s is no base64 (RFC 4648 section 4)", NameHeader)
		}
		return string(name), nil
	}
	switch {
	case strings.HasPrefix(raw, "=?") && strings.HasSuffix(raw, encodedSuffix): // to some server it is encoded
		return "", refuse("the header %s must begin with %s in lower case where it is encoded", NameHeader, encodedPrefix)
	case strings.ContainsFunc(raw, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", refuse("the header %s has characters that must be encoded as %s...%s", NameHeader, encodedPrefix, encodedSuffix)
	}
	return raw, nil
}

// Encode writes a name as the value of a header.
func Encode(name string) string {
	odd := func(r rune) bool { return r < ' ' || r > '~' || r == ',' }
	if strings.ContainsFunc(name, odd) || strings.Trim(name, " ") != name || strings.HasPrefix(name, "=?") {
		return encodedPrefix + base64.StdEncoding.EncodeToString([]byte(name)) + encodedSuffix
	}
	return name
}

// checkMethod refuses what no path of a call could hold, and the comma of joined lines.
func checkMethod(method string) error {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }
	switch {
	case method == "" || strings.ContainsFunc(method, odd):
		return refuse("the method must be of visible ASCII characters without a comma")
	case len(method) > MaxMethod:
		return refuse("the method is longer than %d bytes", MaxMethod)
	}
	return nil
}

func checkName(method, name string) error {
	switch {
	case !Named(method):
		return refuse("requests of that method have no name")
	case name == "":
		return refuse("the name is empty")
	case len(name) > MaxName:
		return refuse("the name is longer than %d bytes", MaxName)
	case !isText(name):
		return refuse("the name must be UTF-8 without control characters")
	case !plain(name) && ambiguous.MatchString(name):
		return refuse("the name has more than one reading: no dot segments, no backslashes, and only normalised URIs (RFC 3986 section 6.2.2)")
	}
	return nil
}

func isText(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError })
}

// plain names have nothing that could be ambiguous; most tools have such a name.
func plain(name string) bool { return !strings.ContainsAny(name, `.\%:`) }

// NameProblem says what is wrong with a pattern of names in a table, or nothing.
func NameProblem(method, name string) string {
	sample := strings.ReplaceAll(name, "*", "x")
	switch {
	case strings.Contains(name, "***"):
		return "has more than two asterisks in a row; * stands for any characters but a slash, ** for any characters"
	case name == "":
		return "is empty"
	}
	if err := checkName(method, sample); err != nil {
		return "can be the name of no call: " + detail(err)
	}
	return ""
}

// MethodProblem says what is wrong with a method in a table that has no name beside it.
func MethodProblem(method string) string {
	lists := map[string]string{ToolsCall: "tools", ResourcesRead: "resources", PromptsGet: "prompts"}
	switch {
	case Named(method):
		return fmt.Sprintf("names what it is for; list that under %s, as in %s: [\"**\"]", lists[method], lists[method])
	case strings.Contains(method, "*"):
		return "has an asterisk; list each method by its name, as in tools/list"
	}
	if err := checkMethod(method); err != nil {
		return "can be the method of no call: " + detail(err)
	}
	return ""
}

func detail(err error) string {
	_, text, _ := strings.Cut(err.Error(), "Protocol: ")
	return strings.TrimSuffix(text, ".")
}

// EndpointProblem says what is wrong with an endpoint in a table, or nothing.
func EndpointProblem(endpoint string) string {
	path, err := core.Canonical(endpoint, core.PathOptions{})
	switch {
	case err != nil:
		return "is no path that a request can have: " + err.Error()
	case path != endpoint || strings.ContainsAny(endpoint, "?"+mark):
		return "is not written as a canonical path: it is no regex, has no query, and nothing in it is encoded"
	case len(endpoint) > MaxEndpoint:
		return fmt.Sprintf("is longer than %d bytes", MaxEndpoint)
	}
	return ""
}
