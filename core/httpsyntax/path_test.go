package httpsyntax

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCanonicalDecodesWhatHasOneReading(t *testing.T) {
	for target, want := range map[string]string{
		"/":                       "/",
		"/users":                  "/users",
		"/users/":                 "/users/",
		"/users?id=1":             "/users",
		"/users?next=/../admin":   "/users",
		"/%61dmin":                "/admin",
		"/a%20b":                  "/a b",
		"/caf%C3%A9":              "/café",
		"/caf%c3%a9":              "/café",
		"/café":                   "/café",
		"/a+b":                    "/a+b",
		"/100%25":                 "/100%",
		"/tags/c%23":              "/tags/c#",
		"/what%3F":                "/what?",
		"/a:b@c,d*e~f(g)'h'!i$j&": "/a:b@c,d*e~f(g)'h'!i$j&",
		"/...":                    "/...",
		"/.well-known/x":          "/.well-known/x",
		"/a..b/..c":               "/a..b/..c",
		"/[x]|\"y\"":              "/[x]|\"y\"",
	} {
		got, err := Canonical(target, PathOptions{})
		if err != nil || got != want {
			t.Errorf("Canonical(%q) = %q, %v; want %q", target, got, err, want)
		}
	}
}

// The name of each case is the attack; the value is the reason in the log.
func TestPathWithTwoReadingsIsRefused(t *testing.T) {
	for target, reason := range map[string]string{
		"/a/../admin":                        "dot segment",
		"/a/%2e%2e/admin":                    "dot segment",
		"/a/.%2E/admin":                      "dot segment",
		"/a/./admin":                         "dot segment",
		"/admin/.":                           "dot segment",
		"/admin/..":                          "dot segment",
		"/a%2fadmin":                         "encoded slash",
		"/a/..%2Fadmin":                      "encoded slash",
		"/a%5cadmin":                         "encoded backslash",
		`/a\admin`:                           "backslash",
		"/a%252fadmin":                       "double percent-encoding",
		"/%25%36%31dmin":                     "double percent-encoding",
		"/%252e%252e/admin":                  "double percent-encoding",
		"//admin":                            "begins with a double slash, which URL parsers read as a host",
		"/a//admin":                          "empty segment (double slash)",
		"/a;x=1/admin":                       "semicolon",
		"/a/..;/admin":                       "semicolon",
		"/a%3bx/admin":                       "encoded semicolon",
		"/a%00":                              "encoded NUL",
		"/a\x00":                             "NUL",
		"/a%0d%0ab":                          "encoded control character",
		"/a\nb":                              "control character",
		"/a%7f":                              "encoded control character",
		"/a%c2%85b":                          "control character",
		"/a b":                               "space",
		"/a#b":                               "fragment",
		"/a%ff":                              "invalid UTF-8",
		"/a\xff":                             "invalid UTF-8",
		"/%c0%ae%c0%ae/admin":                "invalid UTF-8",
		"/a%":                                "% without two hexadecimal digits",
		"/a%4":                               "% without two hexadecimal digits",
		"/a%zz":                              "% without two hexadecimal digits",
		"http://other.test/admin":            "target is not in origin form (RFC 9112 section 3.2.1)",
		"other.test:443":                     "target is not in origin form (RFC 9112 section 3.2.1)",
		"*":                                  "target is not in origin form (RFC 9112 section 3.2.1)",
		"":                                   "target is not in origin form (RFC 9112 section 3.2.1)",
		"?x":                                 "target is not in origin form (RFC 9112 section 3.2.1)",
		"/" + strings.Repeat("a", MaxTarget): "target is longer than 16384 bytes",
	} {
		got, err := Canonical(target, PathOptions{})
		var refused *PathError
		if !errors.As(err, &refused) {
			t.Errorf("Canonical(%.40q) = %q, %v; want a refusal", target, got, err)
			continue
		}
		if refused.Reason != reason {
			t.Errorf("Canonical(%.40q) is refused for %q, want %q", target, refused.Reason, reason)
		}
	}
}

func TestPathOptionsRelaxOneClassEach(t *testing.T) {
	semicolon := PathOptions{AllowSemicolon: true}
	slashes := PathOptions{AllowDoubleSlash: true}
	encoded := PathOptions{AllowEncodedSlash: true}
	for _, c := range []struct {
		target string
		o      PathOptions
		want   string // empty: refused
	}{
		{"/a;x=1/b", semicolon, "/a;x=1/b"},
		{"/a%3bx", semicolon, "/a;x"},
		{"/a/..;/admin", semicolon, ""},
		{"/a/..;x=1/admin", semicolon, ""},
		{"/a//b", semicolon, ""},
		{"/a//b", slashes, "/a/b"},
		{"/a///b//", slashes, "/a/b/"},
		{"//a///b//", slashes, ""}, // "//a" is the host a to a URL parser
		{"///a", slashes, ""},
		{"//", slashes, ""},
		{"/%2Fa", PathOptions{AllowDoubleSlash: true, AllowEncodedSlash: true}, "/%2Fa"},
		{"/a;b", slashes, ""},
		{"/a//../b", slashes, ""},
		{"/a%2fb/c", encoded, "/a%2Fb/c"},
		{"/a%2Fb", encoded, "/a%2Fb"},
		{"/a%2f..%2fadmin", encoded, ""},
		{"/..%2fadmin", encoded, ""},
		{"/a%252fb", encoded, ""},
		{"/a%5cb", encoded, ""},
	} {
		got, err := Canonical(c.target, c.o)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("Canonical(%q, %+v) = %q, %v; want %q", c.target, c.o, got, err, c.want)
		}
	}
}

// FuzzCanonical insists on what rules rely on: a canonical path has one
// segment structure, no control characters and is its own canonical form.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"/", "/a/b", "/%61", "/a%2fb", "/a;b", "//", "/%25", "/%2525", "/%c3%a9", "/a?b", "/..%2f"} {
		for options := range uint8(8) {
			f.Add(seed, options)
		}
	}
	f.Fuzz(func(t *testing.T, target string, options uint8) {
		o := PathOptions{options&1 != 0, options&2 != 0, options&4 != 0}
		path, err := Canonical(target, o)
		if err != nil {
			if err == nil {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if !strings.HasPrefix(path, "/") || !utf8.ValidString(path) || strings.ContainsAny(path, "\x00\r\n\\") || strings.Contains(path, "//") {
			t.Fatalf("Canonical(%q) = %q", target, path)
		}
		for segment := range strings.SplitSeq(path[1:], "/") {
			if segment == "." || segment == ".." {
				t.Fatalf("Canonical(%q) = %q", target, path)
			}
		}
		if len(path) > len(target) {
			t.Fatalf("Canonical(%q) grew to %q", target, path)
		}
	})
}

func BenchmarkCanonical(b *testing.B) {
	for name, target := range map[string]string{"plain": "/api/v1/users/1234/orders?page=2", "encoded": "/api/v1/caf%C3%A9/1234"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Canonical(target, PathOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
