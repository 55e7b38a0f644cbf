package mcp

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/request"
)

func asked(pairs ...string) *core.Request {
	r := &core.Request{Method: HTTPMethod, Target: "/mcp"}
	for i := 0; i < len(pairs); i += 2 {
		r.Header = append(r.Header, core.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return r
}

func toolCall(name string, more ...string) *core.Request {
	return asked(append([]string{"Mcp-Protocol-Version", "2026-07-28", "mcp-method", "tools/call", "mcp-name", name}, more...)...)
}

func TestHeadersCountOnlyWhereServersMustCompareThem(t *testing.T) {
	for attack, r := range map[string]*core.Request{
		"an older version, whose servers run what the body says": asked(VersionHeader, "2025-11-25", MethodHeader, ToolsCall, NameHeader, "get_weather"),
		"no version":                   asked(MethodHeader, ToolsCall, NameHeader, "get_weather"),
		"two versions":                 toolCall("get_weather", VersionHeader, "2025-11-25"),
		"the same version twice":       toolCall("get_weather", VersionHeader, "2026-07-28"),
		"two versions joined":          asked(VersionHeader, "2026-07-28, 2025-11-25", MethodHeader, ToolsCall, NameHeader, "get_weather"),
		"a later version of nobody":    asked(VersionHeader, "2027-01-01", MethodHeader, ToolsCall, NameHeader, "get_weather"),
		"no method":                    asked(VersionHeader, "2026-07-28", NameHeader, "get_weather"),
		"two methods":                  toolCall("get_weather", MethodHeader, "tools/list"),
		"two methods joined":           asked(VersionHeader, "2026-07-28", MethodHeader, "tools/list,tools/call", NameHeader, "get_weather"),
		"no name":                      asked(VersionHeader, "2026-07-28", MethodHeader, ToolsCall),
		"an empty name":                toolCall(""),
		"two Mcp-Name":                 toolCall("get_weather", NameHeader, "delete_all"),
		"base64 that is none":          toolCall("=?base64?Z2V0X3dlYXRoZXI?="),
		"base64 with bits left over":   toolCall("=?base64?Zh==?="),
		"the marks in another case":    toolCall("=?BASE64?Z2V0X3dlYXRoZXI=?="),
		"bytes that must be encoded":   toolCall("gét"),
		"overlong UTF-8":               toolCall("=?base64?wK8=?="),
		"a line break in the name":     toolCall(Encode("get_weather\nx")),
		"NUL in the name":              toolCall(Encode("get_weather\x00x")),
		"the sign for what is no text": toolCall(Encode("get\ufffd")),
		"a second name with an underscore, which WSGI and CGI take for the same": toolCall("get_weather", "Mcp_Name", "delete_all"),
		"a folded line":                  toolCall("get_weather\r\n x"),
		"a name that is too long":        toolCall(strings.Repeat("x", MaxName+1)),
		"a resource beside dot segments": asked(VersionHeader, "2026-07-28", MethodHeader, ResourcesRead, NameHeader, "file:///docs/../etc/passwd"),
		"encoded dot segments":           asked(VersionHeader, "2026-07-28", MethodHeader, ResourcesRead, NameHeader, "file:///docs/%2e%2e/etc"),
		"an encoded slash":               asked(VersionHeader, "2026-07-28", MethodHeader, ResourcesRead, NameHeader, "file:///docs/..%2Fetc"),
		"a letter that is encoded":       asked(VersionHeader, "2026-07-28", MethodHeader, ResourcesRead, NameHeader, "file:///%73ecret"),
		"a resource encoded twice":       asked(VersionHeader, "2026-07-28", MethodHeader, ResourcesRead, NameHeader, "file:///docs/%252e%252e/etc"),
		"backslashes":                    asked(VersionHeader, "2026-07-28", MethodHeader, ResourcesRead, NameHeader, `file:///docs\..\etc`),
		"a scheme in upper case":         asked(VersionHeader, "2026-07-28", MethodHeader, ResourcesRead, NameHeader, "FILE:///secret"),
		"a host in upper case":           asked(VersionHeader, "2026-07-28", MethodHeader, ResourcesRead, NameHeader, "https://EXAMPLE.com/a"),
	} {
		c, err := Read(r, "/mcp")
		if !errors.Is(err, core.ErrBadRequest) {
			t.Errorf("%s: %+v, %v", attack, c, err)
		}
		if malformed, ok := errors.AsType[*request.Malformed](err); !ok || strings.Contains(malformed.Detail, "delete_all") || strings.Contains(malformed.Detail, "secret") {
			t.Errorf("%s: the client does not read what is wrong, or reads what it sent: %v", attack, err)
		}
	}
}

func TestNameIsDecodedOnce(t *testing.T) {
	for header, name := range map[string]string{
		"get_weather":                 "get_weather",
		" get_weather ":               "get_weather",
		"=?base64?Z2V0X3dlYXRoZXI=?=": "get_weather",
		Encode("=?base64?Z2V0?="):     "=?base64?Z2V0?=", // encoded twice: this name, and no other
		Encode("caf\u00e9"):           "caf\u00e9",
		Encode("cafe\u0301"):          "cafe\u0301", // in another normal form it is another name
		"a, b":                        "a, b",
		"file:///docs/a%20b?x=1#y":    "file:///docs/a%20b?x=1#y",
	} {
		r := toolCall(header)
		if strings.HasPrefix(header, "file:") {
			r = asked(VersionHeader, "2026-07-28", MethodHeader, ResourcesRead, NameHeader, header)
		}
		if c, err := Read(r, "/mcp"); err != nil || c.Name != name || c.Endpoint != "/mcp" {
			t.Errorf("%s: %+v %v", header, c, err)
		}
	}
	if _, err := Read(asked(VersionHeader, "2026-07-28", MethodHeader, "tools/list", NameHeader, "x"), "/mcp"); err != nil {
		t.Errorf("a name beside a method that has none: %v", err)
	}
}

// Where no body is shown, a line with a comma may be two lines that somebody joined.
func TestTwoNamesJoinedByAHostAreNoName(t *testing.T) {
	if err := Reaches(toolCall("get_weather, delete_all")); !errors.Is(err, core.ErrBadRequest) {
		t.Error(err)
	}
	for _, name := range []string{"get_weather", Encode("a, b")} {
		if err := Reaches(toolCall(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A proxy removes what Connection names, and a server without the header of the version may
// compare nothing.
func TestHeaderThatConnectionRemovesIsNotTrusted(t *testing.T) {
	for _, name := range []string{VersionHeader, "mcp-method", "close, Mcp-Name", "Mcp_Name"} {
		if err := Reaches(toolCall("get_weather", "Connection", name)); !errors.Is(err, core.ErrBadRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Reaches(toolCall("get_weather", "Connection", "keep-alive, TE")); err != nil {
		t.Error(err)
	}
}

func TestCallIsReadAndWrittenAlike(t *testing.T) {
	for _, text := range []string{"/mcp#tools/call#get_weather", "/mcp#tools/list", "/#resources/read#file:///a?b#c", "/a/b#prompts/get#x y"} {
		c, ok, err := Parse(text)
		if !ok || err != nil || c.String() != text || FromPath(c.Path()) != c || !IsPath(c.Path()) {
			t.Errorf("%s: %+v %t %v", text, c, ok, err)
		}
		r := &core.Request{Method: HTTPMethod}
		c.Ask(r)
		again, err := Read(r, c.Endpoint)
		if err != nil || again != c || Shown(r) != text {
			t.Errorf("%s: asked as %+v %v, shown as %s", text, again, err, Shown(r))
		}
		body, _ := r.Body(1 << 10)
		if err := c.CheckBody(r, body); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, ok, _ := Parse("/users"); ok {
		t.Error("a path is taken for a call")
	}
	for _, text := range []string{"/mcp#", "/mcp#tools/call", "/mcp#tools/call#", "/mcp#tools/list#x", "/mcp#a b"} {
		if _, ok, err := Parse(text); !ok || err == nil {
			t.Errorf("%s is taken for a call", text)
		}
	}
}

// The regexes that tools reason with and the code that reads headers must never disagree.
func FuzzNameIsAmbiguousToBothOrNeither(f *testing.F) {
	for _, name := range []string{"a", "..", "a/../b", "a%2eb", "a%41", "A://x", "x://A", `a\b`, "a%2525", "a.b", "%c3", "%C3%A9", "a?..", "a;.", "%7E", "%7e", "%5F", "%5b", "%5B", "%20", "%2F", "\u0085", "x:y"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" || !isText(name) || len(name) > MaxName {
			return
		}
		_, err := Read(toolCall(Encode(name)), "/mcp")
		if matched := ambiguous.MatchString(name); matched != (err != nil) {
			t.Errorf("%q: the regex says %t, the reader %v", name, matched, err)
		}
	})
}
