package kong

import (
	"strings"
	"testing"
)

func TestNormalizePath(t *testing.T) {
	for raw, want := range map[string]string{
		"/": "/", "/a": "/a", "/a/": "/a/", "//": "/", "//a//b//": "/a/b/",
		"/a/./b": "/a/b", "/a/../b": "/b", "/a/..": "/", "/a/.": "/a/", "/a/b/..": "/a/", "/..": "/", "/../../x": "/x",
		"/%2e%2E/x": "/x", "/a/%2e/b": "/a/b", "/.a": "/.a", "/a..": "/a..", "/...": "/...",
		"/%61": "/a", "/%2f": "/%2F", "/%3f%23%25%3b": "/%3F%23%25%3B", "/%5c": "/\\", "/%20": "/ ", "/%ff": "/\xff",
		"/%252e": "/%252e", "/%zz": "/%zz", "/%2": "/%2", "/a;b=1/..;/c": "/a;b=1/..;/c", "/%c3%a9": "/é",
	} {
		if got := normalizePath(raw); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}

func TestEscapePath(t *testing.T) {
	for path, want := range map[string]string{
		"/a b": "/a%20b", "/é": "/%C3%A9", "/a\\b": "/a%5Cb", "/a\r\nb": "/a%0D%0Ab", "/%2F": "/%2F", "/[1]#x?y": "/[1]#x?y",
		"/a|b\"c": "/a%7Cb%22c", "/~-_.!*'();:@&=+$,": "/~-_.!*'();:@&=+$,", "/^`{}<>": "/%5E%60%7B%7D%3C%3E",
	} {
		if got := escapePath(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func FuzzNormalizedPathIsSettled(f *testing.F) {
	for _, seed := range []string{"/a/../b", "/%2e%2e/x", "//%2F//", "/a%", "/.%2e/..%2f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if !strings.HasPrefix(raw, "/") {
			return
		}
		got := normalizePath(raw)
		if !strings.HasPrefix(got, "/") || strings.Contains(got, "//") || strings.Contains(got+"/", "/../") || strings.Contains(got+"/", "/./") {
			t.Errorf("%q became %q", raw, got)
		}
	})
}

// TestUpstreamPath follows the table in Kong's documentation of path handling
// v0.
func TestUpstreamPath(t *testing.T) {
	for _, c := range []struct {
		base, request, prefix string
		strip                 bool
		want                  string
	}{
		{"", "/a/b", "/a", false, "/a/b"},
		{"/", "/a/b", "/a", true, "/b"},
		{"/", "/a", "/a", true, "/"},
		{"/", "/a/", "/a", true, "/"},
		{"/s", "/a", "/a", true, "/s"},
		{"/s", "/a/", "/a", true, "/s/"},
		{"/s", "/a/", "/a/", true, "/s/"},
		{"/s", "/a/b", "/a", true, "/s/b"},
		{"/s", "/a/b", "/a/", true, "/s/b"},
		{"/s", "/ab", "/a", true, "/s/b"},
		{"/s/", "/a", "/a", true, "/s"},
		{"/s/", "/a/", "/a", true, "/s/"},
		{"/s/", "/a/b", "/a", true, "/s/b"},
		{"/s/", "/ab", "/a", true, "/s/b"},
		{"/s", "/", "/", true, "/s"},
		{"/s/", "/", "/", true, "/s/"},
		{"/s", "/a/b", "", false, "/s/a/b"},
		{"/s/", "/a/b", "", false, "/s/a/b"},
		{"/s", "/", "", false, "/s"},
		{"/s/", "/", "", false, "/s/"},
		{"/", "/a../b", "/a", true, "/b"}, // no dot segment out of a half segment
		{"/", "/a..", "/a", true, "/"},
		{"/", "/a./b", "/a", true, "/b"},
	} {
		if got := upstreamPath(c.base, c.request, c.prefix, c.strip); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
